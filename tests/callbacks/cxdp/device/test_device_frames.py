"""Frames reach a device as they arrive, whatever becomes of their run, and its memory is used again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.device import selection
from braggwatch.callbacks.cxdp.device.selection import DeviceUnavailableError, open_preprocessor
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_curve
from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.callbacks.cxdp.run.region import whole
from braggwatch.callbacks.cxdp.run.volume import Volume
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.models.runtimes.device_input import DeviceBatch
from braggwatch.services.composition import compose_service
from braggwatch.services.settings import Settings
from braggwatch.services.settings_error import SettingsError

wp = pytest.importorskip("warp")

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> Any:
    wp.init()
    return wp.get_device(request.param)


def store_of(device: Any, **changes: Any) -> Any:
    from braggwatch.callbacks.cxdp.device.frame_store import DeviceFrameStore

    return DeviceFrameStore(device, **changes)


def read(frames: Any, count: int) -> NDArray[np.generic]:
    return np.array(frames.array(count).numpy())


def frames_of(count: int, shape: tuple[int, int] = (6, 5), dtype: Any = np.uint16, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 200, (count, *shape)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.float32])
def test_counts_of_every_dtype_arrive(device: Any, dtype: Any) -> None:
    store = store_of(device, slots=2)
    array = frames_of(7, dtype=dtype)
    for index in (3, 0, 6, 1, 5, 2, 4):
        store.stored("a", array, index)
    frames = store.take("a", array, np.ones(7, np.bool_))
    assert np.array_equal(read(frames, 7), array)


def test_only_what_has_not_arrived_goes_up_at_the_end(device: Any) -> None:
    store = store_of(device)
    array = frames_of(6)
    sent: list[int] = []
    send = store.ring.send

    def counted(frame: Any, stored: Any, slab: Any, offset: int) -> None:
        sent.append(offset)
        send(frame, stored, slab, offset)

    store.ring.send = counted
    for index in (0, 1, 4):
        store.stored("a", array, index)
    usable = np.array([True, True, True, False, True, True])
    frames = store.take("a", array, usable)
    assert [offset // (6 * 5 * 2) for offset in sent] == [0, 1, 4, 2, 5]
    assert np.array_equal(read(frames, 6)[usable], array[usable])


def test_a_repeated_frame_replaces_the_first(device: Any) -> None:
    store = store_of(device)
    array = frames_of(3)
    for index in range(3):
        store.stored("a", array, index)
    array[1] = 77
    store.stored("a", array, 1)
    assert np.array_equal(read(store.take("a", array, np.ones(3, np.bool_)), 3), array)


def test_another_array_under_the_same_uid_is_never_mixed_up(device: Any) -> None:
    store = store_of(device)
    first, second = frames_of(4), frames_of(4, seed=1)
    for index in range(4):
        store.stored("a", first, index)
    assert np.array_equal(read(store.take("a", second, np.ones(4, np.bool_)), 4), second)


def test_an_array_that_grows_keeps_its_frames(device: Any) -> None:
    store = store_of(device)
    array = frames_of(8)
    small = array[:3].copy()
    for index in range(3):
        store.stored("a", small, index)
    for index in range(3, 8):
        store.stored("a", array, index)
    frames = store.take("a", array, np.ones(8, np.bool_))
    assert np.array_equal(read(frames, 8), array)


def test_memory_of_ended_and_aborted_runs_is_used_again(device: Any) -> None:
    store = store_of(device)
    held: list[int] = []
    for number in range(20):
        array = frames_of(5 if number % 2 else 6, seed=number)
        for index in range(4):
            store.stored(f"run-{number}", array, index)
        if number % 3:
            store.release(store.take(f"run-{number}", array, np.ones(len(array), np.bool_)))
        store.dropped(f"run-{number}")
        held.append(store.nbytes)
    assert len(set(held[2:])) == 1
    assert held[-1] <= 2 * 6 * 6 * 5 * 2


def test_a_run_without_room_goes_up_at_its_end(device: Any) -> None:
    store = store_of(device, max_bytes=500)
    small, large = frames_of(4), frames_of(40)
    for index in range(4):
        store.stored("small", small, index)
    for index in range(40):
        store.stored("large", large, index)
    assert store.nbytes <= 500
    assert np.array_equal(read(store.take("large", large, np.ones(40, np.bool_)), 40), large)
    assert np.array_equal(read(store.take("small", small, np.ones(4, np.bool_)), 4), small)


class ManyRuns(RuleBasedStateMachine):
    """Any order of frames, repetitions, aborts and ends of several runs."""

    def __init__(self) -> None:
        super().__init__()
        wp.init()
        self.store = store_of(wp.get_device("cpu"), max_bytes=4000, slots=3)
        self.arrays: dict[str, NDArray[Any]] = {}
        self.present: dict[str, NDArray[np.bool_]] = {}

    @rule(uid=st.sampled_from("abc"), index=st.integers(0, 11), value=st.integers(0, 999))
    def frame(self, uid: str, index: int, value: int) -> None:
        array = self.arrays.get(uid, np.zeros((3, 4, 4), np.uint16))
        if index >= len(array):
            grown = np.zeros((max(index + 1, 2 * len(array)), 4, 4), np.uint16)
            grown[: len(array)] = array
            array = grown
        here = np.zeros(len(array), np.bool_)
        before = self.present.get(uid, here[:0])
        here[: len(before)] = before
        array[index], here[index] = value, True
        self.arrays[uid], self.present[uid] = array, here
        self.store.stored(uid, array, index)

    @rule(uid=st.sampled_from("abc"))
    def abort(self, uid: str) -> None:
        self.arrays.pop(uid, None)
        self.present.pop(uid, None)
        self.store.dropped(uid)

    @rule(uid=st.sampled_from("abc"), shorter=st.integers(0, 2))
    def end(self, uid: str, shorter: int) -> None:
        if uid not in self.arrays:
            return
        array, here = self.arrays.pop(uid), self.present.pop(uid)
        count = len(array) - shorter
        frames = self.store.take(uid, array[:count], here[:count])
        assert np.array_equal(read(frames, count)[here[:count]], array[:count][here[:count]])
        self.store.release(frames)

    @invariant()
    def bounded(self) -> None:
        assert self.store.nbytes <= 4000 + 2 * 24 * 32


TestManyRuns = ManyRuns.TestCase
TestManyRuns.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_a_volume_tells_of_what_it_keeps_and_gives_up(device: Any) -> None:
    """A region that moves voids the frames before it; what was cut then is what the curve holds."""
    store = store_of(device)
    edge, limit = 96, 40 * 40 * 2 * 8
    volume = Volume(
        AssemblySettings(max_run_bytes=limit, region_edge_px=64, region_search_frames=2), 6, None, store, "run"
    )
    rng = np.random.default_rng(0)
    for index in range(6):
        frame = rng.poisson(0.2, (edge, edge)).astype(np.uint16)
        at = 20 if index < 3 else 70
        frame[at : at + 6, at : at + 6] += 100 * (index + 1)
        volume.put(index, frame)
    finished = volume.finish(6)
    assert finished is not None
    array, present, origin = finished
    assert volume.discarded == 3
    assert origin != whole((edge, edge)).origin
    frames = store.take("run", array, present)
    assert np.array_equal(read(frames, 6)[present], array[present])


def test_documents_to_verdict_through_the_device(
    device: Any, scan_of: Callable[..., Any], preset: Any, bench_of: Callable[..., Any]
) -> None:
    """Frames come inline, one run is aborted; what the classifier sees is what numba makes of the same documents."""
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

    choices = PreprocessingSettings(min_coverage=0.0)
    preprocessor = DevicePreprocessor(choices, device.alias)
    sent: list[int] = []
    send = preprocessor.frames.ring.send

    def counted(*arguments: Any) -> None:
        sent.append(1)
        send(*arguments)

    preprocessor.frames.ring.send = counted  # type: ignore[method-assign]
    classifier = bench_of(preset).classifier
    inputs: dict[str, list[Any]] = {"device": [], "cpu": []}
    for name, one in (("device", preprocessor), ("cpu", CpuPreprocessor(choices))):
        mirror = preprocessor.frames if name == "device" else None
        callback = ScreeningCallback(preset, one, classifier, inputs[name].append, mirror=mirror)
        aborted, whole_run = scan_of(21, uid="aborted"), scan_of(21, uid="whole", shape=(64, 60))
        for document in aborted.inline()[:12]:
            callback(*document)
        callback(*aborted.stop("abort"))
        documents = whole_run.inline()
        for document in documents[:-1]:
            callback(*document)
        before = len(sent)
        callback(*documents[-1])
        callback.flush()
        # Every frame was up before the stop document came.
        assert len(sent) == before
    assert len(sent) == 10 + 21
    mine, theirs = (next(r for r in inputs[n] if r.result.run_uid == "whole") for n in ("device", "cpu"))
    assert mine.model_input is not None
    assert theirs.model_input is not None
    assert mine.model_input.quality.invalid_reason is None
    assert mine.model_input.quality.flags == theirs.model_input.quality.flags
    top = float(theirs.model_input.intensity.max())
    assert np.abs(mine.model_input.intensity - theirs.model_input.intensity).max() < 1e-4 * top
    assert mine.model_input.batch is not None
    assert preprocessor.frames.nbytes <= 2 * 21 * 64 * 60 * 2


def test_the_batch_lies_where_the_input_says(device: Any) -> None:
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor
    from braggwatch.models.cxdp.symmetry import symmetry_batch

    made = DevicePreprocessor(PreprocessingSettings(), device.alias)(artificial_curve(np.dtype(np.uint16)))
    batch = made.batch
    assert isinstance(batch, DeviceBatch)
    assert (batch.copies, batch.edge, batch.device) == (8, 64, device.alias)
    there = wp.array(ptr=batch.pointer, dtype=wp.float32, shape=(8, 64, 64, 64), device=device)
    assert np.array_equal(there.numpy(), symmetry_batch(made.intensity, 8))


def test_a_failing_device_costs_time_and_no_verdict(
    device: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braggwatch.callbacks.cxdp.device import frame_store
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

    def out_of_memory(*_: Any) -> None:
        raise RuntimeError("Failed to allocate 560000000 bytes on device")

    curve: RockingCurve = artificial_curve(np.dtype(np.int32))
    preprocessor = DevicePreprocessor(PreprocessingSettings(), device.alias)
    monkeypatch.setattr(frame_store, "zeroed", out_of_memory)
    with caplog.at_level(logging.WARNING):
        preprocessor.frames.stored(curve.run_uid, curve.frames, 0)
        made = preprocessor(curve)
    assert "as they arrive" in caplog.text
    assert "on the CPU" in caplog.text
    assert np.array_equal(made.intensity, CpuPreprocessor(PreprocessingSettings())(curve).intensity)


def test_without_a_device_the_cpu_is_taken_and_one_line_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(selection, "cuda_problem", lambda: "no NVIDIA driver here")
    with caplog.at_level(logging.INFO):
        assert isinstance(open_preprocessor(PreprocessingSettings(), "auto"), CpuPreprocessor)
    assert [r.message for r in caplog.records] == ["frames are preprocessed on the CPU: no NVIDIA driver here"]
    caplog.clear()
    assert isinstance(open_preprocessor(PreprocessingSettings(), "cpu"), CpuPreprocessor)
    assert not caplog.records
    with pytest.raises(DeviceUnavailableError, match="'auto' falls back to the CPU"):
        open_preprocessor(PreprocessingSettings(), "cuda")
    asked = Settings.model_validate(
        {
            "preprocessing": {"device": "cuda"},
            "screening": {"geometry": "34idc"},
            "store": {"path": tmp_path / "x.sqlite"},
        }
    )
    with pytest.raises(SettingsError, match="no NVIDIA driver"):
        compose_service(asked)
