"""The `betaline` command. Each subcommand takes `--json`, and says what to do next."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pipelines import options
from vae.config import parse
from vae.errors import BetalineError
from vae.storage import locate

if TYPE_CHECKING:
    from pipelines.requests import PromoteRequest
    from pipelines.services import Services

app = typer.Typer(
    name="betaline",
    help="Train variational autoencoders on a cluster and ship them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line on stdout.")]
Home = Annotated[
    str, typer.Option("--home", envvar="BETALINE_HOME", help="Where datasets, runs and the services' state are kept.")
]
RunName = Annotated[
    str | None, typer.Option("--run", help="Name of the run; the same name goes on where an earlier one stopped.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML or JSON file; see the README for its fields.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: --set objective.beta=4 (repeatable).")
]
PresetName = Annotated[
    str | None, typer.Option("--preset", help="Start from a published model; `betaline presets` lists them.")
]
DEFAULT_HOME = ".betaline"


def main() -> None:
    """Runs the command; errors that explain themselves are printed without a traceback, and the exit status is 1."""
    try:
        app()
    except BetalineError as error:
        Console(stderr=True).print(f"[bold red]{type(error).__name__}[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


class Screen:
    """Where a command prints: everything for people goes to stderr where stdout carries JSON."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json)

    def say(self, *lines: Any) -> None:
        for line in lines:
            self.console.print(line, highlight=False, soft_wrap=True)

    def end(self, result: dict[str, Any], next_command: str) -> None:
        """The next sensible command for a person, the result for a program."""
        self.say(f"\nNext: [bold]{escape(next_command)}[/]")
        if self.as_json:
            print(json.dumps(result), flush=True)


@contextmanager
def connected(home: str, screen: Screen, title: str) -> Iterator[Services]:
    """The services, and a live view of what runs on them."""
    # Prefect reads its settings when it is imported, which is after this.
    os.environ["BETALINE_HOME"] = home if "://" in home else str(Path(home).expanduser().absolute())
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from pipelines.live import watched
    from pipelines.services import connect

    with watched(title, screen.console) as view, connect(home, on_progress=view.on_service) as services:
        from pipelines import flows

        with flows.session(view.on_event):
            yield services


def _run_flow(stage: str, subject: str, request: Any, home: str, screen: Screen, **options: Any) -> dict[str, Any]:
    """What a stage's flow comes to, watched while it runs."""
    with connected(home, screen, f"betaline {stage} {subject}"):
        from pipelines import flows

        return getattr(flows, stage)(request, **options)


# --- the main job ---------------------------------------------------------------------------------------------------


