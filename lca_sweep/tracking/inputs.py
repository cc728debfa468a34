"""A data set as MLflow knows it: one for the images of each purpose, so that runs say what they were made from."""

from __future__ import annotations

import json

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from lca_sweep.tracking.records import DataRecord

DIGEST = 16  # characters, as in the tag `data.digest`; MLflow takes 36


def inputs_of(data: DataRecord) -> list[DatasetInput]:
    """Training, validation and test images, each as a data set in its context: the digest is of all of them together.

    A run cannot have one data set in two contexts, hence the names: `mnist training`.
    """
    return [
        DatasetInput(
            Dataset(
                name=f"{data.name} {context}",
                digest=data.digest[:DIGEST],
                source_type="lca_sweep",
                source=json.dumps({"data.name": data.name}),
                schema=_schema(data),
                profile=json.dumps({"images": count, "inputs": data.inputs, "classes": data.classes}),
            ),
            [InputTag(MLFLOW_DATASET_CONTEXT, context)],
        )
        for context, count in data.images.items()
    ]


def _schema(data: DataRecord) -> str:
    """An image is a row of bytes, a label a whole number."""
    pixels = {"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, data.inputs]}}
    labels = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    return json.dumps({"mlflow_tensorspec": {"features": json.dumps([pixels]), "targets": json.dumps([labels])}})
