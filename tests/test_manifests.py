"""k8s/ as files: it renders, Kubernetes and KubeRay would take it, and what it says fits together and keeps people out.

No cluster is needed; what only a cluster can show is listed in docs/kubernetes.md.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import manifest_checks as checks
import pytest
import yaml
from manifest_checks import CHECKS, Check
from manifest_helpers import K8S, OVERLAYS, ROOT, SWEEPS, Object, of_kind, pods, render, secrets, settings, the, tool

from lca_sweep.compose import compose, config_dir
from lca_sweep.config import validate
from lca_sweep.search.space import parse

pytestmark = pytest.mark.manifests
needs = {name: pytest.mark.skipif(not tool(name), reason=f"no {name} on the PATH (make test-manifests)") for name in (
    "kubectl", "kubernetes-validate", "checkov", "hadolint")}  # fmt: skip
EVERYTHING = (*OVERLAYS, *SWEEPS)
every_folder = pytest.mark.parametrize("folder", EVERYTHING)
GUIDE = ROOT / "docs/kubernetes.md"


@needs["kubectl"]
@every_folder
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_is_wrong(folder: str, check: Check) -> None:
    assert list(check(render(folder))) == []


@needs["kubectl"]
@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_shared_cluster_fits_into_the_quota(folder: str) -> None:
    assert list(checks.quota(render(folder))) == []


Break = Callable[[list[Object]], Any]


def head(objects: list[Object]) -> Object:
    """The shared head's pod."""
    return the(objects, "RayCluster", "ray")["spec"]["headGroupSpec"]["template"]["spec"]


def group(objects: list[Object], index: int = 0) -> Object:
    """One of the shared cluster's groups of workers."""
    return the(objects, "RayCluster", "ray")["spec"]["workerGroupSpecs"][index]


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


