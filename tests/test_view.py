"""What a person sees: true, short, and never in the way."""

from __future__ import annotations

import dataclasses
import io
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from lca_sweep.config import Config, Pack, Pruner, Sweep
from lca_sweep.core.knobs import Trainer
from lca_sweep.core.objective import Goal, Objective
from lca_sweep.search.rows import Row
from lca_sweep.sweep.outcome import failures
from lca_sweep.sweep.sheet import Sheet
from lca_sweep.sweep.telling import results
from lca_sweep.sweep.view import View
from lca_sweep.sweep.words import duration, number, params_line

OBJECTIVE = "val/accuracy"
PARAMS = {"trainer.lr": 0.0123456, "model.width": 120, "trainer.algorithm": "gbp"}
KNOBS = "trainer.lr=0.0123 model.width=120 trainer.algorithm=gbp"


class Clock:
    """Time that passes when one says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr("lca_sweep.sweep.view.time.monotonic", clock)
    yield clock


class Terminal(io.StringIO):
    """A file that says that it is one."""

    def isatty(self) -> bool:
        return True


def view(terminal: bool = False, width: int = 200, trials: int = 8, epochs: int = 4, pruner: str = "none") -> View:
    config = Config(
        sweep=Sweep(name="s", trials=trials),
        pack=Pack(size=4),
        trainer=Trainer(epochs=epochs),
        pruner=Pruner(pruner, 2, 1),
    )
    file = Terminal() if terminal else io.StringIO()
    console = Console(file=file, width=width, height=24, force_terminal=terminal, highlight=False, color_system=None)
    return View("s", config, console)


def text(one: View) -> str:
    assert isinstance(one.console.file, io.StringIO)
    return one.console.file.getvalue()


def row(number: int, state: str = "running", value: float | None = None) -> Row:
    return Row(number, state, PARAMS, {4: value} if value is not None else {}, value, number // 4, "")


def report(epoch: int, states: Mapping[int, str], reason: str = "") -> dict[str, Any]:
    trials = [
        {
            "trial": n,
            "state": state,
            "metrics": {OBJECTIVE: n / 100 + epoch / 10},
            "reason": reason if state == "failed" else "",
        }
        for n, state in states.items()
    ]
    return {"epoch": epoch, "trials": trials}


def drawn(one: View, width: int) -> list[str]:
    return [line.plain for line in one.render(Sheet(width, 24))]


def test_lines_where_there_is_no_terminal(clock: Clock) -> None:
    one = view()
    with one:
        one.begin([])
        one.pack_started(0, [row(n) for n in range(4)])
        clock.now += 65
        one.pack_reported(
            0, report(1, {0: "pruned", 1: "failed", 2: "running", 3: "running"}, "val/loss is nan at epoch 1")
        )
        one.pack_reported(0, report(2, {2: "running", 3: "running"}))
        one.pack_reported(0, report(4, {2: "complete", 3: "complete"}))
    lines = [re.sub(r"^\[ *([\d:]+)\] ", r"\1 ", line) for line in text(one).splitlines()]
    assert lines == [
        "0:00 pack 0 starts: trials 0 to 3",
        f"1:05 trial 0 pruned at epoch 1: {OBJECTIVE} 0.1000",
        "1:05 trial 1 failed at epoch 1: val/loss is nan",
        f"1:05 best: 0.1300, trial 3 at epoch 1  {KNOBS}",
        f"1:05 trial 2 complete at epoch 4: {OBJECTIVE} 0.4200",
        f"1:05 trial 3 complete at epoch 4: {OBJECTIVE} 0.4300",
        f"1:05 best: 0.4300, trial 3 at epoch 4  {KNOBS}",
        "1:05 pack 0 ends: 2 complete, 1 pruned, 1 failed; in all 4 of 8 trials (2 complete, 1 pruned, 1 failed), "
        "about 1 min 5 s left",
    ]
    assert "\x1b" not in text(one)


def test_lines_are_not_folded_nor_read_as_markup() -> None:
    one = view(width=40)
    with one:
        one.say("[bold]x[/bold] " + "word " * 30)
    assert text(one) == "[bold]x[/bold] " + "word " * 30 + "\n"


def test_a_report_told_again_is_said_and_counted_once(clock: Clock) -> None:
    """A pack that goes on after its process died repeats its reports."""
    one = view()
    with one:
        one.pack_started(0, [row(n) for n in range(4)])
        for _ in range(3):
            one.pack_reported(0, report(1, {0: "pruned", 1: "running", 2: "running", 3: "running"}))
    assert text(one).count("trial 0 pruned") == 1
    assert one.headline().startswith("1 of 8 trials (1 pruned)")


def test_what_the_study_held_before_counts(clock: Clock) -> None:
    one = view()
    one.begin([row(0, "complete", 0.5), row(1, "complete", 0.75), row(2, "pruned"), row(3, "failed"), row(4)])
    with one:
        assert one.headline().startswith("4 of 8 trials (2 complete, 1 pruned, 1 failed)")
        assert (
            one.best_line()
            == "best: 0.7500, trial 1 at epoch 4  trainer.lr=0.0123 model.width=120 trainer.algorithm=gbp"
        )


def test_the_best_of_none() -> None:
    assert view().best_line() == "best: none yet"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits(clock: Clock, width: int) -> None:
    one = view()
    with one:
        for pack in range(2):
            one.pack_started(pack, [row(n) for n in range(4 * pack, 4 * pack + 4)])
        clock.now += 30
        one.pack_reported(0, report(1, {0: "pruned", 1: "running", 2: "running", 3: "running"}))
        lines = drawn(one, width)
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith("s: 1 of 8 trials")
    cells = [line.split() for line in lines]
    assert ["pack", "epoch", "trials", OBJECTIVE] in cells
    assert ["0", "1/4", "3/4", "0.1300"] in cells
    assert ["1", "0/4", "4/4", "starting"] in cells
    assert any(line.startswith("best 0.1300  trial 3 at epoch 1") for line in lines)


def test_a_live_table_in_a_terminal(clock: Clock) -> None:
    one = view(terminal=True, width=80)
    with one:
        one.pack_started(0, [row(0)])
        one.say("a line that stays")
    assert "a line that stays" in text(one) and "starting" in text(one)
    assert "pack 0 starts" not in text(one)


def test_a_pack_that_failed_leaves_the_table(clock: Clock) -> None:
    one = view()
    with one:
        one.pack_started(0, [row(n) for n in range(4)])
        one.pack_failed(0, [0, 1, 2, 3], "out of memory")
        assert "pack 0 failed: out of memory" in text(one)
        assert one.headline().startswith("4 of 8 trials (4 failed)") and not one.packs


def test_a_pack_that_goes_on_otherwise_leaves_the_table_and_its_trials_stay_open(clock: Clock) -> None:
    one, live = view(), dict.fromkeys(range(4), "running")
    with one:
        one.pack_started(0, [row(n) for n in range(4)])
        one.pack_reported(0, report(1, live))
        one.pack_broke(0, "its process died")
        assert "pack 0 goes on from its checkpoint: its process died" in text(one)
        assert not one.packs and one.headline().startswith("0 of 8 trials") and one.done_cost == 4
        one.pack_started(0, [row(n) for n in range(4)])
        one.pack_restored(0, 1)
        one.pack_reported(0, report(2, live))
        one.pack_split(0, [1, 2], "no room")
        assert "pack 0 is out of memory, goes on as packs 1 and 2: no room" in text(one)
        assert not one.packs and one.headline().startswith("0 of 8 trials") and one.done_cost == 8


def test_trouble_is_shown_while_it_lasts(clock: Clock) -> None:
    trouble = ""
    one = view(epochs=9)
    one.trouble = lambda: trouble
    with one:
        one.pack_started(0, [row(n) for n in range(4)])
        for epoch, trouble in enumerate(["", "away for 0:05", "away for 0:06", "", "away again", "", "away again"], 1):
            one.pack_reported(0, report(epoch, dict.fromkeys(range(4), "running")))
            assert not trouble or drawn(one, 200)[-1] == trouble
    assert [line.partition("] ")[2] or line for line in text(one).splitlines() if "away" in line] == [
        "warning: away for 0:05",
        "warning: away again",
        "this came 2 times: away again",
    ]


def test_packs_of_unlike_length(clock: Clock) -> None:
    """Where trainer.epochs is searched: each pack has its own, and what is not asked for yet the config's."""
    one = view(trials=9)
    with one:
        for pack, (numbers, epochs) in enumerate([([0, 1, 3], 2), ([2, 4], 10)]):
            rows = [dataclasses.replace(row(n), params={"trainer.epochs": epochs}) for n in numbers]
            one.pack_started(pack, rows)
        clock.now += 10
        one.pack_reported(0, report(1, dict.fromkeys([0, 1, 3], "running")))
        cells = [line.split() for line in drawn(one, 200)]
        assert ["0", "1/2", "3/3", "0.1300"] in cells and ["1", "0/10", "2/2", "starting"] in cells
        assert one.scene().left == pytest.approx((3 + 2 * 10 + 4 * 4) * 10 / 3)
        one.pack_reported(0, report(2, dict.fromkeys([0, 1, 3], "complete")))
        assert one.done_cost == 6
    assert "pack 0 starts: trials 0 to 1, 3\n" in text(one) and "pack 1 starts: trials 2, 4\n" in text(one)


