"""The page of a report, for models trained for a moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.report import write
from pipelines.report.formats import nats, size
from pipelines.report.pictures import plan_samples, samples
from pipelines.report.theme import LIGHT
from tests.pipelines.report.conftest import BRIEF, HOSTILE, TABLE_PARTS, Make, Page, epochs, image, search
from vae.training.verdict import Finding

OF_SEARCH = {"frontier.png", "parallel.png", "importance.png"}
OF_IMAGES = {"reconstructions.png", "samples.png", "interpolations.png"}
FIGURES = {"traversals.png", "curves.png", "kl.png", "latent.png", *OF_IMAGES, *OF_SEARCH}


def slow(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that draws whole pages for seconds: CI runs it, `make test` does not."""
    return pytest.mark.slow(pytest.mark.ci(test))


# --- the full page --------------------------------------------------------------------------------------------------


def test_write_returns_the_page_and_every_figure(written: dict[str, Path]) -> None:
    """All files exist by name; figures are as wide as planned and show something."""
    assert written.keys() == {"report.html", *FIGURES}
    for name in FIGURES:
        picture = image(written[name])
        assert picture.width >= 924, name
        assert 150 < picture.height < 1200, name
        assert len(picture.getcolors(1 << 24) or []) > 10, name
    for name in ("curves.png", "kl.png", "latent.png", "frontier.png"):
        assert image(written[name]).size == (924, 836), name


def test_page_loads_nothing_from_elsewhere(written: dict[str, Path]) -> None:
    """Every reference is a data URI, there is no script, and a policy forbids both."""
    page = Page(written["report.html"])
    loading = ("src", "srcset", "href", "data", "action", "poster", "background")
    references = [value for _, attributes in page.elements for key, value in attributes.items() if key in loading]
    assert len(references) == 2 * len(FIGURES)
    assert all(value and value.startswith("data:image/webp;base64,") for value in references)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert "@import" not in page.text
    assert "url(" not in page.text
    assert page.all("meta")[1]["content"].startswith("default-src 'none'; img-src data:")  # pyright: ignore


def test_page_is_for_light_and_dark_and_describes_every_picture(written: dict[str, Path]) -> None:
    """Each figure comes in two themes with an alternative text; ids are unique, and there is one heading of level one."""
    page = Page(written["report.html"])
    light, dark = page.all("img"), page.all("source")
    assert {source["media"] for source in dark} == {"(prefers-color-scheme: dark)"}
    assert all(picture["alt"] for picture in light)
    assert all(one["src"] != other["srcset"] for one, other in zip(light, dark, strict=True))
    assert len(page.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a} <= set(ids)


def test_page_states_scores_lineage_configuration_and_trials(make: Make, written: dict[str, Path]) -> None:
    """The numbers on the page are those of the evidence, with unit and protocol; one trial is marked as chosen."""
    evidence, page = make(), Page(written["report.html"])
    assert evidence.nll
    assert evidence.bound
    for expected in (
        f"{evidence.nll.nats:.2f} ± {nats(evidence.nll.standard_error)} nats per example",
        "importance sampling, 2 draws from the posterior of ",
        f"{evidence.bound.negative_elbo:.2f} nats per example",
        evidence.dataset.dataset_id,
        "<b>digits</b>.gz 1.2 MB",
        "Grey images of 8 × 8 pixels, ingested 2026-01-02 03:04 UTC",
        "3 examples of the source were refused",
        "MLP 8, relu",
        "distortion + rate (the ELBO)",
        "1 min 15 s",
        "best epoch",
        "mlp 8 1 25.00 5.00 20.00 2 10 finished chosen front",
        "<i>out | of memory</i>",
        "The chosen β = 1 is the lowest that was tried",
    ):
        assert expected in page.text, expected
    assert [row for row in page.all("tr") if row.get("class") == "chosen"] == [{"class": "chosen"}]


