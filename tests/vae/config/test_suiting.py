"""Default configurations: what a dataset is taken for, what it is given, and what does not suit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_images

from tests.vae.conftest import Publish
from vae.config import RunConfig, override
from vae.config.suiting import KINDS_OF_DATA, PHOTOGRAPHS, Facts, facts_of, first_fitting, misfits, suited
from vae.data.parquet import Dataset
from vae.data.sprites import Sprites
from vae.data.statistics import example_spec
from vae.errors import ConfigError
from vae.model import VAE
from vae.parts.bodies.conv import Conv

CONV_2 = {"kind": "conv", "channels": [32, 64]}
FACTORISED = {"kind": "mixed", "numeric": "auto"}
CONV_3 = {"kind": "conv", "channels": [32, 64, 64]}


@pytest.mark.parametrize(
    ("facts", "preset", "changes"),
    [
        (Facts(1437, (1, 8, 8), shades=0.42), "vae", {}),
        (Facts(50_000, (1, 28, 28), shades=0.1), "vae", {}),
        (Facts(50_000, (1, 64, 64), shades=0.0), "vae", {"model.encoder": CONV_3}),
        (Facts(50_000, (3, 64, 64), shades=0.0), "vae", {"model.encoder": CONV_3}),
        (Facts(50_000, (3, 32, 32), shades=0.8), "vae", {"model.encoder": CONV_2, **PHOTOGRAPHS}),
        (Facts(50_000, (3, 32, 32), shades=0.3), "vae", {"model.encoder": CONV_2, **PHOTOGRAPHS}),
        (Facts(50_000, (1, 16, 16), shades=0.8), "vae", PHOTOGRAPHS),
        (Facts(160, (1, 8, 8), shades=0.4), "vae", {"training.batch_size": 16}),
        (Facts(5, (1, 8, 8), shades=0.4), "vae", {"training.batch_size": 4}),
        (
            Facts(50_000, (3, 256, 256), shades=0.8),
            "vae",
            {
                "model.encoder": {"kind": "conv", "channels": [32, 64, 64, 64, 64]},
                **PHOTOGRAPHS,
                "training.batch_size": 16,
            },
        ),
        (Facts(1000, (12,)), "table_vae", {"training.batch_size": 64}),
        (Facts(5000, (20_000,)), "table_vae", {"model.likelihood": FACTORISED, "training.batch_size": 128}),
        (Facts(90_000, (3,), num_categories=300_000), "table_vae", {"model.likelihood": FACTORISED}),
        (Facts(1000, (12,), missing_share=0.01), "miwae", {}),
        (Facts(200, (12,), missing_share=0.01), "miwae", {"training.batch_size": 16}),
    ],
)
def test_default_suits_the_data(facts: Facts, preset: str, changes: dict[str, Any]) -> None:
    """Each kind of dataset is given its preset and its changes, which make a valid configuration without a misfit."""
    found = suited(facts)
    assert (found.preset, dict(found.changes)) == (preset, dict(changes))
    assert found.config().training.batch_size <= facts.num_rows
    assert misfits(found.config(), facts) is None
    assert found.sentence().startswith(f"Chose preset {preset}")


def test_bundled_digits_keep_the_default_configuration(digits: Dataset) -> None:
    """8x8 grey digits are trained as before, with binarised pixels, and the sentence says why."""
    found = suited(facts_of(digits))
    assert found.config() == RunConfig()
    assert found.sentence() == (
        "Chose preset vae, because the 8x8 grey images look like drawings or scans: 60% of their values are near black or "
        "near white."
    )


def crops(count: int, side: int, colour: bool) -> NDArray[np.uint8]:
    """Pieces of scikit-learn's two photographs, [N,C,H,W]."""
    rng, photographs = np.random.default_rng(0), load_sample_images().images
    pieces = []
    for number in range(count):
        image = photographs[number % 2]
        top, left = (int(rng.integers(limit - side)) for limit in image.shape[:2])
        pieces.append(image[top : top + side, left : left + side].transpose(2, 0, 1))
    pixels = np.stack(pieces)
    return pixels if colour else pixels.mean(1, keepdims=True).astype(np.uint8)


