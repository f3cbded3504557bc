"""Sources of an ingest. Each kind is one file, with a `SOURCE`, and its name in `SOURCES`."""

from __future__ import annotations

from pipelines.data.sources import digits, folder, idx, npz, parquet_images, sprites
from pipelines.data.sources.config import BUILT_IN, IngestConfig, SplitConfig
from pipelines.data.sources.problems import Problem, RejectedSource, problems_as_json
from pipelines.data.sources.segments import forget_segments
from pipelines.data.sources.survey import Block, Listing, Source, Survey, list_source
from pipelines.data.sources.tables import survey as tables
from vae.errors import DataError

__all__ = [
    "BUILT_IN",
    "Block",
    "IngestConfig",
    "Problem",
    "RejectedSource",
    "SplitConfig",
    "Survey",
    "forget_segments",
    "problems_as_json",
    "survey_source",
]

SOURCES: tuple[Source, ...] = tuple(kind.SOURCE for kind in (digits, sprites, idx, folder, npz, parquet_images, tables))
"""Every kind of source; the first one that claims the files of a source surveys it."""


def survey_source(config: IngestConfig) -> Survey:
    """Surveys a source without decoding its examples.

    Raises:
        DataError: If no kind of source fits, or it cannot be ingested, even without its bad examples.
    """
    built_in = config.source in BUILT_IN
    listing = Listing(config.source, (), ()) if built_in else list_source(config.source)
    for source in SOURCES:
        if source.claims(listing):
            survey = source.survey(config, listing)
            if config.attributes and not survey.attributes:
                raise DataError(
                    f"{config.source}: attributes come beside images in an .npz file or in Parquet files, found "
                    "another kind of source. Leave attributes out, or write such a file"
                )
            return survey
    if not listing.paths:
        raise DataError(f"{config.source}: 0 examples. The folder is empty")
    shown = ", ".join(listing.paths[:5]) + (", …" if len(listing.paths) > 5 else "")
    raise DataError(
        f"{config.source}: 0 examples among {len(listing.paths):,} files ({shown}). Expected IDX (*-ubyte, "
        "*.gz), images (png, jpeg, bmp, gif, tiff, webp), .npz, .csv or .parquet"
    )
