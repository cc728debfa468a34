"""Where in the conf files a part of sweep.space stands, so that what is wrong with it is told by file and line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lca_sweep.core.knobs import KnobError

SPACE = "sweep.space"
PLACE = re.compile(r"sweep\.space\.([\w.]*\w)")  # with which every error of the space begins

Places = dict[str, tuple[Path, int]]  # of each part by its dotted path below sweep.space, lines from 1


def located(error: KnobError, words: Sequence[str], folders: Sequence[Path]) -> KnobError:
    """The same error with file and line in front, where it is about a part that no word of the command line changes.

    `folders` are the conf folders, the first one first.
    """
    found = PLACE.match(str(error))
    if not found or any(_touches(word, f"{SPACE}.{found[1]}") for word in words):
        return error
    chosen = [word.partition("=")[2] for word in words if word.startswith("+sweep=")]
    places = {part: place for sweep in chosen for part, place in _places(sweep, folders).items()}
    if found[1] not in places:
        return error
    file, line = places[found[1]]
    return KnobError(f"{os.path.relpath(file)}, line {line}: {error}")


def _touches(word: str, part: str) -> bool:
    """Whether an override is of this part, of one around it, or of one in the same leaf."""
    key = word.lstrip("+~").partition("=")[0]
    return key.startswith(SPACE) and (f"{part}.".startswith(f"{key}.") or f"{key}.".startswith(f"{_leaf(part)}."))


def _leaf(part: str) -> str:
    """sweep.space.trainer.lr of whatever is below it."""
    return ".".join(part.split(".")[:4])


def _places(sweep: str, folders: Sequence[Path]) -> Places:
    """Those of a sweep's file over those of the sweeps that it builds on."""
    files = (folder / "sweep" / f"{sweep}.yaml" for folder in folders)
    file = next((file for file in files if file.is_file()), None)
    root = yaml.compose(file.read_text(encoding="utf-8")) if file else None
    if file is None or not isinstance(root, yaml.MappingNode):
        return {}
    found: Places = {}
    for base in _bases(root):
        found |= _places(base, folders)
    return found | {part: (file, line) for part, line in _parts(_inside(root, "sweep", "space"))}


def _bases(root: yaml.MappingNode) -> list[str]:
    entries = _inside(root, "defaults")
    listed: list[yaml.Node] = entries.value if isinstance(entries, yaml.SequenceNode) else []
    return [entry.value for entry in listed if isinstance(entry, yaml.ScalarNode) and entry.value != "_self_"]


def _inside(node: yaml.Node | None, *keys: str) -> yaml.Node | None:
    for wanted in keys:
        pairs: Any = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in pairs if key.value == wanted), None)
    return node


def _parts(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    """(dotted path, line) of each key below a node."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        yield f"{prefix}{key.value}", key.start_mark.line + 1
        yield from _parts(value, f"{prefix}{key.value}.")
