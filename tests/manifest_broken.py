"""Manifests that are wrong: for each check what is spoilt, and what it must say; and the ways to the parts of k8s/."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import manifest_checks as checks
import manifest_network as network
import manifest_ray as ray
from manifest_helpers import Object, of_kind, the

Check = Callable[[list[Object]], Iterator[str]]
Break = Callable[[list[Object]], Any]


def shared(objects: list[Object]) -> Object:
    """The spec of the shared cluster."""
    spec: Object = the(objects, "RayCluster", "ray")["spec"]
    return spec


def head(objects: list[Object]) -> Object:
    """The shared head's pod."""
    spec: Object = shared(objects)["headGroupSpec"]["template"]["spec"]
    return spec


def group(objects: list[Object], index: int = 0) -> Object:
    """One of the shared cluster's groups of workers."""
    found: Object = shared(objects)["workerGroupSpecs"][index]
    return found


def job(objects: list[Object]) -> Object:
    """The spec of the sweep's RayJob."""
    return of_kind(objects, "RayJob")[0]["spec"]


def server(objects: list[Object]) -> Object:
    """MLflow's pod."""
    return the(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]


def variable(container: Object, name: str) -> Object:
    """One variable of a container's environment."""
    return next(one for one in container["env"] if one["name"] == name)


def policy(objects: list[Object], name: str) -> Object:
    """A NetworkPolicy's spec."""
    return the(objects, "NetworkPolicy", name)["spec"]


def secret(container: Object, name: str) -> Object:
    """Which Secret's key a variable is."""
    return variable(container, name)["valueFrom"]["secretKeyRef"]


def resources(workers: Object) -> Object:
    """What a group's workers ask for."""
    return workers["template"]["spec"]["containers"][0]["resources"]


