"""Imputation of digits with half of their pixels missing, by a model that never saw a whole one.

Shapes: N images, H height, W width, M imputations; images are [N,28,28] in [0, 1]; masks are True for observed pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipelines.report.theme import COLOURS, FONT_SIZE, LIGHT
from tests.benchmarks.page import Claim, grid
from tests.benchmarks.uses.work import digits, mnist, run_config, scaled, show
from tests.benchmarks.work import Figures, Job, Outcome, train
from vae.config import RunConfig
from vae.data.missing import MissingCompletelyAtRandom, hide
from vae.data.parquet import Dataset
from vae.inference.repair import impute, impute_many
from vae.metrics.imputation import interval_coverage
from vae.parts.terms import Inputs

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]

MISSING = MissingCompletelyAtRandom(share=0.5)
HALF, LOWER = "half of the pixels", "the lower half"
SETTINGS = (HALF, LOWER)
VAE_ROW, SQUARES = "VAE", "VAE, squares hidden too"
MODELS = (VAE_ROW, SQUARES)
SIDE = 0.5
"""Side of the squares as a share of the image's side."""
TARGETS = ((VAE_ROW, HALF, 0.1), (SQUARES, LOWER, 0.0))
"""Model, setting, and the least share by which its error lies below that of the best other method."""
NUM_TUNED, NUM_TEST, NUM_LEFT = 100, 500, 12
"""Images that tune the other methods, that measure all methods, and that are saved for the picture."""
SHOWN = (0, 2, 4)
NUM_SAMPLES, NUM_IMPUTATIONS, LEVEL, SLACK = 200, 19, 0.9, 0.05
NUM_DONORS = 5_000
"""Incomplete training images among which the nearest are searched."""


def observed(source: Dataset, setting: str, split: str, count: int) -> Mask:
    """Returns which pixels of the first images of a split are observed; in the training split those that training sees."""
    if setting == LOWER:
        return np.broadcast_to(np.arange(28)[:, None] < 14, (count, 28, 28)).copy()
    images, _ = digits(source, split, 0, count)
    return hide(images.reshape(count, -1), MISSING, split=split, first_row=0).reshape(-1, 28, 28)


def errors(setting: str, filled_NHW: Pixels, truth_NHW: Pixels, seen_NHW: Mask) -> dict[str, float]:
    """Returns the root mean squared error over all hidden pixels, and its standard error, images being independent."""
    square_NHW = np.square(np.clip(filled_NHW, 0, 1).astype(np.float64) - truth_NHW) * ~seen_NHW
    mse = square_NHW.sum() / np.count_nonzero(~seen_NHW)
    off_N = square_NHW.sum((1, 2)) - mse * np.count_nonzero(~seen_NHW, axis=(1, 2))
    error = np.sqrt(np.square(off_N).sum()) / np.count_nonzero(~seen_NHW)
    return {setting: float(np.sqrt(mse)), f"{setting}, standard error": float(error / (2 * np.sqrt(mse)))}


# --- other methods ---------------------------------------------------------------------------------------------------


def pixel_mean(source: Dataset, x_NHW: Pixels, seen_NHW: Mask) -> Pixels:
    """Fills in each pixel's mean over the training images that have it."""
    count = source.num_rows("train")
    train_NHW = observed(source, HALF, "train", count)
    mean_HW = np.where(train_NHW, scaled(source, "train", count), 0).sum(0) / train_NHW.sum(0)
    return np.where(seen_NHW, x_NHW, mean_HW).astype(np.float32)


def around(source: Dataset, x_NHW: Pixels, seen_NHW: Mask, radius: float) -> Pixels:
    """Fills in the mean of the observed pixels around, weighed by a Gaussian of a radius in pixels."""
    near = partial(gaussian_filter, sigma=(0, radius, radius), mode="constant", truncate=12.0)
    weight_NHW = near(seen_NHW.astype(np.float64))
    found_NHW = near(np.where(seen_NHW, x_NHW, 0).astype(np.float64)) / np.maximum(weight_NHW, 1e-30)
    return np.where(seen_NHW, x_NHW, found_NHW).astype(np.float32)


def biharmonic(source: Dataset, x_NHW: Pixels, seen_NHW: Mask) -> Pixels:
    """Fills in the smoothest surface through the observed pixels (Damelin & Hoang 2018)."""
    from skimage.restoration import inpaint_biharmonic

    filled = [inpaint_biharmonic(x, ~known) for x, known in zip(x_NHW * seen_NHW, seen_NHW, strict=True)]
    return np.stack(filled).astype(np.float32)


