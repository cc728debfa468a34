"""Samplers: a trial follows from the seed, its number and the rows before it, and each sampler is good at its task."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from scipy.stats import qmc

from lca_sweep.config import Cmaes, Config, Gp, KnobError, Nsga2, Qmc, Search, Sweep, Tpe, validate
from lca_sweep.search import bayes, cube, evolution, sampler
from lca_sweep.search.conditional import Allowed, Space
from lca_sweep.search.mirror import Mirror
from lca_sweep.search.rows import Row
from lca_sweep.search.sampler import make_samplers
from lca_sweep.search.space import parse
from lca_sweep.search.storage import JOURNAL, journal
from lca_sweep.search.study import Study

CHEAP = ["tpe", "random", "qmc", "cmaes", "nsga2", "grid"]
SAMPLERS = [*CHEAP, "gp"]
SLOW_GP = pytest.param("gp", marks=pytest.mark.slow)  # half a second for each proposal
SPACE = Space(
    {
        "c": IntDistribution(0, 9),
        "b": FloatDistribution(0, 1, step=0.125),
        "d": CategoricalDistribution(["x", "y"]),
        "e": FloatDistribution(0, 1, step=0.25),
    },
    {"e": {"d": Allowed(("x",))}},
)
ENDS = ["complete", "complete", "complete", "pruned", "failed", "running"]


def config(sampler: str, seed: int = 0, **search: Any) -> Config:
    small = {"nsga2": Nsga2(population=4), "cmaes": Cmaes(population=4)}
    return Config(
        search=Search(sampler=sampler, seed=seed, **{"startup_trials": 4} | small | search), sweep=Sweep(name="s")
    )


def opened(storage: BaseStorage, wanted: Config, space: Mapping[str, BaseDistribution] = SPACE) -> Study:
    return Study.open(wanted, "s", space, storage)  # type: ignore[arg-type]


def value(params: Mapping[str, Any]) -> float:
    return -sum((found - 0.3) ** 2 for found in params.values() if not isinstance(found, str))


def run(storage: BaseStorage, wanted: Config, ends: list[str], packs: list[int], reopen: bool) -> list[Row]:
    """Packs of these sizes; each trial ends so, or goes on till later; each pack has a driver of its own or not."""
    study = opened(storage, wanted)
    for pack, size in enumerate(packs):
        study = opened(storage, wanted) if reopen else study
        for row in [*study.ask([pack] * size), *study.rows()]:
            end = ends[(row.number + (row.pack != pack)) % len(ends)]  # whoever goes on may end after the next ask
            if study.is_open(row.number) and end != "running":
                study.report(row.number, 1, value(row.params))
                study.finish(row.number, end, value(row.params))
    return study.rows()


@settings(max_examples=30)
@given(
    st.sampled_from(CHEAP),
    st.integers(0, 9),
    st.lists(st.sampled_from(ENDS), min_size=1, max_size=7),
    st.lists(st.integers(1, 6), min_size=2, max_size=8),
)
def test_a_new_driver_proposes_what_the_old_one_would_have(
    sampler: str, seed: int, ends: list[str], packs: list[int]
) -> None:
    """Also where trials of a generation end after the next one was begun."""
    whole, parts = (run(InMemoryStorage(), config(sampler, seed), ends, packs, reopen) for reopen in (False, True))
    assert whole == parts
    assert all(SPACE.exact(row.params) for row in whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_of_twelve_trials(sampler: str, tmp_path: Path) -> None:
    """In memory, and in a journal that is opened again for each pack; Optuna by itself reads the same."""
    search = {"startup_trials": 9} if sampler == "gp" else {}
    ends, packs = ["complete", "complete", "pruned", "complete"], [3, 3, 3, 3]
    rows = run(InMemoryStorage(), config(sampler, **search), ends, packs, False)
    file = tmp_path / JOURNAL
    storage = journal(tmp_path)
    opened(storage, config(sampler, **search))
    for count in range(1, 5):
        again = run_more(tmp_path, config(sampler, **search), ends, count)
    assert again == rows
    assert "pickle" not in file.read_text() and all(json.loads(line) for line in file.read_text().splitlines())
    code = (
        "import optuna, json, sys; from optuna.storages import JournalStorage; "
        "from optuna.storages.journal import JournalFileBackend; "
        "study = optuna.load_study(study_name='s', storage=JournalStorage(JournalFileBackend(sys.argv[1]))); "
        "print(json.dumps([[t.state.name.lower(), t.params] for t in study.trials]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    names = {"fail": "failed"}
    assert [[names.get(s, s), p] for s, p in json.loads(done.stdout)] == [[row.state, dict(row.params)] for row in rows]


def run_more(folder: Path, wanted: Config, ends: list[str], packs: int) -> list[Row]:
    """A process that goes on to so many packs of three."""
    study = opened(journal(folder), wanted)
    pack = packs - 1
    for row in [*study.ask([pack] * 3), *study.rows()]:
        if study.is_open(row.number):
            study.report(row.number, 1, value(row.params))
            study.finish(row.number, ends[(row.number + (row.pack != pack)) % len(ends)], value(row.params))
    return study.rows()


# --- each by itself ---------------------------------------------------------------------------------------------------

BOX = {f"x{n}": FloatDistribution(0, 1) for n in range(4)}


def best(sampler: str, seed: int, trials: int, at_once: int = 1, **search: Any) -> float:
    """Of a sphere around (0.7, ..., 0.7)."""
    study = opened(InMemoryStorage(), config(sampler, seed, **search), BOX)
    for pack in range(trials // at_once):
        for row in study.ask([pack] * at_once):
            study.finish(row.number, "complete", -sum((found - 0.7) ** 2 for found in row.params.values()))
    return study.best()[0].value or 0.0


def test_cmaes_on_a_sphere() -> None:
    """Much nearer than random draws, also where trials are asked for eight at a time."""
    for seed in range(2):
        found = [best("cmaes", seed, 120, at_once, cmaes=Cmaes()) for at_once in (1, 8)]
        assert min(found) > best("random", seed, 120) / 10


def test_nsga2_on_a_sphere() -> None:
    gain = [best("nsga2", seed, 160, nsga2=Nsga2(population=16)) - best("random", seed, 160) for seed in range(2)]
    assert sum(gain) > 0


def test_cmaes_learns_from_ranks_and_counts_what_was_pruned_as_worse() -> None:
    """Whatever the scale of the objective; a pruned trial by the epoch that it reached, then by its value."""
    one, other = (
        run(InMemoryStorage(), wanted, ["complete"], [4] * 4, False) for wanted in (config("cmaes"), config("cmaes"))
    )
    assert one == other
    study = opened(InMemoryStorage(), config("cmaes"), BOX)
    for row in study.ask([0] * 4):
        study.report(row.number, 1, 9.0)
    study.finish(0, "complete", 0.1)
    study.report(1, 2, 5.0)
    study.report(2, 2, 6.0)
    for number in (1, 2, 3):
        study.finish(number, "pruned", 0.0)
    study.ask([1])
    (parents,) = [t.system_attrs[evolution.PARENTS] for t in trials(study) if evolution.PARENTS in t.system_attrs]
    assert parents == [0, 2, 1, 3]


def trials(study: Study) -> list[optuna.trial.FrozenTrial]:
    return study._table.mirror.get_all_trials(study._table.mirror._study)


@settings(max_examples=10)
@given(st.integers(0, 3), st.integers(4, 24))
def test_generations_are_as_large_as_asked_for(seed: int, count: int) -> None:
    """One at a time: each generation is full before the next one begins, from parents of the one before."""
    for name in ("cmaes", "nsga2"):
        study = opened(InMemoryStorage(), config(name, seed), BOX)
        for number in range(count):
            study.ask([number])
            study.finish(number, "complete", float(number % 5))
        assert [evolution.generation_of(trial) for trial in trials(study)] == [number // 4 for number in range(count)]
        for generation in range(1, (count - 1) // 4 + 1):
            parents = evolution.parents_of(trials(study), generation) or []
            assert len(parents) == 4 and max(parents) < 4 * generation


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
@pytest.mark.parametrize("scramble", [True, False])
def test_quasi_random_points_fill_the_space(sequence: str, scramble: bool) -> None:
    def points(sampler: str, **search: Any) -> np.ndarray:
        rows = opened(InMemoryStorage(), config(sampler, **search), BOX).ask([0] * 64)
        return np.array([[row.params[name] for name in BOX] for row in rows])

    found = points("qmc", qmc=Qmc(sequence, scramble))
    assert len(np.unique(found, axis=0)) == 64
    assert qmc.discrepancy(found) < 0.5 * qmc.discrepancy(points("random"))
    assert (np.array_equal(found, points("qmc", qmc=Qmc(sequence, scramble), seed=1))) == (not scramble)


def test_a_sampler_with_few_complete_trials_draws_at_random() -> None:
    """Pruned ones do not count."""
    for name in ("tpe", "gp"):
        drawn = []
        for sampler_, state in ((name, "pruned"), ("random", "pruned"), (name, "complete")):
            study = opened(InMemoryStorage(), config(sampler_, startup_trials=4), BOX)
            for row in study.ask([0] * 4):
                study.report(row.number, 1, row.params["x0"])
                study.finish(row.number, state, row.params["x0"])
            drawn.append(study.ask([1])[0].params)
        assert drawn[0] == drawn[1] != drawn[2]


def test_trials_of_a_gaussian_process_that_are_asked_for_together_differ() -> None:
    """Each knows where the others of the pack are tried."""
    study = opened(InMemoryStorage(), config("gp", startup_trials=5), {"x": FloatDistribution(0, 1)})
    for row in study.ask([0] * 5):
        study.finish(row.number, "complete", -((row.params["x"] - 0.4) ** 2))
    places = sorted(row.params["x"] for row in study.ask([1] * 4))
    assert min(np.diff(places)) > 0.005


@pytest.mark.parametrize("name", ["tpe", SLOW_GP, "nsga2", "cmaes"])
def test_constraints_are_kept_to(name: str) -> None:
    """The objective grows with x, and x <= 0.5 is asked for: later trials keep to that better than random ones."""
    study = opened(InMemoryStorage(), config(name, startup_trials=8), {"x": FloatDistribution(0, 1)})
    count = 14 if name == "gp" else 80
    for number in range(count):
        (row,) = study.ask([number])
        study._set_system_attr(row.number, "constraints", [row.params["x"] - 0.5])
        study.finish(row.number, "complete", row.params["x"])
    late = [row.params["x"] for row in study.rows()[count - 6 if name == "gp" else count // 2 :]]
    assert 0.3 < np.median(late) < 0.6


@pytest.mark.parametrize("name", ["tpe", "gp", "nsga2", "random", "qmc"])
def test_several_objectives(name: str) -> None:
    """The mirror has the study's directions; what was pruned does not disturb."""
    startup = {"startup_trials": 6} if name in ("tpe", "gp") else {}
    wanted = Config(search=Search(sampler=name, objectives=["maximize val/accuracy", "minimize val/loss"], **startup))
    validate(wanted)
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    mirror = Mirror(directions)
    assert mirror.get_study_directions(mirror._study) == directions
    samplers = make_samplers(wanted.search, Space(BOX))
    for number in range(10):
        proposed = mirror.propose(number, Space(BOX), samplers(number))
        assert proposed.params.keys() == BOX.keys()
        mirror.append(proposed)
        mirror.set_trial_intermediate_value(number, 1, 0.5)
        state = optuna.trial.TrialState.PRUNED if number % 4 == 3 else optuna.trial.TrialState.COMPLETE
        values = None if number % 4 == 3 else [proposed.params["x0"], proposed.params["x1"]]
        mirror.set_trial_state_values(number, state, values)


