"""A worker goes on from whatever is left of a pack, in this process and without Ray."""

from __future__ import annotations

import errno
import gc
import os
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from core_strategies import made_up, unlike_trials
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_helpers import Memory

from lca_sweep.core import epoch
from lca_sweep.core.bar import Bar
from lca_sweep.core.engine import Engine
from lca_sweep.core.errors import SlowerWarning
from lca_sweep.core.halving import Halving, Hyperband, KeepAll
from lca_sweep.core.knobs import flat
from lca_sweep.core.network import ABOUT, WEIGHTS, Network
from lca_sweep.core.pack import Pack
from lca_sweep.sweep import layout
from lca_sweep.sweep import trainable as module
from lca_sweep.sweep.checkpoint import from_bytes, to_bytes
from lca_sweep.sweep.storage import PAUSES, StorageError
from lca_sweep.sweep.trainable import PackPlan, PackTrainable

EPOCHS = 7
DATA = made_up()
TRIALS = {str(trial.number): flat(trial.knobs) for trial in unlike_trials(epochs=EPOCHS)[1:5]}
ALL = tuple(TRIALS)
HALVES = (ALL[:2], ALL[2:])
CUDA, CPU = "CUDA out of memory. Tried to allocate 2 GiB.", "[enforce fail] DefaultCPUAllocator: can't allocate memory"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.sweep.storage.time.sleep", lambda seconds: None)


def plan(storage: Memory, **changes: Any) -> PackPlan:
    """A checkpoint every second epoch."""
    return replace(PackPlan(storage, "sweep", KeepAll(), 1.0, 2, 1, "cpu"), **changes)


def config(pack: int = 3, numbers: Sequence[str] = ALL, **more: Any) -> dict[str, Any]:
    return {"pack": pack, "trials": {number: TRIALS[number] for number in numbers}, **more}


def worker(plan: PackPlan, config: dict[str, Any]) -> PackTrainable:
    """As Ray would make one."""
    made = PackTrainable.__new__(PackTrainable)
    made.setup(config, data=DATA, plan=plan)
    return made


def steps(worker: PackTrainable, count: int = 10**6) -> list[dict[str, Any]]:
    """Results until it is done, or so many."""
    results = []
    while len(results) < count and not (results and results[-1]["done"]):
        results.append(worker.step())
    return results


def told(results: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [report for result in results for report in result["reports"]]


def notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return [note for result in results for note in result["notes"]]


def epochs(storage: Memory, pack: int = 3) -> list[int]:
    return [layout.epoch_of(name) for name in storage.names(layout.checkpoints(pack))]


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[Any], dict[str, bytes]]:
    """All reports of the pack, and what it leaves."""
    storage = Memory()
    return told(steps(worker(plan(storage), config()))), storage.blobs


Undisturbed = tuple[list[Any], dict[str, bytes]]


def begun(count: int, **changes: Any) -> Memory:
    """A storage in which the pack was trained for some epochs, and killed."""
    storage = Memory()
    steps(worker(plan(storage, **changes), config()), count)
    return storage


# --- results -------------------------------------------------------------------------------------------------------


def test_a_result_is_an_epoch(undisturbed: Undisturbed) -> None:
    storage = Memory()
    results = steps(worker(plan(storage), config()))
    assert [result["reports"] for result in results] == [[report] for report in undisturbed[0]]
    assert [report["epoch"] for report in undisturbed[0]] == list(range(1, EPOCHS + 1))
    assert {tuple(result) for result in results} == {("reports", "usage", "notes", "out_of_memory", "done")}
    assert [result["done"] for result in results] == [False] * (EPOCHS - 1) + [True]
    assert notes(results) == [] and {result["out_of_memory"] for result in results} == {""}


def test_what_is_written(undisturbed: Undisturbed) -> None:
    """The last two checkpoints, and each trial's weights, which come back as they were reported."""
    reports, blobs = undisturbed
    folders = [layout.trial(int(number)) for number in ALL]
    expected = {layout.checkpoint(3, epoch) for epoch in (EPOCHS - 1, EPOCHS)}
    assert blobs.keys() == expected | {f"{folder}/{file}" for folder in folders for file in (WEIGHTS, ABOUT)}
    for trial in reports[-1]["trials"]:
        folder = layout.trial(trial["trial"])
        network, about = Network.from_files({file: blobs[f"{folder}/{file}"] for file in (WEIGHTS, ABOUT)})
        assert (about["metrics"], about["epoch"]) == (trial["metrics"], EPOCHS)
        assert about["knobs"] == TRIALS[str(trial["trial"])] and network.widths[0] == DATA.inputs
        assert about["data"] == {"name": DATA.name, "digest": DATA.digest, "scale": DATA.scale}
        assert list(blobs).index(f"{folder}/{WEIGHTS}") < list(blobs).index(f"{folder}/{ABOUT}")


