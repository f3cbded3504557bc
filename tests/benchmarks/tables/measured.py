"""Memory, time and temporary files of one ingest, or memory and time of one epoch of a training.

`python -m tests.benchmarks.tables.measured ingest SOURCE HOME` and `… train DATASET` print JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import ROOT

if TYPE_CHECKING:
    from pipelines.data.ingest.planning import IngestPlan

_SECONDS_BETWEEN = 0.01


class _Watch(threading.Thread):
    """Looks at this process again and again, and keeps its peaks."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.base = _anonymous_bytes()
        self.temporary = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, _anonymous_bytes())
            self.temporary = max(self.temporary, _temporary_bytes())
            time.sleep(_SECONDS_BETWEEN)


def _anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])  # pyright: ignore[reportOptionalSubscript]


def _temporary_bytes() -> int:
    """Returns the size of the temporary files that the process maps or has open, which may have no name any more."""
    sizes: dict[str, int] = {}
    prefix = os.path.join(tempfile.gettempdir(), "betaline-")
    for line in Path("/proc/self/maps").read_text().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith(prefix):
            start, stop = (int(place, 16) for place in parts[0].split("-"))
            sizes[parts[4]] = sizes.get(parts[4], 0) + stop - start
    for name in Path(tempfile.gettempdir()).glob("betaline-*.arrow"):
        try:
            facts = name.stat()
        except FileNotFoundError:
            continue
        sizes.setdefault(str(facts.st_ino), facts.st_size)
    return sum(sizes.values())


def measure(what: str, source: Path, home: Path) -> dict[str, float]:
    """Returns the figures of a process of its own, whose temporary files lie in a folder of their own.

    Args:
        what: `ingest`, or `train`.
        source: What is ingested, or the folder of a dataset.
        home: Folder of the datasets.
    """
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        command = [sys.executable, "-m", "tests.benchmarks.tables.measured", what, str(source), str(home)]
        environment = {**os.environ, "TMPDIR": folder, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def _ingest(source: str, home: str) -> None:
    from pipelines.data.ingest import IngestConfig, ingest, plan_ingest, run

    plans: list[IngestPlan] = []
    # What the dry run says comes from the same plan.
    run.plan_ingest = lambda config: plans.append(plan_ingest(config)) or plans[-1]
    watch = _Watch()
    watch.start()
    started = time.perf_counter()
    config = IngestConfig(source=source, name="measured", max_memory_bytes=1 << 40)
    result = ingest(config, home, map)
    seconds = time.perf_counter() - started
    figures = {"seconds": seconds, "survey_seconds": result.survey_seconds, "rows": sum(result.rows.values())}
    figures |= {"peak": watch.peak, "base": watch.base, "temporary": watch.temporary, "processor": time.process_time()}
    figures["stored"] = sum(file.stat().st_size for file in Path(result.uri).iterdir())
    cost = plans[0].survey.cost
    assert cost is not None
    figures |= {"expected_peak": cost.memory_bytes, "expected_temporary": cost.temporary_bytes}
    print(json.dumps(figures | {"expected_stored": cost.stored_bytes}))


def _train(dataset: str, home: str) -> None:
    """Trains the default model of a dataset for an epoch by the streaming feed."""
    import torch

    from vae.config import override
    from vae.config.suiting import facts_of, suited
    from vae.data.parquet import Dataset
    from vae.training.footprint import footprint
    from vae.training.loop import Training

    torch.set_num_threads(1)
    watch = _Watch()
    watch.start()
    opened = Dataset.open(dataset)
    config = override(suited(facts_of(opened)).config(), {"training.epochs": 1, "training.feed": "streaming"})
    estimate = footprint(config, opened)
    assert estimate is not None
    watch.peak, started = 0, time.perf_counter()
    Training(config, opened).run()
    figures = {"seconds": time.perf_counter() - started, "processor": time.process_time(), "peak": watch.peak}
    print(json.dumps(figures | {"base": watch.base, "expected_peak": estimate.total}))


if __name__ == "__main__":
    {"ingest": _ingest, "train": _train}[sys.argv[1]](*sys.argv[2:])
