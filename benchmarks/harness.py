"""One way to measure: contenders take turns in one process, and a Markdown table has their medians and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 15, warm_up: int = 2, measured: bool = False
) -> dict[str, float]:
    """Median seconds of each contender; they take turns, so that a noisy machine disturbs all alike.

    With `measured` a contender returns its seconds itself, for it knows what of them counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + rounds):
        for name, contender in contenders.items():
            began = time.perf_counter()
            result = contender()
            took = result if measured and isinstance(result, float) else time.perf_counter() - began
            if turn >= warm_up:
                seconds[name].append(took)
    return {name: statistics.median(times) for name, times in seconds.items()}


def table(title: str, seconds: Mapping[str, float], floor: str, unit: str = "ms", per: float = 1.0) -> str:
    """A Markdown table: each contender's median, divided by `per`, and its ratio to `floor`."""
    factor = {"s": 1.0, "ms": 1e3}[unit] / per
    lines = [f"\n### {title}\n", f"| what | {unit} | ratio |", "|---|---:|---:|"]
    lines += [f"| {name} | {value * factor:.3g} | {value / seconds[floor]:.2f} |" for name, value in seconds.items()]
    return "\n".join(lines)
