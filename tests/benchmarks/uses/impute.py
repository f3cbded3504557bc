"""Digits of which half is missing, filled in by a model that never saw a whole one.

Shapes: N images, H height, W width, M imputations; images are [N,28,28] in [0, 1], masks are True where a pixel is there.
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

from pipelines.report.theme import COLOURS, FONT_SIZE, INK, SURFACE, blank
from tests.benchmarks.reproduce.page import grid
from tests.benchmarks.reproduce.work import Claim, Figures, Job, Outcome, train
from tests.benchmarks.uses.work import digits, mnist, run_config, show
from vae.config import MissingCompletelyAtRandom, RunConfig
from vae.data.parquet import Dataset
from vae.inference.imputation import impute, impute_many
from vae.metrics.imputation import interval_coverage
from vae.model import VAE, Inputs
from vae.parts.corruptions import hide

TITLE: str = "Imputing MNIST: half of the pixels, and the lower half, filled in"
LEGEND: str = (
    "Root mean squared error of the hidden pixels of all images, which lie in [0, 1], ± standard error over images; the "
    "same images and the same holes for every row."
)
Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]

MISSING = MissingCompletelyAtRandom(share=0.5)
HALF, LOWER = "half of the pixels", "the lower half"
SETTINGS = (HALF, LOWER)
VAE_ROW, SQUARES = "VAE", "VAE, squares hidden too"
MODELS = (VAE_ROW, SQUARES)
SIDE = 0.5
"""Of the squares."""
TARGETS = ((VAE_ROW, HALF, 0.1), (SQUARES, LOWER, 0.0))
"""By what share the best of the others is to be beaten."""
NUM_TUNED, NUM_TEST, NUM_LEFT = 100, 500, 12
"""Images that the others are tuned on, that all are measured on, and that are left for the picture."""
SHOWN = (0, 2, 4)
NUM_SAMPLES, NUM_IMPUTATIONS, LEVEL, SLACK = 200, 19, 0.9, 0.05
NUM_DONORS = 5_000
"""Incomplete images of the training split among which the nearest are sought."""


def pixels(source: Dataset, split: str, count: int) -> Pixels:
    """The first images of a split."""
    images, _ = digits(source, split, 0, count)
    return images.astype(np.float32) / 255


def there(source: Dataset, setting: str, split: str, count: int) -> Mask:
    """Which pixels of the first images of a split are there: of the training split what training sees."""
    if setting == LOWER:
        return np.broadcast_to(np.arange(28)[:, None] < 14, (count, 28, 28)).copy()
    images, _ = digits(source, split, 0, count)
    return hide(images.reshape(count, -1), MISSING, split=split, first_row=0).reshape(-1, 28, 28)


def errors(setting: str, found_NHW: Pixels, truth_NHW: Pixels, there_NHW: Mask) -> dict[str, float]:
    """Root mean squared error over all hidden pixels, and its standard error, images being independent."""
    square_NHW = np.square(np.clip(found_NHW, 0, 1).astype(np.float64) - truth_NHW) * ~there_NHW
    mse = square_NHW.sum() / np.count_nonzero(~there_NHW)
    off_N = square_NHW.sum((1, 2)) - mse * np.count_nonzero(~there_NHW, axis=(1, 2))
    error = np.sqrt(np.square(off_N).sum()) / np.count_nonzero(~there_NHW)
    return {setting: float(np.sqrt(mse)), f"{setting}, standard error": float(error / (2 * np.sqrt(mse)))}


# --- what knows no model --------------------------------------------------------------------------------------------


def pixel_mean(source: Dataset, x_NHW: Pixels, there_NHW: Mask) -> Pixels:
    """Each pixel's mean over the training images in which it is there."""
    count = source.num_rows("train")
    seen_NHW = there(source, HALF, "train", count)
    mean_HW = np.where(seen_NHW, pixels(source, "train", count), 0).sum(0) / seen_NHW.sum(0)
    return np.where(there_NHW, x_NHW, mean_HW).astype(np.float32)