def neighbours(source: Dataset, x_NHW: Pixels, seen_NHW: Mask, k: float) -> Pixels:
    """Fills in the mean of the k incomplete training images nearest in shared pixels, weighed by distance."""
    from sklearn.impute import KNNImputer

    known_NHW = observed(source, HALF, "train", NUM_DONORS)
    donors_ND = np.where(known_NHW, scaled(source, "train", NUM_DONORS), np.nan).reshape(NUM_DONORS, -1)
    imputer = KNNImputer(n_neighbors=int(k), weights="distance", keep_empty_features=True).fit(donors_ND)
    found_ND = imputer.transform(np.where(seen_NHW, x_NHW, np.nan).reshape(len(x_NHW), -1))
    return np.asarray(found_ND, np.float32).reshape(x_NHW.shape)


OTHERS: Mapping[str, tuple[Callable[..., Pixels], Mapping[str, Sequence[float]]]] = {
    "pixel's mean": (pixel_mean, {}),
    "pixels around": (around, {"radius": (0.5, 0.7, 1.0, 2.0, 4.0)}),
    "biharmonic": (biharmonic, {}),
    "nearest images": (neighbours, {"k": (5, 15, 40)}),
}
"""Methods, each with the parameter that is tuned."""


TRIED = "; ".join(
    f"{name}, {key} of {', '.join(map(str, values))}"
    for name, (_, parameters) in OTHERS.items()
    for key, values in parameters.items()
)


def measure_other(name: str, source: Dataset) -> Figures:
    """Tunes a method on the validation split, and measures it on the test split."""
    method, tried = OTHERS[name]
    figures: dict[str, float] = {}

    def reached(setting: str, split: str, count: int, **chosen: float) -> dict[str, float]:
        x_NHW, seen_NHW = scaled(source, split, count), observed(source, setting, split, count)
        return errors(setting, method(source, x_NHW, seen_NHW, **chosen), x_NHW, seen_NHW)

    for setting in SETTINGS:
        chosen: dict[str, float] = {}
        for key, values in tried.items():
            tuned = [reached(setting, "validation", NUM_TUNED, **{key: value})[setting] for value in values]
            chosen[key] = values[int(np.argmin(tuned))]
        figures |= reached(setting, "test", NUM_TEST, **chosen)
        figures |= {f"{setting}, tuned {key}": value for key, value in chosen.items()}
    return figures


# --- the model ------------------------------------------------------------------------------------------------------


def configuration(row: str = VAE_ROW, **training: object) -> RunConfig:
    """Returns the run of a model: half of every training image is hidden, the same half in every epoch."""
    model = {
        "latent_dim": 32,
        "encoder": {"kind": "conv", "channels": [16, 32], "hidden": 256},
        "likelihood": {"kind": "gaussian", "sigma": "learned", "initial_sigma": 0.2},
    }
    objective = {"corruption": {"kind": "block_mask", "side": SIDE}} if row == SQUARES else {}
    config = run_config(model, objective, **({"epochs": 8} | training))
    return config.model_copy(update={"data": config.data.model_copy(update={"missing": MISSING})})


def measure(home: Path, source: Dataset, row: str) -> Figures:
    """Trains on incomplete images; returns errors of the conditional mean and coverage of multiple imputations."""
    model = train(configuration(row), source, last=True).model
    x_NHW = scaled(source, "test", NUM_TEST)
    truth_ND = x_NHW.reshape(len(x_NHW), -1).astype(np.float64)
    figures, kept = {}, {}
    for setting in SETTINGS:
        seen_NHW = observed(source, setting, "test", NUM_TEST)
        given = torch.from_numpy(np.where(seen_NHW, x_NHW, 0))[:, None]
        inputs = Inputs(given, torch.from_numpy(seen_NHW)[:, None])
        mean, std, _ = impute(model, inputs, num_samples=NUM_SAMPLES, seed=0)
        many = impute_many(model, inputs, NUM_IMPUTATIONS, num_samples=NUM_SAMPLES, seed=0).values
        figures |= errors(setting, mean[:, 0].numpy(), x_NHW, seen_NHW)
        many_MND = many.transpose(0, 1).flatten(2).double().numpy()
        hidden_ND = ~seen_NHW.reshape(truth_ND.shape)
        for words, mask_ND in (("covered", hidden_ND), ("covered ink", hidden_ND & (truth_ND > 0))):
            figures[f"{setting}, {words}"] = interval_coverage(truth_ND, many_MND, mask_ND, level=LEVEL).coverage
        images = {"mean": mean[:, 0], "sigma": std[:, 0], "many": many[:, :, 0]}
        kept |= {f"{setting} {name}": values[:NUM_LEFT].numpy() for name, values in images.items()}
    np.savez(home / f"{row}.npz", allow_pickle=False, **kept)
    return figures


