"""A rocking curve becomes a centred, scaled cube; what can't become one says why and never raises."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.peak_centre import peak_centre
from braggwatch.callbacks.cxdp.preprocess.preprocessing import (
    CpuPreprocessor,
    PreprocessingSettings,
    preprocess_arrays,
    warm_up,
)
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.sim.geometry import Circle, RockingGeometry, rocking_map

EDGE, FRAMES = 96, 100
SIZE_NM = 250.0


def make_geometry(**changes: object) -> RockingGeometry:
    return RockingGeometry(
        energy_keV=9.0,
        sample_circles=(Circle(name="th", axis="y+", angle_deg=0.0, offset_deg=0.0),),
        scanned="th",
        detector_circles=(
            Circle(name="delta", axis="y+", angle_deg=31.75, offset_deg=0.0),
            Circle(name="gamma", axis="x-", angle_deg=12.6, offset_deg=0.0),
        ),
        distance_m=0.5,
        pixel_size_m=(55e-6, 55e-6),
        row_direction="y-",
        column_direction="x+",
        detector_tilt=None,
        direct_beam_px=(EDGE / 2, EDGE / 2),
        direct_beam_angles_deg=(0.0, 0.0),
        chip_shape=(EDGE, EDGE),
        roi_origin=(0, 0),
        binning=(1, 1),
        frame_shape=(EDGE, EDGE),
        transposed=False,
        material="Au",
        lattice_parameter_A=4.0782,
        hkl=(1, 1, 1),
    ).model_copy(update=changes)


ANGLES = np.linspace(-0.45, 0.45, FRAMES)


def sphere_counts(
    size_nm: float = SIZE_NM, peak: float = 1e5, at: tuple[float, float] = (50.0, 45.0), angle: float = 0.03
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Poisson counts of a spherical crystal, and the true Q of its peak."""
    mapping = rocking_map(make_geometry())
    centre = mapping.q(angle, *at)
    q = mapping.q(ANGLES[:, None, None], np.arange(EDGE)[:, None], np.arange(EDGE))
    x = np.maximum(np.linalg.norm(q - centre, axis=-1) * size_nm * 5, 1e-3)
    ideal = peak * (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2
    return np.random.default_rng(1).poisson(ideal + 0.03).astype(np.int32), centre


@pytest.fixture(scope="module")
def scan() -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    return sphere_counts()


def curve_of(frames: NDArray[np.generic], **changes: object) -> RockingCurve:
    given_: dict[str, object] = {
        "run_uid": "abc",
        "angles_deg": ANGLES,
        "present": np.ones(len(frames), dtype=bool),
        "monitor": None,
        "transmission": None,
        "crop_origin": (0, 0),
        "geometry": make_geometry(),
        **changes,
    }
    return RockingCurve(frames=frames, **given_)  # type: ignore[arg-type]


class Run(Protocol):
    """Preprocesses frames with changed readings, geometry or settings."""

    def __call__(self, frames: NDArray[np.generic], **changes: object) -> ModelInput: ...


@pytest.fixture(
    scope="module", params=["numba", pytest.param("cpu", id="warp"), pytest.param("cuda:0", marks=pytest.mark.gpu)]
)
def run(request: pytest.FixtureRequest) -> Run:
    """Every way to preprocess gives what these tests ask for."""

    def by_numba(frames: NDArray[np.generic], **changes: object) -> ModelInput:
        settings_ = changes.pop("settings", PreprocessingSettings())
        return CpuPreprocessor(settings_)(curve_of(frames, **changes))  # type: ignore[arg-type]

    if request.param == "numba":
        return by_numba
    pytest.importorskip("warp")
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

    plain = DevicePreprocessor(PreprocessingSettings(), request.param)

    def by_warp(frames: NDArray[np.generic], **changes: object) -> ModelInput:
        settings_ = changes.pop("settings", None)
        made = plain if settings_ is None else DevicePreprocessor(settings_, request.param)  # type: ignore[arg-type]
        return made(curve_of(frames, **changes))

    return by_warp


def test_size_centre_and_axes(run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]) -> None:
    frames, centre = scan
    result = run(frames)
    quality = result.quality
    assert quality.invalid_reason is None
    assert quality.scale_valid, quality.flags
    assert quality.size_nm == pytest.approx(SIZE_NM, rel=0.05)
    assert quality.voxel_size_inv_A == pytest.approx(2 * np.pi / (3.5 * SIZE_NM * 10), rel=0.05)
    assert np.linalg.norm(result.centre_inv_A - centre) < 0.15 * quality.voxel_size_inv_A
    assert np.allclose(result.basis[0], centre / np.linalg.norm(centre), atol=1e-3)
    assert np.abs(peak_centre(result.intensity, 7.0) - 32).max() < 0.15
    assert result.intensity.shape == (64, 64, 64)
    assert result.intensity.dtype == np.float32
    assert result.intensity.min() >= 0
    assert quality.total_counts == pytest.approx(frames.sum())


