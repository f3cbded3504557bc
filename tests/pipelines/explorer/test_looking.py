"""Answers of every view, without a page: they are those of `predict`, and three lines of Python give them again."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path as Folder
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.explorer import exports, mapping
from pipelines.explorer.asking import Call
from pipelines.explorer.kinds.image import from_data_url, write_holes, write_image
from pipelines.explorer.kinds.table import with_cells, write_cells
from pipelines.explorer.looking import look
from pipelines.explorer.mapping import MOST_MAPS, chart
from pipelines.explorer.models import Subject
from pipelines.explorer.views import Compare, Edit, Latent, Path, Rate, Repair, Transfer, View, read_view
from tests.pipelines.explorer.conftest import HOLES, HOSTILE, Shelf
from vae.errors import ConfigError, DataError, RegistryError
from vae.inference import carried

VIEWS = [
    Latent(model="digits/1"),
    Latent(model="digits@champion", x="row:3", moved=((1, 1.5), (4, -0.25)), output="sample", seed=4),
    Latent(model="digits-by-class", x="row:3", moved=((0, 2.0),), condition="7"),
    Latent(model="wine", x="row:1", moved=((0, 2.0),)),
    Path(model="digits", x="row:1", other="row:2", path="spherical", n=5),
    Path(model="digits-by-class", x="row:1", other="row:2"),
    Path(model="wine", x="row:0", other="row:5", n=4),
    Repair(model="digits/1", x="row:5"),
    Repair(model="digits/1", x="row:5", do="denoise", noise=0.3, seed=2),
    Repair(model="digits/1", x="row:5", do="impute", holes=write_holes(HOLES), seed=2),
    Repair(model="digits-by-class", x="row:5", noise=0.1),
    Latent(model="digits-in-colour", x="row:3", moved=((0, 1.0),)),
    Repair(model="digits-in-colour", x="row:5", do="impute", holes=write_holes(HOLES), seed=2),
    Repair(model="wine", x="row:4", do="impute", cells='{"alcohol":null,"cultivar":null,"proline":900}'),
    Repair(model="wine", x="row:4"),
    Repair(model="wine", x='json:{"alcohol":13.25,"ash":null,"cultivar":"barolo"}', do="impute"),
    Transfer(model="digits-by-class", x="row:5", target="3"),
    Transfer(model="digits-by-class", x="row:5", other="row:6", seed=1),
    Edit(model="digits/1", x="row:5", attribute="class=8", strength=1.5),
    Rate(model="digits-any-rate", x="row:5", beta=0.2),
    Compare(model="digits@champion", n=3),
    Compare(model="digits@champion", against="digits@challenger", n=4, seed=9),
]


def each(views: list[Any]) -> Any:
    return pytest.mark.parametrize("view", views, ids=lambda view: f"{view.name}-{view.model}-{view.x}")


def same(found: Any, expected: Any) -> bool:
    """Tells whether two answers of `predict` are equal to the last bit."""
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(
            pd.DataFrame(found).reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False
        )
        return True
    return np.array_equal(found, expected, equal_nan=True)


def executed(call: Call, shelf: Shelf, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Returns the variables of the lines of Python, executed in a folder with the file of the inputs."""

    def load_model(uri: str) -> Any:
        subject = shelf[uri.removeprefix("models:/")]
        return SimpleNamespace(predict=lambda inputs, params: subject.ask(inputs, params))

    if call.file_name:
        (folder / call.file_name).write_bytes(call.file())
    monkeypatch.chdir(folder)
    monkeypatch.setattr(mlflow.pyfunc, "load_model", load_model)
    names: dict[str, Any] = {}
    exec(call.snippet(), names)
    return names


