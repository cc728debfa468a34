"""What is said of the paper's claims, and which trials count."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import report_helpers as made
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core.perturbation import ARMS
from lca_sweep.report import reference
from lca_sweep.report.claims import ACCURACY, AGAINST, NO_REFERENCE, UNTOLD, Claim, claims, damage, hold, judge, which
from lca_sweep.report.intervals import Sample, sample
from lca_sweep.report.reference import is_paper, paper_trials
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.seeds import settings


def found(result: SweepResult, text: str) -> Claim:
    """The only claim with this text in it."""
    [claim] = [claim for claim in claims(result) if text in claim.text]
    return claim


def changed(result: SweepResult, change: Any) -> SweepResult:
    """The sweep with each gBP trial changed."""
    trials = [change(t) if t.params.get("trainer.algorithm") == "gbp" else t for t in result.trials]
    return dataclasses.replace(result, trials=tuple(trials))


def with_last(trial: TrialResult, metric: str, value: float) -> TrialResult:
    return dataclasses.replace(trial, history={**trial.history, metric: made.series([value])})


def test_the_reference_reproduces_itself() -> None:
    rows = claims(made.paper())
    assert len(rows) == 23
    assert {claim.verdict for claim in rows if claim.about != AGAINST} == {"reproduced"}
    assert [claim.told for claim in rows if claim.about == AGAINST] == ["gBP is better"]


def test_numbers_are_those_of_the_trials() -> None:
    result = made.paper()
    accuracy = found(result, "stochastic pass")
    assert accuracy.measured and accuracy.measured.mean == pytest.approx(np.mean(made.ACCURACY))
    assert accuracy.reference and accuracy.reference.sd == pytest.approx(0.0036, abs=5e-5)
    scores = [t.analysis.ensemble for t in result.trials[:5] if t.analysis]
    subnetworks = found(result, "sub-networks")
    assert subnetworks.measured
    assert subnetworks.measured.mean == pytest.approx(100 - 100 * np.mean([s.subnetworks for s in scores]))
    vip = found(result, "layer 3, all VIP")
    assert vip.measured and vip.measured.mean == pytest.approx(14.7) and vip.unit == "%"


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("test/accuracy", 0.97, "stochastic pass, test"),
        ("test/accuracy", 0.90, "stochastic pass, test"),
        ("layer2/uip_fraction", 0.3, "UIP fraction, layer 2"),
        ("layer1/entropy", 0.05, "layer 1"),
    ],
)
def test_a_number_that_is_far_off_is_not_reproduced(metric: str, value: float, text: str) -> None:
    steps = iter((-1e-3, -5e-4, 0, 5e-4, 1e-3))
    result = changed(made.paper(bp=False), lambda trial: with_last(trial, metric, value + next(steps)))
    assert [claim.verdict for claim in claims(result) if claim.text == text] == ["not reproduced"]


@given(st.lists(st.floats(0.93, 0.97), min_size=1, max_size=8))
def test_rule_of_a_number(values: Sequence[float]) -> None:
    """Written out: pooled variance, three standard errors, and no verdict on seeds that spread too much."""
    n, m = len(values), len(reference.ACCURACY)
    squares = sum((v - np.mean(values)) ** 2 for v in values) + np.var(reference.ACCURACY) * m
    error = np.sqrt(squares / (n + m - 2) * (1 / n + 1 / m))
    off = abs(np.mean(values) - np.mean(reference.ACCURACY))
    if abs(off - 3 * error) < 1e-12:
        return
    verdict = judge(sample(values), ACCURACY)
    if off > 3 * error:
        assert verdict == "not reproduced"
    elif n > 1 and np.std(values, ddof=1) > 3 * np.std(reference.ACCURACY, ddof=1):
        assert verdict.startswith(UNTOLD + "the seeds spread")
    else:
        assert verdict == "reproduced"


def test_one_seed() -> None:
    """Is judged by the reference's spread; against one network without a spread nothing can be told."""
    result = made.paper(seeds=1, bp=False)
    assert found(result, "stochastic pass").verdict == "reproduced"
    assert found(result, "mean network").verdict == "reproduced"
    assert found(result, "layer 1, all VIP").verdict == UNTOLD + "one seed against one network, no spread is known"
    assert judge(Sample(0.93, float("nan"), 1), ACCURACY) == "not reproduced"


