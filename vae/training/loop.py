"""Training of one model in plain torch: any number of ranks, and exact resume from any step."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from vae.config import RunConfig
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.errors import CheckpointError, Diverged
from vae.model import VAE
from vae.parts.controllers.controller import Controller
from vae.parts.ranks import sharing, weight_of
from vae.parts.regularizers.adversary import Discriminator
from vae.seeds import Stream, derive
from vae.training.assembly import DRAWS, autocast_of, build_model, check_validation, identity_of, open_feeds
from vae.training.epochs import EpochLoop
from vae.training.guard import FiniteGuard, all_finite, costliest, diverged
from vae.training.hooks import EpochReport, Hooks, TrainingResult
from vae.training.optimizer import AdamW, learning_rate_at, move_averages
from vae.training.record import EpochParts, Record
from vae.training.starting import freeze, take_over, trained_parameters
from vae.training.state import Checkpoint, CheckpointStore, Tensors, load_model, optimizer_tensors, restore_optimizer
from vae.training.step import Step, StepInputs, draw, present
from vae.training.validation import validated, validation_vector
from vae.training.world import World

log = logging.getLogger(__name__)

LOOK_EVERY = 50
"""Steps between looks at the flag of the finite guard on a GPU, where each look waits for the queued steps."""


class Training(EpochLoop):
    """One run of one configuration on one dataset.

    Args:
        config: The run.
        dataset: A dataset with a train and a validation split.
        world: The ranks of the run, and this one among them.
        checkpoints: Folder for checkpoints, a path or URI; None keeps none. The run continues from a checkpoint in it.
        hooks: Listeners to the run.
        start: Folder of a trained model, a path or URI, whose weights the run starts from, as far as both have them.

    Raises:
        ConfigError: If the parts do not fit each other or the data.
        DataError: If the data has no validation split, or lacks what the model needs.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        world: World | None = None,
        checkpoints: str | None = None,
        hooks: Hooks | None = None,
        start: str | None = None,
    ) -> None:
        self.config, self.dataset = config, dataset
        self.world, self.hooks = world or World(), hooks or Hooks()
        training, device, size = config.training, self.world.device, self.world.size
        check_validation(dataset)
        self.model = build_model(config, dataset, device)
        self.kept = None if start is None else take_over(self.model, load_model(start, trust_code=True), start)
        self.frozen = freeze(self.model, training.freeze, self.kept is not None)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False) if training.ema_decay else None
        feed, self.validation = open_feeds(config, dataset, self.world.rank, size, device)
        store = None if checkpoints is None else open_store(config, dataset, checkpoints)
        super().__init__(config, feed, device, store)
        self.guard = FiniteGuard(self.model.parameters(), device)
        # On a CPU every step is looked at before it is taken.
        skips = self.guard.flag if device.type != "cpu" else None
        self.optimizer = AdamW(trained_parameters(self.model), training.weight_decay, skips)
        self.controller = Controller(config.objective, self.total_steps, device)
        self.discriminator = self._discriminator()
        self.autocast = autocast_of(training, device)
        self.sums = torch.zeros(2, device=device)
        self.record = Record(config, self.total_steps)
        self.best_weights: Tensors = {}

    def _discriminator(self) -> Discriminator | None:
        seed = derive(self.config.training.seed, Stream.DISCRIMINATOR)
        made = [
            regularizer.discriminator(self.config.model.latent_dim, seed, self.world.device)
            for regularizer in self.config.objective.regularizers
        ]
        return next(filter(None, made), None)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> TrainingResult:
        """Trains to the end, or to the early stop, and returns the best epoch's model.

        Raises:
            CheckpointError: If the checkpoints belong to another run, or none is intact; on every rank.
            Diverged: If a loss or gradient was not finite; on every rank. `best_model` has the last good weights.
        """
        # Not in the constructor: if one rank alone raised here, the others would wait for it in a collective.
        self.step = self._wrap()
        self.resumed_from_step = self.resume()
        self.train()
        self.model.load_state_dict(self.best_weights)
        return self.record.result(self.model.eval(), self.resumed_from_step)

    @property
    def is_over(self) -> bool:
        """Whether the last epoch was the run's last."""
        return self.record.is_over

    @property
    def network(self) -> VAE:
        """The model that the steps train."""
        return self.model

    def train_step(self, batch: Batch) -> None:
        """Takes one optimiser step on this rank's share of a batch."""
        training, model, controller = self.config.training, self.model, self.controller
        inputs = self._draw(batch)
        controller.prepare(self.steps_done)
        with self.autocast, sharing(training.batch_size):
            loss, parts, z_BL = self.step(inputs, controller.beta, controller.capacity)
            weight = weight_of(len(batch))
        if weight != 1:  # where the ranks' parts of a batch differ in size
            loss, parts = weight * loss, weight * parts
        loss.backward()
        self.guard.look(loss if self.world.size == 1 else None)
        if self._looks_now() and self.guard.is_raised:
            raise self._diverged(inputs, loss.item())
        if training.gradient_clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip_norm)
        self.optimizer.advance([learning_rate_at(training, self.steps_done, self.total_steps)])
        if self.averaged is not None and training.ema_decay is not None:
            move_averages(self.averaged.parameters(), model.parameters(), training.ema_decay, self.steps_done)
        if self.discriminator is not None:
            with sharing(training.batch_size):
                self.discriminator.learn(z_BL, self._draws(training.seed, Stream.DISCRIMINATOR))
        controller.observe(*parts)
        self.sums += parts

    def _draw(self, batch: Batch) -> StepInputs:
        """Returns the batch as the model takes it, with the noise of the step."""
        training, objective = self.config.training, self.config.objective
        inputs = present(
            self.model,
            objective,
            batch,
            self._draws(training.seed_of_data, Stream.PRESENTATION, self.feed.places.start),
        )
        return draw(self.model, objective, inputs, self._draws(training.seed, Stream.STEP, self.feed.places.start))

    def _draws(self, seed: int, stream: Stream, first: int = 0) -> RowDraws:
        """Returns the draws of the step for the places of the batch of all ranks from `first` on."""
        return RowDraws(seed, stream, self.steps_done, first=first, device=self.device)

    def end_epoch(self, epoch: int, examples_per_second: float, elapsed_seconds: float) -> Mapping[int, EpochReport]:
        """Validates and records an epoch; every rank returns the same report."""
        # Rank 0's clock goes through the sum, so that every rank reports, and decides, the same.
        clock = torch.tensor([examples_per_second, elapsed_seconds], dtype=torch.float64) * (self.world.rank == 0)
        train = self.sums.double() / (self.steps_per_epoch * self.world.size)
        if self.averaged is not None:  # buffers, such as a codebook, are averages already
            for average, current in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                average.copy_(current)
        training = self.config.training
        step = Step(self.shipped, self.config.objective, self.dataset.num_rows("train"), self.discriminator)
        vector = validation_vector(step, self.validation, training.seed_of_data, *self.controller.settled())
        total = self.world.total(torch.cat([vector, train, clock.to(self.device)]))
        distortion, rate, examples_per_second, elapsed_seconds = total[len(vector) :].tolist()
        figures = validated(total[: len(vector)])
        # On a GPU the guard may not have been looked at since the last steps.
        is_raised = self.guard.is_raised
        if failure := self.failure_of_epoch(epoch, distortion + rate, figures, is_raised=is_raised):
            raise diverged(failure, training)
        parts = EpochParts(distortion, rate, self.controller.beta.item(), examples_per_second, elapsed_seconds)
        if self.record.add(self.steps_done, epoch, figures, parts):
            self.best_weights = {name: value.detach().clone() for name, value in self.shipped.state_dict().items()}
        self.sums.zero_()
        return {0: self.record.history[-1]}

    def agree(self, values: Sequence[float]) -> Sequence[float]:
        """Returns the values of rank 0, on every rank."""
        if self.world.size == 1:
            return values
        return self.world.total(torch.tensor(values, device=self.device) * (self.world.rank == 0)).tolist()

    def is_leaving(self) -> bool:
        """Asks the hooks of every rank whether a node of the run is about to go."""
        return self.hooks.is_leaving()

    def announce_epoch(self, reports: Mapping[int, EpochReport]) -> None:
        """Passes the report of an epoch to the hooks of every rank."""
        self.hooks.on_epoch(reports[0])

    def best_model(self) -> VAE:
        """Returns a copy of the model at its best epoch so far, in evaluation mode; in the first epoch, as it is."""
        model = copy.deepcopy(self.shipped)
        if self.best_weights:
            model.load_state_dict(self.best_weights)
        return model.eval()

    @property
    def shipped(self) -> VAE:
        """The model that is validated and shipped: the moving average if the run keeps one."""
        return self.averaged if self.averaged is not None else self.model

    def _looks_now(self) -> bool:
        """Returns whether this step reads the guard's flag: always on a CPU; on a GPU sometimes and before checkpoints."""
        done = self.steps_done + 1
        every = self.config.training.checkpoint_steps
        return self.device.type == "cpu" or not done % LOOK_EVERY or (every is not None and not done % every)

    def _diverged(self, inputs: StepInputs, loss: float) -> Diverged:
        """Returns the error for a step whose loss or gradient is not finite; the same on every rank."""
        what, failure = None, self.failure_of_step(loss)
        if not math.isfinite(loss) or self.world.size == 1:
            rows = self.feed.order.row_numbers(*divmod(self.steps_done, self.steps_per_epoch), self.feed.places)
            what = costliest(self.model, inputs, rows, self.dataset)
        detailed = self.world.first(None if what is None else f"{failure}: {what}")
        return diverged(detailed or failure, self.config.training)

    def _wrap(self) -> nn.Module:
        """Returns the step as it is run: for several ranks, and compiled."""
        num_examples = self.dataset.num_rows("train")
        step: nn.Module = self.world.in_step(Step(self.model, self.config.objective, num_examples, self.discriminator))
        compiles = self.config.training.compile
        if compiles == "on" or (compiles == "auto" and self.device.type == "cuda"):
            # reduce-overhead captures CUDA graphs; they do not cover the collectives of several ranks.
            mode = "reduce-overhead" if self.world.size == 1 else "default"
            step = torch.compile(step, mode=mode)  # pyright: ignore[reportAssignmentType]
        return step

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def save(self, *, in_epoch: bool) -> None:
        """Writes a checkpoint, if the run keeps any; in an epoch with each rank's sums so far."""
        sums = self.world.each(self.sums) if in_epoch else None
        # Every rank holds the same weights and derives the rest, so rank 0 writes for all.
        if self.store is None:
            return
        if not all_finite(self.model.state_dict()):  # on every rank, so that none waits for rank 0
            raise diverged(f"weights are not finite after step {self.steps_done}", self.config.training)
        if self.world.rank:
            return
        tensors = {"model": self.model.state_dict(), "optimizer": self.optimizer.tensors()}
        tensors["controller"] = {"state": self.controller.state, "beta": self.controller.beta}
        if self.discriminator is not None:
            tensors["discriminator"] = self.discriminator.network.state_dict()
            tensors["discriminator_optimizer"] = optimizer_tensors(self.discriminator.optimizer)
        if self.averaged is not None:
            tensors["averaged"] = self.averaged.state_dict()
        if self.best_weights:
            tensors["best"] = self.best_weights
        values = {"sums": None if sums is None else sums.tolist(), "history": self.record.to_json()}
        self.store.save(Checkpoint(self.steps_done, tensors, values))

    def resume(self) -> int:
        """Restores the newest intact checkpoint, which `run` does first; returns its step, 0 without a checkpoint."""
        checkpoint = None if self.store is None else self._agreed_checkpoint(self.store)
        if checkpoint is None:
            return 0
        self.model.load_state_dict(checkpoint.tensors["model"])
        self.optimizer.restore(checkpoint.tensors["optimizer"])
        self.controller.state.copy_(checkpoint.tensors["controller"]["state"])
        self.controller.beta.copy_(checkpoint.tensors["controller"]["beta"])
        if self.discriminator is not None:
            self.discriminator.network.load_state_dict(checkpoint.tensors["discriminator"])
            restore_optimizer(self.discriminator.optimizer, checkpoint.tensors["discriminator_optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(checkpoint.tensors["averaged"])
        self.steps_done = checkpoint.step
        if checkpoint.values["sums"]:
            sums = torch.tensor(checkpoint.values["sums"])
            self.sums.copy_(sums[self.world.rank] if len(sums) == self.world.size else sums.mean(0))
        self.record.restore(checkpoint.values["history"])
        best = checkpoint.tensors.get("best", {})
        self.best_weights = {name: value.to(self.device) for name, value in best.items()}
        log.info("resumed from step %d of %d", self.steps_done, self.total_steps)
        return self.steps_done

    def _agreed_checkpoint(self, store: CheckpointStore) -> Checkpoint | None:
        """Returns the checkpoint that rank 0 chooses, on every rank; an error of one rank is raised on all of them."""
        checkpoint, error = None, None
        try:
            if self.world.rank == 0:
                checkpoint = store.load_newest()
        except CheckpointError as raised:
            error = str(raised)
        step = self.world.first(checkpoint.step if checkpoint else None)
        try:
            if checkpoint is None and step is not None:
                checkpoint = store.load(step)
        except CheckpointError as raised:
            error = str(raised)
        error = self.world.first(error)
        if error is not None:
            raise CheckpointError(error)
        return checkpoint


def open_store(config: RunConfig, dataset: Dataset, checkpoints: str) -> CheckpointStore:
    """Returns the checkpoints of a run in a folder, which is a path or URI."""
    identity = {"config": identity_of(config), "dataset_id": dataset.manifest.dataset_id, "draws": DRAWS}
    return CheckpointStore(checkpoints, identity, config.training.keep_checkpoints)


@dataclass(frozen=True)
class Unfinished:
    """The state of a run as of a checkpoint."""

    model: VAE
    """Model of the best epoch so far, in evaluation mode on the CPU; in the first epoch, the model at the step."""
    step: int
    """Optimiser steps done at the checkpoint."""
    history: list[EpochReport]


def unfinished(config: RunConfig, dataset: Dataset, checkpoints: str) -> Unfinished | None:
    """Returns the state of a run that still trains, was stopped or failed; None without a checkpoint.

    Raises:
        CheckpointError: If no checkpoint is intact.
    """
    checkpoint = open_store(config, dataset, checkpoints).load_newest()
    if checkpoint is None:
        return None
    tensors, record = checkpoint.tensors, Record(config, 0)
    record.restore(checkpoint.values["history"])
    model = build_model(config, dataset)
    model.load_state_dict(tensors.get("best") or tensors.get("averaged") or tensors["model"])
    return Unfinished(model.eval(), checkpoint.step, record.history)
