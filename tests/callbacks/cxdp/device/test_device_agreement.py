"""The kernels of the device give what numpy and numba give, step by step and on random scans."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import survey
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import QGrid, fit_index, gather
from braggwatch.callbacks.cxdp.preprocess.peak_centre import peak_centre
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.scale import radial_autocorrelation
from braggwatch.callbacks.cxdp.preprocess.scan_plan import plan_scan
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_geometry
from braggwatch.callbacks.cxdp.records import ModelInput, Quality, RockingCurve
from braggwatch.models.cxdp.symmetry import symmetry_batch
from braggwatch.sim.geometry import geometry_from_values, load_preset
from braggwatch.sim.geometry.model import Axis, Circle, DetectorTilt, RockingGeometry
from braggwatch.sim.geometry.q import rocking_map

pytest.importorskip("warp")

ARCHIVE = Path(__file__).resolve().parents[5] / "shared" / "data" / "34idc_S0054.tar.xz"
VALUES = {"energy": 9.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0, "detector_distance": 0.5}
DTYPES = [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.float32]
ALONG: dict[str, tuple[Axis, Axis]] = {"x": ("x+", "x-"), "y": ("y+", "y-"), "z": ("z+", "z-")}
DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def workspace(device: str) -> Any:
    import warp as wp

    from braggwatch.callbacks.cxdp.device.workspace import Workspace

    wp.init()
    return Workspace(wp.get_device(device))


@pytest.fixture(scope="module")
def on_device(device: str) -> Callable[[RockingCurve, PreprocessingSettings], ModelInput]:
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

    return lambda curve, settings_: DevicePreprocessor(settings_, device)(curve)


def spots(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """A peak with fringes, off the middle, on noise."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(26, 38, 3)
    x, y, z = (np.arange(n) - c for n, c in zip(shape, at, strict=True))
    comb = [np.sinc(axis / rng.uniform(2.5, 6)) ** 2 for axis in (x, y, z)]
    return (1e4 * comb[0][:, None, None] * comb[1][:, None] * comb[2] + rng.poisson(0.1, shape)).astype(np.float32)


def same_quality(mine: Quality, theirs: Quality) -> None:
    """Words, counts and decisions are equal; what follows from the scale to 1e-5."""
    for name, value in theirs.model_dump().items():
        other = getattr(mine, name)
        if isinstance(value, float):
            assert other == pytest.approx(value, rel=1e-5, abs=1e-7), name
        elif name == "facet_angles_deg":
            assert other == pytest.approx(value, abs=0.05)
        elif name == "geometry":
            # angles to a hundredth of a degree move in the words as well
            check = theirs.geometry
            assert (mine.geometry is None) == (check is None)
            if mine.geometry is not None and check is not None:
                assert (mine.geometry.verdict, mine.geometry.mends) == (check.verdict, check.mends)
        else:
            assert other == value, name


@pytest.mark.parametrize("seed", range(3))
def test_autocorrelation_is_that_of_numpy(workspace: Any, seed: int) -> None:
    cube = spots((64, 64, 64), seed)
    workspace.intensity.assign(cube)
    radius, profile = workspace.profile()
    expected_radius, expected = radial_autocorrelation(cube)
    assert np.array_equal(radius, expected_radius)
    assert np.abs(profile - expected).max() < 1e-5
    workspace.intensity.zero_()
    assert workspace.profile() is None


@pytest.mark.parametrize("window", [2.5, 7.0, 16.0])
def test_centre_is_that_of_numpy(workspace: Any, window: float) -> None:
    for seed in range(3):
        cube = spots((64, 64, 64), seed)
        workspace.intensity.assign(cube)
        assert np.abs(workspace.centre(window) - peak_centre(cube, window)).max() < 1e-6
    workspace.intensity.zero_()
    assert np.array_equal(workspace.centre(window), [32.0, 32.0, 32.0])


