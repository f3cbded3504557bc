"""Batches: which rows reach the model, in which order, resident and streamed."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from vae.data.batches import (
    Binarization,
    Feed,
    InOrder,
    ResidentFeed,
    Share,
    StreamingFeed,
    open_feed,
)
from vae.data.binarization import static_binarization
from vae.data.missing import MissingAtRandom, MissingCompletelyAtRandom, MissingNotAtRandom, hide
from vae.data.parquet import Dataset
from vae.data.rows import Rows
from vae.data.schema import Column
from vae.errors import ConfigError, DataError

ROWS, GROUP, BATCH = 530, 20, 16
ROW_BYTES = 16
BUDGET = 3 * 64 * ROW_BYTES
"""Windows of 64 rows: three row groups, and part of a fourth."""
MODES = ("resident", "streaming")


@pytest.fixture(scope="module")
def numbered(publish: Callable[..., Dataset], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Images that carry their own row number in their first two pixels; the label is the row modulo 7."""
    pixels = np.zeros((ROWS + 50, 1, 4, 4), np.uint8)
    numbers = np.arange(ROWS + 50)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = numbers // 256, numbers % 256
    folder = tmp_path_factory.mktemp("numbered")
    return publish(folder, pixels, numbers % 7, {"train": ROWS, "validation": 50}, GROUP)


def feed(
    dataset: Dataset, mode: str, rank: int = 0, size: int = 1, seed: int = 0, budget: int = BUDGET, batch: int = BATCH
) -> Feed:
    share = Share.of(dataset, "train")
    ranks = {"rank": rank, "world_size": size}
    return open_feed(share, **ranks, batch_size=batch, seed=seed, mode=mode, memory_budget_bytes=budget)


def rows_of(feed: Feed, epoch: int, first_step: int = 0) -> list[list[int]]:
    """The row numbers of each batch; asserts that labels are those of the rows."""
    steps = []
    for batch in feed.epoch(epoch, first_step):
        flat = batch.values.flatten(1).long()
        numbers = flat[:, 0] * 256 + flat[:, 1]
        assert batch.labels is not None
        assert torch.equal(batch.labels, numbers % 7)
        assert batch.values.shape[1:] == (1, 4, 4)
        steps.append(numbers.tolist())
    return steps


@pytest.mark.parametrize("budget", [BUDGET, 10**6])
def test_any_number_of_ranks_walks_one_order(numbered: Dataset, budget: int) -> None:
    """1 to 8 ranks have the same batches in either feed, each rank its part, and an epoch repeats no row."""
    for epoch in range(2):
        alone = rows_of(feed(numbered, "resident", budget=budget), epoch)
        rows = list(itertools.chain(*alone))
        assert {len(step) for step in alone} == {BATCH}
        assert len(rows) == len(set(rows))
        assert ROWS - len(rows) < BATCH
        for mode in MODES:
            for size in (1, 2, 3, 4, 8):
                parts = [rows_of(feed(numbered, mode, rank, size, budget=budget), epoch) for rank in range(size)]
                assert [list(itertools.chain(*step)) for step in zip(*parts, strict=True)] == alone
                assert max(len(part[0]) for part in parts) - min(len(part[0]) for part in parts) <= 1


def test_ranks_hold_and_read_their_rows_alone(numbered: Dataset, blocks_read: list[int]) -> None:
    """Where the split fits, a rank holds a range of its own in every epoch; in windows it reads its rows of each."""
    held = [feed(numbered, "resident", rank, 3, budget=10**6) for rank in range(3)]
    assert sum(one.held_bytes for one in held) == ROWS * ROW_BYTES
    list(feed(numbered, "streaming", 1, 4).epoch(0))
    assert sum(blocks_read) <= ROWS / 4 + BATCH


def test_every_row_is_left_out_alike(numbered: Dataset) -> None:
    """Rows that are left over for less than a batch differ between epochs."""
    one = feed(numbered, "resident", budget=10**6)
    left = [set(range(ROWS)) - set(itertools.chain(*rows_of(one, epoch))) for epoch in range(20)]
    assert {len(rows) for rows in left} == {ROWS % BATCH}
    assert len(set.union(*left)) > ROWS % BATCH


