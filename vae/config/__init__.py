"""The configuration of a training run: typed, strict, frozen.

Every field states its unit. Unknown keys are refused with the nearest known one, so that a typo never trains a model. The
sections of parts are in `vae.parts`, beside the modules that they configure.
"""

from vae.config.model import ModelConfig
from vae.config.objective import ObjectiveConfig
from vae.config.reading import differences, dotted, merged, override, parse
from vae.config.run import DataConfig, MetricFamily, RunConfig, ScalingConfig, TrainingConfig
from vae.parts.part import Positive, Section

__all__ = [
    "DataConfig",
    "MetricFamily",
    "ModelConfig",
    "ObjectiveConfig",
    "Positive",
    "RunConfig",
    "ScalingConfig",
    "Section",
    "TrainingConfig",
    "differences",
    "dotted",
    "merged",
    "override",
    "parse",
]
