"""The page: what it shows of a run, from a model trained for a moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.report import write
from pipelines.report.wording import nats
from tests.pipelines.report.conftest import BRIEF, HOSTILE, TABLE_PARTS, Make, Page, epochs, image, search
from vae.training.verdict import Finding

FIGURES = {
    *("reconstructions.png", "samples.png", "traversals.png", "interpolations.png"),
    *("curves.png", "kl.png", "latent.png", "frontier.png", "parallel.png", "importance.png"),
}
OF_SEARCH = {"frontier.png", "parallel.png", "importance.png"}


def drawn_often(test: Callable[..., None]) -> Callable[..., None]:
    """Of a test that draws whole pages, which takes seconds each: among CI's proofs, not in every run of the tests."""
    return pytest.mark.slow(pytest.mark.ci(test))


def test_write_returns_the_page_and_every_figure(written: dict[str, Path]) -> None:
    """All files are there by name, figures are as wide as planned and show something."""
    files = written
    assert files.keys() == {"report.html", *FIGURES}
    for name in FIGURES:
        picture = image(files[name])
        assert picture.width >= 924, name
        assert 150 < picture.height < 1200, name
        assert len(picture.getcolors(1 << 24) or []) > 10, name
    for name in ("curves.png", "kl.png", "latent.png", "frontier.png"):
        assert image(files[name]).size == (924, 836), name


def test_page_loads_nothing_from_elsewhere(written: dict[str, Path]) -> None:
    """Every reference is a data URI, there is no script, and a policy forbids both."""
    page = Page(written["report.html"])
    references = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in ("src", "srcset", "href", "data", "action", "poster", "background")
    ]
    assert len(references) == 2 * len(FIGURES)
    assert all(value and value.startswith("data:image/webp;base64,") for value in references)
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert "@import" not in page.text
    assert "url(" not in page.text
    assert page.all("meta")[1]["content"].startswith("default-src 'none'; img-src data:")  # pyright: ignore


def test_page_is_for_light_and_dark_and_has_words_for_every_picture(written: dict[str, Path]) -> None:
    """Each figure comes in two colourings with an alternative text, under one heading of the first level."""
    page = Page(written["report.html"])
    assert {source["media"] for source in page.all("source")} == {"(prefers-color-scheme: dark)"}
    light, dark = page.all("img"), page.all("source")
    assert all(picture["alt"] for picture in light)
    assert all(one["src"] != other["srcset"] for one, other in zip(light, dark, strict=True))
    assert len(page.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a} <= set(ids)


def test_page_states_scores_lineage_configuration_and_time(make: Make, written: dict[str, Path]) -> None:
    """The figures on the page are those of the evidence, with units and protocol."""
    evidence = make()
    assert evidence.nll
    assert evidence.bound
    text = Page(written["report.html"]).text
    for expected in (
        f"{evidence.nll.nats:.2f} ± {nats(evidence.nll.standard_error)} nats per example",
        "importance sampling, 2 draws from the posterior per example",
        f"{evidence.bound.negative_elbo:.2f} nats per example",
        evidence.dataset.dataset_id,
        "<b>digits</b>.gz 1.2 MB",
        "Grey images of 8 × 8 pixels, ingested 2026-01-02 03:04 UTC",
        "3 examples of the source were refused",
        "MLP 8, relu",
        "distortion + rate (the ELBO)",
        "1 min 15 s",
        "best epoch",
    ):
        assert expected in text, expected


def test_page_marks_the_chosen_trial_and_says_why_one_failed(written: dict[str, Path]) -> None:
    """One row is chosen, its β is known to lie at the edge, and the failed trial's words are shown as they are."""
    page = Page(written["report.html"])
    assert [row for row in page.all("tr") if row.get("class") == "chosen"] == [{"class": "chosen"}]
    assert "mlp 8 1 25.00 5.00 20.00 2 10 finished chosen front" in page.text
    assert "<i>out | of memory</i>" in page.text
    assert "The chosen β = 1 is the lowest that was tried" in page.text


@drawn_often
def test_hostile_names_are_shown_and_never_read(make: Make, tmp_path: Path) -> None:
    """Markup, mathematics, missing glyphs and template code in names from the data come out as text."""
    evidence = make("class", HOSTILE, name="<script>x</script>", failure="\x1b[31m<img src=x>\x1b[0m \udc80 broken")
    files = write(evidence, tmp_path)
    page = Page(files["report.html"])
    assert not page.all("script")
    assert len(page.all("img")) == len(FIGURES)
    assert page.all("b") == page.all("i") == []
    for name in (*HOSTILE, "<img src=x>", "<script>x</script>", "</pre><script>alert(2)</script>"):
        assert " ".join(name.split()) in page.text
    assert "\x1b" not in page.text
    assert files.keys() > FIGURES


