"""Lanes: K models of one architecture that train as one stack, each with its own β, seed and learning rate.

A lane is a run like any other: its configuration alone says what becomes of it, and `Training` comes to the same curve with
it, but for the order in which sums are rounded. What lanes share is `training.data_seed`: the batches, and what is drawn
for them.

Shapes: K lanes, S samples, B batch, L latent, N noise.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from vae.config import RunConfig, differences
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.errors import ConfigError, Diverged
from vae.model import VAE
from vae.parts.controllers.controller import Controller, check_schedule
from vae.parts.terms import Inputs
from vae.seeds import Stream, derive
from vae.training.assembly import autocast_of, build_model, check_validation, identity_of, open_feeds, share_of
from vae.training.guard import SMALL, diverged
from vae.training.hooks import EpochReport, Progress, TrainingResult
from vae.training.optimizer import StackedAdamW, check_warmup, ema_decay_at, learning_rate_at
from vae.training.record import EpochParts, Record
from vae.training.stack import LaneDraws, Stack, StackGradients, StackValidation
from vae.training.state import Checkpoint, CheckpointStore, Tensors
from vae.training.step import Step, draw, present
from vae.training.validation import draw_validation, validated

log = logging.getLogger(__name__)

LANE_FIELDS = ("objective.beta", "training.seed", "training.learning_rate")
"""In which the lanes of a stack may differ."""
PROGRESS_SECONDS = 1.0


def refusal(config: RunConfig) -> str | None:
    """Why a run cannot be a lane, which names the part; None where it can."""
    for part in (*config.model.parts, *config.objective.parts):
        if part.not_stackable is not None:
            return part.not_stackable
    if config.training.compile == "on":
        return "training.compile: a stack is not compiled; set it to `auto` or `off`"
    if config.scaling.num_workers > 1:
        return f"scaling.num_workers: a stack trains on one worker, got {config.scaling.num_workers}"
    return None


def check_lanes(configs: Sequence[RunConfig]) -> None:
    """Refuses runs that cannot train as one stack.

    Raises:
        ConfigError: Names the field in which they differ, or the part that cannot be stacked.
    """
    if not configs:
        raise ConfigError("a stack needs one lane at least")
    if (reason := refusal(configs[0])) is not None:
        raise ConfigError(f"{reason}; train such models one at a time")
    first = configs[0].model_dump(mode="json")
    for number, config in enumerate(configs):
        for field in differences(first, config.model_dump(mode="json")):
            if field.split(":")[0] not in LANE_FIELDS:
                raise ConfigError(
                    f"lane {number} differs from lane 0 in {field}; lanes may differ in {', '.join(LANE_FIELDS)} alone"
                )
        if config.training.seed_of_data != configs[0].training.seed_of_data:
            raise ConfigError(
                f"lane {number} sees other batches than lane 0: its data seed is {config.training.seed_of_data} and not "
                f"{configs[0].training.seed_of_data}; set training.data_seed for all"
            )


def bytes_of_a_lane(config: RunConfig, dataset: Dataset) -> int:
    """Memory that each lane of a stack takes: its weights and what goes with them, and what a step keeps for its gradient.

    The latter is counted by taking a step's forward pass with one model.
    """
    model, training = build_model(config, dataset), config.training
    weights = sum(value.nbytes for value in model.state_dict().values())
    # The weights, their gradient, AdamW's two moments, the best epoch's weights, and the average where there is one.
    copies = 5 if training.ema_decay is None else 6
    batch = share_of(config, dataset, "train").load(0, min(training.batch_size, dataset.num_rows("train")))
    generator = torch.Generator().manual_seed(0)
    inputs = present(model, config.objective, batch, generator)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step = Step(model, config.objective, dataset.num_rows("train"))
        step(draw(model, config.objective, inputs, generator), torch.ones(()), torch.zeros(()))
    return copies * weights + sum(kept.values())


class LaneHooks:
    """What a stack tells while it goes on; by itself, nobody listens."""

    def on_epoch(self, reports: Mapping[int, EpochReport]) -> None:
        """Called after each epoch with the reports of the lanes that were in it."""

    def on_progress(self, progress: Progress, lanes_alive: int) -> None:
        """Called at most once a second."""


class LaneTraining:
    """K runs on one dataset as one stack.

    Args:
        configs: The lanes.
        dataset: With a train and a validation split.
        device: Where the stack lives.
        checkpoints: Folder for checkpoints, a path or URI; None keeps none. A stack found there is resumed, exactly.
        hooks: What to call as it goes on.

    Raises:
        ConfigError: If the runs cannot be lanes of one stack, or do not fit the data.
        DataError: If the data has no validation split, or not what the model needs.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        dataset: Dataset,
        device: torch.device | str = "cpu",
        checkpoints: str | None = None,
        hooks: LaneHooks | None = None,
    ) -> None:
        check_lanes(configs)
        check_validation(dataset)
        self.configs, self.dataset, self.device = tuple(configs), dataset, torch.device(device)
        self.hooks = hooks or LaneHooks()
        self.base = configs[0]
        training = self.base.training
        models = [build_model(config, dataset, device) for config in configs]
        self.stack = Stack(models)
        self.step = Step(self.stack.template, self.base.objective, dataset.num_rows("train"))
        self.autocast = partial(autocast_of, training, self.device)
        self.gradients = StackGradients(self.stack, self.step, self.autocast)
        self.validation_vectors = StackValidation(self.step)
        self.averaged = Stack(models) if training.ema_decay else None
        self.feed, self.validation = open_feeds(self.base, dataset, device=device)
        self.total_steps = self.feed.steps_per_epoch * training.epochs
        check_schedule(self.base.objective, self.total_steps)
        check_warmup(training, self.total_steps)
        self.optimizer = StackedAdamW(self.stack.parameters, training.weight_decay)
        self.controllers = [Controller(config.objective, self.total_steps, device) for config in configs]
        self.records = [Record(config, self.total_steps) for config in configs]
        self.generator = torch.Generator(device)
        self.store = None if checkpoints is None else self._open_store(checkpoints)
        self.alive = list(range(len(configs)))
        """Lanes that still train, in the order of the stack."""
        self.failed: dict[int, str] = {}
        self.best_weights: dict[int, Tensors] = {}
        self.sums = torch.zeros(len(configs), 2, device=self.device)
        self.steps_done = 0

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> list[TrainingResult | Diverged]:
        """Trains every lane to its end, or to its early stop: each one's best epoch, or why there is none.

        Raises:
            CheckpointError: If the checkpoints belong to another stack, or none is intact.
        """
        resumed_from = self.resume()
        started = self.last_checkpoint = time.monotonic()
        per_epoch = self.feed.steps_per_epoch
        while self.alive:
            epoch, first_step = divmod(self.steps_done, per_epoch)
            seconds = self._train_epoch(epoch, first_step)
            examples = (per_epoch - first_step) * self.base.training.batch_size
            self._end_epoch(epoch, examples / seconds, time.monotonic() - started)
        return [self._result(lane, resumed_from) for lane in range(len(self.configs))]

    def _result(self, lane: int, resumed_from: int) -> TrainingResult | Diverged:
        if lane in self.failed:
            return Diverged(self.failed[lane])
        return self.records[lane].result(self.model_of(lane), resumed_from)

    def model_of(self, lane: int) -> VAE:
        """A lane's best epoch so far as an ordinary model, in evaluation mode."""
        model = copy.deepcopy(self.stack.template)
        model.load_state_dict(self.best_weights[lane])
        return model.eval()

    def _train_epoch(self, epoch: int, first_step: int) -> float:
        """Trains the rest of an epoch; returns its seconds."""
        self.stack.template.train()
        started = last_progress = time.monotonic()
        for number, batch in enumerate(self.feed.epoch(epoch, first_step), start=1):
            self._train_step(batch)
            if self._is_checkpoint_step() and self.steps_done % self.feed.steps_per_epoch:
                self._save()
            if time.monotonic() - last_progress > PROGRESS_SECONDS:
                last_progress = time.monotonic()
                rate = number * len(batch) / (last_progress - started)
                progress = Progress(epoch + 1, self.steps_done, self.total_steps, rate)
                self.hooks.on_progress(progress, len(self.alive))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic() - started

    def _train_step(self, batch: Batch) -> None:
        training, step = self.base.training, self.steps_done
        inputs, drawn = self._draw(batch)
        controllers = [self.controllers[lane] for lane in self.alive]
        for controller in controllers:
            controller.prepare(step)
        beta_K = torch.stack([controller.beta for controller in controllers])
        capacity_K = torch.stack([controller.capacity for controller in controllers])
        loss_K, parts_K2 = self.gradients(inputs, drawn, beta_K, capacity_K)
        self._check_finite(loss_K)
        if training.gradient_clip_norm is not None:
            self._clip(training.gradient_clip_norm)
        rates = [learning_rate_at(self.configs[lane].training, step, self.total_steps) for lane in self.alive]
        self.optimizer.advance(rates)
        if self.averaged is not None and training.ema_decay is not None:
            decay = ema_decay_at(training.ema_decay, step)
            with torch.no_grad():
                for name, average in self.averaged.parameters.items():
                    average.lerp_(self.stack.parameters[name], 1 - decay)
        for controller, parts in zip(controllers, parts_K2, strict=True):
            controller.observe(*parts)
        self.sums += parts_K2
        self.steps_done += 1

    def _draw(self, batch: Batch) -> tuple[Inputs, LaneDraws]:
        """The batch as all lanes take it, and what is drawn for each."""
        training, generator, template = self.base.training, self.generator, self.stack.template
        generator.manual_seed(derive(training.seed_of_data, Stream.PRESENTATION, 0, self.steps_done))
        inputs = present(template, self.base.objective, batch, generator)
        drawn = []
        for lane in self.alive:
            generator.manual_seed(derive(self.configs[lane].training.seed, Stream.STEP, 0, self.steps_done))
            drawn.append(draw(template, self.base.objective, inputs, generator))
        return inputs, LaneDraws.of(drawn)

    @torch.no_grad()
    def _check_finite(self, loss_K: Tensor) -> None:
        """Marks lanes whose loss or gradient is not finite as failed, and leaves their weights as they are."""
        gradients = [value.grad for value in self.stack.parameters.values() if value.grad is not None]
        small = [gradient for gradient in gradients if gradient[0].numel() <= SMALL] or gradients
        total_K = loss_K + torch.stack([gradient.view(len(gradient), -1).sum(1) for gradient in small]).sum(0)
        finite_K = total_K.isfinite()
        if finite_K.all():
            return
        epoch, step = divmod(self.steps_done, self.feed.steps_per_epoch)
        where = f"at step {self.steps_done + 1} (epoch {epoch + 1}, batch {step + 1})"
        for place, lane in enumerate(self.alive):
            if not finite_K[place]:
                loss = loss_K[place].item()
                found = f"the loss became {loss}" if not math.isfinite(loss) else "a gradient is not finite"
                self.failed.setdefault(lane, str(diverged(f"{found} {where}", self.configs[lane].training)))
        for gradient in gradients:
            gradient[~finite_K] = 0

    @torch.no_grad()
    def _clip(self, most: float) -> None:
        """Each lane's gradient to a norm of its own."""
        gradients = [value.grad for value in self.stack.parameters.values() if value.grad is not None]
        square_K = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
        scale_K = (most / (square_K.sqrt() + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(scale_K.view(-1, *[1] * (gradient.ndim - 1)))

    # --- the end of an epoch ----------------------------------------------------------------------------------------

    def _end_epoch(self, epoch: int, examples_per_second: float, elapsed_seconds: float) -> None:
        train_K2 = (self.sums.double() / self.feed.steps_per_epoch).tolist()
        if self.averaged is not None:
            self.averaged.buffers = {name: value.clone() for name, value in self.stack.buffers.items()}
        everything = [validated(vector) for vector in self._validate()]
        reports: dict[int, EpochReport] = {}
        for place, lane in enumerate(self.alive):
            if lane in self.failed:
                continue
            (distortion, rate), found = train_K2[place], everything[place]
            if not math.isfinite(reached := distortion + rate + found.bound.negative_bound + found.objective):
                what = f"the validation loss became {reached} after epoch {epoch + 1} (step {self.steps_done})"
                self.failed[lane] = str(diverged(what, self.configs[lane].training))
                continue
            record, beta = self.records[lane], self.controllers[lane].beta.item()
            parts = EpochParts(distortion, rate, beta, examples_per_second, elapsed_seconds)
            if record.add(self.steps_done, epoch, found, parts):
                self.best_weights[lane] = self.shipped.lane(place)
            reports[lane] = record.history[-1]
        self._keep([lane for lane in self.alive if lane not in self.failed and not self.records[lane].is_over])
        due = time.monotonic() - self.last_checkpoint >= self.base.training.checkpoint_seconds
        if due or self._is_checkpoint_step() or not self.alive:
            self._save()
        self.hooks.on_epoch(reports)

    @property
    def shipped(self) -> Stack:
        """What is validated and shipped: the moving averages where there are any."""
        return self.averaged if self.averaged is not None else self.stack

    @torch.no_grad()
    def _validate(self) -> Tensor:
        """Returns the vector of `validation.batch_vector` of each lane, [K,…]; all see the same noise."""
        template, objective = self.stack.template.eval(), self.base.objective
        settled = [self.controllers[lane].settled() for lane in self.alive]
        beta_K, capacity_K = (torch.stack(values) for values in zip(*settled, strict=True))
        total: Tensor | None = None
        for number, batch in enumerate(self.validation):
            self.generator.manual_seed(derive(self.base.training.seed_of_data, Stream.VALIDATION, 0, number))
            clean, draws = draw_validation(template, objective, batch, self.generator)
            vector = self.validation_vectors(self.shipped, clean, draws, beta_K, capacity_K)
            total = vector if total is None else total + vector
        assert total is not None, "there is a validation split"
        return total

    def _keep(self, lanes: Sequence[int]) -> None:
        """Lets the others leave the stack, whose step costs less from here on."""
        if list(lanes) != self.alive:
            places = [self.alive.index(lane) for lane in lanes]
            self.stack.keep(places)
            self.gradients = StackGradients(self.stack, self.step, self.autocast)
            self.optimizer.keep(places, self.stack.parameters)
            if self.averaged is not None:
                self.averaged.keep(places)
            self.alive = list(lanes)
        self.sums = torch.zeros(len(lanes), 2, device=self.device)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _open_store(self, checkpoints: str) -> CheckpointStore:
        lanes = [identity_of(config) for config in self.configs]
        identity = {"lanes": lanes, "dataset_id": self.dataset.manifest.dataset_id}
        return CheckpointStore(checkpoints, identity, self.base.training.keep_checkpoints)

    def _is_checkpoint_step(self) -> bool:
        every = self.base.training.checkpoint_steps
        return every is not None and self.steps_done % every == 0

    def _save(self) -> None:
        self.last_checkpoint = time.monotonic()
        if self.store is None:
            return
        tensors: dict[str, Tensors] = {
            "controllers": {
                "state": torch.stack([controller.state for controller in self.controllers]),
                "beta": torch.stack([controller.beta for controller in self.controllers]),
            },
            "best": {
                f"{lane}/{name}": value for lane, best in self.best_weights.items() for name, value in best.items()
            },
            "sums": {"sums": self.sums},
        }
        if self.alive:
            tensors |= {"model": self.stack.tensors(), "optimizer": self.optimizer.tensors()}
            if self.averaged is not None:
                tensors["averaged"] = self.averaged.tensors()
        values = {
            "alive": self.alive,
            "failed": {str(lane): reason for lane, reason in self.failed.items()},
            "histories": [record.to_json() for record in self.records],
        }
        self.store.save(Checkpoint(self.steps_done, tensors, values))

    def resume(self) -> int:
        """Takes up the newest intact checkpoint, as `run` does first; returns its step, 0 where there is none."""
        checkpoint = None if self.store is None else self.store.load_newest()
        if checkpoint is None:
            return 0
        self.steps_done = checkpoint.step
        self.failed.update({int(lane): reason for lane, reason in checkpoint.values["failed"].items()})
        for record, history in zip(self.records, checkpoint.values["histories"], strict=True):
            record.restore(history)
        for number, controller in enumerate(self.controllers):
            controller.state.copy_(checkpoint.tensors["controllers"]["state"][number])
            controller.beta.copy_(checkpoint.tensors["controllers"]["beta"][number])
        for name, value in checkpoint.tensors["best"].items():
            lane, _, field = name.partition("/")
            self.best_weights.setdefault(int(lane), {})[field] = value.to(self.device)
        self._keep(checkpoint.values["alive"])
        if self.alive:
            self.sums.copy_(checkpoint.tensors["sums"]["sums"])
            self.stack.restore(checkpoint.tensors["model"])
            self.optimizer.restore(checkpoint.tensors["optimizer"])
            if self.averaged is not None:
                self.averaged.restore(checkpoint.tensors["averaged"])
        log.info("resumed %d lanes from step %d of %d", len(self.alive), self.steps_done, self.total_steps)
        return self.steps_done