# --- the unit interval ------------------------------------------------------------------------------------------------


@st.composite
def numbers(draw: st.DrawFn) -> BaseDistribution:
    low, count = draw(st.integers(1, 50)), draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["int", "intlog", "step", "float", "log"]))
    if kind in ("int", "intlog"):
        step = draw(st.integers(1, 3)) if kind == "int" else 1
        return IntDistribution(low, low + step * count, step=step, log=kind == "intlog")
    if kind == "step":
        return FloatDistribution(low / 8, (low + count) / 8, step=0.125)
    return FloatDistribution(low / 10, (low + count) / 10, log=kind == "log")


@given(numbers(), st.floats(0, 1), st.floats(0, 1))
def test_a_place_is_a_value_and_back(distribution: Any, one: float, other: float) -> None:
    first, second = sorted((one, other))
    low, high = cube.value(distribution, first), cube.value(distribution, second)
    assert distribution._contains(low) and low <= high
    there = cube.place(distribution, low)
    assert -1e-9 <= there <= 1 + 1e-9 and math.isclose(cube.value(distribution, there), low, rel_tol=1e-9)
    assert cube.value(distribution, 0.0) == pytest.approx(distribution.low, rel=1e-12)
    assert cube.value(distribution, 1.0) == pytest.approx(distribution.high, rel=1e-12)


