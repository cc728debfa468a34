"""Samplers, by name: what a trial is follows from the seed, its number, and what the study knew before it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler

from lca_sweep.config import KnobError, Search
from lca_sweep.search.bayes import Gp, Tpe
from lca_sweep.search.cma import Cmaes
from lca_sweep.search.conditional import Space
from lca_sweep.search.genetic import Nsga2
from lca_sweep.search.sequence import Qmc
from lca_sweep.search.walk import Walk

Samplers = Callable[[int], BaseSampler]  # the one that proposes the trial of this number, and no other


def check_installed(search: Search) -> None:
    """Raise KnobError if the sampler needs a package that is not there."""
    if search.sampler == "cmaes" and find_spec("cmaes") is None:
        raise KnobError("search=cmaes needs the package cmaes: pip install 'lca-sweep[cmaes]'")


def make_samplers(search: Search, space: Space) -> Samplers:
    """The samplers of a study. Some remember, so as to be quick, what can be read from its rows; none anything else."""

    def seed(number: int) -> int:
        return int(np.random.SeedSequence((search.seed, number)).generate_state(1)[0])

    if search.sampler == "grid":
        walk = Walk(space)
        return lambda number: walk.again()
    if search.sampler == "cmaes":
        cmaes = Cmaes(search, space)
        return lambda number: cmaes.seeded(seed(number))
    if search.sampler == "qmc":
        return lambda number: Qmc(search, space, number)
    if search.sampler == "random":
        return lambda number: RandomSampler(seed=seed(number))
    kinds: dict[str, type[Tpe | Gp | Nsga2]] = {"tpe": Tpe, "gp": Gp, "nsga2": Nsga2}
    kind = kinds[search.sampler]
    return lambda number: kind(seed(number), search, space)
