"""Several metrics of a trained model at once, on a split of a dataset.

Shapes: N rows, L latent, F factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from vae import inference
from vae.config import MetricFamily
from vae.data.batches import Batch, InOrder, Share
from vae.data.parquet import Dataset
from vae.errors import DataError
from vae.likelihoods import binarization
from vae.metrics.disentanglement import disentanglement_suite
from vae.metrics.features import train_feature_net
from vae.metrics.generation import generation_suite
from vae.metrics.likelihood import mutual_information
from vae.metrics.reconstruction import psnr, ssim
from vae.model import VAE, Inputs
from vae.seeds import Stream, derive

FAMILIES: tuple[MetricFamily, ...] = ("reconstruction", "information", "disentanglement", "generation")
MAX_ROWS = 15_000


def measure(
    model: VAE, dataset: Dataset, families: Sequence[MetricFamily] = FAMILIES, *, split: str = "test", seed: int = 0
) -> dict[str, float]:
    """Metrics by name, such as `mig` or `recall.cnn-64-a1b2c3`; images in [0, 1] as they are in the dataset.

    Protocol: the first 15,000 rows of the split, which ingest has shuffled.

    - `reconstruction`: PSNR and SSIM of decoded posterior means, means over rows.
    - `information`: mutual information of example and latent.
    - `disentanglement`: of posterior means against the categorical attributes.
    - `generation`: as many examples as there are rows, from the prior, with the rows' own conditions, in the features of a
      classifier trained on the training split.

    Raises:
        DataError: If the dataset lacks what a metric needs: images, classes, or at least two categorical attributes.
    """
    if dataset.manifest.example.kind != "image" and {*families} - {"information"}:
        raise DataError(
            f"{dataset.uri} holds a table: of tables `information` is measured, the other families are of images"
        )
    model.eval()
    rows = _rows(dataset, split)
    inputs = Inputs(rows.values.float() / 255, condition=model.condition(rows.labels, rows.attributes))
    found: dict[str, float] = {}
    if "reconstruction" in families:
        again = inference.reconstruct(model, inputs).clamp(0, 1)
        found |= {"psnr_db": psnr(inputs.x, again).mean().item(), "ssim": ssim(inputs.x, again).mean().item()}
    if "information" in families:
        share = Share.of(dataset, split, binarization=binarization(model.config.likelihood))
        found["mutual_information_nats"] = mutual_information(model, InOrder(share), seed)
    if "disentanglement" in families:
        codes_NL = inference.encode(model, inputs).mean.numpy()
        rng = np.random.default_rng(derive(seed, Stream.EVALUATION))
        found |= asdict(disentanglement_suite(codes_NL, _factors(dataset, rows), rng))
    if "generation" in families:
        found |= _generation(model, dataset, inputs, seed)
    return found


def _rows(dataset: Dataset, split: str) -> Batch:
    share = Share.of(dataset, split)
    return share.load(0, min(MAX_ROWS, share.num_rows))


def _factors(dataset: Dataset, rows: Batch) -> np.ndarray:
    """The categorical attributes as integer codes, [N,F]."""
    categorical = [n for n, column in enumerate(dataset.manifest.attributes) if column.categories is not None]
    if rows.attributes is None or len(categorical) < 2:
        raise DataError(
            f"disentanglement is measured against at least 2 categorical attributes, {dataset.uri} has {len(categorical)}; "
            "ingest the data with some, as `sprites` has them"
        )
    return rows.attributes[:, categorical].numpy().astype(np.int64)


def _generation(model: VAE, dataset: Dataset, inputs: Inputs, seed: int) -> dict[str, float]:
    train = _rows(dataset, "train")
    if train.labels is None:
        raise DataError(
            f"generation is measured in the features of a classifier, and {dataset.uri} has no classes to train one on; "
            "ingest the data with labels"
        )
    net = train_feature_net(train.values, train.labels, seed=seed)
    made: Tensor = inference.generate(model, len(inputs.x), inputs.condition, seed=seed).clamp(0, 1)
    with torch.no_grad():
        real_NF, made_NF = net.features(inputs.x), net.features(made)
    return generation_suite(real_NF, made_NF, features=net.name).named()
