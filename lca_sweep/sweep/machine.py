"""What a machine has: versions of packages, cores, memory, GPUs, room on disks."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from packaging.requirements import Requirement

MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def wrong_packages(distribution: str = "lca-sweep") -> tuple[int, list[str]]:
    """How many packages there are as they must be, and a line for each that is not, by the installed package's word.

    What an extra would bring may be absent. LookupError where the package is not installed.
    """
    right, wrong = 0, []
    for requirement in importlib.metadata.requires(distribution) or []:
        wanted = Requirement(requirement)
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                wrong.append(f"{wanted.name} is missing, must be {wanted.specifier or 'there'}")
            continue
        if wanted.specifier.contains(version, prereleases=True):
            right += 1
        else:
            wrong.append(f"{wanted.name} {version}, must be {wanted.specifier}")
    return right, wrong


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> tuple[int, int]:
    """Bytes in all, and those that are available; where a container has a limit, within it."""
    with open("/proc/meminfo") as file:
        found = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":", 1) for line in file)}
    total, free = found["MemTotal"], found["MemAvailable"]
    for limit in MEMORY:
        with suppress(OSError, ValueError):  # none, or "max"
            total = min(total, int(limit.read_text()))
    return total, min(free, total)


def room(folder: Path) -> tuple[Path, int]:
    """The nearest folder that is there, and the bytes left on its disk."""
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return there, shutil.disk_usage(there).free


def is_writable(folder: Path) -> bool:
    """Whether one may make files in it."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def gpus() -> Iterator[str]:
    """Name, memory and driver of each GPU that torch sees."""
    import torch

    if torch.cuda.is_available():
        driver = _driver()
        for place in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(place)
            yield f"{about.name}, {size(about.total_memory)}, {driver}CUDA {torch.version.cuda}"


def free_gpu_memory() -> list[int]:
    """Bytes that are free on each GPU, none where torch can use none. Asked of the driver: CUDA would take some."""
    if not shutil.which("nvidia-smi"):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        words = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        told = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout.split()
        return [int(mebibytes) * 2**20 for mebibytes in told]
    return []


def _driver() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        told = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout.split()
        return f"driver {told[0]}, " if told else ""
    return ""


def size(count: float) -> str:
    """Bytes as `64 MiB`, `7.2 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB" if count < 100 else f"{count:.0f} GiB"
