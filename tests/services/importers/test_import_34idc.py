"""The 34-ID-C importer: the scan by its number, nothing guessed, frames and angles paired with certainty."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from event_model import DocumentNames, schema_validators
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.services.importers.frame_files import FrameFilesError
from braggwatch.services.importers.spec34idc import ImportFailedError, ImportOptions, import_scan
from braggwatch.services.importers.spec_file import SpecFileError, read_spec_scan
from braggwatch.services.recording.recordings import read_recording

HEADER = """#F /data/Staff.spec
#E 1580609738
#D Sat Feb 01 20:15:38 2020
#C sixc  User = someone

#O0 Delta  Theta  Chi  Phi  Gamma  z-sample
#O1 Energy  camdist  Sample_X  Sample_Y
#o0 del th chi phi gam z
#o1 en cam x y

"""
LABELS = "#L Theta  H  Epoch  Seconds  ImageTot  pm detector  Monitor"


def scan_text(
    number: int, totals: list[int], *, stray: bool = False, intervals: int | None = None, motors: bool = True
) -> str:
    lines = [
        f"#S {number}  ascan  th 0 1  {len(totals) - 1 if intervals is None else intervals} 0.25",
        "#D Tue Feb 04 12:28:23 2020",
        "#P0 32.174 0.1 90 -5 12.6346 10",
    ]
    if motors:
        lines.append("#P1 9 500 0.514 -1.955")
    lines += ["#N 7", LABELS]
    for i, total in enumerate(totals):
        lines.append(f"{0.1 * i:.7g} 0.5 {231172.0 + 5.5 * i} 0.25 {total} {i} {1000 + i}")
        if stray and i == 1:
            lines.append("ascan th -0.28 0.72 200 0.25")
    return "\n".join(lines) + "\n\n"


@pytest.fixture
def beamtime(tmp_path: Path) -> Path:
    """Three scans in one SPEC file, the frames of scan 7 in a folder; scan 7 isn't the seventh."""
    rng = np.random.default_rng(7)
    frames = tmp_path / "frames"
    frames.mkdir()
    totals: list[int] = []
    for i in range(6):
        image = rng.poisson(3.0, (16, 24)).astype(np.int32)
        totals.append(int(image.sum()))
        tifffile.imwrite(frames / f"Staff_S0007_{i:05d}.tif", image)
    text = HEADER + scan_text(3, [1, 2]) + scan_text(7, totals, stray=True) + scan_text(8, [5, 6, 7])
    (tmp_path / "a.spec").write_text(text)
    return tmp_path


def options(folder: Path, scan: int = 7, **changes: object) -> ImportOptions:
    return ImportOptions.model_validate(
        {"spec_file": folder / "a.spec", "scan": scan, "frames": folder / "frames", **changes}
    )


def test_a_scan_is_taken_by_number_and_a_stray_line_is_survived(beamtime: Path) -> None:
    scan = read_spec_scan(beamtime / "a.spec", 7)
    assert scan.rows == scan.expected_rows == 6
    assert scan.scanned == "th"
    assert scan.stray_lines == ("ascan th -0.28 0.72 200 0.25",)
    np.testing.assert_allclose(scan.columns["Theta"], 0.1 * np.arange(6))
    assert scan.motors["z-sample"] == 10
    assert "pm detector" in scan.columns
    assert scan.started_at == pytest.approx(1580609738 + 231165)
    assert read_spec_scan(beamtime / "a.spec", 3).rows == 2


def test_documents_are_whole_and_valid(beamtime: Path) -> None:
    report = import_scan(options(beamtime, sample="Au 12"), beamtime / "out.bwrec")
    records = list(read_recording(beamtime / "out.bwrec"))
    assert [r.name for r in records] == ["start", "descriptor", "event", "descriptor", *["event"] * 6, "stop"]
    for record in records:
        schema_validators[DocumentNames[record.name]].validate(record.document)
    start = records[0].document
    assert start["uid"] == report.run_uid
    assert start["scan_id"] == 7
    assert start["num_points"] == 6
    assert start["sample_name"] == "Au 12"
    assert records[2].document["data"] == {
        "energy": 9.0,
        "delta": 32.174,
        "gamma": 12.6346,
        "chi": 90.0,
        "phi": -5.0,
        "detector_distance": 0.5,
        "sample_x": 0.514,
        "sample_y": -1.955,
    }
    assert report.origins["detector_distance"] == "SPEC motor camdist (#O1/#P1) x 0.001"
    for index, record in enumerate(records[4:10]):
        data = record.document["data"]
        frame = tifffile.imread(beamtime / "frames" / f"Staff_S0007_{index:05d}.tif")
        np.testing.assert_array_equal(data["34idcTIM2_image"], frame)  # type: ignore[index]
        assert data["34idcTIM2_image"].dtype == np.int32  # type: ignore[index]
        assert data["th"] == pytest.approx(0.1 * index)  # type: ignore[index]
        assert data["monitor"] == 1000 + index  # type: ignore[index]
        assert record.document["seq_num"] == index + 1
        assert record.document["time"] == 1580609738 + 231172.0 + 5.5 * index
    assert records[-1].document["num_events"] == {"baseline": 1, "primary": 6}
    assert records[-1].time_s - records[4].time_s == pytest.approx(27.5)


def test_the_same_scan_is_the_same_run_and_another_statement_another(beamtime: Path) -> None:
    first = import_scan(options(beamtime), beamtime / "1.bwrec")
    again = import_scan(options(beamtime), beamtime / "2.bwrec")
    other = import_scan(options(beamtime, stated={"energy": 9.1}), beamtime / "3.bwrec")
    assert first.run_uid == again.run_uid != other.run_uid
    assert other.origins["energy"] == "stated by the user at import"


