"""The house stands as drawn: arrows point down, each framework has one home, importing does no work."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lca_sweep"

# Higher may import lower. Layers of one height do not know each other; `config` and the package itself stand aside.
HEIGHT = {"core": 0, "search": 1, "tracking": 1, "report": 1, "sweep": 2, "door": 3}
DOOR = HEIGHT["door"]

# What the package can do without: an extra brings it.
OPTIONAL = {"cmaes", "numba", "triton"}
ON_GPUS = {"lca_sweep.core.kernels", "lca_sweep.core.fused"}  # Triton, without which a GPU trains in plain torch
COMPILED = {"lca_sweep.core.passes", "lca_sweep.core.compiled"}  # numba, without which a CPU does
NEEDS = dict.fromkeys(ON_GPUS, "triton") | dict.fromkeys(COMPILED, "numba")
# Who may import which framework; whatever is not named here belongs to the standard library or to nobody.
HOMES = {
    "cmaes": {"search"},
    "hydra": {"door"},
    "jinja2": {"report"},
    "matplotlib": {"report"},
    "mlflow": {"tracking"},
    "numba": {"core"},
    "numpy": {"core", "search", "report", "sweep"},
    "omegaconf": {"door"},
    "optuna": {"search", "sweep"},
    "packaging": {"sweep"},
    "pooch": {"core"},
    "pyarrow": {"sweep"},
    "plotly": {"search"},
    "ray": {"sweep"},
    "rich": {"report", "sweep", "door"},
    "safetensors": {"core", "sweep"},
    "scipy": {"search"},
    "sqlalchemy": {"search"},
    "torch": {"core", "sweep", "report"},
    "tqdm": {"core"},
    "triton": {"core"},
    "yaml": {"search", "tracking", "report", "sweep", "door"},
}
WORKER = "lca_sweep.sweep.trainable"  # what Ray's workers import
HEAVY = {
    "ray",
    "mlflow",
    "hydra",
    "omegaconf",
    "optuna",
    "pandas",
    "sklearn",
    "pooch",
    "rich",
    "scipy",
    "matplotlib",
    "plotly",
}
DISTRIBUTION = {"hydra": "hydra-core", "yaml": "pyyaml"}  # where it is not the module's name
UNSEEN = {"scikit-learn"}  # imported by what we call, only there an extra: optuna.importance


def name_of(file: Path) -> str:
    """Dotted name of a module's file."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}
HERE = [name for name in FILES if name not in NEEDS or find_spec(NEEDS[name])]  # what can be imported
CORE = [name for name in HERE if name.split(".")[1:2] == ["core"] and name not in COMPILED]
every_module = pytest.mark.parametrize("module", FILES)


