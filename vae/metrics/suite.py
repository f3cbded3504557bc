"""Families of metrics of a trained model, measured on a split of a dataset.

Shapes: N rows, L latent, F factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import get_args

import numpy as np
import torch

from vae import inference, progress
from vae.config import MetricFamily
from vae.data.batches import Batch, InOrder, Share
from vae.data.parquet import Dataset
from vae.data.transforms import transform_of
from vae.errors import DataError
from vae.inference.memory import chunks
from vae.metrics.catalogue import COUNTS, METRICS
from vae.metrics.disentanglement import disentanglement_suite
from vae.metrics.features import FeatureNet, train_feature_net
from vae.metrics.generation import Array, frechet_distance, generation_suite
from vae.metrics.likelihood import mutual_information
from vae.metrics.reconstruction import psnr, ssim
from vae.metrics.synthesis import check_installed, synthesis_suite
from vae.metrics.uses import denoising, imputation
from vae.model import VAE
from vae.parts.corruptions import CorruptionConfig
from vae.parts.corruptions.gaussian_noise import GaussianNoise
from vae.parts.terms import Inputs
from vae.seeds import Stream, derive

MAX_ROWS, MAX_RECONSTRUCTED_ROWS, MAX_USED_ROWS, MAX_SYNTHETIC_ROWS = 15_000, 2_000, 1_000, 4_000
"""Largest numbers of rows of a split, which ingest has shuffled: in general, to reconstruct, for `denoising` and
`imputation`, and for `synthesis`."""
NOISE = GaussianNoise()


def claimed(model: VAE) -> tuple[MetricFamily, ...]:
    """Returns the families of the uses that a model was trained for."""
    families: list[MetricFamily] = []
    if "reconstruction" in transform_of(model.examples).families:
        families.append("reconstruction")
    if model.experience.corruption is not None:
        families.append("denoising")
    if model.experience.missing:
        families.append("imputation")
    return tuple(families)


def measure(
    model: VAE,
    dataset: Dataset,
    families: Sequence[MetricFamily],
    *,
    split: str = "test",
    seed: int = 0,
    corruption: CorruptionConfig = NOISE,
) -> dict[str, float]:
    """Returns metrics by name, such as `mig` or `recall.cnn-64-a1b2c3`; see `vae.metrics.catalogue`.

    Protocol: the first 15,000 rows of the split, which ingest has shuffled; images in [0, 1] as the dataset holds them.

    - `reconstruction`: PSNR and SSIM of decoded posterior means, means over the first 2,000 rows.
    - `information`: mutual information of example and latent.
    - `disentanglement`: scores of posterior means against the categorical attributes.
    - `generation`: as many samples from the prior as there are rows, with the rows' own conditions, in the features of a
      classifier trained on the training split.
    - `denoising`: the first 1,000 rows after a `corruption`; beside the noisy images and a median filter.
    - `imputation`: the first 1,000 rows, a fifth of whose entries are hidden; beside means and most frequent categories.
    - `synthesis`: draws from the model, up to 4,000 and as many as the training split has; see `vae.metrics.synthesis`.

    Raises:
        DataError: If the dataset lacks what a metric needs: images, classes, or at least two categorical attributes.
    """
    check_families(dataset, families)
    rows = _rows(dataset, split)
    model.eval()
    measurements: dict[MetricFamily, Callable[[], dict[str, float]]] = {
        "imputation": lambda: imputation(model, _rows(dataset, split, MAX_USED_ROWS), seed=seed),
        "denoising": lambda: denoising(model, _images(model, rows.take(slice(MAX_USED_ROWS))), corruption, seed=seed),
        "reconstruction": lambda: _reconstruction(model, rows.take(slice(MAX_RECONSTRUCTED_ROWS))),
        "information": lambda: _information(model, dataset, split, seed),
        "disentanglement": lambda: _disentanglement(model, dataset, rows, seed),
        "generation": lambda: _generation(model, dataset, rows, seed),
        "synthesis": lambda: synthesis_suite(model, *_few(dataset, "train", split), seed=seed),
    }
    figures = _measured({family: measurements[family] for family in measurements if family in families})
    assert {name.partition(".")[0] for name in figures} <= METRICS.keys() | {*COUNTS}, "a metric states its direction"
    return figures


def _measured(measurements: Mapping[MetricFamily, Callable[[], dict[str, float]]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for family, measured in measurements.items():
        progress.report(f"measuring {family}")
        figures |= measured()
    return figures


def check_families(dataset: Dataset, families: Sequence[MetricFamily]) -> None:
    """Checks that families of metrics can be measured on a dataset, before anything is computed for them.

    Raises:
        DataError: If the examples are of another kind.
        ConfigError: If a family needs an extra that is not installed.
    """
    if "synthesis" in families:
        check_installed()
    transform = transform_of(dataset.manifest.example)
    if {*families} - transform.families:
        able = " and ".join(f"`{family}`" for family in get_args(MetricFamily) if family in transform.families)
        raise DataError(
            f"{dataset.uri} holds {transform.noun}, for which only {able} can be measured; the others are for other data"
        )


def frechet(model: VAE, dataset: Dataset, *, split: str = "test", seed: int = 0) -> float:
    """Returns the Fréchet distance of the family `generation` alone, in squared feature units.

    Raises:
        DataError: If the dataset has no classes, or the split fewer than 2,048 rows.
    """
    _, real_NF, made_NF = _features(model.eval(), dataset, _rows(dataset, split), seed)
    return frechet_distance(real_NF, made_NF)


def _rows(dataset: Dataset, split: str, most: int = MAX_ROWS) -> Batch:
    share = Share.of(dataset, split)
    return share.load(0, min(most, share.num_rows))


def _few(dataset: Dataset, *splits: str) -> Iterator[Batch]:
    return (_rows(dataset, split, MAX_SYNTHETIC_ROWS) for split in splits)


def _images(model: VAE, rows: Batch) -> Inputs:
    return Inputs(rows.values.float() / 255, condition=model.condition(rows.labels, rows.attributes))


def _in_chunks(model: VAE, rows: Batch) -> Iterator[Inputs]:
    """Yields the rows as floats, in chunks that fit the memory budget."""
    return (_images(model, rows.take(part)) for part in chunks(model, len(rows)))


def _reconstruction(model: VAE, rows: Batch) -> dict[str, float]:
    pairs = ((each.x, inference.reconstruct(model, each).clamp(0, 1)) for each in _in_chunks(model, rows))
    figures = [(psnr(x, again), ssim(x, again)) for x, again in pairs]
    psnr_N, ssim_N = (torch.cat(parts) for parts in zip(*figures, strict=True))
    return {"psnr_db": psnr_N.mean().item(), "ssim": ssim_N.mean().item()}


def _information(model: VAE, dataset: Dataset, split: str, seed: int) -> dict[str, float]:
    share = Share.of(dataset, split, binarization=model.config.likelihood.binarization_policy)
    return {"mutual_information_nats": mutual_information(model, InOrder(share), seed)}


def _generation(model: VAE, dataset: Dataset, rows: Batch, seed: int) -> dict[str, float]:
    name, real_NF, made_NF = _features(model, dataset, rows, seed)
    return generation_suite(real_NF, made_NF, features=name).named()


def _disentanglement(model: VAE, dataset: Dataset, rows: Batch, seed: int) -> dict[str, float]:
    codes = [inference.encode(model, inputs).mean for inputs in _in_chunks(model, rows)]
    rng = np.random.default_rng(derive(seed, Stream.EVALUATION))
    return asdict(disentanglement_suite(torch.cat(codes).numpy(), _factors(dataset, rows), rng))


def _factors(dataset: Dataset, rows: Batch) -> np.ndarray:
    """Returns the categorical attributes as integer codes, [N,F]."""
    categorical = [n for n, column in enumerate(dataset.manifest.attributes) if column.categories is not None]
    if rows.attributes is None or len(categorical) < 2:
        raise DataError(
            f"disentanglement needs at least 2 categorical attributes, and {dataset.uri} has {len(categorical)}; ingest "
            "the data with such attributes, as `sprites` has them"
        )
    return rows.attributes[:, categorical].numpy().astype(np.int64)


def _features(model: VAE, dataset: Dataset, rows: Batch, seed: int) -> tuple[str, Array, Array]:
    """Returns the features' name, and the features of real and of as many generated examples, [N,F] each."""
    net = _feature_net(dataset, seed)
    condition_NK = model.condition(rows.labels, rows.attributes)
    z_NL = inference.sample_latents(model, len(rows), condition_NK, seed=seed)
    made = []
    for part in chunks(model, len(rows)):
        condition = None if condition_NK is None else condition_NK[part]
        made.append(net.features(inference.decode(model, z_NL[part], condition).clamp(0, 1)))
    return net.name, net.features(rows.values), np.concatenate(made)


@lru_cache(maxsize=1)
def _feature_net(dataset: Dataset, seed: int) -> FeatureNet:
    """Trains a dataset's feature net, once for all models that a process compares."""
    train = _rows(dataset, "train")
    if train.labels is None:
        raise DataError(
            f"generation needs the features of a classifier, and {dataset.uri} has no classes to train one on; ingest the "
            "data with labels"
        )
    return train_feature_net(train.values, train.labels, seed=seed)
