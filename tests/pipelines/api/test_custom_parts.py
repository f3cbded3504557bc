"""Parts of a user's own in `vae.fit`: modules and subclasses, their refusals, and how their source travels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vae
from vae.config import RunConfig, override, parse
from vae.errors import CheckpointError, ConfigError
from vae.training.lanes import refusal

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)
LABELS = np.arange(90) % 3
SOURCE = """
from typing import Literal

import torch
from torch import nn

from vae.parts.corruptions.corruption import CorruptionPart
from vae.parts.likelihoods.laplace import Laplace
from vae.parts.posteriors.diagonal_gaussian import DiagonalGaussian
from vae.parts.priors.standard_normal import StandardNormal
from vae.parts.regularizers.regularizer import RegularizerPart


class Encoder(nn.Module):
    stackable = True

    def __init__(self, shape, width=16):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.SiLU())

    def forward(self, x):
        return self.layers(x)


class Decoder(nn.Module):
    def __init__(self, latent_dim, shape, width=16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width), nn.SiLU(), nn.Linear(width, torch.Size(shape).numel()), nn.Unflatten(1, shape)
        )

    def forward(self, z):
        return self.layers(z)


class Image(nn.Module):
    def __init__(self, shape):
        super().__init__()

    def forward(self, x):
        return x


class Dropping(Encoder):
    def forward(self, x):
        return nn.functional.dropout(self.layers(x), 0.5)


class Normalising(Encoder):
    def __init__(self, shape):
        super().__init__(shape)
        self.layers.append(nn.BatchNorm1d(16))


class Posterior(DiagonalGaussian):
    kind: Literal["custom"] = "custom"


class Prior(StandardNormal):
    kind: Literal["custom"] = "custom"


class Forgotten(StandardNormal):
    pass


class Likelihood(Laplace):
    kind: Literal["custom"] = "custom"
    scale: float = 1.0

    @property
    def summary(self):
        return f"mine, {self.scale}"


class Shift(CorruptionPart):
    by: int = 1

    def corrupt(self, x_BCHW, source):
        return x_BCHW.roll(self.by, -1)


class Small(RegularizerPart):
    weight: float = 0.1

    @property
    def summary(self):
        return "small latents"

    def penalty(self, z_BL, terms, reference_BL, num_examples):
        return self.weight * z_BL.square().mean()
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with parts of a user's own."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(folder)
    yield name
    sys.modules.pop(name, None)


def own(target: str, **args: Any) -> dict[str, Any]:
    return {"kind": "custom", "target": target, "args": args}


def config_of(mine: str, **model: Any) -> dict[str, Any]:
    modules = {"encoder": own(f"{mine}:Encoder", width=12), "decoder": own(f"{mine}:Decoder")}
    return {"model": {"latent_dim": 2, **modules, **model}, "training": {"epochs": 2, "batch_size": 20}}


@pytest.fixture
def fit(tmp_path: Path) -> Any:
    """`vae.fit` in a home of its own, with nothing shown."""
    return lambda data, **given: vae.fit(data, home=tmp_path / "home", show=False, **given)


def test_every_kind_of_part_can_be_ones_own(fit: Any, mine: str) -> None:
    """A model whose every part is custom trains, generates and says what it is made of."""
    values = config_of(
        mine,
        posterior=own(f"{mine}:Posterior"),
        prior=own(f"{mine}:Prior"),
        likelihood=own(f"{mine}:Likelihood", scale=2),
        condition=["class"],
    )
    values["objective"] = {"regularizers": [own(f"{mine}:Small")], "corruption": own(f"{mine}:Shift", by=2)}
    model = fit((PIXELS, LABELS), config=values)
    assert model.generate(2, condition="1").shape == (2, 1, 8, 8)
    assert f"{mine}:Encoder(width=12)" in repr(model)
    assert model.network.config.likelihood.summary == "mine, 2.0"
    written = model.fit.config.model_dump(mode="json")
    assert written["model"]["likelihood"] == own(f"{mine}:Likelihood", scale=2.0)
    assert parse(RunConfig, written) == model.fit.config


def test_arguments_are_fields_of_the_configuration(mine: str) -> None:
    """They change by their dotted names, as a search does."""
    config = override(parse(RunConfig, config_of(mine)), {"model.encoder.args.width": 5})
    assert config.model_dump()["model"]["encoder"]["args"] == {"width": 5}


def test_a_lane_takes_parts_that_say_so(mine: str) -> None:
    """Other models of a search train one by one."""
    config = parse(RunConfig, config_of(mine))
    assert f"{mine}:Decoder does not say" in str(refusal(config))
    stacked = override(config, {"model.decoder": {"kind": "mlp"}})
    assert refusal(stacked) is None
    assert "Prior does not say" in str(refusal(override(stacked, {"model.prior": own(f"{mine}:Prior")})))


