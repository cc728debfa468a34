"""The comparisons with other searches: what is counted, and that rivals train the same network."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import MedianPruner
from optuna.storages import InMemoryStorage

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from peers import OURS as OURS_AT_WORK
from peers import Took
from peers import report as report_pace
from plain_torch import kl
from rival_search import OURS, STOCK, Search, ours, plain, report
from rival_task import EPOCHS, Task, Told, found

from lca_sweep.core.knobs import Prior
from lca_sweep.core.prior import SlabPrior
from lca_sweep.core.prior import kl as core_kl
from lca_sweep.core.spikeslab import SpikeSlab
from lca_sweep.search.study import Study

BUDGET = 50  # trial-epochs: past the first rung of two packs


@pytest.fixture(scope="module")
def task() -> Task:
    return Task.digits()


@pytest.mark.parametrize(
    "search", [ours(pruner_name="halving", pack_size=4), plain(MedianPruner(n_warmup_steps=5))], ids=["ours", "Optuna"]
)
def test_a_search_pays_for_each_epoch_of_each_trial_once(task: Task, search: Search) -> None:
    told = search(task, 3, BUDGET)
    epochs = defaultdict(list)
    for one in told:
        epochs[one.trial].append(one.epoch)
    assert len(told) == BUDGET
    assert all(seen == list(range(1, len(seen) + 1)) for seen in epochs.values())
    assert max(map(len, epochs.values())) <= EPOCHS
    assert told == search(task, 3, BUDGET)  # the same from the same seed


def test_all_searches_train_the_same_network(task: Task) -> None:
    """The first trial of ours, trained in a pack, tells what the plain curve of its knobs tells."""
    told = [one for one in ours(pack_size=1)(task, 0, 8) if one.trial == "0"]
    (row,) = Study.open(task.config, "search", task.space, InMemoryStorage()).ask([0])
    values = [value for value, _ in zip(task.curve(row.params), told, strict=False)]
    assert [one.value for one in told] == pytest.approx(values, abs=2 / 1_197)


def test_only_what_was_trained_to_the_end_is_found() -> None:
    assert math.isnan(found([Told("0", EPOCHS - 1, 0.99)]))
    assert found([Told("0", EPOCHS - 1, 0.99), Told("1", EPOCHS, 0.5), Told("2", EPOCHS, 0.7)]) == 0.7


def test_the_table_has_regrets_and_differences_by_seed() -> None:
    def run(*values: float) -> list[Told]:
        return [Told(str(n), EPOCHS, value) for n, value in enumerate(values)]

    runs = {
        OURS: {0: run(0.5, 0.9), 1: run(0.5, 0.7), 2: run(0.5, 0.8)},
        STOCK: {0: run(0.6, 0.8), 1: run(0.5, 0.8), 2: run(0.6, 0.6)},
    }
    lines = report(runs, [1, 2]).splitlines()
    assert f"| {OURS} | 40.00, 40.00 | 10.00, 10.00 |" in lines
    assert f"| {STOCK} | 30.00, 33.33 | 10.00, 16.67 |" in lines
    assert f"| {STOCK} | -6.67 ± 3.33 (0 : 2) | +6.67 ± 8.82 (2 : 1) |" in lines


def test_the_pace_of_fewer_trials_is_told_for_as_many() -> None:
    took = {OURS_AT_WORK: Took(whole=20, training=10, trials=32), "peer": Took(whole=30, training=20, trials=8)}
    ours, peer = list(report_pace("title", took, 32, 3600, "an hour"))[-2:]
    assert ours.endswith("| 32 | 10.0 | 10.0 | 1.15e+04 | 1.0 | 5.76e+03 | 1.0 |")
    assert peer.endswith("| 8 | 10.0 | 20.0 | 1.44e+03 | 8.0 | 1.28e+03 | 4.5 |")  # 32 trials: 10 + 80 s


@given(
    pi=st.floats(0.01, 0.99),
    m=st.floats(-3, 3),
    xi=st.floats(0.01, 3),
    spike=st.floats(0.01, 0.99),
    xi0=st.floats(0.1, 9),
)
def test_peers_have_our_prior(pi: float, m: float, xi: float, spike: float, xi0: float) -> None:
    layer = torch.tensor([pi, m, xi], dtype=torch.float64).view(3, 1, 1)
    prior = SlabPrior(*(torch.tensor(value, dtype=torch.float64) for value in (spike, xi0)))
    expected = core_kl(SpikeSlab(*layer), prior).item()
    assert kl(layer, Prior(weight=1.0, spike=spike, slab_variance=xi0)).item() == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )
