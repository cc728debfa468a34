"""The model registry of an MLflow store, and the few calls that are made to it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lca_sweep.tracking.writer import Refused

OURS = {"lca.kind": "sweep"}  # tag of the models that sweeps have made
PATIENCE = 10  # seconds for a registry that copies the files before a version is ready
# What may be otherwise the next time. Unlike with runs all else is a no: there are stores and users without a registry.
ACCIDENTS = frozenset(
    {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "RESOURCE_CONFLICT"}
)


def model_name(sweep: str) -> str:
    """A sweep's name as one that MLflow takes for a model, and in an address like `models:/NAME@best`."""
    return re.sub(r"^\.+", "_", re.sub(r"[^A-Za-z0-9_.-]", "_", sweep)) or "_"


class Registry:
    """Its models by name. Calls raise Refused for good, or any other exception when one may try again."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def model(self, name: str, description: str) -> None:
        """Have a model of that name, made if need be; Refused if there is one that is not a sweep's."""
        with _answers():
            found = self._find(name) or self._make(name, description)
            if not found.tags.items() >= OURS.items():
                raise Refused(f"there is a model {name} already, which is not a sweep's")

    def version(self, name: str, tags: Mapping[str, str]) -> str:
        """The newest version of a model that has all these tags; empty if there is none."""
        with _answers():
            found, token = [], ""
            while True:
                page = self._client.search_model_versions(f"name = '{name}'", page_token=token or None)
                found += [int(one.version) for one in page if tags.items() <= one.tags.items()]
                token = page.token or ""
                if not token:
                    return str(max(found)) if found else ""

    def add(self, name: str, run: str, path: str, tags: Mapping[str, str], description: str) -> str:
        """A new version of a model, out of artifacts of a run."""
        with _answers():
            source = f"{self._client.get_run(run).info.artifact_uri.rstrip('/')}/{path}"
            made = self._client.create_model_version(
                name, source, run, dict(tags), description=description, await_creation_for=PATIENCE
            )
            return str(made.version)

    def alias(self, name: str, alias: str, version: str) -> None:
        """Have the alias stand for this version."""
        with _answers():
            if str(self._client.get_registered_model(name).aliases.get(alias)) != version:
                self._client.set_registered_model_alias(name, alias, version)

    def describe(self, name: str, description: str, instead_of: Collection[str]) -> None:
        """Have a model this description, if it has one of those; what somebody else has written stays."""
        with _answers():
            there = self._client.get_registered_model(name).description
            if there != description and there in instead_of:
                self._client.update_registered_model(name, description)

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Have a model these tags, which the list of models shows."""
        with _answers():
            there = self._client.get_registered_model(name).tags
            for key, value in tags.items():
                if there.get(key) != value:
                    self._client.set_registered_model_tag(name, key, value)

    def _find(self, name: str) -> RegisteredModel | None:
        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        return None

    def _make(self, name: str, description: str) -> RegisteredModel:
        try:
            return self._client.create_registered_model(name, dict(OURS), description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else another sweep was quicker
                raise
        return self._client.get_registered_model(name)


@contextmanager
def _answers() -> Iterator[None]:
    """Tell a final no from an accident."""
    try:
        yield
    except MlflowException as error:
        if error.error_code in ACCIDENTS:
            raise
        raise Refused(str(error)) from error
