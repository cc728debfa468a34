"""Only what is recorded of every trial, and not of test images, can be aimed for."""

from __future__ import annotations

import pytest
from core_strategies import CLASSES, INPUTS, made_up, trials
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.config import Config, KnobError, Search
from lca_sweep.core import Pack, fit
from lca_sweep.core.knobs import Model, Prior, Trainer
from lca_sweep.core.recorded import ALWAYS, TEST, of_weights
from lca_sweep.search.aims import check_goal
from lca_sweep.search.space import Space


@pytest.mark.parametrize(("algorithm", "depth"), [("gbp", 1), ("gbp", 3), ("bp", 2)])
def test_the_names_are_those_that_are_recorded(algorithm: str, depth: int) -> None:
    members = trials({"trainer.algorithm": algorithm, "model.depth": depth, "model.widths": None}, epochs=1)
    (report,) = fit(Pack.start(members, INPUTS, CLASSES), made_up())
    expected = {*ALWAYS, *TEST, *(of_weights(depth + 1) if algorithm == "gbp" else ())}
    assert report.trials[0].metrics.keys() == expected


def check(objectives: list[str], space: Space | None = None, **more: object) -> None:
    config = Config(search=Search(objectives=objectives), **more)  # type: ignore[arg-type]
    check_goal(config, Space(space or {}))


@pytest.mark.parametrize("metric", ["val/accuracy", "val/loss", "train/loss", *of_weights(3)])
def test_what_all_trials_have(metric: str) -> None:
    check([f"minimize {metric}"])
    check_goal(Config(search=Search(constraints=[f"{metric} >= 0.1", f"{metric} <= 0.5"])), Space())


SEARCHED = Space({"trainer.algorithm": CategoricalDistribution(["gbp", "bp"])})


@pytest.mark.parametrize(
    ("words", "space", "more", "line"),
    [
        (["maximize val/acuracy"], {}, {}, "val/acuracy: no such metric; did you mean 'val/accuracy'?"),
        (["maximize test/accuracy"], {}, {}, "test/accuracy: test images steer nothing; must be of training or"),
        (["maximize val/loss", "minimize val/loss"], {}, {}, "val/loss: val/loss is named twice; name it once"),
        (
            ["minimize weights/vip_fraction"],
            {},
            {"trainer": Trainer(algorithm="bp")},
            "weights/vip_fraction: weights have no distribution with trainer.algorithm=bp; must be one of train/loss",
        ),
        (["minimize layer1/entropy"], SEARCHED, {}, "layer1/entropy: weights have no distribution with trainer."),
        (
            ["minimize layer3/entropy"],
            {"model.depth": IntDistribution(1, 3)},
            {},
            "layer3/entropy: not every network has that layer; must be one of layer1 to layer2",
        ),
        (["minimize layer5/entropy"], {}, {"model": Model(widths=[9, 9, 9])}, "layer5/entropy: not every network has"),
        (["minimize train/prior"], {}, {}, "train/prior: it is 0 while prior.weight=0"),
    ],
)
def test_what_cannot_be_told_of_every_trial_is_refused(
    words: list[str], space: Space, more: dict[str, object], line: str
) -> None:
    with pytest.raises(KnobError) as caught:
        check(words, space, **more)
    assert str(caught.value).startswith(f"search.objectives={words[0].split()[0]} {line}")
    assert "\n" not in str(caught.value)


def test_constraints_are_checked_too() -> None:
    for word in ("test/loss <= 1", "val/los <= 1", "layer9/entropy <= 1"):
        with pytest.raises(KnobError, match=r"^search.constraints="):
            check_goal(Config(search=Search(constraints=[word])), Space())
    with pytest.raises(KnobError, match="is named twice"):
        check_goal(Config(search=Search(constraints=["val/loss <= 1", "val/loss <= 2"])), Space())


def test_the_prior_may_be_aimed_for_where_there_is_one() -> None:
    check(["minimize train/prior"], prior=Prior(weight=1.0))
    check(["minimize train/prior"], {"prior.weight": FloatDistribution(0, 1)})