@app.command()
def run(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """The main job on scikit-learn's digits: ingest, search β and architecture, train the best, promote it."""
    import time

    from pipelines import examples, summary

    screen = Screen(as_json)
    started = time.monotonic()
    with connected(home, screen, "betaline run") as services:
        ready = time.monotonic() - started
        from pipelines import flows

        result = flows.pipeline(examples.digits())
        seconds = {"services": ready, **result["seconds"], "total": time.monotonic() - started}
        described = summary.of_pipeline(result, services, seconds)
    screen.say(*described.lines)
    screen.end(described.result, described.next_command)


# --- the stages -----------------------------------------------------------------------------------------------------


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
    settings: Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and do nothing.")] = False,
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Turn a source into a content-addressed Parquet dataset."""
    from pydantic_core import to_jsonable_python

    from pipelines import ingest as ingesting

    screen = Screen(as_json)
    config = options.ingest_config(source, name, split, seed, resize, color, on_bad, label, settings)
    if dry_run:
        from dataclasses import asdict

        plan = to_jsonable_python(asdict(ingesting.dry_run(config, home)))
        screen.say(*(f"{field.replace('_', ' ')}: {escape(str(value))}" for field, value in plan.items()))
        screen.end(plan, f"betaline ingest {source} {name}")
        return
    result = _run_flow("ingest", name, config, home, screen, run=run)
    rows = ", ".join(f"{count:,} {part}" for part, count in result["rows"].items())
    verb = "was there already, nothing was written" if result["reused"] else "is written"
    screen.say(f"Dataset [bold]{name}[/]@{result['dataset_id'][:12]} {verb}: {rows}.", *result["notes"])
    if not result["reused"]:
        screen.say(f"{sum(result['rows'].values()):,} examples in {result['seconds']:.2f} s.")
    if result["rejected"]:
        screen.say(f"{result['rejected']:,} bad examples were left out; they are in {result['quarantine_uri']}")
    screen.end(result, options.first_training(name, result["uri"]))


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="NAME, NAME@ID, or the URI of a dataset's folder.")],
    name: Annotated[str | None, typer.Option(help="Of the model; the dataset's name by default.")] = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    workers: Annotated[int | None, typer.Option(help="Workers of the job; scaling.num_workers.")] = None,
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Train one configuration on the cluster."""
    from pipelines.requests import TrainRequest
    from vae import presets
    from vae.config import RunConfig

    screen = Screen(as_json)
    values = presets.preset(preset).model_dump() if preset else {}
    further = {} if workers is None else {"scaling.num_workers": workers}
    chosen = options.configured(RunConfig, values, config, settings, further)
    name = name or options.name_of(dataset)
    request = parse(TrainRequest, {"dataset": options.absolute(dataset), "name": name, "config": chosen}, "train")
    result = _run_flow("train", name, request, home, screen, run=run)
    best = result["best"]
    screen.say(
        f"Run [bold]{result['run']}[/]: best epoch {best['epoch']} of {len(result['history'])}, validation bound "
        f"{best['validation_negative_bound']:.3f} nats (distortion {best['validation_distortion']:.3f}, rate "
        f"{best['validation_rate']:.3f}), {best['active_units']} active units."
    )
    screen.end(result, f"betaline promote {result['run']} {name}")


@app.command()
def tune(
    dataset: Annotated[str, typer.Argument(help="NAME, NAME@ID, or the URI of a dataset's folder.")],
    name: Annotated[str | None, typer.Option(help="Of the model; the dataset's name by default.")] = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    trials: Annotated[int | None, typer.Option(help="How many; every combination by default.")] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="What the best is chosen by: bound, elbo, nll, mig, udr, frechet, 'rate <= 20' …; see the README."
        ),
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(help="Register the best model under this alias, such as challenger; also where Ctrl-C ends it."),
    ] = None,
    run: RunName = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Search β and architecture with Ray Tune."""
    from pipelines import summary
    from pipelines.requests import PromoteRequest, TuneRequest
    from tuning.frontier import Trial
    from tuning.space import SearchConfig
    from vae import presets

    screen = Screen(as_json)
    values = {"base": presets.preset(preset).model_dump()} if preset else {}
    chosen = options.configured(
        SearchConfig,
        values,
        config,
        settings,
        {name: value for name, value in {"num_trials": trials, "select": select}.items() if value is not None},
    )
    name = name or options.name_of(dataset)
    request = parse(TuneRequest, {"dataset": options.absolute(dataset), "name": name, "search": chosen}, "tune")
    run = run or f"tune-{uuid.uuid4().hex}"
    further = PromoteRequest(run=run, name=name, alias=register) if register else None
    with connected(home, screen, f"betaline tune {name}"):
        from pipelines import flows

        try:
            result = flows.tune(request, run=run)
        except KeyboardInterrupt:
            if further is not None:
                _say_promotion(screen, further, flows.promote(further))
            screen.say(f"Stopped. To go on: the same command with [bold]--run {run}[/]")
            raise
        if further is not None:
            result["promotion"] = flows.promote(further)
            _say_promotion(screen, further, result["promotion"])
    screen.say(summary.search_table([Trial(**trial) for trial in result["trials"]], result["best"]["trial_id"]))
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
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Evaluate a run on the test split, register it, and let it take the alias if it is better."""
    from pipelines.requests import PromoteRequest

    screen = Screen(as_json)
    values = {
        "run": run_name,
        "name": name,
        "alias": alias,
        "threshold_nats": threshold,
        "metrics": tuple(metrics or ()),
        "require": tuple(require or ()),
    }
    request = parse(PromoteRequest, values, "promote")
    result = _run_flow("promote", name, request, home, screen)
    _say_promotion(screen, request, result)
    screen.end(result, f"betaline models {name}")


def _say_promotion(screen: Screen, request: PromoteRequest, result: dict[str, Any]) -> None:
    verb = "is now" if result["promoted"] else "is not"
    version = result["version"]["version"]
    screen.say(f"[bold]{request.name}[/] version {version} {verb} {request.alias}: {escape(result['reason'])}.")


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
    from pipelines.requests import ApplyRequest

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


@app.command("presets")
def list_presets(as_json: Json = False) -> None:
    """List the published models that `--preset` names."""
    from rich.table import Table

    from vae.presets import PRESETS

    screen = Screen(as_json)
    table = Table("preset", "what it is", "reference")
    for name, found in PRESETS.items():
        table.add_row(name, found.summary, found.reference)
    screen.say(table)
    listed = [
        {"name": name, "summary": found.summary, "reference": found.reference, "changes": found.changes}
        for name, found in PRESETS.items()
    ]
    screen.end({"presets": listed}, "betaline train digits --preset beta_tc_vae")


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="One model; all by default.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """List registered versions, their scores and aliases."""
    from dataclasses import asdict

    from rich.table import Table

    screen = Screen(as_json)
    with connected(home, screen, "betaline models"):
        from pipelines import registry

        found = registry.versions(name)
    table = Table("model", "version", "aliases", "score (nats)", "protocol", "dataset")
    for version in found:
        score = version.score
        figures = (f"{score.nats:.3f}", score.name, score.dataset_id[:12]) if score else ("", "", "")
        table.add_row(version.name, version.version, ", ".join(version.aliases), *figures)
    screen.say(table if found else "No model is registered yet.")
    screen.end({"models": [asdict(version) for version in found]}, "betaline run" if not found else "betaline up")


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model.")],
    alias: Annotated[str, typer.Option(help="Which alias goes back.")] = "champion",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Give an alias back to the version that had it before."""
    from dataclasses import asdict

    screen = Screen(as_json)
    with connected(home, screen, f"betaline rollback {name}"):
        from pipelines import registry

        was, now = registry.rollback(name, alias)
    score = f", {now.score.name} {now.score.nats:.3f} nats" if now.score else ""
    screen.say(
        f"{alias} of [bold]{name}[/] was version {was.version} and is version {now.version} again{escape(score)}."
    )
    screen.end({"alias": alias, "was": asdict(was), "now": asdict(now)}, f"betaline models {name}")


# --- what runs by itself --------------------------------------------------------------------------------------------


