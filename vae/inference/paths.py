"""Paths through the latent, from one row to another, and traversals along its dimensions.

References:
    White, Sampling Generative Networks (2016), for spherical interpolation. https://arxiv.org/abs/1609.04468
    Arvanitidis, Hansen & Hauberg, Latent Space Oddity (2018), for the decoder's metric. https://arxiv.org/abs/1710.11379
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vae.errors import ConfigError
from vae.inference.coding import decode, encode
from vae.model import VAE
from vae.parts.terms import Inputs

Interpolation = Literal["linear", "spherical", "geodesic"]

GEODESIC_RATE = 0.05
"""Learning rate of Adam, in units of the ends' distance."""


def interpolate(
    model: VAE,
    first: Inputs,
    second: Inputs,
    *,
    num_points: int = 16,
    path: Interpolation = "linear",
    steps: int = 200,
) -> Tensor:
    """Returns examples on the way from each first row to its second, [N,T,*shape]; the ends are the reconstructions.

    Args:
        model: A trained model whose latent is made of numbers.
        first: Rows at the start.
        second: As many rows at the end. Where their conditions differ, these change evenly along the way.
        num_points: Number of points T, with both ends.
        path: `linear` in the latent; `spherical`, which keeps the length of the latent as Gaussian noise has it; or
            `geodesic`, the path on which the decoder's answer changes least.
        steps: Steps of the gradient descent that finds a geodesic.

    Raises:
        ConfigError: If the path is a geodesic and a column has categories, whose most probable code jumps.
    """
    z_NTL = latent_path(model, first, second, num_points, path, steps)
    with torch.no_grad():
        return model.likelihood.mean(_outputs(model, z_NTL, first, second))


def path_length(model: VAE, z_NTL: Tensor, first: Inputs, second: Inputs) -> Tensor:
    """Returns the length of each path under the decoder's metric, [N].

    It is the sum of the distances between the decoder's answers at successive points: the likelihood's means and standard
    deviations side by side.
    """
    return _steps(model, z_NTL, first, second).sqrt().sum(1)


def latent_path(
    model: VAE, first: Inputs, second: Inputs, num_points: int, path: Interpolation, steps: int = 200
) -> Tensor:
    """Returns the latents [N,T,L] of `interpolate`."""
    with torch.no_grad():
        ends = encode(model, first).mean, encode(model, second).mean
        z_NTL = spherical(*ends, num_points) if path == "spherical" else _linear(*ends, num_points)
    return _geodesic(model, z_NTL, first, second, steps) if path == "geodesic" else z_NTL


def _linear(start_NL: Tensor, end_NL: Tensor, num_points: int) -> Tensor:
    share_T = torch.linspace(0, 1, num_points, device=start_NL.device)
    return torch.lerp(start_NL[:, None], end_NL[:, None], share_T[:, None])


def spherical(start_NL: Tensor, end_NL: Tensor, num_points: int) -> Tensor:
    """Returns paths along the great circle between the directions, while the length changes evenly, [N,T,L]."""
    share_T1 = torch.linspace(0, 1, num_points, device=start_NL.device)[:, None]
    lengths = [end.norm(dim=-1).clamp(min=1e-12) for end in (start_NL, end_NL)]
    first_NL, last_NL = (end / length[:, None] for end, length in zip((start_NL, end_NL), lengths, strict=True))
    angle_N11 = (first_NL * last_NL).sum(-1).clamp(-1, 1).arccos()[:, None, None]
    sine_N11 = angle_N11.sin()
    arc_NTL = ((1 - share_T1) * angle_N11).sin() * first_NL[:, None] + (share_T1 * angle_N11).sin() * last_NL[:, None]
    length_NT1 = torch.lerp(lengths[0][:, None, None], lengths[1][:, None, None], share_T1)
    # Of directions that are equal, or opposite and so without one circle, the straight line.
    straight = sine_N11 < 1e-4
    path_NTL = torch.where(straight, _linear(start_NL, end_NL, num_points), length_NT1 * arc_NTL / sine_N11)
    path_NTL[:, 0], path_NTL[:, -1] = start_NL, end_NL
    return path_NTL


