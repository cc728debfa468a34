"""Training as a GPU does it: on CPU tensors, in plain torch and by kernels; and on a GPU where there is one.

That a trial feels neither mates nor interruptions is in tests/test_pack.py, for this way of training too.
"""

from __future__ import annotations

import copy
import gc
import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from core_strategies import CLASSES, INPUTS, close, made_up, packs, seeds, trials, unlike_trials
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lca_sweep.core import KnobError, Pack, Splits, Trial, device, engine, epoch, fit, gbp, graph, load, philox
from lca_sweep.core.adam import BatchedAdam, ProjectedAdam, rises
from lca_sweep.core.device import DeviceRun, evaluate_on_device
from lca_sweep.core.engine import Engine
from lca_sweep.core.errors import SlowerWarning
from lca_sweep.core.images import load_ordered
from lca_sweep.core.pack import Bucket
from lca_sweep.core.rng import Purpose
from lca_sweep.core.spikeslab import SpikeSlab

PLAIN, FUSED = Engine(recorded=True), Engine(recorded=True, kernels=True)
DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])


def start(members: list[Trial], used: Engine = PLAIN, **options: Any) -> Pack:
    return Pack.start(members, INPUTS, CLASSES, engine=used, **options)


def both_kinds(**shared: Any) -> list[Trial]:
    """Trials of all sorts, padded; two of ordinary back-propagation among them."""
    plain = {"trainer.algorithm": "bp"}
    return [
        *unlike_trials(**shared),
        *(Trial(7 + n, one.knobs) for n, one in enumerate(trials(plain, {**plain, "model.widths": [5, 3]}, **shared))),
    ]


def last(pack: Pack, data: Splits) -> Mapping[int, Mapping[str, float]]:
    """Metrics of the last epoch by trial."""
    *_, report = fit(pack, data)
    return {trial.trial: trial.metrics for trial in report.trials}


def same(pack: Pack, other: Pack, tolerance: float) -> None:
    """Assert equal weights and optimiser states, relative to the largest number of each tensor."""
    (tensors, about), (others, rest) = pack.state(), other.state()
    assert tensors.keys() == others.keys() and about == rest
    for name, tensor in tensors.items():
        close(tensor, others[name], tolerance)


def by_counters(self: epoch.Noise) -> list[Tensor]:
    """What the CPU's noise is, drawn as a device draws it."""
    return next(self.counted)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's own way of training, but with noise by counters."""
    made = epoch.Noise.__init__

    def init(self: epoch.Noise, bucket: Bucket, purpose: Purpose, number: int, batch: int) -> None:
        made(self, bucket, purpose, number, batch)
        keys = philox.keys([trial.knobs.init.seed for trial in bucket.trials], purpose, number)
        training = purpose is Purpose.TRAIN
        self.counted = (  # type: ignore[attr-defined]
            device.noise_of(
                device.noisy(bucket),
                self.eps[0].dtype if self.eps else torch.float32,
                keys,
                torch.tensor(step if training else 0),
                torch.arange(batch) + (0 if training else batch * step),
            )
            for step in range(10**6)
        )

    monkeypatch.setattr(epoch.Noise, "__init__", init)
    monkeypatch.setattr(epoch.Noise, "draw", by_counters)


# -- the same numbers -------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("padding", [1.0, math.inf])
def test_it_is_the_cpus_training_on_other_noise(
    counted: None, dtype: torch.dtype, tolerance: float, padding: float
) -> None:
    """Rare and dead pixels, priors, padding, both algorithms, an incomplete batch: the same, to rounding."""
    members, data = both_kinds(epochs=2), made_up(train=110, dead=(0, 5))
    ours, reference = (start(members, used, padding=padding, dtype=dtype) for used in (PLAIN, engine.CPU))
    found, expected = last(ours, data), last(reference, data)
    for number, metrics in expected.items():
        assert found[number] == pytest.approx(dict(metrics), rel=20 * tolerance, abs=20 * tolerance)


