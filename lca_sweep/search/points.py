"""Points that a user names: settings to be trained before what the sampler proposes, as a tree or as a line of a table.

A point need not name every searched knob; the sampler adds the others. Every error is one line that names the place.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lca_sweep.config import Config
from lca_sweep.core.errors import first_line
from lca_sweep.core.knobs import KnobError, flat, leaves, nearest, written
from lca_sweep.search.rows import Row, misfit
from lca_sweep.search.space import Space

# columns of tables of trials that are no knobs; so is every metric, which has a slash in its name
BESIDE = ("trial", "number", "state", "value", "objective", "pack", "reason", "source", "replicate", "seed", "epoch")


@dataclass(frozen=True)
class Point:
    """Values of searched knobs by dotted name, and where they come from: `enqueue`, `csv`, or `NAME/12`."""

    params: Mapping[str, Any]
    source: str


def of_tree(tree: Any, space: Space, place: str, fixed: Mapping[str, Any]) -> Point:
    """The point of a tree like the knobs', `{trainer: {lr: 0.1}}`; KnobError that begins with its place.

    It may also name knobs that are not searched, with the value that they have in all trials, which `fixed` has.
    """
    if not isinstance(tree, Mapping):
        raise KnobError(f"{place}={written(tree)}: must be a tree of knobs, e.g. {{trainer: {{lr: 0.1}}}}")
    params = {}
    for name, value in leaves(tree).items():
        if name in space or name not in fixed:
            params[name] = value
        elif value != fixed[name]:
            raise KnobError(
                f"{place}.{name}={written(value)}: is not in sweep.space, and {written(fixed[name])} in all trials; "
                "take it out of the point, or the point out of search.enqueue"
            )
    return Point(checked(params, space, f"{place}.", place), "enqueue")


def of_table(path: str, space: Space, place: str) -> list[Point]:
    """A point for each line of a CSV file whose header has knobs' names; an empty cell is left to the sampler.

    Columns of a table of trials that are no knobs are passed over. KnobError names the line.
    """
    place = f"{place}={path}"
    try:
        with open(Path(path).expanduser(), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KnobError(f"{place}: cannot be read: {getattr(error, 'strerror', None) or first_line(error)}") from error
    if not lines:
        raise KnobError(f"{place}: is empty; must have a header of knobs' names, and a line for each point")
    (number, header), *rest = lines
    names = _columns(header, space, f"{place}: line {number}: ")
    return [Point(_line(names, line, space, f"{place}: line {number}: "), "csv") for number, line in rest]


def of_texts(texts: Mapping[str, str], space: Space, place: str) -> Point:
    """The point whose knobs were typed as NAME=VALUE; KnobError that begins with `place`."""
    params = {name: _read(text, space[name]) if name in space else text for name, text in texts.items()}
    return Point(checked(params, space, f"{place}: ", place), "enqueue")


def of_row(row: Row, space: Space, name: str, place: str) -> Point:
    """The setting of a trial of the sweep `name`; KnobError where this space does not hold it."""
    return Point(checked(row.params, space, f"{place}: trial {row.number}: ", place), f"{name}/{row.number}")


def checked(params: Mapping[str, Any], space: Space, prefix: str, place: str) -> Mapping[str, Any]:
    """These values, if a trial of this space can have them; KnobError, which has `prefix` before the knob, if not."""
    if not params:
        raise KnobError(f"{place}: must name at least one searched knob")
    for name, value in params.items():
        if name not in space:
            raise KnobError(f"{prefix}{name}={written(value)}: {_stranger(name, space)}")
        if misfit({name: value}, _alone(name, space)):
            raise KnobError(f"{prefix}{name}={written(value)}: {_allowed(space[name])}")
    if wrong := misfit(params, space):
        raise KnobError(f"{prefix}{wrong}: does not exist beside the point's other knobs (see when in sweep.space)")
    return params


def _alone(name: str, space: Space) -> Space:
    """The space of one knob, which exists whatever the others are."""
    return Space({name: space[name]})


def _columns(header: Sequence[str], space: Space, place: str) -> list[str]:
    """The knob of each column, or nothing where it has none."""
    names = [cell.strip() for cell in header]
    for name in names:
        if name in space or name in BESIDE or "/" in name:
            continue
        raise KnobError(f"{place}column {name!r}: {_stranger(name, space)}")
    twice = [name for position, name in enumerate(names) if name in space and name in names[:position]]
    if twice:
        raise KnobError(f"{place}column {twice[0]!r}: is there twice")
    if not any(name in space for name in names):
        raise KnobError(f"{place}no column is a searched knob; there are: {', '.join(space)}")
    return [name if name in space else "" for name in names]


def _line(names: Sequence[str], cells: Sequence[str], space: Space, place: str) -> Mapping[str, Any]:
    if len(cells) != len(names):
        raise KnobError(f"{place}has {len(cells)} cells; must have {len(names)}, as the header")
    texts = {name: cell.strip() for name, cell in zip(names, cells, strict=True) if name and cell.strip()}
    params = {name: _read(text, space[name]) for name, text in texts.items()}
    return checked(params, space, place, place.removesuffix(": "))


def _read(text: str, distribution: BaseDistribution) -> Any:
    """A cell as a value of the knob's own kind; the text itself where it is none."""
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if _says(text, choice)), text)
    try:
        return int(text) if isinstance(distribution, IntDistribution) else float(text)
    except ValueError:
        return text


def _says(text: str, choice: Any) -> bool:
    """Whether a cell means this choice, be it written as in YAML, as in Python, or as another number of its value."""
    if text in (written(choice), str(choice)):
        return True
    try:
        return not isinstance(choice, bool) and isinstance(choice, (int, float)) and float(text) == choice
    except ValueError:
        return False


def _stranger(name: str, space: Iterable[str]) -> str:
    """Why a name is not that of a searched knob."""
    known = [*flat(Config()), *space]
    if name in known:
        return "is not in sweep.space, so it is the same in all trials"
    return f"no such knob{nearest(name, known)}"


def _allowed(distribution: BaseDistribution) -> str:
    """What a knob may be in this sweep."""
    if isinstance(distribution, CategoricalDistribution):
        return "must be one of " + ", ".join(map(written, distribution.choices))
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    whole = isinstance(distribution, IntDistribution)
    step = distribution.step if distribution.step not in (None, 1) or not whole else None
    steps = f" in steps of {step:g}" if step else ""
    return f"must be a {'whole ' if whole else ''}number from {distribution.low:g} to {distribution.high:g}{steps}"
