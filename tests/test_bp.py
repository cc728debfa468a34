"""Ordinary back-propagation: against autograd, as the limit of gBP, and as a trial among others."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import pytest
import torch
from core_strategies import CLASSES, INPUTS, close, made_up, packs, seeds, trials
from hypothesis import given
from torch import Tensor

from lca_sweep.core import Halving, KnobError, Network, Pack, SpikeSlab, Splits, Trial, fit, load, score
from lca_sweep.core import bp as plain
from lca_sweep.core import gbp as general
from lca_sweep.core.algorithm import ALGORITHMS
from lca_sweep.core.epoch import train_epoch
from lca_sweep.core.gbp import cross_entropy
from lca_sweep.core.images import load_ordered
from lca_sweep.core.knobs import TrialKnobs, walk
from lca_sweep.core.network import outputs
from lca_sweep.core.pack import Bucket, group
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.train import EpochReport

BATCH = 5
BP = {"trainer.algorithm": "bp"}


def mixed(**shared: Any) -> list[Trial]:
    """Trials of both algorithms: 0 and 1 are alike but for it, 3 and 4 are of one shape, the others of other shapes."""
    return trials(
        BP | {"init.seed": 1},
        {"init.seed": 1},
        BP | {"model.widths": [5, 3], "trainer.lr": 0.01, "init.seed": 2},
        BP | {"model.widths": [8, 7], "trainer.weight_decay": 0.1, "init.slab_variance": 0.5},
        {"model.widths": [8, 7], "prior.weight": 0.3, "init.spike": 0.2, "init.seed": 3},
        BP | {"model.widths": [4], "init.mean_variance": 0.1, "init.seed": 4},
        **shared,
    )


def is_bp(trial: Trial) -> bool:
    return trial.knobs.trainer.algorithm == "bp"


def start(members: list[Trial], **options: Any) -> Pack:
    return Pack.start(members, INPUTS, CLASSES, **options)


def completed(pack: Pack, data: Splits) -> tuple[list[EpochReport], dict[int, Network]]:
    """All reports, and the networks at the end."""
    reports = list(fit(pack, data))
    return reports, {one.trial: one.network for one in reports[-1].trials if one.network is not None}


def alike(one: Network, other: Network) -> bool:
    """Bit for bit."""
    pairs = zip(one.layers, other.layers, strict=True)
    return all(torch.equal(p, q) for w, v in pairs for p, q in zip(w, v, strict=True))


def batch(pack: Pack, seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
    """Images (inputs, BATCH), a third of the pixels 0; labels (BATCH)."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(pack.inputs, BATCH, dtype=torch.float64, generator=rng)
    return torch.where(x < 1 / 3, 0.0, x), torch.randint(pack.classes, (BATCH,), generator=rng), rng


def of_bp(bucket: Bucket) -> list[SpikeSlab]:
    """A bucket's layers with the same m as plain weights; m = 0 where it is padding, as in a bucket of BP."""
    return [
        SpikeSlab(torch.zeros_like(layer.w.pi), layer.w.m * bucket.real(depth), torch.zeros_like(layer.w.xi))
        for depth, layer in enumerate(bucket.layers)
    ]


# -- one step -----------------------------------------------------------------------------------------------------


@given(packs(), seeds)
def test_gradients_equal_autograd(pack: Pack, seed: int) -> None:
    """For each trial of each bucket, of any widths and padding; 0 for padding."""
    x, y, _ = batch(pack, seed)
    for bucket in pack.buckets:
        layers = of_bp(bucket)
        trace = plain.forward(plain.prepare(layers), bucket.fan_in, x, [])
        loss, dz = cross_entropy(trace[-1].z, y)
        gradients = plain.backward(layers, trace, dz)
        for t in range(len(bucket.trials)):
            widths = [int(units[t].sum()) for units in bucket.units]
            shapes = list(zip(widths[1:], widths[:-1], strict=True))
            weights = [
                w.m[t, :out, :ins].clone().requires_grad_() for w, (out, ins) in zip(layers, shapes, strict=True)
            ]
            z = outputs(weights, x)
            expected = torch.nn.functional.cross_entropy(z.t(), y)
            expected.backward()
            close(trace[-1].z[t], z.detach(), 1e-10)
            close(loss[t], expected.detach(), 1e-10)
            for w, (g,), (out, ins) in zip(weights, gradients, shapes, strict=True):
                assert w.grad is not None
                close(g[t, :out, :ins], w.grad, 1e-10)
                assert (g[t, out:] == 0).all() and (g[t, :, ins:] == 0).all()


