"""What a worker takes of its machine, under the names by which MLflow's page of system metrics finds it."""

from __future__ import annotations

import os
import time

import torch

PREFIX = "system/"
PAGE = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Measures this process from one look to the next. No part of a report: that is the same in every training."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def look(self) -> dict[str, float]:
        """Since the look before: seconds, CPU in percent of one core; now: main memory in MB; of a GPU, the most."""
        wall, cpu = time.monotonic(), time.process_time()
        seconds, busy = wall - self._wall, cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        found = {
            "seconds_per_epoch": seconds,
            "worker_cpu_utilization_percentage": 100 * busy / max(seconds, 1e-9),
            "worker_memory_usage_megabytes": resident() / 1e6,
        }
        if torch.cuda.is_initialized():
            found["worker_gpu_memory_usage_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
        return {f"{PREFIX}{name}": value for name, value in found.items()}


def resident() -> int:
    """Bytes of main memory that this process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE
