"""The commands that run flows: the main job, and its stages one by one."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer
from rich.markup import escape

from pipelines.cli import options
from pipelines.cli.console import (
    DEFAULT_HOME,
    ConfigFile,
    DatasetName,
    Home,
    Json,
    ModelName,
    PresetName,
    ProjectionName,
    RunName,
    Screen,
    Settings,
    connected,
)
from vae.config import parse
from vae.storage import locate

app = typer.Typer()
IngestSettings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: --set header=false (repeatable).")
]
SearchSettings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: --set base.training.epochs=20 (repeatable).")
]


def _run_flow(stage: str, subject: str, request: Any, home: str, screen: Screen, **options: Any) -> dict[str, Any]:
    """What a stage's flow comes to, watched while it runs."""
    with connected(home, screen, f"betaline {stage} {subject}"):
        from pipelines.flows import stages as flows

        return getattr(flows, stage)(request, **options)


@app.command()
def run(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """The main job on scikit-learn's digits: ingest, search β and architecture, train the best, promote it."""
    import time

    from pipelines.cli import summary
    from pipelines.data import examples

    screen = Screen(as_json)
    started = time.monotonic()
    with connected(home, screen, "betaline run") as services:
        ready = time.monotonic() - started
        from pipelines.flows import stages as flows

        result = flows.pipeline(examples.digits())
        seconds = {"services": ready, **result["seconds"], "total": time.monotonic() - started}
        described = summary.of_pipeline(result, services, seconds)
    screen.say(*described.lines)
    screen.say_report(described.result["report_url"])
    screen.say(*described.pull)
    screen.end(described.result, described.next_command)


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="IDX or image folder, .npz, CSV, Parquet, or sklearn:digits.")],
    name: Annotated[str, typer.Argument(help="Of the dataset.")],
    split: Annotated[str, typer.Option(help="Fractions: validation,test (of a source without splits).")] = "0.1,0.1",
    seed: Annotated[int, typer.Option(help="Of the shuffle and the splits.")] = 0,
    resize: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH; never silently.")] = None,
    color: Annotated[str, typer.Option(help="keep, grey or rgb.")] = "keep",
    on_bad: Annotated[str, typer.Option(help="reject or quarantine.")] = "reject",
    label: Annotated[str | None, typer.Option(help="Label column, or the name of an .npz label array.")] = None,
    settings: IngestSettings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and do nothing.")] = False,
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Turn a source into a content-addressed Parquet dataset."""
    from pydantic_core import to_jsonable_python

    from pipelines.data import ingest as ingesting

    screen = Screen(as_json)
    config = options.ingest_config(source, name, split, seed, resize, color, on_bad, label, settings)
    if dry_run:
        from dataclasses import asdict

        from pipelines.cli.ingest_view import dry_run_lines

        plan = ingesting.dry_run(config, home)
        screen.say(*dry_run_lines(plan))
        screen.end(to_jsonable_python(asdict(plan)), options.typed_without("--dry-run", "--json"))
        return
    result = _run_flow("ingest", name, config, home, screen, run=run)
    rows = ", ".join(f"{count:,} {part}" for part, count in result["rows"].items())
    verb = "was there already, nothing was written" if result["reused"] else "is written"
    screen.say(f"Dataset [bold]{name}[/]@{result['dataset_id'][:12]} {verb}: {rows}.", *result["notes"])
    if not result["reused"]:
        screen.say(f"{sum(result['rows'].values()):,} examples in {result['seconds']:.2f} s.")
    if result["rejected"]:
        screen.say(f"{result['rejected']:,} bad examples were left out; they are in {result['quarantine_uri']}")
    screen.end(result, f"betaline train {name}")


@app.command()
def train(
    dataset: DatasetName,
    name: ModelName = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    workers: Annotated[int | None, typer.Option(help="Workers of the job; scaling.num_workers.")] = None,
    register: Annotated[
        str | None, typer.Option(help="Evaluate and register it, and let it take this alias if it is better.")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(help="Start from the weights, and the configuration, of this run, such as one that diverged."),
    ] = None,
    projection: ProjectionName = "pca",
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Train one configuration on the cluster."""
    from pipelines.cli import summary
    from pipelines.flows.requests import TrainRequest

    screen = Screen(as_json)
    further = {} if workers is None else {"scaling.num_workers": workers}
    base = options.configuration_of(home, start_from) if start_from else None
    name = name or options.name_of(dataset)
    values = {
        "dataset": options.absolute(dataset),
        "name": name,
        **options.training(preset, config, settings, further, base),
        "alias": register,
        "start_from": start_from,
        "projection": projection,
    }
    request = parse(TrainRequest, values, "train")
    run = run or f"train-{uuid.uuid4().hex}"
    try:
        result = _run_flow("train", name, request, home, screen, run=run)
    except KeyboardInterrupt:
        _say_stopped(screen, run)
        raise
    best = result["best"]
    _say_chosen(screen, result)
    screen.say(
        f"Run [bold]{result['run']}[/]: best epoch {best['epoch']} of {len(result['history'])}, validation bound "
        f"{best['validation_negative_bound']:.3f} nats (distortion {best['validation_distortion']:.3f}, rate "
        f"{best['validation_rate']:.3f}{summary.bound_note(result['config']['objective']['bound'])}), "
        f"{best['active_units']} active units."
    )
    screen.say_verdict(result)
    if register:
        _say_promotion(screen, name, register, result["promotion"])
    else:
        screen.say_report(result["report_url"])
    if mend := options.mending(result["findings"]):
        asked = options.spelled(dataset=dataset, preset=preset, config=config, settings=settings)
        screen.end(result, f"betaline train {asked} {mend}")
    else:
        screen.end(result, f"betaline models {name}" if register else f"betaline promote {result['run']} {name}")