@slow
def test_same_evidence_gives_the_same_page(make: Make, written: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is drawn at random and no clock is read."""
    again = write(make(), tmp_path)
    assert all(again[name].read_bytes() == written[name].read_bytes() for name in written)


@slow
def test_hostile_names_are_shown_and_never_interpreted(make: Make, tmp_path: Path) -> None:
    """Markup, mathematics, missing glyphs and template code in names from the data are shown as text."""
    evidence = make("class", HOSTILE, name="<script>x</script>", failure="\x1b[31m<img src=x>\x1b[0m \udc80 broken")
    files = write(evidence, tmp_path)
    page = Page(files["report.html"])
    assert page.all("script") == page.all("b") == page.all("i") == []
    assert len(page.all("img")) == len(FIGURES)
    for name in (*HOSTILE, "<img src=x>", "<script>x</script>", "</pre><script>alert(2)</script>"):
        assert " ".join(name.split()) in page.text
    assert "\x1b" not in page.text
    assert files.keys() > FIGURES


# --- pages of every kind of run -------------------------------------------------------------------------------------


CODES = {
    "posterior": {"kind": "vector_quantized", "code_dim": 1},
    "prior": {"kind": "autoregressive_codes", "hidden": 4},
}
NO_KL = {"posterior": {"kind": "student_t"}, "prior": {"kind": "gaussian_mixture"}}
UNTRAINED: dict[str, Any] = {**BRIEF, "model": None}
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py"\nDiverged: the loss became nan in epoch 4'
FINDING = Finding("collapsed", 0.01, "every latent dimension has collapsed: 0.01 nats.", "--set objective.beta=0.5")
DENOISED = {"denoise_psnr_db": 24.5, "denoise_psnr_db.noisy": 20.0, "denoise_psnr_db.median": 22.0}
SHORT: dict[str, Any] = {"history": (), "trials": ()}
FROM_MODEL = FIGURES - OF_SEARCH - {"curves.png"}
CASES: dict[str, tuple[dict[str, Any], set[str], list[str], list[str]]] = {
    "without classes": ({"classes": None, **BRIEF}, {*OF_IMAGES, "latent.png"}, [], ["class "]),
    "several conditions": (
        {"condition": ("class", "size", "colour"), **BRIEF},
        {*OF_IMAGES, "latent.png"},
        ["a row for each of 10 conditions", "The model is given the condition of each row.", "the class, size and colour"],
        [],
    ),
    "table": (
        {"shape": (2,), "parts": TABLE_PARTS, "data": {"missing": {"kind": "mcar", "share": 0.2}}},
        {"marginals.png", "associations.png", *FIGURES} - OF_IMAGES,
        ["size numbers 20 %", "colour 2 categories 0 %", "<i>blue</i> (", "density of standardised numbers",
         "Imputation error by column: this model was trained on complete examples",
         "20 % of entries hidden completely at random"],
        ["Samples from the prior"],
    ),
    "failed": (
        {**UNTRAINED, "stage": "training", "history": epochs(3), "failure": TRACEBACK, "version": None},
        {"curves.png"},
        ["Failed after 3 of 5 epochs: Diverged: the loss became nan in epoch 4", "Traceback (most recent call last)",
         "Reconstructions: there is no trained model.", "Scores: nothing was measured on the test split."],
        [],
    ),
    "failed at once": (
        {**UNTRAINED, "stages": (), "trials": search(0), "failure": "", "rows": None},
        set(),
        ["Failed: no reason was given", "none of the 1 trials came to a result"],
        [],
    ),
    "finding": (
        {**BRIEF, "findings": [FINDING]},
        {*OF_IMAGES, "latent.png"},
        ["collapsed: every latent dimension has collapsed: 0.01 nats. Try: --set objective.beta=0.5"],
        [],
    ),
    "uses": (
        {**BRIEF, "metrics": DENOISED},
        {*OF_IMAGES, "latent.png"},
        ["Denoising, PSNR 24.50 dB higher the noisy images: 20.00; 3×3 median filter: 22.00 model is better"],
        [],
    ),
    "search": (
        {"stage": "search", "split": "validation", "rule": "rate <= 4", "nll": None},
        FIGURES,
        ["Report of a search", "The chosen one of 7 trials has a validation bound of 25.00 nats per example.",
         "The trial is chosen by the rule rate <= 4 .", "Scores on the validation split"],
        ["test split"],
    ),
    "wide": ({"shape": (3, 40, 60), "latent_dim": 1, **SHORT}, FROM_MODEL, [], []),
    "large": ({"shape": (3, 64, 64), "latent_dim": 2, **SHORT}, FROM_MODEL, [], []),
    "many": ({"shape": (2, 5, 5), "latent_dim": 40, **SHORT}, FROM_MODEL, [], []),
    "codes": (
        {"parts": CODES, **SHORT},
        FROM_MODEL - {"traversals.png", "interpolations.png"},
        ["Negative log-likelihood, at most", "rate of each example's codes", "−log p(codes)", "nearest of 64 codes"],
        [],
    ),
    "no closed form": (
        {"parts": NO_KL, **SHORT},
        FROM_MODEL,
        ["log q(z|x) − log p(z) of the draw", "mixture of 10 Gaussians", "Variance of the posterior mean"],
        [],
    ),
    "levels": (
        {"parts": {"likelihood": {"kind": "categorical"}, "beta_gates": False}, **SHORT},
        FROM_MODEL,
        ["probability of 16 levels of each pixel", "bits per pixel value", "KL to the prior"],
        [],
    ),
}  # fmt: skip
SLOW = ("wide", "large", "many", "codes", "no closed form", "levels")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow, pytest.mark.ci] if case in SLOW else []) for case in CASES]
)
def test_page_has_the_figures_and_words_of_its_run(make: Make, tmp_path: Path, case: str) -> None:
    """Every kind of run has its figures, its own words, and none of another kind's."""
    changes, figures, expected, absent = CASES[case]
    files = write(make(**changes), tmp_path)
    assert files.keys() == {"report.html", *figures}
    assert all(image(file).height < 1200 for name, file in files.items() if name != "report.html")
    page = Page(files["report.html"])
    text = " ".join([page.text, *(str(picture["alt"]) for picture in page.all("img"))])
    assert [words for words in expected if words not in text] == []
    assert [words for words in absent if words in text] == []
    if case == "search":
        order = [str(figure["id"]) for figure in page.all("figure")]
        assert order[:4] == ["frontier", "parallel", "importance", "reconstructions"]


def test_summary_of_a_column_is_that_of_its_rows(make: Make, tmp_path: Path) -> None:
    """Mean and standard deviation are those of the observed values."""
    evidence = make(shape=(2,), parts=TABLE_PARTS, **BRIEF)
    assert evidence.rows is not None
    observed = evidence.rows.values[6:, 0].double()
    text = Page(write(evidence, tmp_path)["report.html"]).text
    assert f"size numbers 20 % {observed.mean():.4g} ± {observed.std(correction=0):.4g}" in text


def test_conditional_samples_have_a_row_for_each_class(make: Make) -> None:
    """The grid has a row for each class, and twice the classes make a grid of twice the height."""
    heights = {}
    for count in (2, 4):
        evidence = make("class", tuple("abcdefgh"[:count]), **BRIEF)
        assert evidence.model is not None
        assert len(samples(evidence, evidence.model).images) == count
        plan = plan_samples(evidence)
        assert f"a row for each of {count} classes" in plan.alt
        heights[count] = plan.draw(LIGHT).get_figheight() - 0.1
    assert heights[4] == pytest.approx(2 * heights[2])


def test_figure_that_cannot_be_drawn_costs_a_failed_run_that_figure_alone(make: Make, tmp_path: Path) -> None:
    """The page of a failed run says which figure and why; the page of a finished run is not written without it."""
    whole = make(**BRIEF)
    assert whole.rows is not None
    torn = dataclasses.replace(whole, rows=dataclasses.replace(whole.rows, labels=whole.rows.labels + 100))
    with pytest.raises(IndexError):
        write(torn, tmp_path / "whole")
    page = Page(write(dataclasses.replace(torn, failure="Diverged: nan"), tmp_path / "failed")["report.html"])
    assert "Reconstructions: it could not be drawn: IndexError" in page.text
    assert "samples" in {attributes["id"] for attributes in page.all("figure")}


def test_weights_that_are_not_numbers_are_not_drawn(make: Make, tmp_path: Path) -> None:
    """The pictures of a diverged model are left out with the reason; a history with NaN is still drawn."""
    evidence = make(history=[*epochs(3), {**epochs(4)[-1], "validation_distortion": float("nan")}], trials=())
    assert evidence.model is not None
    with torch.no_grad():
        next(evidence.model.parameters()).fill_(float("nan"))
    files = write(evidence, tmp_path)
    assert files.keys() == {"report.html", "curves.png", "kl.png"}
    assert "Samples from the prior: the model's weights are not finite numbers." in Page(files["report.html"]).text


def test_sizes_are_in_a_unit_that_suits_them() -> None:
    """Bytes have no decimals; everything beyond terabytes stays in terabytes."""
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_234_567: "1.2 MB", 5 * 10**9: "5.0 GB", 10**16: "10000.0 TB"}
    assert {number: size(number) for number in sizes} == sizes