BROKEN: list[tuple[Check, str, Break, str]] = [
    (checks.restricted, "as root", lambda o: head(o)["securityContext"].update(runAsUser=0), "runAsUser"),
    (checks.restricted, "an API token", lambda o: server(o).pop("automountServiceAccountToken"), "automount"),
    (checks.restricted, "capabilities", lambda o: server(o)["initContainers"][0]["securityContext"].pop("capabilities"),
     "securityContext of migrate"),
    (checks.restricted, "the autoscaler", lambda o: job(o)["rayClusterSpec"]["autoscalerOptions"].pop("securityContext"),
     "RayJob sweep-mnist head: securityContext of autoscaler"),
    (checks.places, "a full node", lambda o: head(o)["volumes"][0]["emptyDir"].clear(), "tmp has no sizeLimit"),
    (checks.places, "the node's disk", lambda o: head(o)["volumes"][0].update(hostPath={"path": "/"}), "volume tmp"),
    (checks.places, "no memory", lambda o: group(o)["template"]["spec"]["volumes"][2]["emptyDir"].pop("medium"),
     "/dev/shm is not memory"),
    (checks.mounts, "no volume", lambda o: server(o)["volumes"].pop(0), "Deployment mlflow: volume tmp"),
    (checks.references, "a key", lambda o: secret(head(o)["containers"][0], "PGPASSWORD").update(key="root"),
     "Secret postgres root"),
    (checks.references, "a ConfigMap", lambda o: o.remove(the(o, "ConfigMap", "places")), "ConfigMap places"),
    (checks.references, "a token", lambda o: the(o, "RayCluster", "ray")["spec"]["authOptions"].update(secretName="x"),
     "Secret x auth_token"),
    (checks.references, "a claim", lambda o: the(o, "PersistentVolumeClaim", "sweeps")["metadata"].update(name="x"),
     "PersistentVolumeClaim sweeps"),
    (checks.references, "an account", lambda o: group(o)["template"]["spec"].update(serviceAccountName="admin"),
     "ServiceAccount admin"),
    (checks.services, "a URL", lambda o: the(o, "ConfigMap", "places")["data"].update(LCA_SWEEP_TRACKING="http://ml:5000"),
     "no Service ml:5000"),
    (checks.services, "a port", lambda o: the(o, "Service", "postgres")["spec"]["ports"][0].update(targetPort=5433),
     "no pod listens at 5433"),
    (checks.policies, "an open door", lambda o: o.remove(the(o, "NetworkPolicy", "default-deny")), "denies everything"),
    (checks.policies, "nobody", lambda o: policy(o, "mlflow")["podSelector"]["matchLabels"].update(app="x"), "no pod"),
    (checks.reachable, "no way out", lambda o: o.remove(the(o, "NetworkPolicy", "to-s3")), "may not speak to s3:8333"),
    (checks.reachable, "no way in", lambda o: policy(o, "postgres")["ingress"].clear(),
     "Deployment mlflow: may not speak to postgres:5432"),
    (checks.images, "another version", lambda o: head(o)["containers"][0].update(image="lca-sweep:0.0.9"), "0.0.9"),
    (checks.images, "any version", lambda o: server(o)["containers"][0].update(image="redis:latest"), "redis:latest"),
    (checks.kuberay, "another Ray", lambda o: the(o, "RayCluster", "ray")["spec"].update(rayVersion="2.9.0"), "2.9.0"),
    (checks.kuberay, "a long name", lambda o: of_kind(o, "RayJob")[0]["metadata"].update(name="s" * 48), "name"),
    (checks.kuberay, "a digit", lambda o: of_kind(o, "RayJob")[0]["metadata"].update(name="1st"), "name"),
    (checks.kuberay, "packs", lambda o: job(o)["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].pop("num-cpus"),
     "packs on the head"),
    (checks.kuberay, "no token", lambda o: the(o, "RayCluster", "ray")["spec"].pop("authOptions"), "no token"),
    (checks.kuberay, "restarts", lambda o: head(o).update(restartPolicy="Always"), "restartPolicy"),
    (checks.kuberay, "replicas", lambda o: group(o).update(minReplicas=9), "replicas of cpu"),
    (checks.kuberay, "half a CPU", lambda o: resources(group(o))["limits"].update(cpu="500m"), "whole CPUs"),
    (checks.kuberay, "v1", lambda o: the(o, "RayCluster", "ray")["spec"]["autoscalerOptions"].pop("version"), "autoscaler"),
    (checks.kuberay, "Redis", lambda o: head(o)["containers"][0]["env"].append({"name": "RAY_REDIS_ADDRESS", "value": "r"}),
     "RAY_REDIS_ADDRESS"),
    (checks.rayjobs, "suspend", lambda o: job(o).update(suspend=True, shutdownAfterJobFinishes=False), "(suspend)"),
    (checks.rayjobs, "once", lambda o: job(o).update(backoffLimit=0), "backoffLimit"),
    (checks.rayjobs, "for ever", lambda o: job(o).pop("activeDeadlineSeconds"), "activeDeadlineSeconds"),
    (checks.rayjobs, "in the head", lambda o: job(o).update(submissionMode="SidecarMode"), "submitter"),
    (checks.grace, "too soon", lambda o: head(o).update(terminationGracePeriodSeconds=30), "terminationGrace"),
    (checks.grace, "Ray's three seconds", lambda o: variable(head(o)["containers"][0], "RAY_JOB_STOP_WAIT_TIME_S")
     .update(value="3"), "RAY_JOB_STOP"),
    (checks.probes, "unwatched", lambda o: server(o)["containers"][0].pop("livenessProbe"), "mlflow: livenessProbe"),
    (checks.resources, "no limit", lambda o: resources(group(o)).pop("limits"), "limits of ray-worker"),
    (checks.resources, "too much", lambda o: resources(group(o))["limits"].update(memory="65Gi"), "limits of ray-worker"),
    (checks.quota, "too many", lambda o: group(o).update(maxReplicas=100), "requests.cpu"),
    (checks.schema, "a typing error", lambda o: group(o).update(minReplica=1), "minReplica: no such field"),
    (checks.schema, "another API", lambda o: of_kind(o, "RayJob")[0].update(apiVersion="ray.io/v1alpha1"), "v1alpha1"),
    (checks.schema, "left out", lambda o: group(o).pop("rayStartParams"), "rayStartParams: must be there"),
    (checks.pinned, "no digest", lambda o: None, "image lca-sweep:"),
    (checks.placeholders, "left", lambda o: of_kind(o, "RayJob")[0]["metadata"].update(x="example.invalid"), "x"),
]  # fmt: skip


def secret(container: Object, name: str) -> Object:
    """Which Secret's key a variable is."""
    return variable(container, name)["valueFrom"]["secretKeyRef"]


def resources(workers: Object) -> Object:
    """What a group's workers ask for."""
    return workers["template"]["spec"]["containers"][0]["resources"]


@needs["kubectl"]
@pytest.mark.parametrize(
    ("check", "what", "spoil", "complaint"), BROKEN, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_wrong_is_found(check: Check, what: str, spoil: Break, complaint: str) -> None:
    objects = render("sweeps/mnist")
    spoil(objects)
    assert any(complaint in found for found in check(objects)), what


def test_each_check_has_a_counter_example() -> None:
    assert {*CHECKS, checks.quota, checks.pinned, checks.placeholders} == {check for check, *_ in BROKEN}


@needs["kubectl"]
def test_who_may_speak_to_whom() -> None:
    """The whole table, so that a policy that lets in more is found too."""
    objects = render("sweeps/mnist-gpu")
    all_pods = pods(objects)
    ports = {one["containerPort"] for pod in all_pods for c in pod.containers() for one in c.get("ports", [])}
    found = {
        (source.labels[checks.COMPONENT], target.labels[checks.COMPONENT], port)
        for source in all_pods for target in all_pods for port in ports
        if checks.allowed(objects, source, target, port)
    }  # fmt: skip
    ray = {(source, target, port) for source in ("head", "worker") for target in ("head", "worker") for port in ports}
    stores = {(source, "s3", 8333) for source in ("head", "worker", "mlflow", "buckets")}
    databases = {("head", "postgres", 5432), ("mlflow", "postgres", 5432), ("head", "redis", 6379)}
    assert found == ray | stores | databases | {("head", "mlflow", 5000), ("submitter", "head", 8265)}


@needs["kubectl"]
@needs["kubernetes-validate"]
@every_folder
def test_kubernetes_knows_each_field(folder: str, tmp_path: Path) -> None:
    """Core objects, and the pods of ray.io's as pods of their own."""
    objects = render(folder)
    core = [item for item in objects if not item["apiVersion"].startswith("ray.io/")]
    assert kubernetes_validate([*core, *(pod.object() for pod in pods(objects))], tmp_path) == (0, "")


@needs["kubectl"]
@needs["kubernetes-validate"]
def test_kubernetes_does_not_know_what_is_not_there(tmp_path: Path) -> None:
    objects = render("overlays/local")
    head(objects)["containers"][0]["preStop"] = {}
    status, complaint = kubernetes_validate([pod.object() for pod in pods(objects)], tmp_path)
    assert status != 0 and "preStop" in complaint


def kubernetes_validate(objects: list[Object], folder: Path) -> tuple[int, str]:
    """Its exit status, and all that it says but praise."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    done = subprocess.run(["kubernetes-validate", "--strict", file], capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    return done.returncode, "\n".join(line for line in said if line and " passed for resource " not in line)


@needs["kubectl"]
@needs["checkov"]
@pytest.mark.parametrize("folder", ["sweeps/mnist-gpu", "overlays/production"])
def test_checkov_finds_nothing(folder: str, tmp_path: Path) -> None:
    objects = render(folder)
    (tmp_path / "objects.yaml").write_text(yaml.safe_dump_all(objects))
    assert checkov(tmp_path, "kubernetes", *(() if "production" in folder else ("CKV_K8S_43",))) == ""


@needs["checkov"]
def test_checkov_finds_nothing_in_the_dockerfiles() -> None:
    if not dockerfiles():
        pytest.skip("no docker/*Dockerfile")
    assert checkov(ROOT / "docker", "dockerfile") == ""


def checkov(folder: Path, framework: str, *skipped: str) -> str:
    """What it finds, but for what k8s/checkov.yaml has a reason for."""
    reasons = yaml.safe_load((K8S / "checkov.yaml").read_text(encoding="utf-8"))["skip-check"]
    command = ["checkov", "-d", folder, "--framework", framework, "--skip-download", "--compact", "--quiet"]
    done = subprocess.run(
        [*command, "--skip-check", ",".join([*reasons, *skipped])], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode in (0, 1), done.stderr
    return "\n".join(re.findall(r"Check: .*|FAILED for .*", done.stdout))


@needs["hadolint"]
def test_hadolint_finds_nothing() -> None:
    files = dockerfiles()
    if not files:
        pytest.skip("no docker/*Dockerfile")
    done = subprocess.run(["hadolint", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def dockerfiles() -> list[Path]:
    """docker/Dockerfile and docker/*.Dockerfile."""
    return sorted((ROOT / "docker").glob("*Dockerfile"))


@needs["kubectl"]
@pytest.mark.skipif("kubernetes" not in os.listdir(config_dir() / "cluster") and not
                    (config_dir() / "cluster/kubernetes.yaml").exists(), reason="no conf/cluster/kubernetes.yaml")  # fmt: skip
@pytest.mark.parametrize("folder", SWEEPS)
def test_the_words_of_a_sweep_are_a_sweep(folder: str) -> None:
    """With the head's environment they compose to a configuration whose places are the cluster's."""
    objects = render(folder)
    python, *words = shlex.split(job(objects)["entrypoint"])
    assert [python, *words[:2]] == ["python", "-m", "lca_sweep"]
    with patch.dict(os.environ, settings(head(objects)["containers"][0], objects)):
        config = compose(words[2:], [config_dir()])
    validate(config)
    parse(config.sweep.space, config)
    assert (config.cluster.address, config.sweep.dir, config.sweep.storage) == (
        "auto",
        "/sweeps",
        "s3://lca-sweep/sweeps",
    )
    assert config.search.storage == "postgresql+psycopg://optuna@postgres:5432/optuna"
    assert config.tracking.uri == "http://mlflow:5000"
    assert config.cluster.packs  # or only as many as fit on the machines of the start, of which there are none


@needs["kubectl"]
def test_production_is_pinned_and_yours_to_fill_in() -> None:
    objects = render("overlays/production")
    assert list(checks.pinned(objects)) == []
    left = "\n".join(checks.placeholders(objects))
    assert all(one in left for one in ("registry.example.invalid", "sha256:000", "192.0.2.", "mlflow.example.invalid"))
    assert of_kind(objects, "StatefulSet") == [the(objects, "StatefulSet", "redis")]


@needs["kubectl"]
@pytest.mark.parametrize("folder", [folder for folder in EVERYTHING if folder != "overlays/production"])
def test_elsewhere_nothing_is_left_to_fill_in(folder: str) -> None:
    assert list(checks.placeholders(render(folder))) == []


@needs["kubectl"]
def test_gpus_are_workers_business_alone() -> None:
    objects = render("overlays/gpu")
    cpu, gpu = (group(objects, index) for index in (0, 1))
    assert resources(gpu)["limits"]["nvidia.com/gpu"] == 1
    assert gpu["template"]["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert "nvidia.com/gpu" not in resources(cpu)["limits"]
    alone = {"resources", "nodeSelector", "tolerations"}
    assert {key for key in gpu["template"]["spec"] if gpu["template"]["spec"][key] != cpu["template"]["spec"].get(key)} == {
        "containers", "nodeSelector", "tolerations"}  # fmt: skip
    assert {key for key, value in gpu["template"]["spec"]["containers"][0].items()
            if value != cpu["template"]["spec"]["containers"][0][key]} <= alone  # fmt: skip


@needs["kubectl"]
@pytest.mark.parametrize("folder", SWEEPS)
def test_a_sweeps_cluster_is_like_the_shared_one(folder: str) -> None:
    objects = render(folder)
    assert job(objects)["rayClusterSpec"] == the(objects, "RayCluster", "ray")["spec"]


@needs["kubectl"]
def test_no_secret_is_in_the_repository() -> None:
    """make.sh makes new ones each time; no overlay has any."""
    again = subprocess.run([K8S / "secrets.example/make.sh"], capture_output=True, text=True, check=True).stdout
    made = {item["metadata"]["name"]: item["stringData"] for item in yaml.safe_load_all(again) if item}
    fixed = {(name, key) for name, data in made.items() for key, value in data.items() if value == secrets()[name][key]}
    assert fixed == {("mlflow", "username")}
    for folder in EVERYTHING:
        assert of_kind(render(folder), "Secret") == []


def test_secrets_agree_with_each_other() -> None:
    made = secrets()
    assert f":{made['postgres']['mlflow_auth']}@postgres:5432/" in made["mlflow"]["basic_auth.ini"]
    (identity,) = yaml.safe_load(made["s3"]["seaweedfs.json"])["identities"]
    keys = {"accessKey": made["s3"]["access_key"], "secretKey": made["s3"]["secret_key"]}
    assert identity["credentials"] == [keys]
    assert f"requirepass {made['redis']['password']}\n" in made["redis"]["redis.conf"]


DRIVER = """
import signal, sys, time
def end(*_):
    time.sleep(1.5)
    open(sys.argv[1], "w").write("in order")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
open(sys.argv[1] + ".up", "w").close()
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="a process namespace needs root")
@pytest.mark.parametrize("words", ["-m lca_sweep", "bin/lca-sweep"])
def test_a_head_that_goes_waits_for_its_drivers(words: str, tmp_path: Path) -> None:
    """drain.sh ends drivers, and nobody else; in a namespace of its own, where no others are."""
    for file in ("lca_sweep.py", "other.py", "bin/lca-sweep"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(DRIVER)
    python = shlex.quote(sys.executable)
    script = f"""
        sh -c '{python} {words} +sweep=mnist; true' & sh -c '{python} other.py other; true' &
        until [ -e +sweep=mnist.up ] && [ -e other.up ]; do sleep 0.1; done
        exec sh {shlex.quote(str(K8S / "base/drain.sh"))}
    """
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "+sweep=mnist").read_text() == "in order"
    assert not (tmp_path / "other").exists()
    assert time.monotonic() - begun > 1.5


def test_the_guide_speaks_of_files_and_objects_that_are_there() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    for path in re.findall(r"(?:k8s|docker|docs|conf)/[\w./-]*\w", guide):
        assert (ROOT / path).exists() or path.startswith("docker/"), path
    for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", guide):
        assert (GUIDE.parent / link).exists(), link


@needs["kubectl"]
def test_the_guide_names_objects_that_are_there() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    kinds = {"svc": "Service", "service": "Service", "deployment": "Deployment", "statefulset": "StatefulSet",
             "rayjob": "RayJob", "raycluster": "RayCluster", "job": "Job", "secret": "Secret",
             "configmap": "ConfigMap", "pvc": "PersistentVolumeClaim"}  # fmt: skip
    there = {(item["kind"], item["metadata"]["name"]) for folder in EVERYTHING for item in render(folder)}
    there |= {("Secret", name) for name in secrets()} | {("Job", name) for kind, name in there if kind == "RayJob"}
    named = set(re.findall(r"\b(" + "|".join(kinds) + r")/([a-z0-9-]+)", guide))
    named |= set(re.findall(r"\b(secret) ([a-z0-9-]+) -o", guide))
    assert named and {(kinds[kind], name) for kind, name in named} <= there