@cache
def tree_of(module: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def layer(module: str) -> str:
    """`core`, `search`, ... for what lies in these folders; `config`, `package`; all else beside them is the door."""
    parts = module.split(".")
    if len(parts) == 1:
        return "package"
    if parts[1] in HEIGHT or parts[1] == "config":
        return parts[1]
    assert not (PACKAGE / parts[1]).is_dir(), f"lca_sweep/{parts[1]} has no place in HEIGHT"
    return "door"


def imports(node: ast.AST, module: str) -> Iterator[str]:
    """Dotted names of what is imported anywhere below `node`, of ours down to the module."""
    for item in ast.walk(node):
        if isinstance(item, ast.Import):
            yield from (alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            yield from from_import(item, module)
        elif isinstance(item, ast.Call) and "import_module" in ast.unparse(item.func):
            yield from (arg.value for arg in item.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def from_import(node: ast.ImportFrom, module: str) -> Iterator[str]:
    """`from a import b` means a.b; of ours, where a.b is no module, a."""
    base = node.module or ""
    if node.level:
        is_package = FILES[module].name == "__init__.py"
        here = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
        base = ".".join(here + ([base] if base else []))
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in FILES or base.split(".")[0] != "lca_sweep" else base


@cache
def imported(module: str) -> frozenset[str]:
    """All that a module imports, at import or later."""
    return frozenset(imports(tree_of(module), module))


def ours(names: frozenset[str]) -> set[str]:
    """Modules of this package among names."""
    return {name for name in names if name.split(".")[0] == "lca_sweep"}


def third_party(names: frozenset[str]) -> set[str]:
    """Top-level names of what is neither ours nor the standard library's."""
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"lca_sweep"}


def allowed(source: str, target: str) -> bool:
    """Whether a module may import another of ours."""
    low, high = layer(target), layer(source)
    if low == "package":  # holds the version only
        return high != "package"
    if high == "package":
        return False
    if high == "config":
        return target in ("lca_sweep.core.knobs", "lca_sweep.core.objective")
    if low == "config":
        return high != "core"
    return low == high or HEIGHT[low] < HEIGHT[high]


@every_module
def test_arrows_point_down(module: str) -> None:
    assert {target for target in ours(imported(module)) if not allowed(module, target)} == set()


@every_module
def test_what_is_imported_of_ours_exists(module: str) -> None:
    assert ours(imported(module)) - set(FILES) == set()


@every_module
def test_each_framework_has_its_home(module: str) -> None:
    assert {name for name in third_party(imported(module)) if layer(module) not in HOMES.get(name, ())} == set()


def test_no_cycles() -> None:
    graph = {module: ours(imported(module)) - {module} for module in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the cycle


def test_worker_imports_ray_tune_and_the_core() -> None:
    names = imported(WORKER)
    assert third_party(names) <= {"ray", "torch", "numpy"}
    assert {".".join(name.split(".")[:2]) for name in names if name.split(".")[0] == "ray"} == {"ray.tune"}
    assert {layer(name) for name in ours(names)} <= {"core", "sweep"}


@every_module
def test_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(tree_of(module))


@every_module
def test_a_module_only_defines(module: str) -> None:
    """At import nothing is called for its effect (print, logging.basicConfig, mkdir, ConfigStore...)."""
    body = [node for node in tree_of(module).body if not is_main_guard(node)]
    effects = [node for node in body if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)]
    loops = [node for node in body if isinstance(node, (ast.For, ast.While, ast.With))]
    assert [f"line {node.lineno}: {ast.unparse(node)}" for node in effects + loops] == []


def is_main_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":`"""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


@every_module
def test_nobody_sets_up_logging(module: str) -> None:
    """Whose program it is decides that; `getLogger(...).setLevel` on a noisy library is not meant."""
    assert not re.search(r"basicConfig|dictConfig|fileConfig|addHandler", FILES[module].read_text(encoding="utf-8"))


def python(code: str) -> str:
    """What a fresh interpreter prints that runs `code`; it must be silent on stderr."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def loaded_by(modules: list[str]) -> set[str]:
    """Top-level modules that importing these, and nothing else, loads."""
    imports = "\n".join(f"import {module}" for module in modules)
    return set(python(f"import sys\n{imports}\nprint(*{{name.split('.')[0] for name in sys.modules}})").split())


def test_knobs_and_config_load_no_library() -> None:
    loaded = loaded_by(["lca_sweep.core", "lca_sweep.core.knobs", "lca_sweep.config"])
    assert loaded & (HOMES.keys() | HEAVY) == set()


def test_core_loads_no_framework() -> None:
    loaded = loaded_by(CORE)
    assert "torch" in loaded
    assert loaded & HEAVY == set()


def test_worker_loads_only_ray_and_the_core() -> None:
    loaded = loaded_by([WORKER])
    assert {"ray", "torch"} <= loaded
    assert loaded & {"mlflow", "hydra", "omegaconf", "optuna", "sklearn", "pooch"} == set()
    loaded = loaded_by(["lca_sweep.sweep.looking"])  # what looks into trials there
    assert loaded & {"mlflow", "hydra", "omegaconf", "optuna", "sklearn", "pooch", "matplotlib"} == set()


def test_importing_prints_nothing() -> None:
    """On stdout, nor (see `python`) on stderr, not even a warning of ours."""
    assert python("\n".join(f"import {module}" for module in HERE)) == ""


def test_only_a_gpu_needs_triton() -> None:
    """Nobody imports it, nor what imports it, before a GPU is trained on."""
    others = [module for module in FILES if module not in ON_GPUS]
    assert "triton" not in loaded_by(others)


def test_nothing_but_training_loads_numba() -> None:
    """It takes half a second; `epoch` loads what needs it when the first bucket is trained."""
    assert "numba" not in loaded_by([module for module in FILES if module not in COMPILED])


def project() -> dict[str, list[Requirement]]:
    """Requirements in pyproject.toml: for the package itself under "", and for each extra; on others, not on itself."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"": table["dependencies"], **table["optional-dependencies"]}
    found = {extra: [Requirement(line) for line in lines] for extra, lines in extras.items()}
    return {extra: [need for need in needs if need.name != table["name"]] for extra, needs in found.items()}


def test_what_is_imported_is_declared_and_no_more() -> None:
    used = set().union(*(third_party(imported(module)) for module in FILES))
    assert UNSEEN | {canonicalize_name(DISTRIBUTION.get(name, name)) for name in used - OPTIONAL} == {
        canonicalize_name(requirement.name) for requirement in project()[""]
    }


def test_constraints_pin_each_requirement_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = [re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][A-Za-z0-9.]*)", line) for line in lines if line[:1] != "#"]
    assert None not in exact  # neither URLs, hashes, ranges nor local versions
    pins = {canonicalize_name(match[1]): match[2] for match in exact if match}
    assert len(pins) == len(exact)
    for requirement in [requirement for group in project().values() for requirement in group]:
        if canonicalize_name(requirement.name) == "lca-sweep":  # an extra made of others
            continue
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
