"""Exports of models: what their files hold, and that other runtimes answer from them as the model does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch

import vae
from pipelines.cli.command import app
from pipelines.exporting import export, programs
from pipelines.exporting.graphs import GRAPHS, MOST_COLUMNS_IN_TURN
from tests.laws import parts
from tests.pipelines.conftest import QUICK
from vae.data.schema import Column, ExampleSpec
from vae.errors import ConfigError, ExportError
from vae.inference.answering import answer
from vae.inference.coding import generator_of
from vae.model import VAE

TABLE = pd.DataFrame(
    {
        "height": np.random.default_rng(1).normal(170, 10, 400),
        "sex": ["f", "m"] * 200,
        "visits": np.random.default_rng(2).poisson(3, 400),
        "income": np.exp(np.random.default_rng(3).normal(8, 1, 400)),
        "born": pd.date_range("1980-01-01", periods=400),
    }
)
TABLE.loc[::7, "height"] = None


def run(folder: Path, task: str, **inputs: Any) -> list[np.ndarray]:
    """The answers of ONNX Runtime from a file, as a program without betaline gets them."""
    session = onnxruntime.InferenceSession(folder / f"{task}.onnx", providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == [*inputs]
    return [np.asarray(one) for one in session.run(None, inputs)]


@pytest.mark.parametrize("name", ["conv, film", "vector quantized, uniform codes"])
def test_onnx_answers_as_the_model(name: str, tmp_path: Path) -> None:
    """Every file gives the answers of `predict` to any number of rows, from images and a condition."""
    model = parts.randomised(parts.MODELS[name])
    export(model, str(tmp_path))
    images = np.random.default_rng(0).random((4, *model.examples.shape), np.float32)
    images[0, 0, 0, 0] = np.nan
    entries = [f"class={'abc'[n % 3]}, size={n / 2}, colour={('red', 'green')[n % 2]}" for n in range(4)]
    values = {"class": [0, 1, 2, 0], "size": [0, 0.5, 1, 1.5], "colour": [0, 1, 0, 1]}
    condition = np.array([values[column.name] for column in model.conditions], np.float32).T
    if len(model.conditions) == 2:
        entries = [entry.rpartition(",")[0] for entry in entries]
    for count in (1, 4):
        rows = slice(count)
        beside, asked = {"condition": condition[rows]}, {"condition": entries[rows]}
        noise = torch.randn(count, model.prior.noise_dim, generator=generator_of(torch.empty(0), 3, "latents"))
        code = answer(model, images[rows], {"task": "encode", **asked})
        mean, std = run(tmp_path, "encode", rows=images[rows], **beside)
        np.testing.assert_allclose(mean, code["mean"], atol=1e-5)
        np.testing.assert_allclose(std, code["std"], atol=1e-5)
        (made,) = run(tmp_path, "generate", noise=noise.numpy(), **beside)
        expected = answer(model, None, {"task": "generate", "n": count, "seed": 3, **asked})
        np.testing.assert_allclose(made, expected, atol=1e-5)
        (back,) = run(tmp_path, "reconstruct", rows=images[rows], **beside)
        np.testing.assert_allclose(back, answer(model, images[rows], {"task": "reconstruct", **asked}), atol=1e-5)
        (decoded,) = run(tmp_path, "decode", latents=mean, **beside)
        np.testing.assert_allclose(decoded, back, atol=1e-5)


def test_rows_of_a_table_go_in_and_come_out_in_their_own_units(tmp_path: Path) -> None:
    """The metadata of a file suffice to write rows with gaps as its input, and to read what it gives."""
    curved = {"data.transform": "auto"}
    model = vae.fit(TABLE, "miwae", changes=curved, epochs=2, home=tmp_path / "home", name="people", show=False)
    exported = model.export(tmp_path / "out", tasks=["reconstruct"], show=False)
    check = exported.graphs["reconstruct"].check
    assert (check.rows, check.source) == (40, "40 rows of the validation split of people")
    assert check.beyond <= check.allowed
    metadata = {one.key: one.value for one in onnx.load(tmp_path / "out" / "reconstruct.onnx").metadata_props}
    columns = json.loads(metadata["betaline"])["model"]["columns"]
    assert [column["name"] for column in columns] == [*TABLE]
    rows = TABLE.head(20)
    codes = {"born": rows["born"].astype("datetime64[s]").astype(np.int64)}
    codes |= {one["name"]: rows[one["name"]].map(one["categories"].index) for one in columns if "categories" in one}
    given = pd.DataFrame({name: codes.get(name, rows[name]) for name in TABLE}).to_numpy(np.float64)
    (made,) = run(tmp_path / "out", "reconstruct", rows=given)
    expected = model.reconstruct(rows)
    found = pd.DataFrame(made, columns=[*TABLE])
    np.testing.assert_allclose(found["height"], expected["height"], rtol=1e-4)
    np.testing.assert_allclose(found["income"], expected["income"], rtol=1e-3)
    assert found["visits"].astype(int).tolist() == expected["visits"].tolist()
    assert [columns[1]["categories"][int(code)] for code in found["sex"]] == expected["sex"].tolist()
    differences = pd.to_datetime(found["born"], unit="s").to_numpy() - expected["born"].to_numpy()
    assert np.abs(differences).max() < np.timedelta64(1, "m")


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_lower_precision_halves_the_weights_within_its_tolerance(format: Any, precision: Any, tmp_path: Path) -> None:
    """The networks' weights are stored in it, and the differences stay below the tolerance that is stored."""
    model = parts.randomised(parts.complete(encoder={"kind": "mlp", "hidden": [256]}, condition="none"))
    exported = export(model, str(tmp_path), format=format, precision=precision, pixels="uint8", tasks=["encode"])
    check = json.loads((tmp_path / "export.json").read_text())["graphs"]["encode"]["check"]
    assert check == exported.graphs["encode"].check.model_dump()
    assert 0 < check["largest"] <= check["tolerance"] <= 0.05
    if format == "onnx":
        weights = [onnx.numpy_helper.to_array(one) for one in onnx.load(tmp_path / "encode.onnx").graph.initializer]
        stored = {str(one.dtype) for one in weights if one.size > 10_000}
    else:
        weights = torch.export.load(tmp_path / "encode.pt2").state_dict.values()
        stored = {str(one.dtype).removeprefix("torch.") for one in weights if one.numel() > 10_000}
    assert stored == {precision}


