"""Made-up sweeps for tests of the report, with numbers as training on MNIST gives them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_sweep.core.ensemble import EnsembleScore
from lca_sweep.core.knobs import TrialKnobs, flat, replace
from lca_sweep.core.objective import Constraint, Goal, Objective
from lca_sweep.core.perturbation import Perturbation
from lca_sweep.core.portrait import Histogram
from lca_sweep.core.sparsification import KeptCurve
from lca_sweep.report.intervals import sample
from lca_sweep.report.results import Analysis, DataInfo, Final, Series, SweepResult, TrialResult

MNIST = DataInfo("mnist", "ab" * 32, 784, 10, (28, 28), (10_000, 5_000, 10_000))
ACCURACY = (0.9487, 0.9461, 0.9531, 0.9527, 0.9548)  # of five seeds at the paper's setting, and these fractions:
UIP = ((0.127, 0.102, 0.124, 0.141, 0.139), (0.126, 0.094, 0.125, 0.148, 0.138), (0.078, 0.071, 0.074, 0.059, 0.075))
VIP = ((0.054, 0.102, 0.065, 0.046, 0.065), (0.061, 0.107, 0.081, 0.058, 0.062), (0.181, 0.183, 0.146, 0.195, 0.232))
ENTROPY = (-0.01, 0.39, 0.09)
DAMAGE = ((12.3, 5.3, 5.4, 5.4), (9.0, 5.2, 5.3, 5.5), (14.7, 5.1, 5.5, 5.8))  # % at fraction 1, by layer and arm


def series(values: Sequence[float] | NDArray[np.float64], first: int = 1) -> Series:
    """A metric from epoch `first` on."""
    return Series(np.arange(first, first + len(values)), np.asarray(values, float))


def rise(last: float, epochs: int, rng: np.random.Generator, start: float = 0.6) -> Series:
    """A learning curve that ends exactly at `last`."""
    t = np.arange(1, epochs + 1)
    values = last - (last - start) * np.exp(-t / max(1.0, epochs / 12)) + rng.normal(0, 0.002, epochs)
    values[-1] = last
    return series(values)


def history(
    test: float, seed: int, epochs: int = 100, *, bp: bool = False, layers: int = 3, shift: float = 0.0
) -> dict[str, Series]:
    """All metrics of a trial; the last values are those of the reference seed `seed` (modulo 5), fractions + shift."""
    rng = np.random.default_rng(seed)
    found = {"train/loss": series(np.exp(-np.arange(epochs) / 20))}
    for name, value in (("val", test + 0.004), ("test", test)):
        found |= {f"{name}/accuracy": rise(value, epochs, rng), f"{name}/loss": rise(0.2, epochs, rng, 1.0)}
    if bp:
        return found
    overall = {"vip": 0.0, "uip": 0.0, "var": 0.0}
    for layer in range(layers):
        row = min(layer, 2)
        fractions = {"vip": VIP[row][seed % 5] + shift, "uip": UIP[row][seed % 5] + shift}
        fractions["var"] = 1 - fractions["vip"] - fractions["uip"]
        for name, value in fractions.items():
            found[f"layer{layer + 1}/{name}_fraction"] = rise(value, epochs, rng, float(name == "var"))
            overall[name] += value / layers
        found[f"layer{layer + 1}/entropy"] = rise(ENTROPY[row] + 0.01 * (seed % 5 - 2), epochs, rng, -2.0)
        found[f"layer{layer + 1}/mean_spike"] = rise(0.3, epochs, rng, 0.0)
    return found | {f"weights/{name}_fraction": rise(value, epochs, rng, 0.0) for name, value in overall.items()}


def perturbed(
    seed: int, layers: int = 3, repeats: int = 10, damage: Sequence[Sequence[float]] = DAMAGE
) -> Perturbation:
    """A study whose mean error at fraction 1 is `damage`, and 5 % at fraction 0."""
    rng = np.random.default_rng(seed)
    fractions = tuple(round(0.1 * i, 1) for i in range(11))
    ends = np.array([damage[min(layer, 2)] for layer in range(layers)])
    error = 5 + (ends[..., None] - 5) * np.array(fractions) ** 2
    noise = rng.normal(0, 0.15, (layers, 4, 11, repeats))
    noise -= noise.mean(-1, keepdims=True)
    changed = np.rint(np.multiply.outer(np.full((layers, 4), 4000.0), fractions)).astype(int)
    return Perturbation(tuple(range(1, layers + 1)), fractions, 1 - (error[..., None] + noise) / 100, changed)


def analysis(seed: int, layers: int = 3, *, bp: bool = False, perturb: bool = True, inputs: int = 784) -> Analysis:
    """What is found out about a trial; ensemble numbers are the reference's."""
    rng = np.random.default_rng(seed)
    shares = (1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
    means = 0.9537 - 0.8 * np.clip(0.15 - np.array(shares), 0, 1) ** 1.2 + rng.normal(0, 0.001, 10)
    curve = KeptCurve(shares, tuple(means), means[:, None] - 0.004 + rng.normal(0, 0.001, (10, 20)), (0.87, 0.9536))
    edges = {"pi": np.linspace(0, 1, 61), "m": np.linspace(-3, 3, 61), "xi": np.linspace(0, 0.4, 61)}
    bars = [
        {name: Histogram(e, rng.geometric(0.001, 60) * (rng.random(60) < 0.9)) for name, e in edges.items()}
    ] * layers
    vip, uip = rng.uniform(0, 0.3, inputs), rng.uniform(0, 0.5, inputs)
    return Analysis(
        EnsembleScore(0.951, 0.9537, tuple(0.9492 + rng.normal(0, 0.0012, 100)), 0.9545, 0.178, 0.021),
        tuple(bars),
        {"vip": vip, "uip": uip, "var": 1 - vip - uip},
        curve,
        perturbed(seed, layers) if perturb and not bp else None,
    )


def trial(number: int, test: float | None, params: Mapping[str, Any], **changes: Any) -> TrialResult:
    """A complete trial of the paper's setting with some knobs changed; changes are fields of TrialResult."""
    known = flat(TrialKnobs())
    knobs = flat(replace(TrialKnobs(), {k: v for k, v in params.items() if k in known})) | dict(params)
    bp, seed = params.get("trainer.algorithm") == "bp", int(params.get("init.seed", number))
    fields: dict[str, Any] = {
        "state": "complete",
        "value": None if test is None else test + 0.004,
        "reason": "",
        "history": {} if test is None else history(test, seed, bp=bp),
    }
    return TrialResult(number, params=params, knobs=knobs, **fields | changes)


def sweep(trials: Sequence[TrialResult], **changes: Any) -> SweepResult:
    """A sweep of these trials."""
    fields: dict[str, Any] = {
        "name": "paper",
        "uid": "0123456789abcdef",
        "question": "Does gBP train an ensemble as accurate as ordinary back-propagation?",
        "objective": "val/accuracy",
        "folder": "sweeps/paper",
        "data": MNIST,
        "trials": tuple(trials),
        "importances": {},
        "config": {"trainer": {"lr": 0.1}, "sweep": {"space": {}}},
        "provenance": {"git.commit": "0" * 40, "version.lca_sweep": "0.1.0", "version.torch": "2.13.0"},
    }
    fields |= changes
    fields.setdefault("goal", Goal((Objective(fields["objective"]),)))
    return SweepResult(**fields)


def paper(seeds: int = 5, bp: bool = True, analysed: bool = True) -> SweepResult:
    """gBP, and BP, at the paper's setting."""
    algorithms = ("gbp", "bp") if bp else ("gbp",)
    found = []
    for number, (name, seed) in enumerate(itertools.product(algorithms, range(seeds))):
        plain = name == "bp"
        test = ACCURACY[seed % 5] - (0.012 + 0.0005 * seed if plain else 0.0)
        params = {"trainer.algorithm": name, "init.seed": seed}
        found.append(trial(number, test, params, analysis=analysis(seed, bp=plain) if analysed else None))
    return sweep(found)


def search(count: int, epochs: int = 60, seed: int = 0) -> SweepResult:
    """A random search over several knobs, with pruned and failed trials, one in ten complete ones useless."""
    rng = np.random.default_rng(seed)
    space: dict[str, Any] = {
        "trainer": {"lr": {"low": 0.003, "high": 0.3, "log": True}},
        "model": {"width": {"low": 40, "high": 160}, "depth": {"choices": [1, 2, 3]}},
        "init": {"spike": {"low": 0.0, "high": 0.5}},
        "prior": {"weight": {"low": 1e-5, "high": 0.1, "log": True}, "spike": {"low": 0.1, "high": 0.9}},
    }
    found = []
    for number in range(count):
        params = {
            "trainer.lr": float(10 ** rng.uniform(-2.5, -0.5)),
            "model.width": int(rng.integers(40, 161)),
            "model.depth": int(rng.integers(1, 4)),
            "init.spike": float(rng.uniform(0, 0.5)),
            "prior.weight": float(10 ** rng.uniform(-5, -1)),
            "prior.spike": float(rng.uniform(0.1, 0.9)),
        }
        test = 0.955 - 0.02 * (np.log10(params["trainer.lr"]) + 1) ** 2 - rng.exponential(0.003)
        test = 0.1 if number % 10 == 9 else test
        if number % 8 == 5:
            changes: dict[str, Any] = {"state": "pruned", "value": None, "history": history(test, number, epochs // 4)}
        elif number % 16 == 3:
            changes = {"state": "failed", "value": None, "history": {}, "reason": "train/loss is nan at epoch 3"}
        else:
            changes = {"history": history(test, number, epochs, shift=0.02 * params["prior.spike"])}
        found.append(trial(number, test, params, **changes))
    shares = {"trainer.lr": 0.55, "prior.weight": 0.2, "model.width": 0.1, "model.depth": 0.08, "init.spike": 0.05}
    return sweep(
        found,
        name="mnist",
        question="Which learning rate, shape, initial ensemble and prior?",
        importances=shares | {"prior.spike": 0.02},
        importances_at=15,
        config={"sweep": {"space": space}, "search": {"storage": "postgresql+psycopg://me:secret@db/optuna"}},
    )


def sizes() -> SweepResult:
    """Entropy and sparsity by number of training images, in four layers."""
    found = []
    for number, (size, seed) in enumerate(itertools.product((2500, 5000, 7500, 10000), range(5))):
        test = ACCURACY[seed] - 0.02 * (10000 - size) / 7500
        shift = 0.03 * size / 10000
        changes = {"history": history(test, seed, layers=4, shift=shift)}
        found.append(trial(number, test, {"trainer.train_size": size, "init.seed": seed, "model.depth": 3}, **changes))
        found[-1] = drop(found[-1], "model.depth")
    return sweep(found, name="paper_entropy")


def drop(one: TrialResult, name: str) -> TrialResult:
    """The trial with a knob that is not searched."""
    return TrialResult(**{**vars(one), "params": {k: v for k, v in one.params.items() if k != name}})


def priors() -> SweepResult:
    """A grid of two numeric knobs, one of several magnitudes and with 0."""
    found = []
    grid = itertools.product((0.0, 1e-4, 1e-3, 1e-2), (0.1, 0.5, 0.9), range(3))
    for number, (weight, spike, seed) in enumerate(grid):
        test = ACCURACY[seed] - 0.3 * weight * spike
        changes = {"history": history(test, seed, shift=5 * weight * spike)}
        params = {"prior.weight": weight, "prior.spike": spike, "init.seed": seed}
        found.append(trial(number, test, params, **changes))
    return sweep(found, name="paper_prior")


def traded(count: int, goal: Goal, epochs: int = 30, seed: int = 0) -> SweepResult:
    """A search by several objectives, by halving (a half leaves at a third of the epochs), with knobs that only some
    trials have: `init.spike` and `prior.weight` those of gBP. What is better in one objective is worse in the next.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        bp, x, luck = bool(number % 3 == 0), rng.uniform(), rng.exponential(0.01)
        params: dict[str, Any] = {"trainer.algorithm": "bp" if bp else "gbp", "trainer.lr": float(10 ** (-2 + x))}
        if not bp:
            params |= {"init.spike": float(rng.uniform(0, 0.5)), "prior.weight": float(10 ** rng.uniform(-5, -1))}
        last = {metric: _traded(metric, x, luck, place) for place, metric in enumerate(goal.metrics)}
        length = epochs // 3 if number % 4 == 1 else epochs
        past = history(0.9 + 0.05 * x - luck, number, length, bp=bp)
        past |= {metric: rise(value, length, rng, 2 * value + 0.1) for metric, value in last.items()}
        done: dict[str, Any] = {"state": "pruned", "value": None}
        if length == epochs:
            done = {"state": "complete", "value": goal.scores(last)[0], "scores": goal.scores(last)}
            done["violations"] = goal.violations(last)
        found.append(trial(number, 0.9, params, history=past, **done))
    space = {"trainer": {"lr": {"low": 0.01, "high": 0.1, "log": True}, "algorithm": {"choices": ["gbp", "bp"]}}}
    space["init"] = {"spike": {"low": 0.0, "high": 0.5, "when": {"trainer.algorithm": "gbp"}}}
    name, config = "traded", {"sweep": {"space": space}}
    return sweep(found, name=name, goal=goal, objective=goal.first.metric, config=config)


def _traded(metric: str, x: float, luck: float, place: int) -> float:
    """A metric that rises with x in the even places, and falls in the odd ones; luck is bad for accuracies."""
    there = x if place % 2 == 0 else 1 - x**2
    return 0.9 + 0.06 * there - luck if metric.endswith("accuracy") else 0.3 + 0.5 * there + luck


GOAL = Goal(
    (Objective("val/accuracy"), Objective("val/loss", maximize=False)), (Constraint("val/accuracy", True, 0.91),)
)


def with_finals(result: SweepResult, finalists: int = 3, seeds: int = 4) -> SweepResult:
    """The sweep with its best settings trained again: worse than the search saw, the second one the best."""
    rng, trials, finals = np.random.default_rng(1), list(result.trials), []
    for place, old in enumerate(result.complete[:finalists]):
        values = [(old.value or 0.0) - 0.004 * abs(place - 1) - 0.002 + rng.normal(0, 0.001) for _ in range(seeds)]
        numbers = tuple(len(trials) + one for one in range(seeds))
        for number, value in zip(numbers, values, strict=True):
            past = history(value - 0.01, number, 5)
            more: dict[str, Any] = {"scores": (value, *old.scores[1:]), "replicate": (old.number, 1000 + number)}
            trials.append(
                trial(number, value, {**old.params, "init.seed": 1000 + number}, value=value, history=past, **more)
            )
        spread = sample(values)
        finals.append(Final(old.number, numbers, tuple(values), spread.mean, spread.half))
    sign = result.goal.first.sign
    finals.sort(key=lambda final: -sign * final.mean)
    return dataclasses.replace(result, trials=tuple(trials), finals=tuple(finals))
