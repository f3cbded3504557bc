"""Warm start: a new model takes over what an earlier one has learned, where both mean the same by it.

Weights of inputs and outputs belong to columns, categories and conditions, and go by their names: those that both models
know are kept, wherever they stand; those that are new begin anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vae.config import differences
from vae.data.schema import Column
from vae.errors import ConfigError
from vae.model import VAE
from vae.parts.bodies.body import Dense, Stage
from vae.parts.bodies.table import TableEncoder
from vae.parts.likelihoods.autoregressive import NUM_BINS, AutoregressiveLikelihood
from vae.parts.likelihoods.categorical import CategoryFamily
from vae.parts.likelihoods.mixed import TableLikelihood
from vae.parts.priors.conditional import ConditionalPriorModule

Labels = Sequence[Hashable]
Axes = dict[str, tuple[Labels | None, ...]]
"""Meaning of each place along each dimension of a tensor, by the tensor's name; None for a dimension of units."""


@dataclass
class Kept:
    """Weights that a new model has of an earlier one."""

    kept: int = 0
    """Number of weights that were taken over."""
    total: int = 0
    """Number of weights of the new model."""
    new: list[str] = field(default_factory=list)
    """Names of the tensors that begin anew."""

    def sentence(self, start: str) -> str:
        """Returns what was kept, as a sentence."""
        anew = f"; {', '.join(self.new)} begin anew" if self.new else ""
        return f"started from {start}: {self.kept / self.total:.1%} of {self.total:,} weights were taken over{anew}"


@torch.no_grad()
def take_over(model: VAE, trained: VAE, start: str) -> Kept:
    """Gives a new model the weights of an earlier one, as far as both mean the same by them.

    Args:
        model: The new model.
        trained: The earlier one.
        start: Name of the earlier one, for the message.

    Raises:
        ConfigError: If they have nothing in common.
    """
    result, old, axes, old_axes = Kept(), trained.state_dict(), axes_of(model), axes_of(trained)
    for name, value in model.state_dict().items():
        result.total += value.numel()
        places = _places(value, old.get(name), axes.get(name, ()), old_axes.get(name, ()))
        if places is None:
            result.new.append(name)
            continue
        if not places:  # a single number
            value.copy_(old[name])
            result.kept += 1
            continue
        to, source = (torch.meshgrid(*indices, indexing="ij") for indices in zip(*places, strict=True))
        value[to] = old[name][source].to(value)
        result.kept += to[0].numel()
    if not result.kept:
        changed = differences(trained.config.model_dump(mode="json"), model.config.model_dump(mode="json"))
        raise ConfigError(f"cannot start from the weights of {start}: model.{', model.'.join(changed)}")
    return result


def _places(
    value: Tensor, given: Tensor | None, axes: Sequence[Labels | None], old_axes: Sequence[Labels | None]
) -> list[tuple[Tensor, Tensor]] | None:
    """Returns for each dimension of a tensor the places that both models know: those to write, and those to read.

    None if there is no such tensor, a dimension of units differs in size, or nothing is shared.
    """
    if given is None or given.ndim != value.ndim:
        return None
    places = []
    for dimension, size in enumerate(value.shape):
        labels, before = (one[dimension] if dimension < len(one) else None for one in (axes, old_axes))
        if labels is None or before is None:
            if size != given.shape[dimension]:
                return None
            labels = before = range(size)
        known = {label: place for place, label in enumerate(before)}
        shared = [(place, known[label]) for place, label in enumerate(labels) if label in known]
        if not shared:
            return None
        places.append(torch.tensor(shared).unbind(1))
    return places


def freeze(model: VAE, names: Sequence[str], is_started: bool) -> list[nn.Module]:
    """Keeps the weights of some parts of a model as they are; returns these parts.

    Args:
        model: The model.
        names: Names of the parts.
        is_started: Whether the model has taken over weights.

    Raises:
        ConfigError: If the model has new weights, or nothing is left to train.
    """
    if names and not is_started:
        raise ConfigError(
            f"training.freeze: {', '.join(names)} would stay as random as it begins; give a trained model to start from "
            "(--from), or leave freeze out"
        )
    frozen = [model.get_submodule(name).requires_grad_(False) for name in names]
    if not trained_parameters(model):
        raise ConfigError(f"training.freeze: {', '.join(names)} are all that has weights, so nothing is left to train")
    return frozen


