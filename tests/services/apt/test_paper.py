"""The published network from the command to the bundle, the scan by votes, and what its calls rest on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from braggwatch.models.apt.cube_votes import votes
from braggwatch.models.apt.order_bundle import sdm_input
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.services.apt.files import label_checked, read_ions, read_ranges
from braggwatch.services.apt.scanning.cube_maps import cube_maps
from braggwatch.services.apt.training.labelled_maps import counted_for, library_cubes
from braggwatch.services.cli import app
from braggwatch.sim.apt.library import load_library_spec

pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FEW = ("--disordered", "32", "--ordered", "32", "--held-out", "40", "--epochs", "1")


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["apt", *words])
    return result.exit_code, result.stdout, result.stderr


@dataclass(frozen=True, slots=True)
class Made:
    registry: Path
    measured: Path
    work: Path
    pos: Path
    rrng: Path

    def bundle(self) -> Bundle:
        return Bundle.load(self.registry / "apt-l12-paper" / "0.1.0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("paper")
    measured = folder / "measured"
    (measured / "fcc").mkdir(parents=True)
    maps, ordered = library_cubes(load_library_spec("equal"), SdmInput.paper(), 99, range(2))
    for n in np.flatnonzero(~ordered):
        np.savetxt(measured / "fcc" / f"map-{n}.csv", maps[n, 0], fmt="%d", delimiter=",")
    code, _, told = run(
        *("train-paper", "--version", "0.1.0", "--registry", str(folder / "bundles"), "--work", str(folder / "work")),
        *(*FEW, "--folds", "2", "--measured", str(measured)),
    )
    assert code == 0, told
    code, out, told = run("simulate", "--ions", "4e4", "--seed", "5", "--out", str(folder / "volume"), "--json")
    assert code == 0, told
    files = json.loads(out)
    return Made(folder / "bundles", measured, folder / "work", Path(files["pos"]), Path(files["rrng"]))


def test_the_bundle_says_what_it_learnt_from(made: Made) -> None:
    manifest = made.bundle().manifest
    assert manifest.provenance.parameters == 1_666_881
    assert sdm_input(manifest) == SdmInput.paper()
    assert list(manifest.provenance.training_sets) == ["fcc/map-0.csv"]
    assert manifest.provenance.specifications == (load_library_spec("published").digest(),)
    assert sum(file.stat().st_size for file in made.bundle().path.iterdir()) < 8e6
    card = (made.registry / "apt-l12-paper" / "0.1.0" / "CARD.md").read_text(encoding="utf-8")
    assert "71 pictures, including the user's measured maps in seven variants each" in card
    folds = json.loads((made.work / "folds.json").read_text())
    assert [fold["trained_on"] + fold["tested_on"] for fold in folds] == [71, 71]


def test_a_version_is_made_once_and_other_measured_maps_are_named(made: Made, tmp_path: Path) -> None:
    words = ("train-paper", "--registry", str(made.registry), "--work", str(tmp_path / "work"), *FEW)
    code, _, told = run(*words, "--version", "0.1.0")
    assert code != 0
    assert "give a new version" in told
    code, _, told = run(*words, "--version", "0.2.0", "--measured", str(tmp_path))
    assert code != 0
    assert "holds no maps" in told
    assert not (tmp_path / "work").exists(), "measured maps are read before hours of simulation"


def test_the_scan_by_votes_calls_cubes_counts_votes_and_goes_on(made: Made, tmp_path: Path) -> None:
    words = (
        *("scan-by-votes", str(made.pos), "--ranges", str(made.rrng), "--host", "Al", "--solute", "Li"),
        *("--registry", str(made.registry), "--out", str(tmp_path), "--threshold", "32", "--json"),
    )
    code, out, told = run(*words)
    assert code == 0, told
    facts = json.loads(out)
    with h5py.File(tmp_path / "votes.h5") as file:
        calls, counted = np.asarray(file["probability"]), np.asarray(file["votes"])
        ordered = np.asarray(file["ordered"])
    np.testing.assert_array_equal(votes(calls), counted)
    np.testing.assert_array_equal(ordered, counted >= 32)
    assert facts["cubes"] == np.isfinite(calls).sum()
    assert facts["voxels_ordered"] == ordered.sum()
    parts = sorted((tmp_path / "parts").glob("*.npy"))
    kept = [part.stat().st_mtime_ns for part in parts[1:]]
    parts[0].write_bytes(b"cut short")
    (tmp_path / "votes.h5").unlink()
    code, out, told = run(*words)
    assert code == 0, told
    assert json.loads(out) == facts
    assert [part.stat().st_mtime_ns for part in parts[1:]] == kept


def test_a_cube_of_a_reconstruction_and_a_simulated_one_are_explained(made: Made, tmp_path: Path) -> None:
    ions = label_checked(read_ions(made.pos), read_ranges(made.rrng))
    middle = tuple(float(x) for x in ions.positions_nm.mean(axis=0))
    where = ("--at", *(f"{x:.2f}" for x in middle))
    words = ("explain", "--registry", str(made.registry), "--bundle", "apt-l12-paper", "--json")
    code, out, told = run(*words, str(made.pos), "--ranges", str(made.rrng), *where, "--out", str(tmp_path / "a.png"))
    assert code == 0, told
    facts = json.loads(out)
    wanted = cube_maps(ions, SdmInput.paper(), (round(middle[0], 2), round(middle[1], 2), round(middle[2], 2)))
    assert facts["counts"] == int(wanted.sum())
    assert len(facts["evidence_by_depth"]) == 150
    assert facts["feature_maps"] == [[16, 74, 74], [32, 36, 36], [64, 17, 17], [64, 7, 7]]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    code, out, told = run(*words, "--library", "equal", "--number", "2", "--label", "l12")
    assert code == 0, told
    assert json.loads(out)["label"] == "l12"


def test_what_cant_be_explained_is_said(made: Made) -> None:
    words = ("explain", "--registry", str(made.registry))
    for more, match in (
        ((str(made.pos),), "needs --ranges FILE and --at X Y Z"),
        ((str(made.pos), "--ranges", str(made.rrng), "--at", "900", "0", "0"), "contains no pair of ions"),
        (("--label", "bcc"), "no class 'bcc'"),
        (("--out", "a.jpg"), "picture is a .png"),
    ):
        code, _, told = run(*words, *more)
        assert code != 0
        assert match in " ".join(told.split())


def test_libraries_are_counted_as_each_network_wants_them() -> None:
    spec = load_library_spec("published")
    for sdm in (SdmInput(), SdmInput.paper()):
        counted = counted_for(spec, sdm)
        assert counted.map_shape == sdm.shape
        assert counted.cube_voxels == sdm.cube_voxels
    maps, ordered = library_cubes(spec, SdmInput(), 3, range(4))
    assert maps.shape == (4, 3, 93, 5)
    assert ordered.tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match="no library has the window"):
        counted_for(spec, SdmInput(bins_x=7))
