"""The registered model's one method: what it takes, gives, and refuses with which words."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec
from numpy.typing import NDArray

from vae import inference, serving
from vae.config import ModelConfig
from vae.data.conditions import read_conditions, write_condition
from vae.data.schema import Experience
from vae.inference import answering
from vae.inference import client as tasks
from vae.model import VAE, Column, ExampleSpec
from vae.parts.aggregate import AggregateMixture
from vae.parts.bodies.mlp import MLP
from vae.parts.directions import Directions
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.likelihoods.gaussian import Gaussian
from vae.parts.likelihoods.preparing import binarize
from vae.parts.terms import Inputs
from vae.seeds import Stream, derive
from vae.training.state import save_model

SHAPE = (1, 4, 3)
LATENT = 2
CLASSES = ("cat", "dog", "emu")
ATTRIBUTES = (Column("size", None, 3.0, 2.0), Column("unused"), Column("colour", ("light, blue", "red")))
COLUMNS = (Column("age", None, 40.0, 10.0), Column("colour", ("blue", "green", "red")), Column("level", ("1", "2")))


def build(condition: Any = "none", shape: tuple[int, ...] = SHAPE, **parts: Any) -> VAE:
    config = ModelConfig.model_validate(
        {"latent_dim": LATENT, "encoder": MLP(hidden=(8,)), "likelihood": Gaussian(), "condition": condition, **parts}
    )
    examples = ExampleSpec(shape, CLASSES, attributes=ATTRIBUTES)
    if len(shape) == 1:
        examples = ExampleSpec(shape, CLASSES, COLUMNS)
    return VAE(config, examples).eval()


def served(model: VAE) -> serving.RegisteredVAE:
    registered = serving.RegisteredVAE()
    registered.model = model
    return registered


PLAIN = build()
CONDITIONAL = build("class")
SEVERAL = build(("class", "size", "colour"))
GATED = build(beta_gates=True)
for gate in (stage.gate for stage in GATED.decoder.dense.stages):  # pyright: ignore
    torch.nn.init.normal_(gate.weight, generator=torch.Generator().manual_seed(0))  # they start at 0, open alike
TABLE = build(shape=(3,), encoder={"kind": "table", "hidden": [8]}, likelihood={"kind": "mixed", "numeric": "gaussian"})
PEOPLE = pd.DataFrame({"age": [20.0, np.nan, 61.5], "colour": ["red", "blue", None], "level": [2, 1, 1]})


def predict(inputs: Any, model: VAE = PLAIN, **params: Any) -> Any:
    return served(model).predict(None, inputs, params)


def images(rows: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((rows, *SHAPE), dtype=np.float32)


PARAMETERS = ", ".join(answering.Request.__dataclass_fields__)


def first(x: Inputs) -> Inputs:
    return Inputs(x.x[:4:2])


def second(x: Inputs) -> Inputs:
    return Inputs(x.x[1:4:2])


def refusal(inputs: Any, model: VAE = PLAIN, **params: Any) -> str:
    with pytest.raises(ValueError) as error:
        predict(inputs, model, **params)
    return str(error.value)


def test_each_task_gives_what_its_function_gives() -> None:
    """Every task returns float32 arrays, equal to the functions of `vae.inference`."""
    x, z = Inputs(torch.from_numpy(images())), torch.randn(4, LATENT)
    encoded = predict(images(), task="encode")
    assert set(encoded) == {"mean", "std"}
    expected = {
        "reconstruct": (predict(images(), task="reconstruct"), inference.reconstruct(PLAIN, x)),
        "encode": (encoded["mean"], inference.encode(PLAIN, x).mean),
        "decode": (predict(z.numpy(), task="decode"), inference.decode(PLAIN, z)),
        "generate": (predict(None, task="generate", n=3, seed=2), inference.generate(PLAIN, 3, seed=2)),
        "score": (predict(images(), task="score", num_samples=7), inference.score(PLAIN, x, num_samples=7)),
        "denoise": (predict(images(), task="denoise", num_samples=7), inference.denoise(PLAIN, x, num_samples=7).mean),
        "interpolate": (predict(images(4).reshape(2, 2, *SHAPE), task="interpolate", n=3, path="spherical"),
                        inference.interpolate(PLAIN, first(x), second(x), num_points=3, path="spherical")),
        "traverse": (predict(images(), task="traverse", n=3, dimensions=[1])["examples"],
                     inference.traverse(PLAIN, x, dimensions=(1,), num_points=3).examples),
    }  # fmt: skip
    assert (
        expected.keys() | {"impute", "edit", "transfer"} == answering.TASKS.keys()
    )  # those have models of their own below
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
            f"unknown task 'genrate': this model knows {', '.join(answering.TASKS)}; did you mean `generate`?",
        ),
        ({"task": "fly"}, f"unknown task 'fly': this model knows {', '.join(answering.TASKS)}"),
        ({"output": "men"}, "unknown output 'men': this model knows mean, std, sample, ess; did you mean `mean`?"),
        ({"output": "std"}, "task reconstruct: output must be mean, got 'std'"),
        ({"path": "straight"}, "unknown path 'straight': this model knows linear, spherical, geodesic"),
        ({"tasks": "score"}, f"unknown parameter 'tasks': this model knows {PARAMETERS}; did you mean `task`?"),
        ({"sampler": "prio"}, "unknown sampler 'prio': this model knows prior, aggregate; did you mean `prior`?"),
    ],
)
def test_unknown_names_are_refused(params: dict[str, str], message: str) -> None:
    """An unknown task, choice or parameter is refused with what there is and the nearest."""
    assert refusal(images(), **params) == message


WRONG_PARAMS = [
    ({"N": 3}, f"unknown parameter 'N': this model knows {PARAMETERS}; did you mean `n`?"),
    ({"target": "3"}, "parameter target: expected a list, each entry text, such as ['3'], got '3'"),
    ({"condition": [3]}, "parameter condition: expected a list, each entry text, such as ['3'], got [3]"),
    ({"dimensions": 1}, "parameter dimensions: expected a list, each entry a whole number, such as [3], got 1"),
    ({"n": "3"}, "parameter n: expected a whole number, got '3'"),
    ({"n": True}, "parameter n: expected a whole number, got True"),
    ({"temperature": "hot"}, "parameter temperature: expected a number, got 'hot'"),
    ({"sampler": None}, "parameter sampler: expected text, got None"),
]


def stored(folder: Path, **model: Any) -> Any:
    """A model that MLflow has stored in a folder and loaded from there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of a model without an input example
        mlflow.pyfunc.save_model(str(folder / "stored"), pip_requirements=["mlflow"], **model)
        return mlflow.pyfunc.load_model(str(folder / "stored"))


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A registered model as MLflow loads it."""
    folder = tmp_path_factory.mktemp("pulled")
    save_model(PLAIN, str(folder / "weights"))
    artifacts = {serving.ARTIFACT: str(folder / "weights")}
    return stored(folder, python_model=serving.__file__, artifacts=artifacts, signature=serving.signature())


@pytest.mark.parametrize(("params", "message"), WRONG_PARAMS)
def test_pulled_model_refuses_wrong_parameters(params: dict[str, Any], message: str, pulled: Any) -> None:
    """MLflow neither drops an unknown parameter of a pulled model nor answers a wrong type with an error of its own."""
    with pytest.raises(ValueError) as error:
        pulled.predict(None, params={"task": "generate", **params})
    assert str(error.value) == message
    assert refusal(None, task="generate", **params) == message


def test_pulled_model_takes_numpy_values(pulled: Any) -> None:
    """NumPy's numbers and arrays, and tuples, are answered like Python's numbers and lists."""
    generated = pulled.predict(None, params={"task": "generate", "n": np.int8(3), "temperature": np.float16(0.5)})
    assert np.array_equal(generated, predict(None, task="generate", n=3, temperature=0.5))
    for dimensions in (np.array([1]), (1,)):
        traversed = pulled.predict(images(), params={"task": "traverse", "dimensions": dimensions})
        assert traversed["dimensions"].tolist() == [1]


def test_other_mlflow_models_answer_as_before(pulled: Any, tmp_path: Path) -> None:
    """Loading our model leaves a model of somebody else alone: MLflow drops its unknown parameters."""
    code = tmp_path / "echo.py"
    code.write_text(
        "from mlflow.models import set_model\n"
        "from mlflow.pyfunc import PythonModel\n"
        "class Echo(PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return [params]\n"
        "set_model(Echo())\n"
    )
    signature = ModelSignature(params=ParamSchema([ParamSpec("n", "long", 1)]))
    other = stored(tmp_path, python_model=str(code), signature=signature)
    assert other.predict([1], params={"N": 3}) == [{"n": 1}]


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


@pytest.mark.parametrize("task", ["reconstruct", "encode", "score"])
def test_missing_pixels_are_left_out(task: str) -> None:
    """NaN is a pixel that is not there: the result is that of the task on what is observed, and finite."""
    x = images()
    x[1, 0, 2, :2] = np.nan
    observed = torch.from_numpy(~np.isnan(x))
    inputs = Inputs(torch.from_numpy(np.nan_to_num(x, nan=0.5)), observed)
    expected = {
        "reconstruct": lambda: inference.reconstruct(PLAIN, inputs),
        "encode": lambda: inference.encode(PLAIN, inputs).mean,
        "score": lambda: inference.score(PLAIN, inputs, num_samples=5),
    }[task]()
    found = predict(x, task=task, num_samples=5)
    found = found["mean"] if task == "encode" else found
    assert np.array_equal(found, expected.numpy())
    whole = predict(images(), task=task, num_samples=5)
    assert not np.array_equal(found[1], (whole["mean"] if task == "encode" else whole)[1])


def test_images_of_nothing_are_answered() -> None:
    """An image of which every pixel is missing has log p = log 1, and the others' results do not change."""
    x = images()
    x[0] = np.nan
    scores = predict(x, task="score", num_samples=2000)
    assert scores[0] == pytest.approx(0, abs=0.2)