def test_rounding_of_the_reference_is_allowed_for() -> None:
    same, one = Sample(5.12, 0.0, 5), Sample(5.1, float("nan"), 1)
    assert (judge(same, one, 0.05), judge(same, one, 0.005)) == ("reproduced", "not reproduced")
    five = iter([12.34] * 5 + [12.36] * 5 + [0.394] * 5 + [0.396] * 5)
    for text, expected in (("layer 1, all VIP", "reproduced"), ("layer 1, all VIP", "not reproduced")):
        study = [(next(five), *made.DAMAGE[0][1:]) for _ in range(5)]
        assert found(perturbed(made.paper(bp=False), *study), text).verdict == expected
    for expected in ("reproduced", "not reproduced"):
        result = changed(made.paper(bp=False), lambda trial: with_last(trial, "layer2/entropy", next(five)))
        assert [claim.verdict for claim in claims(result) if claim.text == "layer 2"] == [expected]


def mean_networks(result: SweepResult, *errors: float) -> SweepResult:
    """Trials one by one with these test errors, in percent, of the mean network."""
    each = iter(errors)

    def change(trial: TrialResult) -> TrialResult:
        assert trial.analysis
        score = dataclasses.replace(trial.analysis.ensemble, mean_network=1 - next(each) / 100)
        return dataclasses.replace(trial, analysis=dataclasses.replace(trial.analysis, ensemble=score))

    return changed(result, change)


def test_the_spread_that_an_ensemble_number_borrows_is_weighed_by_its_seeds() -> None:
    """Written out: the variance of five stochastic passes has four degrees of freedom, that of two networks one."""
    for shift in np.linspace(0, 3, 31):
        error = reference.MEAN_NETWORK + shift
        result = mean_networks(made.paper(seeds=2, bp=False), error - 0.1, error + 0.1)
        variance = (4 * 1e4 * np.var(reference.ACCURACY, ddof=1) + 1 * 0.02) / 5
        expected = shift <= 3 * np.sqrt(variance * (1 / 2 + 1)) + 0.005
        assert found(result, "mean network").verdict == ("reproduced" if expected else "not reproduced"), shift


def test_seeds_that_were_not_looked_into_are_told() -> None:
    result = made.paper(bp=False)
    bare = tuple(dataclasses.replace(t, analysis=None) if t.number > 2 else t for t in result.trials)
    rows = claims(dataclasses.replace(result, trials=bare))
    notes = {claim.text: (claim.note, claim.measured.count) for claim in rows if claim.measured}
    assert notes["test error, layer 3, all VIP deleted"] == ("3 of 5 seeds", 3)
    assert notes["test error of the mean network"][0].startswith("3 of 5 seeds; the reference is one network")
    assert notes["stochastic pass, test"] == ("", 5)


@given(st.lists(st.booleans(), min_size=1))
def test_rule_of_a_statement(each: list[bool]) -> None:
    expected = {len(each): "yes", 0: "no"}.get(sum(each), f"{UNTOLD}holds for {sum(each)} of {len(each)} seeds")
    assert hold(each, "yes", "no") == expected


def perturbed(result: SweepResult, *errors: Sequence[float]) -> SweepResult:
    """Trials one by one with these test errors of layer 1."""
    each = iter(errors)

    def change(trial: TrialResult) -> TrialResult:
        study = made.perturbed(0, damage=(next(each), *made.DAMAGE[1:]))
        assert trial.analysis
        return dataclasses.replace(trial, analysis=dataclasses.replace(trial.analysis, perturbation=study))

    return changed(result, change)


def test_vip_weights_must_do_twice_the_harm_of_every_control() -> None:
    result, text = made.paper(seeds=2, bp=False), "at least doubles"
    good, bad = (12.0, 5.0, 5.9, 5.0), (12.0, 5.0, 6.1, 5.0)
    better = (13.0, 5.0, 5.9, 5.0)
    assert found(perturbed(result, good, good), text).verdict == "reproduced"
    assert found(perturbed(result, bad, bad), text).verdict == "not reproduced"
    assert found(perturbed(result, good, bad), text).verdict == "reproduced", "on average: 12 and 6"
    mixed = found(perturbed(result, better, bad), text)
    assert mixed.verdict == "reproduced" and "for 1 of 2 seeds" in mixed.note
    assert mixed.measured and mixed.measured.mean == pytest.approx(25 / 12), "what is judged is what is shown"
    assert mixed.measured.sd == pytest.approx(np.std([13 / 5.9, 12 / 6.1], ddof=1))
    assert mixed.reference and mixed.reference.mean == pytest.approx(12.3 / 5.4)


