"""Small models, and data for them, on which laws are checked.

Shapes: S samples, B batch, N noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae.data.batches import Batch
from vae.data.schema import Column, ExampleSpec
from vae.draws import RowDraws
from vae.model import VAE
from vae.parts.terms import Inputs
from vae.seeds import Stream

Make = Callable[[int], VAE]
"""Function from a seed to a new model."""

ROWS, SAMPLES, CLASSES = 5, 2, ("a", "b", "c")
ATTRIBUTES = (Column("size", None, 1.0, 2.0), Column("colour", ("red", "green")))
TABLE = ExampleSpec(
    (5,),
    CLASSES,
    (
        Column("c0", None, 1.0, 2.0),
        Column("c1", CLASSES),
        Column("c2"),
        Column("c3", CLASSES),
        Column("c4", ("x", "y")),
    ),
    ATTRIBUTES,
)


def images(shape: tuple[int, int, int] = (2, 8, 6)) -> ExampleSpec:
    """Returns the facts of a dataset of images with classes and attributes."""
    return ExampleSpec(shape, CLASSES, attributes=ATTRIBUTES)


def generator(seed: int = 0) -> torch.Generator:
    """Returns a generator of its own."""
    return torch.Generator().manual_seed(seed)


def randomised(model: VAE) -> VAE:
    """Returns a model in evaluation mode, in which nothing is 0 that starts there on purpose, and all codes are in use."""
    source = generator(2)
    for parameter in model.eval().parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=source)
    model.start_at(examples(model))
    return model


def values(model: VAE) -> Tensor:
    """Returns values as a batch of the dataset has them."""
    source = generator(3)
    if model.examples.columns is None:
        return torch.randint(256, (ROWS, *model.examples.shape), generator=source).to(torch.uint8)
    numbers = torch.randn(ROWS, len(model.examples.columns), generator=source)
    for column, info in enumerate(model.examples.columns):
        if info.categories:
            numbers[:, column] = torch.arange(ROWS) % len(info.categories)
    return numbers


def batch(model: VAE, shift: int = 0) -> Batch:
    """Returns a batch; `shift` gives every example another class and other attributes."""
    places = torch.arange(ROWS)
    attributes = torch.stack([places / 2 + shift, (places + shift) % 2], dim=-1)
    return Batch(values(model), (places + shift) % len(CLASSES), attributes)


def examples(model: VAE, *, shift: int = 0, observed: Tensor | None = None) -> Inputs:
    """Returns a batch as the model takes it."""
    rows = batch(model, shift)
    inputs = model.inputs(rows.values, rows.labels, rows.attributes, observed, draws=RowDraws(4, Stream.STEP))
    if model.config.beta_gates:
        inputs = inputs._replace(log_beta=torch.linspace(-1, 1, ROWS)[:, None] * math.log(10))
    return inputs


def noise(model: VAE, samples: int = SAMPLES, seed: int = 5) -> Tensor:
    """Returns noise for draws of the posterior, [S,B,N]."""
    return torch.randn(samples, ROWS, model.noise_dim, generator=generator(seed))


def gradients(model: VAE, loss: Tensor) -> dict[str, Tensor | None]:
    """Returns the gradient of each trained parameter by name; None where the loss does not reach it."""
    names = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return dict(zip(names, torch.autograd.grad(loss, list(names.values()), allow_unused=True), strict=True))
