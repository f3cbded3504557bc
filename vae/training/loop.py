"""The training loop, in plain torch: any number of ranks, exact resume from any step.

Every draw derives from (seed, rank, step) and every position from the step, so that a resumed run repeats the
uninterrupted one bit for bit on a CPU with the same number of ranks.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae.config import RunConfig, differences
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.errors import CheckpointError, ConfigError, Diverged
from vae.model import VAE
from vae.parts.controllers.controller import Controller, check_schedule
from vae.parts.regularizers.adversary import Discriminator
from vae.seeds import Stream, derive
from vae.training.assembly import autocast_of, build_model, check_validation, identity_of, open_feeds
from vae.training.guard import FiniteGuard, all_finite, costliest, diverged
from vae.training.hooks import EpochReport, Hooks, Progress, TrainingResult
from vae.training.optimizer import check_warmup, ema_decay_at, learning_rate_at
from vae.training.record import EpochParts, Record
from vae.training.state import Checkpoint, CheckpointStore, Tensors, load_model, optimizer_tensors, restore_optimizer
from vae.training.step import Draws, Step, draw, present
from vae.training.validation import validated, validation_vector
from vae.training.world import World

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 1.0
LOOK_EVERY = 50
"""Steps between looks at the flag of numbers that are not finite, on a GPU, where each look waits for it."""


class Training:
    """One run of one configuration on one dataset.

    Args:
        config: The run.
        dataset: With a train and a validation split.
        world: This rank.
        checkpoints: Folder for checkpoints, a path or URI; None keeps none. A run found there is resumed.
        hooks: What to call as it goes on.
        start: Folder of a trained model of the same configuration whose weights the run starts from, a path or URI.

    Raises:
        ConfigError: If the parts do not fit each other or the data.
        DataError: If the data has no validation split, or not what the model needs.
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
        self.config = config
        self.world = world or World()
        self.hooks = hooks or Hooks()
        training = config.training
        device, rank, size = self.world.device, self.world.rank, self.world.size
        check_validation(dataset)
        self.dataset = dataset
        self.model = build_model(config, dataset, device)
        if start is not None:
            _start_from(self.model, start)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False) if training.ema_decay else None
        self.batch_size = training.batch_size // size
        self.feed, self.validation = open_feeds(config, dataset, rank, size, device)
        self.total_steps = self.feed.steps_per_epoch * training.epochs
        check_schedule(config.objective, self.total_steps)
        check_warmup(training, self.total_steps)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.guard = FiniteGuard(self.model.parameters(), device)
        if device.type != "cpu":  # where every step is looked at before it is taken
            # The fused kernel leaves weights and moments as they are while this flag is 1, as for a GradScaler.
            self.optimizer.found_inf = self.guard.flag  # pyright: ignore[reportAttributeAccessIssue]
        self.controller = Controller(config.objective, self.total_steps, device)
        self.discriminator = self._discriminator()
        self.autocast = autocast_of(training, device)
        self.generator = torch.Generator(device)
        self.store = None if checkpoints is None else open_store(config, dataset, checkpoints)

        self.steps_done = 0
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
        # Not in the constructor: what one rank alone refuses there must not leave the others waiting in a collective.
        self.step = self._wrap()
        self.resumed_from_step = self.resume()
        started = self.last_checkpoint = time.monotonic()
        per_epoch = self.feed.steps_per_epoch
        while not self.record.is_over:
            epoch, first_step = divmod(self.steps_done, per_epoch)
            seconds = self._train_epoch(epoch, first_step)
            examples = (per_epoch - first_step) * self.batch_size * self.world.size
            self._end_epoch(epoch, examples / seconds, time.monotonic() - started)
        self.model.load_state_dict(self.best_weights)
        return self.record.result(self.model.eval(), self.resumed_from_step)

    def _train_epoch(self, epoch: int, first_step: int) -> float:
        """Trains the rest of an epoch; returns its seconds."""
        self.model.train()
        started = last_progress = time.monotonic()
        for number, batch in enumerate(self.feed.epoch(epoch, first_step), start=1):
            self._train_step(batch)
            # After an epoch's last step the checkpoint waits for the validation that belongs to it.
            if self._is_checkpoint_step() and self.steps_done % self.feed.steps_per_epoch:
                self._save(self.world.each(self.sums))
            if time.monotonic() - last_progress > PROGRESS_SECONDS and self.world.rank == 0:
                last_progress = time.monotonic()
                rate = number * self.batch_size * self.world.size / (last_progress - started)
                self.hooks.on_progress(Progress(epoch + 1, self.steps_done, self.total_steps, rate))
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)  # the last steps are queued, not done
        return time.monotonic() - started

    def _train_step(self, batch: Batch) -> None:
        training, model, controller = self.config.training, self.model, self.controller
        self.generator.manual_seed(derive(training.seed_of_data, Stream.PRESENTATION, self.world.rank, self.steps_done))
        inputs = present(model, self.config.objective, batch, self.generator)
        self.generator.manual_seed(derive(training.seed, Stream.STEP, self.world.rank, self.steps_done))
        draws = draw(model, self.config.objective, inputs, self.generator)
        controller.prepare(self.steps_done)
        with self.autocast:
            loss, parts, z_BL = self.step(draws, controller.beta, controller.capacity)
        loss.backward()
        self.guard.look(loss if self.world.size == 1 else None)
        if self._looks_now() and self.guard.is_raised:
            raise self._diverged(draws, loss.item())
        if training.gradient_clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip_norm)
        self.optimizer.param_groups[0]["lr"] = learning_rate_at(training, self.steps_done, self.total_steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None and training.ema_decay is not None:
            decay = ema_decay_at(training.ema_decay, self.steps_done)
            with torch.no_grad():  # or the average would hold the graph of every step
                for average, current in zip(self.averaged.parameters(), model.parameters(), strict=True):
                    average.lerp_(current, 1 - decay)
        if self.discriminator is not None:
            self.discriminator.learn(z_BL, self.generator)
        controller.observe(*parts)
        self.sums += parts
        self.steps_done += 1

    def _end_epoch(self, epoch: int, examples_per_second: float, elapsed_seconds: float) -> None:
        # Rank 0's clock goes through the sum, so that every rank reports, and decides, the same.
        clock = torch.tensor([examples_per_second, elapsed_seconds], dtype=torch.float64) * (self.world.rank == 0)
        train = self.sums.double() / (self.feed.steps_per_epoch * self.world.size)
        if self.averaged is not None:  # buffers, such as a codebook, are averages already
            for average, current in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                average.copy_(current)
        training = self.config.training
        step = Step(self.shipped, self.config.objective, self.dataset.num_rows("train"), self.discriminator)
        vector = validation_vector(
            step, self.validation, training.seed_of_data, self.world.rank, *self.controller.settled()
        )
        everything = self.world.total(torch.cat([vector, train, clock.to(self.world.device)]))
        distortion, rate, examples_per_second, elapsed_seconds = everything[len(vector) :].tolist()
        found = validated(everything[: len(vector)])
        # The last step's weights are seen by the validation alone, and on a GPU the last steps have not been looked at.
        reached = distortion + rate + found.bound.negative_bound + found.objective
        if not math.isfinite(reached) or self.guard.is_raised:
            what = f"the validation loss became {reached} after epoch {epoch + 1} (step {self.steps_done})"
            raise diverged(what, training)
        parts = EpochParts(distortion, rate, self.controller.beta.item(), examples_per_second, elapsed_seconds)
        if self.record.add(self.steps_done, epoch, found, parts):
            self.best_weights = {name: value.detach().clone() for name, value in self.shipped.state_dict().items()}
        self.sums.zero_()
        due = time.monotonic() - self.last_checkpoint >= training.checkpoint_seconds
        if due or self._is_checkpoint_step() or self.record.is_over:
            self._save()
        self.hooks.on_epoch(self.record.history[-1])

    def best_model(self) -> VAE:
        """Returns a copy of the model at its best epoch so far, in evaluation mode; in the first epoch, as it is."""
        model = copy.deepcopy(self.shipped)
        if self.best_weights:
            model.load_state_dict(self.best_weights)
        return model.eval()

    def _looks_now(self) -> bool:
        """Whether this step asks for the guard's flag, which on a GPU is asked for now and then and before checkpoints."""
        done = self.steps_done + 1
        every = self.config.training.checkpoint_steps
        return self.world.device.type == "cpu" or not done % LOOK_EVERY or (every is not None and not done % every)

    def _diverged(self, draws: Draws, loss: float) -> Diverged:
        """Returns the error for a step whose loss or gradient is not finite; the same on every rank."""
        epoch, step = divmod(self.steps_done, self.feed.steps_per_epoch)
        what = None
        if not math.isfinite(loss) or self.world.size == 1:
            rows = self.feed.row_numbers(epoch, step)
            what = costliest(self.model, draws, rows, self.dataset)
        where = f"at step {self.steps_done + 1} (epoch {epoch + 1}, batch {step + 1})"
        found = f"the loss became {loss} {where}" if not math.isfinite(loss) else f"a gradient is not finite {where}"
        told = self.world.first(None if what is None else f"{found}: {what}")
        return diverged(told or found, self.config.training)

    @property
    def shipped(self) -> VAE:
        """The model that is validated and shipped: the moving average where there is one."""
        return self.averaged if self.averaged is not None else self.model

    # --- how a step is run ------------------------------------------------------------------------------------------

    def _wrap(self) -> nn.Module:
        num_examples = self.dataset.num_rows("train")
        step: nn.Module = Step(self.model, self.config.objective, num_examples, self.discriminator)
        if self.world.size > 1:
            step = DistributedDataParallel(step, forward_sync_buffers=False, gradient_as_bucket_view=True)
        compiles = self.config.training.compile
        if compiles == "on" or (compiles == "auto" and self.world.device.type == "cuda"):
            # reduce-overhead captures CUDA graphs; they do not cover the collectives of several ranks.
            mode = "reduce-overhead" if self.world.size == 1 else "default"
            step = torch.compile(step, mode=mode)  # pyright: ignore[reportAssignmentType]
        return step

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _is_checkpoint_step(self) -> bool:
        every = self.config.training.checkpoint_steps
        return every is not None and self.steps_done % every == 0

    def _save(self, sums: Tensor | None = None) -> None:
        """Writes a checkpoint; in mid-epoch with each rank's sums so far."""
        self.last_checkpoint = time.monotonic()
        # Every rank holds the same weights and derives the rest, so rank 0 writes for all.
        if self.store is None:
            return
        if not all_finite(self.model.state_dict()):  # on every rank, so that none waits for rank 0
            raise diverged(f"weights are not finite after step {self.steps_done}", self.config.training)
        if self.world.rank:
            return
        tensors = {"model": self.model.state_dict(), "optimizer": optimizer_tensors(self.optimizer)}
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
        """Takes up the newest intact checkpoint, as `run` does first; returns its step, 0 where there is none."""
        if self.store is None:
            return 0
        checkpoint = self._agreed_checkpoint(self.store)
        if checkpoint is None:
            return 0
        self.model.load_state_dict(checkpoint.tensors["model"])
        restore_optimizer(self.optimizer, checkpoint.tensors["optimizer"])
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
        self.best_weights = {
            name: value.to(self.world.device) for name, value in checkpoint.tensors.get("best", {}).items()
        }
        log.info("resumed from step %d of %d", self.steps_done, self.total_steps)
        return self.steps_done

    def _agreed_checkpoint(self, store: CheckpointStore) -> Checkpoint | None:
        """The checkpoint that rank 0 chooses, on every rank; what one refuses, all do, and none waits for another."""
        checkpoint, refusal = None, None
        try:
            if self.world.rank == 0:
                checkpoint = store.load_newest()
        except CheckpointError as error:
            refusal = str(error)
        step = self.world.first(checkpoint.step if checkpoint else None)
        try:
            if checkpoint is None and step is not None:
                checkpoint = store.load(step)
        except CheckpointError as error:
            refusal = str(error)
        refusal = self.world.first(refusal)
        if refusal is not None:
            raise CheckpointError(refusal)
        return checkpoint


def open_store(config: RunConfig, dataset: Dataset, checkpoints: str) -> CheckpointStore:
    """The checkpoints of a run, in a folder that is a path or URI."""
    identity = {"config": identity_of(config), "dataset_id": dataset.manifest.dataset_id}
    return CheckpointStore(checkpoints, identity, config.training.keep_checkpoints)


@dataclass(frozen=True)
class Unfinished:
    """What a run has come to by a checkpoint."""

    model: VAE
    """In evaluation mode on the CPU: the best epoch until then; inside the first epoch, the step itself."""
    step: int
    """Of the checkpoint."""
    history: list[EpochReport]


def unfinished(config: RunConfig, dataset: Dataset, checkpoints: str) -> Unfinished | None:
    """What a run that goes on, was stopped or has failed has left, by its newest intact checkpoint; None without one.

    Raises:
        CheckpointError: If none is intact.
    """
    checkpoint = open_store(config, dataset, checkpoints).load_newest()
    if checkpoint is None:
        return None
    tensors, record = checkpoint.tensors, Record(config, 0)
    record.restore(checkpoint.values["history"])
    model = build_model(config, dataset)
    model.load_state_dict(tensors.get("best") or tensors.get("averaged") or tensors["model"])
    return Unfinished(model.eval(), checkpoint.step, record.history)


def _start_from(model: VAE, start: str) -> None:
    """Gives a model the weights of a trained one.

    Raises:
        ConfigError: If the trained model is of another configuration.
        CheckpointError: If the folder does not hold a model.
    """
    trained = load_model(start)
    if trained.config != model.config:
        changed = differences(trained.config.model_dump(mode="json"), model.config.model_dump(mode="json"))
        raise ConfigError(f"cannot start from the weights of {start}: model.{', model.'.join(changed)}")
    weights = trained.state_dict()
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