def test_grey_pixels_are_scored_as_binary_draws() -> None:
    """A model of binarised pixels scores grey ones by a draw of the seed; one of binary data refuses them."""
    dynamic = build(likelihood=Bernoulli())
    scores = [predict(images(), dynamic, task="score", seed=seed, num_samples=9) for seed in (4, 4, 5)]
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])
    generator = torch.Generator().manual_seed(derive(4, Stream.GENERATION, 3))
    binary = binarize((torch.from_numpy(images()) * 255).round().byte(), generator)
    expected = inference.score(dynamic, Inputs(binary), num_samples=9, seed=4).numpy()
    assert np.array_equal(scores[0], expected)
    assert np.array_equal(predict(binary, dynamic, task="score", seed=4, num_samples=9), expected)
    message = refusal(images(), build(likelihood=Bernoulli(binarization="none")), task="score")
    assert message.startswith("task score: 60 of 60 pixels are neither 0 nor 1")


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
    wrong = f"n must be at least 1, got {n}" if n < 1 else f"temperature must be above 0 and finite, got {temperature}"
    assert refusal(None, task="generate", n=n, temperature=temperature) == f"task generate: {wrong}"


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


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ([], "this model is conditional; give params['condition'], one entry for all rows or one for each, such as "
             "'class=cat, size=3.0, colour=light, blue' (class: cat, dog, emu; size: a number; colour: light, blue, red)"),
        (["class=cat, siz=2, colour=red"], "condition 'class=cat, siz=2, colour=red': 'siz' is not known "
                                           "(did you mean `size`?); give one entry"),
        (["cat"], "condition 'cat': 'cat' is not known; give one entry"),
        (["class=cat, class=dog"], "condition 'class=cat, class=dog': 'class' is there twice; give one entry"),
        (["size=2"], "condition 'size=2' says nothing of class, colour; give one entry"),
        (["class=cat, size=big, colour=red"], "size must be a number, got 'big'"),
        (["class=cat, size=nan, colour=red"], "size must be a number, got 'nan'"),
        (["class=cat, size=2, colour=pink"], "unknown colour pink: expected light, blue, red"),
    ],
)  # fmt: skip
def test_bad_conditions_of_several_are_refused(condition: list[str], message: str) -> None:
    """What is unknown, missing, twice or no number is named, with what is expected."""
    found = refusal(None, SEVERAL, task="generate", n=3, condition=condition)
    assert found.startswith(f"task generate: {message}")


