"""What the tests of the documents share: pages taken apart into blocks, lines and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
INNER = re.compile(r"\$\(([^()]*)\)")  # a command whose output is part of another
SIGNS = "|&<>;"
VARIABLE = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language ("" for commands), the file that it is to be, if it says one, and its text."""

    page: str
    number: int  # of its first line in the page, from 1
    language: str
    file: str
    text: str

    @property
    def id(self) -> str:
        """Where it stands, to be told."""
        return f"{self.page}:{self.number}"


@dataclass(frozen=True)
class Line:
    """What one types, as it stands in a page."""

    page: str
    number: int
    text: str

    @property
    def id(self) -> str:
        """Where it stands, to be told."""
        return f"{self.page}:{self.number}"


def name_of(page: Path) -> str:
    """README.md, docs/search.md."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks, in order. The word behind a language is the file that the reader is to make of it."""
    found, opened = [], None
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if not line.startswith("```"):
            if opened:
                opened[2].append(line)
        elif opened:
            language, file, text = opened[1].partition(" ")[0], opened[1].partition(" ")[2], opened[2]
            found.append(Block(name_of(page), opened[0] + 1, language, file, "\n".join(text) + "\n"))
            opened = None
        else:
            opened = (number, line.removeprefix("```"), [])
    assert opened is None, f"{name_of(page)}: the block of line {opened and opened[0]} does not end"
    return found


def lines(block: Block) -> list[Line]:
    """The lines of a block of commands; one that ends with a backslash goes on in the next."""
    joined = block.text.replace("\\\n", " \0")  # the number of the line that it begins in
    found, number = [], block.number
    for text in joined.splitlines():
        plain = text.replace("\0", "")
        if plain.strip() and not plain.lstrip().startswith("#"):
            found.append(Line(block.page, number, plain))
        number += 1 + text.count("\0")
    return found


def typed(page: Path) -> list[Line]:
    """All commands in the blocks of a page."""
    return [line for block in blocks(page) if not block.language for line in lines(block)]


def spans(page: Path) -> Iterator[Line]:
    """What stands between single backticks, outside of blocks."""
    inside = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            for text in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                yield Line(name_of(page), number, text)


def commands(text: str) -> list[list[str]]:
    """The single commands in a line, each as its words: those of a pipe, and those in $( ), which come last."""
    lexer = shlex.shlex(INNER.sub("INNER", text), posix=True, punctuation_chars=SIGNS)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if set(word) <= set("<>"):
            skip = True  # the file behind it is no word of the command
        elif set(word) <= set(SIGNS):
            found.append([])
        elif skip:
            skip = False
        else:
            found[-1].append(word)
    inner = [command for match in INNER.finditer(text) for command in commands(match[1])]
    return [_without_variables(command) for command in found if command] + inner


def _without_variables(command: list[str]) -> list[str]:
    """WORKERS=4 make ...: what is set for this command alone is not its first word."""
    first = next((place for place, word in enumerate(command) if not VARIABLE.match(word)), 0)
    return command[first:]
