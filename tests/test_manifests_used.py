"""k8s/ as it is used: the words of sweeps, the Secrets, the end of a head, and what docs/kubernetes.md says of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from manifest_broken import head, job
from manifest_helpers import EVERYTHING, K8S, ROOT, SWEEPS, needs, of_kind, render, secrets, settings

from lca_sweep.compose import compose, config_dir
from lca_sweep.config import validate
from lca_sweep.search.space import parse

pytestmark = pytest.mark.manifests
GUIDE = ROOT / "docs/kubernetes.md"


@needs("kubectl")
@pytest.mark.skipif(not (config_dir() / "cluster/kubernetes.yaml").exists(), reason="no conf/cluster/kubernetes.yaml")
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


@needs("kubectl")
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


@needs("kubectl")
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
