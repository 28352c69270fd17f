"""Every shipped preset loads; values fill it completely or are all named."""

from __future__ import annotations

from pathlib import Path

import pytest

from braggwatch.sim.geometry import MissingGeometry, geometry_from_values, load_preset, preset_names, preset_signals

VALUES = {"energy": 9.0, "th": 0.1, "delta": 30.0, "gamma": 10.0, "chi": 90.0, "phi": -5.0, "detector_distance": 0.5}


@pytest.mark.parametrize("name", preset_names())
def test_shipped_presets_are_complete(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    geometry = geometry_from_values(preset, VALUES, (256, 256))
    assert geometry.energy_keV == 9.0
    assert geometry.distance_m == 0.5
    assert geometry.frame_shape == (256, 256)


def test_all_missing_values_are_named_at_once() -> None:
    preset = load_preset("34idc")
    with pytest.raises(MissingGeometry) as caught:
        geometry_from_values(preset, {"th": 0.0, "chi": 90.0, "phi": 0.0, "energy": float("nan")}, (256, 256))
    assert caught.value.names == ("delta", "detector_distance", "energy", "gamma")
    assert "detector_distance" in str(caught.value)


def test_signals_are_listed_and_scaled() -> None:
    preset = load_preset("simulated")
    assert preset_signals(preset) == ("delta", "detector_distance", "energy", "gamma", "th")
    in_mm = preset.model_copy(update={"distance_m": preset.distance_m.model_copy(update={"scale": 1e-3})})  # type: ignore[union-attr]
    assert geometry_from_values(in_mm, {**VALUES, "detector_distance": 750.0}, (64, 64)).distance_m == pytest.approx(
        0.75
    )


def test_a_frame_that_exceeds_the_chip_is_refused() -> None:
    with pytest.raises(ValueError, match="chip"):
        geometry_from_values(load_preset("simulated"), VALUES, (300, 256))


def test_a_roi_between_pixels_is_refused() -> None:
    preset = load_preset("simulated").model_copy(update={"roi_origin": (0.5, 0.0)})
    with pytest.raises(ValueError, match="whole pixels"):
        geometry_from_values(preset, VALUES, (64, 64))


def test_presets_load_from_any_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(load_preset("34idc").model_dump_json())
    assert load_preset(path) == load_preset("34idc")
    assert load_preset(str(path)).name == "34idc"


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(LookupError, match="34idc, simulated"):
        load_preset("id01")


def test_an_incomplete_preset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"name": "bad"}')
    with pytest.raises(ValueError, match="energy_keV"):
        load_preset(path)