def test_several_conditions_in_any_order() -> None:
    """Names and values, a comma inside a value too, are what the model's own condition is made of."""
    found = predict(None, SEVERAL, task="generate", n=2, condition=["size=5,colour = light, blue,class=emu"])
    condition = SEVERAL.condition(torch.tensor([2, 2]), torch.tensor([[5.0, 0.0, 0.0]] * 2))
    assert np.array_equal(found, inference.generate(SEVERAL, 2, condition).numpy())
    x = torch.from_numpy(images(2))
    entries = ["class=cat, size=-1e1, colour=red", "class=dog, size=0.1, colour=light, blue"]
    condition = SEVERAL.condition(torch.tensor([0, 1]), torch.tensor([[-10, 0, 1], [0.1, 0, 0]]))
    expected = inference.reconstruct(SEVERAL, Inputs(x, condition=condition)).numpy()
    assert np.array_equal(predict(images(2), SEVERAL, condition=entries), expected)


def test_single_attribute_is_given_by_its_value() -> None:
    """A model that is told one number takes the number."""
    model = build("size")
    expected = inference.generate(model, 2, model.condition(None, torch.tensor([[1.5, 0, 0]] * 2)))
    assert np.array_equal(predict(None, model, task="generate", n=2, condition=["1.5"]), expected.numpy())
    assert refusal(None, model, task="generate") == (
        "task generate: this model is conditional; give params['condition'], one size for all rows or one for each, a "
        "number"
    )


