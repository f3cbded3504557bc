"""Contents of infra/: kustomizations as built, the compose file, and the containers of both."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from tests.infra.kinds import Object, model

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
COMPOSE = INFRA / "compose" / "compose.yaml"
KUBERNETES = INFRA / "kubernetes"
IMAGE = re.compile(r"^betaline:(?P<version>\d+\.\d+\.\d+)$")
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")

KUSTOMIZATION = model(
    apiVersion=Literal["kustomize.config.k8s.io/v1beta1", "kustomize.config.k8s.io/v1alpha1"],
    kind=Literal["Kustomization", "Component"],
    namespace=(str, ""),
    resources=(list[str], []),
    components=(list[str], []),
    images=(list[model(name=str, newTag=str)], []),
    patches=(list[model(path=str, target=model(group=str, version=str, kind=str, name=str))], []),
    configMapGenerator=(list[model(name=str, files=list[str])], []),
    secretGenerator=(list[model(name=str, envs=list[str], options=(dict[str, bool], {}))], []),
)
"""Fields of kustomize that infra/ uses. https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/"""


def read_yaml(file: Path) -> list[Any]:
    """Returns the documents of a file; a key given twice is refused."""
    return list(YAML(typ="safe", pure=True).load_all(file))


def read_settings(file: Path) -> dict[str, str]:
    """Returns the `NAME=VALUE` lines of a file."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def build(folder: Path) -> list[Object]:
    """Returns what `kubectl kustomize` makes of a folder, without the hashes in the names of config maps.

    The values of a secret, which are not committed, are those of the example beside them.
    """
    wanted = _kustomization(folder)
    built: list[Object] = []
    for path in ((folder / name).resolve() for name in wanted.resources):
        built += build(path) if path.is_dir() else read_yaml(path)
    for maps in wanted.configMapGenerator:
        data = {name: (folder / name).read_text() for name in maps.files}
        built.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": maps.name}, "data": data})
    for secret in wanted.secretGenerator:
        data = {name: value for env in secret.envs for name, value in read_settings(folder / f"{env}.example").items()}
        built.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret.name}, "stringData": data})
    for component in wanted.components:
        _add_component((folder / component).resolve(), built)
    if wanted.namespace:
        for one in built:
            if one["kind"] != "Namespace":
                one["metadata"]["namespace"] = wanted.namespace
    return built


def _kustomization(folder: Path) -> Any:
    (document,) = read_yaml(folder / "kustomization.yaml")
    return KUSTOMIZATION.model_validate(document)


def _add_component(folder: Path, built: list[Object]) -> None:
    wanted = _kustomization(folder)
    built += [one for name in wanted.resources for one in read_yaml(folder / name)]
    for patch in wanted.patches:
        (target,) = (one for one in built if key(one) == (patch.target.kind, patch.target.name))
        for operation in read_yaml(folder / patch.path)[0]:
            *steps, end = operation["path"].removeprefix("/").split("/")
            assert (operation["op"], end) == ("add", "-"), "the one operation that infra/ uses adds to a list"
            place: Any = target
            for step in steps:
                place = place[step]
            place.append(copy.deepcopy(operation["value"]))


def plant(one: Any, path: str, value: Any) -> None:
    """Sets a value at a dotted path, such as a mistake that a schema must find."""
    *steps, last = path.split(".")
    for step in steps:
        one = one[int(step)] if step.isdigit() else one[step]
    one[last] = value


def key(one: Object) -> tuple[str, str]:
    """Returns the kind and name of an object."""
    return one["kind"], one["metadata"]["name"]


def ray_cluster(one: Object) -> Object:
    """Returns the specification of the Ray cluster that an object holds; empty for other objects."""
    spec = one.get("spec", {})
    cluster = spec.get("rayClusterSpec", spec)
    return cluster if "headGroupSpec" in cluster else {}


def pods(objects: list[Object]) -> dict[str, Object]:
    """Returns the pod templates of objects, each under a name."""
    templates: dict[str, Object] = {}
    for one in objects:
        name = "/".join(key(one))
        if cluster := ray_cluster(one):
            templates[f"{name}/head"] = cluster["headGroupSpec"]["template"]
            templates |= {f"{name}/{group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}
        elif "template" in one.get("spec", {}):
            templates[name] = one["spec"]["template"]
    return templates


def compose() -> Object:
    """Returns the compose file with YAML's merges done and its variables as they are written."""
    (document,) = read_yaml(COMPOSE)
    return document


@dataclass(frozen=True)
class Container:
    """A container of either, as its program sees it."""

    where: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str | None]
    """Variables; None for a value from a secret."""


def containers_of(pod: Object) -> list[Object]:
    """Returns the containers of a pod template, those that run first included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def kubernetes_containers(objects: list[Object]) -> Iterator[Container]:
    """Yields every container of the objects."""
    for where, pod in pods(objects).items():
        for one in containers_of(pod):
            environment = {entry["name"]: entry.get("value") for entry in one.get("env", [])}
            command = (*one.get("command", ()), *one.get("args", ()))
            yield Container(f"{where}: {one['name']}", one["image"], command, environment)


def compose_containers(document: Object) -> Iterator[Container]:
    """Yields every service of a compose file."""
    for name, service in document["services"].items():
        environment = {
            variable: None if VARIABLE.search(value) else value for variable, value in service["environment"].items()
        }
        yield Container(name, service["image"], tuple(service.get("command", ())), environment)