def test_the_same_process_takes_the_next_pack(undisturbed: Undisturbed) -> None:
    storage = Memory()
    one = worker(plan(storage), config(2, ALL[:1]))
    steps(one, 3)
    assert one.reset_config(config())
    assert told(steps(one)) == undisturbed[0]


# --- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", range(EPOCHS + 1))
def test_from_the_newest_checkpoint_bit_for_bit(undisturbed: Undisturbed, killed: int) -> None:
    """Killed at any epoch, started again: the same reports, each once, and the same files."""
    storage = begun(killed)
    results = steps(worker(plan(storage), config()))
    assert told(results) == undisturbed[0] and storage.blobs == undisturbed[1]
    saved = killed - killed % 2 if killed < EPOCHS else EPOCHS
    first = saved + 1 if killed < EPOCHS else saved
    assert len(results[0]["reports"]) == first and len(results) == EPOCHS - first + 1
    assert notes(results) == []


@settings(max_examples=10)
@given(place=st.integers(0), flip=st.integers(0, 255), killed=st.integers(3, EPOCHS))
def test_from_the_last_but_one_bit_for_bit(undisturbed: Undisturbed, place: int, flip: int, killed: int) -> None:
    """The newest is altered, or (flip 0) cut off, anywhere: it is named once, and nothing else is different."""
    storage = begun(killed)
    before, newest = [0, *epochs(storage)][-2:]
    name = layout.checkpoint(3, newest)
    content = bytearray(storage.blobs[name])
    place %= len(content)
    content[place] ^= flip
    storage.blobs[name] = bytes(content if flip else content[:place])
    results = steps(worker(plan(storage), config()))
    assert told(results) == undisturbed[0] and storage.blobs == undisturbed[1]
    (note,) = notes(results)
    assert note in results[0]["notes"]
    assert note.startswith(f"{name}: ") and note.endswith(
        f"; goes on from epoch {before}" if before else "; begins anew"
    )


def test_anew_if_no_checkpoint_is_good(undisturbed: Undisturbed) -> None:
    storage = begun(6)
    for name in storage.names("checkpoints/"):
        storage.blobs[name] = storage.blobs[name][:-1]
    results = steps(worker(plan(storage), config()))
    assert told(results) == undisturbed[0] and storage.blobs == undisturbed[1]
    assert [note.rpartition("; ")[2] for note in notes(results)] == ["begins anew"] * 2


def test_a_checkpoint_of_other_images_is_not_gone_on_from() -> None:
    storage = begun(4)
    other = PackTrainable.__new__(PackTrainable)
    other.setup(config(), data=made_up(train=140), plan=plan(storage))
    result = other.step()
    assert [report["epoch"] for report in result["reports"]] == [1]
    assert "000004.safetensors: after 20 steps; on these images it would be 28" in result["notes"][0]


def test_a_good_file_under_a_wrong_name_is_noticed(undisturbed: Undisturbed) -> None:
    storage = begun(6)
    storage.blobs[layout.checkpoint(3, 8)] = storage.blobs[layout.checkpoint(3, 6)]
    results = steps(worker(plan(storage), config()))
    assert told(results) == undisturbed[0]
    assert notes(results)[0].endswith(
        "000008.safetensors: its reports are not those of its epoch; goes on from epoch 6"
    )


@pytest.mark.parametrize("algorithm", ["gbp", "bp"])
def test_a_trial_of_few_images_goes_on_too(algorithm: str) -> None:
    """And says so in what it keeps."""
    knobs = TRIALS["2"] | {"trainer.train_size": 60, "trainer.algorithm": algorithm}
    few = {"pack": 3, "trials": {"2": knobs}}
    whole, cut = Memory(), Memory()
    expected = told(steps(worker(plan(whole), few)))
    steps(worker(plan(cut), few), 5)
    again = steps(worker(plan(cut), few))
    assert told(again[:1]) == expected[:5] and (told(again), notes(again)) == (expected, [])
    about = Network.from_files({name: cut.blobs[f"{layout.trial(2)}/{name}"] for name in (WEIGHTS, ABOUT)})[1]
    assert (about["knobs"]["trainer.train_size"], about["knobs"]["trainer.algorithm"]) == (60, algorithm)
    assert cut.blobs == whole.blobs


