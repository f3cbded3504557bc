"""The kinds that Kubernetes itself does not know, as far as infra/ uses them: a field that is not here is a mistake."""

# ruff: noqa: N815  the spelling of KubeRay and Kueue

from __future__ import annotations

from typing import Annotated, Any, Literal

import kubernetes_validate
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

KUBERNETES = "1.33"
"""The version whose schemas the native kinds are held to."""

Object = dict[str, Any]
Quantity = Annotated[str, Field(pattern=r"^\d+(m|[KMGT]i)?$")]
Count = Annotated[int, Field(ge=0)]


def native(kind: Object) -> Object:
    """An object of Kubernetes' own, held to its schema, which refuses unknown fields."""
    kubernetes_validate.validate(kind, KUBERNETES, strict=True)
    return kind


def _pod_template(template: Object) -> Object:
    native({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "of-a-group"}, "template": template})
    return template


def _container(fields: Object) -> Object:
    """What KubeRay adds to the autoscaler's container."""
    _pod_template({"spec": {"containers": [{"name": "autoscaler", **fields}]}})
    return fields


class Kind(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Kind):
    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}


PodTemplate = Annotated[Object, AfterValidator(_pod_template)]
RayStartParams = dict[str, str]


class AuthOptions(Kind):
    mode: Literal["token"]
    secretName: str


class AutoscalerOptions(Kind):
    idleTimeoutSeconds: PositiveInt
    resources: Object
    securityContext: Object
    volumeMounts: list[Object]

    def model_post_init(self, context: Any) -> None:
        _container(self.model_dump(exclude={"idleTimeoutSeconds"}))


class HeadGroup(Kind):
    rayStartParams: RayStartParams
    template: PodTemplate


class WorkerGroup(Kind):
    groupName: str
    replicas: Count
    minReplicas: Count
    maxReplicas: Count
    rayStartParams: RayStartParams
    template: PodTemplate

    def model_post_init(self, context: Any) -> None:
        assert self.minReplicas <= self.replicas <= self.maxReplicas


class RayClusterSpec(Kind):
    rayVersion: str
    authOptions: AuthOptions
    enableInTreeAutoscaling: bool = False
    autoscalerOptions: AutoscalerOptions | None = None
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]


class RayCluster(Kind):
    """References: the CRD API reference of KubeRay 1.7, https://docs.ray.io/en/master/kuberay/references/api.html; what the
    operator makes of it, ray-operator/controllers/ray/common/pod.go in https://github.com/ray-project/kuberay.
    """

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJobSpec(Kind):
    suspend: bool
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
    entrypoint: str
    backoffLimit: Count
    activeDeadlineSeconds: PositiveInt
    shutdownAfterJobFinishes: Literal[True]  # Kueue takes no other
    ttlSecondsAfterFinished: Count
    rayClusterSpec: RayClusterSpec


class RayJob(Kind):
    """References: as `RayCluster`; what Kueue asks of it, https://kueue.sigs.k8s.io/docs/tasks/run/rayjobs/"""

    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class Toleration(Kind):
    key: str
    operator: Literal["Exists", "Equal"]
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class ResourceFlavorSpec(Kind):
    nodeLabels: dict[str, str]
    tolerations: list[Toleration]


class ResourceFlavor(Kind):
    """References: https://kueue.sigs.k8s.io/docs/concepts/resource_flavor/"""

    apiVersion: Literal["kueue.x-k8s.io/v1beta2"]
    kind: Literal["ResourceFlavor"]
    metadata: Metadata
    spec: ResourceFlavorSpec | None = None


class ResourceQuota(Kind):
    name: str
    nominalQuota: Quantity


class FlavorQuotas(Kind):
    name: str
    resources: list[ResourceQuota]


class ResourceGroup(Kind):
    coveredResources: list[str]
    flavors: list[FlavorQuotas]

    def model_post_init(self, context: Any) -> None:
        for flavor in self.flavors:
            # The names must be those of coveredResources, in the same order.
            assert [resource.name for resource in flavor.resources] == self.coveredResources, flavor.name


class ClusterQueueSpec(Kind):
    namespaceSelector: Object
    resourceGroups: list[ResourceGroup]


class ClusterQueue(Kind):
    """References: https://kueue.sigs.k8s.io/docs/concepts/cluster_queue/"""

    apiVersion: Literal["kueue.x-k8s.io/v1beta2"]
    kind: Literal["ClusterQueue"]
    metadata: Metadata
    spec: ClusterQueueSpec


class LocalQueueSpec(Kind):
    clusterQueue: str


class LocalQueue(Kind):
    """References: https://kueue.sigs.k8s.io/docs/concepts/local_queue/"""

    apiVersion: Literal["kueue.x-k8s.io/v1beta2"]
    kind: Literal["LocalQueue"]
    metadata: Metadata
    spec: LocalQueueSpec


CUSTOM = {kind.__name__: kind for kind in (RayCluster, RayJob, ResourceFlavor, ClusterQueue, LocalQueue)}


def check(found: Object) -> None:
    """Hold an object to the model or the schema of its kind.

    Raises:
        pydantic.ValidationError, kubernetes_validate.ValidationError: If it does not fit.
    """
    if found["kind"] in CUSTOM:
        CUSTOM[found["kind"]].model_validate(found)
    else:
        native(found)