def test_perturbation_that_tells_nothing() -> None:
    study = made.perturbed(0)
    half = dataclasses.replace(study, fractions=study.fractions[:6], accuracy=study.accuracy[:, :, :6])
    none = dataclasses.replace(study, changed=study.changed * np.array([0, 1, 1, 1])[:, None])
    assert damage(study, 7) is None and damage(half, 1) is None
    assert damage(study, 1) == pytest.approx(dict(zip(ARMS, made.DAMAGE[0], strict=True)))

    def one(*studies: Any) -> str:
        each = iter(studies)

        def change(trial: TrialResult) -> TrialResult:
            assert trial.analysis
            return dataclasses.replace(trial, analysis=dataclasses.replace(trial.analysis, perturbation=next(each)))

        return found(changed(made.paper(seeds=len(studies), bp=False), change), "at least doubles").verdict

    assert one(half) == UNTOLD + "not all of layer 1 was tried"
    assert one(none) == one(study, none) == UNTOLD + "layer 1 has no VIP weights"
    assert one(None) == UNTOLD + "no weights were perturbed"


def test_entropy_must_be_highest_inside() -> None:
    result = changed(made.paper(bp=False), lambda trial: with_last(trial, "layer3/entropy", 0.5))
    assert found(result, "highest in a layer between").verdict == "not reproduced"


def test_entropy_may_be_highest_in_any_layer_inside() -> None:
    for highest, verdict in ((1, "not seen"), (2, "seen"), (3, "seen"), (4, "not seen")):
        result = made.sizes()
        for layer in range(1, 5):
            value = float(layer == highest)
            trials = tuple(with_last(trial, f"layer{layer}/entropy", value) for trial in result.trials)
            result = dataclasses.replace(result, trials=trials)
        assert found(result, "highest in a layer between").verdict == verdict


def test_without_analysis_or_history() -> None:
    bare = changed(made.paper(bp=False, analysed=False), lambda trial: dataclasses.replace(trial, history={}))
    assert {claim.told for claim in claims(bare)} == {"cannot be told"}


@pytest.mark.parametrize(
    ("params", "counts"),
    [
        ({}, True),
        ({"init.seed": 9, "trainer.batch_seed": 3}, True),
        ({"prior.spike": 0.9}, True),  # without effect at prior.weight=0
        ({"model.widths": [100, 100], "model.width": 7}, True),
        ({"trainer.train_size": 10_000}, True),
        ({"trainer.train_size": 60_000}, True),  # more than there are
        ({"trainer.train_size": 5_000}, False),
        ({"trainer.lr": 0.05}, False),
        ({"trainer.epochs": 60}, False),
        ({"prior.weight": 0.1}, False),
        ({"init.spike": 0.1}, False),
        ({"model.depth": 3}, False),
        ({"model.widths": [100]}, False),
        ({"trainer.batch_size": 200}, False),
        ({"trainer.algorithm": "bp"}, False),
        ({"trainer.category_tolerance": 0.01}, False),  # other categories
    ],
)
def test_which_trials_ran_the_papers_setting(params: dict[str, Any], counts: bool) -> None:
    trial = made.trial(0, 0.95, params)
    result = made.sweep([trial])
    assert is_paper(result, trial) is counts
    assert bool(paper_trials(result)) is counts
    other = dataclasses.replace(made.MNIST, name="fashion_mnist")
    assert not is_paper(dataclasses.replace(result, data=other), trial)
    full = dataclasses.replace(made.MNIST, name="mnist_full", images=(55_000, 5_000, 10_000))
    first = params.get("trainer.train_size") == 10_000  # the same images
    assert is_paper(dataclasses.replace(result, data=full), trial) is first


