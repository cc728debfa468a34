"""The frame: for any sweep and any terminal it fits, and says what counts."""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lca_sweep.sweep.drawing import frame, over_time, pace
from lca_sweep.sweep.pack_table import chosen
from lca_sweep.sweep.printing import ASCII_BARS, BARS
from lca_sweep.sweep.scene import BestScene, PackScene, Scene
from lca_sweep.sweep.sheet import Sheet

TEXT = st.text(max_size=40) | st.text(st.sampled_from("aé漢\x1b[31m\n\t\r\x07\u202e\u2028\ud800 "), max_size=120)
VALUES = st.floats(width=32) | st.floats(0, 1)
SECONDS = st.floats(0, 1e7)
COUNTS = st.integers(0, 2000)

packs = st.builds(
    PackScene,
    number=st.integers(0, 10**5),
    epoch=COUNTS,
    epochs=COUNTS,
    live=COUNTS,
    size=COUNTS,
    best=VALUES,
    host=st.just("") | TEXT,
)
bests = st.builds(BestScene, VALUES, COUNTS, COUNTS, st.booleans(), st.lists(TEXT, max_size=12))
scenes = st.builds(
    Scene,
    name=TEXT,
    metric=st.just("val/accuracy") | TEXT,
    total=COUNTS,
    maximize=st.booleans(),
    counts=st.dictionaries(st.sampled_from(["complete", "pruned", "failed"]), COUNTS),
    finals=st.tuples(COUNTS, COUNTS),
    elapsed=SECONDS,
    left=st.none() | SECONDS,
    rate=st.none() | st.floats(1e-6, 1e6),
    share=st.floats(0, 1),
    best=st.none() | bests,
    history=st.lists(st.tuples(SECONDS, VALUES), max_size=20).map(sorted),
    packs=st.lists(packs, max_size=120, unique_by=lambda pack: pack.number),
    trouble=st.just("") | TEXT,
    warnings=COUNTS,
    warned=TEXT,
)
sheets = st.builds(Sheet, st.integers(20, 200), st.integers(5, 60), st.sampled_from(["utf-8", "ascii", "iso8859-1"]))


def lines(scene: Scene, sheet: Sheet) -> list[str]:
    return [line.plain for line in frame(scene, sheet)]


@given(scenes, sheets)
def test_a_frame_fits(scene: Scene, sheet: Sheet) -> None:
    drawn = lines(scene, sheet)
    assert 3 <= len(drawn) <= sheet.height
    assert max(map(cell_len, drawn)) <= sheet.width
    for line in drawn:
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in line)
        line.encode(sheet.encoding)


@given(scenes, sheets)
def test_what_counts_is_always_there(scene: Scene, sheet: Sheet) -> None:
    scene = dataclasses.replace(scene, trouble="MLflow away")
    drawn = lines(scene, sheet)
    assert drawn[0].endswith("…" if sheet.fancy else "...") or f"{sum(scene.counts.values())} of " in drawn[0]
    assert drawn[-1] == "MLflow away"
    assert any(line.startswith("best") for line in drawn)
    assert not scene.packs or "pack" in "".join(drawn)


@given(scenes, sheets)
def test_each_pack_is_shown_or_counted(scene: Scene, sheet: Sheet) -> None:
    scene = dataclasses.replace(scene, metric="m", packs=[dataclasses.replace(one, host="") for one in scene.packs])
    drawn = lines(scene, sheet)
    numbers = {str(pack.number) for pack in scene.packs}
    head = [place for place, line in enumerate(drawn) if line.split()[:1] == ["pack"]]
    shown = 0
    if head:
        for line in drawn[head[0] + 1 :]:
            if line.split()[:1] == [] or line.split()[0] not in numbers:
                break
            shown += 1
    counted = [int(found[1]) for line in drawn if (found := re.match(r"(?:and )?(\d+) (?:more )?packs?\b", line))]
    assert shown + sum(counted) == len(scene.packs)


@given(scenes, st.integers(1, 20))
def test_the_leader_and_the_newest_are_shown(scene: Scene, count: int) -> None:
    there, shown = scene.packs, chosen(scene, count)
    assert len(shown) == min(count, len(there)) and [*shown] == sorted(shown, key=lambda pack: pack.number)
    begun = [pack for pack in there if pack.epoch and not math.isnan(pack.best)]
    if begun:
        best = (max if scene.maximize else min)(pack.best for pack in begun)
        assert any(pack.best == best and pack.epoch for pack in shown)
    if there and count > 1:
        assert max(pack.number for pack in there) in [pack.number for pack in shown]


MNIST = Scene(
    name="mnist",
    metric="val/accuracy",
    total=1000,
    counts={"complete": 112, "pruned": 780},
    elapsed=3725.0,
    left=400.0,
    rate=43.2,
    share=0.905,
    best=BestScene(0.9646, 8, 60, True, ["trainer.lr=0.164", "model.width=110", "model.depth=1", "init.spike=0.0625"]),
    history=[(10.0, 0.8), (600.0, 0.95), (3000.0, 0.9646)],
    packs=[
        PackScene(n, 10 + n if n < 11 else 0, 60, 4, 8, 0.96 - n / 100, f"worker-{n % 3}.cluster") for n in range(12)
    ],
)