def test_written_conditions_are_read_back() -> None:
    """Every value goes through text and back, and the example is one that the model takes."""
    for columns, values in [(SEVERAL.conditions, [2, 0.1, 0]), (SEVERAL.conditions[2:], [1]), (PLAIN.conditions, [])]:
        entries = [write_condition(columns, values)] if columns else []
        np.testing.assert_array_equal(read_conditions(entries, columns, 2, "test"), np.array([values] * 2, np.float32))
    for model in (PLAIN, CONDITIONAL, SEVERAL):
        example = served(model).example_condition()
        assert len(predict(None, model, task="generate", n=2, condition=example)) == 2


def test_beta_is_for_models_with_gates() -> None:
    """A gated model's results follow β, of which 1 is the default; another model refuses any but 1."""
    z = np.ones((3, LATENT), np.float32)
    for beta in (0.1, 4.0):
        log_beta = torch.full((3, 1), float(np.log(beta)))
        expected = inference.decode(GATED, torch.from_numpy(z), log_beta_N1=log_beta).numpy()
        assert np.array_equal(predict(z, GATED, task="decode", beta=beta), expected)
    assert not np.array_equal(predict(z, GATED, task="decode", beta=4.0), predict(z, GATED, task="decode"))
    assert np.array_equal(predict(z, GATED, task="decode", beta=1.0), predict(z, GATED, task="decode"))
    for task in ("reconstruct", "score"):
        assert not np.array_equal(predict(images(), GATED, task=task, beta=9.0), predict(images(), GATED, task=task))
    assert refusal(z, GATED, task="decode", beta=0.0) == "task decode: beta must be above 0, got 0.0"
    assert refusal(z, task="decode", beta=2.0) == (
        "task decode: this model was trained at one beta and takes no other, got 2.0; one that was trained with "
        "model.beta_gates does"
    )


def test_sampler_is_the_prior_or_the_aggregate_posterior() -> None:
    """The mixture that was fitted is drawn from when it is asked for; a model without one says so."""
    assert "no mixture fitted to its aggregate posterior" in refusal(None, task="generate", sampler="aggregate")
    model = build()
    model.aggregate = AggregateMixture(1, LATENT)  # no spread: every draw is its mean
    model.aggregate.means.fill_(3.0)
    found = predict(None, model, task="generate", n=2, sampler="aggregate")
    assert np.array_equal(found, inference.decode(model, torch.full((2, LATENT), 3.0)).numpy())


# --- tables ---------------------------------------------------------------------------------------------------------


def prepared(age: list[float], colour: list[int], level: list[int]) -> torch.Tensor:
    return torch.stack([(torch.tensor(age) - 40) / 10, torch.tensor(colour), torch.tensor(level)], dim=1)


def test_table_rows_are_standardised_encoded_and_masked() -> None:
    """A data frame becomes deviations from the mean, codes, and which entries are there."""
    x = prepared([20, 40, 61.5], [2, 0, 0], [1, 0, 0])
    inputs = Inputs(x, torch.tensor([[True, True, True], [False, True, True], [True, False, True]]))
    code = predict(PEOPLE, TABLE, task="encode")
    assert np.array_equal(code["mean"], inference.encode(TABLE, inputs).mean.numpy())
    scores = predict(PEOPLE, TABLE, task="score", num_samples=5)
    assert np.array_equal(scores, inference.score(TABLE, inputs, num_samples=5).numpy())