def test_conditional_samples_have_a_row_for_each_class(make: Make, tmp_path: Path) -> None:
    """Twice the classes make twice the rows; without a condition the grid is as tall as the page allows."""
    heights = {
        count: image(
            write(make("class", tuple("abcdefgh"[:count]), **BRIEF), tmp_path / str(count))["samples.png"]
        ).height
        for count in (2, 4)
    }
    edge = 22  # a tenth of an inch
    assert heights[4] - edge == pytest.approx(2 * (heights[2] - edge), abs=2)
    page = (tmp_path / "4" / "report.html").read_text()
    assert "a row for each of 4 classes" in page
    assert "The model is told each row&#39;s own class." in page


def test_report_without_classes_says_nothing_of_them(make: Make, tmp_path: Path) -> None:
    """A model without a condition, on data without classes, has its pictures all the same."""
    files = write(make(classes=None, **BRIEF), tmp_path)
    assert files.keys() == {"report.html", "reconstructions.png", "samples.png", "interpolations.png", "latent.png"}
    assert "class" not in Page(files["report.html"]).text.replace("condition", "")


@drawn_often
@pytest.mark.parametrize(
    ("shape", "latent_dim"), [((3, 40, 60), 1), ((3, 64, 64), 2), ((2, 5, 5), 40)], ids=["wide", "large", "many"]
)
def test_report_takes_any_image_and_latent(make: Make, tmp_path: Path, shape: Any, latent_dim: int) -> None:
    """Colour, odd channels, oblong and large images, and latents of one, two and many dimensions all have figures."""
    evidence = make(shape=shape, latent_dim=latent_dim)
    files = write(dataclasses.replace(evidence, history=(), trials=()), tmp_path)
    assert files.keys() == {"report.html", *FIGURES} - {"curves.png", *OF_SEARCH}
    assert all(image(file).height < 1200 for name, file in files.items() if name != "report.html")


@drawn_often
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"posterior": {"kind": "vector_quantized", "code_dim": 1}, "prior": {"kind": "autoregressive_codes", "hidden": 4}},
         ["Negative log-likelihood, at most", "rate of each example's codes", "−log p(codes)", "nearest of 64 codes"]),
        ({"posterior": {"kind": "student_t"}, "prior": {"kind": "gaussian_mixture"}},
         ["log q(z|x) − log p(z) of the draw", "mixture of 10 Gaussians", "Variance of the posterior mean"]),
        ({"likelihood": {"kind": "categorical"}, "beta_gates": False},
         ["probability of 16 levels of each pixel", "bits per pixel value", "KL to the prior"]),
    ],
    ids=["codes", "no closed form", "levels"],
)  # fmt: skip
def test_report_of_every_kind_of_latent(make: Make, tmp_path: Path, parts: dict[str, Any], said: list[str]) -> None:
    """Codes and posteriors without a KL have their figures too, with words that say what was measured."""
    evidence = make(parts=parts, history=(), trials=())
    files = write(evidence, tmp_path)
    walks = {"traversals.png", "interpolations.png"} if "posterior" in parts and "codes" in said[1] else set()
    assert files.keys() == {"report.html", *FIGURES} - {"curves.png", *OF_SEARCH, *walks}
    page = Page(files["report.html"])
    text = " ".join([page.text, *(str(picture["alt"]) for picture in page.all("img"))])
    for words in said:
        assert words in text, words


def test_samples_of_several_conditions_show_those_of_test_rows(make: Make, tmp_path: Path) -> None:
    """A model that is told class and attributes draws what the first test rows are told, each once."""
    evidence = make(("class", "size", "colour"), **BRIEF)
    assert evidence.conditions(1)[0].startswith("class=")
    files = write(evidence, tmp_path)
    page = Page(files["report.html"])
    assert "a row for each of 10 conditions" in " ".join(str(picture["alt"]) for picture in page.all("img"))
    assert "The model is told each row's own condition." in page.text
    assert "the class, size and colour" in page.text


def test_report_of_a_table_has_its_columns(make: Make, tmp_path: Path) -> None:
    """No pictures of examples, but curves, latent and each column beside what the model draws, in its own unit."""
    evidence = make(shape=(2,), parts=TABLE_PARTS, data={"missing": {"kind": "mcar", "share": 0.2}})
    files = write(evidence, tmp_path)
    of_images = {"reconstructions.png", "samples.png", "interpolations.png"}
    assert files.keys() == {"report.html", "marginals.png", "associations.png", *FIGURES} - of_images
    text = Page(files["report.html"]).text
    assert evidence.rows is not None
    size = evidence.rows.values[6:, 0].double()
    assert f"size numbers 20 % {size.mean():.4g} ± {size.std(correction=0):.4g}" in text
    assert "colour 2 categories 0 %" in text
    assert "<i>blue</i> (" in text
    assert "Samples from the prior" not in text
    assert "Imputation error by column: this model was trained on complete examples" in text
    assert "20 % of entries hidden completely at random" in text
    assert "density of standardised numbers" in text


