"""The names of all that is recorded of a trial at every epoch."""

from __future__ import annotations

ALWAYS = ("train/loss", "train/prior", "val/loss", "val/accuracy")
TEST = ("test/loss", "test/accuracy")  # for information: they steer nothing
FRACTIONS = ("vip_fraction", "uip_fraction", "var_fraction")
LAYER = (*FRACTIONS, "entropy", "mean_spike", "dead_fraction")


def of_weights(layers: int) -> tuple[str, ...]:
    """Those of spike-and-slab weights in so many layers, the output's among them: together, and layer by layer."""
    whole = [f"weights/{live}{name}" for live in ("", "live_") for name in FRACTIONS]
    return (*whole, *(f"layer{layer}/{name}" for layer in range(1, layers + 1) for name in LAYER))
