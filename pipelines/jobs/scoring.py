"""Scores of a candidate and of the champion on the same data, which the gate compares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from pipelines.cluster.runs import emit
from pipelines.models import packaging
from pipelines.models.versions import Score, Version
from vae.config import ModelConfig
from vae.data.batches import Batch, InOrder, Share
from vae.data.fitting import fits
from vae.data.missing import MissingConfig
from vae.data.parquet import Dataset
from vae.data.schema import ExampleSpec, with_bounds_of
from vae.data.statistics import example_spec
from vae.data.transforms import transform_of
from vae.errors import Diverged
from vae.metrics.likelihood import NegativeLogLikelihood, negative_log_likelihood
from vae.model import VAE
from vae.parts.likelihoods.preparing import prepare
from vae.training.state import load_model


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


def on_test_split(dataset: Dataset, config: ModelConfig, missing: MissingConfig | None) -> InOrder:
    """Returns the test split as the model reads it."""
    return InOrder(Share.of(dataset, "test", binarization=config.likelihood.binarization_policy, missing=missing))


def announced(batches: InOrder) -> Iterator[Batch]:
    """Yields the batches with an event for each: a large test split takes minutes."""
    total, done = batches.share.num_rows, 0
    for batch in batches:
        emit("evaluate", {"what": f"likelihood, {done:,} of {total:,} test examples"})
        yield batch
        done += len(batch)


def score_of(run: str, nll: NegativeLogLikelihood, name: str, dataset: Dataset) -> Score:
    """Returns the score of a candidate.

    Raises:
        Diverged: If it is not a finite number.
    """
    if not math.isfinite(nll.nats):
        raise Diverged(f"{name} of {run} is {nll.nats}: the model is not registered")
    return Score(nll.nats, name, dataset.manifest.dataset_id)


def champion_score(
    champion: Version | None,
    candidate: Score,
    dataset: Dataset,
    missing: MissingConfig | None,
    num_samples: int,
    scratch: Path,
) -> Score | None:
    """Returns the champion's score on the candidate's data; it is evaluated again if it was registered on other data."""
    if champion is None or champion.score is None:
        return None
    if (champion.score.dataset_id, champion.score.name) == (candidate.dataset_id, candidate.name):
        return champion.score
    model = load_model(str(packaging.download(champion.uri, scratch / "champion")))
    data = example_spec(dataset, missing)
    comparable = fits(model.examples, data, model.config.condition)
    if not comparable or protocol(model.config, model.examples, missing, num_samples) != candidate.name:
        return champion.score
    model.examples = with_bounds_of(model.examples, data)
    emit("evaluate", {"what": f"{champion.name} version {champion.version} on the new data"})
    test = on_test_split(dataset, model.config, missing)
    nll = negative_log_likelihood(model, test, num_samples=num_samples, seed=0)
    return Score(nll.nats + unit_change(model, data, test), candidate.name, candidate.dataset_id)


def unit_change(model: VAE, data: ExampleSpec, batches: Iterable[Batch]) -> float:
    """Returns the increase of a model's negative log-likelihood in the units of other data, in nats per example.

    A density is per unit: each observed number adds the log of the model's standard deviation over the data's. A point
    mass has no unit.
    """
    log_ratio_D = torch.from_numpy(transform_of(model.examples).units / transform_of(data).units).log()
    if not log_ratio_D.any():
        return 0.0
    curves = [column.curve for column in model.examples.columns or ()]
    mass_x_D = torch.tensor([curve.mass[1] if curve and curve.mass else torch.nan for curve in curves])
    changes = []
    for batch in batches:
        x_BD, observed_BD = prepare(batch.values, model.config.likelihood, model.examples, torch.Generator())
        assert observed_BD is not None, "values with units have a mask"
        changes.append((observed_BD & (x_BD != mass_x_D)).double() @ log_ratio_D)
    return torch.cat(changes).mean().item()
