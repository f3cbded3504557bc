"""Sources of an ingest. Each kind is one file, with a `SOURCE`, and its name in `SOURCES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from pipelines.data.sources import array_files, datasets, digits, folder, idx, parquet_images, sprites, tar_shards
from pipelines.data.sources.asides import counted, describe_aside, is_companion, patterns_of
from pipelines.data.sources.config import BUILT_IN, IngestConfig, SplitConfig
from pipelines.data.sources.problems import Problem, RejectedSource, problems_as_json
from pipelines.data.sources.segments import forget_segments
from pipelines.data.sources.survey import HUB, Block, Cost, Listing, Source, Survey, list_source
from pipelines.data.sources.tables import survey as tables
from pipelines.data.sources.walking import unreadable
from vae.errors import DataError

__all__ = [
    "BUILT_IN",
    "Block",
    "Cost",
    "IngestConfig",
    "Problem",
    "RejectedSource",
    "SplitConfig",
    "Survey",
    "forget_segments",
    "problems_as_json",
    "survey_source",
]

SOURCES: tuple[Source, ...] = (
    *(kind.SOURCE for kind in (digits, sprites, datasets, idx, folder, array_files, parquet_images, tar_shards)),
    *tables.SOURCES,
)
"""Every kind of source. A file belongs to the first one that claims it."""
_SHOWN = 5
"""Most files that are named where none can be read; more are counted."""
EXPECTED = (
    "Expected IDX (*-ubyte, *.gz), images (png, jpeg, bmp, gif, tiff, webp), arrays (.npy, .npz), tar files of images, "
    "or tables (.csv and its relatives, .parquet, .jsonl, .xlsx)"
)


def survey_source(config: IngestConfig) -> Survey:
    """Surveys a source without decoding its examples.

    Raises:
        DataError: If no kind of source fits, or several do, or it cannot be ingested, even without its bad examples.
    """
    listing = Listing(config.source, (), ())
    try:
        if config.has_files:
            listing = list_source(config.source)
        source, files, notes = _choose(config, _selected(config, listing))
        survey = source.survey(config, files)
    except DataError:
        raise
    except Exception as error:
        # The errors of a hub's connection have no class of their own.
        if not isinstance(error, OSError) and not config.source.startswith(HUB):
            raise
        raise unreadable(config.source, error, [listing.location(path).path for path in listing.paths]) from error
    if config.attributes and not survey.attributes:
        raise DataError(
            f"{config.source}: attributes come beside images in an .npz file, Parquet files or tar files, found "
            "another kind of source. Leave attributes out, or write such a file"
        )
    survey = replace(survey, notes=(*listing.notes, *notes, *survey.notes))
    _refuse_notes(config, survey)
    return survey


def _selected(config: IngestConfig, listing: Listing) -> Listing:
    """Returns the files that fit the patterns of the configuration."""
    if not config.files or not listing.paths:
        return listing
    kept = [path for path in listing.paths if any(fnmatchcase(path, pattern) for pattern in config.files)]
    if not kept:
        raise DataError(
            f"{config.source}: no file fits files={', '.join(config.files)}. The folder holds {counted(listing.paths)}"
        )
    return listing.only(kept)


def _choose(config: IngestConfig, listing: Listing) -> tuple[Source, Listing, list[str]]:
    """Returns the kind of source, its files, and what to say of the other files.

    Raises:
        DataError: If no kind fits, or several do.
    """
    is_single = len(listing.paths) == 1
    rest = listing.only([path for path in listing.paths if is_single or not is_companion(path)])
    claims: list[tuple[Source, Listing]] = []
    for source in SOURCES:
        if paths := source.claims(config, rest):
            claims.append((source, rest.only(paths)))
            rest = rest.only(set(rest.paths) - set(paths))
    if len(claims) > 1 and claims[0][0] is folder.SOURCE and folder.has_classes(claims[0][1].paths):
        # Classes come from the folders: a list of labels beside them says nothing else.
        claims = [claim for claim in claims if claim[0] is not tables.TEXT]
    if len(claims) > 1:
        raise _several_kinds(config, claims)
    if not claims:
        raise _no_kind(config, listing)
    [(source, files)] = claims
    aside = set(listing.paths) - set(files.paths)
    return source, files, describe_aside(sorted(aside))


def _several_kinds(config: IngestConfig, claims: Sequence[tuple[Source, Listing]]) -> DataError:
    kinds = "; ".join(
        f"{len(files.paths):,} in {source.name} ({files.paths[0]}{', …' if len(files.paths) > 1 else ''}), taken by "
        f"--set files={patterns_of(files.paths)}"
        for source, files in claims
    )
    return DataError(f"{config.source}: files of {len(claims)} kinds of source, expected one: {kinds}. Choose one")


def _no_kind(config: IngestConfig, listing: Listing) -> DataError:
    if not listing.paths:
        notes = "".join(f". {note}" for note in listing.notes)
        return DataError(f"{config.source}: 0 examples. The folder is empty{notes}")
    number = len(listing.paths)
    shown = ", ".join(listing.paths) if number <= _SHOWN else counted(listing.paths)
    converted = [note for note in describe_aside(listing.paths) if "Convert" in note]
    return DataError(
        f"{config.source}: 0 examples among {number:,} file{'s' * (number != 1)} ({shown}). {(*converted, EXPECTED)[0]}"
    )


def _refuse_notes(config: IngestConfig, survey: Survey) -> None:
    """Refuses a source that has notes or remarks, if the configuration is strict."""
    said = [*survey.notes, *(f"column {one.name!r}: {remark}" for one in survey.understood for remark in one.remarks)]
    if config.strict and said:
        lines = "\n".join(f"  {line}" for line in said)
        columns = ", or say what the columns are: --dry-run --write-columns FILE.yaml, then --columns FILE.yaml"
        raise DataError(
            f"{config.source}: {len(said)} thing{'s' * (len(said) != 1)} to say, and --strict allows none:\n{lines}\n"
            f"Mend the source{columns if survey.understood else ', or leave out --strict'}"
        )
