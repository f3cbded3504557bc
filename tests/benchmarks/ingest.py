"""Speed of an ingest, and of reading the dataset back: `python -m tests.benchmarks.ingest`.

Every figure is the best of a few repetitions, because a shared machine only makes them worse. MNIST is read
from BETALINE_TEST_DATA (default `../shared/data` beside the checkout); what needs it is skipped with a message
if it is absent.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from pipelines.data.ingest import IngestConfig, IngestResult, ingest
from pipelines.data.sources.idx import parse_idx
from vae.data.parquet import Dataset

NUM_PROCESSES = min(2, os.cpu_count() or 1)
REPETITIONS = 5


def data_folder() -> Path:
    """Returns the folder of MNIST."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    return Path(os.environ.get("BETALINE_TEST_DATA", default)) / "mnist"


def measure_ingest(source: Path, work: Path) -> list[IngestResult]:
    """Ingests a source several times, each into a fresh home with fresh processes."""
    results = []
    for _ in range(REPETITIONS):
        shutil.rmtree(work, ignore_errors=True)
        config = IngestConfig(source=str(source), name="bench")
        with ProcessPoolExecutor(NUM_PROCESSES) as pool:
            results.append(ingest(config, str(work), pool.map))
    return results


def measure_reading(uri: str, *, one_pass: bool) -> float:
    """Returns the best GB/s of pixels of several readings of all splits with every check.

    Args:
        uri: Dataset.
        one_pass: Whether to check the shards while they are read, rather than before.
    """
    best = float("inf")
    for _ in range(3 * REPETITIONS):
        started = time.perf_counter()
        dataset = Dataset.open(uri)
        if not one_pass:
            dataset.verify()
        num_bytes = 0
        for split in dataset.manifest.splits:
            rows = dataset.read_rows(split, 0, dataset.num_rows(split), verify=one_pass)
            num_bytes += rows.values.nbytes
        best = min(best, (time.perf_counter() - started) / num_bytes)
    return 1e-9 / best


def write_pngs(mnist: Path, folder: Path) -> None:
    """Writes the 60,000 training images as PNG files in class folders."""
    images = parse_idx((mnist / "train-images-idx3-ubyte.gz").read_bytes(), "images")
    labels = parse_idx((mnist / "train-labels-idx1-ubyte.gz").read_bytes(), "labels")
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / str(label) / f"{number:05d}.png")


def report(name: str, value: float, unit: str, floor: float) -> None:
    """Prints one line of the table."""
    verdict = "ok" if value >= floor else "BELOW"
    print(f"{name:52} {value:>12,.2f} {unit:<10} floor {floor:>10,.2f}  {verdict}")


def main() -> None:
    """Measures and prints."""
    mnist = data_folder()
    if not mnist.is_dir():
        print(f"skipped: no MNIST at {mnist}; set BETALINE_TEST_DATA to the folder that holds mnist/")
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) / "home"
        print(f"{NUM_PROCESSES} processes, load average {os.getloadavg()[0]:.1f}")
        results = measure_ingest(mnist, work)
        assert sum(results[-1].rows.values()) == 70_000
        report("IDX (gz): decode and write", max(r.images_per_second for r in results), "images/s", 100_000)
        print(f"{'IDX (gz): survey':52} {min(r.survey_seconds for r in results):>12,.2f} s")
        uri = results[-1].uri
        report("read back, checked in the same pass", measure_reading(uri, one_pass=True), "GB/s", 1.5)
        report("read back, checked before", measure_reading(uri, one_pass=False), "GB/s", 1.5)
        pngs = Path(temporary) / "pngs"
        write_pngs(mnist, pngs)
        results = measure_ingest(pngs, work)
        assert sum(results[-1].rows.values()) == 60_000
        report("60,000 PNGs: decode and write", max(r.images_per_second for r in results), "images/s", 10_000)
        survey = min(r.survey_seconds for r in results)
        print(f"{'60,000 PNGs: survey (list, hash, headers)':52} {survey:>12,.2f} s")
        whole = max(60_000 / (r.seconds + r.survey_seconds) for r in results)
        report("60,000 PNGs: survey, decode and write", whole, "images/s", 10_000)


if __name__ == "__main__":
    main()