def test_reloaded_program_takes_any_number_of_rows(tmp_path: Path) -> None:
    """A program of torch.export gives the model's answers without betaline's code, by uint8 pixels."""
    model = parts.randomised(parts.MODELS["residual conv, film"])
    export(model, str(tmp_path), format="torch-export", pixels="uint8", tasks=["reconstruct"])
    program = torch.export.load(tmp_path / "reconstruct.pt2").module()
    pixels = np.random.default_rng(0).integers(0, 256, (6, *model.examples.shape), np.uint8)
    found = program(torch.from_numpy(pixels), torch.tensor([[0.5, 1.0]]).repeat(6, 1))
    expected = answer(model, pixels, {"task": "reconstruct", "condition": ["size=0.5, class=b"]})
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", parts.MODELS)
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_every_model_exports(format: Any, name: str, tmp_path: Path) -> None:
    """No part keeps a model from any graph."""
    exported = export(parts.randomised(parts.MODELS[name]), str(tmp_path), format=format)
    assert [*exported.graphs] == [*GRAPHS]


def test_file_that_answers_otherwise_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails with the share and the size of the differences, and nothing is written."""
    opened = programs.opened
    monkeypatch.setattr(programs, "opened", lambda file: lambda inputs: [one + 1 for one in opened(file)(inputs)])
    model = parts.randomised(parts.MODELS["mlp, nothing"])
    with pytest.raises(ExportError, match=r"encode\.pt2 in float32 is not the model: 100\.00% of its values differ"):
        export(model, str(tmp_path / "out"), format="torch-export")
    assert not (tmp_path / "out").exists()


def test_exports_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting or the library, and what would work."""
    table = parts.randomised(parts.MODELS["table, nothing"])
    with pytest.raises(ConfigError, match="pixels: uint8 is for models of images"):
        export(table, str(tmp_path), pixels="uint8")
    with pytest.raises(ConfigError, match="expected onnx or torch-export, got 'tflite'"):
        export(table, str(tmp_path), format="tflite")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="task: impute cannot be exported: it draws latents"):
        export(table, str(tmp_path), tasks=["impute"])
    monkeypatch.delitem(sys.modules, "pipelines.exporting.onnx_files")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"onnx needs onnxruntime: pip install 'betaline\[export\]'"):
        export(table, str(tmp_path))


def test_likelihood_of_many_columns_in_turn_exports_its_encoder_alone() -> None:
    """The other graphs would hold the network once for each column."""
    columns = [Column(f"c{number}") for number in range(MOST_COLUMNS_IN_TURN + 1)]
    config = {**parts.MODELS["likelihood autoregressive"], "condition": "none"}
    model = VAE(parts.parse(parts.ModelConfig, config), ExampleSpec.of_table(columns), 1).eval()
    assert [task for task, graph in GRAPHS.items() if graph.refusal(model) is None] == ["encode"]
    with pytest.raises(ConfigError, match=r"task: decode cannot be exported: .* 33 columns, more than 32"):
        export(model, "nowhere", tasks=["decode"])


def test_command_prints_the_tolerance_and_what_is_no_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`betaline export FOLDER OUT --json` ends with the record that the folder holds."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)
    vae.fit(pixels, config=QUICK, home=tmp_path / "home", show=False).save(tmp_path / "model")
    command = ["export", str(tmp_path / "model"), str(tmp_path / "out"), "--format", "torch-export"]
    command += ["--task", "encode", "--task", "generate", "--json"]
    app(command, standalone_mode=False)
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == json.loads((tmp_path / "out" / "export.json").read_text())
    assert "0.0001" in said.err
    assert "no impute: it draws latents until their weights suffice" in said.err
