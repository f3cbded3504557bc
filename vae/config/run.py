"""The configuration of a training run, and its sections for data, training and scaling."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vae.config.model import ModelConfig
from vae.config.objective import ObjectiveConfig
from vae.data.missing import MissingConfig
from vae.data.transforms.curves import CurveChoice
from vae.parts.part import Positive, Section

MetricFamily = Literal[
    "reconstruction", "information", "disentanglement", "generation", "denoising", "imputation", "synthesis"
]
"""Metrics that are measured together: see `vae.metrics.suite`."""


class DataConfig(Section):
    """Changes to the dataset before the model sees it."""

    missing: MissingConfig | None = None
    """Entries to hide beside those that are missing already, by a draw that depends on split and row alone; None hides
    none."""
    transform: CurveChoice = "standard"
    """Curve from each number of a table to what the model scores, fitted to the training split. standard: standard
    deviations from the mean. auto: normal quantiles of all numbers but truth values. parametric: the logarithm of positive
    numbers and money, the logit of shares, counts as they are, standard deviations for others (Nazábal et al. 2020). auto
    and parametric give a point mass to a value, such as 0, that a tenth of the entries have at an edge of the range."""


class TrainingConfig(Section):
    """Length, speed and numerics of a training. The number of workers does not change its results."""

    epochs: Positive = 100
    """Largest number of passes over the training split."""
    batch_size: Positive = 128
    """Examples per optimiser step over all workers, one for each at least."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of AdamW."""
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate. cosine: half a wave down to 0 at the end of all `epochs` (Loshchilov & Hutter 2017)."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimiser steps over which the learning rate rises linearly from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay (AdamW), per unit of learning rate."""
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest Euclidean norm of the gradient of the mean loss; None leaves it as it is."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of an exponential moving average of the weights; the average is then validated and shipped. At step t
    the decay is (1+t)/(10+t) while that is less, so that the first weights are soon forgotten. None averages nothing."""
    patience_epochs: Positive | None = 20
    """Epochs without improvement after which a run stops; None trains all epochs. Epochs count once β has settled and the
    learning rate has risen, and while the controller's constraint is held."""
    aggregate_components: Annotated[int, Field(ge=0)] = 10
    """Gaussians of the mixture that is fitted to the aggregate posterior after training, as a sampler beside the prior; 0
    fits none."""
    checkpoint_steps: Positive | None = None
    """Optimiser steps between checkpoints, beside those that come by the clock; None leaves it to the clock."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 10.0
    """Minimum seconds between checkpoints; inside of an epoch they take a twentieth of the time at most. A resumed run is
    exact from any."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 3
    """Number of newest checkpoints to keep, at least two, so that a damaged one has a predecessor."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the networks; auto is bfloat16 on a GPU and float32 elsewhere. Densities are always float32."""
    compile: Literal["auto", "off", "on"] = "auto"
    """Whether to use torch.compile with CUDA graphs; auto is on with a GPU and off without one."""
    feed: Literal["auto", "resident", "streaming"] = "auto"
    """Way to feed the data. resident: a worker holds its rows. streaming: it reads them through a shuffle window.
    auto: resident where the training split fits `memory_budget_bytes`."""
    memory_budget_bytes: Positive = 2 * 1024**3
    """Most bytes of data that all workers together hold. With seed and batch size it sets the order of the examples: a
    split within it is shuffled as a whole, a larger one in windows of a third of it."""
    freeze: tuple[Literal["encoder", "posterior", "prior", "decoder", "likelihood"], ...] = ()
    """Parts whose weights stay as they are, in a run that starts from a trained model."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of every draw (weights, order, noise), together with the step and an example's place in the batch."""
    data_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of the order of the examples and of the draws for them: binarisation, corruption, the noise of the validation.
    Runs with one `data_seed` see the same batches. None stands for `seed`."""

    @property
    def seed_of_data(self) -> int:
        """Value of `data_seed`, or of `seed` if that is None."""
        return self.seed if self.data_seed is None else self.data_seed


class ScalingConfig(Section):
    """Workers of a training job."""

    num_workers: Positive = 1
    """Number of processes that train in step, each on its share of every batch."""
    min_workers: Positive | None = None
    """Fewest processes that a run starts with, or goes on with when nodes are lost; it takes in more as room comes, up to
    `num_workers`. None: always `num_workers`."""
    cpus_per_worker: Positive = 1
    """CPUs of each worker, and its threads of torch."""
    gpus_per_worker: Annotated[int, Field(ge=0, le=1)] = 0
    """GPUs of each worker: 0 or 1."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Restarts of the worker group before the job fails."""

    @property
    def least_workers(self) -> int:
        """Fewest processes that the run needs."""
        return self.num_workers if self.min_workers is None else self.min_workers

    @model_validator(mode="after")
    def _fewest_are_no_more_than_all(self) -> Self:
        if self.least_workers > self.num_workers:
            raise ValueError(
                f"scaling.min_workers: expected at most scaling.num_workers, got {self.min_workers} and {self.num_workers}"
            )
        return self


class RunConfig(Section):
    """One training run: its data, model, objective, training and workers."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    scaling: ScalingConfig = ScalingConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self.objective.check_fits(self.model, self.training.batch_size)
        return self

    @model_validator(mode="after")
    def _batch_has_an_example_for_each_worker(self) -> Self:
        batch, workers = self.training.batch_size, self.scaling.num_workers
        if batch < workers:
            raise ValueError(
                f"training.batch_size: expected an example for each of scaling.num_workers at least, got {batch} examples "
                f"for {workers} workers; use a batch of {workers} or more, or {batch} workers or fewer"
            )
        return self
