"""Denoising of digits, beside filters that know nothing of digits.

Shapes: N images, H height, W width. Pixels are in [0, 1]; noise is not clipped, results are.
"""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.report.theme import LIGHT
from tests.benchmarks.page import Claim, grid
from tests.benchmarks.uses.work import mnist, run_config, scaled, show
from tests.benchmarks.work import Figures, Job, Outcome, train
from vae.config import RunConfig
from vae.data.parquet import Dataset
from vae.draws import RowDraws
from vae.inference.repair import denoise
from vae.parts.corruptions import CorruptionConfig
from vae.parts.corruptions.gaussian_noise import GaussianNoise
from vae.parts.corruptions.salt_and_pepper import SaltAndPepper
from vae.parts.terms import Inputs
from vae.seeds import Stream

Pixels = NDArray[np.float32]
Filter = Callable[..., Pixels]
"""(noisy images [N,H,W], standard deviation of the noise, parameters) → images."""

NOISES: Mapping[str, CorruptionConfig] = {
    "σ=0.25": GaussianNoise(sigma=0.25),
    "σ=0.5": GaussianNoise(sigma=0.5),
    "salt and pepper 0.25": SaltAndPepper(share=0.25),
}
SPREAD = {"σ=0.25": 0.25, "σ=0.5": 0.5, "salt and pepper 0.25": 0.35}
"""Standard deviation of the noise as the filters get it; a tuned factor multiplies it."""
EPOCHS = {"σ=0.25": 24, "σ=0.5": 12, "salt and pepper 0.25": 6}
EPOCHS_LISTED = ", ".join(f"{epochs} epochs at {noise}" for noise, epochs in EPOCHS.items())
MARGINS = {"σ=0.25": 1.5, "σ=0.5": 3.0}
"""Least gain over the best filter in dB."""
NUM_TUNED, NUM_TEST, MOSAIC = 100, 500, 10
NUM_SAMPLES = 32
VAE_ROW = "VAE"


def noisy(clean_NHW: Pixels, noise: str, seed: int) -> Pixels:
    """Returns images with noise."""
    return NOISES[noise].corrupt(torch.from_numpy(clean_NHW)[:, None], RowDraws(seed, Stream.EVALUATION))[:, 0].numpy()


def psnr(restored_NHW: Pixels, clean_NHW: Pixels) -> NDArray[np.float64]:
    """Returns the peak signal-to-noise ratio of each image in dB, [N]; the peak is 1."""
    error_N = np.square(np.clip(restored_NHW, 0, 1).astype(np.float64) - clean_NHW).mean((1, 2))
    return -10 * np.log10(error_N)


# --- filters --------------------------------------------------------------------------------------------------------


def each(filtered: Callable[[Pixels], Pixels], images_NHW: Pixels) -> Pixels:
    """Filters one image after the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of levels that a wavelet does not have in so small an image
        return np.stack([filtered(image) for image in images_NHW]).astype(np.float32)


def median(images_NHW: Pixels, spread: float, radius: float) -> Pixels:
    """Returns the median over a disc; `radius` 1.5 is a square of 3 × 3."""
    from skimage.filters import median as filtered
    from skimage.morphology import disk, footprint_rectangle

    footprint = footprint_rectangle((3, 3)) if radius == 1.5 else disk(int(radius))
    return each(partial(filtered, footprint=footprint), images_NHW)


def total_variation(images_NHW: Pixels, spread: float, factor: float) -> Pixels:
    """Denoises by Chambolle's total variation, its weight in units of the noise."""
    from skimage.restoration import denoise_tv_chambolle

    return each(partial(denoise_tv_chambolle, weight=factor * spread), images_NHW)


def wavelet(images_NHW: Pixels, spread: float, factor: float) -> Pixels:
    """Denoises by Daubechies' second wavelet: BayesShrink's soft thresholds, averaged over shifts of up to one pixel."""
    from skimage.restoration import cycle_spin, denoise_wavelet

    options = {"sigma": factor * spread, "wavelet": "db2", "method": "BayesShrink", "mode": "soft"}
    spun = partial(cycle_spin, func=denoise_wavelet, max_shifts=1, func_kw=options, num_workers=1)
    return each(spun, images_NHW)


