"""What a search is for: words, fronts, crowding, and who is best, as laws."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.core.knobs import KnobError
from lca_sweep.core.objective import Constraint, Goal, Objective, Scored, best_first, figure, fronts, pareto, ranked

# few values, so that ties and dominated trials are frequent
values = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0, 2.5])
directions = st.lists(st.booleans(), min_size=1, max_size=4)


def goal_of(maximize: list[bool], bounds: int = 0) -> Goal:
    objectives = tuple(Objective(f"m{n}", up) for n, up in enumerate(maximize))
    return Goal(objectives, tuple(Constraint(f"c{n}", True, 0.0) for n in range(bounds)))


@st.composite
def fields(draw: st.DrawFn, constrained: bool = True) -> tuple[Goal, dict[int, Scored]]:
    """A goal, and trials by number."""
    goal = goal_of(draw(directions), draw(st.integers(0, 2)) if constrained else 0)
    one = st.builds(
        Scored,
        st.tuples(*[values] * len(goal.objectives)),
        st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 2.0])] * len(goal.constraints)),
    )
    return goal, draw(st.dictionaries(st.integers(0, 50), one, max_size=14))


def dominates(goal: Goal, one: Scored, other: Scored) -> bool:
    """The definition: Deb et al. 2002, Definition 1."""
    if one.excess > 0 or other.excess > 0:
        return one.excess < other.excess
    scores = zip(goal.objectives, one.scores, other.scores, strict=True)
    pairs = [(a, b) if part.maximize else (b, a) for part, a, b in scores]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def peeled(goal: Goal, trials: Mapping[int, Scored]) -> list[list[int]]:
    """Fronts by their definition: those that nobody dominates, taken away, and again."""
    left, found = sorted(trials), []
    while left:
        found.append([n for n in left if not any(dominates(goal, trials[other], trials[n]) for other in left)])
        left = [n for n in left if n not in found[-1]]
    return found


@given(fields())
def test_fronts_are_what_their_definition_says(field: tuple[Goal, dict[int, Scored]]) -> None:
    assert fronts(*field) == peeled(*field)


@given(fields(), st.randoms(use_true_random=False))
def test_the_order_in_which_trials_are_given_changes_nothing(
    field: tuple[Goal, dict[int, Scored]], chance: random.Random
) -> None:
    goal, trials = field
    numbers = list(trials)
    chance.shuffle(numbers)
    other = {number: trials[number] for number in numbers}
    for rule in (fronts, best_first, pareto, ranked):
        assert rule(goal, other) == rule(goal, trials)  # type: ignore[operator]


@given(fields())
def test_all_directions_turned_with_all_signs_is_the_same_search(field: tuple[Goal, dict[int, Scored]]) -> None:
    goal, trials = field
    turned = goal_of([not part.maximize for part in goal.objectives], len(goal.constraints))
    other = {n: Scored(tuple(-score for score in one.scores), one.violations) for n, one in trials.items()}
    for rule in (fronts, best_first, pareto, ranked):
        assert rule(turned, other) == rule(goal, trials)  # type: ignore[operator]


@given(fields(constrained=False))
def test_of_one_objective_the_best_has_the_best_value_and_of_equals_the_lower_number(
    field: tuple[Goal, dict[int, Scored]],
) -> None:
    goal, trials = Goal(field[0].objectives[:1]), {n: Scored(one.scores[:1]) for n, one in field[1].items()}
    expected = sorted(trials, key=lambda n: (-goal.first.sign * trials[n].scores[0], n))
    assert best_first(goal, trials) == ranked(goal, trials) == expected


@given(fields())
def test_nobody_comes_after_one_that_it_dominates(field: tuple[Goal, dict[int, Scored]]) -> None:
    goal, trials = field
    for order in (best_first(goal, trials), ranked(goal, trials)):
        assert sorted(order) == sorted(trials)
        for place, one in enumerate(order):
            assert not any(dominates(goal, trials[later], trials[one]) for later in order[place + 1 :])


@given(fields())
def test_the_pareto_set_keeps_all_constraints_and_nobody_dominates_it(field: tuple[Goal, dict[int, Scored]]) -> None:
    goal, trials = field
    best = pareto(goal, trials)
    kept = [n for n, one in trials.items() if all(violation <= 0 for violation in one.violations)]
    assert set(best) == {n for n in kept if not any(dominates(goal, trials[m], trials[n]) for m in kept)}
    assert bool(best) == bool(kept)


def test_the_ends_of_a_front_and_then_its_lonely_trials_come_first() -> None:
    """Deb et al. 2002, crowding: distances 0.4, 0.8 and 1.6 (of two objectives, each 0 to 10) between the ends."""
    goal = goal_of([True, True])
    first = [0.0, 1.0, 2.0, 5.0, 10.0]
    trials = {n: Scored((x, 10 - x)) for n, x in enumerate(first)} | {9: Scored((0.0, 0.0))}
    assert ranked(goal, trials) == [0, 4, 3, 2, 1, 9]


@pytest.mark.parametrize("maximize", [[True], [True, False]])
def test_ten_thousand_trials_are_sorted_while_one_waits(maximize: list[bool]) -> None:
    """By the definition it would be some 10^8 comparisons a front."""
    chance, goal = random.Random(0), goal_of(maximize)
    trials = {n: Scored(tuple(chance.gauss(0, 1) for _ in maximize)) for n in range(10_000)}
    assert len(best_first(goal, trials)) == 10_000 and pareto(goal, trials)


@given(st.floats(-10, 10), st.floats(-10, 10), st.booleans())
def test_a_constraint_is_kept_where_its_words_say_so(value: float, bound: float, at_least: bool) -> None:
    constraint = Constraint("m", at_least, bound)
    assert (constraint.violation(value) <= 0) == (value >= bound if at_least else value <= bound)
    assert constraint.violation(math.nan) == math.inf


@given(st.booleans(), st.floats(allow_nan=False, allow_infinity=False, width=16), st.booleans())
def test_words_are_read_as_they_are_written(up: bool, bound: float, at_least: bool) -> None:
    objective = Objective("val/loss", up)
    assert Objective.parse(str(objective), "x") == Objective.parse(f"  {objective} ", "x") == objective
    constraint = Constraint("val/loss", at_least, float(f"{bound:g}"))
    assert Constraint.parse(str(constraint), "x") == Constraint.parse(str(constraint).replace(" ", ""), "x")
    assert Constraint.parse(str(constraint), "x") == constraint


@pytest.mark.parametrize("words", ["val/accuracy", "best val/accuracy", "maximize", "maximize a b", ""])
def test_other_words_are_no_objective(words: str) -> None:
    with pytest.raises(KnobError, match=r"^search.objectives=.*: must be maximize METRIC or minimize METRIC"):
        Objective.parse(words, "search.objectives")


@pytest.mark.parametrize("words", ["val/loss", "val/loss > 1", "val/loss >= x", "val/loss <= nan", "val/loss <= inf"])
def test_other_words_are_no_constraint(words: str) -> None:
    with pytest.raises(KnobError, match=r"^search.constraints=.*: must be METRIC >= NUMBER or METRIC <= NUMBER"):
        Constraint.parse(words, "search.constraints")


def test_what_is_missing_is_the_worst() -> None:
    goal = Goal((Objective("a"), Objective("b", False)), (Constraint("c", True, 1.0),))
    scored = goal.scored({"a": 1.0})
    assert goal.gains(scored.scores) == (1.0, -math.inf) and scored.excess == math.inf


def test_figures_to_four_places_that_tell() -> None:
    assert [figure(v) for v in (0.93125, 0.0, 12.0, 1.2e-5, -0.5)] == [
        "0.9313",
        "0.0000",
        "12.0000",
        "1.200e-05",
        "-0.5000",
    ]
