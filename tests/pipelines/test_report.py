"""The report, the model card and the search table, from a model trained for a moment."""

from __future__ import annotations

import dataclasses
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipelines.report import Evidence, card, search_table, write
from tuning.frontier import Trial
from vae.aggregate import AggregateMixture
from vae.config import RunConfig, parse
from vae.data.batches import Batch
from vae.data.manifest import (
    Column,
    ImageSpec,
    Manifest,
    SourceFile,
    TableSpec,
    derive_dataset_id,
)
from vae.directions import Directions
from vae.examples import Column as ScaledColumn
from vae.examples import Experience
from vae.metrics.likelihood import bound_sums, negative_log_likelihood
from vae.model import VAE, ExampleSpec
from vae.reports import EpochReport
from vae.state import save_model

FIGURES = {"reconstructions.png", "samples.png", "curves.png", "latent.png", "kl.png", "frontier.png"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "$\\frac{1}{0}$",
    "日本語\u202egnp",
    "a`b```c|d\nnext **bold** [link](http://evil.example)",
    "{{ 7 * 7 }}{% raw %}",
    'it\'s \\ "quoted"',
)
# What costs time to draw, left out where a test looks at something else.
BRIEF: dict[str, Any] = {"history": (), "bound": None, "nll": None, "trials": (), "chosen_trial": None}
TABLE_PARTS: dict[str, Any] = {"encoder": {"kind": "table", "hidden": [8]}, "likelihood": {"kind": "mixed"}}
Make = Callable[..., Evidence]


SIZE, COLOUR = (
    Column(name="size", kind="numeric", dtype="float"),
    Column(name="colour", kind="categorical", dtype="string", categories=("red", "<i>blue</i>")),
)


