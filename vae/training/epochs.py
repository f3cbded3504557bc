"""The course of a run through its epochs, which a single training and a stack of lanes have in common.

Every draw derives from a seed, the step and the example's place in the batch of all ranks. So a resumed run repeats the
uninterrupted one: bit for bit on a CPU with the same number of ranks, and but for the rounding of sums with another.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from vae import progress
from vae.config import RunConfig
from vae.data.batches import Batch, Feed
from vae.model import VAE
from vae.parts.controllers.controller import check_schedule
from vae.training.hooks import EpochReport
from vae.training.optimizer import check_warmup
from vae.training.state import CheckpointStore
from vae.training.validation import Validated

BEAT_SECONDS = 2.0
"""Seconds between two moments at which all ranks agree on what the clock asks for."""
MOST_OF_TIME = 0.05
"""Share of the time that checkpoints inside of an epoch may take, beside those at `checkpoint_steps`."""


class EpochLoop(ABC):
    """A run's way through its steps and epochs, with progress reports and checkpoints.

    Args:
        config: The run, or the first lane of a stack.
        feed: The training batches.
        device: Device of the model.
        store: The run's checkpoints; None keeps none.

    Raises:
        ConfigError: If a schedule is longer than the run.
    """

    def __init__(
        self,
        config: RunConfig,
        feed: Feed,
        device: torch.device,
        store: CheckpointStore | None,
    ) -> None:
        self.settings = config.training
        self.feed, self.device, self.store = feed, device, store
        self.steps_per_epoch = feed.order.steps_per_epoch
        self.total_steps = self.steps_per_epoch * self.settings.epochs
        check_schedule(config.objective, self.total_steps)
        check_warmup(self.settings, self.total_steps)
        self.steps_done = 0
        self.beat_step, self.beat_steps = 0, 1
        """Step of the last beat, and the steps to the next one; the same on every rank."""
        self.checkpoint_pause = 0.0
        """Least seconds between two checkpoints inside of an epoch, from how long the last one took."""
        self.has_seen_leaving = False
        self.frozen: Sequence[nn.Module] = ()
        """Parts whose weights stay as they are."""
        self.last_loss = ""
        """Validation loss of the last epoch in words; empty in the first."""

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether the last epoch was the run's last."""

    @property
    @abstractmethod
    def network(self) -> VAE:
        """The model that the steps train; of a stack its template."""

    @abstractmethod
    def train_step(self, batch: Batch) -> None:
        """Takes one optimiser step."""

    @abstractmethod
    def end_epoch(self, epoch: int, examples_per_second: float, elapsed_seconds: float) -> Mapping[int, EpochReport]:
        """Validates and records an epoch, counted from 0; returns the report of each lane that trained in it."""

    @abstractmethod
    def save(self, *, in_epoch: bool) -> None:
        """Writes a checkpoint, if the run keeps any; `in_epoch` if the epoch goes on after it."""

    def agree(self, values: Sequence[float]) -> Sequence[float]:
        """Returns the values of rank 0, on every rank."""
        return values

    def is_leaving(self) -> bool:
        """Returns whether a node of the run is about to go. Every rank asks as often, and gets the same answer."""
        return False

    @abstractmethod
    def announce_epoch(self, reports: Mapping[int, EpochReport]) -> None:
        """Passes the reports of an epoch to the hooks."""

    def train(self) -> None:
        """Trains from the current step to the end of the run."""
        started = self.last_checkpoint = self.last_beat = time.monotonic()
        self.beat_step, per_epoch = self.steps_done, self.steps_per_epoch
        while not self.is_over:
            epoch, first_step = divmod(self.steps_done, per_epoch)
            seconds = self._train_epoch(epoch, first_step)
            examples = (per_epoch - first_step) * self.settings.batch_size
            reports = self.end_epoch(epoch, examples / seconds, time.monotonic() - started)
            if self._is_due(self.settings.checkpoint_seconds) or self._is_checkpoint_step() or self.is_over:
                self._checkpoint(in_epoch=False)
            self.announce_epoch(reports)
            for report in reports.values():  # of a stack the last lane
                losses = f"{report.validation_objective:.2f} nats (best {report.best_objective:.2f})"
                self.last_loss = f", validation loss {losses}"

    def _train_epoch(self, epoch: int, first_step: int) -> float:
        """Trains the rest of an epoch; returns its seconds."""
        self.network.train()
        for part in self.frozen:
            part.eval()  # buffers such as a codebook stay too
        started = time.monotonic()
        self._report(epoch)
        for batch in self.feed.epoch(epoch, first_step):
            self.train_step(batch)
            self.steps_done += 1
            wants = self._is_checkpoint_step()
            if self.steps_done - self.beat_step >= self.beat_steps:
                wants = self._beat() or wants
            # After an epoch's last step the checkpoint waits for the validation that belongs to it.
            if wants and self.steps_done % self.steps_per_epoch:
                self._checkpoint(in_epoch=True)
            self._report(epoch)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the last steps are queued, not done
        return time.monotonic() - started

    def _report(self, epoch: int) -> None:
        done, total = (steps * self.settings.batch_size for steps in (self.steps_done, self.total_steps))
        note = f"epoch {epoch + 1} of {self.settings.epochs}, step {self.steps_done:,}{self.last_loss}"
        progress.report("training", done, total, "examples", note)

    def _is_checkpoint_step(self) -> bool:
        every = self.settings.checkpoint_steps
        return every is not None and self.steps_done % every == 0

    def _beat(self) -> bool:
        """Agrees with all ranks on the steps to the next beat, and on whether a checkpoint is due; returns the latter."""
        now, pause = time.monotonic(), max(self.settings.checkpoint_seconds, self.checkpoint_pause)
        seconds, is_due = self.agree([now - self.last_beat, float(self._is_due(pause))])
        steps = (self.steps_done - self.beat_step) * BEAT_SECONDS / max(seconds, 1e-3)
        self.last_beat, self.beat_step = now, self.steps_done
        self.beat_steps = max(1, min(int(steps), 8 * self.beat_steps))
        if not self.is_leaving():
            return bool(is_due)
        is_new, self.has_seen_leaving = not self.has_seen_leaving, True
        return is_new or bool(is_due)

    def _is_due(self, pause: float) -> bool:
        return time.monotonic() - self.last_checkpoint >= pause

    def _checkpoint(self, *, in_epoch: bool) -> None:
        self.last_checkpoint = time.monotonic()
        self.save(in_epoch=in_epoch)
        self.checkpoint_pause = (time.monotonic() - self.last_checkpoint) / MOST_OF_TIME

    def failure_of_step(self, loss: float) -> str:
        """Returns what is not finite in the step that comes next, and where."""
        epoch, step = divmod(self.steps_done, self.steps_per_epoch)
        what = "a gradient is not finite" if math.isfinite(loss) else f"the loss became {loss}"
        return f"{what} at step {self.steps_done + 1} (epoch {epoch + 1}, batch {step + 1})"

    def failure_of_epoch(
        self, epoch: int, train_loss: float, validated: Validated, *, is_raised: bool = False
    ) -> str | None:
        """Returns why the weights after an epoch are of no use; None for an epoch whose losses are finite.

        Args:
            epoch: The epoch, counted from 0.
            train_loss: Distortion plus rate of the training split, in nats per example.
            validated: Figures of the validation split: the first to see the weights of the last step.
            is_raised: Whether a step's loss or gradient was not finite.
        """
        total = train_loss + validated.bound.negative_bound + validated.objective
        if math.isfinite(total) and not is_raised:
            return None
        return f"the validation loss became {total} after epoch {epoch + 1} (step {self.steps_done})"
