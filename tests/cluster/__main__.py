"""`python -m tests.cluster`: a whole cluster without containers, the main job on it, and how long each part took."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.stages.demo import digits
from tests.cluster.topology import topology, why_no_topology
from tests.tables import Table

TABLE = Table(
    name="cluster",
    title="The main job on a cluster without containers",
    says="PostgreSQL under Prefect and MLflow, S3 for datasets, runs and artifacts, a Ray head without CPUs, two nodes of "
    "one CPU, every server behind a password or token.",
    header=("what", "measured"),
)


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
    text = TABLE.page(lines)
    print(text)
    TABLE.file.write_text(text)


if __name__ == "__main__":
    main()
