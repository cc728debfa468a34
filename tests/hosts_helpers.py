"""Several machines on one: network namespaces with a switch between them, each host with files and processes of its
own.

A host ends with the process that stands for it, and that one with the tests: the kernel takes processes, interfaces
and mounts away, so that nothing stays behind, not even after a SIGKILL of pytest.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep_helpers import PATIENCE, ROOT, Ended, Process, descendants, poll, process

TOOLS = ("ip", "nsenter", "redis-server", "setpriv", "ss", "unshare")
OWN = ("--net", "--mount", "--uts", "--ipc", "--pid")  # namespaces of a host

# What is below /tmp and shared stays visible there; the rest of /tmp is the host's own.
BOOT = """
set -e
hostname "$0"
ip link set lo up
mount -t tmpfs tmpfs /mnt
for folder; do
  below="/mnt/${folder#/tmp/}"
  mkdir -p "$below"
  mount --bind "$folder" "$below"
done
mkdir -p /mnt/home
mount --move /mnt /tmp
mount -t tmpfs -o size=1g tmpfs /dev/shm
printf '127.0.0.1 localhost\n%s %s\n' "$ADDRESS" "$0" > /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
echo up
exec env --ignore-signal=CHLD sleep infinity
"""
BUCKET = """
from pyarrow.fs import FileSystem
FileSystem.from_uri("s3://lca-sweep?allow_bucket_creation=true")[0].create_dir("lca-sweep")
"""
ALIVE = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level=50)
print(*(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]))
"""