def around(source: Dataset, x_NHW: Pixels, there_NHW: Mask, radius: float) -> Pixels:
    """The mean of the pixels around that are there, weighed by a Gaussian of so many pixels."""
    near = partial(gaussian_filter, sigma=(0, radius, radius), mode="constant", truncate=12.0)
    weight_NHW = near(there_NHW.astype(np.float64))
    found_NHW = near(np.where(there_NHW, x_NHW, 0).astype(np.float64)) / np.maximum(weight_NHW, 1e-30)
    return np.where(there_NHW, x_NHW, found_NHW).astype(np.float32)


def biharmonic(source: Dataset, x_NHW: Pixels, there_NHW: Mask) -> Pixels:
    """The smoothest surface through the pixels that are there (Damelin & Hoang 2018)."""
    from skimage.restoration import inpaint_biharmonic

    filled = [inpaint_biharmonic(x, ~known) for x, known in zip(x_NHW * there_NHW, there_NHW, strict=True)]
    return np.stack(filled).astype(np.float32)


def neighbours(source: Dataset, x_NHW: Pixels, there_NHW: Mask, k: float) -> Pixels:
    """The mean of the k incomplete training images that are nearest in what both have, nearer ones counting more."""
    from sklearn.impute import KNNImputer

    known_NHW = there(source, HALF, "train", NUM_DONORS)
    donors_ND = np.where(known_NHW, pixels(source, "train", NUM_DONORS), np.nan).reshape(NUM_DONORS, -1)
    imputer = KNNImputer(n_neighbors=int(k), weights="distance", keep_empty_features=True).fit(donors_ND)
    found_ND = imputer.transform(np.where(there_NHW, x_NHW, np.nan).reshape(len(x_NHW), -1))
    return np.asarray(found_ND, np.float32).reshape(x_NHW.shape)


OTHERS: Mapping[str, tuple[Callable[..., Pixels], Mapping[str, Sequence[float]]]] = {
    "pixel's mean": (pixel_mean, {}),
    "pixels around": (around, {"radius": (0.5, 0.7, 1.0, 2.0, 4.0)}),
    "biharmonic": (biharmonic, {}),
    "nearest images": (neighbours, {"k": (5, 15, 40)}),
}
"""Each with the one parameter that is tuned, if any."""


def measure_other(name: str, source: Dataset) -> Figures:
    """Tunes a method on the validation split, and measures it on the test split."""
    method, tried = OTHERS[name]
    figures: dict[str, float] = {}
    for setting in SETTINGS:
        chosen: dict[str, float] = {}
        for key, values in tried.items():
            x_NHW, there_NHW = pixels(source, "validation", NUM_TUNED), there(source, setting, "validation", NUM_TUNED)
            filled = [method(source, x_NHW, there_NHW, value) for value in values]
            reached = [errors(setting, found, x_NHW, there_NHW)[setting] for found in filled]
            chosen[key] = values[int(np.argmin(reached))]
        x_NHW, there_NHW = pixels(source, "test", NUM_TEST), there(source, setting, "test", NUM_TEST)
        figures |= errors(setting, method(source, x_NHW, there_NHW, **chosen), x_NHW, there_NHW)
        figures |= {f"{setting}, tuned {key}": value for key, value in chosen.items()}
    return figures


# --- the model ------------------------------------------------------------------------------------------------------


def configuration(row: str, **changes: object) -> RunConfig:
    """The run of a model: half of every training image is hidden, the same half in every epoch."""
    model = {
        "latent_dim": 32,
        "encoder": {"kind": "conv", "channels": [16, 32], "hidden": 256},
        "likelihood": {"kind": "gaussian", "sigma": "learned", "initial_sigma": 0.2},
    }
    objective = {"corruption": {"kind": "block_mask", "side": SIDE}} if row == SQUARES else {}
    fixed = {"epochs": 8, "batch_size": 128, "learning_rate": 2e-3, "learning_rate_schedule": "cosine"}
    config = run_config(model, objective, **(fixed | changes))
    return config.model_copy(update={"data": config.data.model_copy(update={"missing": MISSING})})


def measure(home: Path, source: Dataset, row: str, split: str = "test") -> Figures:
    """Trains on incomplete images, and fills in those of a split."""
    model = train(configuration(row), source, last=True).model
    return compare(home, row, model, source, split)