def non_local_means(images_NHW: Pixels, spread: float, factor: float, size: int) -> Pixels:
    """Averages similar patches of `size` from the whole image."""
    from skimage.restoration import denoise_nl_means

    options: dict[str, Any] = {"patch_size": size, "patch_distance": 13, "h": factor * spread, "sigma": spread}
    return each(partial(denoise_nl_means, fast_mode=True, **options), images_NHW)


def bm3d(images_NHW: Pixels, spread: float, factor: float) -> Pixels:
    """Denoises mosaics of 10 × 10 digits, which takes a hundredth of the time and has more similar patches than one."""
    from bm3d import bm3d as filtered

    out = []
    for part in images_NHW.reshape(-1, MOSAIC, MOSAIC, *images_NHW.shape[1:]):
        rows, columns, height, width = part.shape
        mosaic = part.swapaxes(1, 2).reshape(rows * height, columns * width)
        restored = filtered(mosaic, factor * spread)
        out.append(np.asarray(restored).reshape(rows, height, columns, width).swapaxes(1, 2))
    return np.concatenate(out).reshape(images_NHW.shape).astype(np.float32)


FILTERS: Mapping[str, tuple[Filter, Mapping[str, Sequence[float]]]] = {
    "median": (median, {"radius": (1, 1.5, 2, 3)}),
    "total variation": (total_variation, {"factor": (0.4, 0.5, 0.6, 0.7, 0.85)}),
    "wavelets": (wavelet, {"factor": (0.7, 0.85, 1.0, 1.2)}),
    "non-local means": (non_local_means, {"factor": (0.3, 0.4, 0.5, 0.6), "size": (5, 7)}),
    "BM3D": (bm3d, {"factor": (0.75, 0.9)}),
}
"""Filters with the parameters that are tuned on the validation split."""
TRIED = "; ".join(
    f"{name} " + ", ".join(f"{key} of {', '.join(map(str, values))}" for key, values in parameters.items())
    for name, (_, parameters) in FILTERS.items()
)
CHOSEN = "chosen "
"""Prefix of a parameter's name among a filter's figures."""


def best_of(name: str, noise: str, validation_NHW: Pixels) -> dict[str, float]:
    """Returns the parameters with the best PSNR on the validation images."""
    filtered, tried = FILTERS[name]
    noisy_NHW = noisy(validation_NHW, noise, seed=0)

    def reached(chosen: dict[str, float]) -> float:
        return psnr(filtered(noisy_NHW, SPREAD[noise], **chosen), validation_NHW).mean()

    return max((dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())), key=reached)


def filter_figures(home: Path, name: str, noise: str, source: Dataset) -> Figures:
    """Tunes a filter on the validation split, and measures it on the test split."""
    chosen = best_of(name, noise, scaled(source, "validation", NUM_TUNED))
    test_NHW = scaled(source, "test", NUM_TEST)
    restored_NHW = FILTERS[name][0](noisy(test_NHW, noise, seed=1), SPREAD[noise], **chosen)
    return kept(home, name, noise, restored_NHW, test_NHW) | {CHOSEN + key: value for key, value in chosen.items()}


# --- the model ------------------------------------------------------------------------------------------------------


def configuration(noise: str = "σ=0.5", **training: object) -> RunConfig:
    """Returns the run for one kind of noise."""
    model = {
        "latent_dim": 64,
        "encoder": {"kind": "conv", "channels": [32, 64], "hidden": 512},
        "likelihood": {"kind": "gaussian", "sigma": "learned", "initial_sigma": 0.1},
    }
    objective = {"beta": 0.1, "corruption": NOISES[noise].model_dump()}
    return run_config(model, objective, **({"epochs": EPOCHS[noise], "ema_decay": 0.995} | training))


def model_figures(home: Path, noise: str, source: Dataset, seed: int) -> Figures:
    """Trains, and measures on the test split."""
    model = train(configuration(noise, seed=seed), source, last=True).model
    test_NHW = scaled(source, "test", NUM_TEST)
    inputs = Inputs(torch.from_numpy(noisy(test_NHW, noise, seed=1))[:, None])
    restored_NHW = denoise(model, inputs, num_samples=NUM_SAMPLES, seed=0).mean[:, 0].numpy()
    return kept(home, VAE_ROW, noise, restored_NHW, test_NHW)


def kept(home: Path, row: str, noise: str, restored_NHW: Pixels, clean_NHW: Pixels) -> Figures:
    """Returns PSNR in dB and its standard error over images; saves the first images for the picture."""
    psnr_N = psnr(restored_NHW, clean_NHW)
    np.save(home / f"{row}, {noise}.npy", restored_NHW[:12])
    return {"psnr": float(psnr_N.mean()), "standard_error": float(psnr_N.std() / np.sqrt(len(psnr_N)))}


# --- the page -------------------------------------------------------------------------------------------------------


def filters_of(noise: str) -> list[str]:
    """Returns the filters to compare: BM3D is made for Gaussian noise, and may not be installed."""
    has_bm3d = importlib.util.find_spec("bm3d") is not None and noise in MARGINS
    return [name for name in FILTERS if name != "BM3D" or has_bm3d]


def jobs(home: Path) -> list[Job]:
    """Returns a job for each model and each filter."""
    source, out = mnist(home), []
    for noise in NOISES:
        out.append(Job(VAE_ROW, noise, 0, partial(model_figures, home, noise, source, 0), 100.0 * EPOCHS[noise]))
        for name in filters_of(noise):
            weight = 20.0 if name == "BM3D" else 5.0
            out.append(Job(name, noise, 0, partial(filter_figures, home, name, noise, source), weight))
    return out


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns PSNR by method and noise, and the parameters of the filters."""
    reached = {(o.row, o.setting): f"{o.figures['psnr']:.2f} ± {o.figures['standard_error']:.2f}" for o in outcomes}
    chosen = {(o.row, o.setting): _chosen(o.figures) for o in outcomes}
    rows = [[name, *(reached.get((name, noise), "left out") for noise in NOISES)] for name in (VAE_ROW, *FILTERS)]
    tuned = [[name, *(chosen.get((name, noise), "") for noise in NOISES)] for name in FILTERS]
    picture = "![Digits, their noise, and what each method makes of it](../../../docs/denoise.png)"
    return f"{grid(('PSNR, dB', *NOISES), rows)}\n\n{grid(('tuned to', *NOISES), tuned)}\n\n{picture}"


def _chosen(figures: Figures) -> str:
    """Returns the tuned parameters of a filter."""
    return ", ".join(f"{k.removeprefix(CHOSEN)} {v:g}" for k, v in figures.items() if k.startswith(CHOSEN))


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims on the model's gain over the best filter."""
    out = []
    for noise, margin in MARGINS.items():
        reached = {o.row: o.figures["psnr"] for o in outcomes if o.setting == noise}
        value = reached.pop(VAE_ROW)
        best = max(reached, key=lambda name: reached[name])
        gain = value - reached[best]
        text = f"{noise}: above the best filter, {best}"
        out.append(Claim(text, f"by at least {margin:.1f} dB", f"{gain:+.2f} dB", gain >= margin))
    return out


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws digits for each Gaussian noise: noisy, by the best filters, by the model, clean."""
    reached = {(o.row, o.setting): o.figures["psnr"] for o in outcomes}
    clean_NHW = scaled(mnist(home), "test", 12)
    shown, columns = ("non-local means", "BM3D", VAE_ROW), 5
    figure = LIGHT.figure(5.6)
    parts = figure.subfigures(2, 1)
    for part, noise in zip(parts, MARGINS, strict=True):
        part.set_facecolor(LIGHT.surface)
        part.suptitle(f"Gaussian noise, {noise}; PSNR over {NUM_TEST} digits", fontsize=9.5, color=LIGHT.ink)
        names = [name for name in shown if (name, noise) in reached]
        rows = {"noisy": noisy(clean_NHW, noise, seed=1)}
        rows |= {f"{n}\n{reached[n, noise]:.1f} dB": np.load(home / f"{n}, {noise}.npy") for n in names}
        rows["clean"] = clean_NHW
        axes = part.subplots(len(rows), columns)
        for line, (name, images) in zip(axes, rows.items(), strict=True):
            for number, one in enumerate(line):
                show(one, images[number], left=name if number == 0 else "")
    return figure
