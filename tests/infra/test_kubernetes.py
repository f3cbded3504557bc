"""The manifests are what Kubernetes, KubeRay and Kueue accept, and agree with each other."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from pydantic import ValidationError

from pipelines.jobs.__main__ import KINDS
from pipelines.stages.train import TrainRequest
from tests.infra.files import (
    IMAGE,
    INFRA,
    KUBERNETES,
    KUSTOMIZATION,
    ROOT,
    build,
    containers_of,
    key,
    kubernetes_containers,
    plant,
    pods,
    ray_cluster,
    read_settings,
    read_yaml,
)
from tests.infra.kinds import Object, check
from vae.config import parse

COMPONENT = "app.kubernetes.io/component"
ADDRESS = re.compile(r"(?:^|//|@|[^\w.-])(?P<host>[a-z][a-z-]*):(?P<port>\d+)")
OURS = {"postgres": 999, "seaweedfs": 1000}
"""Users of images that are not betaline's own."""


@pytest.fixture(scope="module")
def everything() -> list[Object]:
    """Base and GPUs, Kueue's queues, and the example of a job."""
    return [
        *build(KUBERNETES / "overlays" / "gpu"),
        *read_yaml(KUBERNETES / "components" / "kueue" / "queues.yaml"),
        *read_yaml(KUBERNETES / "examples" / "rayjob.yaml"),
    ]


@pytest.fixture(scope="module")
def job(everything: list[Object]) -> Object:
    """The example of a job."""
    (one,) = (one for one in everything if one["kind"] == "RayJob")
    return one


def test_objects_are_what_their_kinds_say(everything: list[Object]) -> None:
    """Every object fits the schema of its kind, which has no other fields."""
    for one in everything:
        check(one)
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "RayCluster", "RayJob", "ClusterQueue"} <= {
        one["kind"] for one in everything
    }
    groups = next(one for one in everything if one["kind"] == "RayCluster")["spec"]["workerGroupSpecs"]
    assert [group["groupName"] for group in groups] == ["cpu", "gpu"]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec.replica", 1),
        ("StatefulSet", "spec.template.spec.containers.0.imagePulPolicy", "Always"),
        ("NetworkPolicy", "spec.policyTypes", "Ingress"),
        ("PodDisruptionBudget", "spec.minAvailble", 1),
        ("RayCluster", "spec.enableInTreeAutoscaler", True),
        ("RayCluster", "spec.authOptions.mode", "none"),
        ("RayCluster", "spec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("RayCluster", "spec.workerGroupSpecs.0.maxReplicas", 1),
        ("RayCluster", "spec.workerGroupSpecs.0.template.spec.container", []),
        ("RayCluster", "spec.autoscalerOptions.securityContext.priviledged", True),
        ("RayJob", "spec.shutdownAfterJobFinishes", False),
        ("RayJob", "spec.ttlSeconds", 3),
        ("ClusterQueue", "spec.resourceGroups.0.coveredResources", ["cpu"]),
        ("LocalQueue", "spec.queue", "x"),
        ("ResourceFlavor", "apiVersion", "kueue.x-k8s.io/v1alpha1"),
    ],
)
def test_objects_with_a_mistake_are_refused(everything: list[Object], kind: str, path: str, value: Any) -> None:
    """A misspelt field, a wrong type or an impossible number is found in native and in custom kinds."""
    one = copy.deepcopy(next(one for one in reversed(everything) if one["kind"] == kind))
    check(one)
    plant(one, path, value)
    with pytest.raises((ValidationError, kubernetes_validate.ValidationError)):
        check(one)


