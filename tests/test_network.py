"""One network on its own: kept, loaded, scored, and drawn from."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch
from core_strategies import CLASSES, INPUTS, made_up, packs, seeds, trials, unlike_trials
from hypothesis import given
from torch import Tensor

from lca_sweep.core import Network, Pack, SpikeSlab, Splits, TrialReport, fit, load
from lca_sweep.core.network import outputs
from lca_sweep.core.rng import Purpose, generator
from lca_sweep.core.spikeslab import moments
from lca_sweep.core.train import score


def completed(pack: Pack, data: Splits) -> list[TrialReport]:
    *_, last = fit(pack, data)
    return list(last.trials)


def network_of(report: TrialReport) -> Network:
    assert report.network is not None
    return report.network


def same(one: Network, other: Network) -> bool:
    """Bit for bit, dtypes included."""
    pairs = [(p, q) for w, v in zip(one.layers, other.layers, strict=True) for p, q in zip(w, v, strict=True)]
    return all(p.dtype == q.dtype and torch.equal(p, q) for p, q in pairs)


@given(packs())
def test_what_is_saved_is_what_is_loaded(tmp_path_factory: pytest.TempPathFactory, pack: Pack) -> None:
    folder = tmp_path_factory.mktemp("networks")
    for trial in pack.trials:
        network, about = (
            pack.network(trial.number),
            {"trial": trial.number, "name": "ε", "nested": {"lr": 0.1, "none": None}},
        )
        network.save(folder / str(trial.number), about)
        loaded, told = Network.load(folder / str(trial.number))
        assert same(loaded, network) and told == about
        assert loaded.widths == (pack.inputs, *trial.knobs.model.hidden(), pack.classes)


def test_a_deep_network_keeps_the_order_of_its_layers(tmp_path: Path) -> None:
    """More than nine: layer10 is not next to layer1."""
    pack = Pack.start(trials({"model.width": 3, "model.depth": 12}), INPUTS, CLASSES)
    pack.network(0).save(tmp_path, {})
    assert same(Network.load(tmp_path)[0], pack.network(0))


def test_saving_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    pack = Pack.start(trials({}, {"init.seed": 1}), INPUTS, CLASSES)
    for number in (0, 1):
        pack.network(number).save(tmp_path / "deep" / "folder", {"number": number})
    loaded, about = Network.load(tmp_path / "deep" / "folder")
    assert same(loaded, pack.network(1)) and about == {"number": 1}
    assert {path.name for path in (tmp_path / "deep" / "folder").iterdir()} == {"weights.safetensors", "trial.json"}
    assert json.loads((tmp_path / "deep" / "folder" / "trial.json").read_text()) == about


def test_a_network_is_a_copy() -> None:
    pack = Pack.start(trials({}), INPUTS, CLASSES)
    before, kept = pack.network(0), pack.network(0)
    next(fit(pack, made_up()))
    assert same(before, kept) and not same(before, pack.network(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_network_scores_what_was_recorded(tmp_path: Path, dtype: torch.dtype) -> None:
    """A trial that trained alone: the very loss and accuracy of its last report, on validation and test images."""
    data = load("digits")
    for trial in trials(
        {"model.width": 20}, {"model.widths": [30], "init.seed": 3, "init.spike": 0.2}, epochs=4, batch_size=100
    ):
        pack = Pack.start([trial], data.inputs, data.classes, dtype=dtype)
        (report,) = completed(pack, data)
        network_of(report).save(tmp_path / str(trial.number), {"seed": trial.knobs.init.seed, "epoch": 4})
        network, about = Network.load(tmp_path / str(trial.number))
        assert score(network, data.test, data.scale, **about) == (
            report.metrics["test/loss"],
            report.metrics["test/accuracy"],
        )
        again = score(network, data.validation, data.scale, **about, purpose=Purpose.VALIDATION)
        assert again == (report.metrics["val/loss"], report.metrics["val/accuracy"])
        assert score(network, data.test, data.scale, seed=99, epoch=4)[0] != report.metrics["test/loss"]  # other noise


def test_a_trial_of_a_pack_scores_what_was_recorded() -> None:
    """To float64's tolerance: its pack-mates' matrix products were of another size (tests/test_pack.py says more)."""
    data = made_up()
    for report in completed(
        Pack.start(unlike_trials(epochs=3), INPUTS, CLASSES, padding=9.0, dtype=torch.float64), data
    ):
        seed = {trial.number: trial.knobs.init.seed for trial in unlike_trials()}[report.trial]
        loss, accuracy = score(network_of(report), data.test, data.scale, seed=seed, epoch=3)
        assert loss == pytest.approx(report.metrics["test/loss"], rel=1e-12)
        assert accuracy == report.metrics["test/accuracy"]


@given(packs(), seeds)
def test_samples_and_the_mean_network(pack: Pack, seed: int) -> None:
    """The mean network holds the mean of each weight; a sample holds 0 where pi = 1, and m where pi = 0 and xi = 0."""
    for trial in pack.trials:
        network = pack.network(trial.number)
        drawn = network.sample(torch.Generator().manual_seed(seed))
        for w, mean, concrete in zip(network.layers, network.mean(), drawn, strict=True):
            assert torch.equal(mean, moments(w)[0]) and concrete.shape == w.m.shape
            assert (concrete[w.pi == 1] == 0).all()
            sure = (w.pi == 0) & (w.xi == 0)
            assert torch.equal(concrete[sure], w.m[sure])


def test_outputs_are_those_of_an_ordinary_network() -> None:
    """ReLU between layers, none after the last, 1/sqrt(N) on each: by hand."""
    weights = [torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([[1.0, -1.0]])]
    x = torch.tensor([[1.0], [2.0]])  # hidden: -3 and 11, both / sqrt 2; ReLU: 0 and 11 / sqrt 2
    torch.testing.assert_close(outputs(weights, x), torch.tensor([[-11.0 / 2]]))


def test_sub_networks_do_about_as_well_as_the_ensemble_they_are_drawn_from() -> None:
    """Mean accuracy of 20 of them, and the mean network's, near that of the stochastic forward pass."""
    data = load("digits")
    members = trials({"model.widths": [60, 40]}, epochs=15, batch_size=50, lr=0.05)
    (report,) = completed(Pack.start(members, data.inputs, data.classes), data)
    network, rng = network_of(report), generator(0, Purpose.ENSEMBLE)
    x, y = torch.tensor(data.test.x).float().t() / data.scale, torch.tensor(data.test.y)

    def accuracy(weights: list[Tensor]) -> float:
        return (outputs(weights, x).argmax(0) == y).double().mean().item()

    sampled = [accuracy(network.sample(rng)) for _ in range(20)]
    assert len(set(sampled)) > 1
    assert statistics.mean(sampled) == pytest.approx(report.metrics["test/accuracy"], abs=0.03)
    assert accuracy(network.mean()) == pytest.approx(report.metrics["test/accuracy"], abs=0.03)
    absent = Network(tuple(SpikeSlab(torch.ones_like(w.pi), w.m, w.xi) for w in network.layers))
    assert accuracy(absent.sample(rng)) < 0.2  # the weights did it
