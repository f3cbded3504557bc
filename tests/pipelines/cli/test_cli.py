"""The command: its help, what it refuses before any service starts, the requests it makes, and the commands it suggests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from pipelines.cli import models, operating, stages
from pipelines.cli.command import GROUPS, app
from pipelines.cli.console import Screen
from pipelines.cli.options import Given, assignments, check_subject, scheduled_request, worker_counts
from pipelines.data.sources import IngestConfig
from pipelines.models import registry
from pipelines.models.refusals import as_refusal
from pipelines.stages.train import TrainRequest
from pipelines.stages.tune import TuneRequest
from tests.processes import betaline
from tests.servers import ROOT
from vae.config import RunConfig, presets
from vae.errors import ConfigError, DataError, RegistryError
from vae.parts.bodies.conv import Conv

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # pyright: ignore


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train digits --set objective.betta=4", "objective.betta: unknown key (did you mean `beta`?)"),
        ("train digits --set objective.beta=-1", "objective.beta: input should be greater than or equal to 0"),
        ("train digits --set objective.beta=.nan", "objective.beta: input should be a finite number, got nan"),
        ("train digits --set beta", "--set beta: expected FIELD=VALUE, such as objective.beta=4"),
        ("train digits --config absent.yaml", "cannot read the configuration absent.yaml"),
        ("ingest x digits --split 0.1", "--split 0.1: expected VALIDATION,TEST"),
        ("ingest x digits --resize 8", "--resize 8: expected HEIGHTxWIDTH"),
        ("ingest x ../digits", "name"),
        ("ingest /no/such/folder digits --dry-run", "/no/such/folder"),
    ],
)
def test_bad_arguments_are_refused_in_one_message(
    arguments: str, message: str, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    """The exit status is 1, the message is on stderr without a traceback, and no service was started."""
    said = refusal(*arguments.split())
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "home" / "services.json").exists()


@pytest.mark.parametrize(
    ("text", "counts"),
    [(None, {}), ("4", (4, None)), ("1:8", (8, 1)), ("2:2", (2, 2))],
    ids=["none", "one", "range", "equal"],
)
def test_workers_are_a_number_or_a_range(text: str | None, counts: Any) -> None:
    """A range gives the fewest and the most; a number leaves no choice, also where the configuration had one."""
    fields = ("scaling.num_workers", "scaling.min_workers")
    assert worker_counts(text) == (dict(zip(fields, counts, strict=True)) if counts else {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8:1", "the fewest come first, got 8:1; use 1:8"),
        *[(text, "such as 1:8, got") for text in ("0:4", "0", "a", "1:2:3", "", "-1")],
    ],
)
def test_workers_that_cannot_be_are_refused(text: str, said: str) -> None:
    """In one sentence, with what is expected."""
    with pytest.raises(ConfigError, match=f"^--workers: .*{said}"):
        worker_counts(text)


def test_failing_command_prints_its_error_as_json(
    refusal: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json standard output holds one object, and the sentence is on stderr as without."""
    said: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *words, **named: said.append(*words))
    message = refusal("train", "digits", "--set", "objective.beta=-1", "--json")
    [line] = said
    error = json.loads(line)["error"]
    assert error["type"] == "ConfigError"
    assert " ".join(error["message"].split()) in message


def test_errors_of_mlflow_are_refusals_and_defects_are_not() -> None:
    """What MLflow refuses is one sentence, with the way to restore what was deleted; a bug keeps its traceback."""
    deleted = as_refusal(MlflowException("The run 1 must be in the 'active' state. Current state is deleted."))
    assert isinstance(deleted, RegistryError)
    assert "mlflow runs restore --run-id ID" in str(deleted)
    assert str(as_refusal(MlflowException("no\n such"))) == "MLflow refused: no such; see the log of its server"
    lost = as_refusal(httpx.ConnectError("refused"))
    assert str(lost).startswith("the connection to Prefect's server was lost: refused. ")
    assert as_refusal(KeyError("x")) is None


