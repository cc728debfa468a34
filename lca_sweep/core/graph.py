"""A step that is done again and again, on CUDA recorded once as a graph: then a step costs one launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from lca_sweep.core.errors import SlowerWarning, first_line

WARM_UP = 2  # steps before the recording: libraries prepare themselves, kernels are compiled


class Replayed:
    """Calls one `step`, whose tensors stay in place, and which neither reads a value nor depends on Python's state.

    On CUDA it is recorded after a few calls and replayed from then on: the very same work, by the same kernels.
    Where it cannot be recorded it is called as before, with a warning.
    """

    def __init__(self, device: torch.device) -> None:
        self.plain = device.type != "cuda"
        self.before = WARM_UP
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Callable[[], None]) -> None:
        """Do it, always the same; each call is work, also those that warm up."""
        if self.graph is None and not self.plain and self.before == 0:
            self._record(step)
        if self.graph is not None:
            self.graph.replay()
        elif self.plain:
            step()
        else:
            self.before -= 1
            self._aside(step)

    def _aside(self, step: Callable[[], None]) -> None:
        """On a stream of its own, as the recording will be."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self, step: Callable[[], None]) -> None:
        """Nothing is done meanwhile, so that a failure leaves all as it was."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=_pool(), capture_error_mode="thread_local"):
                step()
        except RuntimeError as error:
            if lacking := lack_of_memory(error):
                raise lacking from error
            self.plain = True
            line = f"no CUDA graph on this GPU, each step is launched anew, and slower: {first_line(error)}"
            warnings.warn(line, SlowerWarning, stacklevel=2)
        else:
            self.graph = graph


@cache
def _pool() -> Any:
    """Memory for what comes and goes within a step. All graphs share it: one is replayed after the other."""
    return torch.cuda.graph_pool_handle()


def lack_of_memory(error: BaseException | None) -> torch.OutOfMemoryError | None:
    """What a recording ended by, if that was memory: the end itself may then complain in its place."""
    if error is None or isinstance(error, torch.OutOfMemoryError):
        return error
    return lack_of_memory(error.__context__)