@app.command()
def tune(
    dataset: DatasetName,
    name: ModelName = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: SearchSettings = None,
    trials: Annotated[int | None, typer.Option(help="How many; every combination by default.")] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="What the best is chosen by: bound, elbo, nll, mig, udr, frechet, 'rate <= 20' …; see docs/train.md."
        ),
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(help="Register the best model under this alias, such as challenger; also where Ctrl-C ends it."),
    ] = None,
    projection: ProjectionName = "pca",
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Search β and architecture with Ray Tune."""
    from pipelines.cli import summary
    from pipelines.flows.requests import PromoteRequest, TuneRequest
    from tuning.frontier import Trial

    screen = Screen(as_json)
    further = {name: value for name, value in {"num_trials": trials, "select": select}.items() if value is not None}
    search = options.searching(preset, config, settings, further)
    name = name or options.name_of(dataset)
    values = {"dataset": options.absolute(dataset), "name": name, **search, "projection": projection}
    request = parse(TuneRequest, values, "tune")
    run = run or f"tune-{uuid.uuid4().hex}"
    promotion = PromoteRequest(run=run, name=name, alias=register, projection=request.projection) if register else None
    with connected(home, screen, f"betaline tune {name}"):
        from pipelines.flows import stages as flows

        try:
            result = flows.tune(request, run=run)
        except KeyboardInterrupt:
            if promotion is not None:
                _say_promotion(screen, name, promotion.alias, flows.promote(promotion))
            _say_stopped(screen, run)
            raise
        if promotion is not None:
            result["promotion"] = flows.promote(promotion)
            _say_promotion(screen, name, promotion.alias, result["promotion"])
    _say_chosen(screen, result)
    screen.say(summary.search_table([Trial(**trial) for trial in result["trials"]], result["best"]["trial_id"]))
    screen.say_verdict(result)
    screen.say_report(result["report_url"])
    best = locate(home) / "runs" / result["run"] / "best.yaml"
    screen.end(result, f"betaline train {dataset} --name {name} --config {best.uri}")


@app.command()
def promote(
    run_name: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A training run, as `betaline train` printed it; or a search, for its best."
        ),
    ],
    name: Annotated[str, typer.Argument(help="Registered model to become a version of.")],
    alias: Annotated[str, typer.Option(help="What people pull by.")] = "champion",
    threshold: Annotated[float | None, typer.Option(help="Highest NLL allowed, in nats per example.")] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure more: reconstruction, information, disentanglement, generation, denoising, imputation "
            "(repeatable)."
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(help="What a metric must come to, such as 'denoise_psnr_db >= 20' (repeatable)."),
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Promote in spite of a finding: collapsed or diverged (repeatable).")
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="A person decides: the flow run is left to a worker, and waits for one.")
    ] = False,
    projection: ProjectionName = "pca",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Evaluate a run on the test split, register it, and let it take the alias if it is better."""
    from pipelines.flows.requests import PromoteRequest

    screen = Screen(as_json)
    values = {
        "run": run_name,
        "name": name,
        "alias": alias,
        "threshold_nats": threshold,
        "metrics": tuple(metrics or ()),
        "require": tuple(require or ()),
        "accept": tuple(accept or ()),
        "approve": approve,
        "projection": projection,
    }
    request = parse(PromoteRequest, values, "promote")
    if approve:
        with connected(home, screen, f"betaline promote {name}"):
            from pipelines.flows import deployments
            from pipelines.flows import stages as flows

            deployments.ensure_promotion()
            waiting = flows.hand_on(request, f"promote-{uuid.uuid4().hex}")
        screen.say(f"Flow run [bold]{waiting['flow_run']}[/] evaluates it on a worker, and then waits for a person.")
        screen.end(waiting, f"betaline approve {waiting['flow_run']}")
        return
    result = _run_flow("promote", name, request, home, screen)
    _say_promotion(screen, name, alias, result)
    screen.end(result, f"betaline models {name}")


def _say_chosen(screen: Screen, result: dict[str, Any]) -> None:
    if chosen := result.get("chosen"):  # runs that an earlier version finished have none
        screen.say(escape(chosen["sentence"]))


def _say_stopped(screen: Screen, run: str) -> None:
    screen.say(
        f"Stopped. To go on: the same command with [bold]--run {run}[/]",
        f"To see how far it came: [bold]betaline report {run}[/]",
    )


def _say_promotion(screen: Screen, name: str, alias: str, result: dict[str, Any]) -> None:
    verb = "is now" if result["promoted"] else "is not"
    version = result["version"]["version"]
    screen.say(f"[bold]{name}[/] version {version} {verb} {alias}: {escape(result['reason'])}.")
    screen.say_verdict(result)
    screen.say_report(result["report_url"])


@app.command()
def apply(
    task: Annotated[str, typer.Argument(help="One of the model's tasks, such as reconstruct or score, or augment.")],
    model: Annotated[str, typer.Argument(help="NAME (its champion), NAME@ALIAS, NAME/VERSION or a models:/ URI.")],
    dataset: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="NAME, NAME@ID, or a dataset's folder; for decode, what encode wrote."),
    ],
    output: Annotated[
        str | None, typer.Argument(help="Folder or URI to write; HOME/applied/TASK-ID by default.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split (repeatable); all by default.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter of the task: --param num_samples=100 (repeatable).")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Models held at once, at most.")] = None,
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Run one task of a registered model over a whole dataset."""
    from pipelines.flows.requests import ApplyRequest

    screen = Screen(as_json)
    values = {
        "task": task,
        "model": model,
        "dataset": locate(dataset).uri if task == "decode" else options.absolute(dataset),
        "output": None if output is None else locate(output).uri,
        "splits": split,
        "params": options.task_params(param),
        "workers": workers,
    }
    request = parse(ApplyRequest, values, "apply")
    result = _run_flow("apply", task, request, home, screen, run=run)
    rows = ", ".join(f"{count:,} {part}" for part, count in result["rows"].items())
    verb = "was there already, nothing was written" if result["reused"] else "is written"
    screen.say(f"{escape(result['uri'])} {verb}: {rows}.")
    if result["resumed_rows"]:
        screen.say(f"{result['resumed_rows']:,} rows were there from an earlier attempt.")
    screen.end(result, options.after_apply(result))
