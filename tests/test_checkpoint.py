"""A checkpoint comes back as it was or not at all, and the one before it is there then."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as bytes_of
from storage_helpers import Memory
from torch import Tensor

from lca_sweep.core.knobs import TrialKnobs, flat, replace
from lca_sweep.sweep import checkpoint, layout
from lca_sweep.sweep.checkpoint import Checkpoint, Owner, UnusableError, from_bytes, to_bytes
from lca_sweep.sweep.storage import StorageError, storage_at

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
numbers = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(max_size=5))
reports = st.lists(st.dictionaries(names, numbers, max_size=3), max_size=3)
shapes = st.lists(st.integers(0, 3), max_size=3)
ME = Owner.of("sweep", {"1": {"lr": 0.1}, "2": {"lr": 0.2}})


def example(epoch: int = 3, owner: Owner = ME) -> Checkpoint:
    """As if its trials were trained, and the largest number pruned at the first epoch but one."""
    numbers = [int(number) for number in owner.trials]
    live = numbers if epoch < 2 else numbers[:1]
    state = {number: "running" if number in live else "pruned" for number in numbers}
    history = [
        {
            "epoch": e,
            "trials": [
                {"trial": n, "state": state[n] if e == epoch or e >= 2 else "running"}
                for n in (numbers if e <= 2 else live)
            ],
        }
        for e in range(1, epoch + 1)
    ]
    tensors = {f"{n}.layer1.w.m": torch.full((2, 3), float(100 * n + epoch)) for n in live}
    return Checkpoint(owner, tensors, {"epoch": epoch, "steps": 7 * epoch, "live": live}, history)


def accept(found: Checkpoint) -> None:
    """No further wishes."""


def find(
    storage: Memory, owner: Owner = ME, packs: tuple[int, ...] = (3,)
) -> tuple[int | None, list[str], Checkpoint | None]:
    """Epoch, notes, and all of it."""
    found, notes = checkpoint.find(storage, packs, owner, accept)
    return found.about["epoch"] if found else None, notes, found


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        a.dtype == other[name].dtype and torch.equal(a, other[name]) for name, a in one.items()
    )


# --- bytes ---------------------------------------------------------------------------------------------------------


@given(shape=shapes, about=st.dictionaries(names, numbers, max_size=3), history=reports, seed=st.integers(0, 99))
def test_it_comes_back(shape: list[int], about: dict[str, Any], history: list[dict[str, Any]], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    tensors = {
        "a.b": torch.randn(shape, generator=rng),
        "steps": torch.tensor(seed),
        "half": torch.randn(shape, generator=rng).bfloat16(),
    }
    back = from_bytes(to_bytes(Checkpoint(ME, tensors, about, history)))
    assert (back.owner, back.about, back.history) == (ME, about, history)
    assert same(back.tensors, tensors)


def test_a_loss_that_is_no_number_comes_back() -> None:
    """Reports of failed trials are part of the history."""
    back = from_bytes(to_bytes(Checkpoint(ME, {}, {}, [{"loss": math.nan, "other": math.inf}])))
    assert back.tensors == {} and math.isnan(back.history[0]["loss"]) and back.history[0]["other"] == math.inf


def test_words_that_look_like_a_digest_do_no_harm() -> None:
    tricky = [{"reason": '"digest":"' + "0" * 64 + '"', "digest": "0" * 64}]
    owner = Owner('"digest":"' + "f" * 64 + '"', {})
    back = from_bytes(to_bytes(Checkpoint(owner, {"digest": torch.zeros(2)}, {"digest": "0" * 64}, tricky)))
    assert (back.owner, back.history, back.about) == (owner, tricky, {"digest": "0" * 64})


@given(place=st.integers(0), flip=st.integers(1, 255))
def test_any_altered_byte_is_noticed(place: int, flip: int) -> None:
    """Anywhere: in the header's length, its JSON and the blanks after it, the digest, the tensors."""
    content = bytearray(to_bytes(example()))
    content[place % len(content)] ^= flip
    with pytest.raises(UnusableError, match=r"^(damaged \(.*\)|of format .; this version reads 2)$"):
        from_bytes(bytes(content))


@given(length=st.integers(0), tail=st.binary(max_size=3))
def test_any_truncation_is_noticed(length: int, tail: bytes) -> None:
    whole = to_bytes(example())
    content = whole[: length % len(whole)] + tail
    if content != whole:
        with pytest.raises(UnusableError, match="damaged"):
            from_bytes(content)
    with pytest.raises(UnusableError, match="damaged"):
        from_bytes(whole + b"x")


@given(st.binary(max_size=300))
def test_bytes_that_were_never_a_checkpoint(content: bytes) -> None:
    with pytest.raises(UnusableError):
        from_bytes(content)


