"""Named models: each a configuration, with the paper it follows. None has code of its own.

A preset is what changes from the defaults, as `override` takes it; a user's file or `--set` changes it further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vae.config import RunConfig, override
from vae.config.scale import Scale
from vae.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """A named configuration."""

    summary: str
    """Summary in one line."""
    reference: str
    """Authors, year and number of the paper."""
    changes: Mapping[str, Any]
    """Changes from the default configuration, by dotted field."""
    derive: Callable[[Scale], Mapping[str, Any]] | None = None
    """Further changes that follow from the scale of the training data; None if the paper's constants suit any data."""

    def config(self) -> RunConfig:
        """Returns the whole configuration."""
        return override(RunConfig(), self.changes, "preset")


QUICKER = {
    "model.encoder.activation": "silu",
    "training.learning_rate": 2e-3,
    "training.learning_rate_schedule": "cosine",
    "training.batch_size": 32,
}
"""Settings for models that have more to learn than `vae`: no unit dies, and there are more steps, large ones first."""

PRESETS: Mapping[str, Preset] = {
    "vae": Preset("Gaussian posterior, N(0, I) prior, ELBO", "Kingma & Welling 2014, arXiv 1312.6114", {}),
    "beta_vae": Preset(
        "The rate weighted by β > 1, for a simpler code",
        "Higgins et al. 2017, openreview Sy2fzU9gl",
        {"objective.beta": 4.0},
        # 4 is too heavy for small images: of digits of 8×8 a linear model keeps 0.01 nats. It keeps 2 at the β here.
        derive=lambda scale: {"objective.beta": round(min(4.0, max(1.0, scale.beta_at(2.0, latent_dim=10))), 2)},
    ),
    "annealed_vae": Preset(
        "|rate − C| with a capacity C that rises in training",
        "Burgess et al. 2018, arXiv 1804.03599",
        # More than the distortion that a nat of rate saves (0.15 nats on digits), or C is not held. With far more the rate
        # rises faster than the decoder learns to use it, and the distortion at 16 nats is that of a code of 3.
        {"objective.beta": 0.5, "objective.controller": {"kind": "capacity", "capacity": 16.0, "steps": 0.5}},
    ),
    "cvae": Preset(
        "Encoder and decoder get the class as an input",
        "Sohn et al. 2015, NeurIPS",
        # With the settings of `vae` it learns the shapes of sprites no better than a model without the class.
        {"model.condition": ["class"], **QUICKER, "training.epochs": 200},
    ),
    "iwae": Preset(
        "The importance-weighted bound with 20 draws",
        "Burda et al. 2016, arXiv 1509.00519",
        {"objective.bound": {"kind": "iwae", "samples": 20}},
    ),
    "miwae": Preset(
        "Tables with missing entries: the importance-weighted bound of what is observed",
        "Mattei & Frellsen 2019, arXiv 1812.02633",
        {
            "model.encoder": {"kind": "table", "hidden": [128, 128], "activation": "tanh", "missing_indicators": False},
            "model.posterior": {"kind": "student_t"},
            # The paper's is a Student-t, which takes more steps to the same error.
            "model.likelihood": {"kind": "mixed", "numeric": "gaussian"},
            "objective.bound": {"kind": "iwae", "samples": 20},
            "training.batch_size": 64,
            "training.epochs": 200,
            "training.ema_decay": 0.99,
        },
    ),
    "denoising_vae": Preset(
        "The encoder sees a noisy image, the likelihood scores the clean one",
        "Im et al. 2017, arXiv 1511.06406",
        {
            # One σ: with one for each pixel, those that hardly vary take all the weight, and digits come back no cleaner.
            "model.likelihood": {"kind": "gaussian"},
            "objective.corruption": {"kind": "gaussian_noise", "sigma": 0.25},
            "training.epochs": 200,
        },
    ),
    "beta_tc_vae": Preset(
        "The total correlation weighs 6 instead of 1",
        "Chen et al. 2018, arXiv 1802.04942",
        {"objective.regularizers": [{"kind": "total_correlation", "weight": 5.0}]},
    ),
    "factor_vae": Preset(
        "The total correlation, estimated by a discriminator, as a penalty",
        "Kim & Mnih 2018, arXiv 1802.05983",
        # The paper's discriminator has six layers of 1,000 units: a step on digits would cost 87 ms on a core instead of 4.
        {"objective.regularizers": [{"kind": "adversary", "weight": 35.0}], "training.batch_size": 64},
    ),
    "dip_vae_i": Preset(
        "The covariance of the posteriors' means pulled to the identity",
        "Kumar et al. 2018, arXiv 1711.00848",
        {"objective.regularizers": [{"kind": "dip", "variant": "i", "off_diagonal": 10.0, "diagonal": 100.0}]},
    ),
    "dip_vae_ii": Preset(
        "The covariance of the posteriors' draws pulled to the identity",
        "Kumar et al. 2018, arXiv 1711.00848",
        {"objective.regularizers": [{"kind": "dip", "variant": "ii", "off_diagonal": 10.0, "diagonal": 10.0}]},
    ),
    "info_vae": Preset(
        "The maximum mean discrepancy in place of most of the rate",
        "Zhao et al. 2019, arXiv 1706.02262",
        {"objective.beta": 0.01, "objective.regularizers": [{"kind": "mmd", "weight": 10.0}]},
    ),
    "gmm_vae": Preset(
        "A learned mixture of Gaussians as the prior, for data with several modes",
        "Jiang et al. 2017, arXiv 1611.05148; the marginal over components, trained by draws",
        {"model.prior": {"kind": "gaussian_mixture", "components": 10}},
    ),
    "vamp_vae": Preset(
        "The posteriors of learned pseudo-inputs as the prior",
        "Tomczak & Welling 2018, arXiv 1705.07120",
        {
            "model.encoder": {"kind": "mlp", "hidden": [300, 300], "gated": True},
            "model.latent_dim": 40,
            "model.prior": {"kind": "vamp", "components": 500},
            "training.learning_rate": 5e-4,
        },
    ),
    "flow_prior_vae": Preset(
        "A spline flow as the prior",
        "Durkan et al. 2019, arXiv 1906.04032",
        {"model.prior": {"kind": "flow", "transform": "nsf", "transforms": 2}},
    ),
    "iaf_vae": Preset(
        "An inverse autoregressive flow as the posterior",
        "Kingma et al. 2016, arXiv 1606.04934",
        # The flow learns later than a Gaussian: after 100 epochs of digits its likelihood is behind that of `vae`.
        {"model.posterior": {"kind": "flow", "transform": "iaf", "transforms": 2}, "training.epochs": 200},
    ),
    "ladder_vae": Preset(
        "Two groups of latents, inferred from the top down",
        "Sønderby et al. 2016, arXiv 1602.02282",
        {
            "model.latent_dim": 16,
            "model.posterior": {"kind": "ladder"},
            "model.prior": {"kind": "hierarchical", "groups": 2},
            "objective.controller": {"kind": "warmup", "steps": 0.5},
            "training.epochs": 200,
        },
    ),
    "vq_vae": Preset(
        "Discrete codes, and an autoregressive prior over them",
        "van den Oord et al. 2017, arXiv 1711.00937",
        {
            "model.latent_dim": 64,
            "model.posterior": {"kind": "vector_quantized", "codes": 128, "code_dim": 4},
            "model.prior": {"kind": "autoregressive_codes"},
        },
    ),
    "control_vae": Preset(
        "A controller holds the rate at 16 nats",
        "Shao et al. 2020, arXiv 2004.05988",
        {"objective.controller": {"kind": "control", "rate": 16.0}},
    ),
    "geco_vae": Preset(
        "The lowest rate at a given distortion",
        "Rezende & Viola 2018, arXiv 1810.00597",
        {"objective.controller": {"kind": "geco", "distortion": 80.0}},
        derive=lambda scale: {"objective.controller.distortion": round(0.65 * scale.marginal_nats, 1)},
    ),
    "multi_rate_vae": Preset(
        "One model for every β; `predict` takes the β",
        "Bae et al. 2023, arXiv 2212.03905",
        {
            "model.beta_gates": True,
            "objective.controller": {"kind": "multi_rate", "low": 0.1, "high": 10.0},
            # One run learns what several would. After 300 epochs with the settings of `vae` it is 15 % above a run of
            # β = 0.1 on digits, after 200 with these 8 % below.
            **QUICKER,
            "training.epochs": 200,
        },
    ),
    "table_vae": Preset(
        "Tables of numbers and categories: its draws keep how columns depend on each other",
        "Nazábal et al. 2020, arXiv 1807.03653; Germain et al. 2015, arXiv 1502.03509",
        {
            "model.encoder": {"kind": "table", "hidden": [128, 128]},
            "model.likelihood": {"kind": "autoregressive", "hidden": 256},
            "data.transform": "auto",
            # Columns that explain each other leave the latent empty. A free nat costs new rows 0.1 nats at most.
            "objective.controller": {"kind": "free_bits", "nats": 0.1},
            "training.learning_rate": 2e-3,
            "training.learning_rate_schedule": "cosine",
            "training.ema_decay": 0.99,
            "training.batch_size": 256,
        },
    ),
}


def preset(name: str) -> RunConfig:
    """Returns the configuration of a named model.

    Raises:
        ConfigError: If no preset has that name; names the nearest one.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}{did_you_mean(name, PRESETS)}: there are {', '.join(PRESETS)}")
    return PRESETS[name].config()
