"""Answers to callers: a request is checked, its inputs are read, a task works on tensors, and its result is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vae.inference.answering.reading import as_scored, inputs_of, read_inputs, read_latents
from vae.inference.answering.request import CHOICES, ENTRIES, Request, choose, read_request
from vae.inference.answering.results import Made, Result, Spread, written
from vae.inference.answering.tasks import TASKS, Task
from vae.model import VAE

__all__ = [
    "ENTRIES",
    "TASKS",
    "Made",
    "Request",
    "Result",
    "Spread",
    "Task",
    "abilities",
    "answer",
    "as_scored",
    "checked",
    "inputs_of",
    "read_inputs",
    "read_latents",
    "read_request",
]


def answer(model: VAE, inputs: Any, params: Mapping[str, Any]) -> Any:
    """Returns a task's result: an array [N,...], arrays by name, or a data frame.

    Raises:
        ValueError: If a parameter, the inputs, or the model do not fit the task; says what would.
    """
    task, request = checked(model, params)
    return written(model, task.run(model, task.read(model, inputs, request), request), inputs, request.place)


def checked(model: VAE, params: Mapping[str, Any]) -> tuple[Task, Request]:
    """Returns the task and the request that the parameters of a call state.

    Raises:
        ValueError: If a parameter does not fit the task, or the model cannot do it.
    """
    request = read_request(params)
    choose("task", request.task, [*TASKS])
    for name, choices in CHOICES.items():
        choose(name, getattr(request, name), choices)
    task = TASKS[request.task]
    if refusal := task.refusal(model):
        raise ValueError(f"{request.place}: {refusal}")
    request = replace(request, output=task.output(model, request))
    if request.output not in task.outputs:
        raise ValueError(f"{request.place}: output must be {' or '.join(task.outputs)}, got {request.output!r}")
    if request.where and (request.task != "generate" or not model.examples.columns):
        raise ValueError(f"{request.place}: where is for generate and models of tables, got {request.where!r}")
    for name, least in task.at_least.items():
        if getattr(request, name) < least:
            raise ValueError(f"{request.place}: {name} must be at least {least}, got {getattr(request, name)}")
    return task, request


def abilities(model: VAE) -> dict[str, str | None]:
    """Returns for every task why the model cannot do it; None where it can."""
    return {name: task.refusal(model) for name, task in TASKS.items()}
