"""What can be wrong with a sweep, said to the user."""

from lca_sweep.core.errors import UserError


class SweepError(UserError):
    """One to a few lines for the user; no traceback."""
