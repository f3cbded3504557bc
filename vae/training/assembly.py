"""Assembly of a run from its configuration and its dataset: the model, its shares of the splits, its identity."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from vae.config import RunConfig, TrainingConfig
from vae.data.batches import Feed, InOrder, Share, open_feed
from vae.data.parquet import Dataset
from vae.data.schema import Experience
from vae.data.statistics import example_spec
from vae.draws import RowDraws
from vae.errors import ConfigError, DataError
from vae.metrics.likelihood import inputs_of
from vae.model import VAE
from vae.parts.sources import digest_of
from vae.seeds import Stream, derive

DRAWS = 2
"""Version of the order of the rows and of the draws, which must not change between a checkpoint and its resume."""


def share_of(
    config: RunConfig,
    dataset: Dataset,
    split: str,
    device: torch.device | str = "cpu",
) -> Share:
    """Returns a split, binarised for the likelihood and without the entries that the run hides."""
    return Share.of(dataset, split, device, config.model.likelihood.binarization_policy, config.data.missing)


def open_feeds(
    config: RunConfig, dataset: Dataset, rank: int = 0, size: int = 1, device: torch.device | str = "cpu"
) -> tuple[Feed, InOrder]:
    """Returns a rank's training batches and its validation rows, within the memory budget of the run.

    Raises:
        ConfigError: If the training split has fewer rows than one step takes.
    """
    training = config.training
    feed = open_feed(
        share_of(config, dataset, "train", device),
        rank=rank,
        world_size=size,
        batch_size=training.batch_size,
        seed=training.seed_of_data,
        mode=training.feed,
        memory_budget_bytes=training.memory_budget_bytes,
    )
    remaining = training.memory_budget_bytes - feed.held_bytes
    share = share_of(config, dataset, "validation", device)
    batch_size = validation_batch(config, share.num_rows)
    return feed, InOrder(share.batches_of(rank, size, batch_size), batch_size, memory_budget_bytes=remaining)


def validation_batch(config: RunConfig, num_rows: int) -> int:
    """Returns the rows of a validation batch: the same for any number of ranks, and some for each of a few."""
    # A regulariser compares all pairs of a batch, which takes memory by its square.
    return 256 if config.objective.regularizers else max(64, min(1024, -(-num_rows // 8)))


def identity_of(config: RunConfig) -> dict[str, Any]:
    """Returns the part of a configuration that must not change between a checkpoint and its resume.

    The number of workers may change, and so may the frequency of checkpoints.
    """
    frequency = {"checkpoint_steps", "checkpoint_seconds", "keep_checkpoints"}
    values = config.model_dump(mode="json", exclude={"scaling": True, "training": frequency})
    code = digest_of(values)
    return values if code is None else {**values, "code_sha256": code}


def autocast_of(training: TrainingConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Returns the context that sets the precision of the networks."""
    if training.precision == "bfloat16" or (training.precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def check_validation(dataset: Dataset) -> None:
    """Raises if a dataset has no validation split, which early stopping needs.

    Raises:
        DataError: If the split is missing or empty.
    """
    if not dataset.num_rows("validation"):
        raise DataError(
            f"{dataset.uri} has no validation split, which says when to stop and which epoch is best; "
            "ingest the data with one"
        )


def build_model(config: RunConfig, dataset: Dataset, device: torch.device | str = "cpu") -> VAE:
    """Returns the untrained model of a run, the same on every rank.

    Raises:
        ConfigError: If the parts do not fit each other or the data.
        DataError: If the data lacks what the model needs.
    """
    spec = example_spec(dataset, config.data.missing, config.data.transform)
    model = VAE(config.model, spec, derive(config.training.seed, Stream.WEIGHTS)).to(device)
    corruption = config.objective.corruption
    model.experience = Experience(
        missing=config.data.missing is not None or any(column.missing_share for column in spec.columns or ()),
        corruption=None if corruption is None else corruption.kind,
    )
    _start_with_data(model, config, dataset, device)
    return model


def _start_with_data(model: VAE, config: RunConfig, dataset: Dataset, device: torch.device | str) -> None:
    """Initialises pseudo-inputs and codes with the same examples on every rank."""
    wanted, num_rows = model.num_starting_examples, dataset.num_rows("train")
    if not wanted:
        return
    needed = model.prior.num_starting_examples
    if needed > num_rows:
        raise ConfigError(
            f"model.prior.components: a {config.model.prior.kind} prior of {needed} pseudo-inputs starts with as many "
            f"examples, and the train split of {dataset.uri} has {num_rows}; use at most {num_rows}"
        )
    rows = share_of(config, dataset, "train", device=device).load(0, min(wanted, num_rows))
    draws = RowDraws(config.training.seed, Stream.STARTING_EXAMPLES, device=device)
    model.start_at(inputs_of(model, rows, draws))