@pytest.mark.parametrize(
    "distribution", [IntDistribution(3, 9, step=3), CategoricalDistribution("abc"), FloatDistribution(0, 1, step=0.5)]
)
def test_each_value_has_its_equal_share(distribution: Any) -> None:
    found = [cube.value(distribution, place) for place in (np.arange(300) + 0.5) / 300]
    assert sorted(found) == found and {found.count(value) for value in found} == {100}


# --- knobs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "text"),
    [
        (Search(cmaes=Cmaes(sigma=0.3)), "search.cmaes.sigma=0.3: has no effect with search.sampler=tpe"),
        (Search(nsga2=Nsga2(mutation=0.5)), "search.nsga2.mutation=0.5: has no effect with search.sampler=tpe"),
        (
            Search(sampler="gp", tpe=Tpe(multivariate=False)),
            "search.tpe.multivariate=false: has no effect with search.sampler=gp",
        ),
        (Search(sampler="random", tpe=Tpe(multivariate=False)), "search.tpe.multivariate=false: has no effect with"),
        (Search(sampler="qmc", gp=Gp(True)), "search.gp.noiseless=true: has no effect with search.sampler=qmc"),
        (
            Search(sampler="cmaes", objectives=["maximize val/accuracy", "minimize val/loss"]),
            "search.objectives=['maximize val/accuracy', 'minimize val/loss']: search.sampler=cmaes takes one",
        ),
    ],
)
def test_what_the_sampler_does_not_heed_is_refused(search: Search, text: str) -> None:
    with pytest.raises(KnobError) as caught:
        validate(Config(search=search))
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("tpe", {"tpe": Tpe(candidates=2)}),
        ("tpe", {"tpe": Tpe(multivariate=False)}),
        ("tpe", {"tpe": Tpe(constant_liar=False)}),
        ("tpe", {"startup_trials": 0}),
        pytest.param("gp", {"gp": Gp(noiseless=True)}, marks=pytest.mark.slow),
        pytest.param("gp", {"startup_trials": 0}, marks=pytest.mark.slow),
        ("cmaes", {"cmaes": Cmaes(sigma=0.5, population=4)}),
        ("cmaes", {"cmaes": Cmaes(population=6)}),
        ("nsga2", {"nsga2": Nsga2(population=5)}),
        ("nsga2", {"nsga2": Nsga2(population=4, crossover=0.0)}),
        ("nsga2", {"nsga2": Nsga2(population=4, mutation=1.0)}),
        ("qmc", {"qmc": Qmc("halton")}),
        ("qmc", {"qmc": Qmc(scramble=False)}),
    ],
)
def test_every_knob_of_a_sampler_does_something(name: str, search: dict[str, Any]) -> None:
    def found(**search: Any) -> list[Mapping[str, Any]]:
        study = opened(InMemoryStorage(), config(name, **search), BOX)
        for pack in range(3 if name == "gp" else 6):
            for row in study.ask([pack] * 2):
                study.finish(row.number, "complete", value(row.params) + math.sin(50 * row.params["x0"]))
        return [row.params for row in study.rows()]

    validate(config(name, **{"startup_trials": 10} | {"nsga2": Nsga2(), "cmaes": Cmaes(), **search}))
    assert found(**search) != found()


