"""What can be wrong with a sweep, said to the user."""


class SweepError(ValueError):
    """One to a few lines for the user; no traceback."""

    for_user = True