@pytest.mark.parametrize("form", ["1", "3", "99"])
def test_another_format_is_named(form: str) -> None:
    content = bytes_of({"w": torch.zeros(1)}, metadata={"checkpoint": json.dumps({"digest": "", "format": form})})
    with pytest.raises(UnusableError, match=f"^of format {form}; this version reads 2$"):
        from_bytes(content)


def test_a_header_without_our_fields() -> None:
    """Right format and right digest, but not ours: made by hand."""
    blank = bytes_of({}, metadata={"checkpoint": json.dumps({"digest": "0" * 64, "format": "2"})})
    content = blank.replace(b"0" * 64, checkpoint._sha256(blank).encode())
    with pytest.raises(UnusableError, match=r"^not a checkpoint \('uid'\)$"):
        from_bytes(content)


# --- which one is gone on from -------------------------------------------------------------------------------------


def stored(*epochs: int) -> Memory:
    """As a pack writes them."""
    storage, last = Memory(), 0
    for epoch in epochs:
        checkpoint.save(storage, 3, example(epoch), keep=last)
        last = epoch
    return storage


def test_the_last_two_are_kept() -> None:
    storage = stored(5, 10, 15, 20)
    assert list(storage.blobs) == [layout.checkpoint(3, 15), layout.checkpoint(3, 20)]
    epoch, notes, found = find(storage)
    assert (epoch, notes) == (20, []) and found is not None
    assert same(found.tensors, example(20).tensors) and found.history == example(20).history


def test_nothing_is_deleted_before_the_new_one_is_there() -> None:
    storage = stored(5, 10)
    storage.full = ""
    with pytest.raises(StorageError):
        checkpoint.save(storage, 3, example(15), keep=10)
    assert list(storage.blobs) == [layout.checkpoint(3, 5), layout.checkpoint(3, 10)]


def test_one_that_cannot_be_deleted_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = stored(5, 10)

    def refuse(name: str) -> None:
        raise StorageError(name, "access denied")

    monkeypatch.setattr(storage, "delete", refuse)
    checkpoint.save(storage, 3, example(15), keep=10)
    assert find(storage)[:2] == (15, [])


@given(place=st.integers(0), flip=st.integers(0, 255))
def test_from_a_damaged_one_to_the_one_before(place: int, flip: int) -> None:
    """Altered or (flip 0) cut off anywhere."""
    storage, name = stored(15, 20), layout.checkpoint(3, 20)
    content = bytearray(storage.blobs[name])
    place %= len(content)
    content[place] ^= flip
    storage.blobs[name] = bytes(content if flip else content[:place])
    epoch, notes, found = find(storage)
    assert epoch == 15 and found is not None and same(found.tensors, example(15).tensors)
    (note,) = notes
    assert note.startswith(f"{name}: ") and note.endswith("; goes on from epoch 15")
    assert name in storage.blobs, "left for people to look at"


def test_if_none_is_good_the_pack_begins_anew() -> None:
    storage = stored(15, 20)
    storage.blobs[layout.checkpoint(3, 15)] += b"!"
    storage.blobs[layout.checkpoint(3, 20)] = b""
    assert find(storage)[:2] == (
        None,
        [
            "checkpoints/pack-0003/000020.safetensors: damaged (its header cannot be read); begins anew",
            "checkpoints/pack-0003/000015.safetensors: damaged (digest differs); begins anew",
        ],
    )
    assert find(Memory())[:2] == (None, [])


def test_one_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lca_sweep.sweep.storage.time.sleep", lambda seconds: None)
    storage = storage_at(str(tmp_path))
    for epoch in (15, 20):
        checkpoint.save(storage, 3, example(epoch))
    file = tmp_path / layout.checkpoint(3, 20)
    file.unlink()
    file.with_name("stray").write_text("not one of ours")
    file.symlink_to(file.name)  # as root, permissions would be no obstacle
    found, notes = checkpoint.find(storage, [3], ME, accept)
    assert found is not None and found.about["epoch"] == 15
    assert len(notes) == 1 and "000020.safetensors: cannot be read (" in notes[0]


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 19},  # under another name
        {"live": [1, 2]},  # a trial that has left
        {"live": []},
        {"live": None},
    ],
)
def test_reports_that_do_not_agree_with_the_state(change: dict[str, Any]) -> None:
    storage, wrong = stored(15), example(20)
    wrong = Checkpoint(ME, wrong.tensors, {**wrong.about, **change}, wrong.history)
    storage.blobs[layout.checkpoint(3, 20)] = to_bytes(wrong)
    epoch, notes, _ = find(storage)
    assert epoch == 15 and "its reports are not those of its epoch" in notes[0]


