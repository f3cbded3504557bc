"""Models of the objects in infra/ that Kubernetes itself does not have: an unknown field is a mistake.

References:
    KubeRay 1.7, https://docs.ray.io/en/master/kuberay/references/api.html; what its operator makes of a RayCluster,
    ray-operator/controllers/ray/common/pod.go in https://github.com/ray-project/kuberay; what Kueue asks of a RayJob,
    https://kueue.sigs.k8s.io/docs/tasks/run/rayjobs/; Kueue, https://kueue.sigs.k8s.io/docs/concepts/cluster_queue/ and its
    neighbours resource_flavor and local_queue.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import kubernetes_validate
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, create_model

KUBERNETES = "1.33"
"""Version of the schemas of Kubernetes' own kinds."""

Object = dict[str, Any]


def native(one: Object) -> Object:
    """Validates an object of Kubernetes' own, whose schema refuses unknown fields."""
    kubernetes_validate.validate(one, KUBERNETES, strict=True)
    return one


def pod_template(template: Object) -> Object:
    """Validates a template of pods."""
    native({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": template})
    return template


def model(**fields: Any) -> type[BaseModel]:
    """Returns a model that refuses unknown fields and other types; a field is its type, or its type and default."""
    config = ConfigDict(extra="forbid", strict=True)
    return create_model("Model", __config__=config, **fields)


def custom(group: str, kind: str, spec: Any) -> type[BaseModel]:
    """Returns the model of a custom kind, with its metadata."""
    metadata = model(name=str, namespace=(str, ""), labels=(dict[str, str], {}))
    return model(apiVersion=Literal[group], kind=Literal[kind], metadata=metadata, spec=spec)


def _numbers_are_possible(group: Any) -> Any:
    assert group.minReplicas <= group.replicas <= group.maxReplicas
    return group


def _names_are_those_covered(group: Any) -> Any:
    for flavor in group.flavors:  # in the same order, or Kueue refuses them
        assert [resource.name for resource in flavor.resources] == group.coveredResources, flavor.name
    return group


Count = Annotated[int, Field(ge=0)]
Quantity = Annotated[str, Field(pattern=r"^\d+(m|[KMGT]i)?$")]
PodTemplate = Annotated[Object, AfterValidator(pod_template)]
CONTAINER = ("resources", "securityContext", "volumeMounts")
"""Fields of a container that KubeRay adds to the autoscaler's."""


def _container(fields: Any) -> Any:
    container = {"name": "autoscaler", **{name: getattr(fields, name) for name in CONTAINER}}
    pod_template({"spec": {"containers": [container]}})
    return fields


AUTOSCALER = model(idleTimeoutSeconds=PositiveInt, **dict.fromkeys(CONTAINER, Any))
WORKERS = model(
    groupName=str,
    replicas=Count,
    minReplicas=Count,
    maxReplicas=Count,
    rayStartParams=dict[str, str],
    template=PodTemplate,
)
RAY_CLUSTER = model(
    rayVersion=str,
    authOptions=model(mode=Literal["token"], secretName=str),
    enableInTreeAutoscaling=(bool, False),
    autoscalerOptions=(Annotated[AUTOSCALER, AfterValidator(_container)] | None, None),
    headGroupSpec=model(rayStartParams=dict[str, str], template=PodTemplate),
    workerGroupSpecs=list[Annotated[WORKERS, AfterValidator(_numbers_are_possible)]],
)
RAY_JOB = model(
    suspend=bool,
    submissionMode=Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"],
    entrypoint=str,
    backoffLimit=Count,
    activeDeadlineSeconds=PositiveInt,
    shutdownAfterJobFinishes=Literal[True],  # Kueue takes no other
    ttlSecondsAfterFinished=Count,
    rayClusterSpec=RAY_CLUSTER,
)
TOLERATION = model(
    key=str, operator=Literal["Exists", "Equal"], effect=Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
)
FLAVORS = list[model(name=str, resources=list[model(name=str, nominalQuota=Quantity)])]
RESOURCE_GROUP = Annotated[model(coveredResources=list[str], flavors=FLAVORS), AfterValidator(_names_are_those_covered)]
KUEUE = "kueue.x-k8s.io/v1beta2"
CUSTOM = {
    "RayCluster": custom("ray.io/v1", "RayCluster", RAY_CLUSTER),
    "RayJob": custom("ray.io/v1", "RayJob", RAY_JOB),
    "ResourceFlavor": custom(
        KUEUE, "ResourceFlavor", (model(nodeLabels=dict[str, str], tolerations=list[TOLERATION]) | None, None)
    ),
    "ClusterQueue": custom(KUEUE, "ClusterQueue", model(namespaceSelector=Object, resourceGroups=list[RESOURCE_GROUP])),
    "LocalQueue": custom(KUEUE, "LocalQueue", model(clusterQueue=str)),
}


def check(one: Object) -> None:
    """Validates an object against the schema or the model of its kind.

    Raises:
        pydantic.ValidationError, kubernetes_validate.ValidationError: If it does not fit.
    """
    if one["kind"] in CUSTOM:
        CUSTOM[one["kind"]].model_validate(one)
    else:
        native(one)
