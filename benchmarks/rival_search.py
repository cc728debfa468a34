"""How good a network each search finds for the same number of epochs: ours, Ray Tune's and Optuna's own.

`python benchmarks/rival_search.py [--seeds 5] [--epochs 1600] [--keep FILE]` searches the same space on the same data
with the same trainer. All train in truth; a trial-epoch is one epoch of one network. Not part of `make bench`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner
from optuna.storages import InMemoryStorage
from rival_stock import ray_of_two, stock
from rival_task import EPOCHS, Task, Told, found

from lca_sweep.core import Pack, Trial, fit
from lca_sweep.core.knobs import replace
from lca_sweep.core.train import RUNNING
from lca_sweep.search.space import knobs
from lca_sweep.search.study import Study
from lca_sweep.sweep.cost import make_pruner

Search = Callable[[Task, int, int], list[Told]]  # of a seed, up to so many trial-epochs
Runs = Mapping[str, Mapping[int, Sequence[Told]]]  # by search and seed

OURS, STOCK = "lca_sweep, tpe, halving in packs of 8", "Ray Tune, OptunaSearch, ASHA, reduction 2"


def ours(**chosen: Any) -> Search:
    """Our study and trainer, two packs at a time; `chosen` are knobs with _ for the dot."""

    def search(task: Task, seed: int, budget: int) -> list[Told]:
        words = {name.replace("_", ".", 1): value for name, value in chosen.items()}
        config = replace(task.config, {"search.seed": seed, **words})
        study, told = Study.open(config, "search", task.space, InMemoryStorage()), list[Told]()

        def train(number: int) -> Iterator[None]:
            rows = study.ask([number] * config.pack.trials)
            trials = [Trial(row.number, knobs(config, row.params)) for row in rows]
            pack = Pack.start(trials, task.data.inputs, task.data.classes, padding=config.pack.padding)
            for report in fit(pack, task.data, make_pruner(config.pruner)):
                for one in report.trials:
                    value = one.metrics[study.goal.first.metric]
                    told.append(Told(str(one.trial), report.epoch, value))
                    study.report(one.trial, report.epoch, value)
                    if one.state != RUNNING:
                        study.finish(one.trial, one.state, value, one.reason)
                yield

        packs = [train(0), train(1)]
        issued = 2
        while len(told) < budget:
            for place, pack in enumerate(packs):
                if next(pack, "over") == "over":
                    packs[place] = train(issued)
                    issued += 1
        return told[:budget]

    return search


def plain(pruner: BasePruner) -> Search:
    """Optuna as its manual has it: one trial after the other."""

    def search(task: Task, seed: int, budget: int) -> list[Told]:
        sampler = optuna.samplers.TPESampler(seed=seed)
        study, told = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner), list[Told]()
        while len(told) < budget:
            trial = study.ask(task.space)
            for epoch, value in enumerate(task.curve(trial.params), 1):
                told.append(Told(str(trial.number), epoch, value))
                trial.report(value, epoch)
                if epoch < EPOCHS and trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, told[-1].value)
        return told[:budget]

    return search


def by_ray(reduction: float | None) -> Search:
    """Ray Tune's own."""
    return lambda task, seed, budget: stock(task, seed, budget, reduction)


SEARCHES: dict[str, Search] = {
    OURS: ours(pruner_name="halving", search_startup_trials=2),  # complete ones, of which a pack has one
    "lca_sweep, tpe, no pruning": ours(),
    "lca_sweep, random, halving": ours(pruner_name="halving", search_sampler="random"),
    STOCK: by_ray(2),
    "Ray Tune, OptunaSearch, ASHA, reduction 4": by_ray(4),
    "Ray Tune, OptunaSearch, no scheduler": by_ray(None),
    "Optuna, SuccessiveHalvingPruner": plain(SuccessiveHalvingPruner(min_resource=5, reduction_factor=2)),
    "Optuna, MedianPruner": plain(MedianPruner(n_warmup_steps=5)),
}


# --- the tables ----------------------------------------------------------------------------------------------------


def report(runs: Runs, budgets: Sequence[int]) -> str:
    """All in Markdown; the best possible is the best that any of them found."""
    best = max(found(told) for seeds in runs.values() for told in seeds.values() if not math.isnan(found(told)))
    return "\n".join([*_regrets(runs, budgets, best), *_pairs(runs, budgets), *_trials(runs)])


