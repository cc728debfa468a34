"""How the machine is shared out, and how much training a pack is."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lca_sweep.config import Cluster, Pruner
from lca_sweep.core.data import load
from lca_sweep.core.halving import Halving
from lca_sweep.core.knobs import Init, Model, Trainer, TrialKnobs
from lca_sweep.core.objective import Goal, Scored
from lca_sweep.core.pack import Pack, Trial
from lca_sweep.core.train import fit as train
from lca_sweep.sweep.cost import make_pruner, pack_costs
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.room import Room, elastic, fit, resources

shares = st.one_of(st.none(), st.just(0.0), st.integers(1, 8).map(lambda n: 1 / n), st.integers(1, 4).map(float))
pruners = st.builds(
    Pruner,
    name=st.sampled_from(["none", "halving", "hyperband"]),
    eta=st.integers(2, 4),
    min_epochs=st.integers(1, 6),
)


@given(st.integers(1, 64), st.integers(0, 8), st.integers(1, 64), shares, st.one_of(st.none(), st.integers(1, 20)))
def test_what_packs_get_is_there_and_nothing_lies_idle(
    cpus: int, gpus: int, cpus_per_pack: int, gpus_per_pack: float | None, packs: int | None
) -> None:
    assume(cpus_per_pack <= cpus and (gpus_per_pack or 0) <= gpus)
    cluster = Cluster(packs=packs, cpus_per_pack=cpus_per_pack, gpus_per_pack=gpus_per_pack)
    found = resources(cluster, [{"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {}), "memory": 1e9}])
    assert found.cpus == cpus_per_pack
    assert found.gpus == (min(gpus, 1) if gpus_per_pack is None else gpus_per_pack)
    assert found.device == ("cuda" if found.gpus else "cpu")
    assert found.packs >= 1
    assert found.packs * found.cpus <= cpus and found.packs * found.gpus <= gpus + 1e-9
    one_more = found.packs + 1
    assert found.packs == packs or one_more * found.cpus > cpus or one_more * found.gpus > gpus + 1e-9


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (Cluster(cpus_per_pack=3), "cluster.cpus_per_pack=3: the largest machine has 2 CPUs; must be <= 2"),
        (Cluster(gpus_per_pack=1), "cluster.gpus_per_pack=1: the largest machine has 0 GPUs; must be <= 0"),
        (Cluster(gpus_per_pack=0.5), "cluster.gpus_per_pack=0.5: the largest machine has 0 GPUs; must be <= 0"),
    ],
)
def test_what_is_not_there_is_refused(cluster: Cluster, message: str) -> None:
    with pytest.raises(SweepError) as caught:
        resources(cluster, [{"CPU": 2.0}, {"CPU": 1.0}])
    assert str(caught.value) == message


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 9))
def test_a_pack_lies_on_one_machine(nodes: list[int], cpus_per_pack: int) -> None:
    assume(cpus_per_pack <= max(nodes))
    found = resources(Cluster(cpus_per_pack=cpus_per_pack), [{"CPU": float(cpus)} for cpus in nodes])
    assert found.packs == sum(cpus // cpus_per_pack for cpus in nodes)


nodes = st.lists(st.dictionaries(st.sampled_from(["CPU", "GPU"]), st.integers(1, 9).map(float)), max_size=4)


@given(st.lists(nodes, min_size=1, max_size=4), st.integers(1, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_room_follows_the_machines_and_is_never_none(
    looks: list[list[dict[str, float]]], cpus_per_pack: int, gpus_per_pack: float
) -> None:
    """Looked at anew each time, as it would be after some seconds; an empty cluster is asked for one pack."""
    there = iter(looks)
    room = Room(cpus_per_pack, gpus_per_pack, lambda: next(there))
    for machines in looks:
        room._next = 0.0
        fits = sum(fit(cpus_per_pack, gpus_per_pack, machine) for machine in machines)
        assert (room.there(), room()) == (fits, max(1, fits))
    room._next = 0.0
    assert room.there() == fits, "what does not answer counts as it was"


@pytest.mark.parametrize("packs", [None, 4])
def test_a_cluster_without_a_machine_is_waited_for(packs: int | None) -> None:
    found = elastic(Cluster(packs=packs), lambda: [{"memory": 1e9}])
    assert found.room is not None and found.device == "cpu"
    asked = packs or 1
    assert (
        found.waits(packs)
        == f"room for 0 of {asked} packs (1 CPU each) so far; waiting for machines to join the cluster"
    )
    assert elastic(Cluster(packs=packs), lambda: [{"CPU": 4.0}]).waits(packs) == ""


def test_a_larger_machine_is_waited_for_if_packs_are_asked_for() -> None:
    small = [{"CPU": 2.0}]
    with pytest.raises(SweepError, match=r"must be <= 2 \(or cluster.packs=N: then a larger one is waited for\)"):
        elastic(Cluster(cpus_per_pack=3), lambda: small)
    assert elastic(Cluster(cpus_per_pack=3, packs=1), lambda: small).waits(1)


@given(st.integers(1, 40), pruners, st.integers(1, 40), st.integers(0, 9), st.randoms(use_true_random=False))
def test_cost_is_what_halving_leaves(
    size: int, pruner: Pruner, epochs: int, number: int, chance: random.Random
) -> None:
    """Whatever the trials' scores are, so many of them train at each epoch."""
    rule, live, cost = make_pruner(pruner).within(number, epochs, {}), set(range(size)), 0
    for epoch in range(1, epochs + 1):
        cost += len(live)
        assert pack_costs(size, pruner, epochs, number)[epoch] == cost
        live -= rule.leavers(epoch, Goal(), {trial: Scored((chance.random(),)) for trial in live}).keys()
        assert live, "the best one always stays"
    assert pack_costs(size, pruner, epochs)[0] == 0


