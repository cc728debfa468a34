"""Several machines on one: network namespaces with a switch between them, each host with files and processes of its own.

A host ends with the process that stands for it, and that one with the tests: the kernel takes processes, interfaces and
mounts away, so that nothing stays behind, not even after a SIGKILL of pytest.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweep_helpers import ROOT, Process, Run, process

TOOLS = ("ip", "nsenter", "setpriv", "unshare")
PORT = 6379  # of the head's GCS, as in a deployment
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
echo up
exec env --ignore-signal=CHLD sleep infinity
"""


def missing() -> str:
    """Why there can be no hosts here; nothing if there can."""
    if os.geteuid() != 0:
        return "needs root"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"needs {', '.join(absent)} (Debian: iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", *OWN, "--fork", "ip", "link", "add", "br0", "type", "bridge"], capture_output=True
    )
    return "" if tried.returncode == 0 else "the kernel allows no network namespaces here"


def _space(pid: int) -> str:
    """The namespace that a process has its number in."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass
class Host:
    """A machine: an address, and processes that see no other host's files in /tmp and /dev/shm, nor its processes."""

    name: str
    address: str
    shared: Path  # a folder that all hosts have
    env: Mapping[str, str]
    popen: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        seen = {ROOT, Path(sys.prefix), Path(sys.base_prefix), self.shared}
        below = sorted(str(folder) for folder in seen if folder.is_relative_to("/tmp"))
        self.popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL"]
            + ["unshare", *OWN, "--fork", "--kill-child", "--mount-proc", "sh", "-c", BOOT, self.name, *below],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout and self.popen.stdout.readline() == "up\n"

    @property
    def pid(self) -> int:
        """The host's first process, as others see it."""
        return int(Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text())

    def words(self, *words: str) -> list[str]:
        """A command as one that is done on this host."""
        return ["nsenter", "--target", str(self.pid), *OWN, f"--wd={self.shared}", "--", *words]

    def environment(self, **env: str) -> dict[str, str]:
        """Of a process on this host."""
        return os.environ | {"HOME": "/tmp/home", "PYTHONPATH": str(ROOT)} | self.env | env

    def do(self, *words: str, patience: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        """A command on this host, to its end."""
        return subprocess.run(
            self.words(*words), env=self.environment(**env), capture_output=True, text=True, timeout=patience
        )

    def begin(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """A command on this host that goes on."""
        return subprocess.Popen(
            self.words(*words),
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sweep(self, *words: str, **env: str) -> Run:
        """`python -m lca_sweep WORDS` on this host, in the shared folder."""
        popen = self.begin(sys.executable, "-m", "lca_sweep", *words, "analysis=none", **env)
        return Run(popen, Path("/nonexistent"))

    def ray(self, *words: str, **env: str) -> None:
        """`ray start` on this host; again where the machine is so busy that Ray does not wait for itself."""
        quiet = ("--disable-usage-stats", "--object-store-memory=100000000", f"--node-ip-address={self.address}")
        for _ in range(3):
            done = self.do(sys.executable, "-m", "ray.scripts.scripts", "start", *words, *quiet, **env)
            if done.returncode == 0:
                return
            self.clear()
        raise AssertionError(done.stdout + done.stderr)

    def clear(self) -> None:
        """SIGKILL for whatever runs here."""
        for one in self.processes():
            if one.pid != self.pid:
                one.kill()

    def processes(self, word: str = "") -> list[Process]:
        """What runs here, and has this word in its command."""
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        return [
            one
            for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
            if _space(pid) == mine and (one := process(pid)) and word in one.command
        ]

    def listens(self) -> set[tuple[str, int]]:
        """Addresses and ports at which anybody listens."""
        lines = self.do("ss", "-Hltn").stdout.splitlines()
        return {
            (local.rpartition(":")[0], int(local.rpartition(":")[2])) for local in (line.split()[3] for line in lines)
        }

    def kill(self) -> None:
        """The power goes: SIGKILL for all of it."""
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdout
        self.popen.stdout.close()


class Network:
    """Hosts on one switch, whose cables can be pulled and put back: what is sent meanwhile is lost, and nobody is told."""

    def __init__(self, shared: Path, env: Mapping[str, str]) -> None:
        self.shared, self.env = shared, env
        self.hosts: dict[str, Host] = {}
        self.switch = Host("switch", "", shared, {})
        self._at_switch("link", "add", "br0", "type", "bridge")
        self._at_switch("link", "set", "dev", "br0", "up")

    def add(self, name: str) -> Host:
        """A host with this name, also in place of one that is dead: it has the dead one's address."""
        names = list(dict.fromkeys([*self.hosts, name]))
        host = self.hosts[name] = Host(name, f"10.77.0.{names.index(name) + 1}", self.shared, self.env)
        pids = str(host.pid), str(self.switch.pid)
        _ip("link", "add", "eth0", "netns", pids[0], "type", "veth", "peer", "name", name, "netns", pids[1])
        host.do("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.do("ip", "link", "set", "dev", "eth0", "up")
        host.do("ip", "route", "add", "default", "dev", "eth0")  # by which Ray and others learn their own address
        self._at_switch("link", "set", "dev", name, "up", "master", "br0")
        return host

    def cut(self, host: Host) -> None:
        """Pull its cable."""
        self._at_switch("link", "set", "dev", host.name, "nomaster")

    def mend(self, host: Host) -> None:
        """Put its cable back."""
        self._at_switch("link", "set", "dev", host.name, "master", "br0")

    def _at_switch(self, *words: str) -> None:
        done = self.switch.do("ip", *words)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        for host in (*self.hosts.values(), self.switch):
            host.kill()
