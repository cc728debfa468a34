"""Packs: a trial feels neither its pack-mates nor an interruption."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from core_strategies import CLASSES, INPUTS, knobs, made_up, packs, seeds, trials, unlike_trials
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from lca_sweep.core import EpochReport, Halving, KnobError, Network, Pack, Splits, Trial, fit
from lca_sweep.core.engine import Engine
from lca_sweep.core.halving import Leave, Pruner
from lca_sweep.core.objective import Goal, Scored
from lca_sweep.core.pack import group, initial, work
from lca_sweep.core.rng import Purpose, generator

State = tuple[dict[str, Tensor], dict[str, Any]]
PADDINGS = [1.0, 1.1, math.inf]
EXTREMES = [1.0, math.inf]


@pytest.fixture(autouse=True, scope="module", params=["cpu", "device"])
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of this holds for packs as they are trained on a GPU, too; here on CPU tensors, without kernels."""
    found = Engine(recorded=request.param == "device")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lca_sweep.core.pack.engine_for", lambda device: found)
        yield


def start(members: list[Trial], **options: Any) -> Pack:
    return Pack.start(members, INPUTS, CLASSES, **options)


def snapshot(pack: Pack) -> State:
    """What a checkpoint keeps, through the bytes of its two files."""
    tensors, about = pack.state()
    return load(save(tensors)), json.loads(json.dumps(about))


def equal(one: State, other: State) -> bool:
    """Bit for bit."""
    same = one[0].keys() == other[0].keys() and one[1] == other[1]
    return same and all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())


def trained(pack: Pack, data: Splits) -> dict[int, tuple[Network, Mapping[str, float]]]:
    """Network and last metrics of every trial."""
    *_, last = fit(pack, data)
    found = {}
    for report in last.trials:
        assert report.network is not None
        found[report.trial] = (report.network, report.metrics)
    return found


# -- pack-mates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_a_trial_does_not_feel_its_pack_mates(padding: float, dtype: torch.dtype, tolerance: float) -> None:
    """Alone or with trials of other widths, depths, rates, priors and seeds: the same numbers, to rounding.

    Not bit for bit: the matrix products of a bucket (its first layer is one product for all trials; its other layers
    are as wide as its widest trial) are of another size than those of a trial alone, and for another size the library
    may sum the same terms in another order. All else - initial weights, order of batches, noise, optimiser - is the
    same to the bit, so that the difference starts at the rounding error; in float64 it nearly vanishes. Training
    magnifies it (tests/test_fit.py: curve), which is why a few epochs are compared, and not a hundred.
    """
    members, data = unlike_trials(epochs=4), made_up(dead=(3,))
    together = trained(start(members, padding=padding, dtype=dtype), data)
    for trial in members:
        alone, metrics = trained(start([trial], dtype=dtype), data)[trial.number]
        network, others = together[trial.number]
        assert network.widths == alone.widths
        for w, expected in zip(network.layers, alone.layers, strict=True):
            for p, q in zip(w, expected, strict=True):
                assert (p - q).norm() <= tolerance * q.norm()
        assert others.keys() == metrics.keys()
        assert others == pytest.approx(dict(metrics), rel=tolerance, abs=tolerance)


def test_padding_does_share_tensors() -> None:
    """So that the law above compares what it says: from one bucket for each shape to one for each depth."""
    assert [len(start(unlike_trials(), padding=padding).buckets) for padding in PADDINGS] == [5, 4, 3]


@pytest.mark.parametrize("padding", EXTREMES)
def test_the_order_of_trials_changes_nothing(padding: float) -> None:
    members, data = unlike_trials(epochs=2), made_up()
    first, other = (trained(start(order, padding=padding), data) for order in (members, members[::-1]))
    for number, (network, metrics) in first.items():
        assert metrics == other[number][1]
        for w, v in zip(network.layers, other[number][0].layers, strict=True):
            assert all(torch.equal(p, q) for p, q in zip(w, v, strict=True))


def test_trials_of_unlike_initial_seeds_differ() -> None:
    """Also where only the seed differs, and trials of one seed that differ in nothing are equal."""
    found = trained(start(trials({}, {"init.seed": 1}, {})), made_up())
    assert found[0][1]["val/loss"] != found[1][1]["val/loss"]
    assert found[0][1] == pytest.approx(dict(found[2][1]), rel=1e-5, abs=1e-5)


def test_trials_that_differ_in_a_shared_knob_are_refused() -> None:
    """In one line that names the knob, both values and the trials."""
    members = [Trial(3, knobs()), Trial(8, knobs({"trainer.epochs": 99}))]
    with pytest.raises(KnobError) as error:
        start(members)
    assert str(error.value) == "trainer.epochs=99: trial 8 shares a pack with trial 3; must be 3"


# -- leaving ------------------------------------------------------------------------------------------------------


