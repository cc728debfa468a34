"""Mistakes and mishaps that are told to the user in a line or a few, without a traceback."""


class UserError(ValueError):
    """The message names what is wrong, its value, and what is allowed. Every part of lca_sweep has its own subclass."""
