"""From a reconstruction to precipitates and a page, through the commands, with a network trained for the purpose."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from braggwatch.models.bundling.bundle import CARD_FILE, WEIGHTS_FILE, Bundle, write_bundle
from braggwatch.services.apt.files import label_checked, read_ions, read_ranges
from braggwatch.services.cli import app
from braggwatch.sim.apt.files import read_truth, write_pos
from braggwatch.sim.apt.model import IonCloud
from support.hdf5 import dataset

pytest.importorskip("torch")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

WORLD = {
    "edge_nm": 10.0,
    "samples_per_volume": 80,
    "radius_nm": [1.5, 3.5],
    "efficiency": [0.6, 0.8],
    "sigma_z_nm": [0.015, 0.04],
    "matrix_solute": [0.01, 0.06],
    "flat_share": 0.1,
}


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["apt", *words])
    return result.exit_code, result.stdout, result.stderr


@dataclass(frozen=True, slots=True)
class Case:
    """A simulated reconstruction, a registry with a bundle, and the folder of a scan with what it printed."""

    pos: Path
    rrng: Path
    truth: Path
    true_centres_nm: NDArray[np.float64]
    registry: Path
    folder: Path
    printed: dict[str, object]

    def words(self, out: Path, *more: str) -> list[str]:
        return [
            *("scan", str(self.pos), "--ranges", str(self.rrng), "--out", str(out)),
            *("--bundle", "apt-tiny", "--registry", str(self.registry), *more),
        ]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    home = tmp_path_factory.mktemp("apt")
    code, out, told = run("simulate", "--kind", "A", "--ions", "1e5", "--seed", "3", "--out", str(home), "--json")
    assert code == 0, told
    made = json.loads(out)
    world = home / "world.json"
    world.write_text(json.dumps(WORLD))
    code, out, told = run(
        *("train", "--name", "apt-tiny", "--version", "1.0.0", "--volumes", "10", "--held-out", "8", "--steps", "40"),
        *("--rule-volumes", "8", "--members", "2", "--config", str(world), "--work", str(home / "work"), "--json"),
        *("--registry", str(home / "bundles")),
    )
    assert code == 0, told
    assert json.loads(out)["metrics"]["accuracy"] > 0.8
    with Path(made["precipitates"]).open() as file:
        centres = np.array([[float(row[f"{a}_nm"]) for a in "xyz"] for row in csv.DictReader(file)])
    made = {name: Path(made[name]) for name in ("pos", "rrng", "truth")}
    case = Case(**made, true_centres_nm=centres, registry=home / "bundles", folder=home / "scan", printed={})
    code, out, told = run(*case.words(case.folder, "--isoconcentration", "0.08", "--json"))
    assert code == 0, told
    case.printed.update(json.loads(out))
    return case


def test_the_map_has_the_shape_of_the_data_and_the_summary_is_the_printed_one(case: Case) -> None:
    summary = json.loads((case.folder / "summary.json").read_text())
    assert {**summary, "files": case.printed["files"]} == case.printed
    assert (summary["host"], summary["solute"], summary["bundle"]) == ("Al", "Li", "apt-tiny/1.0.0")
    ions = read_ions(case.pos)
    extent = np.ptp(ions.positions_nm, axis=0) / summary["voxels"]["edge_nm"]
    with h5py.File(case.folder / "scan.h5") as file:
        order = file["entry1/order"]
        assert isinstance(order, h5py.Group)
        log_odds, label = dataset(order, "log_odds")[()], dataset(order, "precipitate")[()]
        assert order.attrs["signal"] == "log_odds"
        assert [len(dataset(order, axis)) for axis in np.asarray(order.attrs["axes"])] == list(log_odds.shape)
        assert json.loads(str(dataset(file, "entry1/summary").asstr()[()])) == summary
        assert dataset(file, "entry1/ions/precipitate").shape == (len(ions),)
    assert log_odds.shape == label.shape == tuple(summary["voxels"]["shape"])
    assert (np.abs(np.array(log_odds.shape) - extent) <= 2).all()
    assert np.isfinite(log_odds).sum() == summary["voxels"]["scored"]
    assert (log_odds[label >= 0] > summary["threshold"]["threshold"]).all()
    assert summary["threshold"]["rule"] in ("bundle", "control")
    assert summary["planes"]["spacing_nm"] == pytest.approx(0.1432, rel=0.01)
    assert {"otsu", "given"} <= {one["name"] for one in summary["isoconcentration"]}


def test_the_image_for_paraview_holds_the_same_map(case: Case) -> None:
    image = ET.fromstring((case.folder / "scan.vti").read_text()).find("ImageData")
    assert image is not None
    with h5py.File(case.folder / "scan.h5") as file:
        label = dataset(file, "entry1/order/precipitate")[()]
    assert image.attrib["WholeExtent"] == " ".join(f"0 {n}" for n in label.shape)
    arrays = {one.attrib["Name"]: base64.b64decode(one.text or "") for one in image.iter("DataArray")}
    found = np.frombuffer(arrays["precipitate"][8:], "<i4").reshape(label.shape, order="F")
    np.testing.assert_array_equal(found, label)


def test_the_table_lists_the_precipitates_that_are_there(case: Case) -> None:
    with (case.folder / "precipitates.csv").open() as file:
        rows = list(csv.DictReader(file))
    with h5py.File(case.folder / "scan.h5") as file:
        label = dataset(file, "entry1/order/precipitate")[()]
    precipitates = case.printed["precipitates"]
    assert isinstance(precipitates, dict)
    assert len(rows) == precipitates["precipitates"] >= 1
    assert [int(row["voxels"]) for row in rows] == np.bincount(label[label >= 0]).tolist()
    for row in rows:
        sphere = 4 / 3 * np.pi * float(row["radius_nm"]) ** 3
        assert sphere == pytest.approx(int(row["voxels"]), rel=0.01)
    largest = np.array([float(rows[0][f"{a}_nm"]) for a in "xyz"])
    assert np.linalg.norm(case.true_centres_nm - largest, axis=1).min() < 1.5


def test_labelled_ions_can_be_read_and_are_ordered_ones(case: Case) -> None:
    ions, all_ions = read_ions(case.folder / "ordered-ions.pos"), read_ions(case.pos)
    with h5py.File(case.folder / "scan.h5") as file:
        number = dataset(file, "entry1/ions/precipitate")[()]
    np.testing.assert_array_equal(ions.positions_nm, all_ions.positions_nm[number >= 0])
    np.testing.assert_array_equal(ions.mass_to_charge_Da, all_ions.mass_to_charge_Da[number >= 0])
    truth, _, _ = read_truth(case.truth)
    assert truth.ordered[number >= 0].mean() > 0.6
    assert truth.ordered.mean() < 0.2
    assert len(label_checked(ions, read_ranges(case.rrng))) == len(ions)


def test_an_interrupted_scan_goes_on_where_it_stopped(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braggwatch.models.apt.scoring import OrderScorer

    score, calls = OrderScorer.score, []

    def counted(self: OrderScorer, *words: object, **named: object) -> object:
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, *words, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(OrderScorer, "score", counted)
    words = case.words(tmp_path, "--no-controls", "--no-injected", "--json")
    assert run(*words)[0] == 130
    (part,) = (tmp_path / "parts").glob("*.npy")
    assert not (tmp_path / "scan.h5").exists()
    before = part.stat().st_mtime_ns
    assert run(*words)[0] == 0
    assert len(calls) == 3, "only the slice that was missing is scored"
    assert part.stat().st_mtime_ns == before
    with h5py.File(tmp_path / "scan.h5") as again, h5py.File(case.folder / "scan.h5") as whole:
        name = "entry1/order/log_odds"
        np.testing.assert_array_equal(dataset(again, name)[()], dataset(whole, name)[()])

    part.write_bytes(part.read_bytes()[:200])
    assert run(*words)[0] == 0
    assert len(calls) == 4, "a damaged slice is scored again"

    made = Bundle.load(case.registry / "apt-tiny" / "1.0.0")
    colder = made.manifest.model_copy(update={"temperature": made.manifest.temperature * 2})
    weights, card = ((made.path / name).read_bytes() for name in (WEIGHTS_FILE, CARD_FILE))
    write_bundle(
        tmp_path / "anew",
        colder,
        model=made.model,
        trust=made.trust,
        golden=made.golden,
        weights=weights,
        card=card.decode(),
    )
    words[words.index(str(case.registry))] = str(tmp_path / "anew")
    assert run(*words)[0] == 0
    assert len(calls) == 6, "slices of another network that goes by the same name aren't taken"


def test_the_report_holds_the_view_and_needs_no_network(case: Case, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, _, told = run("report", str(case.folder), "--out", str(page), "--title", "A <small> volume")
    assert code == 0, told
    text = page.read_text(encoding="utf-8")
    assert '<canvas id="view"' in text
    assert "A &lt;small&gt; volume" in text
    assert not re.search(r"https?:|\bsrc=|\bhref=|\bimport\b|\bfetch\(|url\(", text)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found.group(1))
    points = np.frombuffer(base64.b64decode(data["ordered"]), "<i2").reshape(-1, 4)
    with h5py.File(case.folder / "scan.h5") as file:
        label = dataset(file, "entry1/order/precipitate")[()]
    assert data["shape"] == list(label.shape)
    assert len(points) > 0
    np.testing.assert_array_equal(label[tuple(points[:, :3].T)], points[:, 3])


def test_a_report_of_no_scan_is_refused(tmp_path: Path) -> None:
    code, _, told = run("report", str(tmp_path))
    assert code == 3
    assert "braggwatch apt scan" in told
    (tmp_path / "scan.h5").write_bytes(b"no HDF5")
    code, _, told = run("report", str(tmp_path))
    assert code == 3
    assert "can't be read as a scan" in told


def test_data_without_planes_are_refused_with_the_reason(case: Case, tmp_path: Path) -> None:
    ions = read_ions(case.pos)
    low, high = ions.positions_nm.min(axis=0), ions.positions_nm.max(axis=0)
    somewhere = np.random.default_rng(0).uniform(low, high, ions.positions_nm.shape).astype(np.float32)
    pos = tmp_path / "blurred.pos"
    write_pos(pos, IonCloud(somewhere, ions.mass_to_charge_Da))
    words = case.words(tmp_path / "out")
    words[1] = str(pos)
    code, out, told = run(*words)
    assert (code, out) == (3, "")
    assert "lattice planes across z are resolved in 0%" in told
    assert not (tmp_path / "out" / "scan.h5").exists()


def test_an_element_that_isnt_there_is_refused(case: Case, tmp_path: Path) -> None:
    code, _, told = run(*case.words(tmp_path, "--host", "Al", "--solute", "Sc"))
    assert code == 3
    assert "Sc" in told


def test_a_missing_bundle_is_told_with_how_to_train_one(case: Case, tmp_path: Path) -> None:
    words = case.words(tmp_path)
    words[words.index("apt-tiny")] = "apt-other/2.0.0"
    code, _, told = run(*words)
    assert code == 3
    assert "no bundle goes by 'apt-other/2.0.0'" in told
    assert "braggwatch apt train --name apt-other --version 2.0.0" in told


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_without_network_draws_and_turns_the_view(case: Case, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    page_file = tmp_path / "page.html"
    assert run("report", str(case.folder), "--out", str(page_file))[0] == 0
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(offline=True)
        page = context.new_page()
        problems: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        view = page.locator("#view")
        ordered = int(view.get_attribute("data-points"))
        picture = view.screenshot()
        box = view.bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 250, box["y"] + 160, steps=4)
        page.mouse.up()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert view.screenshot() != picture
        page.check("#show-solute")
        both = int(view.get_attribute("data-points"))
        browser.close()
    assert problems == []
    assert asked == [page_file.as_uri()]
    assert 0 < ordered < both
