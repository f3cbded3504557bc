"""MLflow's registry: versions, and the aliases that people pull."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipelines.models.tracking import DATASET, VERDICT
from vae.errors import RegistryError

WEIGHTS = "betaline.weights_sha256"
SCORE_NAME = "betaline.score_name"
SCORE = "betaline.score_nats"
BEFORE = "betaline.before"
"""With an alias behind it: the version that had the alias before."""
REASON = "betaline.reason"
"""With an alias behind it: why the version got it, and who said so."""


@dataclass(frozen=True)
class Score:
    """A version's result on a test split."""

    nats: float
    """Negative log-likelihood per example; lower is better."""
    name: str
    """The protocol. Figures of two protocols are not compared."""
    dataset_id: str


@dataclass(frozen=True)
class Version:
    """A registered version."""

    name: str
    version: str
    uri: str
    run_id: str
    score: Score | None
    aliases: tuple[str, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Version:
        """What `dataclasses.asdict` made of one, and JSON of that."""
        score = Score(**values["score"]) if values["score"] else None
        return cls(**{**values, "score": score, "aliases": tuple(values["aliases"])})


def registered(name: str, run_id: str, weights: str) -> Version | None:
    """The version that a run's weights have become, if they have: a retry does not register them again."""
    found = MlflowClient().search_model_versions(f"name = '{name}' and tags.`{WEIGHTS}` = '{weights}'")
    return next((_version(version) for version in found if version.run_id == run_id), None)


def register(
    name: str, model_uri: str, run_id: str, weights: str, score: Score, card: str, verdict: str | None = None
) -> Version:
    """Registers a logged model (`models:/m-…`) as the next version of a name.

    Args:
        name: Of the registered model.
        model_uri: What `packaging.log_model` returned.
        run_id: The training run.
        weights: SHA-256 of the weights, by which a retry finds the version.
        score: On the test split.
        card: The version's description, markdown.
        verdict: The verdict on the training run, in words; None where it was not judged.
    """
    client = MlflowClient()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {WEIGHTS: weights, DATASET: score.dataset_id, SCORE_NAME: score.name, SCORE: repr(score.nats)}
    if verdict is not None:
        tags[VERDICT] = verdict
    made = client.create_model_version(
        name, model_uri, run_id, tags, description=card, model_id=model_uri.removeprefix("models:/")
    )
    return _version(made)


def find(name: str, alias: str) -> Version | None:
    """The version that an alias points at; None where the model or the alias does not exist."""
    try:
        return _version(MlflowClient().get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def resolve(reference: str, alias: str = "champion") -> Version:
    """The version that a reference means.

    Args:
        reference: `NAME` (the one that `alias` points at), `NAME@ALIAS`, `NAME/VERSION`, or any of them behind `models:/`.
        alias: For a name alone.

    Raises:
        RegistryError: If there is none; says what there is.
    """
    found = re.fullmatch(r"(?:models:/)?([^/@]+)(?:@([^/@]+)|/(\d+))?", reference)
    if found is None:
        raise RegistryError(
            f"model {reference!r}: expected NAME, NAME@ALIAS, NAME/VERSION, or one of them behind models:/"
        )
    name, given, number = found.groups()
    if number is None:
        version = find(name, given or alias)
    else:
        version = next((one for one in versions(name) if one.version == number), None)
    if version is not None:
        return version
    there = versions(name)
    if there:
        listed = ", ".join(f"{name}/{one.version}" + "".join(f" @{a}" for a in one.aliases) for one in there[:20])
        raise RegistryError(
            f"no model {reference!r}{'' if given or number else f' with the alias {alias}'}; there are {listed}"
        )
    raise unknown_model(name)


def unknown_model(name: str) -> RegistryError:
    """Returns the error about a name that no registered model has, with the names that there are."""
    names = sorted({one.name for one in versions()})
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = f"there are {', '.join(names[:20])}" if names else "none is registered yet"
    return RegistryError(f"no model {name!r}: {listed}{hint}")


def weights_of(version: Version) -> str | None:
    """The SHA-256 that a version's weights were registered with."""
    return tags_of(version).get(WEIGHTS)


def tags_of(version: Version) -> dict[str, str]:
    """What is noted with a version."""
    return MlflowClient().get_model_version(version.name, version.version).tags or {}


def versions(name: str | None = None) -> list[Version]:
    """Every registered version, newest first; of one model where it is named."""
    client = MlflowClient()
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in client.search_registered_models(f"name = '{name}'" if name else None, max_results=1000):
        for alias, version in model.aliases.items():
            aliases.setdefault((model.name, str(version)), []).append(alias)
    found = client.search_model_versions(f"name = '{name}'" if name else None)
    found = sorted(found, key=lambda mv: (mv.name, -int(mv.version)))
    return [_version(mv, tuple(sorted(aliases.get((mv.name, str(mv.version)), ())))) for mv in found]


def move_alias(version: Version, alias: str, reason: str) -> None:
    """Points an alias at a version that has passed the gate, which keeps in mind why, and which one had it."""
    before = find(version.name, alias)
    if before is not None and before.version == version.version:
        return
    client = MlflowClient()
    client.set_model_version_tag(version.name, version.version, f"{REASON}.{alias}", reason[:5000])
    if before is not None:
        client.set_model_version_tag(version.name, version.version, f"{BEFORE}.{alias}", before.version)
    client.set_registered_model_alias(version.name, alias, version.version)


def rollback(name: str, alias: str) -> tuple[Version, Version]:
    """Points an alias at the version that had it before.

    Returns:
        The version that had the alias, and the one that has it now.

    Raises:
        RegistryError: If there is no such alias, or none had it before.
    """
    client = MlflowClient()
    current = resolve(f"{name}@{alias}")
    number = tags_of(current).get(f"{BEFORE}.{alias}")
    if number is None:
        raise RegistryError(f"version {current.version} of {name} is the first {alias}: there is none to go back to")
    before = resolve(f"{name}/{number}")
    client.set_registered_model_alias(name, alias, number)
    return current, replace(before, aliases=tuple(sorted({*before.aliases, alias})))


def _version(found: ModelVersion, aliases: tuple[str, ...] | None = None) -> Version:
    tags = found.tags or {}
    score = None
    if SCORE in tags:
        score = Score(float(tags[SCORE]), tags[SCORE_NAME], tags[DATASET])
    return Version(
        name=found.name,
        version=str(found.version),
        uri=f"models:/{found.name}/{found.version}",
        run_id=found.run_id or "",
        score=score,
        aliases=tuple(found.aliases or ()) if aliases is None else aliases,
    )
