"""Models on the Hugging Face Hub: weights, configuration and card, up and down. No pickle is sent or taken.

The only file that imports huggingface_hub. The login is that of `hf auth login`, or the variable HF_TOKEN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.stages.fields import Result
from vae import progress
from vae.errors import RegistryError
from vae.parts.sources import CODE
from vae.storage import locate, sha256_of, write_whole
from vae.training.state import MODEL, WEIGHTS

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HUB = "hf://"
"""Beginning of the address of a model on the Hub."""
CARD = "README.md"
FILES = (WEIGHTS, MODEL, "fit.json", CODE, CARD)
"""Files of a model, which are all that is sent and taken."""
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Address:
    """A model on the Hub."""

    uri: str
    repo: str
    """USER/NAME."""
    revision: str | None
    """Branch, tag or commit; None stands for the main branch."""


class Pushed(Result):
    """A model that was sent to the Hub."""

    uri: str
    """Address for `vae.load`."""
    url: str
    """Address of the model's page."""
    commit: str
    """Commit that holds it."""
    files: tuple[str, ...]
    """Names of its files."""


def address_of(uri: str) -> Address:
    """Reads the address of a model on the Hub.

    Raises:
        RegistryError: If it is none.
    """
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise RegistryError(f"{uri} is no model on the Hub; expected hf://USER/NAME or hf://USER/NAME@REVISION")
    return Address(uri, found["repo"], found["revision"])


def front_matter(facts: Mapping[str, Any], figures: Sequence[Mapping[str, Any]]) -> str:
    """Returns the YAML front matter of a model card.

    Args:
        facts: Fields of `huggingface_hub.ModelCardData`; the license is left to whoever publishes.
        figures: Fields of `huggingface_hub.EvalResult` of each figure.
    """
    with _available("a model card"):
        from huggingface_hub import EvalResult, ModelCardData
    results = [EvalResult(**figure) for figure in figures]
    return f"---\n{ModelCardData(library_name='betaline', eval_results=results or None, **facts)}\n---\n"


def push(folder: Path, uri: str, *, private: bool = False) -> Pushed:
    """Sends a model's files to the Hub as one commit; makes the repository if it does not exist.

    Args:
        folder: Folder of the files.
        uri: Address of the model; a revision is a branch that exists.
        private: Whether a new repository is private.

    Raises:
        RegistryError: If the Hub refuses, or cannot be reached.
    """
    address = address_of(uri)
    names = [name for name in FILES if (folder / name).exists()]
    with _explained(address) as api:
        progress.report(f"sending {', '.join(names)} to {uri}")
        page = api.create_repo(address.repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=address.repo,
            folder_path=folder,
            revision=address.revision,
            allow_patterns=names,
            commit_message="Upload a model of betaline",
        )
        return Pushed(uri=uri, url=str(page), commit=commit.oid, files=tuple(names))


def pull(uri: str, folder: str) -> None:
    """Downloads a model's files to a folder, a path or URI.

    Raises:
        RegistryError: If it is absent, private, or no model of betaline, or the Hub cannot be reached.
    """
    address = address_of(uri)
    with TemporaryDirectory(prefix="betaline-") as scratch:
        with _explained(address) as api:
            progress.report(f"downloading {uri}")
            # A folder of its own: the library leaves notes beside the files.
            api.snapshot_download(
                address.repo, revision=address.revision, local_dir=scratch, allow_patterns=[*FILES], max_workers=2
            )
        _check(uri, Path(scratch))
        for name in FILES:
            if (file := Path(scratch) / name).exists():
                write_whole(locate(folder) / name, file.read_bytes())


def _check(uri: str, folder: Path) -> None:
    """Raises RegistryError if downloaded files are no model of betaline, or the weights are not those it names."""
    if absent := [name for name in (MODEL, WEIGHTS) if not (folder / name).exists()]:
        raise RegistryError(f"{uri} is no model of betaline: it has no {absent[0]}; nothing else of it is loaded")
    facts = json.loads((folder / MODEL).read_bytes())
    if not isinstance(facts, dict) or sha256_of(locate(str(folder / WEIGHTS))) != facts.get("weights_sha256"):
        raise RegistryError(f"{uri}: {WEIGHTS} is not the file that {MODEL} names by its SHA-256; download it again")


@contextmanager
def _available(what: str) -> Iterator[None]:
    """Turns a missing library into an error that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise RegistryError(f"{what} needs {error.name}: pip install 'betaline[hub]'") from None


@contextmanager
def _explained(address: Address) -> Iterator[HfApi]:
    """Yields a client of the Hub; errors of the Hub become one sentence with what to do.

    Raises:
        RegistryError: If the Hub refuses, or cannot be reached.
    """
    with _available(address.uri):
        from huggingface_hub import HfApi, errors
    try:
        yield HfApi(library_name="betaline")
    except errors.GatedRepoError:
        raise RegistryError(
            f"{address.uri} is gated: ask for access on its page, and log in with `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise RegistryError(
            f"no model {address.uri} on the Hub, or a private one; check the name, or log in with `hf auth login` as "
            "somebody who may see it"
        ) from None
    except errors.RevisionNotFoundError:
        raise RegistryError(f"{address.uri}: there is no revision {address.revision} of {address.repo}") from None
    except errors.HfHubHTTPError as error:
        raise RegistryError(_refusal(address, error)) from None
    except OSError as error:  # also where HF_HUB_OFFLINE forbids to ask
        raise _unreachable(address, error) from None
    except Exception as error:
        if not type(error).__module__.startswith("http"):  # the library's client has errors of its own
            raise
        raise _unreachable(address, error) from None


def _refusal(address: Address, error: Any) -> str:
    status = getattr(error.response, "status_code", None)
    if status == 401:
        return f"{address.uri}: the Hub does not know who asks; log in with `hf auth login`, or set HF_TOKEN"
    if status == 403:
        owner = address.repo.partition("/")[0]
        return f"{address.uri}: this login may not write to {owner}; log in with a token of {owner} that may write"
    return f"{address.uri}: the Hub refused: {' '.join(str(error).split())[:300]}"


def _unreachable(address: Address, error: Exception) -> RegistryError:
    said = " ".join(str(error).split())[:300]
    return RegistryError(f"{address.uri}: the Hub cannot be reached or read: {said}; check the network and HF_ENDPOINT")
