"""Q of every pixel equals xrayutilities' to rounding, for any diffractometer, and the inverse brings it back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggwatch.sim.geometry import (
    Circle,
    DetectorTilt,
    RockingGeometry,
    geometry_from_values,
    load_preset,
    pixel_q,
    q_index,
)
from braggwatch.sim.geometry.q import rocking_map

AXES = ["x+", "x-", "y+", "y-", "z+", "z-"]
PIXEL_AXES = [("y-", "x+"), ("y+", "x-"), ("x+", "y+"), ("x-", "y-"), ("y-", "x-")]


def geometry_34idc(**changes: object) -> RockingGeometry:
    values = {"energy": 9.0, "th": 0.2, "chi": 90.0, "phi": -5.0, "delta": 32.174, "gamma": 12.6346}
    geometry = geometry_from_values(load_preset("34idc"), {**values, "detector_distance": 0.5}, (256, 256))
    return geometry.model_copy(update=changes)


def oracle(geometry: RockingGeometry, angles: np.ndarray) -> np.ndarray:
    """xrayutilities' answer, (N, rows, columns, 3)."""
    xu = pytest.importorskip("xrayutilities")
    conversion = xu.QConversion(
        tuple(c.axis for c in geometry.sample_circles),
        tuple(c.axis for c in geometry.detector_circles),
        [0, 0, 1],
        en=geometry.energy_keV * 1e3,
    )
    rows, columns = geometry.frame_shape
    tilt = geometry.detector_tilt
    conversion.init_area(
        geometry.row_direction,
        geometry.column_direction,
        cch1=geometry.direct_beam_px[0] - geometry.roi_origin[0],
        cch2=geometry.direct_beam_px[1] - geometry.roi_origin[1],
        Nch1=rows,
        Nch2=columns,
        distance=geometry.distance_m,
        pwidth1=geometry.pixel_size_m[0],
        pwidth2=geometry.pixel_size_m[1],
        detrot=0.0 if tilt is None else tilt.rotation_deg,
        tiltazimuth=0.0 if tilt is None else tilt.azimuth_deg,
        tilt=0.0 if tilt is None else tilt.tilt_deg,
    )
    sample = [
        angles + c.offset_deg if c.name == geometry.scanned else c.angle_deg + c.offset_deg
        for c in geometry.sample_circles
    ]
    detector = [c.angle_deg + c.offset_deg for c in geometry.detector_circles]
    return np.stack(conversion.area(*sample, *detector, deg=True), axis=-1)


def whole_scan(geometry: RockingGeometry, angles: np.ndarray) -> np.ndarray:
    rows, columns = geometry.frame_shape
    return pixel_q(geometry, angles[:, None, None], np.arange(rows)[:, None], np.arange(columns))


def test_equals_xrayutilities_at_34idc() -> None:
    geometry = geometry_34idc()
    angles = np.linspace(-0.28, 0.72, 5)
    expected = oracle(geometry, angles)
    assert np.abs(whole_scan(geometry, angles) - expected).max() < 1e-12 * np.abs(expected).max()


circles = st.lists(st.tuples(st.sampled_from(AXES), st.floats(-60, 60), st.floats(-10, 10)), min_size=1, max_size=4)

tilts = st.builds(
    DetectorTilt, rotation_deg=st.floats(-180, 180), azimuth_deg=st.floats(-360, 360), tilt_deg=st.floats(-40, 40)
)


@st.composite
def geometries(draw: st.DrawFn) -> RockingGeometry:
    sample = draw(circles)
    detector = draw(st.lists(st.tuples(st.sampled_from(AXES), st.floats(-70, 70), st.floats(-5, 5)), max_size=3))
    row, column = draw(st.sampled_from(PIXEL_AXES))
    named = [Circle(name=f"s{i}", axis=a, angle_deg=v, offset_deg=o) for i, (a, v, o) in enumerate(sample)]  # type: ignore[arg-type]
    arms = [Circle(name=f"d{i}", axis=a, angle_deg=v, offset_deg=o) for i, (a, v, o) in enumerate(detector)]  # type: ignore[arg-type]
    return RockingGeometry(
        energy_keV=draw(st.floats(5, 25)),
        sample_circles=tuple(named),
        scanned=draw(st.sampled_from([c.name for c in named])),
        detector_circles=tuple(arms),
        distance_m=draw(st.floats(0.3, 5)),
        pixel_size_m=(draw(st.floats(2e-5, 2e-4)), draw(st.floats(2e-5, 2e-4))),
        row_direction=row,  # type: ignore[arg-type]
        column_direction=column,  # type: ignore[arg-type]
        detector_tilt=draw(st.none() | tilts),
        direct_beam_px=(draw(st.floats(-50, 600)), draw(st.floats(-50, 600))),
        direct_beam_angles_deg=tuple(-c.offset_deg for c in arms),
        chip_shape=(512, 512),
        roi_origin=(draw(st.integers(0, 400)), draw(st.integers(0, 400))),
        binning=(1, 1),
        frame_shape=(5, 7),
        transposed=False,
        material=None,
        lattice_parameter_A=None,
        hkl=None,
    )


