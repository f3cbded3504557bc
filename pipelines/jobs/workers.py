"""Workers of a job: Ray actors, each with a CPU or a GPU, that call functions on parts of the job's data."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import ray
import ray.exceptions

from vae.errors import ClusterError

RETRIES = 3
"""Number of times that a call is repeated whose worker died."""


@dataclass(eq=False)
class Call:
    """A call of a function by a worker."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    result: Any = None
    """Result of the function, once the call is done."""
    error: Exception | None = None
    """Error that the function raised; None if it returned."""
    is_done: bool = False


class Workers:
    """Workers of one block, as many as the calls need and the cluster has room for.

    Functions are defined at the top of a module, so that only their names and their arguments travel. A call whose worker
    dies is repeated by another one.
    """

    def __init__(self) -> None:
        resources = ray.cluster_resources()
        self.device = "cuda" if resources.get("GPU") else "cpu"
        """Device of the workers."""
        self.room = max(1, int(resources.get("GPU") or resources.get("CPU", 1)))
        """Number of workers for which the cluster has room."""
        self._waiting: deque[Call] = deque()
        self._idle: list[Any] = []
        self._actors: list[Any] = []
        self._running: dict[ray.ObjectRef, tuple[Any, Call | None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for actor in self._actors:
            ray.kill(actor)  # at once: what another job waits for is free before the report is drawn

    def start(self, function: Callable[..., Any], *arguments: Any) -> Call:
        """Starts a call as soon as a worker is free."""
        call = Call(function, arguments)
        self._waiting.append(call)
        self._hand_out()
        return call

    def finish(self, calls: Iterable[Call]) -> Iterator[Call]:
        """Yields calls as they are done, in any order; raises the error of a call that failed.

        Raises:
            ClusterError: If the workers of one call died again and again.
        """
        remaining = list(calls)
        while remaining:
            for call in [call for call in remaining if call.is_done]:
                remaining.remove(call)
                if call.error is not None:
                    raise call.error
                yield call
            if remaining:
                self._wait()

    def result(self, call: Call) -> Any:
        """Returns the result of a call, for which it waits; raises as `finish` does."""
        return next(self.finish([call])).result

    def _hand_out(self) -> None:
        """Gives waiting calls to idle workers, and starts further workers for the rest."""
        while self._waiting and self._idle:
            actor, call = self._idle.pop(), self._waiting.popleft()
            self._running[actor.call.remote(call.function, call.arguments)] = (actor, call)
        starting = sum(call is None for _, call in self._running.values())
        for _ in range(min(len(self._waiting) - starting, self.room - len(self._actors))):
            num_gpus = 1 if self.device == "cuda" else 0
            made = _Worker.options(  # pyright: ignore[reportAttributeAccessIssue]
                num_cpus=1, num_gpus=num_gpus, max_restarts=RETRIES, max_task_retries=RETRIES
            ).remote()
            self._actors.append(made)
            # A worker for which there is no room yet gets no call, which would wait with it.
            self._running[made.ready.remote()] = (made, None)

    def _wait(self) -> None:
        """Waits until a worker has started or a call is done."""
        (reference, *_), _ = ray.wait(list(self._running), num_returns=1)
        actor, call = self._running.pop(reference)
        result, failure = None, None
        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            failure = error.cause  # the function's own error, without the traceback that Ray adds to its text
        except ray.exceptions.RayActorError as error:
            raise ClusterError(f"a worker of the evaluation died {RETRIES + 1} times: {error}") from None
        if call is not None:
            call.result, call.error, call.is_done = result, failure, True
        self._idle.append(actor)
        self._hand_out()


@ray.remote
class _Worker:
    def ready(self) -> None:
        pass

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return function(*arguments)
