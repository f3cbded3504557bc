"""Lanes: K models of one architecture that train as one stack, each with its own β, seed and learning rate.

A lane is a run like any other: `Training` comes to the same curve with its configuration, but for the order in which
sums are rounded. Lanes share `training.data_seed`: the batches, and the draws that present them.

Shapes: K lanes, S samples, B batch, L latent, N noise.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from vae.config import RunConfig, differences
from vae.data.batches import Batch
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.errors import ConfigError, Diverged
from vae.model import VAE
from vae.parts.controllers.controller import Controller
from vae.parts.terms import Inputs
from vae.seeds import Stream
from vae.training.assembly import DRAWS, autocast_of, build_model, check_validation, identity_of, open_feeds, share_of
from vae.training.epochs import EpochLoop
from vae.training.guard import SMALL, diverged
from vae.training.hooks import EpochReport, TrainingResult
from vae.training.optimizer import AdamW, learning_rate_at, move_averages
from vae.training.record import EpochParts, Record
from vae.training.stack import LaneNoise, Stack, StackGradients, StackValidation
from vae.training.state import Checkpoint, CheckpointStore, Tensors
from vae.training.step import Step, draw, present
from vae.training.validation import drawn_batches, validated

log = logging.getLogger(__name__)

LANE_FIELDS = ("objective.beta", "training.seed", "training.learning_rate")
"""Fields in which the lanes of a stack may differ."""


def refusal(config: RunConfig) -> str | None:
    """Returns the reason why a run cannot be a lane, which names the part; None if it can."""
    for part in (*config.model.parts, *config.objective.parts):
        if (reason := part.lane_refusal) is not None:
            return reason
    if config.training.freeze:
        return "training.freeze: the lanes of a stack begin anew, so there is nothing to keep; leave it empty"
    if config.training.compile == "on":
        return "training.compile: a stack is not compiled; set it to `auto` or `off`"
    if config.scaling.num_workers > 1:
        return f"scaling.num_workers: a stack trains on one worker, got {config.scaling.num_workers}"
    return None


def check_lanes(configs: Sequence[RunConfig]) -> None:
    """Raises if runs cannot train as one stack.

    Raises:
        ConfigError: If a part cannot be stacked, or the runs differ in a field that lanes share.
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
    """Returns the memory of each lane of a stack: its weights, their copies, and what a step keeps for its gradient.

    The memory of a step is measured by a forward pass of one model.
    """
    model, training = build_model(config, dataset), config.training
    weights = sum(value.nbytes for value in model.state_dict().values())
    # The weights, their gradient, AdamW's two moments, the best epoch's weights, and the moving average if there is one.
    copies = 5 if training.ema_decay is None else 6
    batch = share_of(config, dataset, "train").load(0, min(training.batch_size, dataset.num_rows("train")))
    draws = RowDraws(0, Stream.STEP)
    inputs = present(model, config.objective, batch, draws)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step = Step(model, config.objective, dataset.num_rows("train"))
        step(draw(model, config.objective, inputs, draws), torch.ones(()), torch.zeros(()))
    return copies * weights + sum(kept.values())


