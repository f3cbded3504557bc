"""The trainings of the draws and of their repairs, and the verdict on them; what worker processes run."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pipelines.cli.options import assignments
from tests.benchmarks.verdicts.draws import datasets, draw
from tests.benchmarks.verdicts.oracle import BAD, figures, labelled
from tests.benchmarks.verdicts.page import Judged
from vae.config import RunConfig, override
from vae.config.scale import scale_of
from vae.data.parquet import Dataset
from vae.errors import BetalineError
from vae.training.hooks import EpochReport, Hooks
from vae.training.loop import Training
from vae.training.verdict import Measured, early_epoch, judge, measure

Line = Mapping[str, Any]
"""The stored record of a training: number of the draw, history, generation gaps and figures, or the error; of a repair also
the advice."""


@cache
def _datasets() -> Mapping[str, Dataset]:
    """Returns the datasets by name; each process ingests its own, into a folder that the system clears."""
    torch.set_num_threads(1)
    return datasets(Path(tempfile.mkdtemp(prefix="verdicts-")))


def trained(name: str, config: RunConfig) -> Line:
    """Trains a configuration; returns its history and what its model is by the oracle, or why it ended."""
    started, dataset, tenth = time.monotonic(), _datasets()[name], _AtTenth()
    tenth.training = training = Training(config, dataset, hooks=tenth)
    try:
        result = training.run()
    except BetalineError as error:
        return {"error": str(error), "seconds": time.monotonic() - started}
    return {
        "history": [asdict(report) for report in result.history],
        "gaps": [tenth.gap, measure(config, dataset, result.model).generation_gap],
        "figures": figures(result.model, config, dataset),
        "seconds": time.monotonic() - started,
    }


class _AtTenth(Hooks):
    """Measures a training when a tenth of its epochs are over, as `betaline train` does."""

    training: Training
    gap = 0.0

    def on_epoch(self, report: EpochReport) -> None:
        training = self.training
        if report.epoch == early_epoch(training.config):
            self.gap = measure(training.config, training.dataset, training.shipped).generation_gap


def drawn(seed: int, number: int) -> Line:
    """Trains one draw."""
    return {"number": number, **trained(*draw(seed, number))}


def repaired(seed: int, job: tuple[int, str]) -> Line:
    """Trains one draw again as its advice says, read as the command line reads it."""
    number, advice = job
    name, config = draw(seed, number)
    return {"number": number, "advice": advice, **trained(name, followed(config, advice))}


def followed(config: RunConfig, advice: str) -> RunConfig:
    """Returns the configuration that `betaline train … {advice}` trains."""
    flags = shlex.split(advice)
    assert flags[0::2] == ["--set"] * (len(flags) // 2), f"advice is of other flags: {advice}"
    return override(config, assignments(flags[1::2]), "advice")


def judged(seed: int, line: Line, repairs: Mapping[tuple[int, str], Line]) -> Judged:
    """Returns a draw with what the verdict says of it, after a tenth of its epochs and at its end."""
    number = line["number"]
    name, config = draw(seed, number)
    dataset = _datasets()[name]
    history = [EpochReport(**report) for report in line["history"]]
    scale, rows = scale_of(config, dataset), dataset.num_rows("train")
    early, late = (
        judge(config, history[:epochs], Measured(scale, rows, gap))
        for epochs, gap in zip((early_epoch(config), None), line["gaps"], strict=True)
    )
    label = labelled(line["figures"])
    advice = next((finding.advice for finding in (*late, *early) if finding.name == label), None)
    repair = repairs.get((number, advice or ""), {})
    return Judged(
        number=number,
        dataset=name,
        config=config,
        label=label,
        figures=line["figures"],
        early=tuple(finding.name for finding in early if finding.name in BAD),
        late=tuple(finding.name for finding in late if finding.name in BAD),
        at_tenth=history[: early_epoch(config)][-1],
        best=history[history[-1].best_epoch - 1],
        advice=advice,
        repaired=repair.get("figures"),
    )
