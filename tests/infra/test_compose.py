"""The compose file is what the specification takes, keeps to loopback, and agrees with itself and with the manifests."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema

from tests.infra.files import (
    COMPOSE,
    IMAGE,
    KUBERNETES,
    VARIABLE,
    build,
    compose,
    compose_containers,
    kubernetes_containers,
    plant,
    read_settings,
)
from tests.infra.kinds import Object

EXAMPLE = COMPOSE.with_name(".env.example")
OURS = {"postgres": "999:999", "objects": "1000:1000"}
"""The users of images that are not betaline's own."""


@pytest.fixture(scope="module")
def document() -> Object:
    return compose()


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """The schema of the compose specification."""
    return jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec"))


def test_compose_is_what_the_specification_says(document: Object, schema: jsonschema.Draft202012Validator) -> None:
    """The file fits the schema, which knows no other fields."""
    assert list(schema.iter_errors(document)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mlflow.comand", ["mlflow"]),
        ("mlflow.healthcheck.retires", 3),
        ("postgres.read_only", [True]),
        ("bucket.depends_on.objects.condition", "healthy"),
        ("ray-worker.deploy.resources.limits.cpu", "2"),
    ],
)
def test_compose_with_a_mistake_is_refused(
    document: Object, schema: jsonschema.Draft202012Validator, path: str, value: Any
) -> None:
    """A misspelt field, a wrong type or an unknown condition is found."""
    wrong = copy.deepcopy(document)
    plant(wrong["services"], path, value)
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(wrong)


def test_variables_are_those_of_the_example() -> None:
    """Compose and the example have the same variables, and compose refuses to start without one."""
    asked = {match["name"]: match["rest"] for match in VARIABLE.finditer(COMPOSE.read_text())}
    assert asked.keys() == read_settings(EXAMPLE).keys()
    assert all(rest.startswith(":?") for rest in asked.values())


def test_ports_are_published_on_loopback_alone(document: Object) -> None:
    """Nothing can be reached from another machine."""
    published = {name: service["ports"] for name, service in document["services"].items() if "ports" in service}
    assert published.keys() == {"prefect-server", "mlflow", "ray-head"}
    for port in (port for ports in published.values() for port in ports):
        assert port.startswith("127.0.0.1:")


def test_containers_are_locked(document: Object) -> None:
    """No container runs as root, writes to its image, keeps a capability, or takes more of the machine than it is given."""
    for name, service in document["services"].items():
        assert service["user"] == OURS.get(name, "10001:10001"), name
        assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
            True,
            ["ALL"],
            ["no-new-privileges:true"],
        ), name
        assert any(place.startswith("/tmp:") for place in service["tmpfs"]), name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert service["restart"] == ("on-failure" if name == "bucket" else "unless-stopped"), name


def test_services_wait_for_what_says_that_it_is_ready(document: Object) -> None:
    """Who is waited for exists and has a health check, or ends; everything else that serves has one too."""
    services = document["services"]
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            condition = "service_completed_successfully" if other == "bucket" else "service_healthy"
            assert (other in services, wait) == (True, {"condition": condition}), (name, other)
        assert ("healthcheck" in service) is (name != "bucket"), name


def test_services_reach_whom_they_are_told_to_ask(document: Object) -> None:
    """Each address in a service's settings is that of a service in a network of its own; jobs reach no database."""
    services = document["services"]
    asked = set()
    for container in compose_containers(document):
        told = (*container.command, *(value for value in container.environment.values() if value))
        for other in services:
            if any(f"{mark}{other}:" in text for text in told for mark in ("//", "@", "=")) or other in told:
                asked.add((container.where, other))
    asked -= {("mlflow", "mlflow")}  # its own name, among the hosts that it answers for
    assert {
        ("mlflow", "postgres"),
        ("prefect-server", "postgres"),
        ("ray-worker", "ray-head"),
        ("bucket", "objects"),
    } <= asked
    for name, other in asked:
        assert set(services[name]["networks"]) & set(services[other]["networks"]), (name, other)
    for jobs in ("ray-head", "ray-worker"):
        assert services[jobs]["networks"] == ["cluster"]
        assert "cluster" not in services["postgres"]["networks"] + services["prefect-server"]["networks"]
    assert document["networks"].keys() == {one for service in services.values() for one in service["networks"]}


def test_volumes_are_there(document: Object) -> None:
    """Every mount is a read-only file beside compose.yaml, or a declared volume."""
    for name, service in document["services"].items():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert (COMPOSE.parent / source).is_file(), (name, volume)
                assert (target.startswith("/"), mode) == (True, ["ro"])
            else:
                assert source in document["volumes"], (name, volume)


def test_compose_and_kubernetes_run_the_same(document: Object) -> None:
    """The same images, commands and settings, but for what each calls the head, and what an autoscaler adds."""
    of_compose = {container.where: container for container in compose_containers(document)}
    of_kubernetes = {
        container.where.split(": ")[1]: container for container in kubernetes_containers(build(KUBERNETES / "base"))
    }
    for name in ("postgres", "objects", "bucket", "prefect-server", "prefect-worker", "mlflow"):
        one, other = of_compose[name], of_kubernetes["seaweedfs" if name == "objects" else name]
        assert one.command == other.command, name
        expected = {**other.environment}
        expected.pop("BETALINE_CLUSTER_AUTOSCALES", None)
        if name == "prefect-worker":
            expected["RAY_ADDRESS"] = "http://ray-head:8265"
        assert one.environment == expected, name
        assert other.image in (one.image, read_settings(EXAMPLE)["BETALINE_IMAGE"]), name
    assert IMAGE.match(read_settings(EXAMPLE)["BETALINE_IMAGE"])