@pytest.mark.parametrize("size_nm", [150.0, 400.0])
def test_any_particle_looks_alike(run: Run, size_nm: float) -> None:
    result = run(sphere_counts(size_nm)[0])
    assert result.quality.size_nm == pytest.approx(size_nm, rel=0.05)


def test_an_alien_does_not_move_the_centre(run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]) -> None:
    frames, centre = scan
    alien = frames.copy()
    alien[20:26, 70:76, 20:26] += 20000
    result = run(alien)
    assert np.linalg.norm(result.centre_inv_A - centre) < 0.2 * result.quality.voxel_size_inv_A


def test_hot_pixels_and_cosmic_rays_are_left_out(run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]) -> None:
    frames, _ = scan
    clean = run(frames)
    dirty = frames.copy()
    dirty[:, 10, 80] = 500_000
    dirty[33, 70, 30] = 900_000
    result = run(dirty)
    assert any("hot" in flag for flag in result.quality.flags)
    assert result.quality.peak_counts == clean.quality.peak_counts
    assert np.abs(result.intensity - clean.intensity).max() < 0.01 * clean.intensity.max()


def test_negative_and_not_finite_counts_are_flagged_and_never_spread(
    run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]
) -> None:
    frames, _ = scan
    bad = frames.astype(np.float32)
    bad[40, 20, 20], bad[41, 30, 70], bad[42, 60, 60] = np.nan, np.inf, -np.inf
    result = run(bad)
    assert np.isfinite(result.intensity).all()
    assert any("3 readings" in flag for flag in result.quality.flags)
    marked = frames.copy()
    marked[:, 60:62, :] = -1
    assert run(marked).intensity.min() >= 0


def test_monitor_and_transmission_keep_the_counts_magnitude(
    run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]
) -> None:
    frames, _ = scan
    transmission = np.where(np.arange(FRAMES) % 2, 1.0, 0.5)
    attenuated = np.rint(frames * transmission[:, None, None]).astype(np.int32)
    whole = run(frames)
    result = run(attenuated, transmission=transmission)
    assert np.abs(result.intensity / 0.75 - whole.intensity).max() < 0.03 * whole.intensity.max()
    monitor = np.full(FRAMES, 1000.0)
    monitor[3] = np.nan
    assert any("unusable" in flag for flag in run(frames, monitor=monitor).quality.flags)


def test_missing_frames_away_from_the_peak_only_lower_the_coverage(
    run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]
) -> None:
    frames, centre = scan
    present = np.ones(FRAMES, dtype=bool)
    present[8:16] = False
    holed = np.where(present[:, None, None], frames, 0)
    result = run(holed, present=present, angles_deg=np.where(present, ANGLES, np.nan))
    assert result.quality.coverage < run(frames).quality.coverage
    assert result.quality.scale_valid
    assert np.linalg.norm(result.centre_inv_A - centre) < 0.2 * result.quality.voxel_size_inv_A


def test_missing_frames_at_the_peak_spoil_the_scale(
    run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]
) -> None:
    frames, _ = scan
    present = np.ones(FRAMES, dtype=bool)
    present[48:56] = False
    result = run(frames, present=present, settings=PreprocessingSettings(previous_size_nm=SIZE_NM))
    assert not result.quality.scale_valid
    assert result.quality.voxel_size_inv_A == pytest.approx(2 * np.pi / (3.5 * SIZE_NM * 10))


def test_saturation_is_flagged_and_distrusts_the_scale(
    run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]
) -> None:
    frames, _ = scan
    result = run(np.minimum(frames, 5000), settings=PreprocessingSettings(saturation_counts=5000))
    assert result.quality.saturated_pixels > 10
    assert not result.quality.scale_valid


def test_crop_and_whole_frame_give_the_same_cube(run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]) -> None:
    frames, _ = scan
    whole = run(frames)
    crop = run(np.ascontiguousarray(frames[:, 6:, 4:]), crop_origin=(6, 4))
    assert np.allclose(crop.centre_inv_A, whole.centre_inv_A, atol=1e-5)
    core = (slice(16, 48),) * 3
    assert np.abs(crop.intensity[core] - whole.intensity[core]).max() < 0.01 * whole.intensity.max()