@pytest.mark.parametrize("mode", MODES)
def test_epochs_differ_and_repeat(numbered: Dataset, mode: str) -> None:
    """Each epoch has its own order, the same every time; seed and rank change it."""
    first = rows_of(feed(numbered, mode), 0)
    assert rows_of(feed(numbered, mode), 0) == first
    assert rows_of(feed(numbered, mode), 1) != first
    assert rows_of(feed(numbered, mode, seed=1), 0) != first
    assert first[0] != sorted(first[0])


def test_streaming_shuffles_a_single_group_anew(publish: Callable[..., Dataset], tmp_path: Path) -> None:
    """Where one row group holds the whole share, two epochs still differ in which rows go together."""
    pixels = np.zeros((64, 1, 4, 4), np.uint8)
    pixels[:, 0, 0, 1] = np.arange(64)
    dataset = publish(tmp_path, pixels, np.arange(64) % 7, {"train": 64}, group_rows=64)
    epochs = [{frozenset(step) for step in rows_of(feed(dataset, "streaming", budget=10**6), e)} for e in range(2)]
    assert not epochs[0] & epochs[1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("rank", "size"), [(0, 1), (1, 2)])
def test_restart_gives_the_same_tail(numbered: Dataset, mode: str, rank: int, size: int) -> None:
    """From any step on, a fresh feed gives what the whole epoch would have given."""
    whole = rows_of(feed(numbered, mode, rank, size), 3)
    for step in range(len(whole) + 1):
        assert rows_of(feed(numbered, mode, rank, size), 3, step) == whole[step:]


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each block that feeds have read."""
    read: list[int] = []
    inner = Share.blocks

    def counted(self: Share, start: int, stop: int) -> Iterator[Rows]:
        for block in inner(self, start, stop):
            read.append(len(block.values))
            yield block

    monkeypatch.setattr(Share, "blocks", counted)
    return read


def test_streaming_respects_its_window(numbered: Dataset, blocks_read: list[int]) -> None:
    """What has been read and not yet been used never exceeds two windows and a block; no row is read twice."""
    streaming = feed(numbered, "streaming")
    for used, _ in enumerate(streaming.epoch(0)):
        assert sum(blocks_read) - used * BATCH <= 2 * 64 + GROUP
    assert sum(blocks_read) <= ROWS


@pytest.mark.parametrize("binarization", [None, "static"])
def test_streaming_keeps_its_memory_budget(
    publish: Callable[..., Dataset], tmp_path: Path, binarization: Binarization | None
) -> None:
    """Windows, copies, draws and what decoding takes: NumPy's and Arrow's memory together stay below the budget."""
    budget = 12 << 20
    pixels = np.random.default_rng(0).integers(256, size=(20_480, 1, 32, 32), dtype=np.uint8)
    dataset = publish(tmp_path, pixels, np.arange(len(pixels)) % 7, {"train": len(pixels)}, group_rows=4096)
    share = Share.of(dataset, "train", binarization=binarization)
    streaming = open_feed(share, batch_size=BATCH, seed=0, mode="streaming", memory_budget_bytes=budget)
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        batches = sum(1 for _ in streaming.epoch(0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert batches == len(pixels) // BATCH
    assert budget / 2 < peak + pool.max_memory() <= budget


def test_streaming_mixes_rows_of_a_window(numbered: Dataset) -> None:
    """A batch holds rows of several row groups: order is drawn inside a window, not inside a group."""
    steps = rows_of(feed(numbered, "streaming"), 0)
    assert sum(len({row // GROUP for row in step}) for step in steps) / len(steps) > 2


def test_streaming_skips_what_it_need_not_read(numbered: Dataset, blocks_read: list[int]) -> None:
    """A restart near the end reads the last window alone, and the blocks that it begins and ends in."""
    steps = rows_of(feed(numbered, "streaming"), 0, first_step=ROWS // BATCH - 1)
    assert len(steps) == 1
    assert sum(blocks_read) <= 64 + 2 * GROUP


def test_streaming_reports_a_reader_that_fails(numbered: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the background thread reaches the loop that takes the batches."""

    def broken(self: Share, start: int, stop: int) -> Iterator[Rows]:
        raise DataError(f"rows {start} to {stop} are gone")

    monkeypatch.setattr(Share, "blocks", broken)
    with pytest.raises(DataError, match="are gone"):
        next(iter(feed(numbered, "streaming").epoch(0)))


