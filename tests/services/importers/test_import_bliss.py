"""A scan in BLISS' HDF5 layout becomes a run that is judged like a live one, and nothing in it is guessed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from braggwatch.services.cli import app
from braggwatch.services.importers.bliss import BlissImportError, BlissOptions, BlissReport, import_bliss
from braggwatch.services.recording.recordings import read_recording
from braggwatch.sim.cxdp.given_particles import Rescan, visible_lines
from braggwatch.sim.cxdp.object_files import fitted_gold
from braggwatch.sim.geometry import load_preset
from support.hdf5 import dataset

DETECTOR = "mpx1x4"
POINTS = 9
ETA = 30.0 + 0.01 * np.arange(POINTS)
FRAMES = np.random.default_rng(1).poisson(3.0, (POINTS, 12, 14)).astype(np.uint16)
STILL = {"phi": 0.5, "nu": 34.0, "delta": 12.0, "mononrj": 9.0}
CALIBRATION = {"beam_center_x": 7.5, "beam_center_y": 6.5, "distance": 0.5, "x_pixel_size": 5.5e-5}

Change = Callable[[h5py.Group], None]


def write_bliss(
    folder: Path,
    frames: NDArray[np.generic] = FRAMES,
    scanned: NDArray[np.floating] = ETA,
    still: dict[str, float] = STILL,
    calibration: dict[str, float] = CALIBRATION,
    *,
    change: Change | None = None,
) -> Path:
    """Write the files of one scan: Lima's frames, the data set's file and the one that links to it."""
    (folder / "scan0012").mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "scan0012" / f"{DETECTOR}_0000.h5", "w") as lima:
        lima.create_dataset("entry_0000/measurement/data", data=frames, **hdf5plugin.Bitshuffle())
    with h5py.File(folder / "PtNP_0001.h5", "w") as file:
        scan = file.create_group("12.1")
        scan["title"] = "ascan eta 30 30.08 8 0.1"
        scan["start_time"] = "2026-11-22T03:04:05.678901+01:00"
        scan["sample/name"] = "Pt on sapphire"
        scan[f"measurement/{DETECTOR}"] = h5py.ExternalLink(
            f"scan0012/{DETECTOR}_0000.h5", "/entry_0000/measurement/data"
        )
        scan["measurement/eta"] = scanned
        scan["measurement/elapsed_time"] = 0.2 * np.arange(len(scanned))
        scan["measurement/mon"] = np.full(len(scanned), 1e5)
        positioners = scan.create_group("instrument/positioners")
        positioners["eta"] = scanned
        for name, value in still.items():
            positioners[name] = value
        for name, value in calibration.items():
            scan[f"instrument/{DETECTOR}/{name}"] = value
        if change is not None:
            change(scan)
    with h5py.File(folder / "sample.h5", "w") as master:
        master["PtNP_0001_12.1"] = h5py.ExternalLink("PtNP_0001.h5", "/12.1")
        master["PtNP_0001_13.1"] = h5py.ExternalLink("PtNP_0001.h5", "/13.1")
    return folder / "PtNP_0001.h5"


def imported(file: Path, **options: object) -> BlissReport:
    return import_bliss(BlissOptions.model_validate({"file": file, "scan": 12, **options}), file.parent / "out.bwrec")


@pytest.mark.parametrize("name", ["PtNP_0001.h5", "sample.h5"])
def test_each_point_is_an_event_with_its_frame_angle_and_counters(name: str, tmp_path: Path) -> None:
    write_bliss(tmp_path)
    report = imported(tmp_path / name)
    assert (report.detector, report.rocking, report.frames) == (DETECTOR, "eta", POINTS)
    assert report.counters == ("elapsed_time", "mon")
    assert report.baseline == STILL | {f"{DETECTOR}_{key}": value for key, value in CALIBRATION.items()}
    records = list(read_recording(tmp_path / "out.bwrec"))
    start, stop = records[0].document, records[-1].document
    assert start["uid"] == report.run_uid == stop["run_start"]
    assert (start["scan_id"], start["plan_name"], start["sample_name"]) == (12, "ascan", "Pt on sapphire")
    assert start["time"] == pytest.approx(1795313045.678901, abs=1e-3)
    assert stop["exit_status"] == "success"
    read: list[Any] = [record.document["data"] for record in records if record.name == "event"]
    baseline, *events = read
    assert baseline["mononrj"] == 9.0
    assert [data["eta"] for data in events] == pytest.approx(list(ETA))
    assert all(data["mon"] == 1e5 for data in events)
    np.testing.assert_array_equal(np.stack([data[DETECTOR] for data in events]), FRAMES)


@pytest.mark.parametrize("name", ["PtNP_0001.h5", "sample.h5"])
def test_the_next_scan_is_written_while_one_is_imported(name: str, tmp_path: Path) -> None:
    """BLISS appends to the data set's file, Lima to its own, and both are linked to: none is locked by the import."""
    write_bliss(tmp_path)
    append = "import h5py, sys\nfor path in sys.argv[2:]: h5py.File(path, 'a').create_group(sys.argv[1])"
    paths = [tmp_path / "PtNP_0001.h5", tmp_path / "sample.h5", tmp_path / "scan0012" / f"{DETECTOR}_0000.h5"]

    def next_scan(done: int, total: int) -> None:
        subprocess.run([sys.executable, "-c", append, f"next{done}", *paths], check=True)

    options = BlissOptions(file=tmp_path / name, scan=12)
    assert import_bliss(options, tmp_path / "out.bwrec", progress=next_scan).frames == POINTS
    records = read_recording(tmp_path / "out.bwrec")
    read: list[Any] = [record.document["data"] for record in records if record.name == "event"]
    _, *events = read
    np.testing.assert_array_equal(np.stack([data[DETECTOR] for data in events]), FRAMES)
    for path in paths:
        with h5py.File(path, "r") as file:
            assert f"next{POINTS}" in file


