"""Mistakes and mishaps that are told to the user in a line or a few, without a traceback."""


class UserError(ValueError):
    """The message names what is wrong, its value, and what is allowed. Every part of lca_sweep has its own subclass."""

    status = 2  # exit status of a command that ends with it: 2 for a mistake, 3 where the same command later goes on


class DataError(UserError):
    """A data set cannot be had as asked; the message is one line for the user."""


def first_line(error: BaseException) -> str:
    """An error in one line of bearable length."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 300 else lines[0][:297] + "..."