def test_mirror_images_are_those_of_numpy(workspace: Any) -> None:
    cube = np.random.default_rng(0).random((64, 64, 64), dtype=np.float32)
    workspace.intensity.assign(cube)
    workspace.mirror()
    assert np.array_equal(workspace.batch.numpy(), symmetry_batch(cube, 8))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_survey_and_gather_are_those_of_numba(workspace: Any, data: st.DataObject) -> None:
    import warp as wp

    from braggwatch.callbacks.cxdp.device.frame_store import DeviceFrameStore
    from braggwatch.callbacks.cxdp.device.surveyed import DeviceImages, SurveyedOnDevice
    from braggwatch.sim.warp.warp_arrays import WarpArray

    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count, rows, columns = (data.draw(st.integers(low, high)) for low, high in ((3, 12), (4, 40), (4, 40)))
    top = 250.0 if dtype.itemsize == 1 else 3e4
    frames = (rng.exponential(size=(count, rows, columns)) ** 6).clip(0, top).astype(dtype)
    hot = rng.random(frames.shape) < 0.01
    frames[hot] = dtype.type(top)
    if dtype.kind == "f":
        frames[rng.random(frames.shape) < 0.01] = rng.choice([np.nan, np.inf, -np.inf, -3.0])
    elif dtype.itemsize > 1:
        frames[rng.random(frames.shape) < 0.01] = np.iinfo(dtype.str).max
    mask = rng.random((rows, columns)) < data.draw(st.sampled_from([0.0, 0.1]))
    choices = PreprocessingSettings(
        mask=mask,
        flat=rng.uniform(0.5, 2.0, (rows, columns)),
        dark=data.draw(st.sampled_from([None, rng.uniform(0, 2, (rows, columns))])),
        saturation_counts=data.draw(st.sampled_from([None, top * 0.8])),
        min_frames=2,
    )
    geometry = artificial_geometry().model_copy(update={"frame_shape": (rows, columns)})
    present = rng.random(count) < 0.9
    present[:2] = True
    angles = rng.normal(size=count) * 0.1
    monitor = rng.uniform(0.5, 2.0, count)
    curve = RockingCurve(
        run_uid="run",
        frames=frames,
        angles_deg=angles,
        present=present,
        monitor=monitor,
        transmission=None,
        crop_origin=(0, 0),
        geometry=geometry,
    )
    plan = plan_scan(curve, choices)
    corrections, statistics = survey(
        frames,
        plan.usable,
        plan.images.gain,
        plan.images.dark,
        plan.frame_scale,
        choices.saturation_counts,
        choices.hot_ratio,
        choices.hot_counts,
    )
    store = DeviceFrameStore(workspace.device)
    held = store.take("run", frames, plan.usable)
    gain: WarpArray = wp.array(plan.images.gain, dtype=wp.float32, device=workspace.device)
    dark: WarpArray = wp.array(plan.images.dark, dtype=wp.float32, device=workspace.device)
    surveyed = SurveyedOnDevice(held, plan, DeviceImages(gain, dark), choices, workspace)
    mine = surveyed.statistics
    for name in ("peak_index", "peak_counts", "saturated", "invalid", "outliers", "hot_pixels"):
        assert getattr(mine, name) == getattr(statistics, name), name
    assert mine.frame_totals == pytest.approx(statistics.frame_totals, rel=1e-9)
    window = surveyed.image(slice(1, rows - 1), slice(0, columns - 2))
    assert window == pytest.approx(statistics.total_image[1 : rows - 1, 0 : columns - 2], rel=1e-9)

    mapping = plan.mapping
    middle = float(np.median(angles[present]))
    centre = mapping.q(middle, rows / 2, columns / 2)
    step = np.linalg.norm(mapping.q(middle, rows / 2 + 1, columns / 2) - centre) * min(rows, columns) / 64
    polynomial = fit_index(QGrid.around(centre, float(step)), mapping, middle)
    samples = data.draw(st.sampled_from([(1, 1, 1), (2, 1, 2)]))
    cube = surveyed.gather(polynomial, samples)
    intensity, coverage = gather(frames, plan.order, corrections, polynomial, samples)
    assert np.abs(cube.coverage - coverage).max() < 1e-6
    assert np.abs(cube.intensity - intensity).max() <= 1e-6 * max(intensity.max(), 1e-30)


@st.composite
def geometries(draw: st.DrawFn) -> RockingGeometry:
    """Any diffractometer of two sample and two detector circles, on the Au 111 peak, 64 x 72 pixels."""
    theta = 17.02
    turned = draw(st.floats(10.0, 30.0))
    other = np.degrees(np.arccos(np.cos(np.radians(2 * theta)) / np.cos(np.radians(turned))))
    return artificial_geometry().model_copy(
        update={
            "sample_circles": (
                Circle(
                    name="phi",
                    axis=draw(st.sampled_from(ALONG["z"])),
                    angle_deg=draw(st.floats(-30, 30)),
                    offset_deg=0.0,
                ),
                Circle(
                    name="th", axis=draw(st.sampled_from(ALONG["y"])), angle_deg=0.0, offset_deg=draw(st.floats(-1, 1))
                ),
            ),
            "detector_circles": (
                Circle(name="delta", axis="y+", angle_deg=other, offset_deg=0.0),
                Circle(name="gamma", axis=draw(st.sampled_from(ALONG["x"])), angle_deg=turned, offset_deg=0.0),
            ),
            "direct_beam_angles_deg": (0.0, 0.0),
            "row_direction": draw(st.sampled_from(ALONG["y"])),
            "column_direction": draw(st.sampled_from(ALONG["x"])),
            "detector_tilt": draw(
                st.none()
                | st.builds(
                    DetectorTilt,
                    rotation_deg=st.floats(-3, 3),
                    azimuth_deg=st.floats(0, 360),
                    tilt_deg=st.floats(-10, 10),
                )
            ),
            "direct_beam_px": (32.0, 36.0),
            "distance_m": draw(st.floats(0.4, 1.0)),
            "chip_shape": (64, 72),
            "frame_shape": (64, 72),
        }
    )