@pytest.mark.parametrize("task", ["reconstruct", "decode", "generate"])
def test_tables_come_back_in_their_own_units(task: str) -> None:
    """Results are data frames with the model's columns: numbers in their unit, categories by name."""
    z = torch.randn(16, LATENT, generator=torch.Generator().manual_seed(0))
    given = {"reconstruct": PEOPLE, "decode": z.numpy(), "generate": None}[task]
    found = predict(given, TABLE, task=task, output="mean" if task == "reconstruct" else "sample")
    assert list(found.columns) == ["age", "colour", "level"]
    assert set(found["colour"]) <= {"blue", "green", "red"}
    assert set(found["level"]) <= {"1", "2"}
    if task == "decode":
        x = inference.decode(TABLE, z, output="sample").numpy()
        np.testing.assert_allclose(found["age"], 40 + 10 * x[:, 0], rtol=1e-6)
        assert found["colour"].tolist() == [COLUMNS[1].categories[int(code)] for code in x[:, 1]]  # pyright: ignore
        assert predict(found, TABLE).shape == (16, 3)  # what it gives, it takes


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame[["level", "age", "colour"]],
        lambda frame: frame.to_dict("list"),
        lambda frame: frame.to_records(index=False),
        lambda frame: frame.to_numpy(),
        lambda frame: frame.to_numpy().tolist(),
        lambda frame: frame.astype({"age": "Float64", "level": "float"}),
        lambda frame: frame.astype({"colour": "category", "level": "str"}),
        lambda frame: frame.assign(age=["20", None, "61.5"]),
    ],
    ids=["another order", "dict", "records", "array", "lists", "nullable", "categories", "text"],
)
def test_tables_may_come_in_several_forms(convert: Any) -> None:
    """Whatever holds the same rows gives the same result."""
    expected, found = predict(PEOPLE, TABLE), predict(convert(PEOPLE), TABLE)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (PEOPLE.rename(columns={"age": "agee"}), "unknown column 'agee' (did you mean `age`?), column 'age' is missing; "
                                                 "expected the columns age, colour, level"),
        (PEOPLE.drop(columns="level"), "column 'level' is missing; expected the columns age, colour, level"),
        (pd.concat([PEOPLE, PEOPLE[["age"]]], axis=1), "column 'age' is there 2 times; expected"),
        (PEOPLE.assign(colour="gren"), "column 'colour', row 0: unknown category 'gren' (did you mean `green`?); expected "
                                       "blue, green, red"),
        (PEOPLE.assign(level=1.5), "column 'level', row 0: unknown category '1.5'"),
        (PEOPLE.assign(age=["20", "old", None]), "column 'age', row 1: expected numbers, found 'old'; "
                                                 "None or NaN is missing"),
        (PEOPLE.assign(age=-np.inf), "column 'age', row 0: expected numbers, found '-inf'"),
        (PEOPLE.to_numpy()[:, :2], "expected a data frame, or an array of shape (N, 3) with the columns age, colour, "
                                   "level; found shape (3, 2)"),
        ({"age": [1], "colour": ["red", "red"], "level": ["1"]}, "these columns are no table: "),
    ],
)  # fmt: skip
def test_bad_tables_are_refused(rows: Any, message: str) -> None:
    """Unknown, missing and repeated columns, unknown categories and what is no number, with the nearest name."""
    assert refusal(rows, TABLE).startswith(f"task reconstruct: {message}")


def test_conditional_table_takes_its_condition() -> None:
    """A table's model may be told the class as well."""
    model = build("class", (3,), encoder={"kind": "table", "hidden": [8]}, likelihood={"kind": "mixed"})
    dog, emu = (predict(PEOPLE, model, condition=[name]) for name in ("dog", "emu"))
    assert not dog.equals(emu)
    pd.testing.assert_frame_equal(
        predict(PEOPLE, model, condition=["dog", "emu", "dog"]).iloc[[0, 2]], dog.iloc[[0, 2]]
    )


# --- gaps, pairs, directions and styles ------------------------------------------------------------------------------


TYPED = (
    Column("age", None, 40.0, 10.0, "int64"),
    Column("member", ("False", "True"), dtype="bool"),
    Column("level", ("1", "2"), dtype="int64"),
    Column("keen", None, 0.5, 0.5, "bool"),
    Column("weight", None, 70.0, 5.0),
)
GUESTS = pd.DataFrame(
    {
        "age": pd.array([20, None, 61], "Int64"),
        "member": pd.array([True, False, None], "boolean"),
        "level": pd.array([2, 1, 1], "Int64"),
        "keen": pd.array([None, True, False], "boolean"),
        "weight": [0.1, 71.25, np.nan],
    }
)


