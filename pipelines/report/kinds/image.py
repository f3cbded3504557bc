"""Images in a report."""

from __future__ import annotations

from pipelines.report import pictures, walks
from pipelines.report.kinds import Kind
from vae.data.schema import ExampleSpec


def described(spec: ExampleSpec) -> str:
    """Returns colour and size of the images."""
    channels, height, width = spec.shape
    colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    return f"{colour} images of {height} × {width} pixels"


KIND = Kind(
    noun="images",
    form="[N,C,H,W] in [0, 1]",
    new='means of p(x|z); "output": "sample" draws each pixel',
    pairs="images.reshape(-1, 2, *images.shape[1:])",
    refuses="other sizes are refused, not resized",
    bits="bits per pixel value",
    simple="each pixel's mean",
    units={"standard deviations": "of the pixels' range"},
    described=described,
    figures=(
        ("reconstructions", "Reconstructions", pictures.plan_reconstructions),
        ("samples", "Samples from the prior", pictures.plan_samples),
        ("traversals", "Traversals of the latent space", walks.plan_traversals),
        ("interpolations", "Interpolations", walks.plan_interpolations),
    ),
)
