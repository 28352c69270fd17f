"""``braggwatch geometry check`` says whether a scan contradicts its geometry, what mends it, and draws the streaks."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from PIL import Image
from typer.testing import CliRunner

from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.services.cli import app
from braggwatch.sim.geometry.model import GeometryPreset
from support.faceted_scan import faceted_scan


@pytest.fixture(scope="module")
def curve() -> RockingCurve:
    return faceted_scan(9_000_000)


@pytest.fixture
def scan(curve: RockingCurve, tmp_path: Path) -> Path:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["frames"], file["angles"] = curve.frames, curve.angles_deg
    return path


def preset(curve: RockingCurve, folder: Path, **changes: object) -> Path:
    """A preset of the scan's geometry, with changes."""
    values = curve.geometry.model_dump(exclude={"frame_shape"})
    for circle in values["sample_circles"]:
        circle["angle_deg"] = {"signal": circle["name"], "scale": 1.0}
    fields = {"detector_field": "det", "monitor_field": None, "transmission_field": None, "saturation_counts": None}
    whole = GeometryPreset.model_validate({**values, **fields, "name": "one", "description": "one scan", **changes})
    path = folder / "preset.json"
    path.write_text(whole.model_dump_json())
    return path


def check(scan: Path, geometry: Path, *more: str):
    files = [str(scan), "--frames", "/frames", "--angles", "/angles", "--geometry", str(geometry)]
    return CliRunner().invoke(app, ["geometry", "check", *files, *more])


def test_a_right_geometry_is_consistent(curve: RockingCurve, scan: Path, tmp_path: Path) -> None:
    picture = tmp_path / "streaks.png"
    result = check(scan, preset(curve, tmp_path), "--picture", str(picture))
    assert result.exit_code == 0, result.output
    assert "consistent" in result.stdout
    assert "change tried" in result.stdout
    assert "leave no trace in this scan: distance 5 % too long" in " ".join(result.stdout.split())
    with Image.open(picture) as image:
        assert image.size == (480, 480)


def test_a_wrong_one_is_told_with_its_mend(curve: RockingCurve, scan: Path, tmp_path: Path) -> None:
    picture = tmp_path / "streaks.png"
    wrong = preset(curve, tmp_path, transposed=True, chip_shape=curve.geometry.chip_shape[::-1])
    result = check(scan, wrong, "--picture", str(picture), "--json")
    assert result.exit_code == 1, result.output
    said = json.loads(result.stdout)
    assert said["check"]["verdict"] == "inconsistent"
    assert said["check"]["mends"] == ["transposed (false)"]
    assert "what fits: transposed (false)" in said["reason"]
    assert "distance 5 % too long" in said["no_trace"]
    with Image.open(picture) as image:
        assert image.size == (2 * 480 + 8, 480)


def test_no_scan_is_a_failure(tmp_path: Path, curve: RockingCurve) -> None:
    result = CliRunner().invoke(app, ["geometry", "check", "absent.bwrec", "--geometry", "34idc"])
    assert result.exit_code == 3
    path = tmp_path / "short.h5"
    with h5py.File(path, "w") as file:
        file["frames"], file["angles"] = curve.frames[:4], curve.angles_deg[:4]
    short = check(path, preset(curve, tmp_path))
    assert short.exit_code == 1
    assert "can't tell" in short.stdout
