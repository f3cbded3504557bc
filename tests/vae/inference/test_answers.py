"""Answers about images: each task gives what its function gives, whatever form the images come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.vae.inference.served import (
    CONDITIONAL,
    LATENT,
    PLAIN,
    SHAPE,
    build,
    images,
    predict,
    refusal,
    served,
)
from vae import inference
from vae.data.schema import Experience
from vae.draws import RowDraws
from vae.inference.answering import TASKS
from vae.parts.directions import Directions
from vae.parts.likelihoods.bernoulli import Bernoulli
from vae.parts.terms import Inputs
from vae.seeds import Stream


def first(x: Inputs) -> Inputs:
    return Inputs(x.x[:4:2])


def second(x: Inputs) -> Inputs:
    return Inputs(x.x[1:4:2])


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
    assert expected.keys() | {"impute", "edit", "transfer"} == TASKS.keys()  # those have models of their own below
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
    binary = RowDraws(4, Stream.GENERATION, 3).binary((torch.from_numpy(images()) * 255).round().byte())
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
    said = refusal(images(), model, task="edit", attribute="class=bat")
    assert said.endswith("(did you mean `class=cat`?): this model knows size, class=cat")


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