def measured_by(geometry: RockingGeometry, size_nm: float, seed: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Counts of a sphere in the middle of 48 frames, and their angles in steps that suit its fringes."""
    rng = np.random.default_rng(seed)
    mapping = rocking_map(geometry)
    centre = mapping.q(0.0, 32.0, 36.0)
    per_degree = float(np.linalg.norm(mapping.q(0.01, 32.0, 36.0) - centre)) / 0.01
    fringe = 2 * np.pi / (size_nm * 10)
    angles = (np.arange(48) - 24 + rng.uniform(-0.3, 0.3, 48)) * 0.35 * fringe / max(per_degree, 1e-6)
    q = mapping.q(angles[:, None, None], np.arange(64)[:, None], np.arange(72))
    x = np.maximum(np.linalg.norm(q - centre, axis=-1) * size_nm * 5, 1e-3)
    ideal = 1e5 * (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2
    return rng.poisson(ideal + 0.03).astype(np.int32), angles


@settings(max_examples=6, deadline=None)
@given(
    geometries(),
    st.floats(300, 600),
    st.sampled_from([np.uint16, np.int32, np.float32]),
    st.sampled_from(["plain", "gap", "saturated", "missing", "hot", "attenuated"]),
    st.integers(0, 1000),
)
def test_random_scans_give_the_same_input_record_and_scale(
    on_device: Callable[[RockingCurve, PreprocessingSettings], ModelInput],
    geometry: RockingGeometry,
    size_nm: float,
    dtype: type,
    spoilt: str,
    seed: int,
) -> None:
    frames, angles = measured_by(geometry, size_nm, seed)
    rng = np.random.default_rng(seed)
    present = np.ones(48, dtype=np.bool_)
    changes: dict[str, object] = {}
    transmission = None
    counts = np.minimum(frames, 60000).astype(dtype)
    if spoilt == "gap":
        mask = np.zeros((64, 72))
        mask[:, int(rng.integers(0, 72)) :][:, :4] = 1
        changes["mask"] = mask
    elif spoilt == "saturated":
        changes["saturation_counts"] = 0.6 * float(counts.max())
    elif spoilt == "missing":
        present[rng.integers(0, 48, 6)] = False
    elif spoilt == "hot":
        counts[:, int(rng.integers(0, 64)), int(rng.integers(0, 72))] = 50000
    elif spoilt == "attenuated":
        transmission = rng.uniform(0.5, 1.0, 48)
    curve = RockingCurve("r", counts, angles, present, None, transmission, (0, 0), geometry)
    choices = PreprocessingSettings.model_validate(changes)
    theirs, mine = CpuPreprocessor(choices)(curve), on_device(curve, choices)
    same_quality(mine.quality, theirs.quality)
    # The grids differ by rounding: a voxel on the very border of what was measured may fall on either side of it.
    border = (mine.intensity == 0) != (theirs.intensity == 0)
    assert border.mean() < 1e-3
    apart = np.where(border, 0.0, np.abs(mine.intensity - theirs.intensity))
    assert apart.max() <= 1e-4 * max(float(theirs.intensity.max()), 1e-30)
    assert np.allclose(mine.centre_inv_A, theirs.centre_inv_A, atol=1e-6)
    assert np.allclose(mine.basis, theirs.basis, atol=1e-6)


@pytest.mark.skipif(not ARCHIVE.exists(), reason=f"needs the measured scan {ARCHIVE.name}")
def test_the_measured_scan_is_the_same(
    tmp_path: Path, on_device: Callable[[RockingCurve, PreprocessingSettings], ModelInput]
) -> None:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    frames = np.stack([tifffile.imread(path) for path in sorted(tmp_path.glob("**/frames/*.tif"))])
    flat = tifffile.imread(next(tmp_path.glob("**/whitefield.tif")))
    dark = tifffile.imread(next(tmp_path.glob("**/dark.tif")))
    angles = np.linspace(-0.279996, 0.720004, len(frames))
    geometry = geometry_from_values(load_preset("34idc"), {**VALUES, "th": 0.0}, (256, 256))
    curve = RockingCurve("S54", frames, angles, np.ones(len(frames), np.bool_), None, None, (0, 0), geometry)
    choices = PreprocessingSettings(flat=flat, mask=dark > 1)
    theirs, mine = CpuPreprocessor(choices)(curve), on_device(curve, choices)
    assert mine.quality.invalid_reason is None
    assert mine.quality.flags == ()
    same_quality(mine.quality, theirs.quality)
    assert np.abs(mine.intensity - theirs.intensity).max() < 1e-5 * theirs.intensity.max()


def test_importing_the_callbacks_leaves_warp_alone() -> None:
    code = (
        "import sys, braggwatch.callbacks.cxdp.preprocess.preprocessing, braggwatch.callbacks.cxdp.screening_callback, "
        "braggwatch.callbacks.cxdp.device.selection, braggwatch.services.composition; sys.exit('warp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_kernels_compile_for_cuda(tmp_path: Path) -> None:
    import warp as wp

    from braggwatch.callbacks.cxdp.device import cube_kernels, frame_kernels

    wp.init()
    for module in (frame_kernels, cube_kernels):
        wp.compile_aot_module(module, arch=90, module_dir=tmp_path, use_ptx=True)
    assert len(list(tmp_path.glob("*.ptx"))) == 2
