"""Scores of a candidate and of the champion on rows of the same test split, as the workers of the evaluation measure them.

Shapes: N rows, B rows of a batch, D values of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.models import packaging
from pipelines.models.versions import Version
from vae.config import ModelConfig
from vae.data.batches import Batch, InOrder, Share
from vae.data.fitting import fits
from vae.data.missing import MissingConfig
from vae.data.parquet import Dataset
from vae.data.schema import ExampleSpec, with_bounds_of
from vae.data.statistics import example_spec
from vae.data.transforms import transform_of
from vae.metrics.likelihood import Sums, bound_sums, row_likelihoods
from vae.model import VAE
from vae.training.state import load_model

BATCH_ROWS, BATCH_BYTES = 32, 32 << 20
"""Largest number of rows, and bytes of their values as floats, that are scored at once."""


def protocol(config: ModelConfig, examples: ExampleSpec, missing: MissingConfig | None, num_samples: int) -> str:
    """Returns the name of a score.

    Scores under different binarisation policies, densities or missing values are not comparable, and a vector-quantised
    model has a bound in place of an estimate. `grey` marks densities over pixels whose scales are at least one grey level:
    a score without it is of a version with a smaller limit. `masses` numbers the columns with point masses.
    """
    quantized = config.posterior.has_codes
    masses = [str(n) for n, one in enumerate(examples.columns or ()) if one.curve and one.curve.mass]
    parts = [
        "nelbo" if quantized else "nll",
        config.likelihood.protocol,
        masses and f"masses{'.'.join(masses)}",
        missing and f"{missing.kind}{missing.share:g}",
        None if quantized else f"is{num_samples}",
    ]
    return "_".join(filter(None, parts))


@dataclass(frozen=True)
class Subject:
    """A model and the test split that it is measured on, as a worker opens them."""

    model: str
    """URI of the model's folder, or of a registered version."""
    dataset: Dataset = field(compare=False)
    """Dataset with the test split."""
    missing: MissingConfig | None
    """Entries to hide; None for none."""
    device: str
    """Device that the model is on."""
    data: ExampleSpec | None = field(default=None, compare=False)
    """Schema of the dataset's examples, for a model of another dataset; None for the dataset's own."""

    @property
    def num_rows(self) -> int:
        """Number of rows of the test split."""
        return self.dataset.num_rows("test")

    @property
    def batch_rows(self) -> int:
        """Number of rows that a worker scores at once; a score depends on it by rounding alone."""
        return max(1, min(BATCH_ROWS, BATCH_BYTES // (4 * self.dataset.manifest.example.num_values)))


class RowScores(NamedTuple):
    """Scores of some rows of a test split."""

    nats: NDArray[np.float64]
    """−log p(x) of each row, [N]."""
    num_observed: int
    """Number of observed values of all rows together."""


def score_rows(subject: Subject, num_samples: int, start: int, stop: int) -> RowScores:
    """Returns the scores of the test rows from `start` to `stop`; called by a worker."""
    model, batches = _opened(subject, start, stop)
    found = row_likelihoods(model, batches, num_samples=num_samples, seed=0, first=start)
    nats = found.nats.numpy()
    if subject.data is not None:
        nats = nats + unit_changes(model, subject.data, batches)
    return RowScores(nats, found.num_observed)


def bound_rows(subject: Subject, start: int, stop: int) -> Sums:
    """Returns the sums of the bound over the same rows; called by a worker."""
    model, batches = _opened(subject, start, stop)
    return bound_sums(model, batches, seed=0, first=start)


def open_model(uri: str) -> VAE:
    """Loads a model from its folder, or from the registry by `models:/NAME/VERSION`."""
    if not uri.startswith("models:/"):
        return load_model(uri, trust_code=True)
    with TemporaryDirectory() as scratch:
        return load_model(str(packaging.download(uri, Path(scratch))), trust_code=True)


@lru_cache(maxsize=2)
def _loaded(subject: Subject) -> tuple[VAE, Share]:
    """Returns the model on its device and the test split as it reads it; a worker keeps candidate and champion."""
    model = open_model(subject.model).to(subject.device)
    if subject.data is not None:
        model.examples = with_bounds_of(model.examples, subject.data)
    policy = model.config.likelihood.binarization_policy
    share = Share.of(subject.dataset, "test", device=subject.device, binarization=policy, missing=subject.missing)
    return model, share


def _opened(subject: Subject, start: int, stop: int) -> tuple[VAE, InOrder]:
    """Returns the model, and some rows in batches."""
    model, share = _loaded(subject)
    return model, InOrder(replace(share, start=start, stop=stop), subject.batch_rows)


def champion_subject(champion: Version | None, name: str, subject: Subject, num_samples: int) -> Subject | None:
    """Returns the champion as it is measured on the candidate's data; None if there is none that can be compared.

    Called by a worker: the scale of a table's columns is that of its whole training split.

    Args:
        champion: Version that has the alias.
        name: Protocol of the candidate's score.
        subject: The candidate.
        num_samples: Importance samples per example.
    """
    if champion is None or champion.score is None:
        return None
    theirs = replace(subject, model=champion.uri)
    dataset_id = subject.dataset.manifest.dataset_id
    if (champion.score.dataset_id, champion.score.name) == (dataset_id, name):
        return theirs
    model, data = open_model(champion.uri), example_spec(subject.dataset, subject.missing)
    comparable = fits(model.examples, data, model.config.condition)
    if not comparable or protocol(model.config, model.examples, subject.missing, num_samples) != name:
        return None
    return replace(theirs, data=data)


def unit_changes(model: VAE, data: ExampleSpec, batches: Iterable[Batch]) -> NDArray[np.float64]:
    """Returns the increase of each row's negative log-likelihood in the units of other data, in nats, [N].

    A density is per unit: each observed number adds the log of the model's standard deviation over the data's. A point
    mass has no unit.
    """
    log_ratio_D = torch.from_numpy(transform_of(model.examples).units / transform_of(data).units).log()
    curves = [column.curve for column in model.examples.columns or ()]
    mass_x_D = torch.tensor([curve.mass[1] if curve and curve.mass else torch.nan for curve in curves])
    changes = []
    for batch in batches:
        if not log_ratio_D.any():
            changes.append(torch.zeros(len(batch), dtype=torch.float64))
            continue
        x_BD, observed_BD = transform_of(model.examples).prepare(batch.values.cpu())
        assert observed_BD is not None, "values with units have a mask"
        changes.append((observed_BD & (x_BD != mass_x_D)).double() @ log_ratio_D)
    return torch.cat(changes).numpy()