def test_importing_twice_gives_the_same_run(tmp_path: Path) -> None:
    file = write_bliss(tmp_path)
    first = imported(file).run_uid
    (tmp_path / "out.bwrec").unlink()
    assert imported(file).run_uid == first


def remove(name: str) -> Change:
    def change(scan: h5py.Group) -> None:
        del scan[name]

    return change


def second_stack(scan: h5py.Group) -> None:
    scan["measurement/eiger2M"] = FRAMES


def second_motor(scan: h5py.Group) -> None:
    scan["instrument/positioners/thp"] = ETA + 1.0


def nobody_moved(scan: h5py.Group) -> None:
    dataset(scan, "instrument/positioners/eta")[...] = 30.0


def fewer_frames(scan: h5py.Group) -> None:
    del scan[f"measurement/{DETECTOR}"]
    scan[f"measurement/{DETECTOR}"] = FRAMES[:6]


def lost_frames(scan: h5py.Group) -> None:
    del scan[f"measurement/{DETECTOR}"]
    scan[f"measurement/{DETECTOR}"] = h5py.ExternalLink("gone.h5", "/data")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("instrument/positioners"), "has no instrument/positioners"),
        (remove("measurement"), "has no measurement"),
        (remove("start_time"), "time is unknown"),
        (remove(f"measurement/{DETECTOR}"), "no frames"),
        (second_stack, "several stacks of frames: eiger2M, mpx1x4"),
        (second_motor, "eta, thp moved: name the rocked one with --rocking"),
        (nobody_moved, "no motor moved"),
        (fewer_frames, "6 frames of mpx1x4 and 9 positions of eta"),
        (lost_frames, "links to missing files: mpx1x4"),
    ],
)
def test_what_can_not_be_told_is_an_error_that_says_what_to_do(change: Change, words: str, tmp_path: Path) -> None:
    file = write_bliss(tmp_path, change=change)
    with pytest.raises(BlissImportError, match=words):
        imported(file)
    assert not (tmp_path / "out.bwrec").exists()


def test_choices_that_the_user_states_are_taken(tmp_path: Path) -> None:
    def change(scan: h5py.Group) -> None:
        second_stack(scan)
        second_motor(scan)

    report = imported(write_bliss(tmp_path, change=change), detector="eiger2M", rocking="thp", sample="mine")
    assert (report.detector, report.rocking) == ("eiger2M", "thp")
    assert next(iter(read_recording(tmp_path / "out.bwrec"))).document["sample_name"] == "mine"