def test_same_seeds_count_once_and_only_complete_trials_count() -> None:
    twice = [made.trial(number, 0.95, {"init.seed": 1}) for number in range(2)]
    other = made.trial(2, 0.95, {"init.seed": 2}, state="failed", value=None)
    result = made.sweep([*twice, other])
    assert [trial.number for trial in paper_trials(result)] == [0]
    [setting] = settings(result)
    assert [trial.number for trial in setting.trials] == [0], "the same number twice is no spread"
    assert which(result).endswith("seeds): 0.")


def test_other_settings_have_no_reference() -> None:
    rows = claims(made.sizes())
    ours = [claim for claim in rows if claim.about == "entropy"]
    assert [(claim.verdict, claim.note) for claim in ours] == [("seen", NO_REFERENCE)]
    assert which(made.sizes()).endswith(f"the best one (train_size 10000). There is {NO_REFERENCE}.")


def test_nothing_to_claim() -> None:
    assert claims(made.sweep([])) == []
    bp = [trial for trial in made.paper().trials if trial.params["trainer.algorithm"] == "bp"]
    assert claims(made.sweep(bp)) == []


def test_gbp_against_bp() -> None:
    def verdict(ours: Sequence[float], theirs: Sequence[float]) -> list[str]:
        trials = [
            made.trial(number, value, {"trainer.algorithm": name, "init.seed": seed, "trainer.lr": 0.05})
            for number, (name, seed, value) in enumerate(
                [("gbp", s, v) for s, v in enumerate(ours)] + [("bp", s, v) for s, v in enumerate(theirs)]
            )
        ]
        return [claim.verdict for claim in claims(made.sweep(trials)) if claim.about == AGAINST]

    assert verdict([0.95, 0.951], [0.90, 0.901])[0].startswith("gBP is better: +5.00 ±")
    assert verdict([0.90, 0.901], [0.95, 0.951])[0].startswith("gBP is worse: -5.00 ±")
    assert verdict([0.95, 0.96], [0.95, 0.961])[0].startswith("no difference is seen")
    assert verdict([0.95, 0.96, 0.97], [0.932, 0.942, 0.952])[0] == "no difference is seen: +1.80 ± 2.27 points"
    assert verdict([0.95], [0.90, 0.901])[0].startswith(UNTOLD)
    assert verdict([0.95, 0.95], [0.96, 0.96])[0] == UNTOLD + "-1.00 points, no spread is known"
    assert verdict([0.95], []) == []


def test_only_complete_trials_are_compared() -> None:
    running = [
        dataclasses.replace(trial, state="running", value=None) if trial.params["trainer.algorithm"] == "bp" else trial
        for trial in made.paper().trials
    ]
    result = dataclasses.replace(made.paper(), trials=tuple(running))
    assert [setting.label for setting in settings(result)] == ["gBP", "BP"]
    assert [claim for claim in claims(result) if claim.about == AGAINST] == []


def test_statements_without_a_reference_are_about_the_best_setting_of_gbp() -> None:
    trials = [
        made.trial(0, 0.95, {"trainer.algorithm": "bp", "trainer.lr": 0.05}, history=made.history(0.95, 0, bp=True)),
        made.trial(1, 0.90, {"trainer.algorithm": "gbp", "trainer.lr": 0.05}, analysis=made.analysis(0)),
        made.trial(2, 0.93, {"trainer.algorithm": "gbp", "trainer.lr": 0.06}, analysis=made.analysis(0)),
    ]
    weak = dataclasses.replace(trials[1].analysis, perturbation=made.perturbed(0, damage=[(5, 5, 5, 5)] * 3))  # type: ignore[type-var]
    trials[1] = dataclasses.replace(trials[1], analysis=weak)
    assert [(claim.about, claim.verdict) for claim in claims(made.sweep(trials)) if claim.about != AGAINST] == [
        ("perturbation", "seen"),
        ("entropy", "seen"),
    ]


def test_only_settings_that_differ_in_nothing_else_are_compared() -> None:
    trials = [
        made.trial(0, 0.95, {"trainer.algorithm": "gbp", "trainer.lr": 0.1}),
        made.trial(1, 0.9, {"trainer.algorithm": "bp", "trainer.lr": 0.2}),
    ]
    assert [claim for claim in claims(made.sweep(trials)) if claim.about == AGAINST] == []
