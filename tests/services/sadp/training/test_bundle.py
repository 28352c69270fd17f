"""From simulated patterns to a bundle, and with it from pictures to classes and space groups, by the command line."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("gemmi", reason="needs the sadp extra")

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.sadp.task import group_table
from braggwatch.services.cli import app
from braggwatch.sim.sadp.dataset import PatternSpec, facts_of, patterns_of
from braggwatch.sim.sadp.kinematic import BeamSettings, simulate
from braggwatch.sim.sadp.model import SpotPattern
from braggwatch.sim.sadp.pattern_files import store_patterns
from braggwatch.sim.sadp.pattern_set import pack
from braggwatch.sim.sadp.render import RenderSettings, render
from braggwatch.sim.sadp.table import structure_named, structures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def picture_of(pattern: SpotPattern, seed: int = 0) -> np.ndarray:
    """A 16-bit picture with a turn, an off-centre direct beam, a halo and noise."""
    rng = np.random.default_rng(seed)
    centre = (127.5 + rng.uniform(-8, 8), 127.5 + rng.uniform(-8, 8))
    scale = 1.3 / 128
    settings = RenderSettings(inv_A_per_px=scale, centre_px=centre, rotation_deg=float(rng.uniform(0, 360)))
    rows, columns = np.mgrid[:256, :256]
    halo = 300 * np.exp(-np.hypot(columns - centre[0], rows - centre[1]) / 20)
    clean = 3e4 * render(pattern, settings) + halo + 20
    return np.minimum(rng.poisson(clean), 65535).astype(np.uint16)


def train_command(data: Path, work: str, registry: str) -> list[str]:
    where = ["--data", str(data), "--work", work, "--registry", registry]
    return ["sadp", "train", "--version", "0.0.1", "--steps", "200", "--batch", "64", *where]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Patterns file, registry and work folder of a bundle that has hardly learnt anything."""
    folder = tmp_path_factory.mktemp("sadp")
    # thin foils, so that every class has patterns that show its lattice
    spec = PatternSpec(per_zone=2, thickness_A=(50.0, 60.0), half_width_inv_A=(1.6, 2.2))
    chosen = []
    built = [row.build() for row in structures()]
    keyed = sorted(built, key=lambda one: facts_of(one).effective_group)
    for _, same in groupby(keyed, key=lambda one: facts_of(one).effective_group):
        chosen += list(same)[:5]
    patterns = pack([facts_of(one) for one in chosen], [p for one in chosen for p in patterns_of(one, spec)])
    data = folder / "patterns.h5"
    store_patterns(data, spec, patterns)
    result = CliRunner().invoke(
        app,
        train_command(data, str(folder / "work"), str(folder / "bundles")),
    )
    assert result.exit_code == 0, result.output
    return data, folder / "bundles", folder / "work"


def test_the_bundle_holds_its_groups_and_scores(trained: tuple[Path, Path, Path]) -> None:
    _, registry, work = trained
    bundle = Bundle.load(registry / "sadp-cubic" / "0.0.1")
    table = group_table(bundle.manifest)
    assert table is not None
    assert table.groups == ("213", "221", "225", "227", "229")
    assert len(bundle.manifest.classes) == len({m.class_index for m in table.members}) + 1
    scores = json.loads((work / "evaluation.json").read_text())
    # the classes' shapes are told apart soon, many structures or few
    assert scores["clean"]["0.001"]["class_accuracy"] > 0.25
    assert (bundle.path / "CARD.md").read_text().count("|") > 20


def test_training_again_goes_on_and_says_that_the_version_exists(trained: tuple[Path, Path, Path]) -> None:
    data, registry, work = trained
    result = CliRunner().invoke(
        app,
        train_command(data, str(work), str(registry)),
    )
    assert result.exit_code == 3
    assert "exists" in result.output


def test_pictures_of_one_crystal_are_judged_together(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, registry, _ = trained
    row = next(row for row in structures() if row.space_group == 225 and row.formula in {"Al", "Cu", "Ag", "Au", "Ni"})
    structure = structure_named(row.id).build()
    for number, zone in enumerate([(0, 0, 1), (0, 1, 1), (1, 1, 2)]):
        pattern = simulate(structure, zone, BeamSettings(half_width_inv_A=1.3, thickness_A=150.0))
        tifffile.imwrite(tmp_path / f"zone{number}.tif", picture_of(pattern, number))
    common = [str(tmp_path), "--model", "sadp-cubic/0.0.1", "--registry", str(registry), "--crystal"]
    result = CliRunner().invoke(
        app, ["sadp", "classify", *common, "--json", "--scale", str(1.3 / 128), "--report", str(tmp_path / "r.html")]
    )
    assert result.exit_code in {0, 1}, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record.get("picture") for record in records] == ["zone0.tif", "zone1.tif", "zone2.tif", None]
    # reduced plane cells of fcc: [001] a square, [011] 111 and its like 70.5° apart, [112] 111 and 220
    ratios = [record["cell_ratio"] for record in records[:3]]
    assert ratios == pytest.approx([1.0, 1.0, 1.633], rel=0.02)
    assert sum(records[3]["crystal"]["product"].values()) == pytest.approx(1.0)
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 3
    assert "<script" not in page


def test_rings_and_noise_get_no_class(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, registry, _ = trained
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "noise.tif", rng.poisson(50, size=(256, 256)).astype(np.uint16))
    result = CliRunner().invoke(
        app,
        ["sadp", "classify", str(tmp_path / "noise.tif"), "--model", "sadp-cubic/0.0.1", "--registry", str(registry)],
    )
    assert result.exit_code == 1
    assert "too few spots" in result.output.replace("\n", " ") or "invalid" in result.output


def test_a_bundle_of_another_system_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "one.tif", np.zeros((64, 64), dtype=np.uint16))
    result = CliRunner().invoke(app, ["sadp", "classify", str(tmp_path / "one.tif"), "--model", "production"])
    assert result.exit_code == 3
    assert "no bundle for electron diffraction" in result.output
