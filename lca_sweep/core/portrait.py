"""Pictures of a trained network's weights, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Histogram:
    """How many weights have a value between neighbouring edges."""

    edges: NDArray[np.float64]  # (bins + 1)
    counts: NDArray[np.int64]  # (bins)
