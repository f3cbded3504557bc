"""Rows of TVAE and CTGAN, from an interpreter that has the package `ctgan` and need not have this one.

`PYTHON rivals.py KIND REAL.csv DRAWN.csv DISCRETE SECONDS SEED ROWS`; DISCRETE names the columns of categories.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any


def main(kind: str, real: str, drawn: str, discrete: str, seconds: float, seed: int, num_rows: int) -> None:
    """Fits for as many epochs as there is processor time for, and writes as many rows."""
    ctgan, pandas, numpy, torch = (import_module(name) for name in ("ctgan", "pandas", "numpy", "torch"))
    torch.set_num_threads(1)
    columns = [name for name in discrete.split(",") if name]
    rows = pandas.read_csv(real, dtype=dict.fromkeys(columns, str), keep_default_na=False)
    started, done = time.process_time(), 0

    def until_late(epochs: Any, **_: Any) -> Iterator[Any]:
        nonlocal done
        for done in epochs:
            if time.process_time() - started > seconds:
                return
            yield done

    # The progress bar is the one place where both loops over epochs can be ended.
    import_module(f"ctgan.synthesizers.{kind.lower()}").tqdm = until_late  # pyright: ignore[reportAttributeAccessIssue]
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    model = getattr(ctgan, kind)(epochs=10**6, enable_gpu=False)
    model.fit(rows, columns)
    print(done, time.process_time() - started)
    model.sample(num_rows).to_csv(drawn, index=False)


if __name__ == "__main__":
    name, real, drawn, discrete, *numbers = sys.argv[1:]
    main(name, real, drawn, discrete, *(int(number) for number in numbers))