@given(st.integers(1, 40), pruners, st.integers(1, 40))
def test_cost_of_a_pack_that_is_not_asked_for_yet_is_that_of_the_mean_bracket(
    size: int, pruner: Pruner, epochs: int
) -> None:
    """Over 60 packs brackets come equally often, be there 1 to 6 of them."""
    costs = [pack_costs(size, pruner, epochs, number)[-1] for number in range(60)]
    assert pack_costs(size, pruner, epochs)[-1] == pytest.approx(sum(costs) / 60)


def test_what_a_bar_will_save_is_not_known() -> None:
    for name in ("median", "percentile"):
        assert pack_costs(7, Pruner(name), 9)[-1] == 63


def test_cost_is_that_of_a_real_pack() -> None:
    data = load("digits")
    small = dataclasses.replace(data.train, x=data.train.x[:100], y=data.train.y[:100])
    knobs = [
        TrialKnobs(model=Model(width=3), init=Init(seed=seed), trainer=Trainer(epochs=5, batch_size=50))
        for seed in range(7)
    ]
    pack = Pack.start([Trial(number, one) for number, one in enumerate(knobs)], data.inputs, data.classes)
    reports = list(train(pack, dataclasses.replace(data, train=small), Halving(2, 1)))
    pruner = Pruner("halving", eta=2, min_epochs=1)
    for epoch in range(1, 6):
        assert pack_costs(7, pruner, epoch)[-1] == sum(len(report.trials) for report in reports[:epoch])


HEAD = "Failure # {} (occurred at 2026-01-01_00-00-00)\n"
RAISED = (
    "\x1b[36mray::ResourceTrainable.train()\x1b[39m (pid=7)\n  File 'x.py', line 3\nFileExistsError: [Errno 17] here\n"
)
DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: ResourceTrainable\n\tpid: 7\n"
AWAY = "The actor 0a1b is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed\n"


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ("", "its process died"),
        (HEAD.format(1), "its process died"),
        (HEAD.format(1) + RAISED, "FileExistsError: [Errno 17] here"),
        (HEAD.format(1) + DIED, "The actor died unexpectedly before finishing this task."),
        (HEAD.format(1) + AWAY, "its machine does not answer"),
        (HEAD.format(1) + RAISED + HEAD.format(2) + DIED, "The actor died unexpectedly before finishing this task."),
        (HEAD.format(1) + DIED + HEAD.format(2) + RAISED, "FileExistsError: [Errno 17] here"),
    ],
)
def test_why_a_pack_failed_in_one_line(errors: str, words: str) -> None:
    from lca_sweep.sweep.searcher import last_words

    assert last_words(errors) == words