def test_interrupted_run_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`betaline run` has a name, so that the same command with it goes on where Ctrl-C stopped it."""
    named: list[str] = []

    def interrupted(request: Any, run: str) -> None:
        named.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "connected", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("pipelines.flows.pipeline.pipeline", interrupted)
    monkeypatch.setattr(sys, "argv", ["betaline", "run"])
    with contextlib.suppress(KeyboardInterrupt):
        app(["run"], standalone_mode=False)
    assert f"To resume: betaline run --run {named[0]}" in capsys.readouterr().out


def test_dry_run_prints_a_plan_and_writes_nothing(tmp_path: Path) -> None:
    """The last line on stdout is one JSON object with the rows of each split and the folder."""
    done = betaline("ingest", "sklearn:digits", "digits", "--dry-run", "--json", home=tmp_path / "home")
    plan = json.loads(done.stdout.splitlines()[-1])
    assert plan["rows"] == {"train": 1437, "validation": 180, "test": 180}
    assert plan["uri"].startswith(str(tmp_path / "home" / "datasets" / "digits"))
    assert not plan["exists"]
    assert not (tmp_path / "home").exists()


def test_dry_run_suggests_the_same_command(tmp_path: Path) -> None:
    """The next command is what was typed, with every flag but those of the dry run."""
    (tmp_path / "a table.csv").write_text("1,2\n3,4\n" * 15)
    typed = ["ingest", str(tmp_path / "a table.csv"), "table", "--set", "header=false", "--split", "0.2,0.2"]
    done = betaline(*typed, "--dry-run", home=tmp_path / "home")
    again = shlex.split(done.stdout.splitlines()[-1].removeprefix("Next: "))
    assert again == ["betaline", *typed, "--home", str(tmp_path / "home")]


@pytest.mark.parametrize(
    ("variable", "home", "command"),
    [
        (None, ".betaline", "betaline status"),
        (None, "my home", "betaline status --home 'my home'"),
        ("/data", "/data", "betaline status"),
        ("/data", ".betaline", "betaline status --home .betaline"),
    ],
)
def test_suggested_command_finds_the_same_home(
    variable: str | None, home: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A home that is neither the default nor BETALINE_HOME is part of the command, which therefore works when pasted."""
    monkeypatch.delenv("BETALINE_HOME", raising=False)
    if variable:
        monkeypatch.setenv("BETALINE_HOME", variable)
    Screen(as_json=False, home=home).end({}, "betaline status")
    assert capsys.readouterr().out == f"\nNext: {command}\n"


@pytest.fixture
def digits_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that holds one model, `digits`, and needs no service."""
    versions = [registry.Version("digits", "1", "models:/digits/1", "", None, ())]
    monkeypatch.setattr(registry, "versions", lambda name=None: [one for one in versions if name in (None, one.name)])
    monkeypatch.setattr(models, "connected", lambda *_: contextlib.nullcontext())


@pytest.mark.usefixtures("digits_registered")
def test_unregistered_model_is_refused_with_the_registered_ones() -> None:
    """`betaline models NAME` names the models that exist, and the nearest one."""
    with pytest.raises(RegistryError, match=r"no model 'digts': there are digits .did you mean .digits."):
        app(["models", "digts"], standalone_mode=False)


@pytest.mark.usefixtures("digits_registered")
def test_listed_models_lead_to_their_server(capsys: pytest.CaptureFixture[str]) -> None:
    """The next command sets a shell up to pull models, whether or not the servers run."""
    app(["models", "--home", "my home"], standalone_mode=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == """Next: eval "$(betaline up --env --home 'my home')\""""


