"""The registered model's one method: what it takes, gives, and refuses with which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vae import serving, tasks
from vae.config import MLP, Gaussian, ModelConfig
from vae.model import VAE, ExampleSpec
from vae.state import save_model

SHAPE = (1, 4, 3)
LATENT = 2
CLASSES = ("cat", "dog", "emu")


def build(condition: str = "none", shape: tuple[int, int, int] = SHAPE) -> VAE:
    config = ModelConfig.model_validate(
        {"latent_dim": LATENT, "encoder": MLP(hidden=(8,)), "likelihood": Gaussian(), "condition": condition}
    )
    return VAE(config, ExampleSpec(shape, CLASSES)).eval()


def served(model: VAE) -> serving.RegisteredVAE:
    registered = serving.RegisteredVAE()
    registered.model = model
    return registered


PLAIN = build()
CONDITIONAL = build("class")


def predict(inputs: Any, model: VAE = PLAIN, **params: Any) -> Any:
    return served(model).predict(None, inputs, params)


def images(rows: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((rows, *SHAPE), dtype=np.float32)


def refusal(inputs: Any, model: VAE = PLAIN, **params: Any) -> str:
    with pytest.raises(ValueError) as error:
        predict(inputs, model, **params)
    return str(error.value)


def test_each_task_gives_what_its_function_gives() -> None:
    """Every task returns float32 arrays, equal to the functions of `vae.tasks`."""
    x, z = torch.from_numpy(images()), torch.randn(4, LATENT)
    encoded = predict(images(), task="encode")
    assert set(encoded) == {"mean", "std"}
    expected = {
        "reconstruct": (predict(images(), task="reconstruct"), tasks.reconstruct(PLAIN, x)),
        "encode": (encoded["mean"], tasks.encode(PLAIN, x).mean),
        "decode": (predict(z.numpy(), task="decode"), tasks.decode(PLAIN, z)),
        "generate": (predict(None, task="generate", n=3, seed=2), tasks.generate(PLAIN, 3, seed=2)),
        "score": (predict(images(), task="score", num_samples=7), tasks.score(PLAIN, x, num_samples=7)),
    }
    assert expected.keys() == serving.TASKS.keys()
    for found, value in expected.values():
        assert found.dtype == np.float32
        assert np.array_equal(found, value.numpy())


def test_defaults_reconstruct() -> None:
    """Without parameters the images are reconstructed."""
    assert np.array_equal(served(PLAIN).predict(None, images()), predict(images(), task="reconstruct"))


@pytest.mark.parametrize("task", ["generate", "score"])
def test_same_seed_gives_the_same_bytes(task: str) -> None:
    """Drawn results repeat byte for byte with their seed, and change with it."""
    inputs = None if task == "generate" else images()
    first = predict(inputs, task=task, seed=5)
    assert first.tobytes() == predict(inputs, task=task, seed=5).tobytes()
    assert first.tobytes() != predict(inputs, task=task, seed=6).tobytes()


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x,
        lambda x: x.reshape(5, -1),
        lambda x: x[:, 0],
        lambda x: x.astype(np.float64),
        lambda x: x.tolist(),
        lambda x: torch.from_numpy(x),
    ],
)
def test_images_may_come_in_several_forms(convert: Any) -> None:
    """Whole, flat, without the single channel, as float64, as lists and as tensors: the same result."""
    assert np.array_equal(predict(convert(images())), predict(images()))


def test_images_may_be_bytes() -> None:
    """uint8 pixels are divided by 255."""
    pixels = np.random.default_rng(1).integers(256, size=(5, *SHAPE), dtype=np.uint8)
    np.testing.assert_allclose(predict(pixels), predict(pixels.astype(np.float32) / 255), rtol=1e-6)


def test_no_rows_give_no_rows() -> None:
    """An empty batch is answered, not refused."""
    assert predict(images(0)).shape == (0, *SHAPE)


def test_condition_by_name() -> None:
    """One class for all rows is the same as that class for each; another class gives other images."""
    one = predict(None, CONDITIONAL, task="generate", n=3, condition=["dog"])
    each = predict(None, CONDITIONAL, task="generate", n=3, condition=["dog"] * 3)
    other = predict(None, CONDITIONAL, task="generate", n=3, condition=["dog", "cat", "dog"])
    assert np.array_equal(one, each)
    assert np.array_equal(one[[0, 2]], other[[0, 2]])
    assert not np.array_equal(one[1], other[1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"task": "genrate"},
            "unknown task 'genrate': this model knows reconstruct, encode, decode, generate, score; did you mean "
            "`generate`?",
        ),
        ({"task": "fly"}, "unknown task 'fly': this model knows reconstruct, encode, decode, generate, score"),
        ({"output": "men"}, "unknown output 'men': this model knows mean, sample; did you mean `mean`?"),
    ],
)
def test_unknown_names_are_refused(params: dict[str, str], message: str) -> None:
    """An unknown task or output is refused with what there is and the nearest."""
    assert refusal(images(), **params) == message


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (np.zeros((5, 1, 4, 4)), "(5, 1, 4, 4)"),
        (np.zeros((5, 11)), "(5, 11)"),
        (np.zeros((4, 3)), "(4, 3)"),
        (np.zeros(12), "(12,)"),
        (np.float32(0.5), "()"),
        (np.zeros((5, 3, 4)), "(5, 3, 4)"),
    ],
)
def test_images_of_another_shape_are_refused(inputs: Any, found: str) -> None:
    """Nothing is resized in silence: the error says what is expected and what was found."""
    expected = "(N, 1, 4, 3) or (N, 12) or (N, 4, 3)"
    assert refusal(inputs, task="encode") == f"task encode: expected images of shape {expected}, found {found}"


def test_colour_images_need_their_channels() -> None:
    """A model of several channels does not offer the form without them."""
    message = refusal(np.zeros((5, 4, 4)), build(shape=(3, 4, 4)))
    assert message == "task reconstruct: expected images of shape (N, 3, 4, 4) or (N, 48), found (5, 4, 4)"


def test_missing_values_are_refused() -> None:
    """NaN pixels are counted and refused."""
    x = images()
    x[1, 0, 2, :2] = np.nan
    assert refusal(x, task="score") == "task score: 2 of 60 values are missing (NaN); give complete images"


@pytest.mark.parametrize(("low", "high", "found"), [(-0.5, 1.0, "-0.5 to 1"), (0.0, 255.0, "0 to 255")])
def test_pixels_out_of_range_are_refused(low: float, high: float, found: str) -> None:
    """Pixels outside [0, 1] are refused with their range, infinite ones too."""
    x = np.full((2, *SHAPE), 0.5)
    x[0, 0, 0, :2] = low, high
    message = "task reconstruct: expected pixels in [0, 1] (or uint8 in 0…255), found "
    assert refusal(x) == message + found
    x[0, 0, 0, 0] = -np.inf
    assert refusal(x).startswith(message + "-inf to ")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((3, 5)), "task decode: expected latents of shape (N, 2), found (3, 5)"),
        (np.zeros(2), "task decode: expected latents of shape (N, 2), found (2,)"),
        (np.array([["a", "b"]]), "task decode: expected an array of numbers, found <U1 of shape (1, 2)"),
        (None, "task decode needs inputs, got None"),
        (
            np.array([[0.0, np.nan], [np.inf, 1.0]]),
            "task decode: 2 of 4 values are not finite; give complete latents",
        ),
    ],
)
def test_bad_latents_are_refused(inputs: Any, message: str) -> None:
    """Latents of another size, not numbers, missing or not finite are refused."""
    assert refusal(inputs, task="decode") == message


def test_missing_inputs_are_refused() -> None:
    """A task over images refuses None."""
    assert refusal(None) == "task reconstruct needs inputs, got None"


@pytest.mark.parametrize(("n", "temperature"), [(0, 1.0), (-3, 1.0), (4, 0.0), (4, float("nan")), (4, float("inf"))])
def test_generate_refuses_impossible_requests(n: int, temperature: float) -> None:
    """A count below 1 and a temperature that is no positive number are refused."""
    assert refusal(None, task="generate", n=n, temperature=temperature) == (
        f"task generate: n must be at least 1 and temperature above 0, got {n} and {temperature}"
    )


def test_score_refuses_no_samples() -> None:
    """A score needs a draw."""
    message = refusal(images(), task="score", num_samples=0)
    assert message == "task score: num_samples must be at least 1, got 0"


@pytest.mark.parametrize("task", ["reconstruct", "encode", "score", "generate", "decode"])
def test_conditional_model_asks_for_its_condition(task: str) -> None:
    """Without a condition a conditional model refuses every task and lists the classes."""
    inputs = {"generate": None, "decode": np.zeros((2, LATENT))}.get(task, images())
    assert refusal(inputs, CONDITIONAL, task=task) == (
        f"task {task}: this model is conditional; give params['condition'], one class for all rows or one for each, "
        "out of cat, dog, emu"
    )


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (["cow", "dog", "ant"], "task generate: unknown class ant, cow: expected cat, dog, emu"),
        (["cat", "dog"], "task generate: expected 1 or 3 conditions, found 2"),
    ],
)
def test_bad_conditions_are_refused(condition: list[str], message: str) -> None:
    """Unknown classes, and as many as fit no row, are refused with what there is."""
    assert refusal(None, CONDITIONAL, task="generate", n=3, condition=condition) == message


def test_unconditional_model_refuses_a_condition() -> None:
    """A condition that would be ignored is refused."""
    message = refusal(images(), condition=["cat"])
    assert message == "task reconstruct: this model takes no condition, got ['cat']"


def test_signature_names_every_parameter() -> None:
    """What `predict` reads and what the signature announces are the same, with defaults that give a result."""
    assert {param.name for param in serving.signature().params} == set(serving.Request.__dataclass_fields__)
    assert predict(None, task="generate").shape == (16, *SHAPE)


def test_requirements_are_exact() -> None:
    """Every requirement is pinned, and without a local build tag."""
    found = serving.requirements()
    assert [line.partition("==")[0] for line in found] == list(serving.REQUIREMENTS)
    assert all("+" not in line for line in found)
    assert f"torch=={torch.__version__.partition('+')[0]}" in found


def test_context_loads_the_model_that_was_saved(tmp_path: Any) -> None:
    """The artifact's folder is all that the registered model needs."""

    class Context:
        artifacts = {serving.ARTIFACT: str(tmp_path)}  # noqa: RUF012  stands for MLflow's

    save_model(PLAIN, str(tmp_path))
    registered = serving.RegisteredVAE()
    registered.load_context(Context())
    assert np.array_equal(registered.predict(None, images()), predict(images()))
