"""Models of the MLflow registry for the explorer, and rows of their published datasets."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from pipelines.data.apply import pull
from pipelines.data.apply.inputs import Examples
from pipelines.explorer.kinds import kind_named
from pipelines.explorer.models import MOST_ROWS, Offer, Rows, Subject
from pipelines.models import registry, tracking
from vae.data.catalog import resolve
from vae.data.conditions import write_condition
from vae.data.manifest import SPLITS
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.model import VAE
from vae.storage import locate

log = logging.getLogger(__name__)

MOST_HELD = 8
"""Models in memory, at most; the least recently used one is dropped first."""


class Registered:
    """An LRU cache of models from the MLflow registry that the environment names. Safe to use from several threads.

    Args:
        home: BETALINE_HOME, the folder of the datasets.
    """

    def __init__(self, home: str) -> None:
        self.home = home
        self._held: OrderedDict[str, Subject] = OrderedDict()
        self._lock = threading.Lock()

    def offers(self) -> Sequence[Offer]:
        """Returns every version by name, the newest first."""
        return [_offer(version) for version in registry.versions()]

    def pull(self, reference: str) -> Subject:
        """Returns the model of a reference: see `Models.pull`. Loads weights and configuration, and no code or pickle."""
        version = registry.resolve(reference)
        with self._lock:  # a visitor waits for a model that another one is pulling
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
        datasets = locate(self.home) / "datasets"
        try:
            for folder in datasets.list():
                if (datasets / folder.base_name / dataset_id).exists():
                    return rows_of(Dataset.open(resolve(self.home, f"{folder.base_name}@{dataset_id}")), model)
        except BetalineError as error:
            log.warning("%s is shown without rows of its dataset: %s", version.uri, error)
        return None


def rows_of(dataset: Dataset, model: VAE, most: int = MOST_ROWS) -> Rows:
    """Returns the first rows of the last split that has any, which is the test split; ingest has shuffled them.

    Raises:
        DataError: If the dataset lacks a condition of the model.
    """
    split = next(name for name in reversed(SPLITS) if dataset.num_rows(name))
    examples = Examples(dataset, model)
    parts, conditions, labels, count = [], [], [], 0
    for number in range(len(examples.row_groups(split))):
        if count >= most:
            break
        group = examples.read(split, number)
        part = slice(0, most - count)
        parts.append(group.values[part])
        if group.conditions is not None:
            conditions += [write_condition(model.conditions, row) for row in group.conditions[part]]
        labels += [] if group.labels is None else group.labels[part].tolist()
        count += len(parts[-1])
    names = dataset.manifest.classes
    return Rows(
        values=kind_named(model.examples.kind).rows(model.examples, np.concatenate(parts)),
        dataset_id=dataset.manifest.dataset_id,
        conditions=conditions or None,
        classes=[names[label] for label in labels] if names and labels else None,
    )


def _offer(version: registry.Version) -> Offer:
    return Offer(name=version.name, version=version.version, aliases=version.aliases)
