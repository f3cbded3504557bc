"""The notebooks of the documentation, run from the first cell to the last in a folder of their own.

`python -m tests.test_notebooks` runs them and keeps what they show.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))


def run(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """Returns a notebook with what its cells show."""
    book = nbformat.read(notebook, as_version=4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return book


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs, and the model of the notebook shows its pictures."""
    monkeypatch.delenv("BETALINE_HOME", raising=False)
    book = run(notebook, tmp_path)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    shown = [output.data.get("text/html", "") for output in outputs if "data" in output]
    assert any("Verdict: " in html and "<img" in html for html in shown)


def main() -> None:
    """Runs the notebooks and writes them with what they show."""
    for notebook in NOTEBOOKS:
        with TemporaryDirectory() as folder:
            book = run(notebook, Path(folder))
        for cell in book.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(book, notebook)


if __name__ == "__main__":
    main()