def test_a_scan_cut_short_is_an_aborted_run_of_the_frames_there_are(tmp_path: Path) -> None:
    report = imported(write_bliss(tmp_path, change=fewer_frames), allow_cut_short=True)
    assert (report.frames, report.points) == (6, POINTS)
    stop: dict[str, Any] = list(read_recording(tmp_path / "out.bwrec"))[-1].document
    assert (stop["exit_status"], stop["num_events"]["primary"]) == ("abort", 6)


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("PtNP_0001.h5", ["--scan", "99"], "it has 12.1"),
        ("sample.h5", ["--scan", "13"], "link to a missing file"),
        ("sample.h5", ["--scan", "12", "--entry", "PtNP_0002_12.1"], "has no scan PtNP_0002_12.1"),
        ("PtNP_0001.h5", ["--scan", "12", "--detector", "eiger"], "frames: mpx1x4"),
        ("scan0012/nothing.h5", ["--scan", "12"], "nothing.h5"),
    ],
)
def test_the_command_names_what_is_missing(file: str, options: list[str], words: str, tmp_path: Path) -> None:
    write_bliss(tmp_path)
    out = tmp_path / "out.bwrec"
    result = CliRunner().invoke(app, ["import", "bliss", str(tmp_path / file), "--out", str(out), *options])
    assert result.exit_code == 3
    assert words in " ".join(result.stderr.split())
    assert not out.exists()


def test_a_data_set_with_two_scans_of_one_number_asks_which(tmp_path: Path) -> None:
    write_bliss(tmp_path)
    with h5py.File(tmp_path / "sample.h5", "a") as master:
        master["PtNP_0002_12.1"] = h5py.ExternalLink("PtNP_0001.h5", "/12.1")
    with pytest.raises(BlissImportError, match=r"PtNP_0001_12\.1, PtNP_0002_12\.1 all have number 12"):
        imported(tmp_path / "sample.h5")
    assert imported(tmp_path / "sample.h5", entry="PtNP_0002_12.1").entry == "PtNP_0002_12.1"


def test_an_imported_scan_is_judged_by_a_preset_in_the_names_of_bliss(tmp_path: Path) -> None:
    gold = fitted_gold()
    particle = gold.particle().with_line(visible_lines((1, 1, 1), (0.0,))[0])
    scan = gold.measurement.every(2)
    counts = np.random.default_rng(3).poisson(Rescan(scan, particle.size_nm).expected_counts(particle))
    geometry = scan.geometry
    readings = {c.name: c.angle_deg for c in (*geometry.sample_circles, *geometry.detector_circles)}
    file = write_bliss(
        tmp_path,
        counts.astype(np.uint32),
        np.asarray(scan.angles_deg),
        {name: readings[name] for name in ("chi", "phi", "delta", "gamma")} | {"mononrj": geometry.energy_keV},
        {"distance": geometry.distance_m, "beam_center_y": 256.0, "beam_center_x": 256.0},
    )
    preset = load_preset("34idc").model_dump(mode="json")
    preset["sample_circles"][0] |= {"name": "eta", "angle_deg": {"signal": "eta", "scale": 1.0}}
    preset |= {
        "scanned": "eta",
        "energy_keV": {"signal": "mononrj", "scale": 1.0},
        "distance_m": {"signal": f"{DETECTOR}_distance", "scale": 1.0},
        "direct_beam_px": [{"signal": f"{DETECTOR}_beam_center_{axis}", "scale": 1.0} for axis in "yx"],
        "detector_field": DETECTOR,
        "monitor_field": "mon",
    }
    (tmp_path / "preset.json").write_text(json.dumps(preset))
    recording = tmp_path / "scan12.bwrec"
    made = CliRunner().invoke(app, ["import", "bliss", str(file), "--scan", "12", "--out", str(recording)])
    assert made.exit_code == 0, made.output
    assert f"{DETECTOR}_distance" in made.stdout
    judged = CliRunner().invoke(
        app, ["classify", str(recording), "--geometry", str(tmp_path / "preset.json"), "--json"]
    )
    assert judged.exit_code == 0, judged.output
    record = json.loads(judged.stdout)
    assert record["verdict"]["label"] == "screw"
    assert record["quality"]["d_spacing_A"] == pytest.approx(2.3545, rel=0.01)
