"""What Hydra, OmegaConf or YAML have against words and conf files, in the user's words: file, line, knob and value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lca_sweep.config import Config
from lca_sweep.core.knobs import flat, nearest, walk, written
from lca_sweep.overrides import SPACE, UsageError, no_such_knob
from lca_sweep.places import conf_file, conf_files, default_line, located, misplaced, no_tree, shown

if TYPE_CHECKING:
    from omegaconf.errors import OmegaConfBaseException


def explained(error: Exception, words: Sequence[str], folders: Sequence[Path]) -> UsageError:
    """An error of Hydra, OmegaConf or YAML in a line or a few: the file if one is to blame, the knob, its value."""
    from omegaconf.errors import OmegaConfBaseException

    if wrong := _header(words, folders) or _default(error, words, folders):
        return UsageError(wrong)
    blamed, text = _blamed(error)
    file = conf_file(blamed, folders) if blamed != "config" else None
    where = f"{shown(file)}: " if file else ""
    for cause in _causes(error):
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            plain = UsageError(_explain_knob(cause, bool(file)))
            found = located(plain, words, folders)
            return UsageError(f"{where}{plain}") if found is plain else found
    return UsageError(_no_tree(words, folders) or where + _explain(error, text))


def _header(words: Sequence[str], folders: Sequence[Path]) -> str:
    """What is wrong with the first line of a conf file, which says of which group its knobs are."""
    for file in conf_files(words, folders):
        if line := misplaced(file):
            told = "must be # @package _global_, as the file has knobs of more than its own group"
            return f"{shown(file)}, line {line}: {told}"
    return ""


def _default(error: Exception, words: Sequence[str], folders: Sequence[Path]) -> str:
    """Where a conf file builds on one that is not there."""
    from hydra.errors import MissingConfigException

    if not isinstance(error, MissingConfigException) or error.missing_cfg_file is None:
        return ""
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    for file in conf_files(words, folders):
        if line := default_line(file, group, choice):
            there = [Path(option).stem for option in error.options or []]
            told = f"no {group}/{choice}.yaml{nearest(choice, there)} (there are: {', '.join(there) or 'none'})"
            return f"{shown(file)}, line {line}: {told}"
    return ""


def _blamed(error: Exception) -> tuple[str, str]:
    """The conf that Hydra says is to blame, if any, and what else it says."""
    blamed, text = re.fullmatch(r"(?:In '(.+?)': )?(.*)", str(error), re.DOTALL).groups()  # type: ignore[union-attr]
    return blamed or "config", text


def _explain(error: Exception, text: str) -> str:
    """What is not about a knob: files that are missing, or cannot be read."""
    from hydra.errors import MissingConfigException
    from yaml import MarkedYAMLError

    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        begun = f" ({error.context}, line {error.context_mark.line + 1})" if error.context_mark else ""
        return f"{shown(Path(error.problem_mark.name))}, line {error.problem_mark.line + 1}: {error.problem}{begun}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return f"no conf file {error.missing_cfg_file}.yaml (there are: {', '.join(error.options or ['none'])})"
    if gone := re.match(r"Could not delete from config. '(.+?)'", text):
        places = {knob.rpartition(".")[0] for knob in flat(Config().trial())} | set(flat(Config().trial()))
        return f"~{gone[1]}: there is no such range{nearest(gone[1], sorted(SPACE + place for place in places))}"
    return "\n".join(line.strip() for line in text.splitlines()[:3])


def _no_tree(words: Sequence[str], folders: Sequence[Path]) -> str:
    """What is wrong with the first conf file that holds no tree of knobs; the errors that it causes do not name it."""
    for file in conf_files(words, folders):
        try:
            line = no_tree(file)
        except UnicodeDecodeError:
            return f"{shown(file)}: must be text in UTF-8"
        except OSError as error:
            return f"{shown(file)}: cannot be read: {error.strerror}"
        if line:
            return f"{shown(file)}, line {line}: must be a tree of knobs, e.g. trainer: {{lr: 0.1}}"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain_knob(error: OmegaConfBaseException, in_file: bool) -> str:
    """What is wrong with a knob; `in_file`: as a conf file has it."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, ValidationError

    name, message = error.full_key or "", str(error).splitlines()[0]
    if isinstance(error, (ConfigAttributeError, ConfigKeyError)) and not name.startswith("sweep.space"):
        section, _, rest = name.partition(".")
        if in_file and section == "sweep" and rest.partition(".")[0] in vars(Config()):
            return f"{name}: no such knob; a file with knobs of all groups begins with the line # @package _global_"
        return no_such_knob(name)
    if isinstance(error, MissingMandatoryValue):
        return f"{name}=???: must be set"
    if unset := re.search(r"Environment variable '(\w+)' not found", message):
        return f"{name}: is taken from the environment, where {unset[1]} is not set"
    if unknown := re.search(r"Interpolation key '(.+?)' not found", message):
        return f"{name}: is taken from {no_such_knob(unknown[1])}"
    if isinstance(error, ValidationError):
        return f"{name}={written(error.value)}: {_expected(name, message)}"
    return f"{name}: {message}"


def _expected(name: str, message: str) -> str:
    """What a knob's value must be, from OmegaConf's complaint and the knob's range."""
    if "not Optional" in message:
        return "must not be null"
    kinds = {"Integer": "a whole number", "Float": "a number", "ListConfig": "a list", "Dict[": "a tree of knobs"}
    kind = next((kind for sign, kind in kinds.items() if sign in message), None)
    if kind is None:
        return message
    ranges = {knob: range for knob, _, range in walk(Config())}
    knob = re.sub(r"\[\d+\]$", "", name)
    allowed = ranges[knob].allowed().removeprefix("must be") if knob in ranges else ""
    return f"must be {kind}{',' * bool(allowed)}{allowed}"