def test_cmaes_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler.check_installed(Search(sampler="cmaes"))
    monkeypatch.setattr(sampler, "find_spec", lambda name: None if name == "cmaes" else importlib.util.find_spec(name))
    with pytest.raises(KnobError, match=r"^search=cmaes needs the package cmaes: pip install 'lca-sweep\[cmaes\]'$"):
        sampler.check_installed(Search(sampler="cmaes"))
    sampler.check_installed(Search())


def test_cmaes_needs_a_number() -> None:
    wanted = Config(search=Search(sampler="cmaes"), sweep=Sweep(trials=2))
    with pytest.raises(KnobError, match=r"^search.sampler=cmaes: must have a knob with low and high"):
        parse({"trainer": {"algorithm": {"choices": ["gbp", "bp"]}}}, wanted)
    assert parse({}, Config(search=Search(sampler="cmaes"))) == {}
    (row,) = opened(InMemoryStorage(), config("cmaes"), {}).ask([0])
    assert row.params == {}


def test_what_optuna_remarks_on_a_gaussian_process_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that a package, which needs not be there, would make it faster."""
    levels: list[int] = []

    def note(*_: Any) -> dict[str, Any]:
        levels.append(optuna.logging.get_verbosity())
        return {}

    monkeypatch.setattr(optuna.samplers.GPSampler, "sample_relative", note)
    before, study = optuna.logging.get_verbosity(), optuna.create_study()
    space = Space({"trainer.lr": FloatDistribution(0.01, 0.3)})
    new = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    bayes.Gp(0, Search(sampler="gp"), space).sample_relative(study, new, space)
    assert levels == [optuna.logging.ERROR] and optuna.logging.get_verbosity() == before