@app.command()
def deploy(
    file: Annotated[Path, typer.Option(help="What to deploy.")] = Path("prefect.yaml"),
    pool: Annotated[str, typer.Option(help="Process work pool; made where it is missing.")] = "betaline",
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Register every flow of a prefect.yaml with Prefect."""
    screen = Screen(as_json)
    with connected(home, screen, "betaline deploy"):
        from pipelines import deployments

        names = deployments.deploy(file, pool)
    screen.say(*(f"[bold]{escape(name)}[/]" for name in names))
    screen.end({"deployments": names, "pool": pool}, f"prefect worker start --pool {pool}")


@app.command()
def schedule(
    flow: Annotated[str, typer.Argument(help="train or tune.")],
    dataset: Annotated[str, typer.Argument(help="NAME (the newest at each time), NAME@ID, or a dataset's folder.")],
    cron: Annotated[str | None, typer.Option(help="Five fields, such as '0 2 * * *'.")] = None,
    every: Annotated[float | None, typer.Option(help="Seconds between runs, instead of --cron.")] = None,
    timezone: Annotated[str, typer.Option(help="Of the cron line, such as Europe/Vienna.")] = "UTC",
    overlap: Annotated[
        str, typer.Option(help="A run that is due while another one runs: queue it, or refuse it.")
    ] = "queue",
    name: Annotated[str | None, typer.Option(help="Of the model; the dataset's name by default.")] = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    pause: Annotated[bool, typer.Option("--pause", help="Start no more runs for now.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Start runs again.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget it.")] = False,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Let training or a search run by itself; `betaline schedules` lists what does."""
    from dataclasses import asdict

    screen = Screen(as_json)
    name = name or options.name_of(dataset)
    request = options.scheduled_request(flow, dataset, name, preset, config, settings)
    with connected(home, screen, f"betaline schedule {flow} {name}"):
        from pipelines import deployments

        if remove:
            deployments.remove(flow, name)
            screen.say(f"{flow}/{name} runs by itself no more.")
            screen.end({"removed": f"{flow}/{name}"}, "betaline schedules")
            return
        if pause or resume:
            found = deployments.pause(flow, name, active=resume)
        else:
            found = deployments.schedule(
                flow, request, cron=cron, every_seconds=every, timezone=timezone, overlap=options.overlap(overlap)
            )
    state = "runs" if found.is_active else "is paused:"
    screen.say(f"[bold]{found.flow}/{found.name}[/] {state} {escape(found.when)}.")
    screen.end({**asdict(found), "next_run": found.next_run and found.next_run.isoformat()}, "betaline schedules")


@app.command("schedules")
def list_schedules(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List what runs by itself, and when next."""
    from dataclasses import asdict

    from rich.table import Table

    screen = Screen(as_json)
    with connected(home, screen, "betaline schedules"):
        from pipelines import deployments

        found = deployments.schedules()
    table = Table("flow", "model", "when", "next run", "")
    for one in found:
        following = one.next_run.isoformat(" ", "minutes") if one.next_run else ""
        table.add_row(one.flow, one.name, one.when, following, "" if one.is_active else "paused")
    screen.say(table if found else "Nothing runs by itself yet.")
    listed = [{**asdict(one), "next_run": one.next_run and one.next_run.isoformat()} for one in found]
    screen.end({"schedules": listed}, "prefect worker start --pool betaline")


# --- services -------------------------------------------------------------------------------------------------------


@app.command()
def up(
    home: Home = DEFAULT_HOME,
    host: Annotated[
        str, typer.Option(help="Where to listen; beyond loopback needs servers of your own.")
    ] = "127.0.0.1",
    env: Annotated[bool, typer.Option("--env", help="Print only `export` lines for a shell.")] = False,
    as_json: Json = False,
) -> None:
    """Start Prefect, MLflow and Ray on loopback, and keep them running."""
    from pipelines import services

    screen = Screen(as_json or env)
    running = services.start(
        home, host=host, on_progress=lambda name, seconds: screen.say(f"{name} is ready after {seconds:.1f} s")
    )
    environment = running.environment()
    if env:
        import shlex

        for variable, value in environment.items():
            print(f"export {variable}={shlex.quote(value)}")
        return
    screen.say(
        f"Prefect  {running.prefect_url}",
        f"MLflow   {running.mlflow_url}",
        f"Ray      {running.ray_address}",
        f'To use them from other programs: eval "$(betaline up --env --home {home})"',
    )
    urls = {"prefect": running.prefect_url, "mlflow": running.mlflow_url, "ray": running.ray_address}
    screen.end(
        {**urls, "environment": {k: v for k, v in environment.items() if "AUTH_STRING" not in k}}, "betaline run"
    )


@app.command()
def down(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Stop what `betaline up` started."""
    from pipelines import services

    screen = Screen(as_json)
    running = services.read(services.local_home(home))
    if running is not None:
        services.stop(running)
    screen.say("Stopped." if running else "Nothing was running.")
    screen.end({"stopped": running is not None}, "betaline up")


@app.command()
def doctor(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Check versions, ports, tokens, disk, GPU and cluster, and say how to mend what is wrong."""
    from dataclasses import asdict

    from pipelines import doctor as examiner

    screen = Screen(as_json)
    checks = examiner.examine(home)
    marks = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
    for check in checks:
        screen.say(f"{marks[check.status]} [bold]{check.name}[/]: {escape(check.found)}")
        if check.status != "ok":
            screen.say(f"  {escape(check.mend)}")
    failed = sum(check.status == "fail" for check in checks)
    screen.end(
        {"checks": [asdict(check) for check in checks], "failed": failed},
        "betaline doctor" if failed else "betaline run",
    )
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
