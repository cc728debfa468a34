"""A trained network in use: whatever numbers the pixels come as, the answer is the same; what is wrong is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from core_strategies import packs, seeds, trials
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core import Network, Pack, SpikeSlab, fit, load
from lca_sweep.core.classifier import Classifier
from lca_sweep.core.ensemble import predict
from lca_sweep.core.errors import UserError
from lca_sweep.core.network import outputs
from lca_sweep.core.rng import Purpose, generator

ABOUT = {"data": {"name": "digits", "scale": 16.0}, "knobs": {"init.seed": 5}}


def network(widths: list[int], seed: int = 0) -> Network:
    """An untrained one that has doubts."""
    rng = torch.Generator().manual_seed(seed)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return Network(tuple(SpikeSlab(*(torch.rand(s, generator=rng) for _ in range(3))) for s in shapes))


CLASSIFIER = Classifier(network([6, 5, 3]), 16.0, 5)
PIXELS = np.array([[0, 16, 3, 4, 5, 6], [1, 0, 1, 0, 1, 0], [16, 16, 16, 16, 16, 16]])


# --- sub-networks --------------------------------------------------------------------------------------------------


@given(packs(), seeds, st.integers(1, 7), st.integers(1, 4))
def test_prediction_is_that_of_sub_networks_one_by_one(pack: Pack, seed: int, draws: int, images: int) -> None:
    one = pack.network(pack.trials[0].number)
    x = torch.rand(pack.inputs, images, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rng = torch.Generator().manual_seed(seed)
    each = torch.stack([outputs(one.sample(rng), x).softmax(0).t() for _ in range(draws)])
    mean, std = predict(one, x.t(), draws, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(mean, each.mean(0), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(std, each.std(0, correction=0), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(mean.sum(1), torch.ones(images, dtype=torch.float64))


# --- pixels --------------------------------------------------------------------------------------------------------


def kinds() -> dict[str, Any]:
    types = ("uint8", "int8", "int16", "uint32", "int64", "float16", "float32", "float64", "object")
    return {
        **{name: PIXELS.astype(name) for name in types},
        "Fortran": np.asfortranarray(PIXELS),
        "lists": PIXELS.tolist(),
        "JSON": json.loads(json.dumps(PIXELS.astype(float).tolist())),
        "tensor": torch.tensor(PIXELS),
        "data frame": pd.DataFrame(PIXELS),
        "data frame of types": pd.DataFrame({"a": PIXELS[:, 0].astype("uint8"), **dict(enumerate(PIXELS.T[1:] * 1.0))}),
    }


@pytest.mark.parametrize("kind", kinds())
def test_any_numbers(kind: str) -> None:
    answer, expected = CLASSIFIER.probabilities(kinds()[kind]), CLASSIFIER.probabilities(PIXELS)
    assert answer.keys() == {"probability", "std"}
    for name in answer:
        assert answer[name].shape == (3, 3) and np.array_equal(answer[name], expected[name])
    assert np.allclose(answer["probability"].sum(1), 1) and (answer["std"] > 0).all()


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (PIXELS[:, :5], r"pixels: of shape \(3, 5\); must be \(images, 6\)"),
        (PIXELS[0], r"pixels: of shape \(6,\); must be \(images, 6\)"),
        (PIXELS[None], r"pixels: of shape \(1, 3, 6\); must be \(images, 6\)"),
        ([], r"pixels: of shape \(0,\); must be"),
        (PIXELS + 1, "pixels: 17 is among them; must be from 0 to 16"),
        (PIXELS - 0.5, "pixels: -0.5 is among them"),
        (PIXELS * np.nan, "pixels: nan is among them"),
        ([[0] * 6, [0] * 5], r"pixels: must be numbers in an array of shape \(images, 6\)"),
        ([["a"] * 6], "pixels: of type <U1; must be numbers"),
        ([["1"] * 6], "pixels: of type <U1; must be numbers"),
        (PIXELS * 1j, "pixels: of type complex128; must be numbers"),
        (None, "pixels: "),
        ({"inputs": PIXELS.tolist()}, "pixels: "),
    ],
)
def test_what_is_no_image_is_refused_in_a_line(pixels: Any, says: str) -> None:
    with pytest.raises(UserError, match=f"^{says}") as caught:
        CLASSIFIER.probabilities(pixels)
    assert "\n" not in str(caught.value)


def test_pixels_that_were_scaled_already_are_told_of_once() -> None:
    """The warning names whoever asked, and is no error."""
    model = Classifier(network([6, 5, 3]), 16.0, 5)
    with pytest.warns(UserWarning, match=r"none is above 1, but .* from 0 to 16; do not scale them$") as caught:
        first = model.probabilities(PIXELS / 16)
        for again in (PIXELS / 16, PIXELS > 8, PIXELS):
            model.probabilities(again)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert first["probability"].shape == (3, 3)


def test_what_may_be_so_is_not_warned_of() -> None:
    """Warnings are errors here: black images, one pixel above 1, and data whose pixels are shares of 1."""
    black = np.zeros((2, 6))
    for pixels in (black, black + np.eye(6)[:2] * 1.5, black[:0]):
        Classifier(network([6, 5, 3]), 16.0, 5).probabilities(pixels)
    Classifier(network([6, 5, 3]), 1.0, 5).probabilities(black + 0.5)


def test_no_images_have_no_answers() -> None:
    answer = CLASSIFIER.probabilities(np.empty((0, 6)))
    assert answer["probability"].shape == answer["std"].shape == (0, 3)


def test_draws_and_seed() -> None:
    """The trial's own seed unless told otherwise; the same seed gives the same answer."""
    first = CLASSIFIER.probabilities(PIXELS)["probability"]
    assert np.array_equal(first, CLASSIFIER.probabilities(PIXELS, seed=5, draws=100)["probability"])
    assert not np.array_equal(first, CLASSIFIER.probabilities(PIXELS, seed=6)["probability"])
    assert (CLASSIFIER.probabilities(PIXELS, draws=1)["std"] == 0).all()
    x = torch.tensor(PIXELS).float() / 16
    mean, std = predict(CLASSIFIER.network, x, 20, generator(1, Purpose.ENSEMBLE))
    answer = CLASSIFIER.probabilities(PIXELS, draws=20, seed=1)
    np.testing.assert_allclose(answer["probability"], mean.numpy())
    np.testing.assert_allclose(answer["std"], std.numpy())
    for wrong in ({"draws": 0}, {"seed": -1}):
        ((name, value),) = wrong.items()
        with pytest.raises(UserError, match=f"^{name}={value}: must be >= "):
            CLASSIFIER.probabilities(PIXELS, **wrong)


