"""What can be wrong with the objects of ray.io in k8s/: rendered objects in, complaints out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from manifest_helpers import ROOT, Object, clusters, of_kind, pods, settings

from lca_sweep.config import Sweep

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # DNS-1035


def kuberay(objects: list[Object]) -> Iterator[str]:
    """What KubeRay refuses, and what would not work."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    for kind, longest in (("RayCluster", 53), ("RayJob", 47)):
        for item in of_kind(objects, kind):
            name = item["metadata"]["name"]
            if len(name) > longest or not NAME.fullmatch(name):
                yield f"{kind} {name}: name"
    for where, spec in clusters(objects):
        if spec["rayVersion"] != pins["ray"]:
            yield f"{where}: rayVersion {spec['rayVersion']}"
        if spec.get("authOptions", {}).get("mode") != "token":
            yield f"{where}: no token"
        if spec["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
            yield f"{where}: packs on the head"
        yield from _groups(where, spec)
        yield from _redis(where, spec)


def _groups(where: str, spec: Object) -> Iterator[str]:
    templates = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    if spec.get("autoscalerOptions", {}).get("version") != "v2" or not spec.get("enableInTreeAutoscaling"):
        yield f"{where}: autoscaler"
    if any(one["template"]["spec"].get("restartPolicy", "Never") != "Never" for one in templates):
        yield f"{where}: restartPolicy"
    names = [group["groupName"] for group in spec["workerGroupSpecs"]]
    if len(set(names)) < len(names):
        yield f"{where}: groups {names}"
    for group in spec["workerGroupSpecs"]:
        if not group["minReplicas"] <= group.get("replicas", 0) <= group["maxReplicas"]:
            yield f"{where}: replicas of {group['groupName']}"
        if group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"].endswith("m"):
            yield f"{where}: Ray counts whole CPUs ({group['groupName']})"


def _redis(where: str, spec: Object) -> Iterator[str]:
    head = spec["headGroupSpec"]
    env = {one["name"] for one in head["template"]["spec"]["containers"][0]["env"]}
    words = env & {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"} | {
        name for name in head["rayStartParams"] if name.startswith("redis-")
    }
    yield from (f"{where}: {word}" for word in sorted(words))


def rayjobs(objects: list[Object]) -> Iterator[str]:
    """A sweep's RayJob ends, is tried again, and cleans up after itself."""
    for item in of_kind(objects, "RayJob"):
        where, spec = f"RayJob {item['metadata']['name']}", item["spec"]
        if not spec.get("shutdownAfterJobFinishes"):
            yield f"{where}: its cluster stays" + (" (suspend)" if spec.get("suspend") else "")
        for name in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
            if not spec.get(name, 0) > 0:
                yield f"{where}: {name}"
        if spec.get("submissionMode") != "K8sJobMode" or spec["submitterConfig"]["backoffLimit"] < 1:
            yield f"{where}: submitter"
        if spec["submitterPodTemplate"]["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
            yield f"{where}: restartPolicy of the submitter"


def grace(objects: list[Object]) -> Iterator[str]:
    """A driver has its sweep.grace, whoever ends it: the kubelet, or Ray's Jobs API."""
    needed = Sweep().grace + 5
    for pod in pods(objects):
        if pod.labels.get("ray.io/node-type") == "head":
            head = pod.spec["containers"][0]
            if pod.spec.get("terminationGracePeriodSeconds", 30) < needed + 20 or "preStop" not in head["lifecycle"]:
                yield f"{pod.where}: terminationGracePeriodSeconds, preStop"
            if float(settings(head, objects).get("RAY_JOB_STOP_WAIT_TIME_S", 3)) < needed:
                yield f"{pod.where}: RAY_JOB_STOP_WAIT_TIME_S"


# Fields of ray.io/v1 in KubeRay 1.7 that we use or may come to use; None: whatever Kubernetes itself checks.
CLUSTER: Object = {
    "authOptions": {"mode": None, "secretName": None},
    "autoscalerOptions": {
        **dict.fromkeys(("env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources")),
        **dict.fromkeys(("securityContext", "upscalingMode", "version", "volumeMounts")),
    },
    "enableInTreeAutoscaling": None,
    "gcsFaultToleranceOptions": {
        "externalStorageNamespace": None,
        "redisAddress": None,
        "redisPassword": {"value": None, "valueFrom": None},
        "redisUsername": {"value": None, "valueFrom": None},
    },
    "headGroupSpec": {"headService": None, "rayStartParams": None, "serviceType": None, "template": None},
    "headServiceAnnotations": None,
    "managedBy": None,
    "rayVersion": None,
    "suspend": None,
    "workerGroupSpecs": {
        **dict.fromkeys(("groupName", "idleTimeoutSeconds", "maxReplicas", "minReplicas", "numOfHosts")),
        **dict.fromkeys(("rayStartParams", "replicas", "scaleStrategy", "suspend", "template")),
    },
}
JOB: Object = {
    **dict.fromkeys(("activeDeadlineSeconds", "backoffLimit", "entrypoint", "entrypointNumCpus", "entrypointNumGpus")),
    **dict.fromkeys(("entrypointResources", "jobId", "managedBy", "metadata", "runtimeEnvYAML", "submissionMode")),
    **dict.fromkeys(("shutdownAfterJobFinishes", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished")),
    "rayClusterSpec": CLUSTER,
    "submitterConfig": {"backoffLimit": None},
}
REQUIRED = {"headGroupSpec": {"rayStartParams", "template"}, "workerGroupSpecs": {"groupName", "rayStartParams"}}


def schema(objects: list[Object]) -> Iterator[str]:
    """Objects of ray.io/v1 have fields that KubeRay knows, and those that it asks for."""
    for item in of_kind(objects, "RayCluster", "RayJob"):
        if item["apiVersion"] != "ray.io/v1":
            yield f"{item['kind']}: apiVersion {item['apiVersion']}"
        yield from _fields(item["kind"], item["spec"], CLUSTER if item["kind"] == "RayCluster" else JOB)


def _fields(where: str, value: Any, known: Object) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            yield f"{where}: {one!r} is no mapping"
            continue
        missing = REQUIRED.get(where.rpartition(".")[2], set()) - set(one)
        yield from (f"{where}.{field}: must be there" for field in sorted(missing))
        for field, inner in one.items():
            if field not in known:
                yield f"{where}.{field}: no such field"
            elif known[field] is not None:
                yield from _fields(f"{where}.{field}", inner, known[field])
