"""Configuration of an ingest: the parameters of the ingest flow."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from vae.data.schema import ColumnType
from vae.parts.sources import is_address
from vae.storage import refuse_credentials

DIGITS, SPRITES, COLOUR_SPRITES = "sklearn:digits", "sprites", "sprites:colour"
BUILT_IN = (DIGITS, SPRITES, COLOUR_SPRITES)
"""Sources without files."""
MEMORY_ADVICE = "Raise it with --set max_memory_bytes=N if you trust the source and have the memory"

Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


Role = Literal["feature", "label", "identifier", "time", "out"]
"""Part of a column in a table: modelled, the class, or not modelled: an identifier, the time of the row, or left out."""


class ColumnChoice(BaseModel):
    """Role and type of a column, where they are not to be found out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role | None = Field(default=None, description="Part of the column in the table; empty finds it out.")
    type: ColumnType | Literal["text"] | None = Field(
        default=None, description="Type of the column's values; empty finds it out."
    )
    decimal: Literal[".", ","] | None = Field(
        default=None, description="Sign before the decimals of the column's numbers; empty finds it out."
    )
    format: str | None = Field(
        default=None,
        description="Format of the column's dates as `strptime` writes it, such as `%d/%m/%Y`; empty finds it out.",
    )
    missing: tuple[str, ...] = Field(default=(), description="Texts of the column that mean a missing value.")
    order: tuple[str, ...] = Field(default=(), description="Categories of an ordered column, from the lowest.")