def test_another_sweeps_checkpoints_are_passed_over(undisturbed: Undisturbed) -> None:
    storage = begun(6, uid="another")
    results = steps(worker(plan(storage), config()))
    assert told(results) == undisturbed[0] and notes(results) == []


def test_halving_goes_on_too() -> None:
    storage, whole = Memory(), Memory()
    halving = {"pruner": Halving(2, 1), "checkpoint_every": 100}
    expected = told(steps(worker(plan(whole, **halving), config())))
    steps(worker(plan(storage, **halving), config()), 2)
    assert epochs(storage) == [1, 2], "where trials leave there is a checkpoint"
    assert told(steps(worker(plan(storage, **halving), config()))) == expected
    assert storage.blobs == whole.blobs


# --- split ---------------------------------------------------------------------------------------------------------


def of_some(reports: Sequence[Any], numbers: Sequence[str]) -> list[Any]:
    return [{**r, "trials": [t for t in r["trials"] if str(t["trial"]) in numbers]} for r in reports]


@pytest.mark.parametrize("half", HALVES)
def test_a_split_pack_goes_on(undisturbed: Undisturbed, half: Sequence[str]) -> None:
    """The same history, and then the same numbers to rounding: its matrix products are of another size."""
    storage = begun(5)
    results = steps(worker(plan(storage), config(7, half, origins=[3])))
    assert len(results[0]["reports"]) == 5 and notes(results) == []
    expected = of_some(undisturbed[0], half)
    assert told(results)[:4] == expected[:4]
    for report, wanted in zip(told(results), expected, strict=True):
        for trial, other in zip(report["trials"], wanted["trials"], strict=True):
            assert (trial["trial"], trial["state"]) == (other["trial"], other["state"])
            assert trial["metrics"] == pytest.approx(other["metrics"], rel=1e-3, abs=1e-3)
    assert epochs(storage, 3) == [2, 4] and epochs(storage, 7) == [6, 7]


def test_a_split_pack_goes_on_from_its_own_first() -> None:
    storage = begun(4)
    steps(worker(plan(storage), config(7, ALL[:3], origins=[3])), 2)
    assert epochs(storage, 7) == [6]
    assert worker(plan(storage), config(7, ALL[:3], origins=[3])).epoch == 6
    assert worker(plan(storage), config(9, ALL[:1], origins=[7, 3])).epoch == 6
    storage.blobs[layout.checkpoint(7, 6)] += b"!"
    again = worker(plan(storage), config(7, ALL[:3], origins=[3]))
    assert again.epoch == 4 and "goes on from epoch 4" in again.notes[0]
    assert worker(plan(storage), config(9, ALL[:1], origins=[7, 3])).epoch == 4


def test_without_origins_others_packs_are_not_looked_at() -> None:
    assert len(worker(plan(begun(6)), config(7, ALL[:3])).step()["reports"]) == 1


def test_a_part_that_has_ended_says_so_again() -> None:
    """The halves of a pack in which halving has taken a whole half."""
    storage = Memory()
    halving = plan(storage, pruner=Halving(2, 1), checkpoint_every=1)
    reports = told(steps(worker(halving, config()), 3))
    gone = [str(trial["trial"]) for trial in reports[0]["trials"] if trial["state"] == "pruned"]
    (result,) = steps(worker(halving, config(7, gone, origins=[3])))
    assert result["done"] and result["reports"] == of_some(reports[:1], gone)


# --- out of memory -------------------------------------------------------------------------------------------------


