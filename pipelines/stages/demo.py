"""Requests of the main job that need no data of the user."""

from __future__ import annotations

from pipelines.data.sources import IngestConfig
from pipelines.stages.pipeline import PipelineRequest
from tuning.space import Choice, SearchConfig
from vae.config import ModelConfig, RunConfig, ScalingConfig, TrainingConfig


def digits() -> PipelineRequest:
    """Returns the main job on scikit-learn's 1,797 scanned handwritten digits of 8×8 pixels."""
    base = RunConfig(
        model=ModelConfig(latent_dim=10),
        training=TrainingConfig(epochs=60, batch_size=64, learning_rate=2e-3, patience_epochs=15),
    )
    architectures = (
        {"kind": "mlp", "hidden": [128, 64]},
        {"kind": "mlp", "hidden": [256, 128]},
        {"kind": "conv", "channels": [16, 32], "hidden": 64},
    )
    return PipelineRequest(
        ingest=IngestConfig(source="sklearn:digits", name="digits"),
        search=SearchConfig(
            base=base,
            space={
                "model.encoder": Choice(values=architectures),
                "objective.beta": Choice(values=(0.1, 0.25, 0.5, 1.0, 2.0, 4.0)),
            },
            grace_epochs=15,
        ),
        training=base.training.model_copy(update={"epochs": 300, "patience_epochs": 30}),
        scaling=ScalingConfig(num_workers=2),
    )