def typed(**experience: Any) -> VAE:
    parts = {"encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}, "latent_dim": LATENT}
    model = VAE(ModelConfig.model_validate(parts), ExampleSpec((5,), None, TYPED)).eval()
    model.experience = Experience(**experience)
    return model


def test_imputed_table_keeps_what_was_there_and_its_types() -> None:
    """Every cell that the caller gave comes back as it was, gaps are filled, and columns keep their types."""
    found = predict(GUESTS, typed(missing=True), task="impute", num_samples=20)
    assert found.dtypes.equals(GUESTS.dtypes)
    assert not found.isna().any(axis=None)
    pd.testing.assert_frame_equal(found.where(GUESTS.notna()), GUESTS.where(GUESTS.notna()), check_dtype=False)
    assert found["weight"][0] == 0.1


def test_several_imputations_of_a_row_follow_each_other() -> None:
    """`n` rows for each, told apart by the index; they agree where something was observed, and differ elsewhere."""
    found = predict(GUESTS, typed(missing=True), task="impute", output="sample", n=5, num_samples=20)
    assert found.index.names == ["row", "imputation"]
    assert found.index.tolist() == [(row, number) for row in range(3) for number in range(5)]
    assert found["age"].tolist()[:5] == [20] * 5
    assert found["weight"].nunique() > 5
    assert found.dtypes.equals(GUESTS.dtypes)


def test_spread_of_a_table_is_in_its_units() -> None:
    """Standard deviations are numbers in each column's unit, and 0 where a cell was given."""
    model = typed(missing=True)
    found = predict(GUESTS, model, task="impute", output="std", num_samples=20)
    assert (found.where(GUESTS.notna(), 0) == 0).all(axis=None)
    assert found["age"][1] > 1  # of about 10, which is one standard deviation
    assert 0 < found["member"][2] < 1


def test_effective_draws_are_an_answer_of_their_own() -> None:
    """`ess` gives one number for each row, that of the estimate, from 1 to the number of draws."""
    model = typed(missing=True)
    found = predict(GUESTS, model, task="impute", output="ess", num_samples=20)
    assert found.shape == (3,)
    assert (found >= 1).all()
    scored = predict(GUESTS, model, task="score", output="ess", num_samples=20)
    assert scored.shape == (3,)
    assert ((scored >= 0.999) & (scored <= 20.001)).all()


@pytest.mark.parametrize("output", ["mean", "std", "sample"])
def test_rows_with_few_effective_draws_are_flagged(output: str) -> None:
    """Two draws are too few for every row with a gap: the warning counts them, and says what gives their figures."""
    message = (
        r"task impute: 3 of 4 rows rest on fewer than 10 effective draws.*\{'output': 'ess'\}.*num_samples above 1"
    )
    whole = pd.DataFrame({"age": [30], "member": [True], "level": [1], "keen": [False], "weight": [1.0]})
    rows = pd.concat([GUESTS, whole.astype(GUESTS.dtypes)], ignore_index=True)
    with pytest.warns(UserWarning, match=message) as warned:
        predict(rows, typed(missing=True), task="impute", output=output, num_samples=1)
    assert len(warned) == 1


def test_reconstructed_table_has_the_types_of_its_dataset() -> None:
    """Whole numbers, truth values and numbered categories come back as such where nothing is missing."""
    found = predict(GUESTS, typed(), task="reconstruct")
    assert [str(kind) for kind in found.dtypes] == ["int64", "bool", "int64", "bool", "float64"]
    assert set(found["level"]) <= {1, 2}


def test_model_of_complete_examples_does_not_impute() -> None:
    """It says why, and what it can do."""
    said = refusal(GUESTS, typed(), task="impute")
    assert said.startswith("task impute: this model was trained on complete examples")
    assert "reconstruct, denoise and score" in said
    assert answering.abilities(typed())["impute"] is not None
    assert answering.abilities(typed(missing=True))["impute"] is None


def test_row_of_nothing_is_named() -> None:
    """Rows of which nothing is observed are refused by their number."""
    empty = pd.concat([GUESTS, pd.DataFrame(None, index=range(2), columns=GUESTS.columns)], ignore_index=True)
    assert refusal(empty, typed(missing=True), task="impute").startswith(
        "task impute: nothing is observed of rows 3, 4; leave such rows out"
    )


def test_imputed_image_keeps_the_pixels_that_were_there() -> None:
    """Only missing pixels are filled, and only theirs is a spread."""
    model, x = build(), images()
    model.experience = Experience(missing=True)
    x[:, :, 0, 0] = np.nan
    there = ~np.isnan(x)
    found, std = (predict(x, model, task="impute", output=output, num_samples=10) for output in ("mean", "std"))
    many = predict(x, model, task="impute", output="sample", n=3, num_samples=10)
    assert np.array_equal(found[there], x[there])
    assert np.isfinite(found).all()
    assert (std[there] == 0).all()
    assert (std[~there] > 0).all()
    assert many.shape == (5, 3, *SHAPE)
    assert np.array_equal(many[:, 1][there], x[there])


def test_noisy_pixels_may_leave_their_range() -> None:
    """What is to be cleaned is taken as it is; an infinite pixel is not."""
    noisy = images() + np.random.default_rng(1).normal(0, 2, (5, *SHAPE)).astype(np.float32)
    assert predict(noisy, task="denoise").shape == noisy.shape
    assert (predict(noisy, task="denoise", output="std") > 0).all()
    noisy[0, 0, 0, 0] = np.inf
    assert "finite pixels" in refusal(noisy, task="denoise")


@pytest.mark.parametrize("path", ["linear", "spherical", "geodesic"])
def test_paths_end_at_the_reconstructions(path: str) -> None:
    """Whatever the path, its ends are what `reconstruct` gives; pairs of single-channel images need no channel."""
    pairs = images(6).reshape(3, 2, *SHAPE)
    found = predict(pairs[:, :, 0], task="interpolate", n=5, path=path)
    assert found.shape == (3, 5, *SHAPE)
    for end, place in ((0, 0), (1, -1)):
        np.testing.assert_allclose(found[:, place], predict(pairs[:, end]), rtol=1e-5, atol=1e-6)


def test_paths_of_a_table_are_rows() -> None:
    """Two successive rows are a pair; a path's rows follow each other. Three rows are no pairs."""
    people = PEOPLE.dropna(how="all").iloc[[0, 1, 0, 2]]
    found = predict(people, TABLE, task="interpolate", n=4)
    assert found.index.names == ["row", "point"]
    assert len(found) == 8
    assert "expected pairs, two successive rows each, found 3 rows" in refusal(PEOPLE, TABLE, task="interpolate")
    assert "categories do not" in refusal(people, TABLE, task="interpolate", path="geodesic")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task": "interpolate"}, "task interpolate: expected pairs of images, (N, 2, …), found (5, 1, 4, 3)"),
        ({"task": "interpolate", "n": 1}, "task interpolate: n must be at least 2, both ends of a path, got 1"),
        ({"task": "traverse", "dimensions": [0, 7]}, "task traverse: dimensions must be 0 to 1, got 7"),
        ({"task": "traverse", "extent": 0.0}, "task traverse: extent must be above 0 and finite, got 0.0"),
        ({"task": "denoise", "num_samples": 0}, "task denoise: num_samples must be at least 1, got 0"),
        ({"task": "transfer"}, "task transfer: this model takes no condition, so there is nothing to transfer rows to"),
        ({"task": "edit"}, "task edit: this model has no directions"),
    ],
)
def test_impossible_requests_are_refused(params: dict[str, Any], message: str) -> None:
    """Each says what is wrong and what would do."""
    assert refusal(images(), **params).startswith(message)


