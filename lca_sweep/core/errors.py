"""Mistakes and mishaps that are told to the user in a line or a few, without a traceback."""

import re

SQLITE = {  # what it says of a file, and what to do
    "unable to open database file": "must be a file in a folder that is there",
    "file is not a database": "must be one, or not there yet",
}
CLASS = re.compile(r"\((?:\w+\.)+\w+\) ")  # which SQLAlchemy puts before what a driver says


class UserError(ValueError):
    """The message names what is wrong, its value, and what is allowed. Every part of lca_sweep has its own subclass."""

    status = 2  # exit status of a command that ends with it: 2 for a mistake, 3 where the same command later goes on


class DataError(UserError):
    """A data set cannot be had as asked; the message is a line for the user, or two: what, and what to do."""


class SlowerWarning(UserWarning):
    """Training goes on, to the same numbers, but not as quickly as the machine could."""


def first_line(error: BaseException) -> str:
    """An error in one line of bearable length."""
    lines = CLASS.sub("", str(error).strip(), count=1).splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 300 else lines[0][:297] + "..."


def why_no_database(error: BaseException, example: str) -> str:
    """Why a database's URL leads nowhere, in one line; `example` is one that does."""
    said = first_line(error)
    if "parse SQLAlchemy URL" in said or "Can't load plugin" in said:
        return f"no such kind of database; must be like {example}"
    causes = (error, error.__cause__, error.__context__)
    for missing in (cause.name for cause in causes if isinstance(cause, ImportError) and cause.name):
        return f"its driver {missing} is not installed; install that, or write it like {example}"
    return f"{said}; {SQLITE[said]}" if said in SQLITE else said
