"""`vae.fit` in one process: what it takes, that it goes on where it stopped, and what a model shows."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import vae
from tests.pipelines.conftest import QUICK
from vae.data.parquet import Dataset
from vae.errors import ConfigError, DataError, Diverged, RegistryError, ServiceError
from vae.training.loop import Training

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)
LABELS = np.arange(90) % 3
TABLE = pd.DataFrame(
    {"height": np.random.default_rng(1).normal(170, 10, 120), "sex": ["f", "m"] * 60, "age": np.arange(120) % 50}
)
TABLE.loc[::7, "height"] = None


@pytest.fixture
def fit(tmp_path: Path) -> Any:
    """`vae.fit` with a tiny configuration, its own home, and nothing shown."""

    def call(data: Any, **given: Any) -> vae.Model:
        return vae.fit(data, **{"config": QUICK, "home": tmp_path / "home", "show": False, **given})

    return call


def weights(model: vae.Model) -> dict[str, bytes]:
    """The bytes of each tensor."""
    return {name: value.numpy().tobytes() for name, value in model.network.state_dict().items()}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PIXELS, id="array"),
        pytest.param(torch.from_numpy(PIXELS), id="tensor"),
        pytest.param(PIXELS[..., None], id="channels last"),
        pytest.param(PIXELS.astype(np.float32) / 255, id="floats"),
        pytest.param({"images": PIXELS}, id="named"),
    ],
)
def test_images_of_any_form_are_the_same_rows(fit: Any, data: Any) -> None:
    """The first example of the training split is one of the pixels given."""
    model = fit(data)
    assert model.network.examples.shape == (1, 8, 8)
    first = model.dataset().read_rows("train", 0, 1).values.reshape(8, 8)
    assert any(np.array_equal(first, one) for one in PIXELS)


def test_labels_beside_images_are_classes(fit: Any) -> None:
    """A pair is images and their labels, with which a model can be conditional."""
    model = fit((PIXELS, LABELS), changes={"model.condition": ["class"]})
    assert model.network.examples.classes == ("0", "1", "2")
    assert model.generate(2, condition="1").shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(TABLE, id="pandas"),
        pytest.param(pa.Table.from_pandas(TABLE, preserve_index=False), id="arrow"),
        pytest.param({name: TABLE[name].to_numpy() for name in TABLE}, id="columns"),
    ],
)
def test_tables_of_any_library_are_the_same_columns(fit: Any, data: Any) -> None:
    """Columns keep their names and types, and a generated row has them."""
    model = fit(data, config=None, epochs=1)
    assert [column.name for column in model.network.examples.columns or ()] == [*TABLE]
    assert [*model.generate(3).columns] == [*TABLE]
    assert not model.impute(pd.DataFrame({"height": [None], "sex": ["f"], "age": [30]})).isna().any(axis=None)


def test_a_source_a_dataset_and_its_name_are_one_dataset(fit: Any, tmp_path: Path) -> None:
    """A file is ingested under its own name; the dataset can then be given by name, by path or opened."""
    np.savez(tmp_path / "cells.npz", images=PIXELS, labels=LABELS)
    model = fit(tmp_path / "cells.npz")
    assert model.name == "cells"
    uri = model.fit.dataset
    for data in ("cells", uri, Dataset.open(uri)):
        assert fit(data, epochs=1).fit.dataset == uri
    assert fit((PIXELS, LABELS), name="again", epochs=1).fit.dataset_id == model.fit.dataset_id


class Items:
    """More images of floats than the memory of its test holds: 134 MB, and 17 MB as pixels."""

    def __len__(self) -> int:
        return 4096

    def __getitem__(self, index: int) -> Any:
        return np.random.default_rng(index).random((64, 64))


def test_a_dataset_of_items_is_never_in_memory(fit: Any) -> None:
    """It is read item by item, and streamed from the dataset's files."""
    tracemalloc.start()
    try:
        model = fit(Items(), epochs=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert model.dataset().num_rows("train") > 3000
    assert peak < 100 << 20


def test_annotated_data_are_columns(fit: Any) -> None:
    """X of AnnData by the names of its variables; sparse data that would be too large are refused."""
    names, values = ["gene", "other"], np.random.default_rng(0).normal(size=(90, 2))
    model = fit(SimpleNamespace(X=values, var_names=names), config=None, epochs=1)
    assert [column.name for column in model.network.examples.columns or ()] == names
    wide = SimpleNamespace(shape=(1_000_000, 30_000), dtype=np.dtype(np.float32), toarray=None)
    with pytest.raises(DataError, match=r"sparse X of 1,000,000 × 30,000 .* Choose variables first"):
        fit(SimpleNamespace(X=wide, var_names=names))


def test_advice_on_data_is_given_in_python(fit: Any) -> None:
    """Flags of the command line become fields of `reading`, and following them works."""
    with pytest.raises(DataError, match=r"Use reading=\{'max_value': 1\} for binary images"):
        fit(PIXELS % 2)
    with pytest.raises(DataError, match=r"Use reading=\{'color': 'rgb'\} or reading=\{'color': 'grey'\}"):
        fit(np.zeros((20, 8, 8, 4), np.uint8))
    with pytest.raises(DataError, match=r"Use reading=\{'resize': \(HEIGHT, WIDTH\)\}"):
        fit([*PIXELS[:50], PIXELS[0, :4]])
    assert fit(PIXELS % 2, reading={"max_value": 1}, epochs=1).verdict


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (object(), "data of type builtins.object: expected an array or tensor"),
        (np.zeros((9, 2, 2, 7, 7)), "expected images"),
        ("nowhere", "no dataset 'nowhere'"),
        ("nowhere.csv", "no such source: "),
    ],
)
def test_what_is_no_data_is_refused_by_name(fit: Any, data: Any, said: str) -> None:
    """The message says what was given and what would do."""
    with pytest.raises(DataError, match=said):
        fit(data)


