"""Training as a Ray Train job: any number of workers, restarted and resumed after a failure.

The only file in `vae` that imports ray. Checkpoints are betaline's own (see `state.py`): hashed, committed last and exact
in mid-epoch, which Ray Train's are not. Ray Train places the workers, connects them, and restarts them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import ray
import ray.train
import ray.train.torch
from ray.train.torch.config import _TorchBackend

from vae.config import RunConfig, ScalingConfig, parse
from vae.data.parquet import Dataset
from vae.errors import BetalineError, CheckpointError, ClusterError, Diverged, rebuild
from vae.storage import locate
from vae.training.hooks import EpochReport, Hooks, Progress
from vae.training.latents import fit_latents
from vae.training.loop import Training
from vae.training.state import save_model
from vae.training.verdict import early_epoch, judge, measure
from vae.training.world import World, set_up_process

# Ray Train takes a report when it polls its workers; handing it one more often than that would stall training.
REPORT_SECONDS = 2.0
# How often the living nodes are counted while a run goes on, to say what its workers wait for.
COUNT_SECONDS = 2.0

OnReport = Callable[[list[dict[str, Any]]], None]
OnEvent = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class TrainSpec:
    """What every worker needs to know."""

    config: RunConfig
    dataset: str
    """URI of the dataset's folder."""
    folder: str
    """URI of the run's folder, which all workers can reach: checkpoints and the trained model go there."""
    name: str
    """Of the run. The same name in the same folder goes on where it stopped."""
    start: str | None = None
    """URI of the folder of a trained model whose weights the run starts from."""

    @property
    def checkpoints(self) -> str:
        """URI of the folder of its checkpoints."""
        return (locate(self.folder) / "checkpoints").uri


@dataclass(frozen=True)
class TrainOutcome:
    """A finished run."""

    model: str
    """URI of the trained model's folder."""
    history: list[dict[str, Any]]
    best: dict[str, Any]
    """The epoch whose weights the model has."""
    resumed_from_step: int


def train(spec: TrainSpec, on_report: OnReport | None = None, on_event: OnEvent | None = None) -> TrainOutcome:
    """Trains on the cluster that this process is connected to, and waits for the end.

    Args:
        spec: The run.
        on_report: Called in Ray Train's controller with the epochs since the last call, every couple of seconds; and in
            this process with all of them where the workers gave up. Must be picklable and must not block.
        on_event: Called on rank 0 with `epoch` and `progress` events. Must be picklable.

    Raises:
        BetalineError: What a worker refused or gave up on, as it raised it; such a run is not retried.
        ClusterError: If the workers failed, or waited in vain for room, more often than `scaling.max_failures`.
    """
    scaling = spec.config.scaling
    gpus = scaling.gpus_per_worker
    callbacks: list[ray.train.UserCallback] = [_ForwardReports(on_report)] if on_report else []
    trainer = ray.train.torch.TorchTrainer(
        _train_worker,
        train_loop_config={"spec": _to_json(spec), "on_event": on_event},
        torch_config=_OnNodeAddresses(),
        scaling_config=ray.train.ScalingConfig(
            num_workers=scaling.num_workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name=spec.name,
            storage_path=spec.folder,
            failure_config=ray.train.FailureConfig(
                max_failures=scaling.max_failures, controller_failure_limit=scaling.max_failures
            ),
            callbacks=callbacks,
            worker_runtime_env={"env_vars": _worker_environment(scaling)},
        ),
    )
    try:
        with _telling_what_is_missing(scaling):
            answer = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        if missing := _missing(scaling):
            raise ClusterError(
                f"run {spec.name} gave up for want of {missing}; add nodes and give the same command again, which goes on "
                "from the last checkpoint"
            ) from error
        raise ClusterError(
            f"run {spec.name} failed {scaling.max_failures + 1} times, the last time with: {error}"
        ) from error
    assert answer is not None, "rank 0 always answers"
    if "error" in answer:
        if on_report and answer.get("epochs"):
            on_report(answer["epochs"])  # the controller has not heard of the last ones
        raise rebuild(answer["error"], answer["message"])
    return TrainOutcome(**answer)


@dataclass
class _OnNodeAddresses(ray.train.torch.TorchConfig):
    """Ranks that speak to each other on the addresses that their nodes have in the cluster."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _NodeAddressBackend


class _NodeAddressBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: ray.train.torch.TorchConfig) -> None:
        worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)


def _choose_interface() -> None:
    """Left to itself gloo takes the address of the host's name, which on many machines is one of loopback."""
    address = ray.util.get_node_ip_address()
    for name, found in psutil.net_if_addrs().items():
        if any(one.address == address for one in found):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def places(wanted: Mapping[str, float]) -> int:
    """How many processes that take so much of each resource have room on the cluster's living nodes, were those idle."""
    # Tiny fractions are lost in sums of fractions.
    return sum(min(int(node.get(name, 0) / amount + 1e-6) for name, amount in wanted.items()) for node in living())