def test_a_wide_frame() -> None:
    drawn = lines(MNIST, Sheet(100, 40))
    assert drawn[0] == "mnist: 892 of 1000 trials (112 complete, 780 pruned, 48 running)"
    assert drawn[1] == "━" * 48 + "─" * 6 + "  90 %"
    assert drawn[2] == "1:02:05  about 6 min 40 s left  43 trial-epochs/s"
    assert drawn[3].split() == ["pack", "epoch", "trials", "val/accuracy", "where"]
    assert drawn[4].split() == ["0", "10/60", "4/8", "0.9600", "worker-0"]
    assert drawn[15].split() == ["11", "0/60", "4/8", "starting", "worker-2"]
    assert drawn[16].startswith("best 0.9646  trial 8 at epoch 60  ▁")
    assert drawn[17:] == ["  trainer.lr=0.164 model.width=110 model.depth=1 init.spike=0.0625"]


def test_a_narrow_and_low_frame() -> None:
    assert lines(MNIST, Sheet(39, 12)) == [
        "mnist: 892 of 1000 trials",
        "1:02:05  about 6 min 40 s left",
        "pack  epoch  trials  val/accuracy",
        "   0  10/60     4/8        0.9600",
        "   6  16/60     4/8        0.9000",
        "   7  17/60     4/8        0.8900",
        "   8  18/60     4/8        0.8800",
        "   9  19/60     4/8        0.8700",
        "  10  20/60     4/8        0.8600",
        "  11   0/60     4/8      starting",
        "and 5 more packs, 20 trials on 3 hosts",
        "best 0.9646  trial 8 at epoch 60  ▁▃▃▃█",
    ]
    assert lines(MNIST, Sheet(20, 5)) == [
        "892 of 1000 trials",
        "1:02:05",
        "12 packs, 48 trials…",
        "best 0.9646  ▁▁▃▃▃▃█",
    ]


def test_one_place_is_not_worth_a_column() -> None:
    here = dataclasses.replace(MNIST, packs=[dataclasses.replace(pack, host="here") for pack in MNIST.packs])
    assert "where" not in " ".join(lines(here, Sheet(100, 40)))


def test_a_constraint_that_is_broken_is_told() -> None:
    best = dataclasses.replace(MNIST.best or BestScene(0, 0, 0), keeps=False)
    assert "breaks a constraint" in "\n".join(lines(dataclasses.replace(MNIST, best=best), Sheet(80, 24)))


@pytest.mark.parametrize(("rate", "words"), [(0.0213, "0.021"), (4.24, "4.2"), (9.96, "10"), (1234.4, "1234")])
def test_rates(rate: float, words: str) -> None:
    assert pace(rate) == words


# --- the spark-line ---


def climbing(values: Sequence[float], maximize: bool) -> Scene:
    best = sorted(values, reverse=not maximize)
    return dataclasses.replace(MNIST, maximize=maximize, elapsed=100.0, history=list(enumerate(best)))


NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=90)


@given(NUMBERS, st.booleans(), st.integers(1, 60), st.sampled_from(["utf-8", "ascii"]))
def test_the_best_never_gets_worse(values: list[float], maximize: bool, width: int, encoding: str) -> None:
    bars = BARS if encoding == "utf-8" else ASCII_BARS
    heights = [bars.index(bar) for bar in over_time(climbing(values, maximize), width, encoding)]
    assert len(heights) == width
    assert heights == sorted(heights, reverse=not maximize)
    shown = heights[0] != heights[-1]
    assert not shown or {heights[0], heights[-1]} == {0, len(bars) - 1}


@given(NUMBERS, st.integers(2, 60))
def test_a_line_that_falls_mirrors_one_that_rises(values: list[float], width: int) -> None:
    up = over_time(climbing(values, True), width)
    down = over_time(climbing([-value for value in values], False), width)
    if len(set(up)) > 1:  # else there is nothing to see, and both are flat
        assert all(abs(BARS.index(a) + BARS.index(b) - len(BARS) + 1) <= 1 for a, b in zip(up, down, strict=True))


@given(NUMBERS, st.integers(1, 60), st.integers(-8, 8))
def test_the_unit_does_not_matter(values: list[float], width: int, power: int) -> None:
    scaled = [value * 2.0**power for value in values]
    assert over_time(climbing(values, True), width) == over_time(climbing(scaled, True), width) or max(values) == min(
        values
    )


def test_late_steps_are_seen() -> None:
    """Linear bars would show 0.10, 0.95, 0.96, 0.97 as one step, and a line."""
    scene = dataclasses.replace(MNIST, elapsed=100.0, history=[(0, 0.1), (20, 0.95), (50, 0.96), (80, 0.97)])
    assert len(set(over_time(scene, 10))) == 4


@given(st.lists(st.floats(), max_size=10), st.integers(1, 60))
def test_what_is_no_number_is_a_gap(values: list[float], width: int) -> None:
    scene = dataclasses.replace(MNIST, history=[(float(place), value) for place, value in enumerate(values)])
    line = over_time(scene, width)
    assert len(line) == width and (not values or (line[-1] == " ") == (not math.isfinite(values[-1])))
