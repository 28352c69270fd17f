"""How long the model input takes and how much memory, beside xrayutilities on the same frames.

``pytest -m benchmark tests/benchmarks/test_preprocessing.py -s`` prints the tables.
"""

from __future__ import annotations

import tarfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from braggwatch.callbacks.preprocessing import CpuPreprocessor, PreprocessingSettings, warm_up
from braggwatch.callbacks.records import RockingCurve
from braggwatch.sim.geometry import RockingGeometry, geometry_from_values, load_preset, rocking_map
from numpy.typing import NDArray

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "data" / "34idc_S0054.tar.xz"
VALUES = {"energy": 9.0, "th": 0.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0}
RUNS = 40


@dataclass(frozen=True)
class Case:
    name: str
    curve: RockingCurve
    settings: PreprocessingSettings


def curve_of(frames: NDArray[Any], angles: NDArray[np.float64], geometry: RockingGeometry) -> RockingCurve:
    return RockingCurve("bench", frames, angles, np.ones(len(angles), dtype=np.bool_), None, None, (0, 0), geometry)


def synthetic(count: int, edge: int, distance: float, degrees: float, size_nm: float) -> Case:
    """A spherical crystal in the middle of the frames, with background."""
    preset = load_preset("34idc").model_copy(
        update={"chip_shape": (edge, edge), "direct_beam_px": (edge / 2, edge / 2)}
    )
    geometry = geometry_from_values(preset, {**VALUES, "detector_distance": distance}, (edge, edge))
    angles = np.linspace(-degrees / 2, degrees / 2, count)
    mapping = rocking_map(geometry)
    center = mapping.q(0.0, edge / 2, edge / 2)
    rng = np.random.default_rng(0)
    frames = np.empty((count, edge, edge), dtype=np.int32)
    for n, angle in enumerate(angles):
        q = mapping.q(angle, np.arange(edge)[:, None], np.arange(edge)) - center
        x = np.maximum(np.linalg.norm(q, axis=-1) * size_nm * 5, 1e-3)
        frames[n] = rng.poisson(1e5 * (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2 + 0.04)
    return Case(f"{count}x{edge}²", curve_of(frames, angles, geometry), PreprocessingSettings())


def measured(folder: Path) -> Case:
    if not ARCHIVE.exists():
        pytest.skip(f"needs the measured scan {ARCHIVE.name}")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    frames = np.stack([tifffile.imread(path) for path in sorted(folder.glob("**/frames/*.tif"))])
    flat = tifffile.imread(next(folder.glob("**/whitefield.tif")))
    dark = tifffile.imread(next(folder.glob("**/dark.tif")))
    geometry = geometry_from_values(load_preset("34idc"), {**VALUES, "detector_distance": 0.5}, (256, 256))
    curve = curve_of(frames, np.linspace(-0.279996, 0.720004, 201), geometry)
    return Case("34-ID-C 201x256²", curve, PreprocessingSettings(flat=flat, mask=dark > 1))


@pytest.fixture(scope="module", params=["small", "large", "measured"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    if request.param == "small":
        return synthetic(128, 256, 0.5, 0.7, 300.0)
    if request.param == "large":
        return synthetic(256, 516, 1.0, 1.0, 300.0)
    return measured(tmp_path_factory.mktemp("scan"))


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def xrayutilities_grid(case: Case, shape: tuple[int, int, int]) -> None:
    """What a user of xrayutilities runs: angles to Q for every pixel, then the fuzzy gridder."""
    xu = pytest.importorskip("xrayutilities")
    xu.config.NTHREADS = 1
    geometry, frames = case.curve.geometry, case.curve.frames
    conversion = xu.QConversion(
        tuple(c.axis for c in geometry.sample_circles),
        tuple(c.axis for c in geometry.detector_circles),
        [0, 0, 1],
        en=geometry.energy_keV * 1e3,
    )
    rows, columns = geometry.frame_shape
    conversion.init_area(
        geometry.row_direction,
        geometry.column_direction,
        cch1=geometry.direct_beam_px[0],
        cch2=geometry.direct_beam_px[1],
        Nch1=rows,
        Nch2=columns,
        distance=geometry.distance_m,
        pwidth1=geometry.pixel_size_m[0],
        pwidth2=geometry.pixel_size_m[1],
    )
    sample = [
        case.curve.angles_deg if c.name == geometry.scanned else c.angle_deg + c.offset_deg
        for c in geometry.sample_circles
    ]
    qx, qy, qz = conversion.area(*sample, *(c.angle_deg for c in geometry.detector_circles), deg=True)
    gridder = xu.FuzzyGridder3D(*shape)
    # The extent of one raw pixel, as its users are told to give.
    widths = [float(max(np.abs(np.diff(q[:2, :2, :2], axis=axis)).max() for axis in range(3))) for q in (qx, qy, qz)]
    gridder(qx, qy, qz, frames, width=widths)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def test_last_frame_to_model_input(case: Case, benchmark: Any) -> None:
    preprocessor = CpuPreprocessor(case.settings)
    warm_up(preprocessor)
    assert preprocessor(case.curve).quality.invalid_reason is None
    benchmark.pedantic(lambda: preprocessor(case.curve), rounds=RUNS, warmup_rounds=1)
    walls, cpus = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        cpus.append(cpu_seconds(lambda: preprocessor(case.curve)))
        walls.append(time.perf_counter() - start)
    p50, p99 = np.percentile(walls, [50, 99]) * 1e3
    memory = peak_bytes(lambda: preprocessor(case.curve)) / case.curve.frames.nbytes
    print(  # noqa: T201 the table is the result
        f"\n{case.name}: last frame to model input p50 {p50:.1f} ms, p99 {p99:.1f} ms wall, "
        f"{np.median(cpus) * 1e3:.1f} ms CPU; memory {1 + memory:.2f} frame cubes in all"
    )
    assert memory < 1.0


@pytest.mark.parametrize("grid", ["64", "native"])
def test_ratio_to_xrayutilities(case: Case, grid: str) -> None:
    readings = case.curve.frames.size
    if grid == "native" and readings > 20_000_000:
        pytest.skip("xrayutilities needs over 5 GB for this grid")
    preprocessor = CpuPreprocessor(case.settings)
    preprocessor(case.curve)
    shape = (64, 64, 64) if grid == "64" else case.curve.frames.shape
    theirs = cpu_seconds(lambda: xrayutilities_grid(case, shape))  # type: ignore[arg-type]
    mine = min(cpu_seconds(lambda: preprocessor(case.curve)) for _ in range(7))
    print(f"\n{case.name}: xrayutilities to {grid} {theirs:.2f} s CPU, ours {mine * 1e3:.0f} ms, {theirs / mine:.0f} x")  # noqa: T201
    assert theirs > mine