def test_help_is_made_without_heavy_imports() -> None:
    """`betaline --help` stays fast: in a fresh process it imports none of the slow libraries."""
    program = (
        "import sys; from pipelines.cli.command import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    imported = {"torch", "mlflow", "prefect", "ray", "pandas", "pyarrow", "numpy", "pydantic"} & {*done.stdout.split()}
    assert not imported


def test_every_option_is_explained() -> None:
    """Each argument and option of each command has a help of its own, which is a sentence."""
    helps = {f"{name} {one.name}": one.help or "" for name, command in COMMANDS.items() for one in command.params}
    assert [name for name, text in helps.items() if not re.fullmatch(r"[A-Z`].*[.)]", text)] == []


def test_help_and_errors_name_pages_that_exist() -> None:
    """Every page that a command's help or the source code names is in the checkout, and no help sends to the README."""
    helps = [text or "" for one in COMMANDS.values() for text in (one.help, *(option.help for option in one.params))]
    code = [file.read_text() for package in ("pipelines", "tuning", "vae") for file in (ROOT / package).rglob("*.py")]
    pages = {page for text in [*helps, *code] for page in re.findall(r"\b[a-z]+/[\w/]+\.md\b", text)}
    assert "docs/configuration.md" in pages
    assert [page for page in pages if not (ROOT / page).exists()] == []
    assert not any("README" in text for text in helps)


@pytest.mark.parametrize(
    ("command", "example"),
    [("ingest", "header=false"), ("tune", "base.training.epochs=20"), ("train", "objective.beta=4")],
)
def test_example_of_set_is_of_its_command(command: str, example: str) -> None:
    """The field that the help of `--set` shows is one that the command knows."""
    assert f"--set {example}" in next(param.help for param in COMMANDS[command].params if "--set" in param.opts)
    given, named = Given(settings=[example]), {"dataset": "a", "name": "a"}
    match command:
        case "ingest":
            IngestConfig.model_validate({"source": "a", "name": "a", **assignments([example])})
        case "tune":
            TuneRequest.model_validate({**named, **given.searching({})})
        case _:
            TrainRequest.model_validate({**named, **given.training({})})


def test_given_options_are_not_replaced_by_defaults(tmp_path: Path) -> None:
    """A file is the whole configuration; a preset and `--set` alone leave the rest to the data. So does a search file
    without a base.
    """
    for preset in (None, "beta_vae"):
        trained = Given(preset, None, ["objective.beta=2"]).training({})
        assert trained == {"preset": preset, "changes": {"objective.beta": 2}}
    file = tmp_path / "train.yaml"
    file.write_text("training: {epochs: 3}\n")
    config = Given("beta_vae", file, ["objective.beta=2"]).training({})["config"]
    assert (config.objective.beta, config.training.epochs) == (2, 3)
    file.write_text("grace_epochs: 3\n")
    for preset in (None, "beta_vae"):
        searched = Given(preset, file).searching({"num_trials": 2})
        assert searched == {"preset": preset, "changes": {"grace_epochs": 3, "num_trials": 2}}
    file.write_text("base: {training: {epochs: 3}}\n")
    assert Given(None, file).searching({})["search"].base.training.epochs == 3


def test_file_lies_over_a_preset(tmp_path: Path) -> None:
    """A preset, then the file, then `--set`: each changes what came before it."""
    file = tmp_path / "train.yaml"
    file.write_text("model: {encoder: {kind: conv, channels: [4]}}\ntraining: {epochs: 3}\n")
    preset = presets.preset("vamp_vae").model_dump()
    config = Given(None, file, ["model.prior.components=7"]).configured(RunConfig, preset, {})
    assert (config.model.prior.kind, config.model.prior.components) == ("vamp", 7)
    assert config.model.encoder == Conv(channels=(4,))
    assert (config.training.epochs, config.training.learning_rate) == (3, 5e-4)


@pytest.mark.parametrize("flow", ["train", "tune"])
def test_scheduled_flow_registers_and_leaves_the_configuration_to_the_data(flow: str) -> None:
    """Each run looks at the dataset of its own time; the alias and the question to a person reach it."""
    request = scheduled_request(flow, "digits", "digits", Given(), alias="champion", approve=True, exact=True)
    assert request.exact
    assert (request.config if flow == "train" else request.search) is None
    assert (request.alias, request.approve) == ("champion", True)


@pytest.mark.parametrize("flow", ["watch", "drift"])
@pytest.mark.parametrize(
    ("given", "alias", "approve"),
    [
        (Given(preset="vae"), None, False),
        (Given(file=Path("a.yaml")), None, False),
        (Given(), "champion", False),
        (Given(), None, True),
    ],
)
def test_scheduled_flow_refuses_options_of_others(flow: str, given: Given, alias: str | None, approve: bool) -> None:
    """A flow that trains no model refuses the options of training."""
    with pytest.raises(ConfigError, match=f"schedule {flow}: leave out --.*: {flow} trains no model"):
        scheduled_request(flow, "digits", "digits", given, alias=alias, approve=approve)


def test_scheduled_decision_needs_an_alias() -> None:
    """A person cannot decide on an alias that is not named."""
    with pytest.raises(ConfigError, match="--approve: there is no alias to decide on; add --register champion"):
        scheduled_request("train", "digits", "digits", Given(), approve=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digts", "--every", "60"], "no dataset 'digts'"),
        (["tune", "/no/such/folder", "--on", "drift"], "/no/such/folder"),
        (["drift", "digts", "--every", "60"], "no dataset 'digts'"),
        (["watch", "/no/such/folder", "--every", "60"], "/no/such/folder"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_schedule_refuses_a_missing_subject(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset or a source that does not exist is refused before any service starts, not by each run."""
    monkeypatch.setattr(operating, "connected", lambda *_: pytest.fail("a service was needed"))
    with pytest.raises(DataError, match=message):
        app(["schedule", *arguments, "--name", "a", "--home", str(tmp_path)], standalone_mode=False)


def test_schedule_on_data_needs_no_dataset(tmp_path: Path) -> None:
    """The event that starts the run brings the dataset."""
    check_subject(str(tmp_path), TrainRequest(dataset="landing", name="landing"), "data")


@pytest.mark.parametrize("option", ["--on", "--overlap"])
def test_schedule_refuses_an_unknown_choice(option: str) -> None:
    """The message names the choices."""
    refused = CliRunner().invoke(app, ["schedule", "train", "digits", option, "never"])
    assert refused.exit_code == 2
    assert "'never' is not one of" in " ".join(refused.output.split())


def test_every_command_is_in_a_group() -> None:
    """The help lists the commands under titles, and each title has a few."""
    sizes = Counter(command.rich_help_panel for command in COMMANDS.values())
    assert sizes.keys() == GROUPS.keys()
    assert all(2 < size < 9 for size in sizes.values()), sizes


def test_version_is_printed() -> None:
    """`betaline --version` prints the installed version."""
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"betaline {version('betaline')}\n")


def test_presets_are_listed_with_their_references(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of `betaline presets --json` is the list, each with what it changes."""
    app(["presets", "--json"], standalone_mode=False)
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])["presets"]
    assert {"vae", "vamp_vae", "miwae"} <= {preset["name"] for preset in listed}
    assert all(preset["reference"] and preset["summary"] for preset in listed)
    assert next(p for p in listed if p["name"] == "beta_vae")["changes"] == {"objective.beta": 4.0}


def say(environment: dict[str, str], *arguments: str) -> str:
    """Returns what the command prints in a process with some variables of the environment."""
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=os.environ | environment, check=False)
    return (done.stdout + done.stderr).decode("latin-1")


@pytest.mark.parametrize("variable", ["PYTHONIOENCODING=ascii", "PYTHONIOENCODING=latin-1", "LC_ALL=C"])
def test_help_needs_no_unicode(variable) -> None:
    """A standard output in ASCII or Latin-1 takes the help."""
    name, _, value = variable.partition("=")
    printed = say({name: value}, "--help")
    assert "Traceback" not in printed
    assert "Turn a source into a Parquet dataset" in printed


def test_ingest_needs_no_unicode(tmp_path) -> None:
    """A standard output in ASCII takes the plan of an ingest and an error, with codes for other signs."""
    (tmp_path / "β.csv").write_text("größe,β\n" + "".join(f"{n / 7},{n}\n" for n in range(40)), encoding="utf-8")
    for source, shown in (("β.csv", "Dataset"), ("ββ.csv", "no such source")):
        printed = say({"PYTHONIOENCODING": "ascii"}, "ingest", str(tmp_path / source), "d", "--dry-run")
        assert "Traceback" not in printed
        assert shown in printed
        assert "\\u03b2.csv" in printed


def test_a_scheduled_training_starts_from_the_champion_and_a_search_from_nothing() -> None:
    """`--from` is the request's `start_from`; the trials of a search begin anew."""
    request = scheduled_request("train", "digits", "digits", Given(), start_from="models:/digits@champion")
    assert request.start_from == "models:/digits@champion"
    with pytest.raises(ConfigError, match="schedule tune: leave out --from"):
        scheduled_request("tune", "digits", "digits", Given(), start_from="models:/digits@champion")
    with pytest.raises(ConfigError, match="schedule watch: leave out --from"):
        scheduled_request("watch", "digits", "digits", Given(), start_from="models:/digits@champion")
