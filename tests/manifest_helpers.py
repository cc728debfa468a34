"""What the tests of k8s/ share: rendered overlays, the pods that come of them, and what a Secret has."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
OVERLAYS = ("overlays/local", "overlays/gpu", "overlays/production")
SWEEPS = ("sweeps/mnist", "sweeps/mnist-gpu")
EVERYTHING = (*OVERLAYS, *SWEEPS)
OTHERS = {"mlflow-tls", "kube-root-ca.crt"}  # somebody else makes these: cert-manager, Kubernetes itself

Object = dict[str, Any]


def tool(name: str) -> str:
    """Path of a command, or "" if it is not there."""
    return shutil.which(name) or ""


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where a command is not there."""
    return pytest.mark.skipif(not tool(name), reason=f"no {name} on the PATH (make test-manifests)")


@cache
def _rendered(folder: str) -> tuple[Object, ...]:
    command = [tool("kubectl"), "kustomize", str(K8S / folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return tuple(yaml.safe_load_all(done.stdout))


def render(folder: str) -> list[Object]:
    """The objects of a kustomization; yours to change."""
    return copy.deepcopy(list(_rendered(folder)))


@cache
def secrets() -> dict[str, dict[str, str]]:
    """What make.sh gives each Secret."""
    made = subprocess.run([K8S / "secrets.example/make.sh"], capture_output=True, text=True, check=True).stdout
    return {item["metadata"]["name"]: item["stringData"] for item in yaml.safe_load_all(made) if item}


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [item for item in objects if item["kind"] in kinds]


def the(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = (item for item in of_kind(objects, kind) if item["metadata"]["name"] == name)
    return found


@dataclass
class Pod:
    """A pod that will be: who makes it, its labels and its spec; `most`: so many of it, at most."""

    where: str
    labels: dict[str, str]
    spec: Object
    most: int = 1
    claims: list[str] = field(default_factory=list)  # a StatefulSet's own volumes

    def containers(self) -> list[Object]:
        """All containers, those that come before the others too."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def object(self) -> Object:
        """As Kubernetes would be given it alone."""
        name = re.sub(r"[^a-z0-9]+", "-", self.where.lower())[:63]
        spec = copy.deepcopy(self.spec)
        for claim in self.claims:
            spec.setdefault("volumes", []).append({"name": claim, "emptyDir": {}})
        metadata = {"name": name, "namespace": "lca-sweep", "labels": self.labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def clusters(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Where and what: the specs of all Ray clusters, those of RayJobs too."""
    for item in of_kind(objects, "RayCluster"):
        yield f"RayCluster {item['metadata']['name']}", item["spec"]
    for item in of_kind(objects, "RayJob"):
        yield f"RayJob {item['metadata']['name']}", item["spec"]["rayClusterSpec"]


def pods(objects: list[Object]) -> list[Pod]:
    """All pods that these objects come to."""
    found = []
    for item in of_kind(objects, "Deployment", "StatefulSet", "Job"):
        claims = [claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])]
        found.append(_pod(f"{item['kind']} {item['metadata']['name']}", item["spec"]["template"], claims=claims))
    for item in of_kind(objects, "RayJob"):
        found.append(_pod(f"RayJob {item['metadata']['name']} submitter", item["spec"]["submitterPodTemplate"]))
    for where, spec in clusters(objects):
        found.extend(_ray_pods(where, spec))
    return found


def _pod(where: str, template: Object, most: int = 1, claims: list[str] | None = None, **labels: str) -> Pod:
    return Pod(where, {**template["metadata"]["labels"], **labels}, template["spec"], most, claims or [])


def _ray_pods(where: str, spec: Object) -> Iterator[Pod]:
    """As KubeRay makes them: with its labels, and an autoscaler beside the head."""
    name = where.split()[1]
    labels = {"ray.io/is-ray-node": "yes", "ray.io/cluster": name}
    head = _pod(f"{where} head", copy.deepcopy(spec["headGroupSpec"]["template"]), **labels, **_node("head"))
    head.spec["containers"].append(_autoscaler(spec))
    yield head
    for group in spec["workerGroupSpecs"]:
        at = f"{where} {group['groupName']}"
        yield _pod(at, copy.deepcopy(group["template"]), group["maxReplicas"], **labels, **_node("worker"))


def _node(kind: str) -> dict[str, str]:
    return {"ray.io/node-type": kind}


def _autoscaler(spec: Object) -> Object:
    options = spec["autoscalerOptions"]
    image = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    own = {key: options[key] for key in ("resources", "securityContext", "env", "volumeMounts") if key in options}
    return {"name": "autoscaler", "image": image, **own}


def texts(value: Any) -> Iterator[str]:
    """All strings below a value."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(inner)


ADDRESS = re.compile(r"//(?:[^/@\s]*@)?([a-z0-9.-]+):(\d+)")


def addresses(value: Any) -> set[tuple[str, int]]:
    """Host and port of every URL below a value."""
    found = {match.groups() for text in texts(value) for match in ADDRESS.finditer(text)}
    return {(host, int(port)) for host, port in found}


def settings(container: Object, objects: list[Object]) -> dict[str, str]:
    """The plain environment of a container, ConfigMaps' too; of what comes from a Secret, the Secret's text."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= the(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container.get("env", []):
        secret = variable.get("valueFrom", {}).get("secretKeyRef")
        found[variable["name"]] = secrets()[secret["name"]][secret["key"]] if secret else variable["value"]
    return found


def quantity(text: str | int) -> float:
    """Kubernetes' 500m, 2Gi, ... as a number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m|Ki|Mi|Gi|Ti|)", str(text))
    assert match, text
    factor = {"": 1.0, "m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
    return float(match[1]) * factor[match[2]]