def seconds_left(headline: str) -> float | None:
    found = re.search(r"about (?:(\d+) h )?(?:(\d+) min ?)?(?:(\d+) s)? left", headline)
    return (
        sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else None
    )


@given(st.sampled_from(["none", "halving"]), st.integers(1, 12), st.lists(st.floats(0, 1e5), min_size=12, max_size=12))
def test_the_time_left_is_never_negative_and_ends_with_nothing(
    pruner: str, trials: int, pauses: Sequence[float]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        clock = Clock()
        patched.setattr("lca_sweep.sweep.view.time.monotonic", clock)
        one = view(trials=trials, pruner=pruner)
        with one:
            assert "left" not in one.headline()
            left: list[float] = []
            for pack, start in enumerate(range(0, trials, 4)):
                live = list(range(start, min(start + 4, trials)))
                one.pack_started(pack, [row(n) for n in live])
                for epoch in range(1, 5):
                    clock.now += pauses[(pack * 4 + epoch - 1) % len(pauses)]
                    stay = len(live) if pruner == "none" or epoch not in (1, 2) else -(-len(live) // 2)
                    states = {n: "running" if i < stay else "pruned" for i, n in enumerate(live)}
                    one.pack_reported(pack, report(epoch, dict.fromkeys(live, "complete") if epoch == 4 else states))
                    live = live[:stay]
                    found = one.scene().left
                    assert found is None if len(left) == 0 and pauses[0] < 10 else found is not None and found >= 0
                    left.append(found or 0.0)
            assert left[-1] == pytest.approx(0, abs=1e-6)
            assert seconds_left(one.headline()) in (0, None)


def test_the_time_left_is_in_proportion(clock: Clock) -> None:
    """A quarter of the one pack took 10 s, and there is another one."""
    one = view()
    with one:
        one.pack_started(0, [row(n) for n in range(4)])
        clock.now += 10
        one.pack_reported(0, report(1, dict.fromkeys(range(4), "running")))
        assert seconds_left(one.headline()) == 70


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(0, 1e6))
def test_durations_lose_less_than_a_minute(seconds: float) -> None:
    parts = dict(
        re.findall(r"(\d+) (h|min|s)", duration(seconds))[::-1]
        and [(unit, int(value)) for value, unit in re.findall(r"(\d+) (h|min|s)", duration(seconds))]
    )
    back = parts.get("h", 0) * 3600 + parts.get("min", 0) * 60 + parts.get("s", 0)
    assert back <= round(seconds) < back + (60 if "h" in parts else 1)


def test_knobs_on_a_line() -> None:
    assert params_line(PARAMS) == "trainer.lr=0.0123 model.width=120 trainer.algorithm=gbp"
    assert params_line({}) == ""
    assert [number(value) for value in (0.1, 1e-7, 123456.0, 3, True, "x")] == [
        "0.1",
        "1e-07",
        "1.23e+05",
        "3",
        "True",
        "x",
    ]


def test_the_results_fit_any_terminal_but_for_the_knobs() -> None:
    extra = {1: {"test/accuracy": 0.9, "weights/vip_fraction": 0.25, "weights/uip_fraction": 0.5}}
    lines = results([row(1, "complete", 0.75), row(0, "complete", 0.5)], extra, Goal())
    assert lines[0].split() == ["trial", OBJECTIVE, "test/accuracy", "VIP", "UIP"]
    assert [line.split() for line in lines[1::2]] == [
        ["1", "0.7500", "0.9000", "0.2500", "0.5000"],
        ["0", "0.5000", "-", "-", "-"],
    ]
    assert {len(line) for line in lines[:2] + lines[3:4]} == {len(lines[0])} and len(lines[0]) <= 60
    assert [line.strip() for line in lines[2::2]] == [params_line(PARAMS)] * 2
    assert results([], {}, Goal()) == []


def test_what_an_earlier_run_had_done_does_not_count_as_speed(clock: Clock) -> None:
    """Ten trial-epochs in ten seconds, of a pack that came with thirty from its checkpoint."""
    one = view(trials=1, epochs=50)
    with one:
        one.pack_started(0, [row(0)])
        one.pack_restored(0, 30)
        for epoch in range(1, 31):
            one.pack_reported(0, report(epoch, {0: "running"}))
        assert one.scene().left is None
        clock.now += 10
        one.pack_reported(0, report(40, {0: "running"}))
        assert one.scene().left == pytest.approx(10)
        assert one.scene().share == pytest.approx(40 / 50)


def test_a_reader_that_goes_away_does_not_end_the_work() -> None:
    code = """if True:
        import sys
        from lca_sweep.sweep.console import wide_console
        console = wide_console()
        for _ in range(200):
            console.print("line " * 2000)
        sys.stderr.write("on")
        """
    done = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdout and done.stderr
    done.stdout.readline()
    done.stdout.close()
    assert (done.stderr.read(), done.wait(60)) == ("on", 0)
    done.stderr.close()


def aims() -> View:
    one = view()
    one.config.search.objectives = ["minimize val/loss", "maximize val/accuracy"]
    one.config.search.constraints = ["val/accuracy >= 0.5"]
    return View("s", one.config, one.console)


def test_the_best_is_so_by_the_first_objective_and_keeps_the_constraints() -> None:
    one = aims()

    def told(epoch: int, metrics: Mapping[int, tuple[float, float]], state: str = "running") -> dict[str, Any]:
        trials = [
            {"trial": n, "state": state, "metrics": {"val/loss": loss, "val/accuracy": accuracy}, "reason": ""}
            for n, (loss, accuracy) in metrics.items()
        ]
        return {"epoch": epoch, "trials": trials}

    with one:
        one.pack_started(0, [row(n) for n in range(3)])
        one.pack_reported(0, told(1, {0: (0.9, 0.2), 1: (0.5, 0.3), 2: (0.8, 0.1)}))
        assert one.best_line().startswith("best: 0.5000, trial 1 at epoch 1, breaks a constraint ")
        one.pack_reported(0, told(2, {0: (0.7, 0.6), 1: (0.4, 0.4), 2: (0.6, 0.7)}))
        assert one.best_line().startswith("best: 0.6000, trial 2 at epoch 2  ")
        assert "val/loss" in "".join(drawn(one, 200)) and one.packs[0].best == 0.4
        one.pack_reported(0, told(3, {0: (0.7, 0.6)}, "complete"))
    assert "trial 0 complete at epoch 3: val/loss 0.7000, val/accuracy 0.6000" in text(one)


def test_why_a_trial_left_is_in_its_line() -> None:
    one, told = view(), report(5, {0: "pruned"})
    told["trials"][0]["reason"] = "rank 6 of 8 at epoch 5"
    with one:
        one.pack_started(0, [row(0)])
        one.pack_reported(0, told)
    assert text(one).splitlines()[1].endswith("] trial 0 pruned at epoch 5: rank 6 of 8")


def test_results_have_a_column_for_each_objective_and_none_twice() -> None:
    goal = Goal((Objective("val/loss", False), Objective("weights/vip_fraction")))
    best = dataclasses.replace(row(1, "complete", 0.25), scores=(0.25, 1e-6))
    lines = results([best], {1: {"test/accuracy": 0.9, "weights/uip_fraction": 0.5}}, goal)
    assert [line.split() for line in lines[:2]] == [
        ["trial", "val/loss", "weights/vip_fraction", "test/accuracy", "UIP"],
        ["1", "0.2500", "1.000e-06", "0.9000", "0.5000"],
    ]
    assert len(lines[0]) == len(lines[1])


def test_a_warning_is_said_once_and_counted(clock: Clock) -> None:
    """However many packs and epochs it is about; what is wrong with another thing is another warning."""
    one = view()
    with one:
        for pack in range(30):
            one.warn(f"pack {pack}: checkpoint of epoch {5 * pack} not written: disk full")
        one.warn("pack 3: checkpoint of epoch 5 not written: read-only")
        assert (one.scene().warnings, one.scene().warned) == (
            31,
            "pack 3: checkpoint of epoch 5 not written: read-only",
        )
    assert text(one).splitlines() == [
        "[  0:00] warning: pack 0: checkpoint of epoch 0 not written: disk full",
        "[  0:00] warning: pack 3: checkpoint of epoch 5 not written: read-only",
        "this came 30 times: pack 0: checkpoint of epoch 0 not written: disk full",
    ]


def test_a_new_best_is_a_line_but_not_each_epoch(clock: Clock) -> None:
    one = view(epochs=400)
    with one:
        one.pack_started(0, [row(0)])
        for epoch in range(1, 101):
            clock.now += 1
            one.pack_reported(0, report(epoch, {0: "running"}))
    bests = [re.sub(r" +", " ", line) for line in text(one).splitlines() if "best" in line]
    assert [line.split("]")[0] for line in bests] == ["[ 0:01", "[ 0:31", "[ 1:01", "[ 1:31", "[ 1:40"]


def test_where_a_pack_runs_is_told_where_that_is_elsewhere(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.sweep.view.platform.node", lambda: "here")
    one = view()
    with one:
        for pack, host in ((0, "here"), (1, "worker-7")):
            one.pack_started(pack, [row(4 * pack)])
            for _ in range(3):
                one.pack_at(pack, host)
        one.pack_at(9, "worker-8")  # which is through
        assert [pack.host for pack in one.scene().packs] == ["here", "worker-7"]
    assert [line.partition("] ")[2] for line in text(one).splitlines() if "runs on" in line] == [
        "pack 1 runs on worker-7"
    ]


def test_a_thousand_trials_in_a_terminal_of_ten_lines(clock: Clock) -> None:
    """Many packs at the same time; the counts are right and so is the height."""
    one = view(terminal=True, trials=1000, epochs=9)
    with one:
        for pack in range(250):
            numbers = range(4 * pack, 4 * pack + 4)
            one.pack_started(pack, [row(n) for n in numbers])
            clock.now += 1
            one.pack_reported(pack, report(1, dict.fromkeys(numbers, "pruned" if pack < 100 else "running")))
        lines = [line.plain for line in one.render(Sheet(60, 10))]
        assert len(lines) == 10 and lines[0] == "s: 400 of 1000 trials (400 pruned, 600 running)"
        assert (
            sum(line.endswith("4/4        0.1000") for line in lines) == 0 and "and 145 more packs, 580 trials" in lines
        )


def test_a_time_budget_ends_it(clock: Clock) -> None:
    one = view(trials=400)
    one.config.sweep.time_budget = 25.0
    with one:
        one.pack_started(0, [row(n) for n in range(4)])
        for epoch in (1, 2, 3):
            clock.now += 10
            one.pack_reported(0, report(epoch, dict.fromkeys(range(4), "running")))
            assert one.scene().left == max(0, 25 - 10 * epoch)


def test_finals_are_work_that_is_left(clock: Clock) -> None:
    """Two settings with three seeds each, by ten seconds a trial."""
    one = view(trials=2, epochs=10)
    one.config.sweep.replicates, one.config.sweep.finalists = 3, 2
    with one:
        one.pack_started(0, [row(0), row(1)])
        for epoch in range(1, 11):
            clock.now += 2
            one.pack_reported(0, report(epoch, dict.fromkeys(range(2), "running" if epoch < 10 else "complete")))
        assert one.scene().left == pytest.approx(60) and one.scene().share == pytest.approx(20 / 80)
        one.pack_started(1, [dataclasses.replace(row(n), replicate=(0, n)) for n in range(2, 8)])
        for epoch in range(1, 11):
            clock.now += 6
            one.pack_reported(1, report(epoch, dict.fromkeys(range(2, 8), "running" if epoch < 10 else "complete")))
            assert one.scene().left == pytest.approx(60 - 6 * epoch)
        assert one.scene().finals == (6, 6) and one.scene().share == 1


def test_trials_that_failed_alike_share_a_line() -> None:
    def failed(number: int, reason: str) -> Row:
        return dataclasses.replace(row(number), state="failed", reason=reason)

    rows = [failed(n, f"val/loss is nan at epoch {n}") for n in (1, 2, 3, 7)]
    assert failures([row(0), *rows, failed(9, "val/x is inf at epoch 4"), row(10, "complete", 0.5)]) == [
        "trials 1 to 3, 7 failed: val/loss is nan",
        "trial 9 failed: val/x is inf at epoch 4",
    ]


def peaked(epoch: int, values: Mapping[int, tuple[str, float]]) -> dict[str, Any]:
    trials = [
        {"trial": n, "state": state, "metrics": {OBJECTIVE: value}, "reason": ""}
        for n, (state, value) in values.items()
    ]
    return {"epoch": epoch, "trials": trials}


def test_the_best_is_what_a_trial_has_come_to_and_not_what_it_once_had(clock: Clock) -> None:
    """So that what is said last is what the table of results says."""
    one = view()
    with one:
        one.pack_started(0, [row(n) for n in range(3)])
        one.pack_reported(0, peaked(1, {0: ("running", 0.5), 1: ("running", 0.9), 2: ("running", 0.7)}))
        assert one.best_line().startswith("best: 0.9000, trial 1 at epoch 1 ")
        one.pack_reported(0, peaked(2, {0: ("running", 0.6), 1: ("running", 0.4), 2: ("pruned", 0.95)}))
        assert one.best_line().startswith("best: 0.6000, trial 0 at epoch 2 ")
        one.pack_broke(0, "its process died")
        one.pack_started(0, [row(n) for n in range(2)])
        one.pack_restored(0, 2)
        one.pack_reported(0, peaked(1, {0: ("running", 0.5), 1: ("running", 0.9), 2: ("running", 0.7)}))  # told again
        assert one.best_line().startswith("best: 0.6000, trial 0 at epoch 2 ")
        one.pack_reported(0, peaked(3, {0: ("complete", 0.3), 1: ("complete", 0.3)}))
        assert one.best_line().startswith("best: 0.3000, trial 0 at epoch 3 ")
        one.pack_started(1, [row(n) for n in range(4, 6)])
        one.pack_reported(1, peaked(1, {4: ("running", 0.8), 5: ("running", 0.2)}))
        assert one.best_line().startswith("best: 0.8000, trial 4 at epoch 1 ")
        one.pack_failed(1, [4, 5], "no room")
        assert one.best_line().startswith("best: 0.3000, trial 0 at epoch 3 ")
    assert [value for _, value in one.history] == [0.9, 0.6, 0.3, 0.8, 0.3]


def test_the_past_of_a_pack_that_goes_on_is_no_news(clock: Clock) -> None:
    """A sweep that was interrupted after epoch 2; trial 1 was pruned."""
    one = view()
    one.begin([row(0), row(1, "pruned")])
    with one:
        one.pack_started(0, [row(0), row(1, "pruned")])
        one.pack_restored(0, 2)
        one.pack_reported(0, peaked(1, {0: ("running", 0.5), 1: ("running", 0.9)}))
        assert one.best_line() == "best: none yet"
        one.pack_reported(0, peaked(2, {0: ("running", 0.7), 1: ("pruned", 0.8)}))
        one.pack_reported(0, peaked(3, {0: ("running", 0.6)}))
        assert one.best_line().startswith("best: 0.6000, trial 0 at epoch 3 ")


def test_a_pack_that_goes_on_says_where_and_with_whom(clock: Clock) -> None:
    one = view()
    there = dataclasses.replace(row(2), values={1: 0.5, 2: 0.5})
    with one:
        one.pack_started(0, [row(0, "pruned"), row(1, "complete", 0.5), there, dataclasses.replace(there, number=3)])
    assert text(one) == "[  0:00] pack 0 goes on at epoch 3: trials 2 to 3\n"
