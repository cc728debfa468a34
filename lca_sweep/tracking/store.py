"""One MLflow experiment, and the few calls that are made to it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lca_sweep.tracking.entries import METRICS_A_CALL, Epoch
from lca_sweep.tracking.registry import Registry
from lca_sweep.tracking.writer import Refused

T = TypeVar("T")

PARAMS_A_CALL = TAGS_A_CALL = 100
LONGEST_PARAM, LONGEST_TAG = 6000, 8000  # characters
# A second attempt gets the same answer. (MLflow says INVALID_PARAMETER_VALUE also for runs that were deleted.) Rights
# are not among them: they can be given back.
FINAL = frozenset({"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"})


@dataclass(frozen=True)
class Found:
    """A run that is there already."""

    id: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]  # the latest
    steps: Mapping[str, int]  # of these
    has_inputs: bool = False  # whether it is known what it was made from


@dataclass(frozen=True)
class Change:
    """A run's new MLflow status, and tags to set with it (None: to take away); `time` in milliseconds since 1970."""

    run: str
    status: str
    tags: Mapping[str, str | None]
    time: int


class Store:
    """The runs of one experiment. Calls raise Refused for good, or any other exception when one may try again."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client, self.experiment_id = client, experiment_id
        self.registry = Registry(client)

    def find(self, tags: Mapping[str, str]) -> list[Found]:
        """The runs that have all these tags, the oldest first; deleted ones are not there."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found: list[Found] = []
        token: str | None = None
        with _answers():
            while token != "":
                page = self._client.search_runs(
                    [self.experiment_id], wanted, order_by=["attributes.start_time ASC"], page_token=token
                )
                found += [_found(run) for run in page]
                token = page.token or ""
        return found

    def get(self, run: str) -> Found:
        """A run by its id; Refused if there is none."""
        with _answers():
            return _found(self._client.get_run(run))

    def create(self, name: str, tags: Mapping[str, str], time: int) -> str:
        """Id of a new run, RUNNING since `time`."""
        with _answers():
            run = self._client.create_run(self.experiment_id, time, _cut(tags, LONGEST_TAG), name)
            return str(run.info.run_id)

    def delete(self, run: str) -> None:
        """Take a run away from people's eyes; MLflow keeps it, and can restore it."""
        with _answers():
            self._client.delete_run(run)

    def params(self, run: str, params: Mapping[str, str]) -> None:
        """Add params; Refused if one is there with another value."""
        with _answers():
            for chunk in _chunks([Param(key, value) for key, value in params.items()], PARAMS_A_CALL):
                self._client.log_batch(run, params=chunk, synchronous=True)

    def inputs(self, run: str, inputs: Sequence[DatasetInput]) -> None:
        """Say what a run is made from; saying it again changes nothing."""
        with _answers():
            self._client.log_inputs(run, list(inputs))

    def log(self, run: str, epochs: Sequence[Epoch]) -> None:
        """Add metrics: a call is one transaction, in SQLite, and holds whole epochs unless one alone is too large."""
        metrics = [Metric(key, value, e.time, e.step) for e in epochs for key, value in e.metrics.items()]
        with _answers():
            for chunk in _chunks(metrics, METRICS_A_CALL):
                self._client.log_batch(run, metrics=chunk, synchronous=True)

    def change(self, change: Change) -> None:
        """Set tags, then the status."""
        self.tag(change.run, change.tags)
        with _answers():
            if change.status == "RUNNING":
                self._client.update_run(change.run, status=change.status)
            else:
                self._client.set_terminated(change.run, change.status, change.time)

    def tag(self, run: str, tags: Mapping[str, str | None]) -> None:
        """Set tags (None: take them away), whatever the run's status is."""
        with _answers():
            for key in [key for key, value in tags.items() if value is None]:
                self._take_away(run, key)
            new = _cut({key: value for key, value in tags.items() if value is not None}, LONGEST_TAG)
            for chunk in _chunks([RunTag(key, value) for key, value in new.items()], TAGS_A_CALL):
                self._client.log_batch(run, tags=chunk, synchronous=True)

    def _take_away(self, run: str, tag: str) -> None:
        try:
            self._client.delete_tag(run, tag)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # else it was not there
                raise

    def text(self, run: str, text: str, path: str) -> None:
        """Write an artifact."""
        with _answers():
            self._client.log_text(run, text, path)

    def folder(self, run: str, folder: Path, path: str) -> None:
        """Copy a folder's content into an artifact folder."""
        with _answers():
            self._client.log_artifacts(run, str(folder), path)


def param_text(text: str) -> str:
    """A param's text as MLflow will keep it."""
    return text[:LONGEST_PARAM]


def milliseconds() -> int:
    """Now, as MLflow counts it."""
    return time.time_ns() // 1_000_000


def _found(run: Run) -> Found:
    data = run.data
    steps = {metric.key: int(metric.step) for metric in data.to_proto().metrics}
    has_inputs = bool(run.inputs and run.inputs.dataset_inputs)
    return Found(
        run.info.run_id, run.info.status, dict(data.tags), dict(data.params), dict(data.metrics), steps, has_inputs
    )


def _cut(texts: Mapping[str, str], longest: int) -> dict[str, str]:
    return {key: text[:longest] for key, text in texts.items()}


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


@contextmanager
def _answers() -> Iterator[None]:
    """Tell a final no from an accident."""
    try:
        yield
    except MlflowException as error:
        if error.error_code in FINAL:
            raise Refused(str(error)) from error
        raise
