"""A trial's weights as an MLflow model that loads without lca_sweep, or beside another version; no pickle."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import re
import warnings
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import ModuleType

from mlflow.models import Model, infer_signature

from lca_sweep.core.classifier import DRAWS, Classifier

REQUIRED = ("torch", "numpy", "safetensors")  # what the core imports when it is loaded
SERVED = "served"


def pack_model(artifacts: Path, folder: Path, run: str, path: str) -> None:
    """Make `folder` an MLflow model of the trial in `artifacts`, to be uploaded to `path` of this run.

    UserError if there is no sound network in `artifacts`. No code of the model runs, and nothing in MLflow is set.
    """
    classifier = Classifier.load(artifacts)
    example = classifier.example()
    # Inputs are not in the signature: MLflow would take one type of numbers only, and refuse others in many lines.
    answer = classifier.probabilities(example, draws=1)
    params = {"draws": DRAWS, "seed": classifier.seed}
    code = folder.with_name(f"{folder.name}-code")
    package = pack_code(code)
    _pyfunc().save_model(
        str(folder),
        loader_module=f"{package}.{SERVED}",
        data_path=str(artifacts),
        code_paths=[str(code / package)],
        mlflow_model=Model(artifact_path=path, run_id=run),
        signature=infer_signature(model_output=answer, params=params),
        input_example=example,
        pip_requirements=requirements(),
    )


def pack_code(folder: Path) -> str:
    """Copy the core, and MLflow's way into it, into `folder` as a package; its name.

    The name has a digest of the code in it: whichever versions of lca_sweep a process has loaded already, none of them
    is taken for this one, nor this one for any of them.
    """
    texts = _sources()
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()
    package = f"lca_sweep_{digest[:12]}"
    for path, text in texts.items():
        target = folder / package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"\blca_sweep\b", package, text), encoding="utf-8")
    return package


def requirements() -> list[str]:
    """What the code needs beside Python and MLflow, as pip knows it, in the versions of this process."""
    versions = {name: importlib.metadata.version(name) for name in REQUIRED}
    return [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()]  # no index has 2.13.0+cpu


def _pyfunc() -> ModuleType:
    """MLflow's part of that name, which warns of its own type hints when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("mlflow.pyfunc")


def _sources() -> Mapping[str, str]:
    """Path in the package to be, and text, of each file."""
    root = resources.files("lca_sweep")
    served = root.joinpath("tracking", f"{SERVED}.py")
    core = {f"core/{file.name}": _text(file) for file in root.joinpath("core").iterdir() if file.name.endswith(".py")}
    return {"__init__.py": _text(root.joinpath("__init__.py")), f"{SERVED}.py": _text(served), **core}


def _text(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")
