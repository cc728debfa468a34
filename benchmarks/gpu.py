"""Training on a GPU: is it right, how fast is it, and how near its bound? Needs the core only.

    python benchmarks/gpu.py                        # on CUDA: MNIST, 784-100-100-10, packs of 1, 8, 64 and 256
    python benchmarks/gpu.py --device cpu --small   # the same code on a CPU, on 8x8 digits: whether it runs at all

First come checks, a line each; a table of speeds and one of bounds follow. The exit status is 1 if a check fails.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # a checkout that is not installed

from harness import interleave
from plain_torch import train_epoch as train_epoch_plainly

from lca_sweep.core import Pack, Splits, Trial, TrialKnobs, fit, load
from lca_sweep.core import knobs as core_knobs
from lca_sweep.core.engine import Engine, engine_for, multiplied
from lca_sweep.core.epoch import evaluate, train_epoch
from lca_sweep.core.graph import Replayed
from lca_sweep.core.images import Ordered, load_images, load_ordered
from lca_sweep.core.memory import trial_bytes
from lca_sweep.core.philox import keys, noise
from lca_sweep.core.rng import Purpose

AUTHORS = 0.50  # seconds an epoch of one trial takes the authors' program, on one core of a CPU (docs/log.md)
TF32 = {"trainer.precision": "tf32"}
GOALS = {"authors' one-core rate": 3000, "one at a time on the same GPU": 50}


@dataclass(frozen=True)
class Scene:
    """What is measured, and where."""

    device: torch.device
    data: Splits
    hidden: tuple[int, ...]
    batch: int
    packs: tuple[int, ...]
    rounds: int
    epochs: int  # of the check of accuracy
    right: float  # accuracy after these, at least

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs, hidden layers, classes."""
        return (self.data.inputs, *self.hidden, self.data.classes)

    @property
    def steps(self) -> int:
        """Mini-batches of an epoch."""
        return len(self.data.train.y) // self.batch

    def pack(self, size: int, used: Engine, **changes: object) -> Pack:
        """Trials that differ in seed and rate; `changes` are knobs of all."""
        common = {"model.widths": list(self.hidden), "trainer.batch_size": self.batch, **changes}
        each = [{"init.seed": n, "trainer.lr": 0.1 / (1 + n % 4)} for n in range(size)]
        trials = [Trial(n, core_knobs.replace(TrialKnobs(), common | own)) for n, own in enumerate(each)]
        return Pack.start(trials, self.data.inputs, self.data.classes, device=self.device, engine=used)

    def images(self) -> tuple[Ordered, ...]:
        """Those of training, validation and test."""
        parts = (self.data.train, self.data.validation, self.data.test)
        return tuple(load_ordered(part, self.data.scale, self.device, math.inf) for part in parts)

    def wait(self) -> None:
        """For all that the device has been told to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


# -- is it right? -----------------------------------------------------------------------------------------------------


def checks(scene: Scene, used: Engine) -> Iterator[tuple[str, bool, str]]:
    """What is tried, whether it holds, and by how much."""
    key, step = keys(range(3), Purpose.TRAIN, 1), torch.tensor(7)
    here = noise(key.to(scene.device), step.to(scene.device), 1, 50, torch.arange(200, device=scene.device))
    apart = distance(here.cpu(), noise(key, step, 1, 50, torch.arange(200)))
    yield "noise is that of the CPU", apart < 1e-6, f"{apart:.1e}"
    if used.kernels:
        yield from kernel_checks(scene, used)
    few = {"trainer.epochs": 1, "prior.weight": 0.01}
    first = metrics(scene.pack(3, used, **few), scene.data)
    for name, other in (("kernels and plain torch", Engine(recorded=True)), ("a graph and single steps", used)):
        with Replays(name != "a graph and single steps"):
            second = metrics(scene.pack(3, other, **few), scene.data)
        apart = max(
            abs(first[n][key] - value) / max(abs(value), 0.1) for n in first for key, value in second[n].items()
        )
        yield f"{name} train alike", apart < 2e-3, f"{apart:.1e}"
    alone = metrics(scene.pack(1, used, **few), scene.data)[0]
    apart = max(abs(first[0][key] - value) / max(abs(value), 0.1) for key, value in alone.items())
    yield "a trial does not feel its mates", apart < 2e-3, f"{apart:.1e}"
    *_, last = fit(scene.pack(4, used, **{"trainer.epochs": scene.epochs}), scene.data)
    found = [trial.metrics["test/accuracy"] for trial in last.trials]
    yield f"accuracy after {scene.epochs} epochs", min(found) > scene.right, " ".join(f"{one:.4f}" for one in found)


def kernel_checks(scene: Scene, used: Engine) -> Iterator[tuple[str, bool, str]]:
    """The kernel of the noise alone; the others are in what trains."""
    from lca_sweep.core import fused

    at = fused.Counter(keys(range(3), Purpose.TRAIN, 1).to(scene.device), torch.tensor(7, device=scene.device))
    found = fused.noise(torch.full((3, 50, 200), torch.nan, device=scene.device), at, 1)
    expected = noise(at.keys, at.clock, 1, 50, torch.arange(200, device=scene.device))
    apart = distance(found, expected)
    yield "the kernel's noise is plain torch's", apart < 1e-5, f"{apart:.1e}"


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference; not a number if one has any."""
    return float((found - expected).abs().max())