def test_it_learns_as_a_cpu_does() -> None:
    """The noise is another, so only to within the noise."""
    data, shape = load("digits"), {"model.widths": [30]}
    members = trials(*({**shape, "init.seed": seed} for seed in range(4)), epochs=15, batch_size=50, lr=0.05)
    found, expected = (
        last(Pack.start(members, data.inputs, data.classes, engine=used), data) for used in (PLAIN, engine.CPU)
    )
    one, other = (sum(m["val/accuracy"] for m in each.values()) / len(members) for each in (found, expected))
    assert one > 0.85 and one == pytest.approx(other, abs=0.03)


def test_rare_pixels_are_multiplied_with_the_others() -> None:
    """Images that a CPU would take apart give a device the same numbers, in whatever order the pixels come."""
    data = made_up(train=100)
    data.train.x[10:, 4:] = 0  # so that the most of the pixels are rare
    wide, narrow = (load_ordered(data.train, data.scale, "cpu", saved) for saved in (0, math.inf))
    apart = wide._replace(common=wide.common[:, :8], rare=wide.common[:, 8:], few=(wide.common[:, 8:] > 0).any(1))
    assert torch.equal(device.whole(apart), device.whole(narrow))


@given(packs(), seeds)
def test_adam_for_all_trials_at_once(pack: Pack, seed: int) -> None:
    """Each trial's own rate and decay, over several steps, from any state: the CPU's fused one to rounding."""
    rng = torch.Generator().manual_seed(seed)
    for bucket in pack.buckets:
        knobs = [copy.copy(trial.knobs.trainer) for trial in bucket.trials]
        for n, trainer in enumerate(knobs):
            trainer.lr, trainer.weight_decay = 0.02 * (n + 1), 0.1 * n
        ours = copy.deepcopy(bucket.layers)
        reference, batched = ProjectedAdam(bucket.layers, knobs, 3), BatchedAdam(ours, knobs, SpikeSlab._fields)
        for row in rises(knobs[0], 3, 3):
            gradients = [
                SpikeSlab(*(torch.randn(p.shape, dtype=p.dtype, generator=rng) for p in layer.w)) for layer in ours
            ]
            reference.update(gradients)
            batched.update(gradients, row)
        for mine, layer in zip(ours, bucket.layers, strict=True):
            for part, expected in zip(mine, layer, strict=True):
                for p, q in zip(part, expected, strict=True):
                    close(p, q, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("padding", [1.0, math.inf])
def test_kernels_train_as_plain_torch_does(padding: float) -> None:
    """Whole steps and evaluations, with priors, padding, silent pixels: the same to float32's rounding."""
    pytest.importorskip("triton", reason="Triton is not installed")
    members, data = both_kinds(epochs=1, batch_size=25), made_up(train=50, held_out=10, dead=(0, 5))
    ours, reference = (start(members, used, padding=padding) for used in (FUSED, PLAIN))
    if torch.cuda.is_available():
        ours, reference = (start(members, used, padding=padding, device="cuda") for used in (FUSED, PLAIN))
    assert any(device.has_kernels(bucket) for bucket in ours.buckets)
    found, expected = last(ours, data), last(reference, data)
    for number, metrics in expected.items():
        assert found[number] == pytest.approx(dict(metrics), rel=1e-4, abs=1e-5)


def test_kernels_are_for_random_weights_in_float32() -> None:
    members = trials({}, {"trainer.algorithm": "bp"})
    for dtype, expected in ((torch.float32, {"gbp": True, "bp": False}), (torch.float64, {"gbp": False, "bp": False})):
        pack = start(members, FUSED, dtype=dtype)
        assert {b.trials[0].knobs.trainer.algorithm: device.has_kernels(b) for b in pack.buckets} == expected


# -- evaluation -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60))
@settings(max_examples=10)
def test_an_images_noise_does_not_depend_on_how_many_go_at_once(at_once: int) -> None:
    pack = start(unlike_trials(), PLAIN, dtype=torch.float64)
    images = load_ordered(made_up().test, 255.0, "cpu", math.inf)
    for bucket in pack.buckets:
        whole = evaluate_on_device(bucket, images, Purpose.TEST, 3)
        with pytest.MonkeyPatch.context() as patched:
            widest = max(units.numel() for units in bucket.units[1:])
            patched.setattr(device, "ACTIVATIONS", at_once * widest)
            parts = evaluate_on_device(bucket, images, Purpose.TEST, 3)
        for one, other in zip(whole, parts, strict=True):
            assert one == pytest.approx(other, rel=1e-12)


def test_evaluation_is_another_noise_each_epoch_and_for_each_purpose() -> None:
    (bucket,) = start(trials({"init.slab_variance": 5.0})).buckets
    images = load_ordered(made_up().test, 255.0, "cpu", math.inf)
    found = {
        evaluate_on_device(bucket, images, purpose, number)[0][0]
        for purpose in (Purpose.TEST, Purpose.VALIDATION)
        for number in (1, 2)
    }
    assert len(found) == 4


# -- steps that can be recorded ---------------------------------------------------------------------------------------


class Recording(TorchDispatchMode):
    """A CUDA graph in Python: keeps every operation with its very tensors, and does them again on these.

    As a CUDA graph it takes numbers of Python's as they were, and refuses to read a value off a tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not any(word in str(func) for word in ("_local_scalar_dense", "nonzero", "unique", "masked_select")), (
            func
        )
        result = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.done:
            again = func(*args, **kwargs)
            for old, new in zip(tensors(result), tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():  # else it was in place, or is a view
                    old.copy_(new)


def tensors(result: Any) -> list[Tensor]:
    return [one for one in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(one, Tensor)]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Recording]]:
    """Steps are recorded as on CUDA, after the same number of calls, but by the class above."""
    made: list[Recording] = []

    def call(self: graph.Replayed, step: Callable[[], None]) -> None:
        if self.before > 0:
            self.before -= 1
            step()
            return
        if self.graph is None:
            with Recording() as recording:
                step()
            self.graph = recording  # type: ignore[assignment]
            made.append(recording)
            return
        self.graph.replay()

    monkeypatch.setattr(graph.Replayed, "__call__", call)
    yield made


@pytest.mark.parametrize("padding", [1.0, math.inf])
def test_a_step_replayed_is_the_step(
    recorded: list[Recording], monkeypatch: pytest.MonkeyPatch, padding: float
) -> None:
    """Bit for bit, from epoch to epoch: nothing of it is Python's, all is read off the device's tables."""
    members, data = both_kinds(epochs=3), made_up(dead=(3,))
    pack = start(members, padding=padding)
    reports = list(fit(pack, data))
    assert len(recorded) == len({id(r) for r in recorded}) == len(start(members, padding=padding).buckets)
    monkeypatch.undo()
    again = list(fit(start(members, padding=padding), data))
    assert [[one.metrics for one in report.trials] for report in reports] == [
        [one.metrics for one in report.trials] for report in again
    ]


def test_a_recording_is_made_anew_when_trials_leave(recorded: list[Recording]) -> None:
    """And is let go of with the tensors that it was made of."""
    pack, data = start(trials({}, {"init.seed": 1}, {"init.seed": 2}, epochs=4)), made_up()
    train = load_ordered(data.train, data.scale, "cpu", math.inf)
    for leaver in (0, None, 1):
        epoch.train_epoch(pack, train)
        pack.drop([] if leaver is None else [leaver])
    assert len(recorded) == 2  # for three trials; for two, over two epochs; the last has had no epoch yet
    assert [bucket.run for bucket in pack.buckets] == [None]


def test_a_pack_that_is_let_go_of_is_gone() -> None:
    """At once, not when Python next looks for cycles: a GPU's memory is not Python's to see."""
    pack, data = start(both_kinds(epochs=4)), made_up()
    epoch.train_epoch(pack, load_ordered(data.train, data.scale, "cpu", math.inf))
    kept = [weakref.ref(tensor) for bucket in pack.buckets for tensor in (bucket.layers[0].w.m, bucket.run.loss)]
    gc.disable()
    try:
        pack.drop([0, 1, 2, 3])
        assert sum(tensor() is None for tensor in kept) == len(kept)
        kept = [weakref.ref(bucket.layers[0].w.m) for bucket in pack.buckets]
        del pack
        assert [tensor() for tensor in kept] == [None] * len(kept)
    finally:
        gc.enable()


def test_other_images_need_another_run() -> None:
    (bucket,) = start(trials({})).buckets
    one, other = (load_ordered(made_up(seed=seed).train, 255.0, "cpu", math.inf) for seed in (0, 1))
    run = DeviceRun.of(bucket, one)
    assert DeviceRun.of(bucket, one) is run
    assert DeviceRun.of(bucket, other) is not run


class Unrecordable:
    """In place of `torch.cuda.graph`: the step is called, and then something is wrong."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: Any, **__: Any) -> Unrecordable:
        return self

    def __enter__(self) -> None:
        raise self.error

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> graph.Replayed:
    """As on CUDA, up to the recording."""
    monkeypatch.setattr(graph.Replayed, "_aside", lambda self, step: step())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(graph, "_pool", lambda: None)
    return graph.Replayed(torch.device("cuda"))


def test_what_cannot_be_recorded_is_done_all_the_same(
    replayed: graph.Replayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call once, with one warning."""
    monkeypatch.setattr(torch.cuda, "graph", Unrecordable(RuntimeError("operation not permitted\nmore")))
    done: list[int] = []
    with pytest.warns(SlowerWarning) as warned:
        for step in range(5):
            replayed(lambda step=step: done.append(step))  # type: ignore[misc]
    assert done == [0, 1, 2, 3, 4]
    assert [str(one.message) for one in warned] == [
        "no CUDA graph on this GPU, each step is launched anew, and slower: operation not permitted"
    ]


def test_a_recording_that_lacks_memory_says_so(replayed: graph.Replayed, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the pack is halved; also where the end of the recording complains in its place."""
    ended = RuntimeError("capture was invalidated")
    ended.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    for error in (torch.OutOfMemoryError("CUDA out of memory"), ended):
        monkeypatch.setattr(torch.cuda, "graph", Unrecordable(error))
        replayed.before = 0
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            replayed(lambda: None)
        assert not replayed.plain


# -- precision --------------------------------------------------------------------------------------------------------


def test_precision_is_set_for_the_products_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both in training and in evaluation; float32 is exact whatever somebody else has asked torch for."""
    settings_of = torch.backends.cuda.matmul
    seen: list[str] = []
    monkeypatch.setattr("lca_sweep.core.pack.check_precision", lambda *_: None)
    forward = gbp.forward

    def noted(*args: Any) -> Any:
        seen.append(settings_of.fp32_precision)
        return forward(*args)

    monkeypatch.setattr(gbp, "forward", noted)
    before = settings_of.fp32_precision
    try:
        settings_of.fp32_precision = "tf32"
        last(start(trials({}, epochs=1)), made_up())
        assert set(seen) == {"ieee"} and settings_of.fp32_precision == "tf32"
        settings_of.fp32_precision = "ieee"
        seen.clear()
        last(start(trials({"trainer.precision": "tf32"}, epochs=1)), made_up())
        assert set(seen) == {"tf32"} and settings_of.fp32_precision == "ieee"
    finally:
        settings_of.fp32_precision = before


def test_a_cpu_has_no_other_precision() -> None:
    with pytest.raises(KnobError) as caught:
        start(trials({"trainer.precision": "tf32"}))
    assert str(caught.value) == "trainer.precision=tf32: only a GPU has it; must be float32 on CPUs"


def test_trials_of_a_pack_share_their_precision() -> None:
    with pytest.raises(
        KnobError, match=r"^trainer\.precision=tf32: trial 1 shares a pack with trial 0; must be float32"
    ):
        start(trials({}, {"trainer.precision": "tf32"}))


# -- where Triton does not work ---------------------------------------------------------------------------------------


def test_a_cpu_is_trained_as_ever() -> None:
    assert engine.engine_for("cpu") == engine.CPU == Engine(False, False, "")
    assert start(trials({}), None).buckets[0].engine == engine.CPU  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("No module named 'triton'"), "Triton is not installed (No module named 'triton')"),
        (
            RuntimeError("Failed to find C compiler. Say CC."),
            "Triton does not work here: Failed to find C compiler. Say CC.",
        ),
        (OSError("Python.h: no such file\nmore"), "Triton does not work here: Python.h: no such file"),
    ],
)
def test_without_triton_training_goes_on_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    """Whatever the reason, in one line; a GPU is then trained by plain torch, recorded all the same."""

    def fails(name: str) -> None:
        raise error

    monkeypatch.setattr(engine.importlib, "import_module", fails)
    with pytest.warns(SlowerWarning) as warned:
        found = engine.engine_for("cuda")
    assert found == Engine(recorded=True, kernels=False, why=line)
    assert [str(one.message) for one in warned] == [
        f"on this GPU everything but matrix products is plain torch, and slower: {line}"
    ]


def test_lack_of_memory_is_not_taken_for_lack_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine.importlib, "import_module", fails)
    with pytest.raises(torch.OutOfMemoryError):
        engine.engine_for("cuda")


def test_with_triton_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on CPU tensors, in Triton's interpreter: the kernel that is tried does run."""
    pytest.importorskip("triton", reason="Triton is not installed")
    assert engine.why_no_kernels("cuda" if torch.cuda.is_available() else "cpu") == ""


# -- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("kernels", [False, True])
def test_a_graph_replayed_is_the_step(monkeypatch: pytest.MonkeyPatch, kernels: bool) -> None:
    """Bit for bit the plain loop's numbers, by both sorts of steps."""
    members, data = both_kinds(epochs=3), made_up(dead=(3,))
    used = Engine(recorded=True, kernels=kernels)
    pack = start(members, used, padding=math.inf, device="cuda")
    with_graphs = list(fit(pack, data))
    monkeypatch.setattr(graph.Replayed, "__call__", lambda self, step: step())
    without = list(fit(start(members, used, padding=math.inf, device="cuda"), data))
    assert [[one.metrics for one in report.trials] for report in with_graphs] == [
        [one.metrics for one in report.trials] for report in without
    ]


@pytest.mark.gpu
def test_steps_are_recorded() -> None:
    pack, data = start(both_kinds(epochs=3), FUSED, padding=math.inf, device="cuda"), made_up()
    train = load_ordered(data.train, data.scale, "cuda", math.inf)
    epoch.train_epoch(pack, train)
    assert all(bucket.run.replayed.graph is not None for bucket in pack.buckets)


@pytest.mark.gpu
@DTYPES
def test_a_gpu_gives_the_numbers_of_cpu_tensors(dtype: torch.dtype, tolerance: float) -> None:
    """The noise is the same function on both: only sums are in another order."""
    members, data = both_kinds(epochs=2), made_up(train=110, dead=(0, 5))
    found = last(start(members, None, padding=math.inf, dtype=dtype, device="cuda"), data)  # type: ignore[arg-type]
    expected = last(start(members, PLAIN, padding=math.inf, dtype=dtype), data)
    for number, metrics in expected.items():
        assert found[number] == pytest.approx(dict(metrics), rel=100 * tolerance, abs=100 * tolerance)


@pytest.mark.gpu
def test_tf32_is_near_float32_and_not_the_same() -> None:
    """Wide layers, so that GPUs' matrix units are used at all."""
    wide, data = {"model.widths": [64, 64]}, made_up(train=640)
    found = [
        last(
            start(trials(wide | {"trainer.precision": precision}, epochs=1, batch_size=64), FUSED, device="cuda"), data
        )
        for precision in ("float32", "tf32")
    ]
    one, other = (metrics[0]["val/loss"] for metrics in found)
    assert one != other and one == pytest.approx(other, rel=1e-2)
