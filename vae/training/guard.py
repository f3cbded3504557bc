"""Finite numbers: a step whose loss or gradient is not finite changes nothing, and is named.

Shapes: S samples, B batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vae.config import TrainingConfig
from vae.data.parquet import Dataset
from vae.data.rows import SOURCE_ROW
from vae.errors import Diverged
from vae.model import VAE
from vae.parts.likelihoods.preparing import restore
from vae.training.step import Draws

SMALL = 4096
"""Largest gradient that is looked at, in numbers. What is not finite spreads to the gradients of the biases, and reading
those of the weights too would cost 3 % of a step on a CPU."""


class FiniteGuard:
    """A flag that is raised at the first loss or gradient that is not finite, and stays raised.

    Args:
        parameters: The parameters that are trained.
        device: Their device.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], device: torch.device) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self.looked_at = [parameter for parameter in trained if parameter.numel() <= SMALL] or trained
        self.flag = torch.zeros((), device=device)
        """1 once something was not finite, else 0. The fused optimiser takes it as `found_inf` and leaves its step out."""

    @torch.no_grad()
    def look(self, loss: Tensor | None) -> None:
        """Looks at the gradients as they are, and at a loss.

        Args:
            loss: A scalar. None where ranks have different losses: their gradients are the same, so that all stop together.
        """
        gradients = [parameter.grad for parameter in self.looked_at if parameter.grad is not None]
        sums = [*(gradient.sum() for gradient in gradients), *(() if loss is None else (loss.detach(),))]
        finite = torch.stack(sums).sum().isfinite()
        torch.maximum(self.flag, (~finite).to(self.flag.dtype), out=self.flag)

    @property
    def is_raised(self) -> bool:
        """Whether something was not finite. On a GPU, asking waits for the steps that are queued."""
        return bool(self.flag)


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether every number of some tensors is finite."""
    return all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())


def slower(training: TrainingConfig) -> str:
    """Returns the flags that let a run which diverged go on: a tenth of its learning rate, and clipped gradients."""
    clip = "" if training.gradient_clip_norm else " --set training.gradient_clip_norm=1"
    return f"--set training.learning_rate={min(training.learning_rate / 10, 1e-3):g}{clip}"


def diverged(what: str, training: TrainingConfig) -> Diverged:
    """Returns the error for a run that cannot go on.

    Args:
        what: What is not finite, and where.
        training: The settings of the run, which the advice is about.
    """
    return Diverged(f"{what}. The learning rate of {training.learning_rate:g} may be too high: {slower(training)}")


@torch.no_grad()
def costliest(model: VAE, draws: Draws, rows: Tensor | None, dataset: Dataset) -> str | None:
    """Returns the row of a batch, and the column of a table, that costs most nats, in words.

    Args:
        model: The model as it was before the step.
        draws: The batch, and what was drawn for it.
        rows: Numbers of the batch's rows in the training split, [B]; None where they are not known.
        dataset: The dataset of the batch.

    Returns:
        None where no row stands out: where all costs are alike, or most are not finite.
    """
    terms = model(draws.inputs, draws.noise)
    x, observed = draws.inputs.x, draws.inputs.observed
    entries = -model.likelihood.log_prob_entries(x if observed is None else x * observed, terms.outputs).amax(0)
    cost = entries.nan_to_num(torch.inf, torch.inf, torch.inf).flatten(1)
    if observed is not None:
        cost = cost.masked_fill(~observed.flatten(1), 0)
    if cost.isinf().any(1).float().mean() > 0.5:
        return None
    position, entry = divmod(int(cost.argmax()), cost.shape[1])
    largest, typical = cost[position, entry].item(), cost.median().item()
    if largest < 1e3 * max(1.0, abs(typical)):
        return None
    row = f"row {position} of the batch"
    if rows is not None:
        number = int(rows[position])
        source = dataset.read_table("train", [SOURCE_ROW])[SOURCE_ROW][number].as_py()
        row = f"row {number} of the train split (row {source} of the source)"
    columns = model.examples.columns
    if columns is None:
        return f"{row} costs {largest:g} nats in one pixel"
    value = restore(x, model.examples)[position, entry].item()
    return f"{row}, column {columns[entry].name!r}, holds {value:g} and costs {largest:g} nats"
