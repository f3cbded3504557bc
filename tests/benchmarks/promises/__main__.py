"""Command line of the package."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.command import fill, make_parser
from tests.benchmarks.page import RESULTS, Table, Words, figures_of, grid, read_words, summary
from tests.benchmarks.promises.measures import HIDDEN_SHARE
from tests.benchmarks.promises.promises import claims
from tests.benchmarks.promises.runs import AT_17, IMAGES, TABLES, WEAK, dataset_of, jobs
from tests.benchmarks.work import Outcome

SECOND = ("control_vae", AT_17, "vq_vae", WEAK, "ladder_vae", "info_vae", "beta_vae", "annealed_vae")


def words() -> Words:
    """Returns the prose of the page."""
    return read_words("promises", {"HIDDEN_SHARE": HIDDEN_SHARE})


def render(outcomes: Sequence[Outcome]) -> str:
    """Returns two tables: models of digits whose chosen epoch was once wrong, and all shipped models."""

    def cells(row: str, data: str, *figures: str) -> list[str]:
        mine = [one for one in outcomes if (one.row, one.setting) == (row, data)]
        epochs = ", ".join(f"{one.figures['epoch']:.0f} of {one.figures['epochs']:.0f}" for one in mine)
        measured = {name: [one for one in mine if name in one.figures] for name in figures}
        return [epochs, *(summary(figures_of(measured[name], name), 2) for name in figures)]

    models = dict.fromkeys((one.row, one.setting) for one in outcomes)
    second = [row for row in SECOND if (row, "digits") in models]
    epoch = "epoch that ships, of"
    first = grid(
        ("digits", epoch, "rate", "distortion", "perplexity"),
        [[f"`{row}`", *cells(row, "digits", "rate", "distortion", "perplexity")] for row in second],
    )
    shipped = [[f"`{row}`", data, *cells(row, data, "rate", "distortion", "nll")] for row, data in models]
    return f"{first}\n\n{grid(('model', 'data', epoch, 'rate', 'distortion', 'NLL'), shipped)}"


def main() -> None:
    """Measures all promises and writes their page."""
    parser = make_parser("promises")
    parser.set_defaults(seeds=3, processes=1)
    chosen = parser.parse_args()
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    with tempfile.TemporaryDirectory() as home:
        for data in (*IMAGES, *TABLES):
            dataset_of(data, Path(home))
        table = Table(words(), list(jobs(Path(home), chosen.seeds)), render, claims)
        command = f"python -m tests.benchmarks.promises --processes {chosen.processes}"
        fill(table, chosen, RESULTS / "promises.md", command)


if __name__ == "__main__":
    main()