PORTS = {  # Ray takes what is free where nothing is said
    "node-manager-port": 6700,
    "object-manager-port": 6701,
    "runtime-env-agent-port": 6702,
    "dashboard-agent-grpc-port": 6703,
    "dashboard-agent-listen-port": 52365,
    "metrics-export-port": 6704,
    "min-worker-port": 7000,
    "max-worker-port": 7099,
}
# GCS, dashboard, Ray Client (which cannot be turned off), metrics of the autoscaler and of the dashboard
HEAD_PORTS = {6379, 8265, 10001, 44217, 44227}
STRANGERS = {  # who is to be refused
    "no token": {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": ""},
    "wrong token": {"RAY_AUTH_TOKEN": "b" * 64, "RAY_AUTH_TOKEN_PATH": ""},
}


def missing() -> str:
    """Why there can be no hosts here; nothing if there can."""
    if os.geteuid() != 0:
        return "needs root"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"needs {', '.join(absent)} (Debian: iproute2, redis-server, util-linux)"
    bridge = ("ip", "link", "add", "br0", "type", "bridge")
    tried = subprocess.run(["unshare", *OWN, "--fork", *bridge], capture_output=True)
    return "" if tried.returncode == 0 else "the kernel allows no network namespaces here"


def _space(pid: int) -> str:
    """The namespace that a process has its number in."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


@dataclass
class Host:
    """A machine: an address, and processes that see no other host's files in /tmp and /dev/shm, nor its processes."""

    name: str
    address: str
    shared: Path  # a folder that all hosts have
    env: Mapping[str, str]
    popen: subprocess.Popen[str] = field(init=False)
    pid: int = field(init=False)  # of its first process, as others see it

    def __post_init__(self) -> None:
        seen = {ROOT, Path(sys.prefix), Path(sys.base_prefix), self.shared}
        below = sorted(str(folder) for folder in seen if folder.is_relative_to("/tmp"))
        end_with_us = ("setpriv", "--pdeathsig", "KILL", "unshare", *OWN, "--fork", "--kill-child", "--mount-proc")
        self.popen = subprocess.Popen(
            [*end_with_us, "sh", "-c", BOOT, self.name, *below],
            env=os.environ | {"ADDRESS": self.address},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout and self.popen.stdout.readline() == "up\n"
        self.pid = int(Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text())

    @property
    def alive(self) -> bool:
        """Whether it has not been killed."""
        return self.popen.poll() is None

    def words(self, *words: str, folder: Path | None = None) -> list[str]:
        """A command as one that is done on this host, in this folder."""
        return ["nsenter", "--target", str(self.pid), *OWN, f"--wd={folder or self.shared}", "--", *words]

    def environment(self, **env: str) -> dict[str, str]:
        """Of a process on this host."""
        return os.environ | {"HOME": "/tmp/home", "PYTHONPATH": str(ROOT)} | self.env | env

    def do(self, *words: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """A command on this host, to its end."""
        command = self.words(*words, folder=folder)
        return subprocess.run(command, env=self.environment(**env), capture_output=True, text=True, timeout=PATIENCE)

    def begin(
        self, *words: str, folder: Path | None = None, out: Any = subprocess.DEVNULL, err: Any = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """A command on this host that goes on."""
        return subprocess.Popen(
            self.words(*words, folder=folder),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
        )

    def ray(self, *words: str, ports: Mapping[str, int] = PORTS, **env: str) -> None:
        """`ray start` on this host; again where the machine is so busy that Ray does not wait for itself."""
        usual = [
            "--disable-usage-stats",
            "--object-store-memory=100000000",
            f"--node-ip-address={self.address}",
            *(f"--{name}={port}" for name, port in ports.items()),
        ]
        for _ in range(3):
            done = self.do(sys.executable, "-m", "ray.scripts.scripts", "start", *words, *usual, **env)
            if done.returncode == 0:
                return
            self.clear()
        raise AssertionError(done.stdout + done.stderr)

    def processes(self, word: str = "") -> list[Process]:
        """What runs here, and has this word in its command."""
        mine = _space(self.pid)
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _space(int(entry)) == mine]
        return [one for pid in pids if (one := process(pid)) and word in one.command]

    def listens(self) -> dict[int, set[str]]:
        """Ports at which anybody listens, and at which addresses."""
        found: dict[int, set[str]] = {}
        for line in self.do("ss", "-Hltn").stdout.splitlines():
            address, _, port = line.split()[3].rpartition(":")
            found.setdefault(int(port), set()).add(address)
        return found

    def clear(self) -> None:
        """SIGKILL for whatever runs here; the host stays."""
        for one in self.processes():
            if one.pid != self.pid:
                one.kill()

    def kill(self) -> None:
        """SIGKILL for all that it is, at once."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        self.popen.wait()
        assert self.popen.stdout
        self.popen.stdout.close()


class Network:
    """Hosts on one switch, whose cables can be pulled: what is sent meanwhile is lost, and nobody is told."""

    def __init__(self, shared: Path, env: Mapping[str, str]) -> None:
        self.shared, self.env = shared, env
        self.hosts: dict[str, Host] = {}
        self.switch = Host("switch", "127.0.0.1", shared, {})
        self._ip(self.switch, "link", "add", "br0", "type", "bridge")
        self._ip(self.switch, "link", "set", "dev", "br0", "up")

    def add(self, name: str) -> Host:
        """A host with this name, also in place of one that is dead, whose address it has."""
        names = list(dict.fromkeys([*self.hosts, name]))
        host = self.hosts[name] = Host(name, f"10.77.0.{names.index(name) + 1}", self.shared, self.env)
        self.switch.do("ip", "link", "delete", "dev", name)  # the dead one's: the kernel may not have done so yet
        cable = ("link", "add", "dev", name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self._ip_outside(self.switch, *cable)
        self._ip(host, "address", "add", f"{host.address}/24", "dev", "eth0")
        self._ip(host, "link", "set", "dev", "eth0", "up")
        self._ip(self.switch, "link", "set", "dev", name, "up", "master", "br0")
        return host

    def cut(self, host: Host) -> None:
        """Pull its cable."""
        self._ip(self.switch, "link", "set", "dev", host.name, "nomaster")

    def mend(self, host: Host) -> None:
        """Put its cable back."""
        self._ip(self.switch, "link", "set", "dev", host.name, "master", "br0")

    def close(self) -> None:
        """Nothing of it stays."""
        for host in (*self.hosts.values(), self.switch):
            host.kill()

    def _ip(self, host: Host, *words: str) -> None:
        done = host.do("ip", *words, folder=Path("/"))
        assert done.returncode == 0, done.stderr

    def _ip_outside(self, host: Host, *words: str) -> None:
        """In the host's network, but with everybody's processes in sight."""
        subprocess.run(["nsenter", "--target", str(host.pid), "--net", "--", "ip", *words], check=True)


@dataclass
class Sweep:
    """`python -m lca_sweep` on a host; what it says is in files, so that it can be read while it runs."""

    popen: subprocess.Popen[str]
    files: tuple[Path, Path]

    @property
    def out(self) -> str:
        """What it has said so far."""
        return self.files[0].read_text()

    def end(self, patience: float = PATIENCE) -> Ended:
        """Wait until it is over."""
        return Ended(self.popen.wait(patience), self.out, self.files[1].read_text())


class Cluster:
    """Ray with a token on three hosts: a head without CPUs, and two workers with one each. Apart from them, on a fourth
    host, Redis for the head's own state, and a server of S3.
    """

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        token = shared / "token"
        token.write_text(secrets.token_hex(32))
        env = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": "http://10.77.0.4:8333",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.network = Network(shared, env)
        self.address = "10.77.0.1:6379"
        self._password = secrets.token_hex(16)
        self._running: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Hosts, what lies apart, and the head; the workers join by `make_whole`."""
        for name in ("head", "a", "b", "store"):
            self.network.add(name)
        self._start_store()
        self.start_head()

    @property
    def head(self) -> Host:
        """Where Ray's GCS is."""
        return self.network.hosts["head"]

    @property
    def workers(self) -> list[Host]:
        """Where packs are trained."""
        return [self.network.hosts[name] for name in ("a", "b")]

    @property
    def store(self) -> Host:
        """Where nothing of Ray's runs."""
        return self.network.hosts["store"]

    def start_head(self) -> None:
        """Start it, on a new host if the one that it had is dead; it goes on from what Redis has."""
        if not self.head.alive:
            self.network.add("head")
        redis = {"RAY_REDIS_ADDRESS": f"{self.store.address}:6380", "RAY_external_storage_namespace": "hosts"}
        only = ("--num-cpus=0", "--port=6379", "--dashboard-host=127.0.0.1")
        self.head.ray("--head", *only, f"--redis-password={self._password}", **redis)

    def join(self, host: Host, ports: Mapping[str, int] = PORTS) -> None:
        """Start Ray on a host, of one CPU."""
        host.clear()
        host.ray(f"--address={self.address}", "--num-cpus=1", ports=ports)

    def make_whole(self) -> None:
        """All hosts are there, and Ray on them."""
        if not self.head.processes("gcs_server"):
            self.start_head()
        for worker in self.workers:
            here = worker if worker.alive else self.network.add(worker.name)
            if not here.processes("raylet/raylet"):
                self.join(here)

    def alive(self) -> list[str]:
        """The addresses of the hosts that Ray takes for alive."""
        done = self.head.do(sys.executable, "-c", ALIVE, self.address)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    @contextlib.contextmanager
    def sweep(self, host: Host, folder: Path, *words: str) -> Iterator[Sweep]:
        """A started sweep that is over at the end."""
        words = ("-m", "lca_sweep", *words, f"cluster.address={self.address}", "analysis=none")
        files = folder.with_suffix(".out"), folder.with_suffix(".err")
        with files[0].open("w") as out, files[1].open("w") as err:
            popen = host.begin(sys.executable, *words, folder=folder, out=out, err=err)
        try:
            yield Sweep(popen, files)
        finally:
            for one in descendants(popen.pid):
                one.kill()
            popen.kill()
            popen.wait()

    def close(self) -> None:
        """Nothing of it stays."""
        self.network.close()
        for popen in self._running:
            popen.wait()

    def _start_store(self) -> None:
        redis = ("redis-server", "--bind", "0.0.0.0", "--port", "6380", "--save", "", "--requirepass", self._password)
        s3 = (sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", "8333")
        self._running = [self.store.begin(*redis, folder=Path("/tmp")), self.store.begin(*s3)]
        poll(lambda: {6380, 8333} <= self.store.listens().keys(), "Redis and S3")
        made = self.store.do(sys.executable, "-c", BUCKET)
        assert made.returncode == 0, made.stderr