class SplitConfig(BaseModel):
    """Fractions of the source to hold out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation: Fraction = Field(
        default=0.1,
        description="Fraction for validation. If the source has its own test split, a fraction of the training "
        "split; ignored if the source has its own validation split.",
    )
    test: Fraction = Field(
        default=0.1,
        description="Fraction for the test split; ignored if the source has its own test split.",
    )

    @model_validator(mode="after")
    def _leaves_training_data(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must be below 1, got {self.validation} + {self.test}")
        return self


class IngestConfig(BaseModel):
    """Source of an ingest, and how to read it."""

    # A refused source may hold a secret, which pydantic's own message would repeat.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    source: str = Field(
        description="A folder of IDX files (`*-ubyte`, gzipped or not), a folder of images (class "
        "subfolders, or flat), a table (CSV and the like, .jsonl, .xlsx, .parquet) or a folder of them, an .npz file, "
        "`.npy` files, webdataset `.tar` files, a dataset in Python by its address (`mypackage.data:Cells`), "
        "`sklearn:digits`, `sprites` or `sprites:colour`. A path, any pyarrow filesystem URI, or "
        "`hf://datasets/USER/NAME`.",
        min_length=1,
    )
    files: tuple[str, ...] = Field(
        default=(),
        description="Patterns of the files to take from a folder, such as `*.png` or `train/*`; empty takes all.",
    )
    name: str = Field(
        description="The dataset's name: letters, digits, `.`, `_` and `-`, at most 100.",
        max_length=100,
    )
    split: SplitConfig = Field(
        default_factory=SplitConfig,
        description="How much to hold out. Splits are stratified by label; a source's own splits win.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the shuffle and of the splits.")
    resize: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="Resize every image to (height, width), antialiased; the aspect ratio is not kept.",
    )
    color: Literal["keep", "grey", "rgb"] = Field(
        default="keep",
        description="Convert images to one grey channel or to RGB. `keep` refuses CMYK and transparency, "
        "which would lose something.",
    )
    frames: Literal["reject", "first"] = Field(
        default="reject",
        description="What to do with animated and many-page images: refuse them, or take the first frame.",
    )
    bit_depth: Literal["reject", "scale"] = Field(
        default="reject", description="What to do with 16-bit images: refuse them, or scale them to 8 bits."
    )
    max_value: int | None = Field(
        default=None,
        ge=1,
        le=(1 << 32) - 1,
        description="The brightest value of an array source that is not 0 to 255, for example 1 for binary "
        "images; it becomes 255. Also of image files with 16 or 32 bits or floating-point pixels.",
    )
    on_bad: Literal["reject", "quarantine"] = Field(
        default="reject",
        description="What to do with bad examples: refuse the source, or leave them out and keep a copy and a list.",
    )
    label: str | None = Field(
        default=None,
        description="The label column of a CSV or Parquet source, or the name of an .npz file's label array.",
    )
    image: str | None = Field(
        default=None,
        description="The name of an .npz file's image array, if it is not one of the usual names.",
    )
    attributes: tuple[str, ...] = Field(
        default=(),
        description="Attributes of every image beside its class: arrays of an .npz file, or columns of Parquet files of "
        "images. Text and the columns in `categorical` become categories. Sprites always have their factors.",
    )
    max_rows: PositiveInt | None = Field(
        default=None, description="Largest number of examples, drawn by the seed; empty takes all."
    )
    header: bool | None = Field(
        default=None, description="Whether the first line of a CSV names its columns; empty finds it out."
    )
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="The CSV delimiter; empty finds it out."
    )
    na_values: tuple[str, ...] = Field(
        default=("",), description="Texts that mean a missing value in every column of a CSV, beside the usual signs."
    )
    categorical: tuple[str, ...] = Field(
        default=(), description="Columns whose values are categories, whatever they look like."
    )
    columns: dict[str, ColumnChoice] = Field(
        default_factory=dict,
        description="What some columns of a table are, by name: the content of the file that `--columns` reads.",
    )
    max_categories: PositiveInt = Field(
        default=200, description="Largest number of categories of a column; one of text with more is left out."
    )
    strict: bool = Field(
        default=False,
        description="Refuse a source of which something was guessed, left out or read in another way than it is written.",
    )
    max_pixels: PositiveInt = Field(
        default=1 << 26,
        le=178_956_970,  # Pillow's own limit, which it does not let pass
        description="Refuse an image of more pixels than this (height × width), before decoding it.",
    )
    max_file_bytes: PositiveInt = Field(
        default=1 << 26, description="Refuse an image file larger than this many bytes."
    )
    max_memory_bytes: PositiveInt = Field(
        default=1 << 34,
        description="Refuse an array or table that would unfold to more bytes than this.",
    )

    @field_validator("name")
    @classmethod
    def _is_safe_segment(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(
                f"name must start with a letter or digit and hold only letters, digits, '.', '_' and '-', got {name!r}"
            )
        return name

    @field_validator("attributes")
    @classmethod
    def _are_different(cls, attributes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(attributes)) < len(attributes):
            raise ValueError(f"attributes must differ, got {', '.join(attributes)}")
        return attributes

    @field_validator("source")
    @classmethod
    def _has_no_credentials(cls, source: str) -> str:
        refuse_credentials(source)
        return source

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def has_files(self) -> bool:
        """Whether the source is a file, a folder or a URI."""
        return self.source not in BUILT_IN and not self.is_address

    @property
    def is_address(self) -> bool:
        """Whether the source is a dataset in Python by its address, such as `mypackage.data:Cells`."""
        return self.source not in BUILT_IN and is_address(self.source) and not os.path.exists(self.source)

    def num_channels(self, channels: int) -> int:
        """Returns the number of channels that an image of 1 or 3 channels is converted to."""
        return {"keep": channels, "grey": 1, "rgb": 3}[self.color]

    def absolute(self) -> IngestConfig:
        """Returns the configuration with an absolute source path, which means the same in every folder."""
        if "://" in self.source or self.source.startswith("sklearn:") or not self.has_files:
            return self
        return self.model_copy(update={"source": os.path.abspath(os.path.expanduser(self.source))})

    def choice(self, name: str) -> ColumnChoice:
        """Returns what the configuration says of a column."""
        choice = self.columns.get(name, ColumnChoice())
        return choice.model_copy(update={"type": "category"}) if name in self.categorical else choice

    def identity(self) -> dict[str, Any]:
        """Returns the part of a dataset's identity that is configuration: all but the name and the place of the source.

        What a table's columns were understood to be is a part of its own, see `Survey.understood`.
        """
        # Left out when unused: datasets older than these fields keep their identity.
        unused = {field for field in ("attributes", "max_rows") if not getattr(self, field)}
        found = {"files", "columns", "strict", "max_categories", "header", "delimiter"}
        return self.model_dump(mode="json", exclude={"source", "name"} | unused | found) | {
            "header": self.header is not False,
            "delimiter": self.delimiter or ",",
        }
