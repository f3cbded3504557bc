"""MLflow's registry: the versions of models, and the aliases by which people load them."""

from __future__ import annotations

import re
from dataclasses import replace

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipelines.models.tracking import DATASET, VERDICT
from pipelines.models.versions import Score, Version
from vae.errors import RegistryError, did_you_mean

# Tags of a version.
WEIGHTS = "betaline.weights_sha256"
SCORE_NAME = "betaline.score_name"
SCORE = "betaline.score_nats"
SCORE_ROWS = "betaline.score_rows"
SCORE_ERROR = "betaline.score_standard_error"
BEFORE = "betaline.before"
"""Prefix of a tag for an alias: the version that had the alias before."""
REASON = "betaline.reason"
"""Prefix of a tag for an alias: the reason why the version has the alias, and the person who decided."""


def registered(name: str, run_id: str, weights: str) -> Version | None:
    """Returns the version of a run's weights, which a retry does not register again; None if there is none."""
    with_weights = MlflowClient().search_model_versions(f"name = '{name}' and tags.`{WEIGHTS}` = '{weights}'")
    return next((_version(version) for version in with_weights if version.run_id == run_id), None)


def register(
    name: str, model_uri: str, run_id: str, weights: str, score: Score, card: str, verdict: str | None = None
) -> Version:
    """Registers a logged model (`models:/m-…`) as the next version of a name.

    Args:
        name: Name of the registered model.
        model_uri: URI that `packaging.log_model` returned.
        run_id: Id of the training run.
        weights: SHA-256 of the weights, by which a retry finds the version.
        score: Score on the test split.
        card: Description of the version in markdown.
        verdict: Verdict on the training run, in words; None if the run was not judged.
    """
    client = MlflowClient()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {WEIGHTS: weights, DATASET: score.dataset_id, SCORE_NAME: score.name, SCORE: repr(score.nats)}
    tags[SCORE_ROWS] = str(score.num_examples)
    if score.standard_error is not None:
        tags[SCORE_ERROR] = repr(score.standard_error)
    if verdict is not None:
        tags[VERDICT] = verdict
    made = client.create_model_version(
        name, model_uri, run_id, tags, description=card, model_id=model_uri.removeprefix("models:/")
    )
    return _version(made)


def find(name: str, alias: str) -> Version | None:
    """Returns the version that an alias points at; None if the model or the alias does not exist."""
    try:
        return _version(MlflowClient().get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def resolve(reference: str, alias: str = "champion") -> Version:
    """Returns the version that a reference means.

    Args:
        reference: `NAME` (the version that `alias` points at), `NAME@ALIAS`, `NAME/VERSION`, or any of them behind
            `models:/`.
        alias: Alias that a name alone means.

    Raises:
        RegistryError: If there is no such version; lists those that exist.
    """
    parts = re.fullmatch(r"(?:models:/)?([^/@]+)(?:@([^/@]+)|/(\d+))?", reference)
    if parts is None:
        raise RegistryError(
            f"model {reference!r}: expected NAME, NAME@ALIAS, NAME/VERSION, or one of them behind models:/"
        )
    name, given, number = parts.groups()
    if number is None:
        version = find(name, given or alias)
    else:
        version = next((one for one in versions(name) if one.version == number), None)
    if version is not None:
        return version
    if existing := versions(name):
        listed = ", ".join(f"{name}/{one.version}" + "".join(f" @{a}" for a in one.aliases) for one in existing[:20])
        raise RegistryError(
            f"no model {reference!r}{'' if given or number else f' with the alias {alias}'}; there are {listed}"
        )
    raise unknown_model(name)


def unknown_model(name: str) -> RegistryError:
    """Returns the error about a name that no registered model has, with the names that exist."""
    names = sorted({one.name for one in versions()})
    listed = f"there are {', '.join(names[:20])}" if names else "none is registered yet"
    return RegistryError(f"no model {name!r}: {listed}{did_you_mean(name, names)}")


def weights_of(version: Version) -> str | None:
    """Returns the SHA-256 with which a version's weights were registered; None for a version without one."""
    return tags_of(version).get(WEIGHTS)


def tags_of(version: Version) -> dict[str, str]:
    """Returns the tags of a version."""
    return MlflowClient().get_model_version(version.name, version.version).tags or {}


def versions(name: str | None = None) -> list[Version]:
    """Returns the registered versions of a model, or of all models, newest first."""
    client = MlflowClient()
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in client.search_registered_models(f"name = '{name}'" if name else None, max_results=1000):
        for alias, version in model.aliases.items():
            aliases.setdefault((model.name, str(version)), []).append(alias)
    unordered = client.search_model_versions(f"name = '{name}'" if name else None)
    ordered = sorted(unordered, key=lambda mv: (mv.name, -int(mv.version)))
    return [_version(mv, tuple(sorted(aliases.get((mv.name, str(mv.version)), ())))) for mv in ordered]


def move_alias(version: Version, alias: str, reason: str) -> None:
    """Points an alias at a version, and notes the reason and the version that had the alias before."""
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
        RegistryError: If there is no such alias, or no version had it before.
    """
    client = MlflowClient()
    current = resolve(f"{name}@{alias}")
    number = tags_of(current).get(f"{BEFORE}.{alias}")
    if number is None:
        raise RegistryError(f"version {current.version} of {name} is the first {alias}: there is none to go back to")
    before = resolve(f"{name}/{number}")
    client.set_registered_model_alias(name, alias, number)
    return current, replace(before, aliases=tuple(sorted({*before.aliases, alias})))


def _version(stored: ModelVersion, aliases: tuple[str, ...] | None = None) -> Version:
    tags = stored.tags or {}
    score = None
    if SCORE in tags:
        error = tags.get(SCORE_ERROR)
        score = Score(
            nats=float(tags[SCORE]),
            name=tags[SCORE_NAME],
            dataset_id=tags[DATASET],
            num_examples=int(tags.get(SCORE_ROWS, 0)),
            standard_error=None if error is None else float(error),
        )
    return Version(
        name=stored.name,
        version=str(stored.version),
        uri=f"models:/{stored.name}/{stored.version}",
        run_id=stored.run_id or "",
        score=score,
        aliases=tuple(stored.aliases or ()) if aliases is None else aliases,
    )
