"""Which changes of a geometry leave a trace in one scan: those that neither mirror nor turn the whole of it."""

from __future__ import annotations

import pytest

from braggwatch.callbacks.cxdp.geometry_check.candidates import leaves_no_trace
from braggwatch.callbacks.cxdp.geometry_check.changes import double_changes, single_changes
from braggwatch.callbacks.cxdp.geometry_check.trace import Trace, local_map, trace
from braggwatch.sim.geometry import geometry_from_values, load_preset
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import rocking_map

VALUES = {"energy": 9.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0, "detector_distance": 0.5}
PLACE = (0.22, 128.0, 128.0)


def at_34idc() -> RockingGeometry:
    return geometry_from_values(load_preset("34idc"), {**VALUES, "th": 0.22}, (256, 256))


def seen(changed: RockingGeometry, rocking_scale: float = 1.0) -> Trace:
    here = local_map(rocking_map(at_34idc()), PLACE)
    return trace(here, local_map(rocking_map(changed), PLACE, rocking_scale))


@pytest.fixture(scope="module")
def singles() -> dict[str, Trace]:
    return {one.words: seen(one.geometry, one.rocking_scale) for one in single_changes(at_34idc())}


@pytest.mark.parametrize(
    "words",
    [
        "column direction flipped ('x-')",
        "row direction flipped ('y+')",
        "transposed (true)",
        "delta's sign ('y-')",
        "gamma's sign ('x+')",
        "rocking sign (th: 'y-')",
        "rocking step half of what is stated",
        "rocking step twice what is stated",
        "pixels half of what is stated (binning)",
    ],
)
def test_signs_directions_and_factors_turn_the_streaks(singles: dict[str, Trace], words: str) -> None:
    assert singles[words].turn_deg > 30.0


def test_an_energy_shows_in_d_alone(singles: dict[str, Trace]) -> None:
    wrong = singles["energy in wrong units (eV instead of keV)"]
    assert wrong.d_ratio == pytest.approx(1000.0)
    assert wrong.turn_deg == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("words", ["distance 5 % too long", "distance 5 % too short"])
def test_five_per_cent_of_the_distance_leave_no_trace(singles: dict[str, Trace], words: str) -> None:
    assert leaves_no_trace(singles[words])
    assert 2.0 < singles[words].turn_deg < 4.0


@pytest.mark.parametrize("fields", [{"direct_beam_px": (216.0, 256.0)}, {"roi_origin": (40, 60)}])
def test_nor_do_a_direct_beam_and_a_region_some_tens_of_pixels_off(fields: dict[str, object]) -> None:
    off = seen(at_34idc().model_copy(update=fields))
    assert off.turn_deg < 4.0
    assert abs(off.d_ratio - 1.0) < 0.01


def test_circles_inside_the_scanned_one_turn_the_crystal_alone() -> None:
    geometry = at_34idc()
    for number in (1, 2):
        circles = list(geometry.sample_circles)
        circles[number] = circles[number].model_copy(update={"angle_deg": circles[number].angle_deg + 33.0})
        assert seen(geometry.model_copy(update={"sample_circles": tuple(circles)})).turn_deg < 1e-3


def test_the_mirror_image_of_a_whole_beamline_leaves_none() -> None:
    """Left and right: the signs of the columns, of delta and of the rocking. Up and down: of the rows and of gamma."""
    geometry = at_34idc()
    delta, gamma = geometry.detector_circles
    th = geometry.sample_circles[0]
    centred = geometry.model_copy(update={"direct_beam_px": (128.0, 128.0)})

    def off(**fields: object) -> Trace:
        first, second = (local_map(rocking_map(one), PLACE) for one in (centred, centred.model_copy(update=fields)))
        return trace(first, second)

    sideways = off(
        column_direction="x-",
        detector_circles=(delta.model_copy(update={"axis": "y-"}), gamma),
        sample_circles=(th.model_copy(update={"axis": "y-"}), *geometry.sample_circles[1:]),
    )
    upside_down = off(row_direction="y+", detector_circles=(delta, gamma.model_copy(update={"axis": "x+"})))
    for mirrored in (sideways, upside_down):
        assert mirrored.turn_deg < 1e-3
        assert mirrored.d_ratio == pytest.approx(1.0)


def test_two_at_once_are_of_different_kinds() -> None:
    words = [one.words for one in double_changes(at_34idc())]
    assert "column direction flipped ('x-') and rocking sign (th: 'y-')" in words
    assert len(set(words)) == len(words)
    assert not any(one.count("energy") > 1 or one.count("distance") > 1 for one in words)
    assert not any("5 %" in one or "step" in one for one in words)
