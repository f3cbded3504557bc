"""What infra/ comes to: kustomizations built, compose's variables filled in, and the containers of both."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from tests.infra.kinds import Kind, Object

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
COMPOSE = INFRA / "compose" / "compose.yaml"
KUBERNETES = INFRA / "kubernetes"
IMAGE = re.compile(r"^betaline:(?P<version>\d+\.\d+\.\d+)$")


def read_yaml(file: Path) -> list[Any]:
    """The documents of a file; a key given twice is refused."""
    return list(YAML(typ="safe", pure=True).load_all(file))


def read_settings(file: Path) -> dict[str, str]:
    """The `NAME=VALUE` lines of a file."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


# ---- Kubernetes


class Patch(Kind):
    class Target(Kind):
        group: str
        version: str
        kind: str
        name: str

    path: str
    target: Target


class Append(Kind):
    """The one operation of JSON patches that infra/ uses."""

    op: Literal["add"]
    path: str
    value: Object


class ConfigMapGenerator(Kind):
    name: str
    files: list[str]


class SecretGenerator(Kind):
    name: str
    envs: list[str]
    options: dict[str, bool] | None = None


class Image(Kind):
    name: str
    newName: str | None = None  # noqa: N815  kustomize's spelling
    newTag: str  # noqa: N815


class Kustomization(BaseModel):
    """References: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/"""

    model_config = ConfigDict(extra="forbid", strict=True)

    apiVersion: Literal["kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1alpha1"]  # noqa: N815
    kind: Literal["Kustomization", "Component"]
    namespace: str | None = None
    resources: list[str] = []
    components: list[str] = []
    images: list[Image] = []
    patches: list[Patch] = []
    configMapGenerator: list[ConfigMapGenerator] = []  # noqa: N815
    secretGenerator: list[SecretGenerator] = []  # noqa: N815


def build(folder: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder, but for the hashes in the names of config maps.

    A secret's values, which are not committed, are those of the example beside them.
    """
    (document,) = read_yaml(folder / "kustomization.yaml")
    wanted = Kustomization.model_validate(document)
    found: list[Object] = []
    for name in wanted.resources:
        path = (folder / name).resolve()
        found += build(path) if path.is_dir() else read_yaml(path)
    for maps in wanted.configMapGenerator:
        data = {name: (folder / name).read_text() for name in maps.files}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": maps.name}, "data": data})
    for secret in wanted.secretGenerator:
        data = {name: value for env in secret.envs for name, value in read_settings(folder / f"{env}.example").items()}
        found.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret.name}, "stringData": data})
    for component in wanted.components:
        found = _with_component((folder / component).resolve(), found)
    if wanted.namespace is not None:
        for one in found:
            if one["kind"] != "Namespace":
                one["metadata"]["namespace"] = wanted.namespace
    return found


def _with_component(folder: Path, found: list[Object]) -> list[Object]:
    (document,) = read_yaml(folder / "kustomization.yaml")
    wanted = Kustomization.model_validate(document)
    found = [*found, *(one for name in wanted.resources for one in read_yaml(folder / name))]
    for patch in wanted.patches:
        (target,) = (one for one in found if key(one) == (patch.target.kind, patch.target.name))
        for operation in map(Append.model_validate, read_yaml(folder / patch.path)[0]):
            *steps, end = operation.path.removeprefix("/").split("/")
            assert end == "-", "an addition to a list"
            place: Any = target
            for step in steps:
                place = place[step]
            place.append(copy.deepcopy(operation.value))
    return found


def key(found: Object) -> tuple[str, str]:
    """What an object is called."""
    return found["kind"], found["metadata"]["name"]


def pods(found: list[Object]) -> dict[str, Object]:
    """The pod templates that objects hold, by a name for each."""
    templates: dict[str, Object] = {}
    for one in found:
        spec, name = one.get("spec", {}), f"{one['kind']}/{one['metadata']['name']}"
        cluster = spec.get("rayClusterSpec", spec)
        if "headGroupSpec" in cluster:
            templates[f"{name}/head"] = cluster["headGroupSpec"]["template"]
            templates |= {f"{name}/{group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}
        elif "template" in spec:
            templates[name] = spec["template"]
    return templates


# ---- compose


def compose() -> Object:
    """The compose file with YAML's merges done and its variables as they are written."""
    (document,) = read_yaml(COMPOSE)
    return document


VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")


def variables(text: str) -> dict[str, str]:
    """The variables that a compose file asks for, with what follows each name: an error, or a default."""
    return {match["name"]: match["rest"] for match in VARIABLE.finditer(text)}


# ---- both


@dataclass(frozen=True)
class Container:
    """A container of either, as the program in it sees things."""

    where: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str | None]
    """None for what comes from a secret."""


def containers_of(pod: Object) -> list[Object]:
    """A pod template's containers, those that run first among them."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def kubernetes_containers(found: list[Object]) -> Iterator[Container]:
    """Every container of the objects."""
    for where, pod in pods(found).items():
        for one in containers_of(pod):
            environment = {entry["name"]: entry.get("value") for entry in one.get("env", [])}
            command = (*one.get("command", ()), *one.get("args", ()))
            yield Container(f"{where}: {one['name']}", one["image"], command, environment)


def compose_containers(document: Object) -> Iterator[Container]:
    """Every service of a compose file."""
    for name, service in document["services"].items():
        environment = {
            variable: None if VARIABLE.search(value) else value for variable, value in service["environment"].items()
        }
        yield Container(name, service["image"], tuple(service.get("command", ())), environment)