def test_dimensions_come_sorted_by_what_they_carry() -> None:
    """The images are the decoder's at the posterior's mean with one dimension set."""
    found = predict(images(), task="traverse", n=3, extent=2.0)
    assert found["examples"].shape == (5, LATENT, 3, *SHAPE)
    assert found["values"].tolist() == [-2, 0, 2]
    assert found["kl"][0] >= found["kl"][1]
    z = predict(images(), task="encode")["mean"]
    z[:, found["dimensions"][0]] = 2.0
    np.testing.assert_allclose(found["examples"][:, 0, 2], predict(z, task="decode"), rtol=1e-5, atol=1e-6)


def test_editing_moves_along_a_direction() -> None:
    """The result is the decoder's at the mean plus so many steps; an unknown attribute is answered with the known."""
    model = build()
    model.directions = Directions(["size", "class=cat"], LATENT)
    model.directions.means[0] = torch.tensor([1.0, -2.0])
    code = predict(images(), model, task="encode")["mean"]
    expected = predict(code + 0.5 * np.array([[1.0, -2.0]], np.float32), model, task="decode")
    np.testing.assert_allclose(
        predict(images(), model, task="edit", attribute="size", strength=0.5), expected, rtol=1e-5, atol=1e-6
    )
    assert refusal(images(), model, task="edit", attribute="class=bat").endswith(
        "this model knows size, class=cat; did you mean `class=cat`?"
    )


def test_transfer_decodes_under_the_target() -> None:
    """The latent is of the row's own condition, the decoding of the target's; a reference's condition is found out."""
    x = images(4)
    z = predict(x, CONDITIONAL, task="encode", condition=["dog"])["mean"]
    expected = predict(z, CONDITIONAL, task="decode", condition=["emu"])
    found = predict(x, CONDITIONAL, task="transfer", condition=["dog"], target=["emu"])
    assert np.array_equal(found, expected)
    pairs = x.reshape(2, 2, *SHAPE)
    own, reference = (
        inference.infer_condition(CONDITIONAL, Inputs(torch.from_numpy(pairs[:, number].copy()))) for number in range(2)
    )
    code = inference.encode(CONDITIONAL, Inputs(torch.from_numpy(pairs[:, 0].copy()), condition=own)).mean
    by_reference = predict(pairs, CONDITIONAL, task="transfer")
    np.testing.assert_allclose(by_reference, inference.decode(CONDITIONAL, code, reference), rtol=1e-5, atol=1e-6)
    assert "task transfer, target: unknown class bat" in refusal(x, CONDITIONAL, task="transfer", target=["bat"])