@given(packs(), seeds)
def test_it_is_gbp_without_spikes_and_slabs(pack: Pack, seed: int) -> None:
    """pi = xi = 0: the same pre-activations and the same gradient of m, to the bit, whatever the noise."""
    x, y, rng = batch(pack, seed)
    for bucket in pack.buckets:
        layers = of_bp(bucket)
        noise = [torch.randn(*units.shape, BATCH, dtype=torch.float64, generator=rng) for units in bucket.units[1:]]
        one = plain.forward(plain.prepare(layers), bucket.fan_in, x, [])
        other = general.forward(general.prepare(layers), bucket.fan_in, x, noise)
        for t, u in zip(one, other, strict=True):
            assert torch.equal(t.z, u.z)
        dz = cross_entropy(one[-1].z, y)[1]
        for (g,), h in zip(plain.backward(layers, one, dz), general.backward(layers, other, dz), strict=True):
            assert torch.equal(g, h.m)


def test_the_knob_offers_the_algorithms_there_are() -> None:
    (choices,) = [range.choices for name, _, range in walk(TrialKnobs()) if name == "trainer.algorithm"]
    assert set(choices) == ALGORITHMS.keys()


# -- trials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [1.0, math.inf])
def test_pi_and_xi_stay_zero_and_m_starts_as_for_gbp(padding: float) -> None:
    pack, data = start(mixed(), padding=padding), made_up()
    assert all(torch.equal(w.m, v.m) for w, v in zip(pack.network(0).layers, pack.network(1).layers, strict=True))
    before = {trial.number: pack.network(trial.number) for trial in pack.trials}
    _, networks = completed(pack, data)
    for trial in mixed():
        for w, v in zip(networks[trial.number].layers, before[trial.number].layers, strict=True):
            assert not torch.equal(w.m, v.m)
            if is_bp(trial):
                assert all((p == 0).all() for p in (w.pi, w.xi, v.pi, v.xi))


def test_a_step_is_that_of_torch() -> None:
    """An epoch of torch's AdamW on an ordinary network with the same initial weights and batches."""
    (trial,) = trials(BP | {"trainer.weight_decay": 0.1})
    pack, data = start([trial], dtype=torch.float64), made_up(dead=(3,))
    weights = [w.m.clone().requires_grad_() for w in pack.network(0).layers]
    trainer = trial.knobs.trainer
    optimiser = torch.optim.AdamW(weights, lr=trainer.lr, weight_decay=trainer.weight_decay, eps=trainer.eps)
    x, y = torch.tensor(data.train.x).double() / data.scale, torch.tensor(data.train.y)
    for rows in torch.randperm(100, generator=generator(0, Purpose.ORDER, 1)).view(-1, trainer.batch_size):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(outputs(weights, x[rows].t()).t(), y[rows]).backward()
        optimiser.step()
    train_epoch(pack, load_ordered(data.train, data.scale, "cpu"))
    for w, expected in zip(pack.network(0).layers, weights, strict=True):
        close(w.m, expected.detach(), 1e-8)


@pytest.mark.parametrize("padding", [1.0, math.inf])
def test_a_trial_does_not_feel_mates_of_another_algorithm(padding: float) -> None:
    members, data = mixed(epochs=4), made_up(dead=(3,))
    reports, networks = completed(start(members, padding=padding, dtype=torch.float64), data)
    metrics = {one.trial: one.metrics for one in reports[-1].trials}
    for trial in members:
        alone, expected = completed(start([trial], dtype=torch.float64), data)
        assert metrics[trial.number] == pytest.approx(dict(alone[-1].trials[0].metrics), rel=1e-12, abs=1e-12)
        for w, v in zip(networks[trial.number].layers, expected[trial.number].layers, strict=True):
            assert all((p - q).norm() <= 1e-12 * q.norm() for p, q in zip(w, v, strict=True))


