"""Every part of a model and of an objective, and the models of the laws: a new part is one line in a list."""

from __future__ import annotations

import itertools
from typing import Any

from pydantic import TypeAdapter

from vae.config import ModelConfig, parse
from vae.errors import ConfigError
from vae.model import VAE
from vae.parts.likelihoods import LikelihoodConfig
from vae.parts.posteriors import PosteriorConfig
from vae.testing import models
from vae.testing.models import TABLE

Config = dict[str, Any]

BODIES: dict[str, Config] = {
    "mlp": {"kind": "mlp", "hidden": [12, 8]},
    "gated mlp": {"kind": "mlp", "hidden": [12], "gated": True},
    "conv": {"kind": "conv", "channels": [4, 6], "hidden": 12},
    "residual conv": {"kind": "conv", "channels": [4], "hidden": 12, "residual_blocks": 1},
    "table": {"kind": "table", "hidden": [12], "embedding_dim": 2},
    "table without indicators": {"kind": "table", "hidden": [12], "missing_indicators": False},
}
CONDITIONS: dict[str, Config] = {
    "nothing": {"condition": "none"},
    "concatenation": {"condition": ["class", "size", "colour"]},
    "film": {"condition": ["size", "class"], "condition_by": "film"},
    "channel film": {"condition": ["class", "size"], "condition_by": "channel_film"},
    "gates": {"condition": "none", "beta_gates": True},
    "film and gates": {"condition": "class", "condition_by": "film", "beta_gates": True},
}
POSTERIORS: dict[str, Config] = {
    "diagonal gaussian": {"kind": "diagonal_gaussian"},
    "student t": {"kind": "student_t"},
    "iaf": {"kind": "flow", "transform": "iaf", "transforms": 2, "hidden": [8]},
    "neural splines": {"kind": "flow", "transform": "nsf", "transforms": 1, "hidden": [8]},
    "ladder": {"kind": "ladder", "hidden": 8},
    "finite scalar quantized": {"kind": "fsq", "levels": [4, 3]},
    "vector quantized": {"kind": "vector_quantized", "codes": 16, "code_dim": 2},
}
PRIORS: dict[str, Config] = {
    "standard normal": {"kind": "standard_normal"},
    "conditional": {"kind": "conditional", "hidden": [8]},
    "mixture": {"kind": "gaussian_mixture", "components": 3},
    "vamp": {"kind": "vamp", "components": 3},
    "maf": {"kind": "flow", "transform": "maf", "transforms": 2, "hidden": [8]},
    "neural splines": {"kind": "flow", "transform": "nsf", "transforms": 1, "hidden": [8]},
    "hierarchical": {"kind": "hierarchical", "groups": 2, "hidden": 8},
    "uniform codes": {"kind": "uniform_codes"},
    "autoregressive codes": {"kind": "autoregressive_codes", "hidden": 8},
}
LIKELIHOODS: dict[str, Config] = {
    "bernoulli": {"kind": "bernoulli"},
    "continuous bernoulli": {"kind": "continuous_bernoulli"},
    "fixed gaussian": {"kind": "gaussian", "sigma": "fixed"},
    "learned gaussian": {"kind": "gaussian", "sigma": "learned"},
    "gaussian per pixel": {"kind": "gaussian", "sigma": "per_pixel"},
    "laplace": {"kind": "laplace"},
    "student t": {"kind": "student_t"},
    "discretized logistic": {"kind": "discretized_logistic", "components": 2},
    "categorical": {"kind": "categorical", "levels": 8},
    "poisson": {"kind": "poisson"},
    "mixed gaussian": {"kind": "mixed", "numeric": "gaussian"},
    "mixed laplace": {"kind": "mixed", "numeric": "laplace"},
    "mixed student t": {"kind": "mixed", "numeric": "student_t"},
    "mixed by type": {"kind": "mixed", "numeric": "auto", "ordered": "ordinal"},
    "mixed mixtures": {"kind": "mixed", "numeric": "mixture"},
    "autoregressive": {"kind": "autoregressive", "hidden": 8},
}
IMAGE_LIKELIHOODS = [
    name
    for name, part in LIKELIHOODS.items()
    if TypeAdapter(LikelihoodConfig).validate_python(part).data_kind == "image"
]

