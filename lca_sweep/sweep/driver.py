"""The driver: from a config to a finished sweep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from importlib import import_module
from typing import Any

from lca_sweep.config import Config, KnobError
from lca_sweep.core.data import Splits
from lca_sweep.core.knobs import check_precision, replace
from lca_sweep.search.sampler import check_installed
from lca_sweep.search.space import Space, bounds
from lca_sweep.search.storage import database, journal
from lca_sweep.search.study import Study
from lca_sweep.sweep.cluster import connected
from lca_sweep.sweep.console import can_redraw, wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.finals import check_finals
from lca_sweep.sweep.folder import begun_size, derived_name, folder_path, is_known, opened
from lca_sweep.sweep.lock import Lost
from lca_sweep.sweep.noise import LOGS, aside
from lca_sweep.sweep.provenance import data_of
from lca_sweep.sweep.room import Resources
from lca_sweep.sweep.sizing import pack_size
from lca_sweep.sweep.stopping import INTERRUPT, Reason, Stopping
from lca_sweep.sweep.storage import StorageError, storage_at, storage_of
from lca_sweep.sweep.view import View
from lca_sweep.sweep.warm import warm_start
from lca_sweep.tracking import Tracker, TrackingError, check, modules_for, open_tracker


def run(config: Config, space: Space) -> int:
    """Run, resume or extend a sweep; the exit status.

    0: all trials ended, or the sweep's goal or time budget is reached; 1: all ended and none is complete; 3: something
    it needs was lost on the way (a disk, a database); 130, 143: interrupted, terminated. After 3, 130 and 143 the same
    command goes on. Everything that can be refused is refused before anything is written.
    """
    began = time.monotonic()
    check_installed(config.search)
    data = data_of(config)
    _check_images(config, space, data)
    asked, name = config, config.sweep.name or derived_name(config)
    path = folder_path(asked, name)
    config = replace(config, {"pack.size": begun_size(asked, path) or pack_size(asked, space, data)})
    _check_storage(config)
    check_finals(config, space)
    warm = warm_start(config, space, name)
    check(config.tracking.uri)
    books = database(config.search.storage) if config.search.storage else None
    view, stopping = View(name, config), Stopping(config.sweep, goal=config.search.goal())
    with ExitStack() as stack:
        # what needs Ray for sure starts it first: should it not answer, nothing is written yet
        is_new = not is_known(path) or config.sweep.resume == "never"
        resources = _start_ray(config, stack) if is_new else None
        from lca_sweep.sweep.running import Running  # not sooner: torch takes a second, in which Ray could start

        tracker = open_tracker(config.tracking.uri, config.tracking.experiment, path / "outbox")
        folder = stack.enter_context(opened(asked, path, view.say, config.pack.size))
        stack.enter_context(aside(folder.path / LOGS))
        stack.enter_context(_closing(tracker))  # before the folder's lock goes, under which the outbox is
        folder.lock.on_stop(partial(_asked_to_stop, stopping, tracker))
        study = Study.open(config, folder.study, space, books or journal(folder.path), view.warn)
        study.claim(folder.uid)
        warm.write(study)
        storage = storage_of(config, folder.path, folder.uid, folder.study)
        sweep = Running(config, space, data, name, folder, storage, study, tracker, view, stopping)
        if resources is None and sweep.work_left():
            resources = _start_ray(config, stack)
        stack.enter_context(stopping.signals())
        return sweep.run(resources, began)


@contextmanager
def _closing(tracker: Tracker) -> Iterator[None]:
    """Close the tracker at the end; what was wrong before counts for more than what it has to say."""
    try:
        yield
    except BaseException:
        with suppress(TrackingError):
            tracker.close()
        raise
    tracker.close()


def _asked_to_stop(stopping: Stopping, tracker: Tracker, lost: Lost | None) -> None:
    """From the lock's thread: somebody asks for an end, or has taken the sweep over; then no store hears of us."""
    if lost:
        tracker.abandon()
        stopping.fail(lost)
    else:
        stopping.ask(Reason("asked to stop", INTERRUPT.status))


@contextmanager
def _importing(uri: str) -> Iterator[None]:
    """Import meanwhile what comes next: Ray's processes start one after the other, and leave a core idle.

    Raises what an import raises. Whoever is interrupted waits for a part of it only.
    """
    pool = ThreadPoolExecutor(1)
    try:
        modules = ("torch", "lca_sweep.sweep.running", *modules_for(uri))
        imports = [pool.submit(import_module, module) for module in modules]
        yield
        for one in imports:
            one.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start_ray(config: Config, stack: ExitStack) -> Resources:
    """Raises SweepError or KnobError if there is not what the config asks for."""
    console = wide_console()
    redraws = can_redraw(console)
    if not redraws:
        console.print("starting Ray")
    with console.status("starting Ray") if redraws else nullcontext():
        found = stack.enter_context(connected(config.cluster, _importing(config.tracking.uri)))
    check_precision(config.trainer.precision, found.device)
    return found


def _check_storage(config: Config) -> None:
    """Raise SweepError if nothing could be kept where checkpoints and weights are to go."""
    place = config.sweep.storage
    if place is None:
        return  # the sweep's folder is checked by itself
    try:
        storage_at(place).check()
    except StorageError as error:
        raise SweepError(f"sweep.storage={place}: {error.reason}") from error


def _check_images(config: Config, space: Space, data: Splits) -> None:
    """Raise KnobError unless any trial of the sweep has as many training images as it needs."""
    there = len(data.train.y)
    smallest, largest = bounds("trainer.train_size", space, config)
    batch = bounds("trainer.batch_size", space, config)[1]
    has = f"{data.name} has {there} training images"
    if largest is not None and largest > there:
        raise KnobError(f"{_said('trainer.train_size', largest, space)}: {has}; must be <= {there}")
    if smallest is None and batch > there:
        raise KnobError(f"{_said('trainer.batch_size', batch, space)}: {has}; must be <= {there}")
    if smallest is not None and batch > smallest:
        least = _said("trainer.train_size", smallest, space)
        raise KnobError(f"{_said('trainer.batch_size', batch, space)}: must be <= {least}")


def _said(knob: str, value: Any, space: Space) -> str:
    """Where the user has given a knob this value."""
    return f"sweep.space.{knob}: {value}" if knob in space else f"{knob}={value}"
