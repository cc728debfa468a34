"""k8s/ as files: it renders, Kubernetes and KubeRay would take it, and what it says fits together and keeps people out.

No cluster is needed; what only a cluster can show is listed in docs/kubernetes.md.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import manifest_checks as checks
import manifest_network as network
import manifest_ray as ray
import pytest
import yaml
from manifest_broken import BROKEN, Break, Check, group, head, job, resources, shared
from manifest_helpers import EVERYTHING, K8S, OVERLAYS, ROOT, SWEEPS, Object, needs, of_kind, pods, render, the

pytestmark = pytest.mark.manifests
every_folder = pytest.mark.parametrize("folder", EVERYTHING)
CHECKS: tuple[Check, ...] = (
    *(checks.restricted, checks.places, checks.mounts, checks.references, checks.services),
    *(checks.images, checks.probes, checks.resources),
    *(network.policies, network.reachable),
    *(ray.kuberay, ray.rayjobs, ray.grace, ray.schema),
)


@needs("kubectl")
@every_folder
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_is_wrong(folder: str, check: Check) -> None:
    assert list(check(render(folder))) == []


@needs("kubectl")
@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_shared_cluster_fits_into_the_quota(folder: str) -> None:
    assert list(checks.quota(render(folder))) == []


@needs("kubectl")
@pytest.mark.parametrize(
    ("check", "what", "spoil", "complaint"), BROKEN, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_wrong_is_found(check: Check, what: str, spoil: Break, complaint: str) -> None:
    objects = render("sweeps/mnist")
    spoil(objects)
    assert any(complaint in found for found in check(objects)), what


def test_each_check_has_a_counter_example() -> None:
    assert {*CHECKS, checks.quota, checks.pinned, checks.placeholders} == {check for check, *_ in BROKEN}


@needs("kubectl")
def test_who_may_speak_to_whom() -> None:
    """The whole table, so that a policy that lets in more is found too."""
    objects = render("sweeps/mnist-gpu")
    all_pods = pods(objects)
    ports = {one["containerPort"] for pod in all_pods for c in pod.containers() for one in c.get("ports", [])}
    found = {
        (source.labels[network.COMPONENT], target.labels[network.COMPONENT], port)
        for source in all_pods for target in all_pods for port in ports
        if network.allowed(objects, source, target, port)
    }  # fmt: skip
    nodes = {(source, target, port) for source in ("head", "worker") for target in ("head", "worker") for port in ports}
    stores = {(source, "s3", 8333) for source in ("head", "worker", "mlflow", "buckets")}
    databases = {("head", "postgres", 5432), ("mlflow", "postgres", 5432), ("head", "redis", 6379)}
    assert found == nodes | stores | databases | {("head", "mlflow", 5000), ("submitter", "head", 8265)}


@needs("kubectl")
@needs("kubernetes-validate")
@every_folder
def test_kubernetes_knows_each_field(folder: str, tmp_path: Path) -> None:
    """Core objects, and the pods of ray.io's as pods of their own."""
    objects = render(folder)
    core = [item for item in objects if not item["apiVersion"].startswith("ray.io/")]
    assert kubernetes_validate([*core, *(pod.object() for pod in pods(objects))], tmp_path) == (0, "")


@needs("kubectl")
@needs("kubernetes-validate")
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


@needs("kubectl")
@needs("checkov")
@pytest.mark.parametrize("folder", ["sweeps/mnist-gpu", "overlays/production"])
def test_checkov_finds_nothing(folder: str, tmp_path: Path) -> None:
    objects = render(folder)
    (tmp_path / "objects.yaml").write_text(yaml.safe_dump_all(objects))
    assert checkov(tmp_path, "kubernetes", *(() if "production" in folder else ("CKV_K8S_43",))) == ""


@needs("checkov")
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


@needs("hadolint")
def test_hadolint_finds_nothing() -> None:
    files = dockerfiles()
    if not files:
        pytest.skip("no docker/*Dockerfile")
    done = subprocess.run(["hadolint", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def dockerfiles() -> list[Path]:
    """docker/Dockerfile and docker/*.Dockerfile."""
    return sorted((ROOT / "docker").glob("*Dockerfile"))


@needs("kubectl")
def test_production_is_pinned_and_yours_to_fill_in() -> None:
    objects = render("overlays/production")
    assert list(checks.pinned(objects)) == []
    left = "\n".join(checks.placeholders(objects))
    assert all(one in left for one in ("registry.example.invalid", "sha256:000", "192.0.2.", "mlflow.example.invalid"))
    assert of_kind(objects, "StatefulSet") == [the(objects, "StatefulSet", "redis")]


@needs("kubectl")
@pytest.mark.parametrize("folder", [folder for folder in EVERYTHING if folder != "overlays/production"])
def test_elsewhere_nothing_is_left_to_fill_in(folder: str) -> None:
    assert list(checks.placeholders(render(folder))) == []


@needs("kubectl")
def test_gpus_are_workers_business_alone() -> None:
    objects = render("overlays/gpu")
    cpu, gpu = (group(objects, index) for index in (0, 1))
    assert resources(gpu)["limits"]["nvidia.com/gpu"] == 1
    assert gpu["template"]["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert "nvidia.com/gpu" not in resources(cpu)["limits"]
    for key in ("nodeSelector", "tolerations"):  # else they are the same
        del gpu["template"]["spec"][key]
    resources(gpu).clear(), resources(cpu).clear()
    assert gpu["template"] == cpu["template"]


@needs("kubectl")
@pytest.mark.parametrize("folder", SWEEPS)
def test_a_sweeps_cluster_is_like_the_shared_one(folder: str) -> None:
    objects = render(folder)
    assert job(objects)["rayClusterSpec"] == shared(objects)