@settings(max_examples=60, deadline=None)
@given(geometries(), st.floats(-30, 30))
def test_equals_xrayutilities_for_any_circles(geometry: RockingGeometry, start: float) -> None:
    angles = start + np.linspace(0, 1, 3)
    expected = oracle(geometry, angles)
    assert np.abs(whole_scan(geometry, angles) - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("scanned", ["th", "chi", "phi"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("tilt", [None, DetectorTilt(rotation_deg=1.5, azimuth_deg=70.0, tilt_deg=-4.0)])
def test_inverse_round_trips(scanned: str, transposed: bool, tilt: DetectorTilt | None) -> None:
    geometry = geometry_34idc(scanned=scanned, transposed=transposed, binning=(2, 1), detector_tilt=tilt)
    middle = {c.name: c.angle_deg for c in geometry.sample_circles}[scanned]
    angles, rows, columns = np.meshgrid(middle + np.linspace(-0.5, 0.5, 7), [0, 100, 255], [0, 77, 255], indexing="ij")
    back = q_index(geometry, pixel_q(geometry, angles, rows, columns), middle)
    assert np.abs(back - np.stack([angles, rows, columns], axis=-1)).max() < 1e-8


def test_both_bragg_crossings_are_reached() -> None:
    geometry = geometry_34idc()
    q = pixel_q(geometry, 0.1, 100, 100)
    here = q_index(geometry, q, 0.0)[0]
    there = q_index(geometry, q, here + 180.0)[0]
    assert here == pytest.approx(0.1)
    assert abs(there - here) > 1.0
    assert q_index(geometry, q, here + 360.0)[0] == pytest.approx(360.1)


def test_unreachable_q_is_nan_not_a_number_made_up() -> None:
    geometry = geometry_34idc()
    assert np.isnan(q_index(geometry, 100.0 * pixel_q(geometry, 0.1, 100, 100), 0.0)).all()


@pytest.mark.parametrize("tilt", [None, DetectorTilt(rotation_deg=2.0, azimuth_deg=-30.0, tilt_deg=8.0)])
def test_direct_beam_measured_with_the_detector_turned_goes_through_its_pixel(tilt: DetectorTilt | None) -> None:
    geometry = geometry_34idc(direct_beam_angles_deg=(1.5, -0.7), direct_beam_px=(200.0, 300.0), detector_tilt=tilt)
    turned = tuple(
        c.model_copy(update={"angle_deg": a})
        for c, a in zip(geometry.detector_circles, geometry.direct_beam_angles_deg, strict=True)
    )
    q = pixel_q(geometry.model_copy(update={"detector_circles": turned}), 0.0, 200.0, 300.0)
    assert np.abs(q).max() < 1e-12


def test_roi_binning_transpose_and_crop_name_the_same_pixels() -> None:
    whole = geometry_34idc()
    q = pixel_q(whole, 0.3, np.arange(64)[:, None], np.arange(64))
    roi = whole.model_copy(update={"roi_origin": (10, 20), "frame_shape": (40, 30)})
    assert np.allclose(pixel_q(roi, 0.3, np.arange(40)[:, None], np.arange(30)), q[10:50, 20:50], atol=1e-14)
    flipped = whole.model_copy(update={"transposed": True})
    assert np.allclose(pixel_q(flipped, 0.3, np.arange(64)[:, None], np.arange(64)), q.swapaxes(0, 1), atol=1e-14)
    assert np.allclose(rocking_map(whole, (5, 6)).q(0.3, 1, 2), q[6, 8], atol=1e-14)
    binned = whole.model_copy(update={"binning": (2, 4)})
    middle = pixel_q(whole, 0.3, 2 * 3 + 0.5, 4 * 5 + 1.5)
    assert np.allclose(pixel_q(binned, 0.3, 3, 5), middle, atol=1e-14)


def test_pixels_along_the_beam_are_refused() -> None:
    with pytest.raises(ValueError, match="perpendicular"):
        pixel_q(geometry_34idc(row_direction="z+"), 0.0, 0, 0)


def test_direct_beam_behind_the_detector_is_refused() -> None:
    with pytest.raises(ValueError, match="direct beam"):
        pixel_q(geometry_34idc(direct_beam_angles_deg=(170.0, 0.0)), 0.0, 0, 0)