@torch.enable_grad()
def _geodesic(model: VAE, line_NTL: Tensor, first: Inputs, second: Inputs, steps: int) -> Tensor:
    """Bends lines by gradient descent on the energy of the decoder's answer; returns each row's shortest path."""
    if any(column.categories for column in model.examples.columns or ()):
        raise ConfigError(
            "a geodesic follows the decoder's answer as it changes little by little, which categories do not; use a linear "
            "or a spherical path"
        )
    ends = line_NTL[:, :1], line_NTL[:, -1:]
    scale_N11 = (ends[1] - ends[0]).norm(dim=-1, keepdim=True).clamp(min=1e-6)
    offset_NTL = torch.zeros_like(line_NTL[:, 1:-1]).requires_grad_()
    optimizer = torch.optim.Adam([offset_NTL], lr=GEODESIC_RATE)
    with torch.no_grad():
        best, shortest_N = line_NTL.clone(), path_length(model, line_NTL, first, second)
    for _ in range(steps if line_NTL.shape[1] > 2 else 0):
        inner_NTL = line_NTL[:, 1:-1] + scale_N11 * offset_NTL
        z_NTL = torch.cat([ends[0], inner_NTL, ends[1]], dim=1)
        squares_NT = _steps(model, z_NTL, first, second)
        with torch.no_grad():
            length_N = squares_NT.sqrt().sum(1)
            shorter_N = length_N < shortest_N
            best[shorter_N], shortest_N = z_NTL.detach()[shorter_N], torch.minimum(length_N, shortest_N)
        # Each row's energy in units of its own line's, so that the rate suits all.
        energy = (squares_NT.sum(1) / squares_NT.detach().sum(1).clamp(min=1e-12)).sum()
        (offset_NTL.grad,) = torch.autograd.grad(energy, [offset_NTL])
        optimizer.step()
    return best


def _steps(model: VAE, z_NTL: Tensor, first: Inputs, second: Inputs) -> Tensor:
    """Returns squared distances between the decoder's answers at successive points, [N,T-1]."""
    outputs = _outputs(model, z_NTL, first, second)
    answers = torch.cat([model.likelihood.mean(outputs).flatten(2), model.likelihood.std(outputs).flatten(2)], dim=-1)
    return answers.diff(dim=1).square().sum(-1)


def _outputs(model: VAE, z_NTL: Tensor, first: Inputs, second: Inputs) -> Tensor:
    """Returns the decoder's outputs along paths, [N,T,*outputs_shape]."""
    rows, points = z_NTL.shape[:2]
    condition = None
    if first.condition is not None and second.condition is not None:
        condition = _linear(first.condition, second.condition, points).flatten(0, 1)
    log_beta = None if first.log_beta is None else first.log_beta.repeat_interleave(points, dim=0)
    outputs = model.decode(z_NTL.flatten(0, 1)[None], condition, log_beta)[0]
    return outputs.view(rows, points, *outputs.shape[1:])


class Carried(NamedTuple):
    """Information that each dimension of the latent carries about rows."""

    per_dimension: Tensor
    """KL(q(z|x) ‖ p(z)) in nats, the mean over the rows, [L]; where there is no closed form, the variance of the
    posterior's mean over the rows."""
    in_nats: bool
    """Whether `per_dimension` is in nats; else it is a variance."""
    mean: Tensor
    """Mean of each row's posterior, [N,L]"""


@torch.no_grad()
def carried(model: VAE, inputs: Inputs) -> Carried:
    """Returns the information that each dimension of the latent carries about rows."""
    posterior, prior = model.encode(inputs), model.prior_of(inputs.condition)
    mean_NL = posterior.mean
    kl = prior.kl(posterior, posterior.draw(mean_NL.new_zeros(1, len(mean_NL), model.noise_dim), prior))
    return Carried(mean_NL.var(0, correction=0) if kl is None else kl.mean((0, 1)), kl is not None, mean_NL)


class Traversal(NamedTuple):
    """Effect of each dimension of the latent on rows."""

    dimensions: Tensor
    """The most informative first, int64 [D]"""
    kl: Tensor
    """Information of each of them, [D]; see `Carried`."""
    values: Tensor
    """Values of the dimension, [T]"""
    examples: Tensor
    """[N,D,T,*shape]"""


@torch.no_grad()
def traverse(
    model: VAE, inputs: Inputs, *, dimensions: tuple[int, ...] = (), extent: float = 3.0, num_points: int = 7
) -> Traversal:
    """Returns each row with one dimension of its latent set to values between −extent and +extent, the others unchanged.

    Args:
        model: A trained model whose latent is made of numbers.
        inputs: Rows to traverse.
        dimensions: Dimensions to set; none stands for all. They come sorted by their information.
        extent: Largest distance from 0, in standard deviations of N(0, 1).
        num_points: Number of values, T.
    """
    carried_L, _, mean_NL = carried(model, inputs)
    wanted_D = torch.tensor(dimensions or range(mean_NL.shape[1]), device=mean_NL.device)
    order_D = wanted_D[carried_L[wanted_D].argsort(descending=True, stable=True)]
    values_T = torch.linspace(-extent, extent, num_points, device=mean_NL.device)
    z_NDTL = mean_NL[:, None, None].repeat(1, len(order_D), num_points, 1)
    for place, dimension in enumerate(order_D.tolist()):
        z_NDTL[:, place, :, dimension] = values_T
    count = len(order_D) * num_points
    condition, log_beta = (
        None if part is None else part.repeat_interleave(count, dim=0) for part in (inputs.condition, inputs.log_beta)
    )
    examples = decode(model, z_NDTL.flatten(0, 2), condition, log_beta_N1=log_beta)
    shape = (len(mean_NL), len(order_D), num_points)
    return Traversal(order_D, carried_L[order_D], values_T, examples.view(*shape, *examples.shape[1:]))
