"""From the conf folder and the words of a command line to a Config. Only this module and its two neighbours know Hydra.

Hydra and OmegaConf are imported where they are used: --help reads the folder and must not wait for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lca_sweep.config import Config
from lca_sweep.overrides import UsageError, checked, no_such_knob


def config_dir() -> Path:
    """The folder with config.yaml: inside the package (from a wheel) or beside it (in a checkout); absolute."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise UsageError(f"no conf/config.yaml in {package} or beside it: lca_sweep is not completely installed")


def groups(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Choices of each config group, both sorted: the names of the YAML files in each sub-folder of the conf folders."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            group, *rest = file.relative_to(folder).with_suffix("").parts
            found.setdefault(group, set()).add("/".join(rest))
    return {group: sorted(found[group]) for group in sorted(found)}


def register() -> None:
    """Make the knobs known to Hydra as `schema`, the first entry of config.yaml; again changes nothing."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config)


def hydra_words(words: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The checked words, and Hydra's way to say where the conf folders after the first one are."""
    listed = [group for group in groups(folders[:1]) if group != "sweep"]
    further = ",".join(f'"file://{folder}"' for folder in folders[1:])
    search = [f"hydra.searchpath=[{further}]"] if further else []
    return search + checked(words, groups(folders), listed)


def compose(words: Sequence[str], folders: Sequence[Path]) -> Config:
    """The Config of these overrides, not yet validated; UsageError if there is none. Writes nothing.

    `folders` are the conf folder and any further ones; a file in an earlier folder hides its namesake in a later one.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    register()
    overrides = hydra_words(words, folders)
    try:
        with initialize_config_dir(str(folders[0]), job_name="lca_sweep", version_base="1.3"):
            tree = hydra_compose("config", overrides)
        config = OmegaConf.to_object(tree)  # the last line that knows OmegaConf
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError) as error:  # the last two: of files
        from lca_sweep.explaining import explained

        raise explained(error, words, folders) from error
    assert isinstance(config, Config)
    _refuse_extras(config)
    return config


def _refuse_extras(config: Any, prefix: str = "") -> None:
    """Hydra lets `+model={foo: 1}` add to a dataclass; here a knob that does not exist is an error."""
    fields = {field.name for field in dataclasses.fields(config)}
    for name, value in vars(config).items():
        if name not in fields:
            raise UsageError(no_such_knob(f"{prefix}{name}"))
        if dataclasses.is_dataclass(value):
            _refuse_extras(value, f"{prefix}{name}.")