class LaneTraining(EpochLoop):
    """The training of a stack of lanes.

    Args:
        configs: Runs that differ in `LANE_FIELDS` alone.
        dataset: A dataset with a train and a validation split.
        device: Device of the stack.
        checkpoints: Folder for checkpoints, a path or URI; None keeps none. The stack continues from a checkpoint in it.
        on_epoch: Receives the reports of the lanes that trained in an epoch, by their numbers.

    Raises:
        ConfigError: If the runs cannot be lanes of one stack, or do not fit the data.
        DataError: If the data has no validation split, or lacks what the model needs.
    """

    def __init__(
        self,
        configs: Sequence[RunConfig],
        dataset: Dataset,
        device: torch.device | str = "cpu",
        checkpoints: str | None = None,
        on_epoch: Callable[[Mapping[int, EpochReport]], None] | None = None,
    ) -> None:
        check_lanes(configs)
        check_validation(dataset)
        self.configs, self.dataset, self.on_epoch = tuple(configs), dataset, on_epoch
        self.base = configs[0]
        training = self.base.training
        models = [build_model(config, dataset, device) for config in configs]
        self.stack = Stack(models)
        self.averaged = Stack(models) if training.ema_decay else None
        feed, self.validation = open_feeds(self.base, dataset, device=device)
        store = None if checkpoints is None else self._open_store(checkpoints)
        super().__init__(self.base, feed, torch.device(device), store)
        self.step = Step(self.stack.template, self.base.objective, dataset.num_rows("train"))
        self.autocast = partial(autocast_of, training, self.device)
        self.gradients = StackGradients(self.stack, self.step, self.autocast)
        self.validation_vectors = StackValidation(self.step)
        self.optimizer = AdamW(self.stack.parameters, training.weight_decay)
        self.controllers = [Controller(config.objective, self.total_steps, device) for config in configs]
        self.records = [Record(config, self.total_steps) for config in configs]
        self.alive = list(range(len(configs)))
        """Lanes that still train, in the order of the stack."""
        self.failed: dict[int, str] = {}
        """Error of each failed lane."""
        self.best_weights: dict[int, Tensors] = {}
        self.sums = torch.zeros(len(configs), 2, device=self.device)

    def _open_store(self, checkpoints: str) -> CheckpointStore:
        lanes = [identity_of(config) for config in self.configs]
        identity = {"lanes": lanes, "dataset_id": self.dataset.manifest.dataset_id, "draws": DRAWS}
        return CheckpointStore(checkpoints, identity, self.base.training.keep_checkpoints)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> list[TrainingResult | Diverged]:
        """Trains every lane to its end, or to its early stop, and returns its best epoch, or the error that ended it.

        Raises:
            CheckpointError: If the checkpoints belong to another stack, or none is intact.
        """
        resumed_from = self.resume()
        self.train()
        return [
            Diverged(self.failed[lane])
            if lane in self.failed
            else self.records[lane].result(self.model_of(lane), resumed_from)
            for lane in range(len(self.configs))
        ]

    @property
    def is_over(self) -> bool:
        """Whether no lane trains any more."""
        return not self.alive

    @property
    def network(self) -> VAE:
        """The template, whose mode the stack follows."""
        return self.stack.template

    def model_of(self, lane: int) -> VAE:
        """Returns a lane's best epoch so far as an ordinary model, in evaluation mode."""
        model = copy.deepcopy(self.stack.template)
        model.load_state_dict(self.best_weights[lane])
        return model.eval()

    def train_step(self, batch: Batch) -> None:
        """Takes one optimiser step of every lane."""
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
            current = self.stack.parameters.values()
            move_averages(self.averaged.parameters.values(), current, training.ema_decay, step)
        for controller, parts in zip(controllers, parts_K2, strict=True):
            controller.observe(*parts)
        self.sums += parts_K2

    def _draw(self, batch: Batch) -> tuple[Inputs, LaneNoise]:
        """Returns the batch as all lanes take it, and the noise of each lane."""
        objective, template, step, device = self.base.objective, self.stack.template, self.steps_done, self.device
        inputs = present(
            template,
            objective,
            batch,
            RowDraws(self.base.training.seed_of_data, Stream.PRESENTATION, step, device=device),
        )
        seeds = [self.configs[lane].training.seed for lane in self.alive]
        drawn = draw(template, objective, inputs, RowDraws(seeds, Stream.STEP, step, device=device))
        return inputs, LaneNoise(drawn.noise, drawn.inputs.log_beta, drawn.reference)

    @torch.no_grad()
    def _check_finite(self, loss_K: Tensor) -> None:
        """Marks lanes whose loss or gradient is not finite as failed, and leaves their weights as they are."""
        gradients = [value.grad for value in self.stack.parameters.values() if value.grad is not None]
        small = [gradient for gradient in gradients if gradient[0].numel() <= SMALL] or gradients
        total_K = loss_K + torch.stack([gradient.view(len(gradient), -1).sum(1) for gradient in small]).sum(0)
        finite_K = total_K.isfinite()
        if finite_K.all():
            return
        for place, lane in enumerate(self.alive):
            if not finite_K[place]:
                self._fail(lane, self.failure_of_step(loss_K[place].item()))
        for gradient in gradients:
            gradient[~finite_K] = 0

    def _fail(self, lane: int, failure: str) -> None:
        self.failed.setdefault(lane, str(diverged(failure, self.configs[lane].training)))

    @torch.no_grad()
    def _clip(self, most: float) -> None:
        """Cuts the gradient of each lane to a norm of its own."""
        gradients = [value.grad for value in self.stack.parameters.values() if value.grad is not None]
        square_K = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
        scale_K = (most / (square_K.sqrt() + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(scale_K.view(-1, *[1] * (gradient.ndim - 1)))

    # --- the end of an epoch ----------------------------------------------------------------------------------------

    def end_epoch(self, epoch: int, examples_per_second: float, elapsed_seconds: float) -> Mapping[int, EpochReport]:
        """Validates and records an epoch of each lane; lanes that are over or have failed leave the stack."""
        train_K2 = (self.sums.double() / self.steps_per_epoch).tolist()
        if self.averaged is not None:
            self.averaged.buffers = {name: value.clone() for name, value in self.stack.buffers.items()}
        reports: dict[int, EpochReport] = {}
        for place, (lane, vector) in enumerate(zip(self.alive, self._validate(), strict=True)):
            (distortion, rate), figures = train_K2[place], validated(vector)
            if lane not in self.failed and (failure := self.failure_of_epoch(epoch, distortion + rate, figures)):
                self._fail(lane, failure)
            if lane in self.failed:
                continue
            record, beta = self.records[lane], self.controllers[lane].beta.item()
            parts = EpochParts(distortion, rate, beta, examples_per_second, elapsed_seconds)
            if record.add(self.steps_done, epoch, figures, parts):
                self.best_weights[lane] = self.shipped.lane(place)
            reports[lane] = record.history[-1]
        self._keep([lane for lane in self.alive if lane not in self.failed and not self.records[lane].is_over])
        return reports

    def announce_epoch(self, reports: Mapping[int, EpochReport]) -> None:
        """Passes the reports of an epoch to the listener."""
        if self.on_epoch is not None:
            self.on_epoch(reports)

    @property
    def shipped(self) -> Stack:
        """The stack that is validated and shipped: the moving averages if the lanes keep them."""
        return self.averaged if self.averaged is not None else self.stack

    @torch.no_grad()
    def _validate(self) -> Tensor:
        """Returns the vector of `validation.batch_vector` of each lane, [K,…]; all see the same noise."""
        template, objective = self.stack.template.eval(), self.base.objective
        settled = [self.controllers[lane].settled() for lane in self.alive]
        beta_K, capacity_K = (torch.stack(values) for values in zip(*settled, strict=True))
        batches = drawn_batches(template, objective, self.validation, self.base.training.seed_of_data)
        vectors = (self.validation_vectors(self.shipped, *drawn, beta_K, capacity_K) for drawn in batches)
        total = next(vectors)
        for vector in vectors:
            total = total + vector
        return total

    def _keep(self, lanes: Sequence[int]) -> None:
        """Removes all other lanes from the stack, whose steps cost less from here on."""
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

    def save(self, *, in_epoch: bool) -> None:
        """Writes a checkpoint, if the stack keeps any."""
        if self.store is None:
            return
        best = self.best_weights.items()
        tensors: dict[str, Tensors] = {
            "controllers": {
                "state": torch.stack([controller.state for controller in self.controllers]),
                "beta": torch.stack([controller.beta for controller in self.controllers]),
            },
            "best": {f"{lane}/{name}": value for lane, weights in best for name, value in weights.items()},
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
        """Restores the newest intact checkpoint, which `run` does first; returns its step, 0 without a checkpoint."""
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
