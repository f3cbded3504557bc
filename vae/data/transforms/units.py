"""The units of a table's columns: from their values to the numbers that a model scores, and back.

Shapes: N rows, D columns, G columns with curves of one kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vae.data.schema import Column, plausible_bounds
from vae.data.transforms.curves import Curves, curves_of


class Units(nn.Module):
    """The units of columns, in float64.

    Args:
        columns: Columns of a table.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        masses = [(column.curve and column.curve.mass) or (math.nan, math.nan) for column in columns]
        scales = [(0.0, 1.0) if column.categories else (column.mean, column.std) for column in columns]
        rows = np.stack([*np.transpose(scales), *plausible_bounds(columns), *np.transpose(masses)])
        self.rows_6D: Tensor
        self.register_buffer("rows_6D", torch.from_numpy(rows))
        groups = curves_of(columns)
        self.members = [members for members, _ in groups]
        self.curves = nn.ModuleList([curves for _, curves in groups])

    def model_numbers(self, values_ND: Tensor) -> Tensor:
        """Returns values as a model scores them, [N,D]."""
        mean_D, std_D, _, _, mass_D, mass_x_D = self.rows_6D
        x_ND = (values_ND - mean_D) / std_D
        for members, curves in zip(self.members, self.curves, strict=True):
            x_ND[:, members] = curves(x_ND[:, members])
        return torch.where(values_ND == mass_D, mass_x_D, x_ND) if self.members else x_ND

    def standardised(self, x: Tensor) -> Tensor:
        """Returns a model's numbers in standard deviations from their column's mean, [...,D] each."""
        mean_D, std_D, _, _, mass_D, mass_x_D = self.rows_6D
        u = x.double() if self.members else x
        for members, curves in zip(self.members, self.curves, strict=True):
            assert isinstance(curves, Curves)
            u = u.index_copy(-1, torch.tensor(members, device=x.device), curves.inverse(u[..., members]))
        return torch.where(x == mass_x_D, (mass_D - mean_D) / std_D, u) if self.members else x

    def column_values(self, x: Tensor) -> Tensor:
        """Returns a model's numbers in the columns' own units, [...,D] each."""
        mean_D, std_D, _, _, mass_D, mass_x_D = self.rows_6D
        values = mean_D + self.standardised(x) * std_D
        return torch.where(x == mass_x_D, mass_D, values) if self.members else values

    def log_slope(self, x_ND: Tensor) -> Tensor:
        """Returns log dx/du of a model's numbers, [N,D]: 0 without a curve, NaN at a point mass."""
        slope_ND = torch.zeros_like(x_ND)
        for members, curves in zip(self.members, self.curves, strict=True):
            assert isinstance(curves, Curves)
            slope_ND[:, members] = curves.log_slope(x_ND[:, members].double()).float()
        return slope_ND.masked_fill(x_ND == self.rows_6D[5], torch.nan)

    def plausible(self, values_ND: Tensor) -> Tensor:
        """Returns which values are within their column's plausible range, bool [N,D]; NaN is not."""
        _, _, lowest_D, highest_D, _, _ = self.rows_6D
        return (values_ND >= lowest_D) & (values_ND <= highest_D)
