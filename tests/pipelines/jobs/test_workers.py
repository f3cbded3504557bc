"""Workers of a job on a real cluster of two CPUs: their resources, their deaths, and that their number changes no score."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from pipelines.data.sources.spreading import Files
from pipelines.jobs import ingest
from pipelines.jobs.contest import Rows, bound_on
from pipelines.jobs.scoring import Subject
from pipelines.jobs.workers import Workers
from tests.pipelines.conftest import QUICK
from tests.workers import InProcess
from vae.data.parquet import Dataset
from vae.errors import CorruptData
from vae.model import VAE
from vae.training.state import save_model


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of this process alone, without the token of services that ran in it before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, _skip_env_hook=True)
        yield
        ray.shutdown()


def assigned() -> dict[str, float]:
    """Returns the resources that Ray counts for the caller."""
    return ray.get_runtime_context().get_assigned_resources()


def die_once(mark: Path, value: int) -> int:
    """Kills the process that calls it, but for the second time."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def process_of(part: Any) -> tuple[Any, int]:
    """Returns a part and the number of the process that has it."""
    return part, os.getpid()


def refuse() -> None:
    """Refuses."""
    raise CorruptData("a shard is damaged")


def scored(workers: Any, subject: Subject) -> tuple[list[float], Any]:
    """Returns the score of each row and the bound, as some workers measure them."""
    rows = Rows(workers, subject, 3, "a model")
    rows.grow(subject.num_rows)
    return rows.nats.tolist(), bound_on(workers, subject, exact=True)


def test_calls_are_counted_redone_and_refused(cluster: None, tmp_path: Path) -> None:
    """Each worker holds a CPU; a call whose worker is killed is done again; an error arrives as the function raised it."""
    with Workers() as workers:
        assert workers.room == 2
        calls = [workers.start(die_once, tmp_path / "mark", value) for value in range(5)]
        assert sorted(call.result for call in workers.finish(calls)) == [0, 1, 2, 3, 4]
        assert workers.result(workers.start(assigned)) == {"CPU": 1.0}
        with pytest.raises(CorruptData, match=r"^a shard is damaged$"):
            workers.result(workers.start(refuse))


def test_parts_of_an_ingest_are_spread_over_the_cluster(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts for which the driver has no second left are worked off by others; an error arrives as it was raised."""
    monkeypatch.setattr(ingest, "LOCAL_SECONDS", 0.0)
    done = dict(ingest._spread(process_of, range(4)))
    assert sorted(done) == [0, 1, 2, 3]
    assert os.getpid() not in done.values()
    with pytest.raises(CorruptData, match=r"^a shard is damaged$"):
        list(ingest._spread(lambda part: refuse(), [0]))


def test_large_files_are_read_on_the_cluster(cluster: None) -> None:
    """A part with a large file is no work of the driver, not even in its first second; a part of small ones is."""
    parts = [Files(0, ["a"], [ingest.LOCAL_BYTES + 1]), Files(1, ["b"], [ingest.LOCAL_BYTES])]
    done = {part.number: process for part, process in ingest._spread(process_of, parts)}
    assert done[0] != os.getpid()
    assert done[1] == os.getpid()


def test_scores_do_not_depend_on_the_number_of_workers(cluster: None, noise: Dataset, tmp_path: Path) -> None:
    """One worker, two workers and this process give the same scores to the bit, and the same bound."""
    save_model(VAE(QUICK.model, noise.manifest.example), str(tmp_path / "model"))
    subject = Subject(str(tmp_path / "model"), noise, None, "cpu")
    alone = scored(InProcess(), subject)
    with Workers() as workers:
        for room in (1, 2):
            workers.room = room
            nats, bound = scored(workers, subject)
            assert nats == alone[0]
            assert bound.negative_elbo == pytest.approx(alone[1].negative_elbo, rel=1e-12)