@pytest.mark.parametrize(("budget", "kind"), [(ROWS * ROW_BYTES, ResidentFeed), (ROWS * ROW_BYTES - 1, StreamingFeed)])
def test_auto_is_resident_while_the_share_fits(numbered: Dataset, budget: int, kind: type) -> None:
    """The budget counts the bytes of the split's rows, to the byte."""
    assert type(feed(numbered, "auto", budget=budget)) is kind


def test_batch_larger_than_the_split_is_refused(numbered: Dataset) -> None:
    """A batch that no epoch could fill is refused with both sizes."""
    with pytest.raises(ConfigError) as error:
        feed(numbered, "auto", batch=ROWS + 1)
    assert str(error.value) == (
        f"training.batch_size: one step takes {ROWS + 1} examples, the train split of {numbered.uri} has {ROWS}; "
        "use a smaller batch"
    )


@pytest.mark.parametrize("budget", [10**9, 1])
def test_in_order_gives_every_row_once(numbered: Dataset, budget: int) -> None:
    """Evaluation sees the share's rows once, in order, the last batch shorter, whether they are kept or read again."""
    share = Share.of(numbered, "validation").batches_of(1, 2, 10)
    batches = InOrder(share, batch_size=10, memory_budget_bytes=budget)
    for _ in range(2):
        rows = [batch.values.flatten(1)[:, :2].long() @ torch.tensor([256, 1]) for batch in batches]
        assert [len(row) for row in rows] == [10, 10, 10]
        assert torch.cat(rows).tolist() == list(range(ROWS + 20, ROWS + 50))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_ranks_share_whole_batches(numbered: Dataset, size: int) -> None:
    """Each rank evaluates whole batches of the split, which together are all of it; some ranks may have none."""
    shares = [Share.of(numbered, "validation").batches_of(rank, size, 15) for rank in range(size)]
    assert [shares[0].start, shares[-1].stop] == [0, 50]
    assert all(a.stop == b.start for a, b in itertools.pairwise(shares))
    assert all(share.start % 15 == 0 for share in shares if share.num_rows)


@pytest.mark.parametrize("mode", MODES)
def test_static_share_is_the_same_in_every_epoch_and_feed(numbered: Dataset, mode: str) -> None:
    """A statically binarised row is one draw: resident and streamed, in any epoch, it is the same image."""
    share = Share.of(numbered, "train", binarization="static")
    raw = numbered.read_rows("train", 0, ROWS).values
    expected = {tuple(row) for row in static_binarization(raw, 0, "train").tolist()}
    feed = open_feed(share, batch_size=BATCH, seed=0, mode=mode, memory_budget_bytes=BUDGET)
    for epoch in range(2):
        for batch in feed.epoch(epoch):
            assert {tuple(row) for row in batch.values.flatten(1).tolist()} <= expected


@pytest.mark.parametrize("mode", MODES)
def test_grey_pixels_without_a_policy_are_refused(numbered: Dataset, mode: str) -> None:
    """A Bernoulli likelihood over grey data is refused where the data is read, with where it is."""
    share = Share.of(numbered, "train", binarization="none")
    with pytest.raises(DataError, match=rf"^{numbered.uri}, train rows \d+ to \d+: \d+ of \d+ pixels are neither"):
        next(iter(open_feed(share, batch_size=8, seed=0, mode=mode, memory_budget_bytes=BUDGET).epoch(0)))


