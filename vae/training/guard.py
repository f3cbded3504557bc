"""Guard against numbers that are not finite: such a step changes nothing, and its error names the cause.

Shapes: S samples, B batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vae.config import TrainingConfig
from vae.data.parquet import Dataset
from vae.data.rows import SOURCE_ROW
from vae.data.transforms import transform_of
from vae.errors import Diverged
from vae.model import VAE
from vae.training.step import StepInputs

SMALL = 4096
"""Size of the largest gradient that is read, in numbers. A number that is not finite spreads to the gradients of the
biases; reading the gradients of the weights as well would cost 3 % of a step on a CPU."""


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
        """Scalar: 1 once a number was not finite, else 0. An optimiser that has it as `skips` changes nothing."""

    @torch.no_grad()
    def look(self, loss: Tensor | None) -> None:
        """Raises the flag if a gradient or the loss is not finite.

        Args:
            loss: A scalar; None if the ranks have different losses. Their gradients are the same, so that all ranks
                stop together.
        """
        gradients = [parameter.grad for parameter in self.looked_at if parameter.grad is not None]
        sums = [*(gradient.sum() for gradient in gradients), *(() if loss is None else (loss.detach(),))]
        finite = torch.stack(sums).sum().isfinite()
        torch.maximum(self.flag, (~finite).to(self.flag.dtype), out=self.flag)

    @property
    def is_raised(self) -> bool:
        """Whether a number was not finite. Reading this on a GPU waits for the queued steps."""
        return bool(self.flag)


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Returns whether all numbers of all tensors are finite."""
    return all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())


def slower(training: TrainingConfig) -> str:
    """Returns flags that keep a run from diverging again: a tenth of its learning rate, and clipped gradients."""
    clip = "" if training.gradient_clip_norm else " --set training.gradient_clip_norm=1"
    return f"--set training.learning_rate={min(training.learning_rate / 10, 1e-3):g}{clip}"


def diverged(what: str, training: TrainingConfig) -> Diverged:
    """Returns the error for a run that cannot go on.

    Args:
        what: The number that is not finite, and where it occurred.
        training: Settings of the run, from which the advice follows.
    """
    return Diverged(f"{what}. The learning rate of {training.learning_rate:g} may be too high: {slower(training)}")


@torch.no_grad()
def costliest(model: VAE, step_inputs: StepInputs, rows: Tensor | None, dataset: Dataset) -> str | None:
    """Describes the row of a batch, and the column of a table, that costs most nats.

    Args:
        model: The model before the step.
        step_inputs: The batch with its noise.
        rows: Numbers of the batch's rows in the training split, [B]; None if they are unknown.
        dataset: The dataset of the batch.

    Returns:
        None if no row stands out: if all rows cost about as much, or most costs are not finite.
    """
    terms = model(step_inputs.inputs, step_inputs.noise)
    x, observed = step_inputs.inputs.x, step_inputs.inputs.observed
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
    what, where = transform_of(model.examples).costly(x, position, entry)
    return f"{row}{what} costs {largest:g} nats{where}"