def test_kustomizations_with_a_mistake_are_refused() -> None:
    """A field that kustomize does not have, or that infra/ does not use, is found."""
    (document,) = read_yaml(KUBERNETES / "base" / "kustomization.yaml")
    with pytest.raises(ValidationError, match="resource"):
        KUSTOMIZATION.model_validate({**document, "resource": []})


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", ["base", "overlays/gpu"])
def test_kustomize_builds_what_is_checked_here(folder: str, tmp_path: Path) -> None:
    """Kubectl's kustomize makes the same objects of the files, secrets drawn."""
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns("*.env"))
    of_base = tmp_path / "infra" / "kubernetes" / "base"
    script = ["sh", INFRA / "secrets.sh", of_base / "secrets.env.example", of_base / "secrets.env"]
    subprocess.run(script, check=True)
    command = ["kubectl", "kustomize", str(tmp_path / "infra" / "kubernetes" / folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    file = tmp_path / "built.yaml"
    file.write_text(re.sub(r"(postgres-init|mlflow-settings)-[a-z0-9]{10}\b", r"\1", text))
    theirs = {key(one): one for one in read_yaml(file)}
    ours = {key(one): one for one in build(KUBERNETES / folder)}
    secret = theirs.pop(("Secret", "betaline"))
    assert secret["data"].keys() == ours.pop(("Secret", "betaline"))["stringData"].keys()
    assert theirs == ours


def test_pods_are_locked(everything: list[Object]) -> None:
    """No pod runs as root, writes to its image, keeps a capability, or has a token of Kubernetes; the head alone has."""
    for where, pod in pods(everything).items():
        spec = pod["spec"]
        user = OURS.get(spec["containers"][0]["name"], 10001)
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, where
        # Kubernetes would set MLFLOW_PORT=tcp://… for a service `mlflow`, which MLflow takes for an option.
        assert spec["enableServiceLinks"] is False, where
        assert spec.get("automountServiceAccountToken", True) is (where == "RayCluster/ray/head"), where
        for container in containers_of(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], where
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys() & resources["limits"].keys(), where
    (cluster,) = (one for one in everything if one["kind"] == "RayCluster")
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert cluster["spec"]["autoscalerOptions"]["securityContext"] == container["securityContext"]


def test_pods_are_probed(everything: list[Object]) -> None:
    """Everything that serves says when it is ready and when it hangs, on a port of its own or of Ray's agent."""
    for where, pod in pods(everything).items():
        for container in pod["spec"]["containers"]:
            ports = {port["name"] for port in container.get("ports", [])} | {52365}
            for probe in (container["readinessProbe"], container["livenessProbe"], container.get("startupProbe", {})):
                for way in ("httpGet", "tcpSocket"):
                    assert probe.get(way, {"port": 52365})["port"] in ports, where


def test_images_are_of_one_version(everything: list[Object]) -> None:
    """Images are pinned, betaline's to this version of it; Ray is the version that the tests ran with."""
    for container in kubernetes_containers(everything):
        name, _, tag = container.image.rpartition(":")
        assert re.match(r"\d+\.\d+", tag), container
        if name == "betaline":
            found = IMAGE.match(container.image)
            assert found is not None, container
            assert found["version"] == metadata.version("betaline"), container
    (document,) = read_yaml(KUBERNETES / "base" / "kustomization.yaml")
    assert document["images"] == [{"name": "betaline", "newTag": metadata.version("betaline")}]
    for one in everything:
        assert ray_cluster(one).get("rayVersion", metadata.version("ray")) == metadata.version("ray")


def test_secrets_and_settings_are_there(everything: list[Object]) -> None:
    """Every secret, config map and claim that a pod refers to exists, with that key, and every secret has a user."""
    held = {
        key(one): (one.get("data") or one.get("stringData") or {}).keys()
        for one in everything
        if one["kind"] in ("Secret", "ConfigMap", "PersistentVolumeClaim")
    }
    used = {one["spec"]["authOptions"]["secretName"] for one in everything if one["kind"] == "RayCluster"}
    assert used == {"betaline"}
    keys = {"auth_token"}
    for where, pod in pods(everything).items():
        for container in containers_of(pod):
            for entry in container.get("env", []):
                if "valueFrom" in entry:
                    reference = entry["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in held["Secret", reference["name"]], (where, entry)
                    keys.add(reference["key"])
            volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])} | {"data"}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, where
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in held, where
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in held, where
    assert keys == read_settings(KUBERNETES / "base" / "secrets.env.example").keys()


def test_selectors_find_what_they_mean(everything: list[Object]) -> None:
    """Workloads select their own pods; services, budgets and policies select some; services name ports that those open."""
    labels = {where: pod["metadata"]["labels"] for where, pod in pods(everything).items()}

    def selected(selector: dict[str, str]) -> list[str]:
        return [where for where, has in labels.items() if selector.items() <= has.items()]

    for one in everything:
        name, spec = f"{one['kind']}/{one['metadata']['name']}", one.get("spec", {})
        match one["kind"]:
            case "Deployment" | "StatefulSet":
                assert selected(spec["selector"]["matchLabels"]) == [name]
            case "Service":
                (where,) = selected(spec["selector"])
                opened = {
                    port["name"]: port["containerPort"]
                    for container in pods(everything)[where]["spec"]["containers"]
                    for port in container["ports"]
                }
                assert all(opened[port["targetPort"]] == port["port"] for port in spec["ports"]), name
            case "PodDisruptionBudget":
                assert len(selected(spec["selector"]["matchLabels"])) == 1, name
            case "NetworkPolicy":
                assert selected(spec["podSelector"].get("matchLabels", {})), name


def _addresses(pod: Object) -> Iterator[tuple[str, int]]:
    """The services that a pod's settings and commands name, with their ports."""
    for container in containers_of(pod):
        told = [entry.get("value", "") for entry in container.get("env", [])]
        for text in (*told, *container.get("command", []), *container.get("args", [])):
            if not text.startswith(("--allowed-hosts", "--cors")):
                found = ((match["host"], int(match["port"])) for match in ADDRESS.finditer(text))
                yield from ((host, port) for host, port in found if host != "localhost")
        settings = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
        if "PREFECT_SERVER_DATABASE_HOST" in settings:
            yield settings["PREFECT_SERVER_DATABASE_HOST"], int(settings["PREFECT_SERVER_DATABASE_PORT"])


