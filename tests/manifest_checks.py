"""What can be wrong with k8s/ and its pods, one function each: rendered objects in, complaints out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from manifest_helpers import (
    OTHERS,
    Object,
    Pod,
    addresses,
    clusters,
    of_kind,
    pods,
    quantity,
    secrets,
    texts,
    the,
)

from lca_sweep import __version__

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
    """Each Secret, ConfigMap, claim and account that is named is made by somebody, with the key that is asked for."""
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