def compare(home: Path, row: str, model: VAE, source: Dataset, split: str) -> Figures:
    """Error of the conditional mean, and how often the truth lies within the multiple imputations."""
    x_NHW = pixels(source, split, NUM_TEST)
    truth_ND = x_NHW.reshape(len(x_NHW), -1).astype(np.float64)
    figures, kept = {}, {}
    for setting in SETTINGS:
        there_NHW = there(source, setting, split, NUM_TEST)
        given = torch.from_numpy(np.where(there_NHW, x_NHW, 0))[:, None]
        inputs = Inputs(given, torch.from_numpy(there_NHW)[:, None])
        mean, std, _ = impute(model, inputs, num_samples=NUM_SAMPLES, seed=0)
        many = impute_many(model, inputs, NUM_IMPUTATIONS, num_samples=NUM_SAMPLES, seed=0).values
        figures |= errors(setting, mean[:, 0].numpy(), x_NHW, there_NHW)
        many_MND = many.transpose(0, 1).flatten(2).double().numpy()
        hidden_ND = ~there_NHW.reshape(truth_ND.shape)
        for words, mask_ND in (("covered", hidden_ND), ("covered ink", hidden_ND & (truth_ND > 0))):
            found = interval_coverage(truth_ND, many_MND, mask_ND, level=LEVEL)
            figures[f"{setting}, {words}"] = found.coverage
        images = {"mean": mean[:, 0], "sigma": std[:, 0], "many": many[:, :, 0]}
        kept |= {f"{setting} {name}": values[:NUM_LEFT].numpy() for name, values in images.items()}
    np.savez(home / f"{row}.npz", allow_pickle=False, **kept)
    return figures


# --- the page -------------------------------------------------------------------------------------------------------


def jobs(home: Path) -> list[Job]:
    """What is trained and measured."""
    source = mnist(home)
    models = [Job(row, "MNIST", 0, partial(measure, home, source, row), 100.0) for row in MODELS]
    return [*models, *(Job(name, "MNIST", 0, partial(measure_other, name, source)) for name in OTHERS)]


def protocol() -> tuple[str, ...]:
    """What was done."""
    config = configuration(VAE_ROW)
    model, training = config.model, config.training
    return (
        f"MNIST, of whose pixels {MISSING.share:.0%} are hidden completely at random, in training as well: nothing here "
        "has seen a whole training image, and an image has the same holes in every epoch.",
        f"The model: {model.encoder.model_dump()}, {model.latent_dim} latents, Gaussian likelihood with one learned σ, "
        f"β=1, the ELBO of what is observed; batches of {training.batch_size}, {training.epochs} epochs of 50,000 images "
        f"at {training.learning_rate:g} falling by a cosine, the last weights. {SQUARES}: a square with a side of "
        f"{SIDE:.0%} of the image's is black to the encoder as well, elsewhere in every batch.",
        f"The first {NUM_TEST} test images, twice: {HALF} hidden at random, as in training, and {LOWER}, which no training "
        f"image was without. The conditional mean is of {NUM_SAMPLES} importance samples.",
        f"Covered: how many of the hidden pixels lie within the central {LEVEL:.0%} interval of {NUM_IMPUTATIONS} multiple "
        "imputations, of all hidden pixels and of those with ink (above 0).",
        "The others. Pixel's mean: over the training images in which it is there. Pixels around: a Gaussian mean of those "
        "that are there. Biharmonic: scikit-image's inpainting by the smoothest surface. Nearest images: scikit-learn's "
        f"KNNImputer among {NUM_DONORS:,} incomplete training images, by distance. Tuned on {NUM_TUNED} validation images: "
        + "; ".join(
            f"{n}, {k} of {', '.join(map(str, v))}" for n, (_, tried) in OTHERS.items() for k, v in tried.items()
        )
        + ".",
    )