@each(VIEWS)
def test_exports_give_what_is_shown(
    view: View, shelf: Shelf, tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of Python give every answer again, the CSV has the numbers of each panel, and the PNG is a picture."""
    shown = look(view, shelf[view.model], shelf)
    assert len(shown.call.snippet().splitlines()) == 3
    names = executed(shown.call, shelf, tmp_path, monkeypatch)
    answers = shown.call.answers()
    again = [names["result"]] if len(answers) == 1 else names["results"]
    assert all(same(one, other) for one, other in zip(again, answers, strict=True))
    frame = pd.read_csv(io.StringIO(exports.csv_of(shown)), keep_default_na=False, na_values=[""])
    assert frame["panel"].tolist() == [panel.name for panel in shown.flat]
    if shown.kind.prefix == "json":
        assert frame["alcohol"].iloc[-1] == pytest.approx(shown.flat[-1].values["alcohol"].iloc[0])
    else:
        expected = np.stack([panel.values.ravel() for panel in shown.flat])
        np.testing.assert_allclose(frame.drop(columns="panel").to_numpy(np.float32), expected, rtol=1e-6)
    assert Image.open(io.BytesIO(exports.png_of(shown))).size[0] > 500


@each(VIEWS)
def test_link_leads_to_the_same_view(view: View) -> None:
    """A link holds every field of its view but the defaults."""
    path, _, query = view.link.partition("?")
    assert read_view(path[1:], dict(parse_qsl(query))) == view
    assert "beta" not in query or view.beta != 1


def test_decode_follows_the_moved_dimension(shelf: Shelf) -> None:
    """With one dimension of a row's latent set, the picture is the answer of `decode` there."""
    subject = shelf["digits/1"]
    code = subject.ask(subject.rows.take([3]), {"task": "encode"})["mean"][0].round(3)
    plain = look(Latent(x="row:3"), subject, shelf)
    moved = look(Latent(x="row:3", moved=((2, 2.5),)), subject, shelf)
    np.testing.assert_allclose(plain.call.inputs[0], code, atol=1e-6)
    code[2] = 2.5
    expected = subject.ask(code[None], {"task": "decode"})[0]
    np.testing.assert_allclose(moved.panels[0][0].values, expected, atol=1e-6)
    assert np.abs(moved.panels[0][0].values - plain.panels[0][0].values).max() > 0.05


def test_imputation_keeps_observed_pixels(shelf: Shelf) -> None:
    """Pixels outside of the hole stay as they were, without uncertainty; inside it there is some, and its mean is shown."""
    view = Repair(x="row:5", do="impute", holes=write_holes(HOLES), seed=2)
    subject = shelf["digits/1"]
    given, imputed, spread = (panel.values[0] for panel in look(view, subject, shelf).panels[0])
    original = subject.rows.take([5])[0, 0] / 255
    assert np.isnan(given[HOLES]).all()
    np.testing.assert_allclose(imputed[~HOLES], original[~HOLES], atol=1e-6)
    assert (spread[~HOLES] == 0).all()
    assert spread[HOLES].min() > 0
    numbers = dict(look(view, subject, shelf).numbers)
    assert numbers["pixels missing"] == "12 of 64"
    assert numbers["mean uncertainty"] == f"{spread[HOLES].mean():.4f}"
    assert np.abs(imputed[HOLES] - original[HOLES]).mean() < np.abs(original[HOLES] - 0).mean()


def test_cells_of_a_table_are_edited_and_imputed(shelf: Shelf) -> None:
    """A typed cell is kept, an emptied one is filled in by `impute`."""
    subject = shelf["wine"]
    view = Repair(x="row:4", do="impute", cells='{"alcohol":null,"malic_acid":9.5}', seed=1)
    given, imputed, spread = (panel.values.iloc[0] for panel in look(view, subject, shelf).panels[0])
    assert pd.isna(given["alcohol"])
    assert 10 < imputed["alcohol"] < 16
    assert imputed["malic_acid"] == 9.5
    assert spread["alcohol"] > 0
    assert spread["malic_acid"] == 0


def test_cells_round_trip(shelf: Shelf) -> None:
    """The cells that differ from the row are written and read again."""
    subject = shelf["wine"]
    row = subject.rows.take([4])
    changed = with_cells(
        row, '{"alcohol":11,"cultivar":"barolo","malic_acid":null}', subject.model.examples.columns or ()
    )
    again = with_cells(row, write_cells(row, changed), subject.model.examples.columns or ())
    pd.testing.assert_frame_equal(changed, again, check_dtype=False)
    assert write_cells(row, row) == ""


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ('{"alkohol":1}', "no column 'alkohol'"),
        ('{"alcohol":"much"}', "alcohol: expected a number"),
        ('{"alcohol":true}', "alcohol: expected a number"),
        ('{"cultivar":"merlot"}', "cultivar: unknown 'merlot'; expected barbera"),
        ("[1]", "expected JSON"),
        ("{", "expected JSON"),
    ],
)
def test_cells_that_do_not_fit_are_refused(cells: str, words: str, shelf: Shelf) -> None:
    """The message names the column and what it takes."""
    with pytest.raises(DataError, match=words):
        look(Repair(x="row:4", cells=cells), shelf["wine"], shelf)