def test_what_the_pack_cannot_go_on_from() -> None:
    fresh = {"1.layer1.w.m": torch.zeros(2, 3), "2.layer1.w.m": torch.zeros(4, 3)}
    good = example(20)
    checkpoint.check_fits(good, fresh, 140)
    for tensors in (
        {},
        {"1.layer1.w.m": torch.zeros(3, 2)},
        {"1.layer1.w.m": torch.zeros(2, 3).double()},
        {**good.tensors, "9.layer1.w.m": torch.zeros(1)},
    ):
        with pytest.raises(UnusableError, match="its tensors are not those of its trials"):
            checkpoint.check_fits(Checkpoint(ME, tensors, good.about, good.history), fresh, 140)
    with pytest.raises(UnusableError, match="after 140 steps; on these images it would be 141"):
        checkpoint.check_fits(good, fresh, 141)


# --- whose ---------------------------------------------------------------------------------------------------------

ONE, TWO = (Owner(ME.uid, {number: ME.trials[number]}) for number in ("1", "2"))


OLD = "096e5239a0372a16300d0270dcd548f8254a357f7d16021d9368dc3a6a28669d"  # of the default knobs, when there were fewer


def test_a_trial_from_before_a_knob_was_added_is_known_again() -> None:
    """As long as it has the value that then went without saying."""

    def digest(values: Mapping[str, Any]) -> str:
        return Owner.of("sweep", {"0": flat(replace(TrialKnobs(), values))}).trials["0"]

    assert digest({}) == OLD
    others = ({"trainer.algorithm": "bp"}, {"trainer.train_size": 500}, {"prior.kind": "none"})
    assert len({OLD, *map(digest, others)}) == 4


@pytest.mark.parametrize(
    "other",
    [
        Owner("another sweep", ME.trials),
        Owner.of("sweep", {"1": {"lr": 0.1}, "2": {"lr": 0.3}}),
        ONE,
        Owner("sweep", {}),
    ],
)
def test_what_others_left_is_passed_over_in_silence(other: Owner) -> None:
    storage = stored(15)
    storage.blobs[layout.checkpoint(3, 20)] = to_bytes(example(20, Owner(other.uid, {**other.trials, "9": "x"})))
    assert find(storage)[:2] == (15, [])


def test_order_of_knobs_and_trials_does_not_matter() -> None:
    again = Owner.of("sweep", {"2": {"lr": 0.2}, "1": {"lr": 0.1}})
    assert again.is_in(ME) and ME.is_in(again)
    assert Owner.of("s", {"1": {"a": 1, "b": 2}}) == Owner.of("s", {"1": {"b": 2, "a": 1}})


def test_a_part_of_a_pack() -> None:
    """Only its trials' state, and its trials' reports: of trial 2, which left in the second epoch, two reports."""
    storage = stored(15)
    _, notes, one = find(storage, ONE, (7, 3))
    assert notes == [] and one is not None and one.owner == ONE
    assert (one.tensors.keys(), one.about) == ({"1.layer1.w.m"}, {"epoch": 15, "steps": 105, "live": [1]})
    assert [[trial["trial"] for trial in report["trials"]] for report in one.history] == [[1]] * 15
    _, _, two = find(storage, TWO, (7, 3))
    assert two is not None and two.tensors == {} and two.about["live"] == []
    assert [report["epoch"] for report in two.history] == [1, 2]
    assert two.history[-1]["trials"] == [{"trial": 2, "state": "pruned"}]


def test_its_own_first_and_then_the_nearest_origin() -> None:
    storage = stored(15)
    checkpoint.save(storage, 5, example(10))
    assert find(storage, ONE, (7, 5, 3))[0] == 10
    checkpoint.save(storage, 7, example(4).only(ONE))
    assert find(storage, ONE, (7, 5, 3))[0] == 4
    storage.blobs[layout.checkpoint(7, 4)] += b"!"
    epoch, notes, _ = find(storage, ONE, (7, 5, 3))
    assert epoch == 10
    assert notes == ["checkpoints/pack-0007/000004.safetensors: damaged (digest differs); goes on from epoch 10"]


def test_nothing_is_unpickled() -> None:
    """The header is JSON, and what is left is what safetensors allows."""
    content = to_bytes(example())
    length = int.from_bytes(content[:8], "little")
    assert json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["checkpoint"])["format"] == "2"


def test_names_differ_and_sort() -> None:
    packs = (0, 1, 9999, 10000)
    places = [layout.checkpoint(pack, epoch) for pack in packs for epoch in (1, 9, 10, 999999, 1000000)]
    places += [layout.trial(number) for number in packs]
    assert len(set(places)) == len(places)
    for pack in packs:
        ours = [place for place in places if place.startswith(layout.checkpoints(pack))]
        assert [layout.epoch_of(place) for place in ours] == [1, 9, 10, 999999, 1000000]
