"""An example made into another, in a real browser: on the way to one, under a condition, edited, at another β or by another
model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.pipelines.explorer.browser import ask, bytes_of, choose, decoded, eventually, pixels, png, slide
from tests.pipelines.explorer.conftest import Shelf

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def test_model_and_version_are_chosen(visit: Any, shelf: Shelf) -> None:
    """The list has every version with its aliases; choosing one shows that model's answer."""
    page = visit("/repair?x=row:5")
    options = page.get_by_label("Model", exact=True).locator("option").all_inner_texts()
    assert "digits/1 @champion" in options
    assert "digits/2 @challenger" in options
    champion = pixels(page, "reconstructed")
    assert np.array_equal(champion, bytes_of(ask(shelf, "digits/1", [5], task="reconstruct")[0]))
    choose(page, "Model", "digits/2")
    page.wait_for_url("**model=digits%2F2**")
    expected = bytes_of(ask(shelf, "digits/2", [5], task="reconstruct")[0])
    eventually(lambda: pixels(page, "reconstructed"), expected)
    assert not np.array_equal(champion, expected)


def test_alias_in_the_address_is_followed(visit: Any) -> None:
    """MODEL@ALIAS names the version that has it."""
    page = visit("/latent?model=digits@challenger")
    assert "version 2 @challenger" in page.locator("h1").inner_text()


def test_examples_are_interpolated(visit: Any, shelf: Shelf) -> None:
    """Between two chosen rows, every point is one that `interpolate` gives; the path can be bent."""
    page = visit("/interpolate")
    page.get_by_label("From", exact=True).get_by_role("button", name="row").nth(2).click()
    page.get_by_label("To", exact=True).get_by_role("button", name="row").nth(4).click()
    page.wait_for_url("**other=*")
    pair = [
        int(page.url.partition(f"{field}=row%3A")[2].split("&")[0]) for field in ("?x", "other") if field in page.url
    ]
    pair = pair if len(pair) == 2 else [int(page.url.partition("&x=row%3A")[2].split("&")[0]), *pair]
    rows = shelf["digits/1"].rows.take(pair)[None]
    for path in ("linear", "geodesic"):
        choose(page, "Path", path)
        expected = shelf["digits/1"].ask(rows, {"task": "interpolate", "n": 9, "path": path})[0]
        eventually(lambda: pixels(page, "50%"), bytes_of(expected[4]))
        assert np.array_equal(pixels(page, "100%"), bytes_of(expected[8]))
    assert page.locator(".answer figure").count() == 9


def test_upload_is_interpolated(visit: Any, shelf: Shelf) -> None:
    """A file of one's own is an end of the way."""
    page = visit("/interpolate")
    before = pixels(page, "0%")
    digit = shelf["digits/1"].rows.take([9])[0, 0]
    page.locator("input[type=file]").first.set_input_files(
        {"name": "digit.png", "mimeType": "image/png", "buffer": png(digit)}
    )
    eventually(lambda: pixels(page, "0%"), other_than=before)
    expected = bytes_of(ask(shelf, "digits/1", [9], task="reconstruct")[0])
    assert np.array_equal(pixels(page, "0%"), expected)
    assert "digit.png, as the model takes it" in page.locator(".fine[role=status]").first.inner_text()


def test_class_is_transferred(visit: Any, shelf: Shelf) -> None:
    """A five as an eight, as `transfer` gives it; or in the style of another example."""
    page = visit("/transfer?model=digits-by-class&x=row:5")
    choose(page, "Class or style", "8")
    own = shelf["digits-by-class"].rows.conditions[5]
    params = {"task": "transfer", "condition": [own], "target": ["8"]}
    eventually(lambda: pixels(page, "as 8"), bytes_of(ask(shelf, "digits-by-class", [5], **params)[0]))
    page.get_by_label("Or the style of this example").get_by_role("button", name="row").nth(3).click()
    page.wait_for_url("**other=row*")
    row = int(page.url.partition("other=row%3A")[2].split("&")[0])
    pair = shelf["digits-by-class"].rows.take([5, row])[None]
    expected = bytes_of(shelf["digits-by-class"].ask(pair, {"task": "transfer"})[0])
    eventually(lambda: pixels(page, "under the reference"), expected)


def test_attribute_is_edited(visit: Any, shelf: Shelf) -> None:
    """More of an attribute, as strong as the slider says."""
    page = visit("/edit?x=row:5")
    choose(page, "Attribute", "class=8")
    edited = []
    for strength in (2.0, -1.5):
        slide(page, "Strength", strength)
        params = {"task": "edit", "attribute": "class=8", "strength": strength}
        expected = bytes_of(ask(shelf, "digits/1", [5], **params)[0])
        edited.append(eventually(lambda: pixels(page, "class=8"), expected))
    assert not np.array_equal(*edited)


def test_beta_slides(visit: Any, shelf: Shelf) -> None:
    """A Multi-Rate model at one β and another."""
    page = visit("/rate?model=digits-any-rate&x=row:5")
    for power, beta in ((-1.0, 0.1), (1.0, 10.0)):
        slide(page, "β", power)
        expected = bytes_of(ask(shelf, "digits-any-rate", [5], task="reconstruct", beta=beta)[0])
        eventually(lambda: pixels(page, "β ="), expected)


def test_versions_are_compared(visit: Any, shelf: Shelf) -> None:
    """Champion and challenger on the same rows, with their scores."""
    page = visit("/compare?seed=4&n=5")
    numbers = page.locator(".numbers")
    chosen = [int(text.split()[1]) for text in page.locator("figcaption", has_text="row ").all_inner_texts()]
    assert len(chosen) == 5
    for reference in ("digits/1", "digits/2"):
        score = ask(shelf, reference, chosen, task="score", num_samples=100, seed=4)
        assert f"{score.mean():.3f} nats" in numbers.inner_text()
    first, second = (bytes_of(ask(shelf, one, chosen, task="reconstruct")[0]) for one in ("digits/1", "digits/2"))
    sources = [image.get_attribute("src") for image in page.locator(".answer img").all()[:3]]
    assert np.array_equal(decoded(sources[1]), first)
    assert np.array_equal(decoded(sources[2]), second)
    page.get_by_label("Seed", exact=True).fill("5")
    page.get_by_label("Seed", exact=True).press("Enter")
    eventually(lambda: page.locator("figcaption", has_text="row ").first.inner_text(), other_than=f"row {chosen[0]}")


def test_second_model_is_named_by_its_alias(visit: Any) -> None:
    """MODEL@ALIAS in the address is the version that has it, and is shown as that."""
    page = visit("/compare?n=2&against=digits@challenger")
    assert page.get_by_label("Second model", exact=True).input_value() == "digits/2"
    assert "digits/2" in page.locator(".numbers").inner_text()
