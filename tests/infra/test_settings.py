"""Every variable and option of the containers is known to the installed version of its program."""

from __future__ import annotations

import functools
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.infra.files import (
    INFRA,
    KUBERNETES,
    ROOT,
    Container,
    build,
    compose,
    compose_containers,
    kubernetes_containers,
    ray_cluster,
    read_yaml,
)
from tests.infra.kinds import Object

FOREIGN = ("PGDATA", "POSTGRES_PASSWORD", "PGPASSWORD")
"""Variables of the image of PostgreSQL, and of libpq."""


@pytest.fixture(scope="module")
def containers() -> list[Container]:
    """Every container of compose and Kubernetes, including the example's and those with GPUs."""
    return [*compose_containers(compose()), *kubernetes_containers(_objects())]


def _objects() -> list[Object]:
    return [*build(KUBERNETES / "overlays" / "gpu"), *read_yaml(KUBERNETES / "examples" / "rayjob.yaml")]


def _package(name: str) -> Path:
    spec = find_spec(name)
    return Path(str(spec and spec.origin)).parent


@functools.cache
def _names_in(*places: Path) -> set[str]:
    """Returns every word of the files, or of the Python files below the folders."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))]
    return {word for file in files for word in re.findall(r"[A-Za-z]\w+", file.read_text())}


def _ray_knows(name: str) -> bool:
    ray = _package("ray")
    if name in _names_in(*(ray / place for place in ("_common", "_private", "dashboard", "train/v2/_internal"))):
        return True
    # RAY_name sets the C++ side's setting of that name.
    return name.removeprefix("RAY_").encode() + b"\0" in (ray / "core/src/ray/raylet/raylet").read_bytes()


def _prefect_knows(name: str) -> bool:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    # The key of its secrets is no setting, and read by itself.
    own = _names_in(_package("prefect") / "server/utilities/encryption.py")
    return name in own or name in _get_settings_fields(Settings)


def _is_known(name: str) -> bool:
    """Returns whether the program that a variable is named after reads it."""
    if name.endswith("_DATABASE_PASSWORD") and not name.startswith("PREFECT_SERVER_"):
        return name in _names_in(INFRA / "settings" / "databases.sql")
    match name.partition("_")[0]:
        case "RAY":
            return _ray_knows(name)
        case "PREFECT":
            return _prefect_knows(name)
        case "MLFLOW":
            return name in _names_in(_package("mlflow") / "environment_variables.py")
        case "AWS":
            return name in _names_in(*(_package("botocore") / one for one in ("configprovider.py", "credentials.py")))
        case "BETALINE":
            return name in _names_in(ROOT / "pipelines")
        case _:
            return name in FOREIGN


def test_variables_are_known(containers: list[Container]) -> None:
    """Each variable is read by the program that it is for, in the version that is installed here."""
    names = {name for container in containers for name in container.environment}
    assert {"RAY_worker_niceness", "PREFECT_SERVER_DATABASE_DRIVER", "MLFLOW_AUTH_CONFIG_PATH"} <= names
    assert [name for name in sorted(names) if not _is_known(name)] == []


def test_variables_of_the_image_are_known() -> None:
    """So is each variable that the image sets for those programs."""
    found = set(re.findall(r"^(?:ENV|   ) (\w+)=", (INFRA / "image" / "Containerfile").read_text(), re.MULTILINE))
    ours = {name for name in found if name.startswith(("RAY_", "PREFECT_", "MLFLOW_", "AWS_", "BETALINE_"))}
    assert {"PREFECT_SERVER_UI_STATIC_DIRECTORY", "BETALINE_HOME", "RAY_USAGE_STATS_ENABLED"} <= ours
    assert [name for name in sorted(ours) if not _is_known(name)] == []


def test_variables_with_a_mistake_are_not_known() -> None:
    """A misspelt name is found, whatever program it is for."""
    misspelt = "RAY_AUTH_MODES RAY_worker_nicenes PREFECT_SERVER_DATABASE_HOSTNAME MLFLOW_AUTH_CONFIG AWS_REGIO TOKEN"
    assert not any(map(_is_known, misspelt.split()))


def _parse(command: list[str]) -> None:
    """Makes a command's own parser read it, without running it; raises the parser's exception if it refuses."""
    import mlflow.cli
    import ray.scripts.scripts
    from prefect.cli._app import _app
    from typer.main import get_command

    from pipelines.cli.command import app

    match command:
        case ["ray", "start", *arguments]:
            ray.scripts.scripts.start.make_context("ray start", arguments)
        case ["mlflow", "server", *arguments]:
            mlflow.cli.server.make_context("mlflow server", arguments)
        case ["prefect", *arguments]:
            _app.parse_args(arguments, print_error=False, exit_on_error=False)
        case ["betaline", name, *arguments]:
            get_command(app).commands[name].make_context(name, arguments)
        case other:
            raise AssertionError(f"a command that is not checked: {other}")


def _commands(container: Container) -> list[list[str]]:
    """Returns the commands of a container that `_parse` knows; a shell runs several in turn."""
    if container.command[:2] == ("sh", "-c"):
        return [part.removeprefix("exec ").split() for part in container.command[2].split(" && ")]
    return [list(container.command)] if container.command[:1] not in ((), ("python",), ("server",)) else []


@pytest.mark.slow  # it imports every program
@pytest.mark.ci
def test_options_are_known(containers: list[Container]) -> None:
    """Each command line is one that its program's own parser takes, in the version that is installed here."""
    # Two CPUs for the variable that compose fills in.
    commands = {
        tuple(part.replace("${RAY_NODE_CPUS:?how many CPUs a Ray node has}", "2") for part in command)
        for container in containers
        for command in _commands(container)
    }
    programs = {" ".join(command[:2]) for command in commands}
    assert programs == {"ray start", "mlflow server", "prefect server", "prefect worker", "betaline deploy"}
    for command in commands:
        _parse(list(command))
    for document in _objects():
        cluster = ray_cluster(document)
        for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]] if cluster else []:
            # As KubeRay writes them: what is true is an option without a value.
            given = group["rayStartParams"].items()
            _parse(
                ["ray", "start", *(f"--{name}" if value == "true" else f"--{name}={value}" for name, value in given)]
            )


@pytest.mark.slow
@pytest.mark.ci
def test_options_with_a_mistake_are_not_known() -> None:
    """A misspelt option or a wrong choice is found, whatever program it is for."""
    for command in (
        "ray start --head --num-cpu=0",
        "mlflow server --app-name=basic",
        "prefect worker start --pools x",
        "betaline deploy --fil x",
    ):
        with pytest.raises(Exception, match=r"(?i)no such option|is not one of|unknown option"):
            _parse(command.split())
