"""Words checked as far as they can be before anything is written; also where the sweep is to run elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lca_sweep.compose import compose
from lca_sweep.config import Config, KnobError, validate
from lca_sweep.overrides import SPACE, UsageError, knobs_set

if TYPE_CHECKING:
    from lca_sweep.search.space import Space


class Parser(argparse.ArgumentParser):
    """One that raises UsageError."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see --help)")


def own_folder(name: str | None) -> list[Path]:
    """The conf folder that --config-dir names, if any; UsageError if there is no such folder."""
    if name is None:
        return []
    folder = Path(name).resolve()
    if not folder.is_dir():
        raise UsageError(f"--config-dir {name}: no such folder")
    return [folder]


def checked_sweep(words: Sequence[str], folders: Sequence[Path]) -> tuple[Config, Space]:
    """The sweep that the words mean. UsageError or KnobError if it could not be run."""
    config = compose(words, folders)
    try:
        validate(config)
        from lca_sweep.search.aims import check_goal  # after a wrong knob was refused: Optuna takes a while to import
        from lca_sweep.search.space import parse, resolved

        space = parse(config.sweep.space, config)
        check_goal(config, space)
        _refuse_without_effect(words, space)
    except KnobError as error:
        from lca_sweep.places import located

        raise located(error, words, folders) from error
    return resolved(config, space), space


def _refuse_without_effect(words: Sequence[str], space: Space) -> None:
    """Raise UsageError for a knob that is set, and that each trial has otherwise."""
    always = {name for name in space if name not in space.when}
    always |= {name for name, constant in space.constants.items() if not constant.when}
    for name, word in knobs_set(words).items():
        if name in always:
            raise UsageError(
                f"{word}: {name} is searched, so that this would change nothing; "
                f"to set it, take it out of the search with '~{SPACE}{name}'"
            )