def failing(error: Exception, times: int = 1, instead_of: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Raises so many times, and then does what it stands for."""
    left = [times]

    def action(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        assert instead_of is not None
        return instead_of(*args, **kwargs)

    return action


LACKS = [MemoryError(), torch.OutOfMemoryError(CUDA), RuntimeError(CPU), RuntimeError("CUDA error: out of memory")]


@pytest.mark.parametrize("error", LACKS, ids=repr)
def test_no_memory_for_a_start(error: Exception, monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed) -> None:
    storage = Memory()
    monkeypatch.setattr(Pack, "start", failing(error, instead_of=Pack.start))
    one = worker(plan(storage), config())
    result = one.step()
    line = str(error) or "MemoryError"
    assert result.pop("usage") and result == {"reports": [], "notes": [], "out_of_memory": line, "done": True}
    one.cleanup()
    assert storage.blobs == {}
    one.reset_config(config())
    assert told(steps(one)) == undisturbed[0], "the process is as good as new"


def test_no_memory_in_an_epoch(monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed) -> None:
    """In the middle of the sixth: tensors are half-way, so that the checkpoint of the fourth is what counts."""
    storage = Memory()
    one = worker(plan(storage), config())
    before = steps(one, 5)  # and the checkpoint of the fourth
    tensor = weakref.ref(one.pack.like)
    with monkeypatch.context() as patched:
        patched.setattr(epoch.BucketEpoch, "finish", failing(torch.OutOfMemoryError(CUDA)))
        result = one.step()
    assert result.pop("usage") and result == {"reports": [], "notes": [], "out_of_memory": CUDA, "done": True}
    gc.collect()
    assert tensor() is None, "all is let go"
    one.cleanup()
    assert epochs(storage) == [2, 4]
    assert told(before) == undisturbed[0][:5]
    assert told(steps(worker(plan(storage), config()))) == undisturbed[0]


def test_no_memory_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed) -> None:
    """The epoch is whole: it is told, and written once there is room for it."""
    storage = Memory()
    one = worker(plan(storage), config())
    steps(one, 3)
    with monkeypatch.context() as patched:
        patched.setattr(Pack, "state", failing(MemoryError(), instead_of=Pack.state))
        result = one.step()
    assert result["reports"] == undisturbed[0][3:4] and result["out_of_memory"] == "MemoryError" and result["done"]
    assert epochs(storage) == [2, 4]


def test_no_memory_for_the_weights(monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed) -> None:
    """The last epoch is not told, as a complete trial without weights would be lost."""
    storage = begun(EPOCHS - 1)
    with monkeypatch.context() as patched:
        patched.setattr(Network, "to_files", failing(MemoryError()))
        (result,) = steps(worker(plan(storage), config()))
    assert [report["epoch"] for report in result["reports"]] == list(range(1, EPOCHS)) and result["out_of_memory"]
    assert told(steps(worker(plan(storage), config()))) == undisturbed[0]


def test_a_split_after_lack_of_memory(monkeypatch: pytest.MonkeyPatch, undisturbed: Undisturbed) -> None:
    storage = Memory()
    monkeypatch.setattr("lca_sweep.core.train.train_epoch", failing(MemoryError(), 1, epoch.train_epoch))
    assert worker(plan(storage), config()).step()["out_of_memory"]
    for pack, half in zip((7, 8), HALVES, strict=True):
        reports = told(steps(worker(plan(storage), config(pack, half, origins=[3]))))
        assert [report["epoch"] for report in reports] == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes cannot be multiplied"), ValueError("out of memory"), KeyError()]
)
def test_other_errors_are_raised(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.core.train.train_epoch", failing(error))
    with pytest.raises(type(error)):
        worker(plan(Memory()), config()).step()


def test_what_slows_a_gpu_is_told_with_the_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's workers have nobody to warn; what has nothing to do with it stays a warning."""

    def engine_for(device: str) -> Engine:
        warnings.warn("plain torch, and slower: no compiler", SlowerWarning, stacklevel=1)
        return Engine(recorded=True)

    def train_epoch(*args: Any) -> Any:
        if args[0].epoch == 2:
            warnings.warn("no graph", SlowerWarning, stacklevel=1)
            warnings.warn("of another kind", RuntimeWarning, stacklevel=1)
        return epoch.train_epoch(*args)

    monkeypatch.setattr(module, "engine_for", engine_for)
    monkeypatch.setattr("lca_sweep.core.train.train_epoch", train_epoch)
    one = worker(plan(Memory()), config())
    with pytest.warns(RuntimeWarning, match="of another kind"):
        results = steps(one)
    assert [result["notes"] for result in results[:4]] == [
        ["plain torch, and slower: no compiler"],
        [],
        ["no graph"],
        [],
    ]
    assert one.pack.engine == Engine(recorded=True) and len(told(results)) == EPOCHS


# --- the end of a worker -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(EPOCHS + 1))
def test_a_worker_that_is_stopped_keeps_what_it_has(undisturbed: Undisturbed, count: int) -> None:
    storage = Memory()
    one = worker(plan(storage, checkpoint_every=100), config())
    steps(one, count)
    writes = storage.writes
    one.cleanup()
    one.cleanup()
    news = 1 if 0 < count < EPOCHS else 0
    assert epochs(storage) == ([count] if count else []) and storage.writes == writes + news
    assert told(steps(worker(plan(storage), config()))) == undisturbed[0]


def test_a_spent_pack_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Memory()
    one = worker(plan(storage), config())
    steps(one, 3)
    monkeypatch.setattr("lca_sweep.core.train.evaluate", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        one.step()
    one.cleanup()
    assert epochs(storage) == [2]


def test_a_stopped_worker_does_not_insist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune would kill it."""
    storage = Memory()
    one = worker(plan(storage), config())
    steps(one, 3)
    storage.full, before = "", storage.writes
    one.cleanup()
    assert storage.writes == before + 1 and epochs(storage) == [2]


# --- a full disk ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_cannot_be_written(undisturbed: Undisturbed) -> None:
    storage = Memory()
    one = worker(plan(storage), config())
    results = steps(one, 3)
    storage.full = "checkpoints/"
    before = storage.writes
    results += steps(one, 1)
    assert storage.writes == before + 1 + len(PAUSES), "a few attempts"
    reason = os.strerror(errno.ENOSPC)
    assert notes(results) == [f"checkpoint of epoch 4 not written: {reason}; training goes on"]
    assert notes(steps(one, 1)) == [] and epochs(storage) == [2]
    storage.full = None
    assert notes(steps(one, 1)) == [] and epochs(storage) == [2, 6]
    rest = steps(one)
    assert told(rest) == undisturbed[0][6:] and storage.blobs == undisturbed[1]


def test_weights_that_cannot_be_written_are_not_lost(undisturbed: Undisturbed) -> None:
    """The trial is not told complete: the pack fails, and finds its weights again when there is room."""
    storage = begun(EPOCHS - 1)
    storage.full = f"{layout.trial(2)}/{ABOUT}"
    one = worker(plan(storage), config())
    with pytest.raises(StorageError, match="No space left on device"):
        steps(one)
    one.cleanup()
    assert epochs(storage) == [EPOCHS - 3, EPOCHS - 1]
    storage.full = None
    assert told(steps(worker(plan(storage), config()))) == undisturbed[0] and storage.blobs == undisturbed[1]


def test_the_last_checkpoint_that_cannot_be_written(undisturbed: Undisturbed) -> None:
    storage = begun(EPOCHS - 1)
    storage.full = "checkpoints/"
    results = steps(worker(plan(storage), config()))
    assert told(results) == undisturbed[0]
    assert notes(results) == [f"checkpoint of epoch {EPOCHS} not written: {os.strerror(errno.ENOSPC)}"]


def test_a_storage_that_is_away_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is begun anew because of that: Tune starts the pack again."""
    storage = begun(4)

    def away(prefix: str) -> list[str]:
        raise StorageError(prefix, "not reachable")

    monkeypatch.setattr(storage, "names", away)
    with pytest.raises(StorageError, match="not reachable"):
        worker(plan(storage), config())


def test_checkpoints_are_the_same_bytes_again() -> None:
    """So that two workers of one pack, of which one was thought dead, do each other no harm."""
    content = begun(4).blobs[layout.checkpoint(3, 4)]
    assert to_bytes(from_bytes(content)) == begun(4).blobs[layout.checkpoint(3, 4)] == content
    assert module.lack_of_memory(ValueError("x")) == ""


# --- what a pack's pruner is ---------------------------------------------------------------------------------------


def states(worker: PackTrainable) -> list[list[str]]:
    return [[trial["state"] for trial in report["trials"]] for report in told(steps(worker))]


def test_a_pack_of_which_nobody_is_to_leave() -> None:
    halving = plan(Memory(), pruner=Halving(2, 1))
    assert states(worker(halving, config(prune=False))) == [["running"] * 4] * (EPOCHS - 1) + [["complete"] * 4]


@pytest.mark.parametrize(
    ("more", "first"), [({"pack": 3}, 1), ({"pack": 4}, 2), ({"pack": 5}, 4), ({"pack": 9, "origins": [7, 4]}, 2)]
)
def test_a_bracket_is_that_of_the_pack_which_was_asked_for(more: dict[str, Any], first: int) -> None:
    """With 7 epochs brackets begin at 1, 2 and 4; what is pack 9 now was in pack 7 before, and at first in pack 4."""
    made = states(worker(plan(Memory(), pruner=Hyperband(2, 1)), config(**more)))
    assert next(epoch for epoch, found in enumerate(made, 1) if "pruned" in found) == first


def test_bars_come_with_the_pack() -> None:
    """By epoch, a word, as JSON has it; what is said of those that leave is in the reports."""
    reports = told(steps(worker(plan(Memory(), pruner=Bar("median")), config(bars={"3": 2.0}))))
    assert [report["epoch"] for report in reports] == [1, 2, 3]
    for trial in reports[-1]["trials"]:
        assert trial["state"] == "pruned" and trial["reason"].endswith("below the median 2.0000 at epoch 3")
        assert trial["left"] == {"epoch": 3, "value": trial["metrics"]["val/accuracy"], "bar": 2.0}
