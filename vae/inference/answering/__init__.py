"""From what a caller gives to a task, and from its result to what the caller gets: every check of a request is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae.inference.answering.request import CHOICES, ENTRIES, Request, choose, read_request
from vae.inference.answering.tasks import TASKS, Task
from vae.model import VAE

__all__ = ["ENTRIES", "TASKS", "Request", "Task", "abilities", "answer", "read_request"]


def answer(model: VAE, inputs: Any, params: Mapping[str, Any]) -> Any:
    """What a task gives: an array [N,...], arrays by name, or a data frame.

    Raises:
        ValueError: If a parameter, the inputs, or the model do not fit the task; says what would.
    """
    request = read_request(params)
    choose("task", request.task, [*TASKS])
    for name, choices in CHOICES.items():
        choose(name, getattr(request, name), choices)
    task = TASKS[request.task]
    if refusal := task.refusal(model):
        raise ValueError(f"{request.where}: {refusal}")
    if request.output not in task.outputs:
        raise ValueError(f"{request.where}: output must be {' or '.join(task.outputs)}, got {request.output!r}")
    for name in task.counts:
        if getattr(request, name) < 1:
            raise ValueError(f"{request.where}: {name} must be at least 1, got {getattr(request, name)}")
    return task.run(model, inputs, request)


def abilities(model: VAE) -> dict[str, str | None]:
    """Every task, and why the model cannot do it; None where it can."""
    return {name: task.refusal(model) for name, task in TASKS.items()}
