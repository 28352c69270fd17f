"""A scan that contradicts its geometry is told so, with the change that mends it; a good one isn't."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braggwatch.callbacks.cxdp.geometry_check.changes import single_changes
from braggwatch.callbacks.cxdp.geometry_check.examining import examine_geometry
from braggwatch.callbacks.cxdp.geometry_check.streak_picture import EXPECTED_RGB, FOUND_RGB, streak_picture
from braggwatch.callbacks.cxdp.geometry_check.verdict import GeometryVerdict
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings
from braggwatch.callbacks.cxdp.records import Quality, RockingCurve
from support.faceted_scan import faceted_scan

SETTINGS = PreprocessingSettings()


def told(curve: RockingCurve, **fields: object) -> Quality:
    return CpuPreprocessor(SETTINGS)(replace(curve, geometry=curve.geometry.model_copy(update=fields))).quality


@pytest.fixture(scope="module")
def faceted() -> RockingCurve:
    return faceted_scan(FACETED)


FACETED = 9_000_000


def test_an_exact_geometry_is_consistent(faceted: RockingCurve) -> None:
    quality = told(faceted)
    check = quality.geometry
    assert check is not None
    assert (check.verdict, check.mends, check.tried) == (GeometryVerdict.CONSISTENT, (), ())
    assert check.streaks >= 4
    assert check.misfit_deg is not None
    assert check.misfit_deg < 2.0
    assert quality.invalid_reason is None


def undone(words: str) -> str:
    """What a change is called from its other side, without the value."""
    return words.split(" (")[0]


def test_each_sign_that_is_wrong_is_named(faceted: RockingCurve) -> None:
    examined = examine_geometry(faceted, SETTINGS)
    tried = 0
    for change in single_changes(faceted.geometry):
        if change.words in examined.no_trace or not any(
            word in change.words for word in ("direction", "sign", "transposed")
        ):
            continue
        quality = CpuPreprocessor(SETTINGS)(replace(faceted, geometry=change.geometry)).quality
        check = quality.geometry
        assert check is not None
        assert check.verdict is GeometryVerdict.INCONSISTENT, change.words
        assert undone(change.words) in map(undone, check.mends)
        assert quality.invalid_reason is not None
        assert "contradicts its geometry" in quality.invalid_reason
        assert all(mend in quality.invalid_reason for mend in check.mends)
        tried += 1
    assert tried >= 4


def test_two_at_once_are_found(faceted: RockingCurve) -> None:
    geometry = faceted.geometry
    rocking = geometry.sample_circles[0].model_copy(update={"axis": flipped(geometry.sample_circles[0].axis)})
    check = told(faceted, sample_circles=(rocking,), transposed=True, chip_shape=geometry.chip_shape[::-1]).geometry
    assert check is not None
    assert check.verdict is GeometryVerdict.INCONSISTENT
    assert any("transposed" in mend and "rocking sign" in mend for mend in check.mends)


def flipped(axis: str) -> str:
    return axis[0] + ("-" if axis[1] == "+" else "+")


def test_units_of_the_energy(faceted: RockingCurve) -> None:
    quality = told(faceted, energy_keV=faceted.geometry.energy_keV * 1000)
    assert quality.geometry is not None
    assert quality.geometry.mends == ("energy in wrong units (eV instead of keV)",)
    assert "contradicts the stated reflection" in (quality.invalid_reason or "")
    assert "eV instead of keV" in (quality.invalid_reason or "")
    # nothing is stated of the crystal, and still no crystal has such planes
    unstated = told(faceted, energy_keV=faceted.geometry.energy_keV * 1000, hkl=None, material=None)
    assert unstated.geometry is not None
    assert unstated.geometry.verdict is GeometryVerdict.INCONSISTENT
    assert "no crystal" in (unstated.invalid_reason or "")


def test_an_energy_that_is_a_little_wrong_is_told_with_the_right_one(faceted: RockingCurve) -> None:
    check = told(faceted, energy_keV=faceted.geometry.energy_keV * 1.05).geometry
    assert check is not None
    assert check.verdict is GeometryVerdict.INCONSISTENT
    assert f"d would be right at {faceted.geometry.energy_keV:.4g} keV" in check.statement


@pytest.mark.parametrize("number", [FACETED + 10, FACETED + 11])
def test_a_round_crystal_cant_tell(number: int) -> None:
    curve = faceted_scan(number, ball=0.62, interface=None)
    check = told(curve).geometry
    assert check is not None
    assert check.verdict is GeometryVerdict.CANT_TELL
    assert told(curve).invalid_reason is None


@pytest.mark.parametrize("fields", [{"material": None}, {"material": "Zn", "lattice_parameter_A": None}, {"hkl": None}])
def test_nor_a_crystal_that_isnt_known_to_be_cubic(faceted: RockingCurve, fields: dict[str, object]) -> None:
    check = told(faceted, **fields).geometry
    assert check is not None
    assert check.verdict is GeometryVerdict.CANT_TELL
    assert check.misfit_deg is None
    wrong = single_changes(faceted.geometry)[0].geometry.model_copy(update=fields)
    assert CpuPreprocessor(SETTINGS)(replace(faceted, geometry=wrong)).quality.invalid_reason is None


def test_it_isnt_checked_where_facets_arent_looked_for(faceted: RockingCurve) -> None:
    assert CpuPreprocessor(PreprocessingSettings(facets=False))(faceted).quality.geometry is None


def test_an_examination_says_the_same_and_tries_everything(faceted: RockingCurve) -> None:
    wrong = replace(faceted, geometry=single_changes(faceted.geometry)[0].geometry)
    live, examined = CpuPreprocessor(SETTINGS)(wrong).quality.geometry, examine_geometry(wrong, SETTINGS)
    assert live is not None
    assert examined.check is not None
    assert (examined.check.verdict, examined.check.mends) == (live.verdict, live.mends)
    assert all(one.streaks is not None for one in examined.check.tried if "distance" not in one.changes[0])
    assert "distance 5 % too long" in examined.no_trace
    stated, mended = examined.views
    picture = streak_picture(examined.views)
    assert picture.shape == (480, 2 * 480 + 8, 3)
    assert (stated.words, mended.words) == ("as stated", live.mends[0])
    for colour in (FOUND_RGB, *EXPECTED_RGB):
        assert (picture == colour).all(axis=-1).any()


def test_data_that_cant_be_read_give_the_reason(faceted: RockingCurve) -> None:
    examined = examine_geometry(replace(faceted, present=np.zeros_like(faceted.present)), SETTINGS)
    assert examined.check is None
    assert "frames can be used" in (examined.reason or "")