def test_buckets_hold_one_algorithm_in_an_order_of_their_own() -> None:
    for padding in (1.0, math.inf):
        groups = group(mixed(), INPUTS, CLASSES, padding)
        assert groups == group(mixed()[::-1], INPUTS, CLASSES, padding)
        assert all(len({is_bp(trial) for trial in members}) == 1 for members in groups)
        assert sorted(trial.number for members in groups for trial in members) == list(range(6))
    assert [[trial.number for trial in members] for members in groups] == [[5], [2, 0, 3], [1, 4]]


def test_what_is_recorded() -> None:
    """Of plain weights neither categories nor entropy; the prior's part is there, and 0."""
    reports, _ = completed(start(mixed()), made_up())
    whole = {"train/loss", "train/prior", "val/loss", "val/accuracy", "test/loss", "test/accuracy"}
    for report in reports:
        for one, trial in zip(report.trials, mixed(), strict=True):
            assert (one.metrics.keys() == whole) == is_bp(trial) and one.metrics.keys() >= whole
            assert one.metrics["train/prior"] == 0 or not is_bp(trial)


@pytest.mark.parametrize("padding", [1.0, math.inf])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_resuming_equals_never_having_stopped(padding: float, stop: int) -> None:
    """Also while trials leave: their buckets follow from those that are left."""
    members, data, pruner = mixed(epochs=4), made_up(), Halving(2, 1)
    whole = list(fit(start(members, padding=padding), data, pruner))
    pack = start(members, padding=padding)
    reports = list(islice(fit(pack, data, pruner), stop))
    tensors, about = pack.state()
    again = start(members, padding=padding)
    again.restore(tensors, about)
    rest = list(fit(again, data, pruner))
    assert [(r.epoch, [(t.trial, t.state, t.metrics) for t in r.trials]) for r in reports + rest] == [
        (r.epoch, [(t.trial, t.state, t.metrics) for t in r.trials]) for r in whole
    ]
    for one, other in zip(rest[-1].trials, whole[-1].trials, strict=True):
        assert (one.network is None) == (other.network is None)
        assert one.network is None or other.network is None or alike(one.network, other.network)


@pytest.mark.parametrize("fatal", [{"trainer.lr": 1e30}, {"init.mean_variance": 1e300}])
def test_a_trial_that_breaks_leaves_as_failed_and_harms_no_mate(fatal: dict[str, float]) -> None:
    members = trials(BP | {"init.seed": 1}, BP | {"model.widths": [9, 9], "init.seed": 2} | fatal, {"init.seed": 3})
    reports, networks = completed(start(members, padding=math.inf), made_up())
    assert [(one.trial, one.state) for one in reports[0].trials] == [(0, "running"), (1, "failed"), (2, "running")]
    assert "loss is" in reports[0].trials[1].reason
    assert networks.keys() == {0, 2}
    assert all(p.isfinite().all() for network in networks.values() for w in network.layers for p in w)


def test_a_kept_network_scores_what_was_recorded() -> None:
    """By gBP's pass, as any other: there is no noise in it, so that neither seed nor epoch matters."""
    data = made_up()
    reports, networks = completed(start(trials(BP | {"model.widths": [6, 5]})), data)
    metrics = reports[-1].trials[0].metrics
    for seed, epoch in ((0, 3), (99, 7)):
        loss, accuracy = score(networks[0], data.test, data.scale, seed=seed, epoch=epoch)
        assert (loss, accuracy) == (metrics["test/loss"], metrics["test/accuracy"])


def test_it_learns_the_digits() -> None:
    data = load("digits")
    members = trials(BP | {"model.widths": [30]}, BP | {"model.widths": [30, 20]}, epochs=15, batch_size=50, lr=0.05)
    reports, _ = completed(Pack.start(members, data.inputs, data.classes), data)
    for one in reports[-1].trials:
        assert one.metrics["val/accuracy"] > 0.9 and one.metrics["test/accuracy"] > 0.9


@pytest.mark.parametrize(("name", "value"), [("prior.weight", 0.5), ("init.spike", 0.1)])
def test_what_plain_weights_cannot_have_is_refused(name: str, value: float) -> None:
    with pytest.raises(KnobError) as caught:
        start(trials(BP | {name: value}))
    assert str(caught.value) == f"{name}={value}: weights have no distribution with trainer.algorithm=bp; must be 0"