@pytest.mark.parametrize(
    ("field", "target", "said"),
    [
        ("encoder", "MINE:Encodr", "module MINE has no Encodr (did you mean `Encoder`?)"),
        ("encoder", "nowhere:Encoder", "nowhere:Encoder: No module named 'nowhere'; install the package, or start in"),
        ("encoder", "Encoder", "target: expected module:Class, such as mypackage.nets:Encoder, got 'Encoder'"),
        ("encoder", "MINE:torch", "MINE:torch is a module, expected a class"),
        (
            "encoder",
            "MINE:Image",
            "expected features of shape [3, F] from examples of shape [3, 1, 8, 8], got [3, ",
        ),
        ("encoder", "MINE:Decoder", "MINE:Decoder fails on inputs of shape [3, 1, 8, 8]: TypeError"),
        ("encoder", "MINE:Dropping", "two calls on the same input differ"),
        ("encoder", "MINE:Normalising", "layers.3 normalises over a batch, of which each worker sees a part"),
        ("prior", "MINE:Encoder", "expected a subclass of vae.parts.priors.prior:PriorPart, got MINE:Encoder"),
        ("prior", "MINE:Forgotten", "has the kind 'standard_normal' of the part that it extends; add the field"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(fit: Any, mine: str, field: str, target: str, said: str) -> None:
    """It names the field and the part, what was expected and what was found."""
    values = config_of(mine, **{field: own(target.replace("MINE", mine))})
    with pytest.raises(ConfigError) as raised:
        fit(PIXELS, config=values)
    assert said.replace("MINE", mine) in str(raised.value)
    assert f"model.{field}: " in str(raised.value)


def test_arguments_that_a_part_does_not_know_are_refused(fit: Any, mine: str) -> None:
    """With the nearest that it does know."""
    with pytest.raises(ConfigError, match=r"args\.scael: .*did you mean `scale`"):
        fit(PIXELS, config=config_of(mine, likelihood=own(f"{mine}:Likelihood", scael=1)))
    with pytest.raises(ConfigError, match="arg: unknown key; a custom part has target and args"):
        fit(PIXELS, config=config_of(mine, encoder={"kind": "custom", "target": f"{mine}:Encoder", "arg": {}}))
    with pytest.raises(ConfigError, match="as the encoder has no mirror; name a decoder"):
        fit(PIXELS, config=config_of(mine, decoder=None))
    main = type("Encoder", (), {"__module__": "__main__"})
    with pytest.raises(ConfigError, match="is defined in the program or notebook itself"):
        fit(PIXELS, config=config_of(mine, encoder={"kind": "custom", "target": main}))


def test_other_source_is_another_run(fit: Any, mine: str, tmp_path: Path) -> None:
    """A changed part does not go on from the checkpoints of the one before it."""
    first = fit(PIXELS, config=config_of(mine))
    file = tmp_path / "code" / f"{mine}.py"
    file.write_text(file.read_text() + "\n# changed\n")
    assert fit(PIXELS, config=config_of(mine)).fit.folder != first.fit.folder


LOADING = "import sys, vae; print(vae.load(sys.argv[1], trust_code=sys.argv[2] == 'yes').generate(2).shape)"


def loaded_elsewhere(folder: Path, trusted: str) -> subprocess.CompletedProcess[str]:
    """The outcome of loading a model in a process that cannot import its parts."""
    root = str(Path(vae.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", LOADING, str(folder), trusted], capture_output=True, text=True, cwd=root, check=False
    )


def test_source_travels_with_the_model_and_runs_where_it_is_trusted(fit: Any, mine: str, tmp_path: Path) -> None:
    """Elsewhere the model loads with its own source, if that is asked for; damaged source is refused."""
    fit(PIXELS, config=config_of(mine)).save(tmp_path / "kept")
    refused = loaded_elsewhere(tmp_path / "kept", "no").stderr
    assert f"has parts of its maker's own, {mine}:Decoder, {mine}:Encoder, which are not installed here" in refused
    trusted = loaded_elsewhere(tmp_path / "kept", "yes")
    assert trusted.stdout.strip() == "(2, 1, 8, 8)", trusted.stderr
    file = tmp_path / "code" / f"{mine}.py"
    file.write_text(file.read_text() + "\n# changed\n")
    with pytest.warns(UserWarning, match="is not the one that it was trained with"):
        vae.load(tmp_path / "kept")
    (tmp_path / "kept/code.zip").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"code\.zip is damaged"):
        vae.load(tmp_path / "kept")
