"""Jinja templates of the page and of the model card, and the filters that they use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.report import formats

MOST_CHARACTERS = 40


def render(template: str, **context: Any) -> str:
    """Returns a template of this folder filled in; only those of HTML escape what they are given."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(formats, name) for name in ("hours", "joined", "nats", "seconds", "size", "value")
    }
    environment.filters |= {"md": escape, "python": literal, "fenced": fenced}
    return environment.get_template(template).render(**context)


def escape(text: object, most: int = MOST_CHARACTERS) -> str:
    """Returns text from data for markdown: on one line, with nothing that markdown or HTML would interpret."""
    line = formats.shorten(" ".join(str(text).split()), most).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]|#>~])", r"\\\1", line)


def literal(text: str) -> str:
    """Returns a Python string on one line, in double quotes unless it needs an escape."""
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else ascii(text)


def fenced(code: str) -> str:
    """Returns a fenced block of Python without blank lines, its fence longer than any run of backticks inside."""
    code = "\n".join(filter(str.strip, code.splitlines()))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", code)), default=0))
    return f"{fence}python\n{code}\n{fence}"