@given(packs(), st.data())
def test_dropping_leaves_the_survivors_state_untouched(pack: Pack, data: st.DataObject) -> None:
    numbers = [trial.number for trial in pack.trials]
    gone = data.draw(st.sets(st.sampled_from(numbers)))
    before, _ = pack.state()
    pack.drop(gone)
    after, about = pack.state()
    assert about["live"] == [number for number in numbers if number not in gone]
    assert after.keys() == {name for name in before if int(name.partition(".")[0]) not in gone}
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


@dataclass(frozen=True)
class DropAfter:
    """A pruner that sends some trials away after one epoch."""

    epoch: int
    trials: Collection[int]

    def leavers(self, epoch: int, goal: Goal, trials: Mapping[int, Scored]) -> dict[int, Leave]:
        return {trial: Leave("sent away") for trial in self.trials if epoch == self.epoch and trial in trials}


def run(pack: Pack, data: Splits, pruner: object = None) -> list[EpochReport]:
    return list(fit(pack, data, cast(Pruner, pruner)))


@pytest.mark.parametrize("padding", EXTREMES)
def test_survivors_go_on_as_if_the_dropped_had_stayed(padding: float) -> None:
    """To float64's tolerance: smaller tensors, sums in another order."""
    data, gone = made_up(), {0, 3}
    stayed, dropped = (
        run(start(unlike_trials(epochs=4), padding=padding, dtype=torch.float64), data, pruner)
        for pruner in (None, DropAfter(2, gone))
    )
    for one, other in zip(stayed, dropped, strict=True):
        expected = {report.trial: report.metrics for report in one.trials}
        assert other.epoch <= 2 or expected.keys() - {report.trial for report in other.trials} == gone
        for report in other.trials:
            assert report.metrics == pytest.approx(dict(expected[report.trial]), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("padding", EXTREMES)
@pytest.mark.parametrize("fatal", [{"trainer.lr": 1e30}, {"init.mean_variance": 1e300}])
def test_a_trial_that_breaks_leaves_as_failed_and_harms_no_mate(fatal: dict[str, float], padding: float) -> None:
    """Its mates' numbers are, bit for bit, those of a pack where it was sound and left at the same time."""
    data = made_up()
    sound = unlike_trials(epochs=3)
    broken = [
        Trial(t.number, knobs({"trainer.epochs": 3, "init.seed": 5} | fatal)) if t.number == 4 else t for t in sound
    ]
    with_it, without = (
        run(start(broken, padding=padding), data),
        run(start(sound, padding=padding), data, DropAfter(1, {4})),
    )
    failed = [report for epoch in with_it for report in epoch.trials if report.trial == 4]
    assert [report.state for report in failed] == ["failed"]
    assert failed[0].reason in {f"train/loss is {value} at epoch 1" for value in ("nan", "inf")}
    assert failed[0].network is None
    assert mates(with_it, 4) == mates(without, 4)


def mates(reports: list[EpochReport], leaver: int) -> list[tuple[int, int, str, Mapping[str, float]]]:
    return [(e.epoch, r.trial, r.state, r.metrics) for e in reports for r in e.trials if r.trial != leaver]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_nan_in_a_weight_fails_its_trial_at_any_epoch(epoch: int) -> None:
    """Also at the last one, where the others complete."""
    data, reports = made_up(), []
    pack, sound = start(unlike_trials(epochs=3)), start(unlike_trials(epochs=3))
    training = fit(pack, data)
    for now in range(1, 4):
        if now == epoch:
            bucket = next(bucket for bucket in pack.buckets if bucket.trials[0].number == 0)
            bucket.layers[1].w.m[0, 2, 3] = math.nan
        reports.append(next(training))
    assert next(training, None) is None
    ends = {r.trial: (e.epoch, r.state, r.reason) for e in reports for r in e.trials if r.state != "running"}
    assert ends.pop(0) == (epoch, "failed", f"train/loss is nan at epoch {epoch}")
    assert set(ends.values()) == {(3, "complete", "")}
    assert mates(reports, 0) == mates(run(sound, data, None if epoch == 3 else DropAfter(epoch, {0})), 0)


def test_a_pack_of_nothing_but_broken_trials_ends() -> None:
    pack = start(trials({"trainer.lr": 1e30}, {"trainer.lr": 1e30, "init.seed": 1}))
    (report,) = fit(pack, made_up())
    assert [trial.state for trial in report.trials] == ["failed", "failed"]
    assert not pack.trials and list(fit(pack, made_up())) == []


# -- stopping and going on ----------------------------------------------------------------------------------------

EPOCHS = 5


@pytest.fixture(scope="module")
def uninterrupted(engine: None) -> Iterator[dict[float, tuple[list[EpochReport], list[State]]]]:
    """For each padding: the reports of a pack halved after epochs 1, 2 and 4, and its state after each epoch."""
    found = {}
    for padding in EXTREMES:
        pack = start(unlike_trials(epochs=EPOCHS), padding=padding)
        states, reports = [snapshot(pack)], []
        for report in fit(pack, made_up(), Halving(2, 1)):
            reports.append(report)
            states.append(snapshot(pack))
        found[padding] = (reports, states)
    yield found


@pytest.mark.parametrize("padding", EXTREMES)
@pytest.mark.parametrize("stop", range(EPOCHS + 1))
def test_resuming_equals_never_having_stopped(uninterrupted: Any, padding: float, stop: int) -> None:
    """Bit for bit, at any epoch, also after trials have left: reports and states, through the bytes of a checkpoint."""
    reports, states = uninterrupted[padding]
    pack = start(unlike_trials(epochs=EPOCHS), padding=padding)
    pack.restore(*states[stop])
    assert equal(snapshot(pack), states[stop])
    for report, expected, state in zip(
        fit(pack, made_up(), Halving(2, 1)), reports[stop:], states[stop + 1 :], strict=True
    ):
        assert report.epoch == expected.epoch
        assert [(t.trial, t.state, t.metrics) for t in report.trials] == [
            (t.trial, t.state, t.metrics) for t in expected.trials
        ]
        assert equal(snapshot(pack), state)


@pytest.mark.parametrize("padding", EXTREMES)
def test_a_state_taken_out_stays_as_it_was(padding: float) -> None:
    """Training on does not reach into it, so that it may be written to disk meanwhile; nor does it after `restore`."""
    pack = start(unlike_trials(), padding=padding)
    state, kept = pack.state(), snapshot(pack)
    next(fit(pack, made_up()))
    assert equal(state, kept) and not equal(pack.state(), kept)
    pack.restore(*state)
    next(fit(pack, made_up()))
    assert equal(state, kept)


@given(packs())
def test_restoring_a_state_gives_that_state(pack: Pack) -> None:
    state = pack.state()
    other = Pack.start(pack.trials, pack.inputs, pack.classes, padding=pack.padding, dtype=pack.like.dtype)
    other.restore(*state)
    assert equal(other.state(), state)
    assert all(tensor.dtype == torch.float64 for tensor in state[0].values())


# -- grouping -----------------------------------------------------------------------------------------------------

hidden = st.lists(st.integers(1, 300), min_size=1, max_size=3)


@given(st.lists(hidden, min_size=1, max_size=12), st.floats(1, 4))
def test_groups_hold_every_trial_once_and_keep_to_the_padding(widths: list[list[int]], padding: float) -> None:
    members = trials(*({"model.widths": each} for each in widths))
    groups = group(members, 784, 10, padding)
    assert Counter(trial.number for members in groups for trial in members) == Counter(range(len(widths)))
    for each in groups:
        shapes = [trial.knobs.model.hidden() for trial in each]
        assert len({len(shape) for shape in shapes}) == 1
        padded = len(each) * work(784, [max(units) for units in zip(*shapes, strict=True)], 10)
        assert padded <= padding * sum(work(784, shape, 10) for shape in shapes)
    assert groups == group(members[::-1], 784, 10, padding)


# -- initial weights and randomness -------------------------------------------------------------------------------


def test_initial_weights_are_what_the_knobs_say() -> None:
    """pi the spike mass, m normal and xi uniform: mean and variance within 6 standard errors."""
    trial = Trial(
        0, knobs({"model.widths": [100], "init.spike": 0.25, "init.mean_variance": 0.04, "init.slab_variance": 0.3})
    )
    first = initial(trial, 784, 10)[0]
    size = first.m.numel()
    assert (first.pi == 0.25).all() and (first.xi >= 0).all() and (first.xi <= 0.3).all()
    assert abs(first.m.mean()) <= 6 * 0.2 / math.sqrt(size)
    assert first.m.var().item() == pytest.approx(0.04, rel=6 * math.sqrt(2 / size))
    assert first.xi.mean().item() == pytest.approx(0.15, rel=6 / math.sqrt(3 * size))


streams = st.tuples(seeds, st.sampled_from(Purpose), st.integers(0, 1000))


@given(streams, streams)
def test_randomness_follows_from_seed_purpose_and_epoch(one: Any, other: Any) -> None:
    """The same three give the same numbers; any difference in them gives others."""
    first, again, second = (torch.rand(8, generator=generator(*stream)) for stream in (one, one, other))
    assert torch.equal(first, again)
    assert torch.equal(first, second) == (one == other)


def test_neighbouring_streams_all_differ() -> None:
    drawn = {
        tuple(torch.rand(4, generator=generator(seed, purpose, epoch)).tolist())
        for seed in range(10)
        for purpose in Purpose
        for epoch in range(10)
    }
    assert len(drawn) == 10 * len(Purpose) * 10