def trained_parameters(model: VAE) -> dict[str, nn.Parameter]:
    """Returns the parameters that are not frozen, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


# --- the meaning of places ------------------------------------------------------------------------------------------


def axes_of(model: VAE) -> Axes:
    """Returns the meaning of the dimensions of a model's inputs, outputs and conditions."""
    condition = [label for column in model.conditions for label in _of_condition(column)]
    columns = model.examples.columns or ()
    axes: Axes = {}
    if isinstance(model.encoder, TableEncoder):
        inputs = _of_inputs(model.encoder, columns)
        if model.encoder.embedding is not None:
            axes["encoder.embedding.weight"] = ([*_of_embeddings(columns)], None)
    else:
        inputs = []
    beside = condition if model.config.condition_by == "concatenation" else []
    outputs = [*_of_outputs(model.likelihood, columns)] if isinstance(model.likelihood, TableLikelihood) else None
    for name, module in model.named_modules():
        if isinstance(module, Stage) and module.film is not None:
            axes |= _linear(f"{name}.film", module.film, condition)
        if isinstance(module, Dense) or name.endswith(".hidden"):
            axes |= _first(name, module, inputs if name.startswith("encoder") else [], beside)
    if outputs is not None and isinstance(out := getattr(model.decoder, "out", None), nn.Linear):
        axes["decoder.out.weight"], axes["decoder.out.bias"] = (outputs, None), (outputs,)
        assert out.out_features == len(outputs), "each output has its label"
    if isinstance(model.likelihood, AutoregressiveLikelihood) and outputs is not None:
        axes |= _of_autoregressive(model.likelihood, columns, outputs)
    if isinstance(model.prior, ConditionalPriorModule):
        axes["prior.layers.0.weight"] = (None, condition)
    return axes


def _of_condition(column: Column) -> list[Hashable]:
    return [(column.name, category) for category in column.categories] if column.categories else [column.name]


def _linear(name: str, layer: nn.Module, inputs: Labels) -> Axes:
    return {f"{name}.weight": (None, inputs)} if isinstance(layer, nn.Linear) else {}


def _first(name: str, module: nn.Module, inputs: Labels, beside: Labels) -> Axes:
    """Returns the meaning of the inputs of the first of dense stages: of the example or latent, then the condition."""
    stage = module.stages[0] if isinstance(module, Dense) else module
    place = f"{name}.stages.0" if isinstance(module, Dense) else name
    layers = ((path, one) for path, one in stage.layer.named_modules() if isinstance(one, nn.Linear))  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    path, layer = next(layers, ("", None))
    if layer is None:
        return {}
    of_example = inputs or [("place", place) for place in range(layer.in_features - len(beside))]
    where = ".".join(filter(None, (place, "layer", path)))
    return _linear(where, layer, [*of_example, *beside])


def _of_inputs(encoder: TableEncoder, columns: Sequence[Column]) -> list[Hashable]:
    size = encoder.embedding.embedding_dim if encoder.embedding is not None else 0
    numbers: list[Hashable] = [("number", columns[index].name) for index in encoder.numeric]
    codes = [("code", columns[index].name, place) for index in encoder.categorical for place in range(size)]
    there = [("there", column.name) for column in columns] if encoder.missing_indicators else []
    return [*numbers, *codes, *there]


def _of_embeddings(columns: Sequence[Column]) -> Iterator[Hashable]:
    for column in columns:
        if column.categories is not None:
            yield from ((column.name, category) for category in (*column.categories, None))


def _of_outputs(likelihood: TableLikelihood, columns: Sequence[Column]) -> Iterator[Hashable]:
    """Yields the meaning of each of the decoder's outputs: column, form, and category or number of the parameter."""
    for members, family in likelihood.groups:
        for parameter in range(family.num_params):
            for index in members:
                names = columns[index].categories if type(family) is CategoryFamily else None
                yield columns[index].name, type(family).__name__, names[parameter] if names else parameter


def _of_autoregressive(likelihood: AutoregressiveLikelihood, columns: Sequence[Column], outputs: Labels) -> Axes:
    per_column = likelihood.first.out_features // len(columns)
    units: Labels = [(column.name, unit) for column in columns for unit in range(per_column)]
    features: Labels = [
        (column.name, place) for column in columns for place in (column.categories or range(2 + NUM_BINS))
    ]
    return {
        "likelihood.context.weight": (units, outputs),
        "likelihood.context.bias": (units,),
        "likelihood.first.weight": (units, features),
        "likelihood.second.weight": (units, units),
        "likelihood.second.bias": (units,),
        "likelihood.out.weight": (outputs, units),
        "likelihood.out.bias": (outputs,),
    }
