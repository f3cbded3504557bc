"""The errors that betaline raises.

Every message says what is wrong, where, what was expected and found, and what to do.

BetalineError
├── ConfigError         a configuration was refused (unknown key, value out of range, parts that do not fit)
├── DataError           a source or a dataset was refused
│   └── CorruptData     a published file is not what its manifest says
├── CheckpointError     a checkpoint is not what its manifest says, or belongs to another run
├── Diverged            the loss became infinite or not a number
├── ClusterError        the cluster cannot run, or did not finish, what was asked of it
│   └── ClusterLost     it was out of reach, or lost the job: trying again may help
├── PartError           a part of a user's own does not obey the laws of its kind
├── ServiceError        an embedded service did not start, or is not what it should be
├── RegistryError       a model or a version was not found, or was refused
└── ExportError         an exported file does not answer as its model does
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice


class BetalineError(Exception):
    """An error that its message explains; the command prints it without a traceback."""


class ConfigError(BetalineError, ValueError):
    """A configuration was refused."""


class DataError(BetalineError, ValueError):
    """A source or a dataset was refused."""


class CorruptData(DataError):  # noqa: N818  named for what the data is
    """A published file is not what its manifest says."""


class CheckpointError(BetalineError):
    """A checkpoint is not what its manifest says, or belongs to another run."""


class Diverged(BetalineError):  # noqa: N818  named for what happened
    """The loss became infinite or not a number."""


class ClusterError(BetalineError):
    """The cluster cannot run, or did not finish, what was asked of it."""


class ClusterLost(ClusterError):  # noqa: N818  named for what happened
    """The cluster was out of reach, or lost the job: trying again may help."""


class PartError(BetalineError):
    """A part of a user's own does not obey the laws of its kind."""


class ServiceError(BetalineError):
    """An embedded service did not start, or is not what it should be."""


class RegistryError(BetalineError):
    """A model or a version was not found, or was refused."""


class ExportError(BetalineError):
    """An exported file does not answer as its model does."""


MOST_CHOICES = 5_000
"""Names that are looked at for one that a person may have meant: more take seconds."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns " (did you mean `CHOICE`?)" with the choice most like a name, or "" where none is like it."""
    by_lower = {choice.lower(): choice for choice in islice(choices, MOST_CHOICES)}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean `{by_lower[nearest[0]]}`?)" if nearest else ""


def rebuild(type_name: str, message: str) -> BetalineError:
    """Returns the error that another process wrote down by its class's name and its message.

    Any other class becomes a ClusterError that names it: it was no refusal.
    """
    found = globals().get(type_name)
    if isinstance(found, type) and issubclass(found, BetalineError):
        return found(message)
    return ClusterError(f"{type_name}: {message}")
