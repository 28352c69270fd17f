"""The order bundle that comes with the package: what it finds of known truth, without a word about a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from typer.testing import CliRunner

from braggwatch.models.apt.agreement import compare, true_owner
from braggwatch.models.apt.scoring import OrderScorer
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.services.apt.files import label_checked, read_ions, read_ranges
from braggwatch.services.apt.scanning.scan import ScanOptions, scan_reconstruction
from braggwatch.services.apt.training.volume_data import make_volume
from braggwatch.services.cli import app
from braggwatch.sim.apt.files import read_truth
from braggwatch.sim.apt.volume import VolumeKind, load_volume_spec
from support.hdf5 import dataset


def scorer() -> OrderScorer:
    bundle = Bundle.load(Registry().resolve("apt"))
    return OrderScorer(bundle, open_runtime(bundle, "onnxruntime-cpu", 1)[0])


@pytest.mark.parametrize(("kind", "least"), [("B", 0.8), ("D", 0.75)])
def test_it_finds_order_with_and_without_a_difference_in_composition(
    tmp_path: Path, kind: VolumeKind, least: float
) -> None:
    made = make_volume(tmp_path, "volume", load_volume_spec(kind).sized_for(1.2e5), 21)
    ions = label_checked(read_ions(made.pos), read_ranges(made.rrng))
    options = ScanOptions(host="Al", solute="Li", controls=False, injected=False)
    scan = scan_reconstruction(ions, scorer(), options)
    truth, _, _ = read_truth(made.truth)
    owner = true_owner(scan.level.apply(ions.positions_nm), truth, scan.grid)
    network = compare(scan.found, owner, truth, scan.known)
    assert network.f1 > least
    assert network.false_components == 0
    assert abs(network.radius_error_nm or 9) < 0.4
    surface = compare(scan.baselines[0].found, owner, truth, scan.known)
    assert network.f1 > surface.f1


def test_it_finds_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    spec = load_volume_spec("A").sized_for(6e4)
    none = spec.model_copy(update={"precipitates": spec.precipitates.model_copy(update={"volume_fraction": 0.0})})
    made = make_volume(tmp_path, "none", none, 22)
    words = ["scan", str(made.pos), "--ranges", str(made.rrng), "--out", str(tmp_path / "scan"), "--json"]
    result = CliRunner().invoke(app, ["apt", *words, "--no-injected"])
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["bundle"].startswith("apt-l12/")
    assert summary["threshold"]["rule"] == "bundle"
    assert summary["precipitates"]["precipitates"] == 0
    assert summary["random_label_control"]["false_precipitates"] == 0
    with h5py.File(tmp_path / "scan" / "scan.h5") as file:
        assert (dataset(file, "entry1/order/precipitate")[()] == -1).all()
