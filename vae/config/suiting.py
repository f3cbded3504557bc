"""The configuration that a run takes where its request names none: a preset and a few changes that suit the dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from vae.config import RunConfig, override
from vae.config.presets import PRESETS, preset
from vae.config.scale import scale_of
from vae.data.parquet import Dataset
from vae.errors import ConfigError
from vae.parts.likelihoods.autoregressive import excess_of

SAMPLE_ROWS = 256
"""Images that are looked at, of the training split's first, which ingest has shuffled."""
SAMPLE_BYTES = 16 << 20
"""Limit of the sample of large images, in bytes."""
NEAR = 16
"""Levels of 256 within which a pixel counts as black or white."""
MOST_SHADES = 0.5
"""Share of shades above which grey images are photographs. Measured: MNIST 0.10, scikit-learn's digits 0.42, scanned text
0.40; photographs 0.71 to 0.99, and 0.59 darkened to a quarter."""
MOST_COLOUR_SHADES = 0.1
"""The same of colour images, whose values are all off or full in drawings alone: colour sprites have 0."""
CONV_SIDE = 32
"""Pixels of the shorter side from which a convolutional body is taken."""
SMALLEST_SIDE = 8
"""Pixels of the shorter side that the halvings of a convolutional body lead down to, about."""
PHOTOGRAPHS: Mapping[str, Any] = {"model.likelihood": {"kind": "discretized_logistic"}}
"""Changes for photographs: a likelihood that gives each of the 256 levels a probability."""
STEPS_PER_EPOCH = 8
"""Optimiser steps that an epoch has at least, where the training split is small: its batches are smaller then."""
MOST_VALUES_PER_BATCH = 1 << 22
"""Largest number of pixel values in a batch: the likelihood holds some 100 numbers for each, 2 GB in all."""
SMALLEST_BATCH = 16
"""Examples of a batch that is made smaller for the sake of `STEPS_PER_EPOCH`."""


@dataclass(frozen=True)
class Facts:
    """Facts about a dataset on which its default configuration depends."""

    num_rows: int
    """Rows of the training split."""
    shape: tuple[int, ...]
    """(channels, height, width) of an image, (columns,) of a table."""
    shades: float | None = None
    """Share of pixel values that are neither near 0 nor near 255; None of a table."""
    missing_share: float = 0.0
    """Share of a table's entries that are missing from the training split."""
    num_categories: int = 0
    """Categories of all columns of a table."""

    @property
    def are_photographs(self) -> bool:
        """Whether the examples are images whose shades mean something: neither drawings, scans nor binary."""
        if self.shades is None:
            return False
        return self.shades > (MOST_SHADES if self.shape[0] == 1 else MOST_COLOUR_SHADES)


@dataclass(frozen=True)
class Suited:
    """A default configuration and its reason."""

    preset: str
    """Name of a preset."""
    changes: Mapping[str, Any]
    """Dotted fields to values, laid over the preset."""
    why: str
    """Clause about the dataset, which goes on after "because"; empty for a preset that was asked for and fits as it is."""

    def config(self) -> RunConfig:
        """Returns the whole configuration."""
        return override(preset(self.preset), self.changes, f"preset {self.preset}")

    def sentence(self) -> str:
        """Returns the choice and its reason as one plain sentence."""
        named = [
            f"{name.rpartition('.')[2]} {value['kind'] if isinstance(value, Mapping) else value}"
            for name, value in self.changes.items()
        ]
        because = f", because {self.why}" if self.why else ""
        return f"Chose preset {self.preset}{' with ' * bool(named)}{', '.join(named)}{because}."


