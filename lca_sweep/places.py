"""Where in the conf files a knob, or a part of sweep.space, stands: what is wrong with it is told by file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lca_sweep.config import Config
from lca_sweep.core.errors import UserError
from lca_sweep.core.knobs import flat

E = TypeVar("E", bound=UserError)

SPACE = "sweep.space"
PLACE = re.compile(r"[a-z_]+(?:\.\w+)+")  # with which every error of a knob begins
GLOBAL = re.compile(r"^#\s*@package\s+_global_\s*$", re.MULTILINE)

Places = dict[str, tuple[Path, int]]  # of each part by its dotted path, lines from 1


def located(error: E, words: Sequence[str], folders: Sequence[Path]) -> E:
    """The same error with file and line in front, where it is about a part that no word of the command line changes.

    `folders` are the conf folders, the first one first.
    """
    found = PLACE.match(str(error))
    chosen = {word: choice for word in words if (choice := _choice(word, folders))}
    if not found or any(_touches(word, found[0]) for word in words if word not in chosen):
        return error
    places: Places = {}
    for choice in chosen.values():
        places |= _places(*choice, folders)
    if found[0] not in places:
        return error
    file, line = places[found[0]]
    return type(error)(f"{shown(file)}, line {line}: {error}")


def shown(file: Path) -> str:
    """A conf file as seen from the working folder."""
    return os.path.relpath(file)


def conf_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of a conf such as `sweep/mine`; the first folder that has one counts."""
    return next((file for folder in folders if (file := folder / f"{name}.yaml").is_file()), None)


def conf_files(words: Sequence[str], folders: Sequence[Path]) -> Iterator[Path]:
    """The conf files that the words choose, and before each those that it builds on, as far as it can be read."""
    for choice in filter(None, (_choice(word, folders) for word in words)):
        yield from (file for _, file in _built_on(*choice, folders))


def _built_on(group: str, choice: str, folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Group and file of a choice, the last ones, and of all that it builds on, as far as that can be read."""
    file = conf_file(f"{group}/{choice}", folders)
    if file is None:
        return
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        root = yaml.compose(file.read_text(encoding="utf-8"))
        for base in _bases(root, group) if isinstance(root, yaml.MappingNode) else ():
            yield from _built_on(*base, folders)
    yield group, file


def no_tree(file: Path) -> int:
    """The line of a conf file where no tree stands, but must: at its top, or at the name of a group; 0 for none.

    OSError and UnicodeDecodeError if it cannot be read.
    """
    text = file.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text)
    except yaml.YAMLError:  # which is told by itself
        return 0
    if root is not None and not isinstance(root, yaml.MappingNode):
        return int(root.start_mark.line) + 1
    groups = {SPACE, *(knob.rpartition(".")[0] for knob in flat(Config()))} if GLOBAL.search(text) else set()
    others = (line for part, line, node in _parts(root) if part in groups and not isinstance(node, yaml.MappingNode))
    return next(others, 0)


def misplaced(file: Path) -> int:
    """The line at which a conf file must say that its knobs are of all groups, and does not; 0 if it need not."""
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text)
        if GLOBAL.search(text) or not isinstance(root, yaml.MappingNode):
            return 0
        said = next((n for n, line in enumerate(text.splitlines(), 1) if re.match(r"#\s*@?package\b", line)), 0)
        if said:
            return said
        groups = {knob.partition(".")[0] for knob in flat(Config())}
        if any(key.value in groups for key, _ in root.value) or any(_overrides(root)):
            return 1
    return 0


def _overrides(root: yaml.MappingNode) -> Iterator[bool]:
    """Whether each entry of a defaults list is about another group."""
    for entry in _entries(root):
        yield isinstance(entry, yaml.MappingNode) and any("/" in str(key.value) for key, _ in entry.value)


def default_line(file: Path, group: str, choice: str) -> int:
    """The line of a conf file's defaults list that names a choice of a group; 0 if none does."""
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        root = yaml.compose(file.read_text(encoding="utf-8"))
        if isinstance(root, yaml.MappingNode):
            return next((line for *base, line in _defaults(root, group) if base == [group, choice]), 0)
    return 0


def _choice(word: str, folders: Sequence[Path]) -> tuple[str, str] | None:
    """The group and its choice, where a word names a conf file."""
    group, _, choice = word.lstrip("+").partition("=")
    return (group, choice) if choice and conf_file(f"{group}/{choice}", folders) else None


def _touches(word: str, part: str) -> bool:
    """Whether an override is of this part, of one around it, or of one in the same leaf."""
    key = word.lstrip("+~").partition("=")[0]
    return f"{part}.".startswith(f"{key}.") or f"{key}.".startswith(f"{_leaf(part)}.")


def _leaf(part: str) -> str:
    """sweep.space.trainer.lr of whatever is below it; any other knob itself."""
    return ".".join(part.split(".")[:4]) if part.startswith(SPACE) else part


def _places(group: str, choice: str, folders: Sequence[Path]) -> Places:
    """Those of a conf file over those of the files that it builds on."""
    found: Places = {}
    for below, file in _built_on(group, choice, folders):
        text = file.read_text(encoding="utf-8")
        prefix = "" if GLOBAL.search(text) else f"{below}."
        found |= {part: (file, line) for part, line, _ in _parts(yaml.compose(text), prefix)}
    return found


def _bases(root: yaml.MappingNode, group: str) -> Iterator[tuple[str, str]]:
    """Group and choice of each entry of a defaults list."""
    return ((of, choice) for of, choice, _ in _defaults(root, group))


def _defaults(root: yaml.MappingNode, group: str) -> Iterator[tuple[str, str, int]]:
    """Group, choice and line of each entry of a defaults list."""
    for entry in _entries(root):
        if isinstance(entry, yaml.ScalarNode) and entry.value != "_self_":
            yield group, entry.value, entry.start_mark.line + 1
        for key, value in entry.value if isinstance(entry, yaml.MappingNode) else []:
            named = str(key.value).removeprefix("override").strip().lstrip("/")
            yield named, str(value.value), key.start_mark.line + 1


def _entries(root: yaml.MappingNode) -> list[yaml.Node]:
    """Those of a conf file's defaults list."""
    entries = next((value for key, value in root.value if key.value == "defaults"), None)
    return entries.value if isinstance(entries, yaml.SequenceNode) else []


def _parts(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int, yaml.Node]]:
    """(dotted path, line, what stands there) of each key below a node."""
    pairs: Any = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in pairs:
        yield f"{prefix}{key.value}", key.start_mark.line + 1, value
        yield from _parts(value, f"{prefix}{key.value}.")