def _picks(selector: Object, component: str) -> bool:
    wanted = [selector["matchLabels"].get(COMPONENT)] if "matchLabels" in selector else []
    wanted += [value for one in selector.get("matchExpressions", []) for value in one["values"]]
    return not selector or component in wanted


def _allowed(policies: list[Object], direction: str, of: str, other: str, port: int) -> bool:
    """Whether some policy lets a component's traffic in this direction through."""
    return any(
        _picks(peer.get("podSelector", {"matchLabels": {}}), other)
        and ("ports" not in rule or port in [one["port"] for one in rule["ports"]])
        for policy in policies
        if _picks(policy["podSelector"], of)
        for rule in policy.get(direction, [])
        for peer in rule.get("from" if direction == "ingress" else "to", [])
    )


def test_policies_let_through_what_pods_are_told_to_ask(everything: list[Object]) -> None:
    """All traffic is refused at first; each address in a pod's settings is a service's, and allowed on both ends."""
    policies = [one["spec"] for one in everything if one["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    services = {
        one["metadata"]["name"]: one["spec"]["selector"][COMPONENT] for one in everything if one["kind"] == "Service"
    } | {"ray-head-svc": "ray"}  # KubeRay makes it
    asked = {
        (pod["metadata"]["labels"][COMPONENT], host, port)
        for pod in pods(everything).values()
        for host, port in _addresses(pod)
    }
    assert {("prefect-worker", "ray-head-svc", 8265), ("mlflow", "postgres", 5432), ("ray", "objects", 8333)} <= asked
    for component, host, port in asked:
        assert _allowed(policies, "egress", component, services[host], port), (component, host, port)
        assert _allowed(policies, "ingress", services[host], component, port), (component, host, port)
    for denied in ("postgres", "prefect-server"):
        assert not _allowed(policies, "ingress", denied, "ray", {"postgres": 5432, "prefect-server": 4200}[denied])


def test_queues_take_the_example(everything: list[Object], job: Object) -> None:
    """The example's queue exists and leads to flavors that exist, with a quota that its pods fit in."""
    named = {key(one): one["spec"] for one in everything if "kueue" in one["apiVersion"] and "spec" in one}
    local = named["LocalQueue", job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]]
    (group,) = named["ClusterQueue", local["clusterQueue"]]["resourceGroups"]
    flavors = [key(one) for one in everything if one["kind"] == "ResourceFlavor"]
    assert [("ResourceFlavor", flavor["name"]) for flavor in group["flavors"]] == flavors
    cluster = job["spec"]["rayClusterSpec"]
    counted = [(1, cluster["headGroupSpec"]), *((one["replicas"], one) for one in cluster["workerGroupSpecs"])]
    cpus = sum(
        count * int(container["resources"]["requests"]["cpu"])
        for count, one in counted
        for container in one["template"]["spec"]["containers"]
    )
    quota = {resource["name"]: resource["nominalQuota"] for resource in group["flavors"][0]["resources"]}
    assert cpus <= int(quota["cpu"])
    # Kueue lets no RayJob through whose cluster it would have to follow.
    assert "enableInTreeAutoscaling" not in cluster


def test_example_asks_for_what_the_job_takes(everything: list[Object], job: Object) -> None:
    """The example's specification is one of a training job, in the storage of everybody else, and its cluster holds it."""
    *program, kind, option, path = shlex.split(job["spec"]["entrypoint"])
    assert (program, option, path) == (["python", "-m", "pipelines.jobs"], "--spec", "/etc/betaline/spec.json")
    assert kind in KINDS
    (settings,) = (one for one in everything if key(one) == ("ConfigMap", job["metadata"]["name"]))
    spec = json.loads(settings["data"]["spec.json"])
    assert spec.keys() == {"home", "identity", "request"}
    scaling = parse(TrainRequest, spec["request"], "train").scaling
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    cpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert group["replicas"] * (cpus // scaling.cpus_per_worker) >= scaling.num_workers
    homes = {container.environment.get("BETALINE_HOME") for container in kubernetes_containers(everything)} - {None}
    assert homes == {spec["home"]}


def test_secrets_are_kept_out_of_git() -> None:
    """Git ignores the files that secrets.sh writes for kustomize and compose."""
    for file in ("infra/compose/.env", "infra/kubernetes/base/secrets.env"):
        assert file in (ROOT / ".gitignore").read_text().splitlines()
        assert (ROOT / file).with_name(Path(file).name + ".example").is_file()