def metrics(pack: Pack, data: Splits) -> dict[int, Mapping[str, float]]:
    """Of each trial, after the last epoch."""
    *_, last = fit(pack, data)
    return {trial.trial: trial.metrics for trial in last.trials}


class Replays:
    """Within it steps are recorded as ever, or each is launched anew."""

    def __init__(self, recorded: bool) -> None:
        self.recorded, self.call = recorded, Replayed.__call__

    def __enter__(self) -> None:
        if not self.recorded:
            Replayed.__call__ = lambda self, step: step()  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        Replayed.__call__ = self.call  # type: ignore[method-assign]


# -- how fast is it? --------------------------------------------------------------------------------------------------


def training(scene: Scene, size: int, used: Engine, recorded: bool = True, **changes: object) -> Callable[[], object]:
    """An epoch of training, which ends with numbers on the host."""
    pack, train = scene.pack(size, used, **changes), scene.images()[0]

    def run() -> object:
        with Replays(recorded):
            return train_epoch(pack, train)

    return run


def unlike(scene: Scene, size: int, used: Engine, padding: float) -> Callable[[], object]:
    """An epoch of trials of which each has a width of its own, from half to one and a half of the usual."""
    hidden = [[max(round(width * (0.5 + n / size)), 1) for width in scene.hidden] for n in range(size)]
    common = {"trainer.batch_size": scene.batch}
    trials = [
        Trial(n, core_knobs.replace(TrialKnobs(), common | {"model.widths": each, "init.seed": n}))
        for n, each in enumerate(hidden)
    ]
    inputs, classes, train = scene.data.inputs, scene.data.classes, scene.images()[0]
    pack = Pack.start(trials, inputs, classes, padding=padding, device=scene.device, engine=used)
    return lambda: train_epoch(pack, train)


def whole(scene: Scene, size: int, used: Engine) -> Callable[[], object]:
    """An epoch with both evaluations after it, as `fit` does it."""
    pack, (train, validation, test) = scene.pack(size, used), scene.images()

    def run() -> None:
        train_epoch(pack, train)
        for bucket in pack.buckets:
            evaluate(bucket, validation, Purpose.VALIDATION, pack.epoch)
            evaluate(bucket, test, Purpose.TEST, pack.epoch)

    return run


def autograd(scene: Scene) -> Callable[[], object]:
    """An epoch of one trial as plain torch users write it, on the same device."""
    shapes = [(3, out, ins) for ins, out in pairwise(scene.widths)]
    params = [torch.rand(shape, device=scene.device).mul_(0.01).requires_grad_() for shape in shapes]
    optimiser = torch.optim.AdamW(params, lr=0.1, weight_decay=1e-4, fused=True)
    pixels, labels, scale = load_images(scene.data.train, scene.data.scale, scene.device)
    images, wanted = pixels.float() / scale, scene.steps * scene.batch

    def run() -> None:
        train_epoch_plainly(params, optimiser, images[:wanted], labels[:wanted], scene.batch)
        scene.wait()

    return run