def test_client_asks_what_predict_answers() -> None:
    """Each method of the typed client gives what its task gives."""
    model = build("class")
    model.experience = Experience(missing=True)
    model.directions = Directions(["size"], LATENT)
    client, x = tasks.Pulled(Answering(model)), images(4)
    told = {"condition": ["dog"]}
    assert np.array_equal(client.reconstruct(x, condition="dog"), predict(x, model, **told))
    assert np.array_equal(client.encode(x, condition="dog").std, predict(x, model, task="encode", **told)["std"])
    z = np.zeros((2, LATENT), np.float32)
    assert np.array_equal(client.decode(z, condition="dog"), predict(z, model, task="decode", **told))
    assert np.array_equal(client.generate(3, condition="dog"), predict(None, model, task="generate", n=3, **told))
    assert np.array_equal(client.score(x, condition="dog"), predict(x, model, task="score", **told))
    assert client.denoise(x, condition="dog", std=True).shape == x.shape
    assert client.impute(x, condition="dog").shape == x.shape
    assert client.impute_many(x, 2, condition="dog").shape == (4, 2, *SHAPE)
    assert client.impute_ess(x, condition="dog").shape == (4,)
    assert client.interpolate(x.reshape(2, 2, *SHAPE), 3, condition="dog").shape == (2, 3, *SHAPE)
    assert client.traverse(x, n=3, condition="dog").examples.shape == (4, LATENT, 3, *SHAPE)
    assert client.edit(x, "size", 0.0, condition="dog").shape == x.shape
    assert np.array_equal(client.transfer(x, "emu"), predict(x, model, task="transfer", target=["emu"]))


class Answering:
    """A model as MLflow pulls it, without MLflow."""

    def __init__(self, model: VAE) -> None:
        self.model = served(model)

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        return self.model.predict(None, data, params)


# --- what is registered ---------------------------------------------------------------------------------------------


def test_signature_names_every_parameter() -> None:
    """What `predict` reads and what the signature announces are the same, with defaults that give a result."""
    assert {param.name for param in serving.signature().params} == set(answering.Request.__dataclass_fields__)
    assert predict(None, task="generate").shape == (16, *SHAPE)


def test_requirements_are_exact() -> None:
    """Every requirement is pinned, and without a local build tag; zuko is for flows and pandas for tables alone."""
    found = serving.requirements(PLAIN.config)
    assert [line.partition("==")[0] for line in found] == list(serving.REQUIREMENTS)
    assert all("+" not in line for line in found)
    assert f"torch=={torch.__version__.partition('+')[0]}" in found
    flow = ModelConfig.model_validate({"prior": {"kind": "flow"}})
    added = [set(serving.requirements(config)) - set(found) for config in (flow, TABLE.config)]
    assert [[line.partition("==")[0] for line in lines] for lines in added] == [["zuko"], ["pandas"]]


WITHOUT_ZUKO = """
import sys
sys.modules["zuko"] = None
from vae.config import ModelConfig
from vae.data.schema import ExampleSpec
from vae.model import VAE
VAE(ModelConfig(), ExampleSpec((1, 4, 4)))
for part in ("posterior", "prior"):
    try:
        VAE(ModelConfig.model_validate({part: {"kind": "flow"}}), ExampleSpec((1, 4, 4)))
    except ImportError:
        print(part)
"""


def test_model_without_a_flow_does_without_zuko() -> None:
    """Without zuko, every part is imported and a model is built; only a flow asks for it."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_ZUKO], capture_output=True, text=True)
    assert done.stdout.split() == ["posterior", "prior"], done.stderr


def test_context_loads_the_model_that_was_saved(tmp_path: Any) -> None:
    """The artifact's folder is all that the registered model needs."""

    class Context:
        artifacts = {serving.ARTIFACT: str(tmp_path)}  # noqa: RUF012  stands for MLflow's

    save_model(PLAIN, str(tmp_path))
    registered = serving.RegisteredVAE()
    registered.load_context(Context())
    assert np.array_equal(registered.predict(None, images()), predict(images()))