BROKEN: list[tuple[Check, str, Break, str]] = [
    (checks.restricted, "as root", lambda o: head(o)["securityContext"].update(runAsUser=0), "runAsUser"),
    (checks.restricted, "an API token", lambda o: server(o).pop("automountServiceAccountToken"), "automount"),
    (checks.restricted, "capabilities", lambda o: server(o)["initContainers"][0]["securityContext"].pop("capabilities"),
     "securityContext of migrate"),
    (checks.restricted, "the autoscaler", lambda o: shared(o)["autoscalerOptions"].pop("securityContext"),
     "RayCluster ray head: securityContext of autoscaler"),
    (checks.places, "a full node", lambda o: head(o)["volumes"][0]["emptyDir"].clear(), "tmp has no sizeLimit"),
    (checks.places, "the node's disk", lambda o: head(o)["volumes"][0].update(hostPath={"path": "/"}), "volume tmp"),
    (checks.places, "no memory", lambda o: group(o)["template"]["spec"]["volumes"][2]["emptyDir"].pop("medium"),
     "/dev/shm is not memory"),
    (checks.mounts, "no volume", lambda o: server(o)["volumes"].pop(0), "Deployment mlflow: volume tmp"),
    (checks.references, "a key", lambda o: secret(head(o)["containers"][0], "PGPASSWORD").update(key="root"),
     "Secret postgres root"),
    (checks.references, "a ConfigMap", lambda o: o.remove(the(o, "ConfigMap", "places")), "ConfigMap places"),
    (checks.references, "a token", lambda o: shared(o)["authOptions"].update(secretName="x"),
     "Secret x auth_token"),
    (checks.references, "a claim", lambda o: the(o, "PersistentVolumeClaim", "sweeps")["metadata"].update(name="x"),
     "PersistentVolumeClaim sweeps"),
    (checks.references, "an account", lambda o: group(o)["template"]["spec"].update(serviceAccountName="admin"),
     "ServiceAccount admin"),
    (checks.services, "a URL", lambda o: the(o, "ConfigMap", "places")["data"].update(LCA_SWEEP_TRACKING="http://ml:5000"),
     "no Service ml:5000"),
    (checks.services, "a port", lambda o: the(o, "Service", "postgres")["spec"]["ports"][0].update(targetPort=5433),
     "no pod listens at 5433"),
    (network.policies, "an open door", lambda o: o.remove(the(o, "NetworkPolicy", "default-deny")), "denies all"),
    (network.policies, "nobody", lambda o: policy(o, "mlflow")["podSelector"]["matchLabels"].update(app="x"), "no pod"),
    (network.reachable, "no way out", lambda o: o.remove(the(o, "NetworkPolicy", "to-s3")), "may not speak to s3:8333"),
    (network.reachable, "no way in", lambda o: policy(o, "postgres")["ingress"].clear(),
     "Deployment mlflow: may not speak to postgres:5432"),
    (checks.images, "another version", lambda o: head(o)["containers"][0].update(image="lca-sweep:0.0.9"), "0.0.9"),
    (checks.images, "any version", lambda o: server(o)["containers"][0].update(image="redis:latest"), "redis:latest"),
    (ray.kuberay, "another Ray", lambda o: shared(o).update(rayVersion="2.9.0"), "2.9.0"),
    (ray.kuberay, "a long name", lambda o: of_kind(o, "RayJob")[0]["metadata"].update(name="s" * 48), "name"),
    (ray.kuberay, "a digit", lambda o: of_kind(o, "RayJob")[0]["metadata"].update(name="1st"), "name"),
    (ray.kuberay, "packs", lambda o: job(o)["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].pop("num-cpus"),
     "packs on the head"),
    (ray.kuberay, "no token", lambda o: shared(o).pop("authOptions"), "no token"),
    (ray.kuberay, "restarts", lambda o: head(o).update(restartPolicy="Always"), "restartPolicy"),
    (ray.kuberay, "replicas", lambda o: group(o).update(minReplicas=9), "replicas of cpu"),
    (ray.kuberay, "half a CPU", lambda o: resources(group(o))["limits"].update(cpu="500m"), "whole CPUs"),
    (ray.kuberay, "the old one", lambda o: shared(o)["autoscalerOptions"].pop("version"), "autoscaler"),
    (ray.kuberay, "Redis", lambda o: head(o)["containers"][0]["env"].append({"name": "REDIS_PASSWORD"}), "REDIS"),
    (ray.rayjobs, "suspend", lambda o: job(o).update(suspend=True, shutdownAfterJobFinishes=False), "(suspend)"),
    (ray.rayjobs, "once", lambda o: job(o).update(backoffLimit=0), "backoffLimit"),
    (ray.rayjobs, "for ever", lambda o: job(o).pop("activeDeadlineSeconds"), "activeDeadlineSeconds"),
    (ray.rayjobs, "in the head", lambda o: job(o).update(submissionMode="SidecarMode"), "submitter"),
    (ray.grace, "too soon", lambda o: head(o).update(terminationGracePeriodSeconds=30), "terminationGrace"),
    (ray.grace, "Ray's three seconds", lambda o: variable(head(o)["containers"][0], "RAY_JOB_STOP_WAIT_TIME_S")
     .update(value="3"), "RAY_JOB_STOP"),
    (checks.probes, "unwatched", lambda o: server(o)["containers"][0].pop("livenessProbe"), "mlflow: livenessProbe"),
    (checks.resources, "no limit", lambda o: resources(group(o)).pop("limits"), "limits of ray"),
    (checks.resources, "too much", lambda o: resources(group(o))["limits"].update(memory="65Gi"), "limits of ray"),
    (checks.quota, "too many", lambda o: group(o).update(maxReplicas=100), "requests.cpu"),
    (ray.schema, "a typing error", lambda o: group(o).update(minReplica=1), "minReplica: no such field"),
    (ray.schema, "another API", lambda o: of_kind(o, "RayJob")[0].update(apiVersion="ray.io/v1alpha1"), "v1alpha1"),
    (ray.schema, "left out", lambda o: group(o).pop("rayStartParams"), "rayStartParams: must be there"),
    (checks.pinned, "no digest", lambda o: None, "image lca-sweep:"),
    (checks.placeholders, "left", lambda o: of_kind(o, "RayJob")[0]["metadata"].update(x="example.invalid"), "x"),
]  # fmt: skip
