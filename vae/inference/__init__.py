"""The uses of a trained model, each one function from tensors to tensors.

Shapes: N rows, L latent, T points of a path, D dimensions; `shape` is an example's. Rows come as `vae.model.Inputs`, and
examples go back as the model scores them: images float32 in [0, 1], tables standardised, which `restore`
undoes.
"""

from vae.inference.changes import conditions_of, directions_of, edit, infer_condition, transfer
from vae.inference.coding import (
    Code,
    Output,
    Sampler,
    decode,
    encode,
    evidence,
    generate,
    generator_of,
    reconstruct,
    sample_latents,
    score,
)
from vae.inference.estimates import Estimate
from vae.inference.importance import Evidence
from vae.inference.paths import (
    Carried,
    Interpolation,
    Traversal,
    carried,
    interpolate,
    latent_path,
    path_length,
    traverse,
)
from vae.inference.repair import Imputations, denoise, impute, impute_many

__all__ = [
    "Carried",
    "Code",
    "Estimate",
    "Evidence",
    "Imputations",
    "Interpolation",
    "Output",
    "Sampler",
    "Traversal",
    "carried",
    "conditions_of",
    "decode",
    "denoise",
    "directions_of",
    "edit",
    "encode",
    "evidence",
    "generate",
    "generator_of",
    "impute",
    "impute_many",
    "infer_condition",
    "interpolate",
    "latent_path",
    "path_length",
    "reconstruct",
    "sample_latents",
    "score",
    "transfer",
    "traverse",
]
