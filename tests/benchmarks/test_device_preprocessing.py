"""What the device path costs: Warp beside numba on a core, and on a GPU the time from the last frame.

``pytest -m benchmark tests/benchmarks/test_device_preprocessing.py -s`` prints the tables; on a machine with a GPU
``-m "benchmark and gpu"``.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings, warm_up
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.sim.geometry import geometry_from_values, load_preset, rocking_map

wp = pytest.importorskip("warp")

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

VALUES = {"energy": 9.0, "th": 0.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0}
SCANS = {"128x256²": (128, 256, 256, 0.5, 0.7), "256x516²": (256, 516, 516, 1.0, 1.0)}
SCANS["256x1062x1028"] = (256, 1062, 1028, 1.8, 1.0)
RUNS = 60


def test_warp_and_numba_on_a_core(case: Any, cpu_seconds: Any) -> None:
    """The same kernels that run on a GPU, one thread, beside numba and beside reading the frames once."""
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

    numba, warp = CpuPreprocessor(case.settings), DevicePreprocessor(case.settings, "cpu")
    theirs, mine = numba(case.curve), warp(case.curve)
    assert np.abs(mine.intensity - theirs.intensity).max() < 1e-4 * theirs.intensity.max()
    floor = min(cpu_seconds(lambda: case.curve.frames.max()) for _ in range(5))
    seconds = {
        name: min(cpu_seconds(lambda one=one: one(case.curve)) for _ in range(5))
        for name, one in (("numba", numba), ("warp", warp))
    }
    print(  # noqa: T201 the table is the result
        f"\n{case.name}: numba {seconds['numba'] * 1e3:.0f} ms CPU, warp {seconds['warp'] * 1e3:.0f} ms "
        f"({seconds['warp'] / seconds['numba']:.1f} x), frames read once {floor * 1e3:.0f} ms"
    )


def large_scan(name: str) -> RockingCurve:
    """A sphere in the middle of uint16 frames; far from it one frame's background is repeated, rolled."""
    count, rows, columns, distance, degrees = SCANS[name]
    preset = load_preset("34idc").model_copy(
        update={"chip_shape": (rows, columns), "direct_beam_px": (rows / 2, columns / 2)}
    )
    geometry = geometry_from_values(preset, {**VALUES, "detector_distance": distance}, (rows, columns))
    mapping = rocking_map(geometry)
    angles = np.linspace(-degrees / 2, degrees / 2, count)
    rng = np.random.default_rng(0)
    background = rng.poisson(0.04, (rows, columns)).astype(np.uint16)
    frames = np.empty((count, rows, columns), np.uint16)
    r, c = np.arange(rows // 2 - 128, rows // 2 + 128), np.arange(columns // 2 - 128, columns // 2 + 128)
    centre = mapping.q(0.0, rows / 2, columns / 2)
    for n, angle in enumerate(angles):
        frames[n] = np.roll(background, 37 * n)
        x = np.maximum(np.linalg.norm(mapping.q(angle, r[:, None], c) - centre, axis=-1) * 1500.0, 1e-3)
        frames[n, r[0] : r[-1] + 1, c[0] : c[-1] + 1] += rng.poisson(
            4e4 * (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2
        ).astype(np.uint16)
    return RockingCurve(name, frames, angles, np.ones(count, np.bool_), None, None, (0, 0), geometry)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCANS)
def test_last_frame_to_input_and_verdict(name: str) -> None:
    """All frames but one are up: send it, make the input, judge it. Beside it, what moving the bytes alone takes."""
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor
    from braggwatch.models.bundling.registry import Registry
    from braggwatch.models.cxdp.classifier import BundleClassifier

    preprocessor = DevicePreprocessor(PreprocessingSettings(), "cuda:0")
    classifier = BundleClassifier.load(Registry(None).resolve("production"))
    warm_up(preprocessor)
    classifier.warm_up()
    curve = large_scan(name)
    reference = CpuPreprocessor(PreprocessingSettings())(curve)
    table: list[tuple[float, float, float]] = []
    made: ModelInput | None = None
    for _ in range(RUNS):
        for index in range(len(curve.frames) - 1):
            preprocessor.frames.stored(curve.run_uid, curve.frames, index)
        preprocessor.frames.ring.wait()
        began = time.perf_counter()
        preprocessor.frames.stored(curve.run_uid, curve.frames, len(curve.frames) - 1)
        made = preprocessor(curve)
        ready = time.perf_counter()
        assert made.batch is not None
        classifier.classify_on_device(made.intensity, made.batch)
        table.append((ready - began, time.perf_counter() - ready, time.perf_counter() - began))
    assert made is not None
    assert made.quality.flags == reference.quality.flags
    assert np.abs(made.intensity - reference.intensity).max() < 1e-4 * reference.intensity.max()
    p50, p99 = (np.percentile(table, q, axis=0) * 1e3 for q in (50, 99))

    device = wp.get_device("cuda:0")
    slab, other = (wp.zeros(curve.frames.nbytes, dtype=wp.uint8, device=device) for _ in range(2))
    host = wp.zeros(curve.frames[0].nbytes, dtype=wp.uint8, device="cpu", pinned=True)
    copies: dict[str, float] = {}
    for what, source, target in (("frames read once", slab, other), ("last frame up", host, slab)):
        times: list[float] = []
        for _ in range(20):
            wp.synchronize_device(device)
            start = time.perf_counter()
            wp.copy(target, source, count=source.size)
            wp.synchronize_device(device)
            times.append(time.perf_counter() - start)
        copies[what] = min(times)
    # A copy on the device reads and writes.
    floor = copies["frames read once"] / 2 + copies["last frame up"]
    print(  # noqa: T201 the table is the result
        f"\n{name} on {preprocessor.device}, {classifier.identity.runtime}: last frame to model input "
        f"{p50[0]:.2f} / {p99[0]:.2f} ms (p50 / p99), verdict after {p50[1]:.2f} / {p99[1]:.2f}, in all "
        f"{p50[2]:.2f} / {p99[2]:.2f}; floor of the bytes {floor * 1e3:.2f} ms, {p50[0] / (floor * 1e3):.1f} x; "
        f"frames {preprocessor.frames.nbytes / 1e6:.0f} MB on the device"
    )


@pytest.mark.gpu
def test_scans_at_full_speed_leave_the_memory_as_it_was() -> None:
    """Half a minute of scans one after the other: the same input each time, and no byte more on the device."""
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

    preprocessor = DevicePreprocessor(PreprocessingSettings(), "cuda:0")
    curve = large_scan("128x256²")
    first = preprocessor(curve)
    device = wp.get_device("cuda:0")
    used = device.total_memory - device.free_memory
    scans = 0
    began = time.perf_counter()
    while time.perf_counter() - began < 30.0:
        for index in range(len(curve.frames)):
            preprocessor.frames.stored(curve.run_uid, curve.frames, index)
        assert np.array_equal(preprocessor(curve).intensity, first.intensity)
        scans += 1
    rate = scans / (time.perf_counter() - began)
    grown = (device.total_memory - device.free_memory) - used
    print(f"\n{scans} scans, {rate:.1f} a second, {rate * curve.frames.nbytes / 1e9:.1f} GB/s, memory {grown:+d} bytes")  # noqa: T201
    assert grown < 64_000_000
