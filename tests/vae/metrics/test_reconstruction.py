"""PSNR and SSIM of each image: closed forms, a loop over windows, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from vae.errors import DataError
from vae.metrics.reconstruction import psnr, ssim

Metric = Callable[[Tensor, Tensor], Tensor]


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def noisy(x: Tensor, sigma: float, seed: int = 1) -> Tensor:
    return (x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


def ssim_by_loops(x_HW: np.ndarray, y_HW: np.ndarray, size: int) -> float:
    """The mean of eq. 13 over windows, each with its own two-pass means and variances."""
    centre = np.arange(size) - size // 2
    window = np.exp(-(centre[:, None] ** 2 + centre[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    scores = []
    for top in range(x_HW.shape[0] - size + 1):
        for left in range(x_HW.shape[1] - size + 1):
            x, y = (image[top : top + size, left : left + size] for image in (x_HW, y_HW))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            variances = (window * (x - mean_x) ** 2).sum() + (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
            scores.append(luminance * (2 * covariance + 9e-4) / (variances + 9e-4))
    return float(np.mean(scores))


def test_psnr_of_known_errors() -> None:
    """An error of 0.1 everywhere is 20 dB, of 0.01 40 dB, and none is infinite; each image has its own."""
    x = torch.full((3, 2, 4, 4), 0.5, dtype=torch.float64)
    error = torch.tensor([0.1, 0.01, 0.0], dtype=torch.float64)[:, None, None, None]
    assert psnr(x, x + error).tolist() == pytest.approx([20.0, 40.0, math.inf], rel=1e-12)


def test_psnr_of_gaussian_noise() -> None:
    """Noise of standard deviation σ costs −20 log₁₀ σ decibels, within the sampling error of 60,000 pixels."""
    x = torch.full((1, 3, 100, 200), 0.5)
    assert psnr(x, noisy(x, 0.05)).item() == pytest.approx(-20 * math.log10(0.05), abs=0.1)


@pytest.mark.parametrize(
    ("shape", "size"), [((14, 12), 11), ((11, 13), 11), ((8, 8), 7), ((10, 20), 9), ((20, 3), 3), ((1, 5), 1)]
)
def test_ssim_is_the_mean_over_windows_and_channels(shape: tuple[int, int], size: int) -> None:
    """It equals a loop over windows that lie inside; a small image has the largest odd window that fits."""
    x = images(2, 3, *shape)
    y = noisy(x, 0.2)
    by_hand = [
        np.mean([ssim_by_loops(a, b, size) for a, b in zip(p, q, strict=True)])
        for p, q in zip(x.double().numpy(), y.double().numpy(), strict=True)
    ]
    assert ssim(x, y).tolist() == pytest.approx(by_hand, rel=1e-10)


def test_ssim_of_flat_images_is_their_luminance() -> None:
    """Without structure only the means count: (2ab + C₁) / (a² + b² + C₁)."""
    a, b = 0.2, 0.6
    flat = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    assert ssim(a * flat, b * flat).item() == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), rel=1e-12)


def test_ssim_is_one_for_equal_images_and_symmetric() -> None:
    """ssim(x, x) = 1 and ssim(x, y) = ssim(y, x); an inverted image is below 0."""
    x, y = images(4, 1, 16, 16), images(4, 1, 16, 16, seed=5)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 4, abs=1e-12)
    assert ssim(x, y).tolist() == pytest.approx(ssim(y, x).tolist(), rel=1e-12)
    assert ssim(x, 1 - x).max() < 0


def test_ssim_falls_with_noise() -> None:
    """The noisier a reconstruction, the lower its score, image by image."""
    x = images(3, 1, 24, 24)
    scores = torch.stack([ssim(x, noisy(x, sigma)) for sigma in (0.0, 0.05, 0.1, 0.2, 0.4)])
    assert (scores[:-1] > scores[1:]).all()


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_are_of_each_image_alone(metric: Metric) -> None:
    """130 images together score what each scores alone, in float64."""
    x = images(130, 1, 8, 8)
    y = noisy(x, 0.1)
    together = metric(x, y)
    alone = torch.cat([metric(x[i : i + 1], y[i : i + 1]) for i in range(130)])
    assert together.dtype == torch.float64
    assert torch.allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (images(2, 1, 4, 4), images(2, 1, 4, 5), r"one shape, got \(2, 1, 4, 4\) and \(2, 1, 4, 5\)"),
        (images(4, 4), images(4, 4), r"expected images \[N,C,H,W\], got shape \(4, 4\)"),
        (torch.ones(1, 1, 4, 4).byte(), images(1, 1, 4, 4), "images: expected float pixels.*uint8; divide"),
        (images(1, 1, 4, 4), 255 * torch.ones(1, 1, 4, 4), r"reconstructions: 16 of 16 pixels are not in \[0, 1\]"),
        (images(1, 1, 4, 4), images(1, 1, 4, 4) * torch.nan, "16 of 16 pixels are not"),
    ],
    ids=["shapes", "rank", "type", "range", "nan"],
)
def test_metrics_refuse_what_they_would_misread(metric: Metric, x: Tensor, y: Tensor, message: str) -> None:
    """Pairs of different shapes, and pixels of another type or range, are refused with what was found."""
    with pytest.raises(DataError, match=message):
        metric(x, y)