def living() -> list[dict[str, float]]:
    """The resources of each living node of the cluster that this process is connected to."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _missing(scaling: ScalingConfig) -> str | None:
    """What the cluster does not have of what the workers need: "2 CPUs, have 1: …"; None where they have room."""
    wanted = {"CPU": scaling.cpus_per_worker, **({"GPU": scaling.gpus_per_worker} if scaling.gpus_per_worker else {})}
    room = places(wanted)
    if room >= scaling.num_workers:
        return None
    need = " and ".join(f"{scaling.num_workers * amount} {name}s" for name, amount in wanted.items())
    have = " and ".join(f"{sum(node.get(name, 0) for node in living()):g}" for name in wanted)
    return f"{need}, have {have}: room for {room} of {scaling.num_workers} workers"


@contextmanager
def _telling_what_is_missing(scaling: ScalingConfig) -> Iterator[None]:
    """Says what workers wait for, when nodes were lost or are still to come: Ray Train waits without a word."""
    over = threading.Event()

    def watch() -> None:
        told = None
        while not over.wait(COUNT_SECONDS):
            missing = _missing(scaling)
            if missing != told:
                print(f"waiting for {missing}" if missing else "there is room for all workers again", flush=True)
                told = missing

    thread = threading.Thread(target=watch, name="betaline-missing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _worker_environment(scaling: ScalingConfig) -> dict[str, str]:
    # Ray sets this from the worker's CPUs too, but only where the user has not exported another value.
    return {"OMP_NUM_THREADS": str(scaling.cpus_per_worker)}


class _ForwardReports(ray.train.UserCallback):
    """Runs in Ray Train's controller."""

    def __init__(self, on_report: OnReport) -> None:
        self.on_report = on_report

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        self.on_report(metrics[0]["epochs"])


def _train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """What each rank runs. A refusal is an answer, not an exception: Ray Train would retry it."""
    set_up_process(int(os.environ["OMP_NUM_THREADS"]))
    spec = _from_json(config["spec"])
    folder = locate(spec.folder)
    world = World.current(ray.train.torch.get_device())
    hooks = _WorkerHooks(world, config["on_event"])
    training, refusal = None, None
    try:
        dataset = Dataset.open(spec.dataset)
        if ray.train.get_context().get_local_rank() == 0:
            dataset.verify(["train", "validation"])
        training = Training(spec.config, dataset, world, spec.checkpoints, hooks, spec.start)
        if world.rank == 0:
            hooks.watch(training)
    except BetalineError as error:
        refusal = _refusal(error)
    # What any rank refused, so that all of them stop and none waits for another.
    refusal = world.first(refusal)
    if refusal is not None:
        return refusal
    assert training is not None
    try:
        result = training.run()
    except (CheckpointError, Diverged) as error:  # decided by all ranks together, so raised on each
        if isinstance(error, Diverged) and world.rank == 0:
            _save_last_good(training, (folder / "model").uri)
        return {**_refusal(error), "epochs": [asdict(report) for report in training.record.history]}
    hooks.flush()
    model = (folder / "model").uri
    if world.rank == 0:
        fit_latents(training.model, training.config, training.dataset)
        save_model(result.model, model)
    return asdict(
        TrainOutcome(
            model, [asdict(report) for report in result.history], asdict(result.best), result.resumed_from_step
        )
    )


def _save_last_good(training: Training, uri: str) -> None:
    """Saves the best epoch's model of a run that diverged; nothing in the first epoch, whose weights nobody has judged."""
    if training.record.history:
        model = training.best_model()
        fit_latents(model, training.config, training.dataset)
        save_model(model, uri)


def _refusal(error: BetalineError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error)}


class _WorkerHooks(Hooks):
    """Hands epochs to Ray Train, at most every `REPORT_SECONDS`, and events to whoever watches."""

    def __init__(self, world: World, on_event: OnEvent | None) -> None:
        self.pending: list[dict[str, Any]] = []
        self.last_report_seconds = 0.0
        self.on_event = on_event if world.rank == 0 else None
        self.training: Training | None = None

    def watch(self, training: Training) -> None:
        """Judges a training once a tenth of its epochs are over."""
        if self.on_event is not None:
            self.training = training

    def on_epoch(self, report: EpochReport) -> None:
        self.pending.append(asdict(report))
        if self.on_event:
            self.on_event("epoch", asdict(report))
            if self.training is not None and report.epoch == early_epoch(self.training.config):
                config, model = self.training.config, self.training.shipped
                measured = measure(config, self.training.dataset, model)
                for finding in judge(config, self.training.record.history, measured):
                    self.on_event("finding", asdict(finding))
        # By the clock that all ranks share: a report is a barrier.
        if report.elapsed_seconds - self.last_report_seconds >= REPORT_SECONDS:
            self.last_report_seconds = report.elapsed_seconds
            self.flush()

    def on_progress(self, progress: Progress) -> None:
        if self.on_event:
            self.on_event("progress", asdict(progress))

    def flush(self) -> None:
        if self.pending:
            ray.train.report({"epochs": self.pending})
            self.pending = []


def _to_json(spec: TrainSpec) -> dict[str, Any]:
    return {**vars(spec), "config": spec.config.model_dump(mode="json")}


def _from_json(values: Mapping[str, Any]) -> TrainSpec:
    return TrainSpec(**{**values, "config": parse(RunConfig, values["config"])})
