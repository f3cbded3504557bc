"""Models on the Hugging Face Hub, sent and taken by processes of their own through a server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import vae
from tests import hub
from tests.pipelines.conftest import QUICK
from tests.servers import ROOT
from vae.errors import RegistryError

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that `vae.fit` trained."""
    folder = tmp_path_factory.mktemp("saved")
    vae.fit(PIXELS, config=QUICK, home=folder / "home", name="noise", show=False).save(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str], Path]]:
    """The server's address, what it was asked, and its folder."""
    folder = tmp_path_factory.mktemp("hub")
    with hub.serving(folder) as (url, requests):
        yield url, requests, folder


def run(server: Any, *arguments: str, token: str = hub.TOKEN, program: str = "-m pipelines.cli") -> Any:
    """The result of a command, or its error as "Type: message"."""
    url, _, folder = server
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}
    environment |= {"HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}  # the server has the older way alone
    start = ["-c", program.removeprefix("-c").strip()] if program.startswith("-c") else program.split()
    command = [sys.executable, *start, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    return "{type}: {message}".format(**said["error"]) if "error" in said else said


def test_model_comes_back_from_the_hub_as_it_was_sent(saved: Path, server: Any, tmp_path: Path) -> None:
    """The files of the repository are those of the model and its card, and a pulled model has the same bytes."""
    pushed = run(server, "push", str(saved), "hf://u/noise", "--private", "--json")
    repository = server[2] / "models" / "u" / "noise"
    files = {"README.md", "fit.json", "model.json", "weights.safetensors"}
    assert set(pushed["files"]) == {file.name for file in (repository / "main").iterdir()} == files
    assert (pushed["url"], pushed["commit"]) == (f"{server[0]}/u/noise", hub.COMMIT)
    (repository / "main" / "weights.pkl").write_bytes(b"nothing of betaline's reads this")
    run(server, "pull", "hf://u/noise@main", str(tmp_path / "pulled"), "--json")
    assert {file.name for file in (tmp_path / "pulled").iterdir()} == files
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "pulled" / name).read_bytes() == (saved / name).read_bytes()
    ours, theirs = (vae.load(folder) for folder in (saved, tmp_path / "pulled"))
    assert (theirs.verdict, theirs.history, theirs.fit.config) == (ours.verdict, ours.history, ours.fit.config)
    assert str(saved.parent) not in (tmp_path / "pulled" / "fit.json").read_text(), "nobody else should see it"
    with pytest.raises(RegistryError, match="noise was trained elsewhere"):
        theirs.register()
    assert not [request for request in server[1] if "weights.pkl" in request and "resolve" in request]
    program = (
        "-c import json, vae; print(json.dumps([vae.load('hf://u/noise').verdict, vae.load('hf://u/noise').name]))"
    )
    assert run(server, program=program) == [vae.load(saved).verdict, "noise"]


def test_card_is_in_the_form_of_the_hub(saved: Path, server: Any) -> None:
    """Front matter names library, tags and figures, and no license; the text says how to load the model."""
    run(server, "push", str(saved), "hf://u/card", "--json")
    _, head, text = (server[2] / "models" / "u" / "card" / "main" / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert (facts["library_name"], facts["pipeline_tag"]) == ("betaline", "unconditional-image-generation")
    assert {"variational-autoencoder", "image"} <= set(facts["tags"])
    assert "license" not in facts
    (result,) = facts["model-index"][0]["results"]
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    best = min(vae.load(saved).history, key=lambda epoch: epoch.validation_distortion + epoch.validation_rate)
    assert figures["negative_elbo"] == pytest.approx(best.validation_distortion + best.validation_rate, abs=1e-3)
    assert (result["dataset"]["name"], result["dataset"]["split"]) == ("noise", "validation")
    assert 'model = vae.load("hf://u/card").model' in text
    assert "## Limits" in text


REFUSED = {
    "push hf://u/other": "hf://u/other: the Hub does not know who asks; log in with `hf auth login`, or set HF_TOKEN",
    "push hf://w/other as u": "hf://w/other: this login may not write to w; log in with a token of w that may write",
    "push hf://datasets/u/x": "hf://datasets/u/x is no model on the Hub; expected hf://USER/NAME or hf://USER/NAME@REVISION",
    "pull hf://u/absent": "no model hf://u/absent on the Hub, or a private one; check the name, or log in with `hf auth",
    "pull hf://u/secret": "no model hf://u/secret on the Hub, or a private one; check the name, or log in with `hf auth",
    "pull hf://u/strange@v9": "hf://u/strange@v9: there is no revision v9 of u/strange",
    "pull hf://u/strange": "hf://u/strange is no model of betaline: it has no model.json; nothing else of it is loaded",
    "pull hf://u/changed": "hf://u/changed: weights.safetensors is not the file that model.json names by its SHA-256",
}
REFUSALS = f"""-c
import json, os, sys, vae
from vae.errors import RegistryError
said = {{}}
model = vae.load(sys.argv[1])
for case in sys.argv[2:]:
    what, address, *who = case.split()
    os.environ["HF_TOKEN"] = {hub.TOKEN!r} if who else ""
    try:
        model.push(address, show=False) if what == "push" else vae.load(address)
    except RegistryError as refusal:
        said[case] = str(refusal)
print(json.dumps(said))
"""


def test_hub_refuses_in_one_sentence(saved: Path, server: Any) -> None:
    """What is absent, private, no model, damaged, or not allowed is named with what to do."""
    models = server[2] / "models" / "u"
    for name in ("secret", "strange", "changed"):
        (models / name / "main").mkdir(parents=True, exist_ok=True)
    (models / "secret" / "PRIVATE").touch()
    (models / "strange" / "main" / "pytorch_model.bin").write_bytes(b"a pickle")
    (models / "changed" / "main" / "model.json").write_bytes((saved / "model.json").read_bytes())
    (models / "changed" / "main" / "weights.safetensors").write_bytes(b"other weights")
    said = run(server, str(saved), *REFUSED, program=REFUSALS)
    for case, sentence in REFUSED.items():
        assert said[case].startswith(sentence), case
    assert not [request for request in server[1] if "pytorch_model.bin" in request]


def test_hub_that_does_not_answer_is_named(saved: Path, tmp_path: Path) -> None:
    """A server that is not there ends in a sentence, and so does a missing library."""
    said = run(("http://127.0.0.1:9", [], tmp_path), "push", str(saved), "hf://u/x", "--json")
    assert said.startswith("RegistryError: hf://u/x: the Hub cannot be reached or read: ")
    program = (
        "-cimport json, sys; sys.modules['huggingface_hub'] = None\nimport vae\nfrom vae.errors import RegistryError\n"
        "try: vae.load('hf://u/x')\nexcept RegistryError as error: print(json.dumps(str(error)))"
    )
    expected = "hf://u/x needs huggingface_hub: pip install 'betaline[hub]'"
    assert run(("http://127.0.0.1:9", [], tmp_path), program=program) == expected
