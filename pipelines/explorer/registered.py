"""The registry as the explorer sees it: versions by reference, weights as safetensors, rows from the published dataset."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipelines.data.apply import pull
from pipelines.data.apply.inputs import Examples
from pipelines.explorer.models import MOST_ROWS, Offer, Rows, Subject
from pipelines.models import registry, tracking
from vae.data.catalog import resolve
from vae.data.manifest import SPLITS, Manifest
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.model import VAE
from vae.storage import locate

log = logging.getLogger(__name__)

MOST_HELD = 8
"""Models in memory; the one that was looked at longest ago goes first."""


class Registered:
    """Models of the MLflow registry that the environment names. Safe to use from several threads.

    Args:
        home: BETALINE_HOME, where datasets are looked for.
    """

    def __init__(self, home: str) -> None:
        self.home = home
        self._held: OrderedDict[str, Subject] = OrderedDict()
        self._lock = threading.Lock()

    def offers(self) -> Sequence[Offer]:
        """Every version there is."""
        return [_offer(version) for version in registry.versions()]

    def pull(self, reference: str) -> Subject:
        """See `Models.pull`. Weights and configuration alone are loaded, and no code or pickle of anyone's."""
        version = registry.resolve(reference)
        with self._lock:  # who asks for a model that another visitor is pulling waits for that
            if version.uri not in self._held:
                served, _ = pull(version.uri)
                self._held[version.uri] = Subject(
                    offer=_offer(version), model=served.model, rows=self._rows(version, served.model)
                )
                while len(self._held) > MOST_HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(version.uri)
            return self._held[version.uri]

    def _rows(self, version: registry.Version, model: VAE) -> Rows | None:
        dataset_id = registry.tags_of(version).get(tracking.DATASET)
        if dataset_id is None:
            return None
        try:
            for folder in (locate(self.home) / "datasets").list():
                if (locate(self.home) / "datasets" / folder.base_name / dataset_id).exists():
                    return rows_of(Dataset.open(resolve(self.home, f"{folder.base_name}@{dataset_id}")), model)
        except BetalineError as error:
            log.warning("%s is shown without rows of its dataset: %s", version.uri, error)
        return None


def rows_of(dataset: Dataset, model: VAE, most: int = MOST_ROWS) -> Rows:
    """The first rows of a dataset's test split, or of another where it has none; ingest has shuffled them.

    Raises:
        DataError: If the dataset lacks what the model is told.
    """
    split = next(name for name in reversed(SPLITS) if dataset.num_rows(name))
    examples = Examples(dataset, model.conditions)
    values, conditions, labels, count = [], [], [], 0
    for number in range(len(examples.row_groups(split))):
        if count >= most:
            break
        group = examples.read(split, number)
        part = slice(0, most - count)
        values.append(group.take(part))
        conditions += list(group.conditions or ())[part]
        labels += [] if group.labels is None else group.labels[part].tolist()
        count += len(values[-1])
    frames = isinstance(values[0], pd.DataFrame)
    return Rows(
        values=pd.concat(values, ignore_index=True) if frames else np.concatenate(values),
        dataset_id=dataset.manifest.dataset_id,
        conditions=conditions or None,
        classes=_names(dataset.manifest, labels),
    )


def _names(manifest: Manifest, labels: Sequence[int]) -> list[str] | None:
    return [manifest.classes[label] for label in labels] if manifest.classes and labels else None


def _offer(version: registry.Version) -> Offer:
    return Offer(name=version.name, version=version.version, aliases=version.aliases)
