"""The terminal that commands print to, and the services that they use."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.markup import escape

from pipelines.cli.parameters import DEFAULT_HOME
from vae.errors import BetalineError, ServiceError
from vae.progress import report

if TYPE_CHECKING:
    from pipelines.cli.live import View
    from pipelines.services import Services
    from pipelines.stages.promote import Judged


LIBRARIES = ("tuning.space", "pipelines.cluster.launch", "pipelines.models.registry")
"""Modules with PyTorch, Ray and MLflow, which take seconds to import."""


class Screen:
    """Output of one command: text for people, which goes to stderr if stdout carries JSON, and hints that can be pasted."""

    def __init__(self, as_json: bool, home: str = "") -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json)
        usual = os.environ.get("BETALINE_HOME", DEFAULT_HOME)
        self.again = ""
        """Command that resumes the run that goes on; empty where there is none."""
        self._home_flag = f" --home {shlex.quote(home)}" if home not in ("", usual) else ""

    def say_loading(self) -> None:
        """Prints that the command is at work, before it loads libraries for seconds."""
        Console(stderr=True).print("loading libraries", style="dim")

    def say(self, *lines: Any) -> None:
        """Prints lines of text, or tables."""
        for line in lines:
            self.console.print(line, highlight=False, soft_wrap=True)

    def say_report(self, url: str | None) -> None:
        """Prints the address of a run's report; nothing for a run without one."""
        if url is not None:
            self.say(f"Report and plots: {escape(url)}")

    def say_verdict(self, result: Judged) -> None:
        """Prints the verdict on a run, with a line for each finding and the flags that mend it."""
        self.say(f"Verdict: [bold]{result.verdict}[/]")
        for finding in result.findings:
            name = finding.name.replace("_", "-")
            self.say(f"  {name}: {escape(finding.says)}", f"    try: {escape(finding.advice)}")

    def say_stopped(self) -> None:
        """Prints how to resume the run that goes on, if there is one."""
        if self.again:
            self.say(f"Stopped. To resume: [bold]{escape(self.again)}[/]")

    def hint(self, command: str) -> str:
        """Returns a command of betaline that finds the same home when it is pasted into this shell."""
        return command if "--home" in command else f"{command}{self._home_flag}"

    def end(self, result: Any, next_command: str) -> None:
        """Prints the next sensible command for a person, and the result for a program."""
        self.say(f"\nNext: [bold]{escape(self.hint(next_command))}[/]")
        if self.as_json:
            print(json.dumps(to_jsonable_python(result)), flush=True)


def say_error(error: BaseException, *, for_people: bool = True) -> None:
    """Prints an error for people to stderr, and with `--json` as one JSON object to stdout."""
    if "--json" in sys.argv:
        print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}), flush=True)
    if for_people:
        Console(stderr=True).print(f"[bold red]{type(error).__name__}[/] {escape(str(error))}", soft_wrap=True)


def prepare(home: str) -> None:
    """Sets the environment for flows. Must run before Prefect is imported, which reads its settings then."""
    os.environ["BETALINE_HOME"] = home if "://" in home else str(Path(home).expanduser().absolute())
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@contextmanager
def connected(home: str, screen: Screen, title: str) -> Iterator[Services]:
    """Yields the services, with a live view of what runs on them. A failed job's report is printed before the error."""
    prepare(home)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from pipelines.services.lease import connect, servers_of_environment
    from pipelines.services.reaching import check
    from pipelines.services.watchdog import watched as kept_alive

    check(servers_of_environment(home))
    from pipelines.cli.live import watched

    with (
        watched(title, screen.console) as view,
        connect(home, on_progress=view.on_service, meanwhile=_load_libraries) as services,
        kept_alive(services, lambda loss: _give_up(loss, screen, view)),
    ):
        if view.stage:  # services are starting; of a command that finds them running, nothing is said
            report("loading Prefect")
        from pipelines.flows import job_events
        from pipelines.operating.deployments import watch_for_silence

        try:
            watch_for_silence()
            with job_events.session(view.on_event):
                yield services
        except BetalineError:
            screen.say_report(view.report_url)
            raise


def _give_up(loss: ServiceError, screen: Screen, view: View) -> NoReturn:
    """Ends the command, whose own thread may be waiting in Prefect's retries."""
    try:
        view.close()
        say_error(loss)
        screen.say_stopped()
        sys.stdout.flush()
    finally:
        os._exit(1)


def _load_libraries() -> None:
    """Imports everything that flows need but Prefect, which reads the addresses of its servers when it is imported."""
    for name in LIBRARIES:
        import_module(name)


@contextmanager
def served(home: str, screen: Screen, title: str) -> Iterator[Services]:
    """Yields the services after a view of their start, for commands that show something else afterwards."""
    from pipelines.cli.live import watched
    from pipelines.services import connect

    with ExitStack() as stack:
        with watched(title, screen.console) as view:
            services = stack.enter_context(connect(home, on_progress=view.on_service))
        yield services


def run_flow(stage: str, subject: str, request: Any, home: str, screen: Screen, **options: Any) -> Any:
    """Runs the flow of a stage under a live view, titled with the stage and its subject; returns the flow's result."""
    with connected(home, screen, f"betaline {stage} {subject}"):
        return getattr(import_module(f"pipelines.flows.{stage}"), stage)(request, **options)
