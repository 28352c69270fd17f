"""Scans to measure with, and what they are measured against."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings
from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.sim.geometry import RockingGeometry, load_preset
from support.scans import Case, make_case, synthetic

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "data" / "34idc_S0054.tar.xz"
LARGEST_NATIVE_GRID = 20_000_000


def measured(folder: Path) -> Case:
    if not ARCHIVE.exists():
        pytest.skip(f"needs the measured scan {ARCHIVE.name}")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    frames = np.stack([tifffile.imread(path) for path in sorted(folder.glob("**/frames/*.tif"))])
    flat = tifffile.imread(next(folder.glob("**/whitefield.tif")))
    dark = tifffile.imread(next(folder.glob("**/dark.tif")))
    angles = np.linspace(-0.279996, 0.720004, 201)
    settings = PreprocessingSettings(flat=flat, mask=dark > 1)
    return make_case("34-ID-C 201x256²", frames, angles, load_preset("34idc"), 0.5, settings)


@pytest.fixture(scope="module", params=["small", "large", "measured"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    if request.param == "small":
        return synthetic(128, 256, 0.5, 0.7, 300.0)
    if request.param == "large":
        return synthetic(256, 516, 1.0, 1.0, 300.0)
    return measured(tmp_path_factory.mktemp("scan"))


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.fixture(scope="session", name="cpu_seconds")
def cpu_seconds_fixture() -> Callable[[Callable[[], object]], float]:
    """Processor seconds of all threads of this process that a piece of work takes."""
    return cpu_seconds


@pytest.fixture(scope="session")
def xrayutilities_cpu_s() -> Callable[[Case, str], float | None]:
    """Processor seconds of xrayutilities for a scan, to a grid of 64³ or of the scan's own size (``native``).

    None where that grid is too large: xrayutilities needs over 5 GB.
    """

    def measure(case: Case, grid: str) -> float | None:
        if grid == "native" and case.curve.frames.size > LARGEST_NATIVE_GRID:
            return None
        shape = (64, 64, 64) if grid == "64" else case.curve.frames.shape
        return cpu_seconds(lambda: _xrayutilities_grid(case.curve.geometry, case.curve, shape))

    return measure


def _xrayutilities_grid(geometry: RockingGeometry, curve: RockingCurve, shape: tuple[int, ...]) -> None:
    """What a user of xrayutilities runs: angles to Q for every pixel, then the fuzzy gridder."""
    xu = pytest.importorskip("xrayutilities")
    xu.config.NTHREADS = 1
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
        curve.angles_deg if c.name == geometry.scanned else c.angle_deg + c.offset_deg for c in geometry.sample_circles
    ]
    qx, qy, qz = conversion.area(*sample, *(c.angle_deg for c in geometry.detector_circles), deg=True)
    gridder = xu.FuzzyGridder3D(*shape)
    # The extent of one raw pixel, as its users are told to give.
    widths = [float(max(np.abs(np.diff(q[:2, :2, :2], axis=axis)).max() for axis in range(3))) for q in (qx, qy, qz)]
    gridder(qx, qy, qz, curve.frames, width=widths)
