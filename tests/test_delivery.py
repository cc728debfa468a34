"""Things to upload: each is tried, none waits for another, and what is missing has its reason."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from lca_sweep.tracking.delivery import deliver, in_words
from lca_sweep.tracking.writer import Refused

OUTCOMES = st.lists(st.sampled_from(["fails", "is refused"]), max_size=3)


def thing(outcomes: list[str], order: list[str], name: str) -> Callable[[], None]:
    """Does what is in the list, and after that succeeds."""
    left = list(outcomes)

    def attempt() -> None:
        outcome = left.pop(0) if left else "succeeds"
        order.append(f"{name} {outcome}")
        if outcome == "fails":
            raise ConnectionError("gone")
        if outcome == "is refused":
            raise Refused("no")

    return attempt


@given(st.lists(OUTCOMES, max_size=5))
def test_all_that_can_be_is_delivered_once(plans: list[list[str]]) -> None:
    order: list[str] = []
    things = {f"t{n}": thing(outcomes, order, f"t{n}") for n, outcomes in enumerate(plans)}
    missing = deliver(things, 60, (0.0,))
    refused = [f"t{n}" for n, outcomes in enumerate(plans) if "is refused" in outcomes]
    assert list(missing) == refused and all(isinstance(why, Refused) for why in missing.values())
    done = [line.split()[0] for line in order if line.endswith("succeeds")]
    assert sorted(done) == sorted(things.keys() - set(refused))
    first = order[: len(things)]  # each once before any a second time
    assert [line.split()[0] for line in first] == list(things)


def test_what_never_comes_is_missing() -> None:
    """And holds up nobody that comes after it."""
    order: list[str] = []
    things = {name: thing(["fails"] * 10**6 * bad, order, name) for name, bad in (("a", True), ("b", False))}
    began = time.monotonic()
    missing = deliver(things, 0.2, (0.0, 0.01))
    assert list(missing) == ["a"] and str(missing["a"]) == "gone"
    assert 0.1 < time.monotonic() - began < 5
    assert order[:2] == ["a fails", "b succeeds"] and order.count("b succeeds") == 1 and len(order) > 3


def test_a_store_that_hangs_is_not_asked_for_everything() -> None:
    def hangs() -> None:
        time.sleep(0.15)
        raise TimeoutError("hung")

    began = time.monotonic()
    missing = deliver({str(n): hangs for n in range(50)}, 0.2, (0.0,))
    assert time.monotonic() - began < 3
    assert list(missing) == [str(n) for n in range(50)] and {str(why) for why in missing.values()} == {"hung"}


def test_what_is_missing_in_words() -> None:
    """A line that stays readable, however many there are."""
    assert in_words({"the report": Refused("no\nmore"), "the model": ConnectionError()}) == (
        "the report (no); the model (ConnectionError)"
    )
    many = {f"trial {n}": OSError("disk full") for n in range(9)} | {"the model": Refused("no")}
    assert in_words(many) == "trial 0, trial 1, trial 2 and 6 more (disk full); the model (no)"


def test_nothing_to_deliver() -> None:
    assert deliver({}, 60) == {}