def test_a_value_in_neither_place_is_an_error_that_says_what_to_state(beamtime: Path) -> None:
    path = beamtime / "a.spec"
    path.write_text(path.read_text().replace("camdist", "camera"))
    with pytest.raises(ImportFailedError, match="--set detector_distance="):
        import_scan(options(beamtime), beamtime / "out.bwrec")
    report = import_scan(options(beamtime, stated={"detector_distance": 0.5}), beamtime / "out.bwrec")
    assert report.signals["detector_distance"] == 0.5


def test_frames_of_another_scan_are_noticed_by_their_totals(beamtime: Path) -> None:
    third = beamtime / "frames" / "Staff_S0007_00003.tif"
    tifffile.imwrite(third, tifffile.imread(third) + np.int32(1))
    with pytest.raises(ImportFailedError, match=r"point 3.*ImageTot"):
        import_scan(options(beamtime), beamtime / "out.bwrec")
    assert not list(beamtime.glob("out*"))
    report = import_scan(options(beamtime, allow_total_mismatch=True), beamtime / "out.bwrec")
    assert report.total_mismatches == (3,)


def test_missing_frames_are_never_closed_up(beamtime: Path) -> None:
    (beamtime / "frames" / "Staff_S0007_00002.tif").unlink()
    with pytest.raises(ImportFailedError, match="no frame for 1 of 6"):
        import_scan(options(beamtime), beamtime / "out.bwrec")
    report = import_scan(options(beamtime, allow_missing_frames=True), beamtime / "out.bwrec")
    assert report.missing_points == (2,)
    numbers = [r.document["seq_num"] for r in read_recording(beamtime / "out.bwrec") if r.name == "event"]
    assert numbers == [1, 1, 2, 4, 5, 6]


def test_surplus_twice_claimed_and_foreign_files(beamtime: Path) -> None:
    frames = beamtime / "frames"
    tifffile.imwrite(frames / "Staff_S0008_00000.tif", np.zeros((16, 24), np.int32))
    import_scan(options(beamtime), beamtime / "out.bwrec")
    surplus = frames / "Staff_S0007_00006.tif"
    tifffile.imwrite(surplus, np.zeros((16, 24), np.int32))
    with pytest.raises(ImportFailedError, match="frames of points"):
        import_scan(options(beamtime), beamtime / "out2.bwrec")
    surplus.rename(frames / "Staff_S0007_5.tif")
    with pytest.raises(FrameFilesError, match="both claim point 5"):
        import_scan(options(beamtime), beamtime / "out2.bwrec")


def test_a_frame_that_is_cut_short_or_another_shape_is_an_error(beamtime: Path) -> None:
    path = beamtime / "frames" / "Staff_S0007_00004.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(FrameFilesError, match="00004"):
        import_scan(options(beamtime), beamtime / "out.bwrec")
    tifffile.imwrite(path, np.zeros((8, 24), np.int32))
    with pytest.raises(FrameFilesError, match="00004"):
        import_scan(options(beamtime), beamtime / "out.bwrec")


def test_a_scan_cut_short_is_aborted_not_complete(beamtime: Path) -> None:
    path = beamtime / "a.spec"
    path.write_text(path.read_text().replace("th 0 1  5 0.25", "th 0 1  10 0.25"))
    import_scan(options(beamtime), beamtime / "out.bwrec")
    records = list(read_recording(beamtime / "out.bwrec"))
    assert records[0].document["num_points"] == 11
    assert records[-1].document["exit_status"] == "abort"


def test_a_number_that_is_absent_or_there_twice(beamtime: Path) -> None:
    path = beamtime / "a.spec"
    with pytest.raises(SpecFileError, match="no scan 54"):
        read_spec_scan(path, 54)
    path.write_text(path.read_text() + HEADER.replace("1580609738", "1600000000") + scan_text(7, [9, 9]))
    with pytest.raises(SpecFileError, match="2 times"):
        read_spec_scan(path, 7)
    assert read_spec_scan(path, 7, occurrence=2).file_epoch == 1600000000
    assert read_spec_scan(path, 7, occurrence=1).rows == 6
    with pytest.raises(SpecFileError, match="not 3"):
        read_spec_scan(path, 7, occurrence=3)


def test_a_row_that_lost_columns_is_an_error(beamtime: Path) -> None:
    path = beamtime / "a.spec"
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("0.2 "))
    lines[row] = lines[row].rsplit(" ", 2)[0]
    path.write_text("\n".join(lines))
    with pytest.raises(SpecFileError, match="5 numbers for 7 columns"):
        read_spec_scan(path, 7)


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=400), st.integers(min_value=0, max_value=9))
def test_any_text_is_read_or_refused_clearly(tmp_path_factory: pytest.TempPathFactory, text: str, number: int) -> None:
    path = tmp_path_factory.mktemp("spec") / "a.spec"
    path.write_text(HEADER + scan_text(3, [1, 2]) + text, encoding="latin-1")
    try:
        scan = read_spec_scan(path, number)
    except SpecFileError:
        return
    assert scan.rows > 0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=2, max_size=20))
def test_readings_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, readings: list[float]) -> None:
    path = tmp_path_factory.mktemp("spec") / "a.spec"
    rows = "\n".join(f"{value!r} 0 1 0.25 2 0 3" for value in readings)
    path.write_text(HEADER + f"#S 1  ascan  th 0 1  {len(readings) - 1} 1\n#N 7\n{LABELS}\n{rows}\n")
    scan = read_spec_scan(path, 1)
    assert [float(v) for v in scan.columns["Theta"]] == readings
    assert not any(math.isnan(v) for v in scan.columns["Theta"])