def test_map_is_of_the_codes_that_predict_gives(
    shelf: Shelf, tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its points are posterior means along the two most informative dimensions; its lines of Python give them."""
    found = chart(Latent(seed=3), shelf["digits/1"])
    assert found is not None
    mean = shelf["digits/1"].ask(shelf["digits/1"].rows.take(found.codes.rows), {"task": "encode"})["mean"]
    assert np.array_equal(found.codes.mean, mean)
    assert [found.across, found.up] == found.codes.order[:2]
    assert np.array_equal(executed(found.codes.call, shelf, tmp_path, monkeypatch)["result"]["mean"], mean)
    frame = pd.read_csv(io.StringIO(exports.csv_of(found)))
    np.testing.assert_allclose(frame["z0"], mean[:, 0], rtol=1e-6)
    assert Image.open(io.BytesIO(exports.png_of(found))).size[0] > 500


@pytest.mark.parametrize("model", ["digits/1", "digits-by-class", "digits-any-rate", "wine"])
def test_dimensions_are_ordered_as_traverse_orders_them(model: str, shelf: Shelf) -> None:
    """The order is that of the nats that `traverse` gives for the same rows."""
    found = chart(Latent(model=model, seed=3, beta=0.5 if "rate" in model else 1.0), shelf[model])
    assert found is not None
    asked = {**found.codes.call.asks[0].params, "task": "traverse", "n": 1}
    if model == "wine":  # of a table `traverse` gives its rows, the dimensions in their index
        order = shelf[model].ask(found.codes.call.inputs, asked).index.get_level_values("dimension").unique().tolist()
    else:
        answer = shelf[model].ask(found.codes.call.inputs, asked)
        order = answer["dimensions"].tolist()
        assert np.array_equal(found.codes.carried[order], answer["kl"])
    assert found.codes.order == order
    assert found.codes.in_nats
    assert found.codes.carried[found.codes.order[0]] > 0


def test_map_is_computed_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other axes and later visitors ask the model nothing; another seed does; a model keeps a few maps and no more."""
    asked = []
    monkeypatch.setattr(mapping, "carried", lambda *arguments: asked.append(arguments) or carried(*arguments))
    subject = replace(shelf["digits/1"], memory={})
    first = chart(Latent(seed=3), subject)
    turned = chart(Latent(seed=3, across=5, up=4), subject)
    assert first is not None
    assert turned is not None
    assert turned.codes is first.codes
    assert len(asked) == 1
    for seed in range(20):
        chart(Latent(seed=seed), subject)
    assert len(asked) == 20
    assert len(subject.memory) == MOST_MAPS


def test_comparison_is_of_the_same_rows(shelf: Shelf) -> None:
    """The numbers are the means of the scores of `predict`; the better trained model gives a higher one."""
    shown = look(Compare(n=12, seed=1), shelf["digits@champion"], shelf)
    scores = [
        float(shelf[f"digits@{alias}"].ask(shown.call.inputs, {"task": "score", "num_samples": 100, "seed": 1}).mean())
        for alias in ("champion", "challenger")
    ]
    assert [value.split(" ")[0] for _, value in shown.numbers] == [f"{score:.3f}" for score in scores]
    assert scores[0] > scores[1]


def test_drawing_gets_the_likeliest_condition(shelf: Shelf) -> None:
    """A digit without a label gets the class under which it is likeliest, which is mostly its own."""
    subject = shelf["digits-by-class"]
    right = 0
    for row in range(20):
        x = write_image(subject.rows.take([row]))
        shown = look(Repair(x=x), subject, shelf)
        right += shown.call.asks[0].params["condition"] == [subject.rows.conditions[row]]
    assert right >= 10, right  # of 20, where chance has 2


# --- links and refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "query", "words"),
    [
        ("nowhere", {}, "no view 'nowhere'; there are latent, interpolate"),
        ("latent", {"sed": "1"}, "did you mean `seed`"),
        ("latent", {"seed": "-1"}, "greater than or equal to 0"),
        ("latent", {"moved": "abc"}, "moved must be DIMENSION:VALUE"),
        ("latent", {"moved": "1:nan"}, "finite"),
        ("interpolate", {"n": "100000"}, "less than or equal to 24"),
        ("repair", {"draws": "1000000"}, "less than or equal to 5000"),
    ],
)
def test_links_that_say_nonsense_are_refused(name: str, query: dict[str, str], words: str) -> None:
    """The message says what would do; no link can ask for an hour of work."""
    with pytest.raises(ConfigError, match=words):
        read_view(name, query)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (Latent(model="digits", x="row:999"), "no row '999'; there are 0 to 199"),
        (Latent(model="digits", x="png:!!"), "not base64"),
        (Latent(model="digits", x="http://elsewhere"), "expected row:NUMBER or png:"),
        (Latent(model="digits", x="json:{}"), "expected row:NUMBER or png:"),
        (Latent(model="wine", x="png:AAAA"), "expected row:NUMBER or json:"),
        (Latent(model="wine", x='json:{"alkohol":1}'), "link, x: no column 'alkohol'"),
        (Repair(model="wine", x="json:{}"), "nothing is observed"),
        (Latent(model="digits", moved=((9, 1.0),)), "no dimension 9; there are 0 to 5"),
        (Transfer(model="digits"), "takes no condition"),
        (Rate(model="digits"), "trained at one beta"),
        (Edit(model="digits-by-class", attribute="class=3"), "no directions"),
        (Repair(model="digits-by-class", do="impute"), "trained on complete examples"),
        (Compare(model="digits", against="wine"), "choose versions of the same data"),
        (Compare(model="wine"), "has one version alone"),
        (Compare(model="digits", against="nobody"), "no model 'nobody'"),
    ],
)
def test_views_that_do_not_fit_are_refused(view: View, words: str, shelf: Shelf) -> None:
    """The message is that of `predict`, or of the link."""
    with pytest.raises((ValueError, RegistryError), match=words):
        look(view, shelf[view.model], shelf)


def test_hostile_class_names_stay_text(shelf: Shelf) -> None:
    """They pass unchanged through a link, a request and a picture."""
    view = Transfer(model="hostile", x="row:1", target=HOSTILE)
    shown = look(view, shelf["hostile"], shelf)
    assert shown.call.asks[0].params["target"] == [HOSTILE]
    assert exports.png_of(shown)[:4] == b"\x89PNG"


def test_canvas_sends_only_pictures() -> None:
    """A drawing that is no PNG is refused."""
    with pytest.raises(DataError, match="no PNG"):
        from_data_url("data:text/html;base64,PHNjcmlwdD4=")


def test_models_without_rows_are_shown(shelf: Shelf) -> None:
    """Without the dataset there is no map, and the example is a blank one."""
    subject = shelf["digits/1"]
    bare = Subject(offer=subject.offer, model=subject.model)
    assert chart(Latent(), bare) is None
    assert look(Repair(), bare, shelf).panels[0][0].values.max() == 0
    assert look(Latent(), bare, shelf).panels[0][0].values.shape == (1, 8, 8)