def _regrets(runs: Runs, budgets: Sequence[int], best: float) -> Iterator[str]:
    count = len(next(iter(runs.values())))
    yield f"\n### Regret, % of validation accuracy (the best is {100 * best:.2f} %): median of {count} seeds, mean\n"
    yield from _head("search", [f"{budget} trial-epochs" for budget in budgets])
    for name, seeds in runs.items():
        cells = []
        for budget in budgets:
            regrets = [100 * (best - _worth(told, budget)) for told in seeds.values()]
            cells.append(f"{statistics.median(regrets):.2f}, {statistics.fmean(regrets):.2f}")
        yield _line(name, cells)


def _pairs(runs: Runs, budgets: Sequence[int]) -> Iterator[str]:
    yield f"\n### What {OURS} finds more, %: mean over seeds, standard error (better : worse)\n"
    yield from _head("than", [f"{budget} trial-epochs" for budget in budgets])
    for name, seeds in runs.items():
        if name != OURS:
            yield _line(name, [_pair(runs[OURS], seeds, budget) for budget in budgets])


def _pair(ours: Mapping[int, Sequence[Told]], others: Mapping[int, Sequence[Told]], budget: int) -> str:
    more = [100 * (_worth(ours[seed], budget) - _worth(others[seed], budget)) for seed in others]
    error = statistics.stdev(more) / math.sqrt(len(more)) if len(more) > 1 else math.nan
    better, worse = sum(one > 0 for one in more), sum(one < 0 for one in more)
    return f"{statistics.fmean(more):+.2f} ± {error:.2f} ({better} : {worse})"


def _trials(runs: Runs) -> Iterator[str]:
    yield "\n### Trials in a search, median\n"
    yield from _head("search", ["begun", "trained to the end"])
    for name, seeds in runs.items():
        begun = [len({one.trial for one in told}) for told in seeds.values()]
        ended = [sum(one.epoch == EPOCHS for one in told) for told in seeds.values()]
        yield _line(name, [f"{statistics.median(counts):g}" for counts in (begun, ended)])


def _worth(told: Sequence[Told], budget: int) -> float:
    """What is found with so many epochs; nothing counts as a guess."""
    value = found(told[:budget])
    return 0.1 if math.isnan(value) else value


def _head(first: str, others: Sequence[str]) -> Iterator[str]:
    yield f"| {first} | {' | '.join(others)} |"
    yield f"|---|{'---:|' * len(others)}"


def _line(first: str, others: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(others)} |"


# --- the command line ----------------------------------------------------------------------------------------------


def read(keep: Path | None) -> dict[tuple[str, int, int], list[Told]]:
    """What was searched before, by search, seed and budget."""
    lines = keep.read_text().splitlines() if keep and keep.exists() else []
    entries = map(json.loads, lines)
    return {(e["search"], e["seed"], e["epochs"]): [Told(*one) for one in e["told"]] for e in entries}


def main(seeds: Sequence[int], epochs: int, keep: Path | None, names: Sequence[str]) -> None:
    """Search what has not been, in turns; print the tables."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task, known = Task.digits(), read(keep)
    with ray_of_two():
        for seed in seeds:
            for name in names:
                if (name, seed, epochs) not in known:
                    told = known[name, seed, epochs] = SEARCHES[name](task, seed, epochs)
                    if keep:
                        entry = {"search": name, "seed": seed, "epochs": epochs, "told": [astuple(one) for one in told]}
                        with keep.open("a") as file:
                            file.write(json.dumps(entry) + "\n")
    runs = {name: {seed: known[name, seed, epochs] for seed in seeds} for name in names}
    print(report(runs, [epochs // 4, epochs // 2, epochs]))
    print(f"\nLoad of the machine at the end: {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="searches of each kind")
    parser.add_argument("--epochs", type=int, default=1600, help="trial-epochs of a search")
    parser.add_argument("--keep", type=Path, help="file of what was searched before, which is not searched again")
    parser.add_argument("--only", nargs="*", default=[], help="words of which a search's name must have one")
    args = parser.parse_args()
    chosen = [name for name in SEARCHES if not args.only or name == OURS or any(word in name for word in args.only)]
    main(range(args.seeds), args.epochs, args.keep, chosen)
