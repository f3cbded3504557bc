"""What a trained model can do, each use one function from tensors to tensors.

Shapes: N rows, L latent, T points of a path, D dimensions; `shape` is an example's. Rows come as `vae.model.Inputs`, and
examples go back as the model scores them: images float32 in [0, 1], tables standardised, which `restore`
undoes.
"""

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
from vae.inference.denoising import denoise
from vae.inference.editing import directions_of, edit
from vae.inference.estimates import Estimate
from vae.inference.importance import Evidence
from vae.inference.imputation import Imputations, impute, impute_many
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
from vae.inference.styles import conditions_of, infer_condition, transfer

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
