"""How much memory training on a device takes, as a sum over its tensors; tests/test_memory.py measures it.

For each trial, in numbers of 4 bytes, with C connections, F of them in the first layer, and U units times images of a
mini-batch:

| what | numbers |
|---|---|
| weights and both running means (`Bucket.layers`) | 9 C |
| those of the first layer, put in order (`Opened`) | 9 F |
| mean and variance, kept from step to step (`fused`), or the prior's share | 2 C |
| a step: activations, slopes and A, B; in plain torch also moments, gradients, noise | 6 U + 2 C; 12 U + 11 C |
| copies: a checkpoint's, and the first layer's between epochs | 9 C |

The step's room is not given back while a CUDA graph holds it: so all is summed. The images, and what is evaluated at
once, are the same for any number of trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lca_sweep.core.pack import shapes

NUMBER = 4  # bytes of a float32
EVALUATION = 2**25 * NUMBER  # bytes of the activations that are evaluated at once in one tensor (`device.ACTIVATIONS`)
TENSORS = {True: 6, False: 16}  # so many of these at a time, with kernels or without
CONTEXT = 2**29  # CUDA itself, its libraries and their buffers
KEPT_FREE = 0.1  # of what is free: memory is given out in blocks, some of which stay partly empty


def trial_bytes(widths: Sequence[int], batch: int, kernels: bool = True) -> int:
    """Memory of one trial more in a pack; `widths` are inputs, hidden widths, classes."""
    inputs, *hidden, classes = widths
    each = [math.prod(shape) for shape in shapes(inputs, hidden, classes)]
    connections, first, units = sum(each), each[0], sum(widths[1:]) * batch
    step = 6 * units + 2 * connections if kernels else 12 * units + 11 * connections
    return NUMBER * (9 * connections + 9 * first + 2 * connections + step + 9 * connections)


def room(free: int, widths: Sequence[int], batch: int, images: int, kernels: bool = True) -> int:
    """How many such trials fit into so many free bytes, beside `images` images of training, validation and test."""
    shared = CONTEXT + TENSORS[kernels] * EVALUATION + 2 * images * widths[0]  # ordering the pixels makes a copy
    left = free * (1 - KEPT_FREE) - shared
    return max(int(left // trial_bytes(widths, batch, kernels)), 0)