def speeds(scene: Scene, used: Engine) -> dict[str, tuple[int, float]]:
    """Trials and seconds an epoch of each contender."""
    plain = Engine(recorded=True)
    contenders: dict[str, tuple[int, Callable[[], object]]] = {"plain torch autograd": (1, autograd(scene))}
    for size in scene.packs:
        contenders[f"pack of {size}, training"] = size, training(scene, size, used)
        contenders[f"pack of {size}, with evaluation"] = size, whole(scene, size, used)
    largest = scene.packs[-1]
    contenders[f"pack of {largest}, no graph"] = largest, training(scene, largest, used, recorded=False)
    contenders["pack of 1, no graph"] = 1, training(scene, 1, used, recorded=False)
    if scene.device.type == "cuda":
        contenders[f"pack of {largest}, tf32"] = largest, training(scene, largest, used, recorded=True, **TF32)
    for padding in (1.0, 1.5, math.inf):
        name = f"{largest} of unlike widths, padding up to {padding:g}"
        contenders[name] = largest, unlike(scene, largest, used, padding)
    if used != plain:
        contenders[f"pack of {largest}, no kernels"] = largest, training(scene, largest, plain)
    seconds = interleave({name: run for name, (_, run) in contenders.items()}, scene.rounds, warm_up=2)
    return {name: (size, seconds[name]) for name, (size, _) in contenders.items()}


def print_speeds(scene: Scene, found: Mapping[str, tuple[int, float]]) -> None:
    """With what the goals are told in; the authors' program was measured on MNIST."""
    authors = AUTHORS if scene.data.name == "mnist" else math.nan
    alone = found["pack of 1, training"][1]
    print("\n### An epoch\n\n| what | ms | trial-epochs a second | x one at a time | x the authors' core |")
    print("|---|---:|---:|---:|---:|")
    for name, (size, seconds) in found.items():
        rate = size / seconds
        print(f"| {name} | {seconds * 1e3:.2f} | {rate:.0f} | {rate * alone:.1f} | {rate * authors:.0f} |")
    print(f"\ngoals of a pack of 256 on one H100: {GOALS}", flush=True)


# -- how near its bound? ----------------------------------------------------------------------------------------------


def flops(widths: Sequence[int], batch: int) -> int:
    """Of a step's matrix products for one trial: 2 forward, 2 for the weights, 2 for the inputs of later layers."""
    return sum(2 * batch * ins * out * (6 if depth else 4) for depth, (ins, out) in enumerate(pairwise(widths)))


def moved(widths: Sequence[int], silent: int, batch: int) -> int:
    """Bytes that a step must read and write for one trial, each array once per pass; images are shared and left out.

    A weight: nine numbers read and written by the update, with A and B read, mean and variance written; these two are
    read by the forward products and A and B written by those for the gradient; later layers read the first two again.
    A unit of an image: see `fused`, from the two products to the slopes.
    """
    heard = [(widths[0] - silent) * widths[1], *(ins * out for ins, out in list(pairwise(widths))[1:])]
    numbers = 26 * sum(heard) + 2 * sum(heard[1:]) + 18 * silent * widths[1]
    for depth, units in enumerate(widths[1:], 1):
        hidden = depth < len(widths) - 1
        forward = (2 + 2 + 3 + 1 + 2) if hidden else (2 + 2 + 2)
        backward = (2 + 4 + 2 + 2 + 2) if hidden else (8 + 3 + 2 + 2)
        above = 2 if hidden else 0  # slopes of the layer above, read for those of this one
        numbers += batch * (units * (forward + backward) + widths[min(depth + 1, len(widths) - 1)] * above)
    return 4 * numbers


def ceilings(scene: Scene, precision: str = "float32") -> tuple[float, float]:
    """Bytes a second of a large copy, read and written, and FLOP/s of a large matrix product, on this device."""
    large = scene.device.type == "cuda"
    source = torch.rand(2**28 if large else 2**22, device=scene.device)
    target = torch.empty_like(source)
    bytes_a_second = 2 * source.nbytes / best(scene, lambda: target.copy_(source))
    n = 8192 if large else 512
    left, right = torch.rand(n, n, device=scene.device), torch.rand(n, n, device=scene.device)
    result = torch.empty_like(left)
    with multiplied(precision):
        return bytes_a_second, 2 * n**3 / best(scene, lambda: torch.mm(left, right, out=result))