def test_failed_run_gets_a_page_with_what_there_is(make: Make, tmp_path: Path) -> None:
    """Without model, scores and search the page has the failure, the curves, and a word for what is left out."""
    failure = 'Traceback (most recent call last):\n  File "x.py"\nDiverged: the loss became nan in epoch 4'
    nothing: dict[str, Any] = {"model": None, "bound": None, "nll": None, "trials": (), "chosen_trial": None}
    evidence = make(stage="training", history=epochs(3), failure=failure, version=None, **nothing)
    files = write(evidence, tmp_path)
    assert files.keys() == {"report.html", "curves.png"}
    text = Page(files["report.html"]).text
    assert "Failed after 3 of 5 epochs: Diverged: the loss became nan in epoch 4" in text
    assert "Traceback (most recent call last)" in text
    assert "Reconstructions: there is no trained model." in text
    assert "Scores: nothing was measured on the test split." in text


def test_run_that_failed_at_once_still_gets_a_page(make: Make, tmp_path: Path) -> None:
    """No epoch, no rows, no time and only failed trials: the page is there and has no figure."""
    lost = {"model": None, "bound": None, "nll": None, "history": (), "stages": (), "trials": search(0)}
    files = write(make(failure="", chosen_trial=None, rows=None, **lost), tmp_path)
    assert files.keys() == {"report.html"}
    text = Page(files["report.html"]).text
    assert "Failed: no reason was given" in text
    assert "none of the 1 trials came to a result" in text


def test_figure_that_cannot_be_drawn_costs_a_failed_run_that_figure_alone(make: Make, tmp_path: Path) -> None:
    """Its page says which and why; the page of a run that ended is not written with a hole in it."""
    whole = make(**BRIEF)
    assert whole.rows is not None
    torn = dataclasses.replace(whole, rows=dataclasses.replace(whole.rows, labels=whole.rows.labels + 100))
    with pytest.raises(IndexError):
        write(torn, tmp_path / "whole")
    page = Page(write(dataclasses.replace(torn, failure="Diverged: nan"), tmp_path / "failed")["report.html"])
    assert "Reconstructions: it could not be drawn: IndexError" in page.text
    assert "samples" in {attributes["id"] for attributes in page.all("figure")}


def test_weights_that_are_not_numbers_are_not_drawn(make: Make, tmp_path: Path) -> None:
    """A diverged model's pictures are left out with the reason, and a history with NaN is still drawn."""
    evidence = make(history=[*epochs(3), {**epochs(4)[-1], "validation_negative_elbo": float("nan")}])
    assert evidence.model is not None
    with torch.no_grad():
        next(evidence.model.parameters()).fill_(float("nan"))
    files = write(evidence, tmp_path)
    assert files.keys() == {"report.html", "curves.png", "kl.png", *OF_SEARCH}
    assert "Samples from the prior: the model's weights are not finite numbers." in Page(files["report.html"]).text


def test_report_has_the_findings_of_the_verdict(make: Make, tmp_path: Path) -> None:
    """Each with what was measured and the flags that mend it, as the verdict words it."""
    finding = Finding("collapsed", 0.01, "every latent dimension has collapsed: 0.01 nats.", "--set objective.beta=0.5")
    text = Page(write(make(**BRIEF, findings=[finding]), tmp_path)["report.html"]).text
    assert "collapsed: every latent dimension has collapsed: 0.01 nats. Try: --set objective.beta=0.5" in text


@drawn_often
def test_same_evidence_gives_the_same_page(make: Make, written: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is drawn at random and no clock is read."""
    again = write(make(), tmp_path)
    assert all(again[name].read_bytes() == written[name].read_bytes() for name in written)


def test_search_begins_with_its_trials(make: Make, tmp_path: Path) -> None:
    """The figures of the search come before those of the best trial's model, and the verdict is the search's."""
    evidence = make(stage="search", split="validation", rule="rate <= 4", nll=None)
    page = Page(write(evidence, tmp_path)["report.html"])
    order = [str(figure["id"]) for figure in page.all("figure")]
    assert order[:4] == ["frontier", "parallel", "importance", "reconstructions"]
    assert "Report of a search" in page.text
    assert "The chosen one of 7 trials has a validation bound of 25.00 nats per example." in page.text
    assert "The trial is chosen by the rule rate <= 4 ." in page.text
    assert "Scores on the validation split" in page.text
    assert "test split" not in page.text


def test_page_says_what_the_model_is_used_for(make: Make, tmp_path: Path) -> None:
    """Each metric beside the simplest answers, with its unit."""
    metrics = {"denoise_psnr_db": 24.5, "denoise_psnr_db.noisy": 20.0, "denoise_psnr_db.median": 22.0}
    text = Page(write(make(metrics=metrics, **BRIEF), tmp_path)["report.html"]).text
    assert "Denoising, PSNR 24.50 dB higher the noisy images: 20.00; 3×3 median filter: 22.00 model is better" in text
