"""`python -m tests.cluster`: a whole cluster without containers, the main job on it, and how long each part took."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.examples import digits
from tests.benchmarks.reproduce.page import grid, machine
from tests.cluster.topology import topology, why_no_topology

PAGE = Path(__file__).parents[1] / "benchmarks" / "results" / "cluster.md"


def main() -> None:
    """Brings everything up, runs the main job as a deployment, takes everything down, and writes the page."""
    if reason := why_no_topology():
        sys.exit(reason)
    with TemporaryDirectory(prefix="betaline-cluster-") as folder, topology(Path(folder)) as cluster:
        lines = [(f"{name} up", f"{taken:.1f} s") for name, taken in cluster.seconds.items()]
        lines += [(f"flow {name}", f"{taken:.1f} s") for name, taken in cluster.run_main_job(digits(), "main").items()]
        lines.append(("objects in S3", f"{len(cluster.bucket.keys()):,}"))
        for stage in ("tune", "train"):
            lines.append((f"nodes that {stage} worked on", str(len(cluster.nodes_of(f"main-{stage}-0")))))
    text = page(lines)
    print(text)
    PAGE.write_text(text)


def page(lines: list[tuple[str, str]]) -> str:
    """The timings in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "prefect", "mlflow"))
    parts = [
        "# The main job on a cluster without containers",
        f"`python -m tests.cluster`, {datetime.now(UTC):%Y-%m-%d}: PostgreSQL under Prefect and MLflow, S3 for datasets, "
        "runs and artifacts, a Ray head without CPUs, two nodes of one CPU, every server behind a password or token.",
        grid(("what", "measured"), lines),
        f"{machine()[:-1]}, {versions}.",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
