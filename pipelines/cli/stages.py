"""Commands that run flows: the main job, and its stages one by one."""

from __future__ import annotations

import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from typer import Argument, Option, Typer

from pipelines.cli import options
from pipelines.cli.console import Screen, connected, run_flow
from pipelines.cli.parameters import (
    DEFAULT_HOME,
    Alias,
    Approve,
    Color,
    ColumnsFile,
    ConfigFile,
    Dataset,
    Exact,
    Home,
    IngestSettings,
    Json,
    Label,
    Metrics,
    ModelName,
    NewDataset,
    NumSamples,
    OnBad,
    PresetName,
    Projection,
    Register,
    Resize,
    RunName,
    SearchSettings,
    Select,
    Settings,
    Source,
    Split,
    SplitSeed,
    StartFrom,
    Strict,
    WriteColumns,
)
from pipelines.stages.yaml_files import read_mapping
from vae.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.data.ingest import IngestResult
    from pipelines.stages.apply import ApplyResult
    from pipelines.stages.promote import PromoteRequest
    from pipelines.stages.train import TrainResult
    from pipelines.stages.tune import TuneRequest, TuneResult

app = Typer()


@app.command()
def run(run: RunName = None, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Run the whole pipeline on a small dataset of digits: ingest, search, train the best model, promote it."""
    screen, run = Screen(as_json, home), run or f"pipeline-{uuid.uuid4().hex}"
    started = time.monotonic()
    with connected(home, screen, "betaline run") as services, _resumable(screen, run, has_report=False):
        ready = time.monotonic() - started
        from pipelines.flows.pipeline import pipeline
        from pipelines.stages import demo

        result = pipeline(demo.digits(), run=run)
    from pipelines.cli import summary

    seconds = {"services": ready, **result.seconds, "total": time.monotonic() - started}
    promotion = summary.promotion_of(result)
    screen.say(*summary.pipeline_lines(result, services, seconds))
    screen.say_report(promotion.report_url)
    screen.end(summary.pipeline_json(result, seconds), f"betaline models {promotion.version.name}")


@app.command()
def ingest(
    source: Source,
    name: NewDataset,
    split: Split = "0.1,0.1",
    seed: SplitSeed = 0,
    resize: Resize = None,
    color: Color = "keep",
    on_bad: OnBad = "reject",
    label: Label = None,
    settings: IngestSettings = None,
    columns: ColumnsFile = None,
    write_columns: WriteColumns = None,
    strict: Strict = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Turn a source into a Parquet dataset, checked and identified by its content."""
    screen = Screen(as_json, home)
    screen.say_loading()
    from pipelines.data.sources import IngestConfig
    from vae.config import parse

    values = {"source": source, "name": name, "seed": seed, "color": color, "on_bad": on_bad, "label": label}
    values |= {"split": options.split_fractions(split), **options.image_size(resize)}
    values |= {"strict": strict, "columns": {} if columns is None else read_mapping(columns)}
    config = parse(IngestConfig, values | options.assignments(settings), "ingest")
    if dry_run:
        _say_plan(screen, config, home, write_columns)
        return
    if write_columns is not None:
        raise ConfigError("--write-columns: nothing is written by an ingest itself. Add --dry-run")
    result: IngestResult = run_flow("ingest", name, config, home, screen, run=run)
    _say_ingested(screen, name, result)
    screen.end(result, f"betaline train {name}")


def _say_ingested(screen: Screen, name: str, result: IngestResult) -> None:
    from pipelines.cli.ingest_view import column_lines
    from pipelines.cli.summary import counts

    verb = "was there already, nothing was written" if result.reused else "is written"
    if result.understood:
        screen.say(*column_lines(result.understood))
    screen.say(f"Dataset [bold]{name}[/]@{result.dataset_id[:12]} {verb}: {counts(result.rows)}.")
    screen.say(*map(escape, result.notes))
    if not result.reused:
        screen.say(f"{sum(result.rows.values()):,} examples in {result.seconds:.2f} s.")
    if result.rejected:
        screen.say(f"{result.rejected:,} bad examples were left out; they are in {result.quarantine_uri}")


def _say_plan(screen: Screen, config: Any, home: str, write_columns: Path | None) -> None:
    from pipelines.cli.ingest_view import dry_run_lines
    from pipelines.data import ingest
    from pipelines.data.sources.tables.choices import as_yaml

    plan = ingest.dry_run(config, home)
    screen.say(*dry_run_lines(plan))
    following = options.typed_without("--dry-run", "--json")
    if write_columns is not None:
        if not plan.understood:
            raise ConfigError(f"--write-columns: {config.source} holds images, which have no columns")
        write_columns.write_text(as_yaml(plan.understood), encoding="utf-8")
        screen.say(f"The columns are in {write_columns}: change what is wrong there.")
        following = following.replace("--write-columns", "--columns")
    screen.end(plan, following)


@app.command()
def train(
    dataset: Dataset,
    name: ModelName = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    workers: Annotated[
        str | None, Option(metavar="N|MIN:MAX", help="Workers; a range goes on with MIN, and takes up to MAX.")
    ] = None,
    register: Register = None,
    start_from: StartFrom = None,
    projection: Projection = "pca",
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Train one configuration on the cluster."""
    screen = Screen(as_json, home)
    screen.say_loading()
    from pipelines.stages.train import TrainRequest
    from vae.config import parse

    given = options.Given(preset, config, settings)
    name = name or options.name_of(dataset)
    extra = options.worker_counts(workers)
    base = options.configuration_of(home, start_from) if start_from and "/" not in start_from else None
    values = {"dataset": options.absolute(dataset), "name": name, **given.training(extra, base), "alias": register}
    request = parse(TrainRequest, {**values, "start_from": start_from, "projection": projection}, "train")
    run = run or f"train-{uuid.uuid4().hex}"
    with _resumable(screen, run):
        result: TrainResult = run_flow("train", name, request, home, screen, run=run)
    _say_trained(screen, result, name, register)
    following = f"betaline models {name}" if register else f"betaline promote {result.run} {name}"
    mend = options.mending(result.findings)
    screen.end(result, f"betaline train {given.typed(dataset)} {mend}" if mend else following)


def _say_trained(screen: Screen, result: TrainResult, name: str, alias: str | None) -> None:
    from pipelines.cli import summary

    best = result.best
    _say_chosen(screen, result)
    screen.say(
        f"Run [bold]{result.run}[/]: best epoch {best.epoch} of {len(result.history)}, validation bound "
        f"{best.validation_negative_bound:.3f} nats (distortion {best.validation_distortion:.3f}, rate "
        f"{best.validation_rate:.3f}{summary.bound_note(result.config.objective.bound)}), "
        f"{best.active_units} active units."
    )
    screen.say_verdict(result)
    if alias:
        _say_promotion(screen, name, alias, result.promotion)
    else:
        screen.say_report(result.report_url)


@app.command()
def tune(
    dataset: Dataset,
    name: ModelName = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: SearchSettings = None,
    trials: Annotated[int | None, Option(help="Number of configurations to try; by default all combinations.")] = None,
    select: Select = None,
    register: Register = None,
    projection: Projection = "pca",
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Search configurations, by default over β and the architecture. Ctrl-C ends the search and keeps its best."""
    screen = Screen(as_json, home)
    screen.say_loading()
    from pipelines.cli import summary
    from pipelines.stages.promote import PromoteRequest
    from pipelines.stages.tune import TuneRequest
    from vae.config import parse
    from vae.storage import locate

    name, run = name or options.name_of(dataset), run or f"tune-{uuid.uuid4().hex}"
    extra = {field: value for field, value in {"num_trials": trials, "select": select}.items() if value is not None}
    search = options.Given(preset, config, settings).searching(extra)
    values = {"dataset": options.absolute(dataset), "name": name, **search, "projection": projection}
    request = parse(TuneRequest, values, "tune")
    promotion = PromoteRequest(run=run, name=name, alias=register, projection=request.projection) if register else None
    with connected(home, screen, f"betaline tune {name}"):
        result = _search(screen, request, run, promotion)
    _say_chosen(screen, result)
    screen.say(summary.search_table(result.trials, result.best.trial_id))
    screen.say_verdict(result)
    screen.say_report(result.report_url)
    best = locate(home) / "runs" / result.run / "best.yaml"
    screen.end(result, shlex.join(["betaline", "train", dataset, "--name", name, "--config", best.uri]))


def _search(screen: Screen, request: TuneRequest, run: str, promotion: PromoteRequest | None) -> TuneResult:
    """Runs a search and promotes its best model, also that of a search that Ctrl-C ends."""
    screen.again = options.resuming(run)
    from pipelines.flows.promote import promote
    from pipelines.flows.tune import tune

    try:
        result = tune(request, run=run)
    except KeyboardInterrupt:
        if promotion is not None:
            _say_promotion(screen, promotion.name, promotion.alias, promote(promotion))
        _say_stopped(screen, run)
        raise
    if promotion is not None:
        result = result.model_copy(update={"promotion": promote(promotion)})
        _say_promotion(screen, promotion.name, promotion.alias, result.promotion)
    return result


@app.command()
def promote(
    run_name: Annotated[str, Argument(metavar="RUN", help="Training, as `betaline train` printed it, or search.")],
    name: Annotated[str, Argument(help="Registered model that gets a new version.")],
    alias: Alias = "champion",
    threshold: Annotated[
        float | None, Option(help="Highest negative log-likelihood allowed, in nats per example; by default any.")
    ] = None,
    metrics: Metrics = None,
    require: Annotated[
        list[str] | None, Option(help="Limit that a metric must keep, such as 'denoise_psnr_db >= 20' (repeatable).")
    ] = None,
    accept: Annotated[
        list[str] | None, Option(help="Finding that does not stop the promotion: collapsed or diverged (repeatable).")
    ] = None,
    num_samples: NumSamples = 200,
    exact: Exact = False,
    approve: Approve = False,
    projection: Projection = "pca",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Evaluate a run's model on the test split, register it, and give it the alias if it is better."""
    screen = Screen(as_json, home)
    screen.say_loading()
    from pipelines.stages.promote import PromoteRequest
    from vae.config import parse

    values = {"run": run_name, "name": name, "alias": alias, "threshold_nats": threshold, "approve": approve}
    lists = {"metrics": metrics, "require": require, "accept": accept}
    values |= {"num_samples": num_samples, "exact": exact}
    values |= {"projection": projection, **{field: tuple(value or ()) for field, value in lists.items()}}
    request = parse(PromoteRequest, values, "promote")
    if approve:
        _hand_on(screen, request, home)
        return
    result = run_flow("promote", name, request, home, screen)
    _say_promotion(screen, name, alias, result)
    screen.end(result, f"betaline models {name}")


def _hand_on(screen: Screen, request: PromoteRequest, home: str) -> None:
    """Leaves a promotion to a worker, which waits for a person."""
    with connected(home, screen, f"betaline promote {request.name}"):
        from pipelines.flows.promote import hand_on
        from pipelines.operating import deployments

        deployments.ensure_promotion()
        waiting: Any = hand_on(request, f"promote-{uuid.uuid4().hex}")
    screen.say(f"Flow run [bold]{waiting.flow_run}[/] evaluates it on a worker, and then waits for a person.")
    screen.end(waiting, f"betaline approve {waiting.flow_run}")


def _say_chosen(screen: Screen, result: TrainResult | TuneResult) -> None:
    if result.chosen:
        screen.say(escape(result.chosen.sentence))


@contextmanager
def _resumable(screen: Screen, run: str, *, has_report: bool = True) -> Iterator[None]:
    """Prints how to resume a run that Ctrl-C, or the loss of the services, stops in the block."""
    screen.again = options.resuming(run)
    try:
        yield
    except KeyboardInterrupt:
        _say_stopped(screen, run, has_report=has_report)
        raise


def _say_stopped(screen: Screen, run: str, *, has_report: bool = True) -> None:
    screen.say_stopped()
    if has_report:
        screen.say(f"To see how far it came: [bold]{escape(screen.hint(f'betaline report {run}'))}[/]")


def _say_promotion(screen: Screen, name: str, alias: str, result: Any) -> None:
    from pipelines.cli.summary import promotion_line

    screen.say(promotion_line(name, alias, result))
    screen.say_verdict(result)
    screen.say_report(result.report_url)


@app.command()
def apply(
    task: Annotated[str, Argument(help="Task of the model, such as reconstruct, encode or score; or augment.")],
    model: Annotated[str, Argument(help="NAME (its champion), NAME@ALIAS, NAME/VERSION or a models:/ URI.")],
    dataset: Annotated[
        str, Argument(metavar="INPUT", help="Dataset: NAME, NAME@ID or folder; for decode, the output of encode.")
    ],
    output: Annotated[str | None, Argument(help="Folder or URI to write to; by default HOME/applied/TASK-ID.")] = None,
    split: Annotated[list[str] | None, Option(help="Split to use (repeatable); by default all.")] = None,
    param: Annotated[
        list[str] | None, Option(help="Parameter of the task: --param num_samples=100 (repeatable).")
    ] = None,
    workers: Annotated[
        int | None, Option(help="Maximum number of processes with the model; by default one for each free CPU.")
    ] = None,
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Run one task of a registered model over a whole dataset."""
    screen = Screen(as_json, home)
    screen.say_loading()
    from pipelines.cli.summary import counts
    from pipelines.stages.apply import ApplyRequest
    from vae.config import parse
    from vae.storage import locate

    values = {"task": task, "model": model, "splits": split, "workers": workers, "params": options.task_params(param)}
    values["dataset"] = locate(dataset).uri if task == "decode" else options.absolute(dataset)
    values["output"] = None if output is None else locate(output).uri
    request = parse(ApplyRequest, values, "apply")
    result: ApplyResult = run_flow("apply", task, request, home, screen, run=run)
    verb = "was there already, nothing was written" if result.reused else "is written"
    screen.say(f"{escape(result.uri)} {verb}: {counts(result.rows)}.")
    if result.resumed_rows:
        screen.say(f"{result.resumed_rows:,} rows were there from an earlier attempt.")
    screen.end(result, options.after_apply(result))
