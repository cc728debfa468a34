"""What a run would need, looked at one by one: each check says what it found, or raises UserError with what to do.

Nothing is made or changed, but for an object in a bucket of S3 that is there for a moment: else nobody could tell.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lca_sweep.config import Config
from lca_sweep.core.data import missing, unreachable
from lca_sweep.search.reaching import reach
from lca_sweep.sweep.cluster import address_of, check_answers
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.folder import check_knobs, derived_name
from lca_sweep.sweep.machine import cores, gpus, is_writable, memory, room, size, wrong_packages
from lca_sweep.sweep.overview import overviews
from lca_sweep.sweep.storage import storage_at
from lca_sweep.sweep.words import command, extended, plural
from lca_sweep.tracking.finding import check_store
from lca_sweep.tracking.serving import free_port
from lca_sweep.tracking.uri import kind

PYTHON = (3, 11)  # as pyproject.toml has it
LEAST_DISK = 2**30  # bytes left
LEAST_MEMORY = 2**30  # Ray, and a worker with torch
SHARE = 0.3  # of the memory that is available, for Ray's object store

Check = Callable[[Config], str]


def python(config: Config) -> str:
    if sys.version_info < PYTHON:
        raise SweepError(f"{platform.python_version()}: must be >= {'.'.join(map(str, PYTHON))}")
    return platform.python_version()


def packages(config: Config) -> str:
    try:
        right, wrong = wrong_packages()
    except LookupError:
        raise SweepError("lca-sweep is not installed, so nothing says which are right: pip install -e .") from None
    if wrong:
        raise SweepError(f"{'; '.join(wrong)}; pip install -c constraints.txt -e . puts that right")
    return f"{right} in their ranges"


def cpus(config: Config) -> str:
    import torch

    there, wanted = cores(), config.cluster.cpus_per_pack
    if config.cluster.address == "local" and wanted > there:
        raise SweepError(f"cluster.cpus_per_pack={wanted}: this machine has {there}; must be <= {there}")
    return f"{plural(there, 'core')}, {plural(torch.get_num_threads(), 'thread')} of torch {torch.__version__}"


def gpu(config: Config) -> str:
    found, wanted = list(gpus()), config.cluster.gpus_per_pack
    if config.cluster.address == "local" and wanted and not found:
        raise SweepError(f"cluster.gpus_per_pack={wanted:g}: none here that torch can use; must be 0 (or null)")
    return "; ".join([*found, _kernels()] if found else ["none"])


def _kernels() -> str:
    """Whether its steps go through Triton's kernels."""
    from lca_sweep.core.engine import why_no_kernels

    why = why_no_kernels("cuda")
    return f"no kernels, so training is slower: {why}" if why else "Triton's kernels work"


def ram(config: Config) -> str:
    total, free = memory()
    if free < LEAST_MEMORY:
        raise SweepError(f"{size(free)} of {size(total)} available; end other programs, or take a larger machine")
    return f"{size(free)} of {size(total)} available"


def shared_memory(config: Config) -> str:
    if not Path("/dev/shm").is_dir():
        return "none; Ray takes its temporary folder"
    free, wanted = room(Path("/dev/shm"))[1], int(SHARE * memory()[1])
    if config.cluster.address == "local" and free < wanted:
        raise SweepError(
            f"/dev/shm has {size(free)}, Ray's object store takes {size(wanted)}, else it is slow; "
            f"give the container --shm-size={wanted * 11 // 10 // 2**20}m"
        )
    return f"{size(free)} for Ray's object store, which takes {size(min(wanted, free))}"


def disk(config: Config) -> str:
    there, free = room(Path(config.sweep.dir))
    if not is_writable(there):
        raise SweepError(f"sweep.dir={config.sweep.dir}: {there} cannot be written to; name another folder")
    if free < LEAST_DISK:
        raise SweepError(f"sweep.dir={config.sweep.dir}: {size(free)} left at {there}; name a folder with more")
    return f"{size(free)} left at {there}"


def data(config: Config) -> str:
    absent = missing(config.data.name, config.data.dir)
    if not absent:
        return f"{config.data.name} is there"
    there = room(absent[0].parent)[0]
    if not is_writable(there):
        raise SweepError(f"{config.data.name}: {absent[0]} is missing, and {there} cannot be written to; set data.dir")
    if why := unreachable(config.data.name, config.data.dir):
        raise SweepError(
            f"{config.data.name}: {absent[0]} is missing, and not to be had by download ({why}); "
            "get it elsewhere, and set data.dir to the folder it is in"
        )
    return f"{config.data.name}: to be downloaded into {absent[0].parent} ({plural(len(absent), 'file')})"


def mlflow(config: Config) -> str:
    uri = config.tracking.uri
    if kind(uri) == "files":
        raise SweepError(f"tracking.uri={uri}: must be like sqlite:///mlflow.db, http://HOST:PORT or postgresql://...")
    return reach(uri, "tracking.uri") if kind(uri) == "other" else check_store(uri)


def study(config: Config) -> str:
    url = config.search.storage
    return reach(url, "search.storage") if url else "a journal in the sweep's folder"


def storage(config: Config) -> str:
    if config.sweep.storage is None:
        return "the sweep's folder"
    storage_at(config.sweep.storage).check()
    return f"{config.sweep.storage.partition('?')[0]} can be read and written"


def cluster(config: Config) -> str:
    address = address_of(config.cluster)
    if address == "local":
        return "local: a Ray of its own"
    check_answers(address, patience=5)
    return f"{address} answers"


def port(config: Config) -> str:
    return f"`ui` takes {free_port()}"


def sweeps(config: Config) -> str:
    place = Path(config.sweep.dir)
    there = overviews(place, "doctor")
    waiting = sorted(one.known.name for one in there if one.state == "interrupted")
    unknown = [one.trouble.removeprefix("doctor ") for one in there if one.trouble]
    if unknown:
        raise SweepError("; ".join(unknown))
    told = f"{plural(len(there), 'sweep')} in {place}"
    told += f"; to go on (resume NAME): {', '.join(waiting)}" if waiting else ""
    name = config.sweep.name or derived_name(config)
    own = next((one for one in there if one.known.name == name), None)
    if own is None or config.sweep.resume == "never":
        return told
    if own.owner:
        raise SweepError(f"sweep {name} is being run by {own.owner}; stop it ({command('stop', own.known.path)})")
    check_knobs(config, own.known.path)
    return told + (f"; {name} is done{extended(config, own.asked)}" if own.state == "done" else f"; {name} would go on")


CHECKS: Mapping[str, Check] = {
    "python": python,
    "packages": packages,
    "cores": cpus,
    "GPU": gpu,
    "memory": ram,
    "/dev/shm": shared_memory,
    "disk": disk,
    "data": data,
    "MLflow": mlflow,
    "study": study,
    "storage": storage,
    "cluster": cluster,
    "port": port,
    "sweeps": sweeps,
}
