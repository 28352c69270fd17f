"""The bundle that `braggwatch sadp classify` takes where none is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

pytest.importorskip("gemmi", reason="needs the sadp extra")

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.services.cli import app
from braggwatch.sim.sadp.kinematic import BeamSettings, simulate
from braggwatch.sim.sadp.render import RenderSettings, render
from braggwatch.sim.sadp.table import structure_named


def test_the_alias_names_a_bundle_for_electron_diffraction_of_modest_size():
    folder = Registry().resolve("sadp")
    manifest = Bundle.load(folder).manifest
    assert manifest.task == "sadp-space-group"
    assert manifest.metrics is not None
    assert manifest.metrics.accuracy > 0.8
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20e6


@pytest.mark.parametrize("name", ["Cu", "Au"])
def test_four_zones_of_a_metal_are_its_space_group(name: str, tmp_path: Path):
    made = structure_named(name).build()
    rng = np.random.default_rng(3)
    for number, zone in enumerate([(0, 0, 1), (0, 1, 1), (1, 1, 2), (1, 1, 1)]):
        spots = simulate(made, zone, BeamSettings(200, 120, half_width_inv_A=1.3))
        turn = float(rng.uniform(0, 360))
        style = RenderSettings(inv_A_per_px=1.3 / 128, rotation_deg=turn, direct_beam=3.0)
        tifffile.imwrite(tmp_path / f"{number}.tif", rng.poisson(3e4 * render(spots, style) + 20).astype(np.uint32))
    result = CliRunner().invoke(app, ["sadp", "classify", str(tmp_path), "--crystal", "--json"])
    assert result.exit_code == 0, result.output
    crystal = json.loads(result.stdout.splitlines()[-1])["crystal"]
    assert crystal["patterns"] == 4
    assert max(crystal["product"], key=crystal["product"].get) == "225"
    assert crystal["model"]["name"] == "sadp-cubic"


def test_noise_is_no_pattern(tmp_path: Path):
    tifffile.imwrite(tmp_path / "noise.tif", np.random.default_rng(0).poisson(50, (256, 256)).astype(np.uint16))
    result = CliRunner().invoke(app, ["sadp", "classify", str(tmp_path / "noise.tif"), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[0])["verdict"]["label"] is None
