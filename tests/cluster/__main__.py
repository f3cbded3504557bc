"""`python -m tests.cluster`: a whole cluster without containers, the main job on it, and how long each part took."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.examples import digits
from tests.cluster.topology import topology, why_no_topology


def main() -> None:
    """Brings everything up, runs the main job as a deployment, and takes everything down."""
    if reason := why_no_topology():
        sys.exit(reason)
    with TemporaryDirectory(prefix="betaline-cluster-") as folder, topology(Path(folder)) as cluster:
        _print(cluster.seconds)
        _print(cluster.run_main_job(digits(), "main"))
        num_objects, nodes = len(cluster.bucket.keys()), cluster.nodes_of("RayTrainWorker")
        print(f"{num_objects} objects in S3; the last training's workers were on {len(nodes)} nodes", flush=True)


def _print(seconds: dict[str, float]) -> None:
    for name, taken in seconds.items():
        print(f"{name:<20}{taken:8.1f} s", flush=True)


if __name__ == "__main__":
    main()