def test_descending_scans_are_the_same_scans(run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]) -> None:
    frames, _ = scan
    whole, turned = run(frames), run(frames[::-1], angles_deg=ANGLES[::-1].copy())
    assert np.allclose(turned.intensity, whole.intensity, rtol=1e-3, atol=1.0)


def test_flat_field_mask_and_dark_are_applied(run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]) -> None:
    frames, _ = scan
    rng = np.random.default_rng(5)
    flat = rng.uniform(0.8, 1.25, (EDGE, EDGE))
    dark = np.full((EDGE, EDGE), 3.0)
    distorted = (frames * (flat / np.median(flat)) + dark).astype(np.float32)
    settings_ = PreprocessingSettings(flat=flat * 1e4, dark=dark)
    whole, corrected = run(frames), run(distorted, settings=settings_)
    assert np.abs(corrected.intensity - whole.intensity).max() < 0.01 * whole.intensity.max()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": np.zeros((FRAMES, EDGE, EDGE), np.int32)}, "no peak"),
        ({"frames": np.random.default_rng(0).poisson(40.0, (FRAMES, EDGE, EDGE)).astype(np.uint16)}, "no peak"),
        ({"frames": np.zeros((FRAMES, EDGE))}, "not a rocking curve"),
        ({"frames": np.zeros((FRAMES, EDGE, EDGE), complex)}, "are not counts"),
        ({"frames": np.zeros((FRAMES, EDGE + 1, EDGE), np.int32)}, "don't fit"),
        ({"angles_deg": ANGLES[:-1]}, "angles of shape"),
        ({"angles_deg": np.full(FRAMES, np.nan)}, "no finite angle"),
        ({"angles_deg": np.zeros(FRAMES)}, "did not move"),
        ({"present": np.arange(FRAMES) < 5}, "only 5 frames"),
        ({"present": np.arange(FRAMES) < 40}, "only 40%"),
        ({"crop_origin": (1, 0)}, "don't fit"),
        ({"settings": PreprocessingSettings(mask=np.zeros((3, 3)))}, "detector image"),
        (
            {
                "frames": np.full((FRAMES, EDGE, EDGE), 9999, np.int32),
                "settings": PreprocessingSettings(saturation_counts=5000),
            },
            "saturated",
        ),
    ],
)
def test_bad_data_say_why(
    run: Run, changes: dict[str, object], words: str, scan: tuple[NDArray[np.int32], NDArray[np.float64]]
) -> None:
    result = run(**{"frames": scan[0], **changes})  # type: ignore[arg-type]
    assert result.quality.invalid_reason is not None
    assert words in result.quality.invalid_reason
    assert result.intensity.shape == (64, 64, 64)
    assert np.isfinite(result.intensity).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(2, 12),
    st.integers(2, 20),
    st.integers(2, 20),
    st.sampled_from([np.uint16, np.int32, np.float32]),
    st.integers(0, 2**32 - 1),
)
def test_random_data_never_raise(run: Run, count: int, rows: int, columns: int, dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = (rng.exponential(size=(count, rows, columns)) ** 6 * 10).clip(0, 3e4).astype(dtype)
    angles = rng.normal(size=count)
    angles[rng.random(count) < 0.2] = np.nan
    result = run(
        frames,
        angles_deg=angles,
        present=rng.random(count) < 0.9,
        geometry=make_geometry(frame_shape=(rows, columns)),
        settings=PreprocessingSettings(min_frames=2),
    )
    assert np.isfinite(result.intensity).all()
    assert np.isfinite(result.centre_inv_A).all()


def test_the_curve_and_the_arrays_give_the_same(run: Run, scan: tuple[NDArray[np.int32], NDArray[np.float64]]) -> None:
    frames, _ = scan
    before = frames.copy()
    result = run(frames)
    arrays = preprocess_arrays(
        frames, ANGLES, np.ones(FRAMES, dtype=np.bool_), make_geometry(), PreprocessingSettings(), run_uid="abc"
    )
    assert result.run_uid == arrays.run_uid == "abc"
    assert np.abs(result.intensity - arrays.intensity).max() < 1e-6 * arrays.intensity.max()
    assert np.array_equal(frames, before)


def test_warm_up_needs_no_data() -> None:
    warm_up(CpuPreprocessor(PreprocessingSettings()))
