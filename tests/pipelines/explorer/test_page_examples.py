"""An example made into another, in a real browser: on a path, by a condition, an edit, another β or another model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.pipelines.explorer.browser import (
    ask,
    bytes_of,
    choose,
    decoded,
    eventually,
    fill,
    in_link,
    pixels,
    png,
    shows,
    slide,
    upload,
)
from tests.pipelines.explorer.conftest import Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def row_in(page: Any, field: str) -> int:
    """Returns the row that a field of the page's address names."""
    return int(in_link(page, field).removeprefix("row:"))


def test_model_and_version_are_chosen(visit: Any, shelf: Shelf) -> None:
    """The list has every version with its aliases; choosing one shows that model's answer."""
    page = visit("/repair?x=row:5")
    options = page.get_by_label("Model", exact=True).locator("option").all_inner_texts()
    assert {"digits/1 @champion", "digits/2 @challenger"} <= {*options}
    champion = shows(page, "reconstructed", ask(shelf, "digits/1", [5], task="reconstruct")[0])
    choose(page, "Model", "digits/2")
    page.wait_for_url("**model=digits%2F2**")
    challenger = shows(page, "reconstructed", ask(shelf, "digits/2", [5], task="reconstruct")[0])
    assert not np.array_equal(champion, challenger)


def test_alias_in_the_address_is_followed(visit: Any) -> None:
    """MODEL@ALIAS names the version that has it, as the first model and as the second."""
    page = visit("/latent?model=digits@challenger")
    assert "version 2 @challenger" in page.locator("h1").inner_text()
    page = visit("/compare?n=2&against=digits@challenger")
    assert page.get_by_label("Second model", exact=True).input_value() == "digits/2"
    assert "digits/2" in page.locator(".numbers").inner_text()


def test_examples_are_interpolated(visit: Any, shelf: Shelf) -> None:
    """Every point between two chosen rows is an answer of `interpolate`; the path can be bent."""
    page = visit("/interpolate")
    page.get_by_label("From", exact=True).get_by_role("button", name="row").nth(2).click()
    page.get_by_label("To", exact=True).get_by_role("button", name="row").nth(4).click()
    page.wait_for_url("**other=*")
    rows = shelf["digits/1"].rows.take([row_in(page, "x"), row_in(page, "other")])[None]
    for path in ("linear", "geodesic"):
        choose(page, "Path", path)
        points = shelf["digits/1"].ask(rows, {"task": "interpolate", "n": 9, "path": path})[0]
        shows(page, "50%", points[4])
        shows(page, "100%", points[8])
    assert page.locator(".answer figure").count() == 9


def test_upload_is_interpolated(visit: Any, shelf: Shelf) -> None:
    """An own file is an end of the path."""
    page = visit("/interpolate")
    upload(page, "digit.png", png(shelf["digits/1"].rows.take([9])[0, 0]))
    shows(page, "0%", ask(shelf, "digits/1", [9], task="reconstruct")[0])
    assert "digit.png, as the model takes it" in page.locator(".fine[role=status]").first.inner_text()


def test_class_is_transferred(visit: Any, shelf: Shelf) -> None:
    """A five becomes an eight, as `transfer` gives it, or takes the style of another example."""
    page = visit("/transfer?model=digits-by-class&x=row:5")
    choose(page, "Class or style", "8")
    own = shelf["digits-by-class"].rows.conditions[5]
    params = {"task": "transfer", "condition": [own], "target": ["8"]}
    shows(page, "as 8", ask(shelf, "digits-by-class", [5], **params)[0])
    page.get_by_label("Or the style of this example").get_by_role("button", name="row").nth(3).click()
    page.wait_for_url("**other=row*")
    pair = shelf["digits-by-class"].rows.take([5, row_in(page, "other")])[None]
    shows(page, "under the reference", shelf["digits-by-class"].ask(pair, {"task": "transfer"})[0])


def test_attribute_is_edited(visit: Any, shelf: Shelf) -> None:
    """The example gets as much more or less of an attribute as the slider says."""
    page = visit("/edit?x=row:5")
    choose(page, "Attribute", "class=8")
    edited = []
    for strength in (2.0, -1.5):
        slide(page, "Strength", strength)
        params = {"task": "edit", "attribute": "class=8", "strength": strength}
        edited.append(shows(page, "class=8", ask(shelf, "digits/1", [5], **params)[0]))
    assert not np.array_equal(*edited)


def test_beta_slides(visit: Any, shelf: Shelf) -> None:
    """A model for every β reconstructs at one β and another."""
    page = visit("/rate?model=digits-any-rate&x=row:5")
    for power, beta in ((-1.0, 0.1), (1.0, 10.0)):
        slide(page, "β", power)
        shows(page, "β =", ask(shelf, "digits-any-rate", [5], task="reconstruct", beta=beta)[0])


def test_versions_are_compared(visit: Any, shelf: Shelf) -> None:
    """Champion and challenger answer for the same rows, with their scores; another seed chooses other rows."""
    page = visit("/compare?seed=4&n=5")
    captions = page.locator("figcaption", has_text="row ")
    chosen = [int(text.split()[1]) for text in captions.all_inner_texts()]
    assert len(chosen) == 5
    sources = [image.get_attribute("src") for image in page.locator(".answer img").all()[1:3]]
    for reference, source in zip(("digits/1", "digits/2"), sources, strict=True):
        score = ask(shelf, reference, chosen, task="score", num_samples=100, seed=4)
        assert f"{score.mean():.3f} nats" in page.locator(".numbers").inner_text()
        assert np.array_equal(decoded(source), bytes_of(ask(shelf, reference, chosen, task="reconstruct")[0]))
    fill(page, "Seed", "5")
    eventually(lambda: captions.first.inner_text(), other_than=f"row {chosen[0]}")
    assert pixels(page, "row ").shape == (8, 8)
