"""SPEC files as programs write them: an analyser's channels, names in each scan, positions that fit no names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from braggwatch.services.importers.spec34idc import ImportFailedError, ImportOptions, import_scan
from braggwatch.services.importers.spec_file import read_spec_scan
from braggwatch.services.recording.recordings import read_recording

FILE = ["#F sample.spec", "#E 1580609738", "#D Sat Feb 01 20:15:38 2020"]
NAMES = ["#O0 Delta  Theta  Chi  Phi  Gamma", "#O1 Energy  camdist", "#o0 del th chi phi gam", "#o1 en cam"]
SCAN = ["#S 7  ascan  th 0 1  5 0.25", "#D Tue Feb 04 12:28:23 2020"]
POSITIONS = ["#P0 32.174 0.1 90 -5 12.6346", "#P1 9 500"]
LABELS = ["#N 5", "#L Theta  Epoch  Seconds  ImageTot  Monitor"]
CHANNELS = ["@A 0 1 4 9 16 25 36 49\\", " 64 81 100 81 64 49 36 25\\", " 16 9 4 1 0"]


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(7).poisson(3.0, (6, 16, 24)).astype(np.int32)


def write(folder: Path, frames: np.ndarray, head: list[str], *, channels: str = "") -> ImportOptions:
    (folder / "frames").mkdir()
    lines = [*head, *LABELS]
    for index, frame in enumerate(frames):
        tifffile.imwrite(folder / "frames" / f"sample_S0007_{index:05d}.tif", frame)
        row = f"{0.1 * index:.7g} {231172 + index} 0.25 {frame.sum()} {1000 + index}"
        lines += [*CHANNELS, row] if channels == "before" else [row, *CHANNELS] if channels == "behind" else [row]
    (folder / "a.spec").write_text("\n".join(lines) + "\n")
    return ImportOptions(spec_file=folder / "a.spec", scan=7, frames=folder / "frames")


def imported(options: ImportOptions, folder: Path) -> list[object]:
    import_scan(options, folder / "out.bwrec")
    records = read_recording(folder / "out.bwrec")
    return [record.document["data"] for record in records if record.name == "event"]


@pytest.mark.parametrize("channels", ["before", "behind"])
def test_channels_of_an_analyser_are_no_points(channels: str, frames: np.ndarray, tmp_path: Path) -> None:
    options = write(tmp_path, frames, [*FILE, *NAMES, "", *SCAN, *POSITIONS], channels=channels)
    scan = read_spec_scan(options.spec_file, 7)
    assert (scan.rows, scan.stray_lines) == (6, ())
    np.testing.assert_allclose(scan.columns["Theta"], 0.1 * np.arange(6))
    assert len(imported(options, tmp_path)) == 7


@pytest.mark.parametrize("also_above", [False, True])
def test_names_in_the_scans_own_header_are_those_of_its_positions(
    also_above: bool, frames: np.ndarray, tmp_path: Path
) -> None:
    other = ["#O0 Chi  Phi  Delta  Theta  Gamma", "#O1 camdist  Energy", "#o0 chi phi del th gam", "#o1 cam en"]
    options = write(tmp_path, frames, [*FILE, *(other if also_above else []), "", *SCAN, *NAMES, *POSITIONS])
    baseline = imported(options, tmp_path)[0]
    assert isinstance(baseline, dict)
    assert (baseline["delta"], baseline["chi"], baseline["energy"], baseline["detector_distance"]) == (
        32.174, 90.0, 9.0, 0.5
    )  # fmt: skip


def test_positions_that_fit_no_names_leave_their_motors_out(frames: np.ndarray, tmp_path: Path) -> None:
    options = write(tmp_path, frames, [*FILE, *NAMES, "", *SCAN, POSITIONS[0], "#P1 9 500 3.5"])
    scan = read_spec_scan(options.spec_file, 7)
    assert scan.unfit_lines == ("#P1 has 3 positions, #O1 2 names",)
    assert "Energy" not in scan.motors
    with pytest.raises(ImportFailedError, match=r"no motor 'Energy' .*#P1 has 3 positions, #O1 2 names"):
        import_scan(options, tmp_path / "out.bwrec")
    stated = options.model_copy(update={"stated": {"energy": 9.0, "detector_distance": 0.5}})
    assert len(imported(stated, tmp_path)) == 7
