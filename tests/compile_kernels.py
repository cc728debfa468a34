"""Compiles every kernel for a GPU generation: `python tests/compile_kernels.py 90`; a line each.

Name, bytes of machine code, and how often it uses local memory (registers that spill, arrays that are indexed).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lca_sweep.core import fused, kernels

WHOLE, REAL = {"first", "layer", "units", "batch", "size", "inputs"}, {"gain1", "gain2", "eps"}
POINTERS = {"keys": "*i64", "clock": "*i64", "sizes": "*i32"}
UNITS, WEIGHTS = {"BLOCK": fused.IMAGES}, {"BLOCK": fused.WEIGHTS}
BOTH = (True, False)
VARIANTS = [
    (kernels.noise, UNITS, 4),
    *((kernel, UNITS | {"HIDDEN": hidden}, 4) for kernel in (kernels.activate, kernels.slopes) for hidden in BOTH),
    (kernels.activate, UNITS | {"HIDDEN": True, "layer": 1}, 4),  # Triton takes a 1 for a constant
    (kernels.moments, WEIGHTS, fused.WARPS),
    *((kernels.update, WEIGHTS | {"DATA": d, "PRIOR": p}, fused.WARPS) for d in BOTH for p in BOTH),
]


def kind(name: str, constants: Mapping[str, Any]) -> str:
    """An argument's type, as Triton writes it."""
    if name in constants:
        return "constexpr"
    return "i32" if name in WHOLE else "fp32" if name in REAL else POINTERS.get(name, "*fp32")


def main(capability: int) -> None:
    """Print a line for each variant of each kernel."""
    for kernel, constants, warps in VARIANTS:
        signature = {name: kind(name, constants) for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=dict(constants))
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
        print(kernel.__name__, len(made.asm["cubin"]), made.asm["ptx"].count(".local"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