BOUNDS: dict[str, Config] = {
    "elbo": {"kind": "elbo", "samples": 2},
    "iwae": {"kind": "iwae", "samples": 3},
    "ciwae": {"kind": "ciwae", "samples": 3, "mix": 0.3},
}
CONTROLLERS: dict[str, Config] = {
    "constant": {"kind": "constant"},
    "warmup": {"kind": "warmup", "steps": 10},
    "cyclical": {"kind": "cyclical", "steps": 10, "cycles": 2},
    "capacity": {"kind": "capacity", "capacity": 5.0, "steps": 10},
    "free bits": {"kind": "free_bits", "nats": 0.2},
    "geco": {"kind": "geco", "distortion": 20.0},
    "control": {"kind": "control", "rate": 3.0},
    "multi rate": {"kind": "multi_rate"},
}
REGULARIZERS: dict[str, Config] = {
    "total correlation": {"kind": "total_correlation"},
    "dip i": {"kind": "dip", "variant": "i"},
    "dip ii": {"kind": "dip", "variant": "ii"},
    "mmd imq": {"kind": "mmd", "kernel": "imq"},
    "mmd rbf": {"kind": "mmd", "kernel": "rbf"},
    "adversary": {"kind": "adversary", "hidden": [8]},
}
CORRUPTIONS: dict[str, Config] = {
    "gaussian noise": {"kind": "gaussian_noise"},
    "salt and pepper": {"kind": "salt_and_pepper"},
    "block mask": {"kind": "block_mask"},
    "blur": {"kind": "blur"},
}

LATENT, IMAGES = 4, models.images()
BASE: Config = {"latent_dim": LATENT, "encoder": BODIES["mlp"], **CONDITIONS["concatenation"]}


def is_table(config: Config) -> bool:
    likelihood = config.get("likelihood")
    scores_tables = likelihood in [part for name, part in LIKELIHOODS.items() if name not in IMAGE_LIKELIHOODS]
    return config.get("encoder", {}).get("kind") == "table" or scores_tables


def has_codes(config: Config) -> bool:
    return (
        TypeAdapter(PosteriorConfig).validate_python(config.get("posterior", POSTERIORS["diagonal gaussian"])).has_codes
    )


def is_stackable(config: Config) -> bool:
    return all(part.not_stackable is None for part in parse(ModelConfig, config).parts)


def complete(**changes: Any) -> Config:
    """The base model with changes; of a table, with a body and a likelihood for it."""
    fitting = {"encoder": BODIES["table"], "likelihood": LIKELIHOODS["mixed gaussian"]} if is_table(changes) else {}
    return {**BASE, **fitting, **changes}


def is_accepted(config: Config) -> bool:
    try:
        parse(ModelConfig, config)
    except ConfigError:
        return False
    return True


PAIRS: dict[str, Config] = {
    f"{posterior}, {prior}": complete(posterior=POSTERIORS[posterior], prior=PRIORS[prior])
    for posterior, prior in itertools.product(POSTERIORS, PRIORS)
    if is_accepted(complete(posterior=POSTERIORS[posterior], prior=PRIORS[prior]))
}
"""Every posterior with every prior that it goes with."""


def _every_model() -> dict[str, Config]:
    models = {
        f"{body}, {condition}": complete(encoder=BODIES[body], **CONDITIONS[condition])
        for body, condition in itertools.product(BODIES, CONDITIONS)
        if "conv" in body or condition != "channel film"
    }
    models |= {f"likelihood {name}": complete(likelihood=likelihood) for name, likelihood in LIKELIHOODS.items()}
    models |= {name: config for name, config in PAIRS.items() if name.startswith("diagonal gaussian, ")}
    for posterior in POSTERIORS:  # beside the prior that comes first
        name = next(name for name in PAIRS if name.startswith(f"{posterior}, "))
        models[name] = PAIRS[name]
    return models | {name: config for name, config in PAIRS.items() if has_codes(config)}


MODELS = _every_model()
"""One kind of part varied at a time, so that every part is held to every law."""


def build(config: Config, seed: int = 1) -> VAE:
    return VAE(parse(ModelConfig, config), TABLE if is_table(config) else IMAGES, seed)


def randomised(config: Config) -> VAE:
    """A model in evaluation mode, of which nothing is 0 that starts there on purpose, and whose codes are all in use."""
    return models.randomised(build(config))
