"""The studies of a trained network, against the matrix products that they take; on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from harness import interleave, table
from torch import Tensor

from lca_sweep.core import (
    Images,
    Network,
    Pack,
    SpikeSlab,
    Trial,
    TrialKnobs,
    kept_curve,
    load,
    perturb,
    score_ensemble,
)
from lca_sweep.core.perturbation import ARMS, FRACTIONS
from lca_sweep.core.sparsification import KEPT
from lca_sweep.core.subnetworks import BATCH

DRAWS, REPEATS = 20, 2


def products(weights: Sequence[Tensor], images: int) -> Callable[[], None]:
    """The matrix products of networks side by side, with kept buffers: layers (networks, out, in), or (out, in)."""
    steps: list[tuple[Callable[..., Tensor], Tensor, Tensor, Tensor]] = []
    a = torch.rand(BATCH, weights[0].shape[-1]).t()
    for w in weights:
        shared = a.dim() == 2
        left = w.reshape(-1, w.shape[-1]) if shared else w.expand(len(a), -1, -1)
        result = torch.empty(*left.shape[:-1], BATCH)
        steps.append((torch.mm if shared else torch.bmm, left, a, result))
        a = result.view(*w.shape[:-1], BATCH) if shared else result

    def run() -> None:
        for _ in range(images // BATCH):
            for multiply, left, right, out in steps:
                multiply(left, right, out=out)

    return run


def stacked(network: Network, count: int, layers: Sequence[int]) -> list[Tensor]:
    """Weights of `count` networks that differ in these layers."""
    return [w.expand(count, -1, -1).clone() if n in layers else w for n, w in enumerate(network.mean())]


def repeated(times: int, *runs: Callable[[], None]) -> Callable[[], None]:
    """All of them, so many times."""

    def run() -> None:
        for each in runs * times:
            each()

    return run


def untrained() -> Network:
    """784-100-100-10 with categories as a trained network has them, for the time does not depend on what it learned."""
    network = Pack.start([Trial(0, TrialKnobs())], 784, 10).network(0)
    rng = torch.Generator().manual_seed(0)
    layers = []
    for w in network.layers:
        kind = torch.rand(w.pi.shape, generator=rng)
        pi = torch.where(kind < 0.1, 0.0, torch.where(kind > 0.9, 1.0, kind))
        layers.append(SpikeSlab(pi, w.m, torch.where(kind < 0.05, 0.0, w.xi)))
    return Network(tuple(layers))


def main(rounds: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    data = load("mnist")
    test: Images = data.test
    network, images, every = untrained(), len(data.test.y), range(3)
    variants = 1 + len(ARMS) * (len(FRACTIONS) - 1)  # f = 0 is the same in all arms
    floors = {
        "ensemble": products(stacked(network, DRAWS, every), images),
        "kept": repeated(len(KEPT), products(stacked(network, DRAWS + 1, every), images)),
        "perturbation": repeated(REPEATS, *(products(stacked(network, variants, [n]), images) for n in every)),
    }
    ours: dict[str, Callable[[], object]] = {
        "ensemble": lambda: score_ensemble([network], test, data.scale, draws=DRAWS, seeds=[0]),
        "kept": lambda: kept_curve(network, test, data.scale, seed=0, draws=DRAWS),
        "perturbation": lambda: perturb(network, test, data.scale, seed=0, repeats=REPEATS),
    }
    titles = {
        "ensemble": f"Score of an ensemble of {DRAWS} sub-networks",
        "kept": f"Accuracy of {len(KEPT)} shares of the weights, {DRAWS} sub-networks and the mean network",
        "perturbation": f"Perturbation of 3 layers, {len(ARMS)} arms, {len(FRACTIONS)} fractions, {REPEATS} repeats",
    }
    for name, title in titles.items():
        contenders = {"matrix products alone": floors[name], "lca_sweep": ours[name]}
        seconds = interleave(contenders, max(rounds // 5, 2), 1)
        print(table(f"{title}; 10,000 images, one core", seconds, "matrix products alone", unit="s"), flush=True)


if __name__ == "__main__":
    main(15)
