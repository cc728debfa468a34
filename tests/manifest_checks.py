"""What can be wrong with k8s/, one function each: rendered objects in, complaints out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from manifest_helpers import (
    OTHERS,
    ROOT,
    Object,
    Pod,
    addresses,
    clusters,
    of_kind,
    pods,
    quantity,
    secrets,
    settings,
    texts,
    the,
)

from lca_sweep import __version__
from lca_sweep.config import Sweep

Check = Callable[[list[Object]], Iterator[str]]
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # DNS-1035
COMPONENT = "app.kubernetes.io/component"
PLACEHOLDERS = re.compile(r"example\.invalid|\b192\.0\.2\.|sha256:0{64}")


def restricted(objects: list[Object]) -> Iterator[str]:
    """Pods keep more than the `restricted` profile asks for: fixed numbers, read-only roots, no API token."""
    pod_rules = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    rules = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    for pod in pods(objects):
        context = pod.spec.get("securityContext", {})
        yield from (f"{pod.where}: {rule}" for rule, value in pod_rules.items() if context.get(rule) != value)
        ids = {context.get(name) for name in ("runAsUser", "runAsGroup", "fsGroup")}
        if len(ids) != 1 or ids == {None} or ids == {0}:
            yield f"{pod.where}: runAsUser, runAsGroup, fsGroup"
        for name in ("automountServiceAccountToken", "enableServiceLinks"):
            if pod.spec.get(name) is not False:
                yield f"{pod.where}: {name}"
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if name in pod.spec:
                yield f"{pod.where}: {name}"
        for container in pod.containers():
            if container.get("securityContext") != rules:
                yield f"{pod.where}: securityContext of {container['name']}"


def places(objects: list[Object]) -> Iterator[str]:
    """Writable places are bounded, Ray's are all there, and no volume is of a kind that `restricted` forbids."""
    kinds = {"emptyDir", "configMap", "secret", "persistentVolumeClaim", "projected"}
    for pod in pods(objects):
        for volume in pod.spec.get("volumes", []):
            if not set(volume) - {"name"} <= kinds:
                yield f"{pod.where}: volume {volume['name']}"
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{pod.where}: volume {volume['name']} has no sizeLimit"
        if "ray.io/node-type" in pod.labels:
            yield from _ray_places(pod)


def _ray_places(pod: Pod) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    mounts = {mount["mountPath"]: volumes.get(mount["name"], {}) for mount in pod.spec["containers"][0]["volumeMounts"]}
    yield from (f"{pod.where}: {path} is not writable" for path in ("/tmp", "/home/lca") if path not in mounts)
    if mounts.get("/dev/shm", {}).get("emptyDir", {}).get("medium") != "Memory":
        yield f"{pod.where}: /dev/shm is not memory"


def mounts(objects: list[Object]) -> Iterator[str]:
    """Each mount has its volume, and each volume is mounted."""
    for pod in pods(objects):
        there = {volume["name"] for volume in pod.spec.get("volumes", [])} | set(pod.claims)
        used = {mount["name"] for container in pod.containers() for mount in container.get("volumeMounts", [])}
        yield from (f"{pod.where}: volume {name}" for name in sorted(there ^ used))


