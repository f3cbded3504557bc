"""Source of a user's own parts, which travels with a run and with its model: a zip file that Python imports from."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import sys
import sysconfig
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from vae.errors import ConfigError
from vae.parts.part import CUSTOM

CODE = "code.zip"
"""Name of the file beside a model's weights, and in a run's folder."""
MOST_BYTES = 4 << 20
"""Largest size of the source files of a part, with the package that it is in."""
OURS = ("vae", "tuning", "pipelines")
"""Packages that travel anyway."""
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def addresses(values: Any) -> set[str]:
    """Returns the addresses of custom parts anywhere in plain values, such as a configuration as JSON."""
    if isinstance(values, Mapping):
        own = {str(values["target"])} if values.get("kind") == CUSTOM and "target" in values else set[str]()
        return own.union(*(addresses(value) for value in values.values()))
    if isinstance(values, list | tuple):
        return set[str]().union(*(addresses(value) for value in values))
    return set()


def is_address(text: str) -> bool:
    """Returns whether a text has the form of an address, such as `mypackage.data:Cells`."""
    return re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*", text) is not None


def bundle(targets: Iterable[str]) -> bytes | None:
    """Returns the source of the packages and modules of some addresses as a zip file; None if there are none.

    The same source gives the same bytes.

    Raises:
        ConfigError: If a package is too large.
    """
    names = sorted({target.partition(":")[0].partition(".")[0] for target in targets} - {*OURS})
    if not names:
        return None
    packed, size = io.BytesIO(), 0
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            for path, content in _files(name):
                size += len(content)
                if size > MOST_BYTES:
                    raise ConfigError(
                        f"the source of {name} has more than {MOST_BYTES >> 20} MB and travels with each model; move the "
                        "parts into a package of their own"
                    )
                archive.writestr(zipfile.ZipInfo(path, _EARLIEST), content)
    return packed.getvalue()


def _files(name: str) -> Iterator[tuple[str, bytes]]:
    """Yields the path and the content of each source file of a package or module."""
    spec = importlib.util.find_spec(name)
    assert spec is not None, "it has been imported"
    archive = getattr(spec.loader, "archive", None)
    if archive is not None:  # it came with a model
        with zipfile.ZipFile(archive) as packed:
            yield from ((path, packed.read(path)) for path in sorted(packed.namelist()) if _belongs(path, name))
    elif spec.submodule_search_locations:
        for folder in map(Path, spec.submodule_search_locations):
            for file in sorted(folder.rglob("*.py")):
                yield f"{name}/{file.relative_to(folder).as_posix()}", file.read_bytes()
    elif spec.origin is not None:
        yield f"{name}.py", Path(spec.origin).read_bytes()


def _belongs(path: str, name: str) -> bool:
    return path == f"{name}.py" or path.startswith(f"{name}/")


def digest_of(values: Any) -> str | None:
    """Returns the SHA-256 of the source of the custom parts in plain values; None if there are none."""
    content = bundle(addresses(values))
    return None if content is None else hashlib.sha256(content).hexdigest()


def unpack(content: bytes, folder: Path) -> list[Path]:
    """Writes the source in a zip file of `bundle` to a folder; returns its packages and modules."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return sorted(folder.iterdir())


def is_installed(target: str) -> bool:
    """Returns whether the module of an address comes with an installed package, or cannot be found in this process."""
    spec = importlib.util.find_spec(target.partition(":")[0].partition(".")[0])
    origin = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    installed = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib"))
    return origin is None or not Path(origin).is_absolute() or origin.startswith(installed)


def missing(targets: Iterable[str]) -> list[str]:
    """Returns the addresses whose module cannot be found in this process."""
    return [
        target for target in targets if importlib.util.find_spec(target.partition(":")[0].partition(".")[0]) is None
    ]


def adopt(content: bytes) -> None:
    """Makes the source in a zip file of `bundle` importable in this process, after everything else."""
    file = Path(mkdtemp(prefix="betaline-code-")) / CODE
    file.write_bytes(content)
    sys.path.append(str(file))
    importlib.invalidate_caches()


def check_same(targets: Iterable[str], content: bytes, where: str) -> None:
    """Warns if the source of parts here is not the one that a model came with."""
    if bundle(targets) != content:
        names = ", ".join(sorted(targets))
        warnings.warn(f"{where}: the source of {names} here is not the one that it was trained with", stacklevel=3)