def facts_of(dataset: Dataset) -> Facts:
    """Reads what a default configuration depends on: the manifest, and a sample of images or the footers of a table.

    Raises:
        CorruptData: If a shard is not what the manifest says.
    """
    example, rows = dataset.manifest.example, dataset.num_rows("train")
    if example.columns is not None:
        columns = example.columns
        missing_share = dataset.count_missing("train") / max(1, rows * len(columns))
        num_categories = sum(len(column.categories or ()) for column in columns)
        return Facts(rows, example.shape, missing_share=missing_share, num_categories=num_categories)
    sample = dataset.read_rows("train", 0, min(rows, SAMPLE_ROWS, max(1, SAMPLE_BYTES // example.row_bytes))).values
    shades = ((sample >= NEAR) & (sample <= 255 - NEAR)).mean() if sample.size else 0.0
    return Facts(rows, example.shape, shades=float(shades))


def fitted(name: str, dataset: Dataset) -> Suited:
    """Returns a preset with the values that it derives from the dataset.

    Raises:
        ConfigError: If there is no preset of that name, or it does not fit the data.
    """
    config = preset(name)
    derive = PRESETS[name].derive
    if derive is None:
        return Suited(name, {}, "")
    scale = scale_of(config, dataset)
    why = (
        f"on this data every dimension collapses above β = {scale.critical_beta:.2g}, with a distortion of "
        f"{scale.marginal_nats:.1f} nats"
    )
    return Suited(name, derive(scale), why)


def suited(facts: Facts) -> Suited:
    """Returns the preset and the changes that suit a dataset, and why."""
    if facts.shades is None:
        if facts.missing_share:
            return _with_batch("miwae", {}, facts, f"{facts.missing_share:.1%} of the table's entries are missing")
        why = "the examples are rows of a table without missing entries"
        excess = excess_of(math.prod(facts.shape), facts.num_categories)
        if not excess:
            return _with_batch("table_vae", {}, facts, why)
        factorised = {"model.likelihood": {"kind": "mixed", "numeric": "auto"}}
        return _with_batch("table_vae", factorised, facts, f"{why}, with {excess} for an autoregressive likelihood")
    channels, height, width = facts.shape
    side = min(height, width)
    changes: dict[str, Any] = {}
    if side >= CONV_SIDE:
        halvings = round(math.log2(side / SMALLEST_SIDE))
        changes["model.encoder"] = {"kind": "conv", "channels": [32, *[64] * (halvings - 1)]}
    images = f"the {height}x{width} {'grey' if channels == 1 else 'colour'} images look like"
    if facts.are_photographs:
        changes |= PHOTOGRAPHS
        why = f"{images} photographs: {facts.shades:.0%} of their values are neither near black nor near white"
    else:
        why = f"{images} drawings or scans: {1 - facts.shades:.0%} of their values are near black or near white"
    return _with_batch("vae", changes, facts, why)


def _with_batch(name: str, changes: Mapping[str, Any], facts: Facts, why: str) -> Suited:
    """Returns the choice with batches that suit a small training split and large images, of a power of two."""
    fitting = max(facts.num_rows // STEPS_PER_EPOCH, min(SMALLEST_BATCH, facts.num_rows))
    fitting = max(1, min(fitting, MOST_VALUES_PER_BATCH // math.prod(facts.shape)))
    batch_size = min(preset(name).training.batch_size, 2 ** (fitting.bit_length() - 1))
    smaller = {} if batch_size == preset(name).training.batch_size else {"training.batch_size": batch_size}
    return Suited(name, {**changes, **smaller}, why)


def first_fitting(changes: Mapping[str, Any], name: str | None = None) -> RunConfig:
    """Returns a preset, or else one of the default configurations, with changes laid over it: the first that accepts them.

    Before the dataset is looked at this tells a mistake from what some dataset may take.

    Raises:
        ConfigError: If no default configuration accepts the changes; says what the first one refuses.
    """
    if name is not None:
        return override(preset(name), changes, "changes")
    refusals = []
    for facts in KINDS_OF_DATA:
        try:
            return override(suited(facts).config(), changes, "changes")
        except ConfigError as error:
            refusals.append(error)
    raise refusals[0]


class Misfit(NamedTuple):
    """Reason why a configuration does not suit the data."""

    says: str
    advice: str
    """Flags that mend it."""


def misfits(config: RunConfig, facts: Facts) -> Misfit | None:
    """Returns why a configuration does not suit the data; None where it does."""
    if config.model.likelihood.is_binary and facts.are_photographs:
        return Misfit(
            f"the images look like photographs ({facts.shades:.0%} of their values are neither near black nor near white), "
            "and a bernoulli likelihood scores each value as black or white.",
            "--set 'model.likelihood={kind: discretized_logistic}'",
        )
    return None


KINDS_OF_DATA = (
    Facts(10_000, (1, 8, 8), shades=0.0),
    Facts(10_000, (1, 64, 64), shades=0.0),
    Facts(10_000, (3, 64, 64), shades=1.0),
    Facts(10_000, (4,)),
    Facts(10_000, (4,), missing_share=0.1),
)
"""One dataset of each kind that has a default configuration of its own."""