def references(objects: list[Object]) -> Iterator[str]:
    """Each Secret, ConfigMap, claim and account that a pod names is made by somebody, with the key that is asked for."""
    maps = {item["metadata"]["name"]: set(item["data"]) for item in of_kind(objects, "ConfigMap")}
    keys = {"Secret": {name: set(data) for name, data in secrets().items()}, "ConfigMap": maps}
    claims = {item["metadata"]["name"] for item in of_kind(objects, "PersistentVolumeClaim")}
    accounts = {item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")}
    for where, kind, name, key in _named(objects):
        if name not in OTHERS and (name not in keys[kind] or key not in {None, *keys[kind][name]}):
            yield f"{where}: {kind} {name} {key or ''}".rstrip()
    for pod in pods(objects):
        if pod.spec.get("serviceAccountName") not in accounts:
            yield f"{pod.where}: ServiceAccount {pod.spec.get('serviceAccountName')}"
        for volume in pod.spec.get("volumes", []):
            if volume.get("persistentVolumeClaim", {}).get("claimName", next(iter(claims))) not in claims:
                yield f"{pod.where}: PersistentVolumeClaim {volume['persistentVolumeClaim']['claimName']}"


def _named(objects: list[Object]) -> Iterator[tuple[str, str, str, str | None]]:
    """Where, kind, name and key of all Secrets and ConfigMaps that are named anywhere."""
    for item in objects:
        yield from _below(f"{item['kind']} {item['metadata']['name']}", item)


def _below(where: str, value: Any) -> Iterator[tuple[str, str, str, str | None]]:
    for field, inner in value.items() if isinstance(value, dict) else ():
        if field in ("secretKeyRef", "secretRef"):
            yield where, "Secret", inner["name"], inner.get("key")
        elif field in ("configMapKeyRef", "configMapRef"):
            yield where, "ConfigMap", inner["name"], inner.get("key")
        elif field in ("secret", "configMap") and isinstance(inner, dict):
            name = inner.get("secretName") or inner["name"]
            for one in inner.get("items", [{}]):
                yield where, "Secret" if field == "secret" else "ConfigMap", name, one.get("key")
        elif field == "authOptions":
            yield where, "Secret", inner["secretName"], "auth_token"
        elif field == "tls":
            yield from ((where, "Secret", one["secretName"], None) for one in inner)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _below(where, inner)


def services(objects: list[Object]) -> Iterator[str]:
    """Each URL with a plain host means a Service with that port; each Service has pods that listen there."""
    ports = {(item["metadata"]["name"], port["port"]) for item in of_kind(objects, "Service") for port in _ports(item)}
    for item in objects:
        for host, port in sorted(addresses(item)):
            if "." not in host and (host, port) not in ports:
                yield f"{item['kind']} {item['metadata']['name']}: no Service {host}:{port}"
    for where, spec in clusters(objects):
        redis = spec.get("gcsFaultToleranceOptions", {}).get("redisAddress", "redis:6379").rsplit(":", 1)
        if "gcsFaultToleranceOptions" in spec and (redis[0], int(redis[1])) not in ports:
            yield f"{where}: no Service {':'.join(redis)}"
    for item in of_kind(objects, "Service"):
        chosen = [pod for pod in pods(objects) if item["spec"]["selector"].items() <= pod.labels.items()]
        for port in _ports(item):
            if not chosen or not all(_listens(pod, port["targetPort"]) for pod in chosen):
                yield f"Service {item['metadata']['name']}: no pod listens at {port['targetPort']}"


def _ports(service: Object) -> list[Object]:
    return list(service["spec"]["ports"])


def _listens(pod: Pod, port: str | int) -> bool:
    declared = [one for container in pod.containers() for one in container.get("ports", [])]
    return any(port in (one.get("name"), one["containerPort"]) for one in declared)


def chosen(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector means a pod with these labels."""
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))


def policies(objects: list[Object]) -> Iterator[str]:
    """All that is not allowed is denied, and each policy, and each peer in it, means a pod."""
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if everything not in [item["spec"] for item in of_kind(objects, "NetworkPolicy")]:
        yield "no policy denies everything"
    labels = [pod.labels for pod in pods(objects)]
    if not of_kind(objects, "RayJob"):  # with a sweep there is somebody to hand it in
        labels.append({COMPONENT: "submitter"})
    for item in of_kind(objects, "NetworkPolicy"):
        for selector in _meant(item["spec"]):
            if not any(chosen(selector, one) for one in labels):
                yield f"NetworkPolicy {item['metadata']['name']}: {selector} means no pod"


def _meant(policy: Object) -> Iterator[Object]:
    """Each selector of pods in a policy, and each value in it by itself."""
    rules = policy.get("ingress", []) + policy.get("egress", [])
    peers = [peer for rule in rules for peer in rule.get("from", []) + rule.get("to", [])]
    near = [peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer]
    for selector in [policy["podSelector"], *near]:
        yield selector
        for one in selector.get("matchExpressions", []):
            yield from ({"matchLabels": {one["key"]: value}} for value in one["values"])


def reachable(objects: list[Object]) -> Iterator[str]:
    """Whatever address a pod is given, the policies let it go there, and let it in there."""
    all_pods = pods(objects)
    targets = {item["metadata"]["name"]: item for item in of_kind(objects, "Service")}
    for pod in all_pods:
        for host, port in sorted(_goals(pod, objects)):
            if host not in targets:
                continue  # outside, or no Service: `services` tells
            there = [one for one in all_pods if targets[host]["spec"]["selector"].items() <= one.labels.items()]
            if not any(allowed(objects, pod, other, port) for other in there):
                yield f"{pod.where}: may not speak to {host}:{port}"


def _goals(pod: Pod, objects: list[Object]) -> set[tuple[str, int]]:
    found = set()
    for container in pod.containers():
        own = {name: value for name, value in settings(container, objects).items() if not _for_drivers(pod, name)}
        found |= addresses([own, container.get("command", []), container.get("args", [])])
    return found


def _for_drivers(pod: Pod, name: str) -> bool:
    """Workers are given all places, but only the head's drivers go to the study and to MLflow."""
    worker = pod.labels.get("ray.io/node-type") == "worker"
    return worker and name in ("LCA_SWEEP_STUDY", "LCA_SWEEP_TRACKING")


def allowed(objects: list[Object], source: Pod, target: Pod, port: int) -> bool:
    """Whether the policies let one pod speak to another's port."""
    out = _opens(objects, "egress", "to", source, target, port)
    return out and _opens(objects, "ingress", "from", target, source, port)


def _opens(objects: list[Object], way: str, peers: str, here: Pod, other: Pod, port: int) -> bool:
    target = other if way == "egress" else here
    named = {one.get("name") for c in target.containers() for one in c.get("ports", []) if one["containerPort"] == port}
    for item in of_kind(objects, "NetworkPolicy"):
        for rule in item["spec"].get(way, []) if chosen(item["spec"]["podSelector"], here.labels) else ():
            right = "ports" not in rule or {one["port"] for one in rule["ports"]} & {port, *named}
            near = [one for one in rule[peers] if "podSelector" in one and "namespaceSelector" not in one]
            if right and any(chosen(one["podSelector"], other.labels) for one in near):
                return True
    return False


def images(objects: list[Object]) -> Iterator[str]:
    """Our images have this version, others' a version of theirs; by digest they may be called as they like."""
    for pod in pods(objects):
        for container in pod.containers():
            name, _, tag = container["image"].rpartition(":")
            ours = name.rpartition("/")[2] in ("lca-sweep", "lca-sweep-mlflow")
            if "@sha256:" not in container["image"] and (tag != __version__ if ours else not re.match(r"\d", tag)):
                yield f"{pod.where}: image {container['image']}"


def pinned(objects: list[Object]) -> Iterator[str]:
    """All images by digest, as in production."""
    for pod in pods(objects):
        found = (one["image"] for one in pod.containers() if not re.search(r"@sha256:[0-9a-f]{64}$", one["image"]))
        yield from (f"{pod.where}: image {image}" for image in found)


def kuberay(objects: list[Object]) -> Iterator[str]:
    """What KubeRay refuses, and what would not work: names, restarts, replicas, CPUs of the head, Redis, Ray's version."""
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


def probes(objects: list[Object]) -> Iterator[str]:
    """A server is watched; Ray's pods are, by KubeRay."""
    for item in of_kind(objects, "Deployment", "StatefulSet"):
        for container in item["spec"]["template"]["spec"]["containers"]:
            missing = {"startupProbe", "readinessProbe", "livenessProbe"} - set(container)
            yield from (f"{item['metadata']['name']}: {name}" for name in sorted(missing))


def resources(objects: list[Object]) -> Iterator[str]:
    """Each container says what it needs, and how much it may have; the LimitRange lets it."""
    largest = the(objects, "LimitRange", "lca-sweep")["spec"]["limits"][0]["max"]
    for pod in pods(objects):
        for container in pod.containers():
            for side in ("requests", "limits"):
                said = container.get("resources", {}).get(side, {})
                if any(quantity(said.get(name, "1Ti")) > quantity(most) for name, most in largest.items()):
                    yield f"{pod.where}: {side} of {container['name']}"


def quota(objects: list[Object]) -> Iterator[str]:
    """With all its workers the shared cluster fits into the quota. (Sweeps beside it share what is left, and wait.)"""
    hard = the(objects, "ResourceQuota", "lca-sweep")["spec"]["hard"]
    total = dict.fromkeys(hard, 0.0)
    for pod in pods(objects):
        total["pods"] += pod.most
        for container in pod.spec["containers"]:
            for side, said in container["resources"].items():
                for name in said.keys() & {"cpu", "memory", "nvidia.com/gpu"}:
                    total[f"{side}.{name}"] = total.get(f"{side}.{name}", 0) + pod.most * quantity(said[name])
    yield from (f"{name}: {total[name]:g} of {hard[name]}" for name in hard if total[name] > quantity(hard[name]))


def placeholders(objects: list[Object]) -> Iterator[str]:
    """What is yours to fill in."""
    for item in objects:
        for text in texts(item):
            if PLACEHOLDERS.search(text):
                yield f"{item['kind']} {item['metadata']['name']}: {text}"


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


CHECKS: tuple[Check, ...] = (
    restricted,
    places,
    mounts,
    references,
    services,
    policies,
    reachable,
    images,
    kuberay,
    rayjobs,
    grace,
    probes,
    resources,
    schema,
)