SHORTFALLS: tuple[str, ...] = (
    "An encoder that learned from scattered holes takes a lower half that is missing for a black one: missing pixels reach "
    "it as 0, and the model draws a digit that ends there. Squares that are hidden from the encoder in training teach it "
    "that black may be absence, at a cost where the holes are scattered; the mean of the nearest images is still closer.",
    "The draws for one lower half hardly differ from each other, where several digits would do, and the intervals are too "
    "narrow where there is ink: the model is surer than it should be.",
    "One seed: what follows ± is the standard error over images alone.",
    "Body and length were set by the time there was, three minutes of a shared core each. On validation images, after six "
    "epochs, one layer of 512 units came to 0.126, one of 1,024 at β=0.5 to 0.125, a σ for every pixel to 0.185.",
)


def render(outcomes: Sequence[Outcome]) -> str:
    """A row for each method."""
    found = {o.row: o.figures for o in outcomes}
    first = [
        [
            name,
            *(f"{found[name][s]:.4f} ± {found[name][f'{s}, standard error']:.4f}" for s in SETTINGS),
            _chosen(found[name]),
        ]
        for name in (*MODELS, *OTHERS)
    ]
    second = [
        [name, *(f"{100 * found[name][f'{s}, {what}']:.1f} %" for s in SETTINGS for what in ("covered", "covered ink"))]
        for name in MODELS
    ]
    header = (f"{LEVEL:.0%} intervals", *(words for s in SETTINGS for words in (f"{s}: covered", "of ink")))
    picture = "![What is given, what is made of it, and the truth](../../../docs/impute.png)"
    return f"{grid(('RMSE', *SETTINGS, 'tuned to'), first)}\n\n{grid(header, second)}\n\n{picture}"


def _chosen(figures: Figures) -> str:
    """What a method was tuned to in each setting."""
    words = {key: [figures.get(f"{s}, tuned {key}") for s in SETTINGS] for key in ("radius", "k")}
    return "; ".join(f"{key} {', '.join(f'{v:g}' for v in values if v)}" for key, values in words.items() if values[0])


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Better than the best of the others, on holes as in training and on others."""
    found = {o.row: o.figures for o in outcomes}
    out = []
    for row, setting, gain in TARGETS:
        best = min(OTHERS, key=lambda name: found[name][setting])
        less = 1 - found[row][setting] / found[best][setting]
        text = f"{setting}: error of “{row}” below that of the best other, {best}"
        out.append(Claim(text, f"by at least {100 * gain:.0f} %", f"{100 * less:+.1f} %", less >= gain))
    reached = found[VAE_ROW][f"{HALF}, covered"]
    text = f"{HALF}: hidden pixels within the {LEVEL:.0%} interval of “{VAE_ROW}”"
    within = abs(reached - LEVEL) <= SLACK
    return [*out, Claim(text, f"{LEVEL:.0%} ± {100 * SLACK:.0f} points", f"{100 * reached:.1f} %", within)]


def draw(home: Path, outcomes: Sequence[Outcome]) -> Figure:
    """For either kind of hole: what is given, mean, σ, imputations, truth."""
    found = {o.row: o.figures for o in outcomes}
    source = mnist(home)
    truth_NHW = pixels(source, "test", NUM_LEFT)
    shown = ((VAE_ROW, HALF), (VAE_ROW, LOWER), (SQUARES, LOWER))
    figure = blank(5.6)
    colour = np.array(to_rgb(COLOURS[0]), np.float32)
    for part, (row, setting) in zip(np.ravel(figure.subfigures(len(shown), 1)), shown, strict=True):
        part.set_facecolor(SURFACE)
        words = f"{setting} missing; {row}, RMSE {found[row][setting]:.3f}"
        part.suptitle(words, fontsize=FONT_SIZE, color=INK)
        there_NHW = there(source, setting, "test", NUM_LEFT)
        axes = part.subplots(len(SHOWN), 8)
        with np.load(home / f"{row}.npz") as kept:
            mean, sigma, many = (kept[f"{setting} {name}"] for name in ("mean", "sigma", "many"))
        for line, number in zip(axes, SHOWN, strict=True):
            given = np.where(there_NHW[number, ..., None], truth_NHW[number, ..., None], colour)
            images = [given, mean[number], 2 * sigma[number], *many[number, :4], truth_NHW[number]]
            titles = ("given", "mean", "2 σ", "draws", "", "", "", "truth")
            for one, image, title in zip(line, images, titles, strict=True):
                show(one, image.clip(0, 1), title if number == SHOWN[0] else "")
    return figure