def manifest(classes: tuple[str, ...] | None, shape: tuple[int, ...] = (1, 8, 8)) -> Manifest:
    attributes = ()
    if len(shape) == 3:
        example = ImageSpec(channels=shape[0], height=shape[1], width=shape[2])
        attributes = (SIZE, COLOUR)
    else:
        example = TableSpec(columns=(SIZE, COLOUR))
    made = Manifest.made_now(
        dataset_id=derive_dataset_id(["ab"], {}),
        name="digits",
        example=example,
        classes=classes,
        attributes=attributes,
        splits={"train": (), "validation": (), "test": ()},
        class_counts={"train": tuple(range(len(classes)))} if classes else {},
        sources=(SourceFile(path="<b>digits</b>.gz", bytes=1234567, sha256="ab" * 32),),
        ingest={"source": "</pre><script>alert(2)</script>"},
        rejected=3,
    )
    return made.model_copy(update={"created_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)})


def epochs(num: int) -> list[dict[str, Any]]:
    """A run whose third epoch is the best."""
    reports = []
    for epoch in range(1, num + 1):
        distortion, rate = 20 + abs(epoch - 3) + 0.5 * epoch, 2.0
        report = EpochReport(
            epoch=epoch, step=10 * epoch, beta=1.0, train_distortion=distortion, train_rate=rate,
            validation_distortion=distortion, validation_rate=rate, validation_negative_elbo=distortion + rate,
            validation_negative_bound=distortion + rate,
            active_units=2, best_epoch=min(epoch, 3), best_negative_bound=23.5, examples_per_second=1e4,
            elapsed_seconds=0.1 * epoch, is_last=epoch == num,
        )  # fmt: skip
        reports.append(asdict(report))
    return reports


def search(num: int = 6) -> list[Trial]:
    """Trials over two architectures and β, one of them failed, one stopped early; `t0` has the lowest bound."""
    made = []
    for index in range(num):
        parameters = {"model.encoder": ("mlp 8", "conv 4")[index % 2], "objective.beta": 2.0**index}
        status = "stopped" if index == 2 else "finished"
        made.append(Trial(f"t{index}", parameters, status, 10, 20.0 + index, 5.0 - index / 2, 25.0 + index / 2, 2))
    failed = Trial(
        "t9", {"model.encoder": "mlp 8", "objective.beta": 64.0}, "failed", 0, error="<i>out | of memory</i>"
    )
    return [*made, failed]


def batch(classes: tuple[str, ...] | None, shape: tuple[int, ...]) -> Batch:
    """30 rows: images with attributes, or of a table with holes."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (30, *shape), np.uint8)
    columns = np.stack([rng.normal(5, 2, 30), rng.integers(0, 2, 30)], axis=1).astype(np.float32)
    labels = torch.from_numpy(rng.integers(0, len(classes), 30)) if classes else None
    if len(shape) == 3:
        return Batch(torch.from_numpy(values), labels, torch.from_numpy(columns))
    columns[:6, 0] = np.nan
    columns[:20, 1] = 1
    return Batch(torch.from_numpy(columns), labels)


@pytest.fixture(scope="module")
def make() -> Make:
    """Builds the evidence of a small run, on digits-like images of any shape or on a table; `parts` are the model's."""

    def build(
        condition: Any = "none",
        classes: tuple[str, ...] | None = tuple("0123"),
        shape: tuple[int, ...] = (1, 8, 8),
        latent_dim: int = 3,
        parts: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Evidence:
        model_config = {"condition": condition, "latent_dim": latent_dim, "encoder": {"kind": "mlp", "hidden": [8]}}
        config = parse(
            RunConfig, {"model": {**model_config, **(parts or {})}, "training": {"epochs": 5}, "data": data or {}}
        )
        scaled = (ScaledColumn("size", None, 5.0, 2.0), ScaledColumn("colour", COLOUR.categories))
        is_table = len(shape) == 1
        examples = ExampleSpec(shape, classes, scaled if is_table else None, () if is_table else scaled)
        model = VAE(config.model, examples).eval()
        rows = batch(classes, shape)
        evidence = Evidence(
            config=config, dataset=manifest(classes, shape), name="digits", model=model, rows=rows,
            history=epochs(5), bound=bound_sums(model, [rows], seed=0).bound(),
            nll=negative_log_likelihood(model, [rows], num_samples=2, seed=0), trials=search(), chosen_trial="t0",
            seconds={"ingest": 0.5, "train": 75.0}, version="3", run_id="abc",
        )  # fmt: skip
        return dataclasses.replace(evidence, **changes)

    return build


@pytest.fixture(scope="module")
def written(make: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of the full report, for the tests that only look at it."""
    settings = dict(matplotlib.rcParams)
    files = write(make(), tmp_path_factory.mktemp("new") / "report")
    assert dict(matplotlib.rcParams) == settings
    return files


class Page(HTMLParser):
    """What a browser would find in the page: its elements and the words it shows."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def image(file: Path) -> Image.Image:
    with Image.open(io.BytesIO(file.read_bytes())) as opened:
        return opened.convert("RGB")


# --- the page -------------------------------------------------------------------------------------------------------


def test_write_returns_the_page_and_every_figure(written: dict[str, Path]) -> None:
    """All files are there by name, figures are as wide as planned and show something."""
    files = written
    assert files.keys() == {"report.html", *FIGURES}
    for name in FIGURES:
        picture = image(files[name])
        assert picture.width == 924, name
        assert 300 < picture.height < 1200, name
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
    assert all(value and value.startswith("data:image/png;base64,") for value in references)
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
        f"{evidence.nll.nats:.2f} ± {evidence.nll.standard_error:.2f} nats per example",
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
    assert files.keys() == {"report.html", "reconstructions.png", "samples.png", "latent.png"}
    assert "class" not in Page(files["report.html"]).text.replace("condition", "")


@pytest.mark.parametrize(
    ("shape", "latent_dim"), [((3, 40, 60), 1), ((3, 64, 64), 2), ((2, 5, 5), 40)], ids=["wide", "large", "many"]
)
def test_report_takes_any_image_and_latent(make: Make, tmp_path: Path, shape: Any, latent_dim: int) -> None:
    """Colour, odd channels, oblong and large images, and latents of one, two and many dimensions all have figures."""
    evidence = make(shape=shape, latent_dim=latent_dim)
    files = write(dataclasses.replace(evidence, history=(), trials=()), tmp_path)
    assert files.keys() == {"report.html", *FIGURES} - {"curves.png", "frontier.png"}
    assert all(image(file).height < 1200 for name, file in files.items() if name != "report.html")


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
    assert files.keys() == {"report.html", *FIGURES} - {"curves.png", "frontier.png"}
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
    assert files.keys() == {"report.html", *FIGURES} - {"reconstructions.png", "samples.png"}
    text = Page(files["report.html"]).text
    assert evidence.rows is not None
    size = evidence.rows.values[6:, 0].double()
    assert f"size numbers 20 % {size.mean():.4g} ± {size.std(correction=0):.4g}" in text
    assert "colour 2 categories 0 %" in text
    assert "<i>blue</i> (" in text
    assert "Samples from the prior: an example is a row of a table." in text
    assert "20 % of entries hidden completely at random" in text
    assert "density of standardised numbers" in text


def test_failed_run_gets_a_page_with_what_there_is(make: Make, tmp_path: Path) -> None:
    """Without model, scores and search the page has the failure, the curves, and a word for what is left out."""
    failure = 'Traceback (most recent call last):\n  File "x.py"\nDiverged: the loss became nan in epoch 4'
    nothing: dict[str, Any] = {"model": None, "bound": None, "nll": None, "trials": (), "chosen_trial": None}
    evidence = make(history=epochs(3), failure=failure, version=None, **nothing)
    files = write(evidence, tmp_path)
    assert files.keys() == {"report.html", "curves.png"}
    text = Page(files["report.html"]).text
    assert "Failed after 3 of 5 epochs: Diverged: the loss became nan in epoch 4" in text
    assert "Traceback (most recent call last)" in text
    assert "Reconstructions: there is no trained model." in text
    assert "Scores: nothing was measured on the test split." in text


def test_run_that_failed_at_once_still_gets_a_page(make: Make, tmp_path: Path) -> None:
    """No epoch, no rows, no time and only failed trials: the page is there and has no figure."""
    lost = {"model": None, "bound": None, "nll": None, "history": (), "seconds": {}, "trials": search(0)}
    files = write(make(failure="", chosen_trial=None, rows=None, **lost), tmp_path)
    assert files.keys() == {"report.html"}
    text = Page(files["report.html"]).text
    assert "Failed: no reason was given" in text
    assert "none of the 1 trials came to a result" in text


def test_weights_that_are_not_numbers_are_not_drawn(make: Make, tmp_path: Path) -> None:
    """A diverged model's pictures are left out with the reason, and a history with NaN is still drawn."""
    evidence = make(history=[*epochs(3), {**epochs(4)[-1], "validation_negative_elbo": float("nan")}])
    assert evidence.model is not None
    with torch.no_grad():
        next(evidence.model.parameters()).fill_(float("nan"))
    files = write(evidence, tmp_path)
    assert files.keys() == {"report.html", "curves.png", "kl.png", "frontier.png"}
    assert "Samples from the prior: the model's weights are not finite numbers." in Page(files["report.html"]).text


def test_report_warns_of_collapse_overfitting_and_unfinished_training(make: Make, tmp_path: Path) -> None:
    """What a reader should know before trusting the figures is said in words."""
    bound = make().bound
    assert bound is not None
    late = [
        {**epoch, "validation_negative_elbo": 40.0 - epoch["epoch"], "best_epoch": epoch["epoch"]}
        for epoch in epochs(5)
    ]
    weak = {**BRIEF, "model": None, "history": late, "bound": dataclasses.replace(bound, rate=0.01)}
    text = Page(write(make(**weak), tmp_path)["report.html"]).text
    assert "posterior has collapsed" in text
    assert "more training.epochs may still improve it" in text
    assert "the model overfits" in text


def test_same_evidence_gives_the_same_page(make: Make, written: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is drawn at random and no clock is read."""
    again = write(make(), tmp_path)
    assert all(again[name].read_bytes() == written[name].read_bytes() for name in written)


# --- the model card -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"condition": "class"},
        {"condition": ("class", "size", "colour")},
        {"shape": (2,), "parts": TABLE_PARTS},
    ],
    ids=["plain", "class", "several", "table"],
)
def test_card_lines_run_as_they_stand(make: Make, tmp_path: Path, kind: dict[str, Any]) -> None:
    """The Python of the card pulls a model through MLflow and calls every task by its real name and parameters."""
    evidence = make(classes=HOSTILE, **kind)
    assert evidence.model is not None
    evidence.model.aggregate = AggregateMixture(1, 3)
    evidence.model.directions = Directions(["size"], 3)
    evidence.model.experience = Experience(missing=evidence.is_table)
    save_model(evidence.model, str(tmp_path / "weights"))
    stored = str(tmp_path / "stored")
    with warnings.catch_warnings():
        # MLflow warns of its own type hints while it is imported, and of a model without an input example.
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        from vae import answering, serving

        mlflow.pyfunc.save_model(
            stored,
            python_model=serving.__file__,
            artifacts={serving.ARTIFACT: str(tmp_path / "weights")},
            signature=serving.signature(),
            pip_requirements=["mlflow"],
        )
    blocks = re.findall(r"^(`{3,})python\n(.*?)\n\1$", card(evidence, stored), re.DOTALL | re.MULTILINE)
    pull, more = (code for _, code in blocks)
    assert len(pull.splitlines()) == 3 + bool(evidence.model.conditions)
    scope: dict[str, Any] = {"latents": np.zeros((16, 3), np.float32)}
    exec(pull, scope)
    assert scope["rows" if evidence.is_table else "images"].shape == (16, 2) if evidence.is_table else (16, 1, 8, 8)
    for line in more.splitlines():
        exec(f"answer = {line}", scope)
        found = scope["answer"]
        if isinstance(found, dict):
            found = found["examples"] if '"traverse"' in line else found["std"]
        assert _num_rows(found) == (8 if '"interpolate"' in line else 16), line
    told = dict(re.findall(r"^- (\w+): (.*)\.$", card(evidence, stored), re.MULTILINE))
    cannot = {task: why for task, why in answering.abilities(evidence.model).items() if why}
    assert {task: told[task] for task in cannot} == cannot
    assert set(re.findall(r'"task": "(\w+)"', pull + more)) == set(answering.TASKS) - set(cannot)


def _num_rows(found: Any) -> int:
    """Rows that were answered, of which a table's may be several each."""
    if isinstance(found, pd.DataFrame) and "row" in found.index.names:
        return found.index.get_level_values("row").nunique()
    return len(found)


def test_card_states_data_scores_and_limits(make: Make) -> None:
    """The card names the dataset, its splits and sources, the scores with unit and protocol, and the limits."""
    evidence = make()
    assert evidence.nll
    text = card(evidence, "models:/digits@champion")
    assert 'load_model("models:/digits@champion")' in text
    assert f"`{evidence.dataset.dataset_id}`" in text
    assert "&lt;b\\>digits&lt;/b\\>.gz" in text
    score = (
        f"| Negative log-likelihood | {evidence.nll.nats:.2f} ± {evidence.nll.standard_error:.2f} | nats per example |"
    )
    assert score in text
    assert "other sizes are refused, not resized" in text


def test_card_fits_what_mlflow_keeps(make: Make) -> None:
    """Many long hostile names stay under the 5,000 characters of a description, every table row with its cells."""
    classes = tuple(f"{index} {name * 9}" for index in range(40) for name in HOSTILE)
    text = card(make("class", classes, name="n" * 100), "models:/" + "n" * 100 + "@champion")
    assert len(text) < 5000
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert "<script" not in re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)


# --- the search table -----------------------------------------------------------------------------------------------


def test_search_table_marks_chosen_and_front_in_order() -> None:
    """Rows go by architecture and β; the lowest bound is chosen; the front is what no other trial dominates."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in search_table(list(reversed(search())), num_dimensions=64).splitlines()
        if line.startswith("|")
    ]
    figures = ["bound (β = 1)", "bits/dim", "rate", "distortion", "active", "epochs"]
    assert rows[0] == ["", "architecture", "β", *figures, "status"]
    assert [(row[1], row[2]) for row in rows[2:]] == [
        *(("conv 4", beta) for beta in ("2", "8", "32")),
        *(("mlp 8", beta) for beta in ("1", "4", "16", "64")),
    ]
    marks = {(row[1], row[2]): row[0] for row in rows[2:]}
    assert marks[("mlp 8", "1")] == "**chosen**, front"
    assert marks[("mlp 8", "64")] == ""
    assert rows[5][3:7] == ["25.00", "0.5636", "5.00", "20.00"]
    assert rows[-1][3:] == ["–", "–", "–", "–", "–", "0", "failed: &lt;i\\>out \\| of memory&lt;/i\\>"]


def test_search_table_of_nothing_says_so() -> None:
    """No trial, and only failed ones, both give a table that can be read."""
    assert search_table([], 64) == "The search tried nothing.\n"
    assert "chosen" not in search_table(search(0), 64)
