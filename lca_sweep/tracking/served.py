"""MLflow's way into a registered model: this file and the core travel with the weights, under a name of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from lca_sweep.core.classifier import DRAWS, Classifier
from lca_sweep.core.errors import UserError


class ServedModel:
    """A trial's classifier as MLflow calls it."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """`probability` and `std`, both (images, classes), for pixels (images, inputs): see Classifier.probabilities.

        `params` are `draws` and `seed`. MlflowException in one line, which its server answers as a bad request.
        """
        told = {"draws": DRAWS} | (params or {})
        try:
            return dict(self.classifier.probabilities(model_input, **told))
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _load_pyfunc(path: str) -> ServedModel:
    """What MLflow calls to load the model whose files are in `path`."""
    return ServedModel(Classifier.load(Path(path)))
