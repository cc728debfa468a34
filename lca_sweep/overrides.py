"""The words of a command line, checked before Hydra sees them: refused in our words, with the nearest right one.

Hydra itself is imported where it is used, so that --help does not wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lca_sweep.config import Config, without_password
from lca_sweep.core.errors import UserError
from lca_sweep.core.knobs import flat, leaves, nearest

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SPACE = "sweep.space."

Choices = Mapping[str, Sequence[str]]


class UsageError(UserError):
    """The command line or a conf file is not understood; the message is a line or a few for the user."""


def checked(words: Sequence[str], choices: Choices, listed: Sequence[str]) -> list[str]:
    """The words for Hydra, once each is known to be an override of ours; UsageError at the first that is not.

    `choices` are those of each config group, `listed` the groups of which config.yaml already takes one.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        overrides = OverridesParser.create().parse_overrides(list(words))
    except OverrideParseException as error:
        raise UsageError(_not_understood(error.override, choices, listed)) from error
    for override in overrides:
        _check(override, choices, listed)
    return [_in_space(override) for override in overrides]


def knobs_set(words: Sequence[str]) -> dict[str, str]:
    """The knobs that (checked) words set one by one, not by choosing a conf file, and the word that sets each."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        if not override.is_delete() and not override.key_or_group.startswith(SPACE):
            found |= dict.fromkeys(leaves({override.key_or_group: override.value()}), str(override.input_line))
    return found


def no_such_knob(name: str) -> str:
    """The line for a knob that does not exist."""
    sections = [] if "." in name else sorted({knob.partition(".")[0] for knob in flat(Config())})
    hint = nearest(name, [*flat(Config()), *sections])
    return f"{name}: no such knob{hint or ' (--cfg job shows them all)'}"


def sign(group: str, listed: Sequence[str]) -> str:
    """What stands before a group on the command line: nothing, or + where config.yaml takes none by itself."""
    return "" if group in listed else "+"


def _in_space(override: Override) -> str:
    """Ranges may be changed and added alike, without Hydra's +; the space itself is checked later, leaf by leaf."""
    word = str(override.input_line)
    if override.is_delete() or not override.key_or_group.startswith(SPACE):
        return word
    return f"++{word.lstrip('+')}"


def _check(override: Override, choices: Choices, listed: Sequence[str]) -> None:
    """Refuse what Hydra refuses at length or in its own terms, and what it lets pass without effect."""
    word, key = str(override.input_line), override.key_or_group
    if re.match(r"hydra\b", key):
        raise UsageError(
            f"{word}: there is nothing of Hydra's to set here (for a conf folder of your own: --config-dir)"
        )
    if override.is_sweep_override():
        hint = f"; to search, say what in {SPACE}{key}" if key in flat(Config().trial()) else ""
        raise UsageError(f"{word}: must be one value{hint}")
    if key in choices:
        _check_choice(override, choices[key], listed)
    elif not key.startswith(SPACE):
        _check_knob(override)


def _check_choice(override: Override, choices: Sequence[str], listed: Sequence[str]) -> None:
    """A group takes one of its choices, or (`model={width: 3}`) a mapping of its knobs."""
    word, group, value = str(override.input_line), override.key_or_group, override.value()
    if override.is_delete():
        return
    if value not in choices and not (isinstance(value, dict) and group in listed):
        what = "sweep" if group == "sweep" else f"choice of {group}"
        raise UsageError(f"{word}: no such {what}{nearest(str(value), choices)} (there are: {', '.join(choices)})")
    wanted = sign(group, listed)
    if wanted != re.match(r"\+*", word)[0]:  # type: ignore[index]  # the pattern matches every word
        raise UsageError(f"{word}: write {wanted}{word.lstrip('+')}")


def _check_knob(override: Override) -> None:
    word, key = str(override.input_line), override.key_or_group
    knobs = list(flat(Config()))
    inside = [knob for knob in knobs if knob.startswith(f"{key}.")]
    if not key:
        raise UsageError(_not_understood(word, {}, []))
    if key not in knobs and not inside:
        raise UsageError(no_such_knob(key))
    if override.is_delete():
        raise UsageError(f"{word}: a knob cannot be taken out, only set (~ is for ranges, e.g. '~{SPACE}model')")
    if inside and not isinstance(override.value(), dict):
        raise UsageError(f"{word}: {key} is a group of knobs; set one of them, e.g. {inside[0]}")


def _not_understood(word: str, choices: Choices, listed: Sequence[str]) -> str:
    """What may have been meant by a word that is no override: a choice, a group, a knob, or something unquoted."""
    word = without_password(word)
    name = word.strip("+~= ")
    meant = [f"{sign(group, listed)}{group}={name}" for group, names in choices.items() if name in names]
    if meant:
        return f"{word}: not understood; did you mean {' or '.join(meant)}?"
    if name in choices:
        return (
            f"{word}: not understood; write {sign(name, listed)}{name}=CHOICE (there are: {', '.join(choices[name])})"
        )
    if re.fullmatch(r"[\w./]*", name):
        return f"{word or repr(word)}: not understood; write NAME=VALUE{nearest(name, flat(Config()))}"
    quoted = 'NAME="VALUE"'
    if (parts := re.fullmatch(r"(\+*[\w.]+)=([^\"'\[\]{}]+)", word)) and "***" not in word:
        quoted = f'{parts[1]}="{parts[2]}"'
    return f"{word}: not understood; quote what has spaces or signs, e.g. '{quoted}' or 'NAME={{low: 1, high: 3}}'"
