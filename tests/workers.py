"""The workers of a job in one process, without a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipelines.jobs.workers import Call
from vae.training.world import World


@dataclass(frozen=True)
class Apart(World):
    """A rank of several whose sums are of itself alone: a test adds up those of all ranks."""

    def total(self, values: Tensor) -> Tensor:
        """Returns the rank's own part."""
        return values


class InProcess:
    """Stands in for `pipelines.jobs.workers.Workers`: a call is done as soon as it is started."""

    device, room = "cpu", 2

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def start(self, function: Callable[..., Any], *arguments: Any) -> Call:
        """Calls a function at once."""
        call = Call(function, arguments, is_done=True)
        try:
            call.result = function(*arguments)
        except Exception as error:
            call.error = error
        return call

    def finish(self, calls: Iterable[Call]) -> Iterator[Call]:
        """Yields the calls, or raises their errors."""
        for call in calls:
            if call.error is not None:
                raise call.error
            yield call

    def result(self, call: Call) -> Any:
        """Returns what a call returned."""
        return next(self.finish([call])).result
