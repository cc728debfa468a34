"""How a pack is trained: it follows from its device, and from whether Triton works there."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lca_sweep.core.errors import SlowerWarning, first_line


@dataclass(frozen=True)
class Engine:
    """By default as on a CPU: noise by generators, in plain torch."""

    recorded: bool = False  # noise by counters; every step is the same, all that changes is on the device
    kernels: bool = False  # Triton's kernels beside the matrix products
    why: str = ""  # there are no kernels, where there might be


CPU = Engine()


@contextmanager
def multiplied(precision: str) -> Iterator[None]:
    """Within it torch multiplies matrices on a GPU in this precision, whatever others have asked it for."""
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = {"float32": "ieee"}.get(precision, precision)
    try:
        yield
    finally:
        settings.fp32_precision = before


def engine_for(device: torch.device | str) -> Engine:
    """The best for a device. Where Triton does not work on a GPU, a warning says why."""
    device = torch.device(device)
    if device.type != "cuda":
        return CPU
    why = why_no_kernels(device)
    if why:
        line = f"on this GPU everything but matrix products is plain torch, and slower: {why}"
        warnings.warn(line, SlowerWarning, stacklevel=2)
    return Engine(recorded=True, kernels=not why, why=why)


def why_no_kernels(device: torch.device | str) -> str:
    """Whether a kernel can be compiled and run: nothing if so, else why not, in a line.

    Triton needs a C compiler (gcc, clang, or what CC names) and Python's headers when a kernel is first used.
    """
    try:
        kernels = importlib.import_module("lca_sweep.core.kernels")
        key = torch.zeros(1, dtype=torch.int64, device=device)
        kernels.noise[(1, 1, 1)](torch.empty(1, device=device), key, key, 0, 0, 1, 1, BLOCK=32)
    except ImportError as error:
        return f"Triton is not installed ({first_line(error)})"
    except torch.OutOfMemoryError:  # nothing to do with kernels
        raise
    except Exception as error:  # whatever a compiler, a driver, or Triton says
        return f"Triton does not work here: {first_line(error)}"
    return ""