# --- the page -------------------------------------------------------------------------------------------------------


def jobs(home: Path) -> list[Job]:
    """Returns a job for each model and each other method."""
    source = mnist(home)
    models = [Job(row, "MNIST", 0, partial(measure, home, source, row), 100.0) for row in MODELS]
    return [*models, *(Job(name, "MNIST", 0, partial(measure_other, name, source)) for name in OTHERS)]


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns the errors of each method, and the coverage of the models."""
    figures = {o.row: o.figures for o in outcomes}
    first = []
    for name in (*MODELS, *OTHERS):
        cells = [f"{figures[name][s]:.4f} ± {figures[name][f'{s}, standard error']:.4f}" for s in SETTINGS]
        first.append([name, *cells, _chosen(figures[name])])
    columns = [f"{setting}, {what}" for setting in SETTINGS for what in ("covered", "covered ink")]
    second = [[name, *(f"{100 * figures[name][column]:.1f} %" for column in columns)] for name in MODELS]
    header = (f"{LEVEL:.0%} intervals", *(words for s in SETTINGS for words in (f"{s}: covered", "of ink")))
    picture = "![What is given, what is made of it, and the truth](../../../docs/impute.png)"
    return f"{grid(('RMSE', *SETTINGS, 'tuned to'), first)}\n\n{grid(header, second)}\n\n{picture}"


def _chosen(figures: Figures) -> str:
    """Returns the tuned parameter of a method in each setting."""
    words = {key: [figures.get(f"{s}, tuned {key}") for s in SETTINGS] for key in ("radius", "k")}
    return "; ".join(f"{key} {', '.join(f'{v:g}' for v in values if v)}" for key, values in words.items() if values[0])


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Returns the claims on the models against the best other method, and on the coverage of intervals."""
    figures = {o.row: o.figures for o in outcomes}
    out = []
    for row, setting, gain in TARGETS:
        best = min(OTHERS, key=lambda name: figures[name][setting])
        less = 1 - figures[row][setting] / figures[best][setting]
        text = f"{setting}: error of “{row}” below that of the best other, {best}"
        out.append(Claim(text, f"by at least {100 * gain:.0f} %", f"{100 * less:+.1f} %", less >= gain))
    reached = figures[VAE_ROW][f"{HALF}, covered"]
    text = f"{HALF}: hidden pixels within the {LEVEL:.0%} interval of “{VAE_ROW}”"
    within = abs(reached - LEVEL) <= SLACK
    return [*out, Claim(text, f"{LEVEL:.0%} ± {100 * SLACK:.0f} points", f"{100 * reached:.1f} %", within)]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """Draws for either kind of hole the given pixels, mean, σ, imputations and truth."""
    figures = {o.row: o.figures for o in outcomes}
    source = mnist(home)
    truth_NHW = scaled(source, "test", NUM_LEFT)
    shown = ((VAE_ROW, HALF), (VAE_ROW, LOWER), (SQUARES, LOWER))
    figure = LIGHT.figure(5.6)
    colour = np.array(to_rgb(COLOURS[0]), np.float32)
    for part, (row, setting) in zip(np.ravel(figure.subfigures(len(shown), 1)), shown, strict=True):
        part.set_facecolor(LIGHT.surface)
        words = f"{setting} missing; {row}, RMSE {figures[row][setting]:.3f}"
        part.suptitle(words, fontsize=FONT_SIZE, color=LIGHT.ink)
        seen_NHW = observed(source, setting, "test", NUM_LEFT)
        axes = part.subplots(len(SHOWN), 8)
        with np.load(home / f"{row}.npz") as kept:
            mean, sigma, many = (kept[f"{setting} {name}"] for name in ("mean", "sigma", "many"))
        for line, number in zip(axes, SHOWN, strict=True):
            given = np.where(seen_NHW[number, ..., None], truth_NHW[number, ..., None], colour)
            images = [given, mean[number], 2 * sigma[number], *many[number, :4], truth_NHW[number]]
            titles = ("given", "mean", "2 σ", "draws", "", "", "", "truth")
            for one, image, title in zip(line, images, titles, strict=True):
                show(one, image.clip(0, 1), title if number == SHOWN[0] else "")
    return figure