def test_the_example_is_an_image() -> None:
    example = CLASSIFIER.example()
    assert example.dtype == np.uint8 and example.shape == (1, 6) and (example.min(), example.max()) == (0, 16)
    CLASSIFIER.probabilities(example)


# --- a trial's folder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "scale"),
    [({"name": "digits", "scale": 16.0}, 16), ({"name": "mnist"}, 255), ({"name": "mine", "scale": 3}, 3)],
)
def test_loads_what_a_trial_leaves(data: dict[str, Any], scale: float, tmp_path: Path) -> None:
    """Also of a time when trial.json told the data's name only."""
    CLASSIFIER.network.save(tmp_path, ABOUT | {"data": data})
    loaded = Classifier.load(tmp_path)
    assert (loaded.scale, loaded.seed) == (scale, 5) and loaded.network.widths == (6, 5, 3)


@pytest.mark.parametrize("about", [{}, {"data": {"name": "mine"}, "knobs": {"init.seed": 0}}, ABOUT | {"knobs": {}}])
def test_a_trial_that_does_not_tell_enough(about: dict[str, Any], tmp_path: Path) -> None:
    CLASSIFIER.network.save(tmp_path, about)
    with pytest.raises(UserError, match=r"trial\.json does not tell of the data and the seed: KeyError"):
        Classifier.load(tmp_path)


def test_a_folder_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no network can be read there"):
        Classifier.load(tmp_path)


def test_a_trained_one_classifies_and_knows_where_it_errs(tmp_path: Path) -> None:
    """At least as often right as the stochastic pass, for many are averaged; its doubt is larger where it is wrong."""
    data = load("digits")
    members = trials({"model.widths": [60, 40]}, epochs=15, batch_size=50, lr=0.05)
    *_, last = fit(Pack.start(members, data.inputs, data.classes), data)
    (report,) = last.trials
    assert report.network is not None
    report.network.save(tmp_path, ABOUT)
    answer = Classifier.load(tmp_path).probabilities(data.test.x)
    right = answer["probability"].argmax(1) == data.test.y
    assert right.mean() >= report.metrics["test/accuracy"] > 0.9
    assert answer["std"].max(1)[~right].mean() > 2 * answer["std"].max(1)[right].mean()
