"""A YAML file of a table's columns as they were understood, which a person can change and give back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipelines.data.sources.tables.columns import Understood

FILE_NAME = "columns.yaml"
"""Name of the file beside a dataset's manifest."""
_HEAD = """\
What each column was understood to be. Change what is wrong, and ingest again with --columns and this file.
role: feature, label, identifier, time, or out. type: integer, real, positive, count, share, money, boolean,
category, ordered, time, or text. Also decimal (. or ,), format (of dates), missing (texts), order (of categories)."""


def as_yaml(columns: Sequence[Understood]) -> str:
    """Returns the text of a file that `--columns` reads, with a remark beside each column."""
    whole = CommentedMap()
    whole.yaml_set_start_comment(_HEAD)
    for column in columns:
        choice = CommentedMap(_choice(column))
        choice.fa.set_flow_style()
        whole[column.name] = choice
        if facts := "; ".join([*column.remarks, *([", ".join(column.examples)] if column.examples else [])]):
            whole.yaml_add_eol_comment(" ".join(facts.split())[:100], column.name)
    stream = io.StringIO()
    writer = YAML()
    writer.width = 4096
    writer.dump(whole, stream)
    return stream.getvalue()


def _choice(column: Understood) -> dict[str, Any]:
    choice: dict[str, Any] = {"role": column.role}
    if column.type in ("empty", "nested"):
        return choice
    choice["type"] = column.type
    if column.numerals is not None and not column.numerals.is_plain:
        choice["decimal"] = column.numerals.decimal
    if column.dates is not None:
        choice["format"] = column.dates.format
    if column.absent:
        choice["missing"] = list(column.absent)
    return choice