def test_feeds_work_without_labels(publish: Callable[..., Dataset], tmp_path: Path) -> None:
    """Unlabelled data gives batches without labels, resident and streamed."""
    dataset = publish(tmp_path, np.zeros((40, 3, 2, 2), np.uint8), None, {"train": 40}, 10)
    for mode in MODES:
        batches = list(feed(dataset, mode, budget=4 * 12 * 20).epoch(0))
        assert [(len(batch), batch.labels, batch.values.shape[1:]) for batch in batches] == [(16, None, (3, 2, 2))] * 2


def as_set(*columns: torch.Tensor | None) -> set[bytes]:
    """The rows of some tensors side by side, each once."""
    flat = [column.reshape(len(column), -1).double().numpy() for column in columns if column is not None]
    return {row.tobytes() for row in np.concatenate(flat, axis=1)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("missing", [None, MissingCompletelyAtRandom(), MissingAtRandom(), MissingNotAtRandom()])
def test_table_feeds_give_its_rows(people: Dataset, mode: str, missing) -> None:
    """Resident and streamed, in any epoch, a table's batches are its rows with their labels, with the same holes."""
    share = Share.of(people, "train", missing=missing)
    budget = 3 * 64 * share.row_bytes
    feed = open_feed(share, batch_size=30, seed=0, mode=mode, memory_budget_bytes=budget)
    whole = share.load(0, 900)
    assert (whole.values.dtype, whole.values.shape, whole.observed) == (torch.float64, (900, 4), None)
    assert share.row_bytes == whole.values[0].nbytes == 32
    for epoch in range(2):
        seen = [as_set(batch.values, batch.labels) for batch in feed.epoch(epoch)]
        assert len(seen) == 30
        assert set.union(*seen) == as_set(whole.values, whole.labels)
    ordered = [batch.values for batch in InOrder(share, batch_size=100, memory_budget_bytes=1)]
    np.testing.assert_array_equal(torch.cat(ordered), whole.values)


@pytest.mark.parametrize("mode", MODES)
def test_hidden_pixels_are_black_and_told(numbered: Dataset, mode: str) -> None:
    """Where pixels go missing, a batch says which are there, and the others are 0, the same in every epoch and feed."""
    missing = MissingCompletelyAtRandom(share=0.4)
    share = Share.of(numbered, "train", missing=missing)
    assert share.row_bytes == 2 * ROW_BYTES
    raw = numbered.read_rows("train", 0, ROWS).values
    observed = hide(raw, missing, split="train", first_row=0)
    expected = as_set(torch.from_numpy(raw * observed), torch.from_numpy(observed))
    feed = open_feed(share, batch_size=BATCH, seed=0, mode=mode, memory_budget_bytes=2 * BUDGET)
    for batch in feed.epoch(0):
        assert batch.observed is not None
        assert (batch.observed.shape, batch.observed.dtype) == (batch.values.shape, torch.bool)
        assert as_set(batch.values, batch.observed) <= expected


@pytest.mark.parametrize("mode", MODES)
def test_attributes_stay_with_their_rows(publish: Callable[..., Dataset], tmp_path: Path, mode: str) -> None:
    """A batch's attributes are those of its images, in every feed."""
    pixels = np.zeros((200, 1, 4, 4), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(200)
    values = np.stack([np.arange(200), np.arange(200) % 3], axis=1).astype(np.float32)
    columns = [Column(name, dtype="double") for name in ("row", "third")]
    dataset = publish(tmp_path, pixels, None, {"train": 200}, 30, columns, values)
    share = Share.of(dataset, "train")
    assert share.row_bytes == 16 + 8
    feed = open_feed(share, batch_size=BATCH, seed=0, mode=mode, memory_budget_bytes=3 * 48 * 24)
    for batch in [*feed.epoch(0), *InOrder(share, 50, 1), *InOrder(share, 50)]:
        rows = batch.values[:, 0, 0, 0].float()
        assert batch.attributes is not None
        assert torch.equal(batch.attributes, torch.stack([rows, rows % 3], dim=1))