def best(scene: Scene, action: Callable[[], object]) -> float:
    """Seconds of the quickest of ten."""
    seconds = []
    for _ in range(10):
        scene.wait()
        began = time.perf_counter()
        action()
        scene.wait()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def print_bounds(scene: Scene, found: Mapping[str, tuple[int, float]]) -> None:
    """What a step must do, how long that must take, and what share of that speed is reached."""
    copied, product = ceilings(scene)
    silent = len(scene.images()[0].silent)
    heard = (scene.data.inputs - silent, *scene.widths[1:])
    work, traffic = flops(heard, scene.batch), moved(scene.widths, silent, scene.batch)
    print(f"\n### The bound\n\nmeasured here: {copied / 1e9:.0f} GB/s copied, {product / 1e12:.2f} TFLOP/s float32")
    if scene.device.type == "cuda":
        print(f"{ceilings(scene, 'tf32')[1] / 1e12:.2f} TFLOP/s tf32")
    print(f"a step of one trial: {work / 1e9:.4f} GFLOP, {traffic / 1e6:.2f} MB\n")
    print("| pack | a step, us | by FLOPs | by bytes | share of the larger | share of the sum | memory a trial, MB |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for size in scene.packs:
        step = found[f"pack of {size}, training"][1] / scene.steps
        by_work, by_bytes = size * work / product, size * traffic / copied
        shares = max(by_work, by_bytes) / step, (by_work + by_bytes) / step
        times = " | ".join(f"{seconds * 1e6:.0f}" for seconds in (step, by_work, by_bytes))
        print(f"| {size} | {times} | {shares[0]:.2f} | {shares[1]:.2f} | {memory(scene, size)} |")


def print_precision(scene: Scene, used: Engine) -> None:
    """What tf32 does to what trials come to: accuracy, and the categories of all weights."""
    names = ("test/accuracy", "weights/vip_fraction", "weights/uip_fraction")
    print(f"\n### Precision: after {3 * scene.epochs} epochs, mean of 8 seeds and its standard error\n")
    print(f"| | {' | '.join(names)} |\n|---|---:|---:|---:|")
    for precision in ("float32", "tf32"):
        changes = {"trainer.precision": precision, "trainer.epochs": 3 * scene.epochs}
        found = metrics(scene.pack(8, used, **changes), scene.data)
        columns = torch.tensor([[found[n][name] for name in names] for n in found], dtype=torch.float64)
        error = columns.std(0) / math.sqrt(len(found))
        cells = [f"{mean:.4f} ± {off:.4f}" for mean, off in zip(columns.mean(0).tolist(), error.tolist(), strict=True)]
        print(f"| {precision} | {' | '.join(cells)} |", flush=True)


def memory(scene: Scene, size: int) -> str:
    """Of one trial: measured, where CUDA counts it, and by the model."""
    model = trial_bytes(scene.widths, scene.batch) / 1e6
    if scene.device.type != "cuda":
        return f"(model {model:.1f})"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before, pack, train = torch.cuda.memory_allocated(), scene.pack(size, engine_for(scene.device)), scene.images()[0]
    for _ in range(2):
        train_epoch(pack, train)
    pack.state()
    return f"{(torch.cuda.max_memory_reserved() - before) / size / 1e6:.1f} (model {model:.1f})"


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="8x8 digits, a small network, small packs")
    parser.add_argument("--rounds", type=int, default=7, help="measured turns of each contender")
    parser.add_argument("--checks", action="store_true", help="nothing but the checks")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device: --device cpu --small tries the script without one")
    device = torch.device(args.device)
    torch.set_num_threads(1)
    scene = Scene(device, load("mnist"), (100, 100), 500, (1, 8, 64, 256), args.rounds, 10, 0.90)
    if args.small:
        scene = replace(scene, data=load("digits"), hidden=(30, 20), batch=100, packs=(1, 2, 4), epochs=40, right=0.8)
    used = engine_for(device) if args.device == "cuda" else Engine(recorded=True)  # kernels: only tests interpret them
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    why = used.why or ("" if used.kernels else "on a CPU nothing compiles them")
    print(f"{name}, torch {torch.__version__}, {'Triton kernels' if used.kernels else f'no kernels: {why}'}")
    print(f"{scene.data.name}, {'-'.join(map(str, scene.widths))}, batches of {scene.batch}\n", flush=True)
    failed = 0
    for what, holds, by in checks(scene, used):
        failed += not holds
        print(f"{'ok    ' if holds else 'FAILED'} {what}: {by}", flush=True)
    if not args.checks:
        found = speeds(scene, used)
        print_speeds(scene, found)
        print_bounds(scene, found)
        if args.device == "cuda":
            print_precision(scene, used)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