def test_settings_are_refused_with_the_nearest_name(fit: Any) -> None:
    """As on the command line."""
    with pytest.raises(ConfigError, match="did you mean `latent_dim`"):
        fit(PIXELS, changes={"model.latent_dims": 2})
    with pytest.raises(ConfigError, match="a preset or a config, not both"):
        fit(PIXELS, preset="vae")
    with pytest.raises(ConfigError, match="unknown key"):
        fit(PIXELS, reading={"lable": "y"})


def test_an_interrupted_fit_goes_on_where_it_stopped(fit: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The interrupted call returns the best model so far, the same call comes to the undisturbed weights, to the bit."""
    long = {"epochs": 6, "changes": {"training.checkpoint_steps": 2}}
    undisturbed = fit(PIXELS, home=tmp_path / "elsewhere", **long)
    step, taken = Training.train_step, []

    def interrupted(self: Training, batch: Any) -> None:
        taken.append(self.steps_done)
        if len(taken) == 15:
            raise KeyboardInterrupt
        step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "train_step", interrupted)
        left = fit(PIXELS, **long)
    assert left.verdict == "interrupted"
    assert 0 < len(left.history) < 6
    assert left.generate(2).shape == (2, 1, 8, 8)
    with pytest.raises(RegistryError, match="did not come to the end"):
        left.register("cells")
    resumed = fit(PIXELS, **long)
    assert weights(resumed) == weights(undisturbed)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run", None)  # a third call trains nothing
        assert weights(fit(PIXELS, **long)) == weights(resumed)


def test_advice_on_a_run_that_diverged_is_given_in_python(fit: Any) -> None:
    """Following it leads to a run that ends."""
    with pytest.raises(Diverged) as raised:
        fit(PIXELS, changes={"training.learning_rate": 1e12})
    advice = eval(str(raised.value).partition("changes=")[2], {})
    assert advice == {"training.learning_rate": 0.001, "training.gradient_clip_norm": 1}
    assert fit(PIXELS, changes=advice).verdict != "diverged"


def test_a_saved_model_is_the_same_model(fit: Any, tmp_path: Path) -> None:
    """With its weights, its verdict and its history."""
    model = fit(PIXELS)
    model.save(tmp_path / "kept")
    loaded = vae.load(tmp_path / "kept")
    assert weights(loaded) == weights(model)
    assert (loaded.verdict, loaded.history) == (model.verdict, model.history)
    np.testing.assert_array_equal(loaded.generate(3, seed=1), model.generate(3, seed=1))


def test_a_model_shows_itself_and_its_report(fit: Any, tmp_path: Path) -> None:
    """A notebook gets what it is, its verdict and pictures; the report is the command's."""
    model = fit(PIXELS)
    assert repr(model).startswith("<vae.Model data: images of shape (1, 8, 8), 2 latents, MLP 8, relu; ")
    shown = model._repr_html_()
    assert shown.count("<img") == 3
    assert f"Verdict: <b>{model.verdict}</b>" in shown
    assert "changes=" in shown
    page = model.report(tmp_path / "report", show=False)
    assert "Reconstructions" in page.read_text()


def test_a_model_whose_data_are_gone_says_so(fit: Any, tmp_path: Path) -> None:
    """It still shows what it is."""
    model = vae.Model(fit(PIXELS).network)
    assert "was not trained by vae.fit" in model._repr_html_()
    assert model.verdict == "unknown"


def test_connect_starts_nothing(tmp_path: Path, no_servers: None) -> None:
    """Where no service runs it says what would start them."""
    with pytest.raises(ServiceError, match=r"no services run in .*betaline up"):
        vae.connect(tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_fit_starts_from_another_model_with_more_classes(fit: Any, tmp_path: Path) -> None:
    """It takes over the parts and weights of the other, keeps frozen ones as they are, and is another run."""
    conditional = {"model.condition": ["class"]}
    trained = fit((PIXELS, LABELS), changes=conditional)
    more = (PIXELS, np.arange(90) % 4)
    model = fit(more, config=None, start=trained, epochs=1, changes={"training.freeze": ["prior", "decoder"]})
    assert model.network.examples.classes == ("0", "1", "2", "3")
    assert model.network.config == trained.network.config
    before, after = trained.network.decoder.state_dict(), model.network.decoder.state_dict()
    first = next(iter(before))
    assert torch.equal(after[first][:, : before[first].shape[1]], before[first])
    assert all(torch.equal(after[name], before[name]) for name in before if name != first)
    assert not torch.equal(model.network.posterior.head.weight, trained.network.posterior.head.weight)
    trained.save(tmp_path / "kept")
    again = fit(more, config=None, start=tmp_path / "kept", epochs=1, changes={"training.freeze": ["prior", "decoder"]})
    assert again.fit.folder == model.fit.folder
    with pytest.raises(ConfigError, match="give a trained model to start from"):
        fit(PIXELS, changes={"training.freeze": ["decoder"]})
    everything = ["encoder", "posterior", "prior", "decoder", "likelihood"]
    with pytest.raises(ConfigError, match="nothing is left to train"):
        fit((PIXELS, LABELS), config=None, start=trained, changes={"training.freeze": everything})
