"""Encoded images in files that hold many of them: the survey of their headers, and a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.data.sources.config import IngestConfig
from pipelines.data.sources.decoding import BadImage, ImageShape, decode_rows, probe
from pipelines.data.sources.problems import Problem
from pipelines.data.sources.segments import Loadable, load_once
from pipelines.data.sources.survey import Block
from vae.data.schema import ExampleSpec


class Places(Protocol):
    """The places of images, for messages. Picklable."""

    def problem(self, row: int, what: str) -> Problem:
        """Returns a problem of one image."""
        ...


@dataclass(frozen=True)
class EncodedReader:
    """A reader of encoded images by their position in the source."""

    groups: tuple[Loadable, ...]
    """Groups of files; each loads an Arrow array of bytes."""
    starts: tuple[int, ...]
    """First row of each group."""
    places: Places
    example: ExampleSpec
    config: IngestConfig

    def read(self, rows: NDArray[np.int64]) -> Block:
        """Reads and decodes the images at some positions; see `Reader.read`."""
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        encoded = [b""] * len(rows)
        for owner in np.unique(owners).tolist():
            images = load_once(self.groups[owner])
            for index in np.flatnonzero(owners == owner).tolist():
                encoded[index] = images[int(rows[index]) - self.starts[owner]].as_py() or b""
        return decode_rows(rows, encoded, self.example, self.config, self.places.problem)


def probe_images(
    images: Iterable[bytes], config: IngestConfig, problem: Callable[[int, str], Problem]
) -> tuple[list[ImageShape | None], list[Problem]]:
    """Returns the shape of each image by its header, None for a bad one, and the problems of these.

    Args:
        images: Encoded images; empty where one is missing.
        config: Configuration of the ingest.
        problem: Makes a problem of the position of an image and a description.
    """
    shapes: list[ImageShape | None] = []
    problems: list[Problem] = []
    for place, image in enumerate(images):
        try:
            shapes.append(probe(image, config))
        except BadImage as error:
            shapes.append(None)
            problems.append(problem(place, str(error)))
    return shapes, problems
