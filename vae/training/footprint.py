"""The memory of a training, estimated before it starts: nothing is computed, and no large tensor is made.

A step is taken on tensors without values (torch's `FakeTensorMode`), and the bytes of all that are alive at once are
counted. Beside them a worker holds the weights and their copies, its data, Python with its libraries, and a flat amount for
kernels and threads. Fragmentation is left out: measured peaks are within a factor of `TRUST`.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vae.config import RunConfig
from vae.data.batches import Share, open_feed
from vae.data.parquet import Dataset
from vae.data.statistics import example_spec
from vae.data.transforms import transform_of
from vae.draws import RowDraws
from vae.model import VAE
from vae.parts.controllers.controller import check_schedule
from vae.seeds import Stream
from vae.training.assembly import check_validation, share_of, validation_batch
from vae.training.optimizer import check_warmup
from vae.training.step import Step, draw, present

TRUST = 1.5
"""Factor within which the estimate was right for every measured model."""
LIBRARIES_BYTES, WORKSPACE_BYTES = 500 << 20, 200 << 20
"""Memory of a worker that has imported everything, and what torch's kernels and threads take from the first step on."""
COPIES = 4
"""Copies of the weights that a worker holds: the weights, both moments of AdamW, and the best epoch's."""


@dataclass(frozen=True)
class Footprint:
    """Estimated memory of one worker, in bytes."""

    weights: int
    """Weights, their copies, and the checkpoint on its way to the disk."""
    step: int
    """Everything else that is alive at once in a training step or a batch of the validation."""
    data: int
    """Rows that the worker holds."""

    @property
    def total(self) -> int:
        """Memory of the worker, with Python and its libraries."""
        return self.weights + self.step + self.data + LIBRARIES_BYTES + WORKSPACE_BYTES


def check_length(config: RunConfig, dataset: Dataset) -> None:
    """Refuses a run whose batch or schedules do not fit the dataset, from the manifest and the shards' footers alone.

    Raises:
        ConfigError: If the training split has fewer rows than one step takes, or a schedule is longer than the run.
        DataError: If the dataset has no validation split.
    """
    check_validation(dataset)
    training = config.training
    feed = open_feed(
        Share(dataset, "train", 0, dataset.num_rows("train"), torch.device("cpu")),
        batch_size=training.batch_size,
        seed=0,
        mode="streaming",  # which reads nothing yet
        memory_budget_bytes=training.memory_budget_bytes,
    )
    total_steps = feed.order.steps_per_epoch * training.epochs
    check_schedule(config.objective, total_steps)
    check_warmup(training, total_steps)


def footprint(config: RunConfig, dataset: Dataset) -> Footprint | None:
    """Returns the estimated memory of each worker of a run; None for a model that cannot be followed without values.

    Args:
        config: The run, with the fewest workers that it may have.
        dataset: Its dataset.
    """
    training, size = config.training, config.scaling.least_workers
    share, num_validated = share_of(config, dataset, "train"), dataset.num_rows("validation")
    try:
        model = _model(config, dataset)
        trained = _peak(model, config, share, -(-training.batch_size // size), learns=True)
        validated = _peak(
            model, config, share, min(num_validated, validation_batch(config, num_validated)), learns=False
        )
    except (RuntimeError, NotImplementedError, TypeError):
        return None
    finally:
        transform_of.cache_clear()  # transforms keep tensors, which have no values here
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    copies = COPIES + (training.ema_decay is not None)
    held = (share.num_rows + num_validated) * share.row_bytes
    if training.feed != "resident":
        held = min(held, training.memory_budget_bytes)
    # A checkpoint is put together in memory while no step runs.
    return Footprint(copies * weights, max(trained, validated, copies * weights), held // size)


def fitting_batch(config: RunConfig, dataset: Dataset, most_bytes: float) -> int | None:
    """Returns the largest batch, by halves, with which each worker fits into a number of bytes; None if none does."""
    batch = config.training.batch_size
    while batch > config.scaling.num_workers:
        batch = max(batch // 2, config.scaling.num_workers)
        training = config.training.model_copy(update={"batch_size": batch})
        smaller = footprint(config.model_copy(update={"training": training}), dataset)
        if smaller is not None and smaller.total <= most_bytes:
            return batch
    return None


def _model(config: RunConfig, dataset: Dataset) -> VAE:
    """Returns the model without values; with values if its parts cannot be made without, as flows are."""
    spec = example_spec(dataset, config.data.missing, config.data.transform, from_sample=True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return VAE(config.model, spec)
    except RuntimeError:
        return VAE(config.model, spec)


def _peak(model: VAE, config: RunConfig, share: Share, num_rows: int, *, learns: bool) -> int:
    """Returns the most bytes that are alive at once in a step on some rows, its gradients among them."""
    objective, draws = config.objective, RowDraws(0, Stream.STEP)
    made = [one.discriminator(config.model.latent_dim, 0, torch.device("cpu")) for one in objective.regularizers]
    step = Step(model, objective, share.num_rows, next(filter(None, made), None))
    batch = share.to_device(share.empty(num_rows))
    with FakeTensorMode(allow_non_fake_inputs=True), _LiveBytes() as live, torch.set_grad_enabled(learns):
        inputs = draw(model, objective, present(model, objective, batch, draws), draws)
        loss = step(inputs, torch.ones(()), torch.zeros(())).loss
        if learns:
            loss.backward()
            model.zero_grad(set_to_none=True)
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors, those of the backward pass among them, from when each is made until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        """Counts a storage once, although several views share it."""
        number = storage._cdata
        if number not in self._alive:
            self._alive.add(number)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, number, storage.nbytes())

    def _forget(self, number: int, num_bytes: int) -> None:
        self._alive.discard(number)
        self.now -= num_bytes