def gradients(count: int, side: int) -> NDArray[np.uint8]:
    """Smooth colour gradients, [N,3,H,W]."""
    ends = np.random.default_rng(0).uniform(0, 255, (2, count, 3, 1, 1))
    along = np.linspace(0, 1, side)[:, None]
    return np.broadcast_to(ends[0] * along + ends[1] * (1 - along), (count, 3, side, side)).astype(np.uint8)


def scans(count: int, side: int) -> NDArray[np.uint8]:
    """Dark strokes on white paper with blurred edges and noise, [N,1,H,W]."""
    rng = np.random.default_rng(0)
    paper = np.full((count, 1, side, side), 255.0)
    paper[:, :, ::8], paper[:, :, 1::8], paper[:, :, 7::8] = 0, 128, 128
    return np.clip(paper + rng.normal(0, 4, paper.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("made", "are_photographs"),
    [
        (lambda: np.rint(load_digits().images[:, None] * (255 / 16)).astype(np.uint8), False),
        (lambda: crops(60, 48, colour=True), True),
        (lambda: crops(60, 48, colour=False), True),
        (lambda: crops(60, 48, colour=True) // 4, True),
        (lambda: gradients(60, 24), True),
        (lambda: scans(60, 32), False),
        (lambda: (scans(60, 32) > 127).astype(np.uint8) * 255, False),
        (lambda: Sprites(colour=True).render(np.arange(0, 90_000, 1500)), False),
    ],
    ids=[
        "digits",
        "photographs",
        "grey photographs",
        "dark photographs",
        "gradients",
        "scans",
        "binary scans",
        "sprites",
    ],
)
def test_photographs_are_told_from_drawings(
    made: Callable[[], NDArray[np.uint8]], are_photographs: bool, publish: Publish, tmp_path: Path
) -> None:
    """The share of shades separates photographs, dark ones too, from digits, scans and sprites."""
    pixels = made()
    dataset = publish(tmp_path, pixels, None, {"train": len(pixels) - 10, "validation": 10})
    facts = facts_of(dataset)
    assert facts.are_photographs is are_photographs
    config = suited(facts).config()
    assert (config.model.likelihood.kind == "discretized_logistic") is are_photographs
    VAE(config.model, example_spec(dataset))


def test_gaps_of_a_table_are_found(people: Dataset) -> None:
    """Two of four columns have holes, a tenth and a fifth of their entries: 7.5% of the table."""
    facts = facts_of(people)
    assert facts.missing_share == pytest.approx(0.075, abs=0.01)
    assert suited(facts).preset == "miwae"


def test_binarised_likelihood_on_photographs_is_a_misfit() -> None:
    """The reason names a flag which, pasted, leaves no misfit; on digits the same configuration suits, as does an MLP."""
    photographs = Facts(50_000, (3, 48, 48), shades=0.98)
    said = misfits(RunConfig(), photographs)
    assert said is not None
    assert "98% of their values" in said.says
    assert said.advice == "--set 'model.likelihood={kind: discretized_logistic}'"
    mended = override(RunConfig(), {"model.likelihood": {"kind": "discretized_logistic"}})
    assert misfits(mended, photographs) is None
    assert misfits(RunConfig(), Facts(1437, (1, 8, 8), shades=0.42)) is None


def test_changes_are_refused_before_the_data_is_known() -> None:
    """What no dataset accepts is refused with the nearest field; what one kind of data alone accepts is let through."""
    with pytest.raises(ConfigError, match=r"objective\.betta: unknown key \(did you mean `beta`"):
        first_fitting({"objective.betta": 4})
    assert first_fitting({"model.likelihood.components": 3}).model.likelihood.kind == "discretized_logistic"
    assert isinstance(first_fitting({"model.encoder.hidden": 64}).model.encoder, Conv)
    assert all(suited(facts).config() for facts in KINDS_OF_DATA)
