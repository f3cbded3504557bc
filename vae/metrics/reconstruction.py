"""Similarity of reconstructions to their images, one number per image.

Shapes: N images, C channels, H height, W width. Pixels are float in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vae.errors import DataError

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
CHUNK = 64


def psnr(x_NCHW: Tensor, y_NCHW: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio of each image in decibels, [N], float64.

    Protocol: 10·log₁₀(1 / MSE), the squared error averaged over channels and pixels of one image, and a peak of 1. Infinite
    for equal images: leave those out of a mean. The mean of the ratios is not the ratio of the mean error.

    Args:
        x_NCHW: Images.
        y_NCHW: Reconstructions in the same order; clamp draws from a likelihood to [0, 1].

    Raises:
        DataError: If the shapes differ, or pixels are not float in [0, 1].
    """
    _check_pair("psnr", x_NCHW, y_NCHW)
    mse_N = (x_NCHW.double() - y_NCHW.double()).square().mean((1, 2, 3))
    return -10 * mse_N.log10()


def ssim(x_NCHW: Tensor, y_NCHW: Tensor) -> Tensor:
    """Returns the structural similarity of each image and its reconstruction, [N], float64, at most 1.

    Protocol: a Gaussian window of 11×11 pixels with σ = 1.5 that sums to 1, at every place inside the image; K₁ = 0.01,
    K₂ = 0.03, L = 1; the mean over places and channels; no downsampling. For images with a side below 11 the window
    shrinks to the largest odd size that fits, with the same σ: compare such scores only for images of one size.

    Args:
        x_NCHW: Images.
        y_NCHW: Reconstructions in the same order; clamp draws from a likelihood to [0, 1].

    Raises:
        DataError: If the shapes differ, or pixels are not float in [0, 1].

    References:
        Wang, Bovik, Sheikh & Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity (2004),
        eq. 13–16. https://doi.org/10.1109/TIP.2003.819861
    """
    _check_pair("ssim", x_NCHW, y_NCHW)
    rows, columns = (_windows(side, min(x_NCHW.shape[2:]), x_NCHW.device) for side in x_NCHW.shape[2:])
    pairs = zip(x_NCHW.split(CHUNK), y_NCHW.split(CHUNK), strict=True)
    return torch.cat([_ssim(x.double(), y.double(), rows, columns) for x, y in pairs])


def check_pixels(where: str, pixels_NCHW: Tensor) -> None:
    """Raises unless the pixels are a batch of images with float values in [0, 1].

    Args:
        where: Name of the pixels in the message.
        pixels_NCHW: The pixels.

    Raises:
        DataError: If the rank or the type is wrong, or values lie outside; states how many.
    """
    if pixels_NCHW.dim() != 4:
        raise DataError(f"{where}: expected images [N,C,H,W], got shape {tuple(pixels_NCHW.shape)}")
    if not pixels_NCHW.is_floating_point():
        raise DataError(f"{where}: expected float pixels in [0, 1], got {pixels_NCHW.dtype}; divide uint8 by 255")
    outside = int((~((pixels_NCHW >= 0) & (pixels_NCHW <= 1))).sum())  # counts NaN as well
    if outside:
        raise DataError(
            f"{where}: {outside} of {pixels_NCHW.numel()} pixels are not in [0, 1]; divide by the largest value, or clamp "
            "draws from a likelihood"
        )


def _check_pair(metric: str, x_NCHW: Tensor, y_NCHW: Tensor) -> None:
    if x_NCHW.shape != y_NCHW.shape:
        raise DataError(
            f"{metric}: images and reconstructions must have one shape, got {tuple(x_NCHW.shape)} and {tuple(y_NCHW.shape)}"
        )
    check_pixels(f"{metric}, images", x_NCHW)
    check_pixels(f"{metric}, reconstructions", y_NCHW)


def _windows(side: int, smallest_side: int, device: torch.device) -> Tensor:
    """Returns the Gaussian window's weights at each of the P places along an axis, [P,side]."""
    size = min(SSIM_WINDOW, smallest_side - (smallest_side + 1) % 2)
    distance = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    weights = torch.exp(-0.5 * (distance / SSIM_SIGMA).square())
    weights /= weights.sum()
    return torch.stack([F.pad(weights, (place, side - size - place)) for place in range(side - size + 1)])


def _ssim(x_NCHW: Tensor, y_NCHW: Tensor, rows_PH: Tensor, columns_QW: Tensor) -> Tensor:
    """Computes eq. 13, [N], with the window's moments of eq. 14 to 16, by Σw(x−μ)² = Σwx² − μ²."""

    def blur(maps_NCHW: Tensor) -> Tensor:
        return rows_PH @ maps_NCHW @ columns_QW.T

    mean_x, mean_y = blur(x_NCHW), blur(y_NCHW)
    squares = mean_x.square() + mean_y.square()
    product = mean_x * mean_y
    variances = blur(x_NCHW.square() + y_NCHW.square()) - squares
    covariance = blur(x_NCHW * y_NCHW) - product
    luminance = (2 * product + SSIM_C1) / (squares + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variances + SSIM_C2)
    return (luminance * structure).mean((1, 2, 3))
