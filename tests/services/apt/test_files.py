"""Atom probe files: what is read, and what is said of files that can't be."""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braggwatch.services.apt.files import (
    AptFileError,
    RangedShare,
    label_checked,
    read_ions,
    read_labelled,
    read_ranges,
)
from braggwatch.sim.apt.model import UNRANGED, IonCloud

RRNG = """[Ions]
Number=2
Ion1=Al
Ion2=Li
[Ranges]
Number=4
Range1=26.90 27.10 Vol:0.01661 Al:1 Color:33FFFF
Range2=13.40 13.60 Vol:0.01661 Al:1 Color:33FFFF
Range3=6.95 7.10 Vol:0.02 Li:1 Color:FF0000
Range4=42.90 43.10 Vol:0.03 Al:1 O:1 Name: Color:00FF00
"""
RNG = """3 3
Aluminium
Al 0.2 1.0 1.0
Lithium
Li 1.0 0.0 0.0
Oxygen
O 0.0 0.0 1.0
------------- Al Li O
. 26.90 27.10 1 0 0
. 6.95 7.10 0 1 0
. 42.90 43.10 1 0 1

--- polyatomic extension
2 1
"""


def some_ions(n: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positions = rng.uniform((-20, -20, 0), (20, 20, 60), (n, 3)).astype(np.float32)
    return positions, rng.choice(np.array([27.0, 13.5, 7.0, 43.0], dtype=np.float32), n)


def write_pos(path: Path, positions: np.ndarray, mass: np.ndarray, dtype: str = ">f4") -> Path:
    path.write_bytes(np.column_stack([positions, mass]).astype(dtype).tobytes())
    return path


def write_epos(path: Path, positions: np.ndarray, mass: np.ndarray) -> Path:
    rest = np.full((len(mass), 5), 3.0)
    floats = np.column_stack([positions, mass, rest]).astype(">f4").view(">u4")
    path.write_bytes(np.column_stack([floats, np.full((len(mass), 2), 1)]).astype(">u4").tobytes())
    return path


def utf16(text: str, length: int) -> bytes:
    return text.encode("utf-16-le").ljust(2 * length, b"\0")


def write_apt(path: Path, positions: np.ndarray, mass: np.ndarray) -> Path:
    """Write the two sections as AP Suite 6 lays them out."""

    def section(name: str, unit: str, record: int, data: bytes, extra: bytes = b"") -> bytes:
        head = struct.pack("<4sii", b"SEC\0", 148 + len(extra), 2) + utf16(name, 32)
        head += struct.pack("<iIIIii", 1, 1, 1, 3, 32, record) + utf16(unit, 16)
        return head + struct.pack("<qq", len(mass), len(data)) + extra + data

    head = struct.pack("<4sii", b"APT\0", 540, 2) + utf16(path.name, 256) + struct.pack("<QQ", 0, len(mass))
    extent = np.stack([positions.min(axis=0), positions.max(axis=0)]).T.astype("<f4").tobytes()
    path.write_bytes(
        head
        + section("Mass", "Da", 4, mass.astype("<f4").tobytes())
        + section("Position", "nm", 12, positions.astype("<f4").tobytes(), extent)
    )
    return path


@pytest.mark.parametrize(("suffix", "write"), [(".pos", write_pos), (".epos", write_epos), (".apt", write_apt)])
def test_every_format_gives_the_same_ions(
    tmp_path: Path, suffix: str, write: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".apt":
        pytest.importorskip("ifes_apt_tc_data_modeling")
    monkeypatch.chdir(tmp_path)
    positions, mass = some_ions()
    cloud = read_ions(write(tmp_path / f"tip{suffix}", positions, mass))  # pyright: ignore[reportCallIssue]
    np.testing.assert_array_equal(cloud.positions_nm, positions)
    np.testing.assert_array_equal(cloud.mass_to_charge_Da, mass)
    assert cloud.positions_nm.dtype == np.float32
    assert [one.name for one in tmp_path.iterdir()] == [f"tip{suffix}"], "reading leaves nothing behind"


@pytest.mark.parametrize("suffix", [".pos", ".epos"])
def test_the_library_reads_the_same(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("ifes_apt_tc_data_modeling")
    from braggwatch.services.apt.files.apt import _quiet_library

    with _quiet_library():
        from ifes_apt_tc_data_modeling.epos.epos_reader import ReadEposFileFormat
        from ifes_apt_tc_data_modeling.pos.pos_reader import ReadPosFileFormat

    positions, mass = some_ions()
    path = (write_pos if suffix == ".pos" else write_epos)(tmp_path / f"tip{suffix}", positions, mass)
    theirs = (ReadPosFileFormat if suffix == ".pos" else ReadEposFileFormat)(str(path))
    mine = read_ions(path)
    their_positions, their_mass = theirs.get_reconstructed_positions(), theirs.get_mass_to_charge_state_ratio()
    assert their_positions is not None
    assert their_mass is not None
    np.testing.assert_array_equal(mine.positions_nm, their_positions.magnitude)
    np.testing.assert_array_equal(mine.mass_to_charge_Da, their_mass.magnitude)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), [("a.rrng", RRNG), ("a.rng", RNG)])
def test_the_library_finds_the_same_ranges(tmp_path: Path, name: str, text: str) -> None:
    pytest.importorskip("ifes_apt_tc_data_modeling")
    from braggwatch.services.apt.files.apt import _quiet_library

    with _quiet_library():
        from ifes_apt_tc_data_modeling.rng.rng_reader import ReadRngFileFormat
        from ifes_apt_tc_data_modeling.rrng.rrng_reader import ReadRrngFileFormat

    path = tmp_path / name
    path.write_text(text)
    if name.endswith(".rrng"):
        theirs = ReadRrngFileFormat(str(path)).rrng["molecular_ions"]
    else:
        theirs = ReadRngFileFormat(str(path)).rng["molecular_ions"]
    limits = sorted(tuple(float(x) for x in ion.ranges.magnitude[0]) for ion in theirs)
    assert limits == sorted((one.low_Da, one.high_Da) for one in read_ranges(path))


def test_ranges_of_both_formats(tmp_path: Path) -> None:
    (tmp_path / "a.rrng").write_text(RRNG)
    (tmp_path / "a.rng").write_text(RNG)
    found = read_ranges(tmp_path / "a.rrng")
    assert [(one.low_Da, one.high_Da, one.name) for one in found] == [
        (26.9, 27.1, "Al"),
        (13.4, 13.6, "Al"),
        (6.95, 7.1, "Li"),
        (42.9, 43.1, "AlO"),
    ]
    assert found[0].volume_nm3 == 0.01661
    assert found[0].color == "33FFFF"
    assert [one.name for one in read_ranges(tmp_path / "a.rng")] == ["Al", "Li", "AlO"]


def test_decimal_commas_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.rrng").write_bytes(RRNG.replace(".", ",").replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_ranges(tmp_path / "a.rrng")[2].low_Da == 6.95


def test_ions_are_labelled_and_counted(tmp_path: Path) -> None:
    positions, mass = some_ions()
    mass[:7] = 99.0
    (tmp_path / "a.rrng").write_text(RRNG)
    ions = read_labelled(write_pos(tmp_path / "a.pos", positions, mass), tmp_path / "a.rrng")
    assert ions.names == ("Al", "Li", "AlO")
    assert (ions.species[:7] == UNRANGED).all()
    share = RangedShare.of(ions)
    assert share.by_name["Li"] == int((mass == 7.0).sum())
    assert share.ranged == pytest.approx(1 - 7 / 500)


def test_ranges_of_another_data_set_are_refused(tmp_path: Path) -> None:
    positions, mass = some_ions()
    (tmp_path / "a.rrng").write_text(RRNG)
    with pytest.raises(AptFileError, match=r"only 0\.0% of the ions lie in a range.*Is it the range file"):
        label_checked(IonCloud(positions, mass + 100), read_ranges(tmp_path / "a.rrng"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\0" * 17, "cut short"),
        (np.array([[1, 2, 3, 27], [np.nan, 2, 3, 27]], ">f4").tobytes(), "1 of 2 ions.*not finite"),
        (np.array([[1, 2, 3, 27], [1, 2, 3e7, 27]], ">f4").tobytes(), "must be nanometres"),
        (np.array([[1, 2, 3, 27]] * 5, ">f4").tobytes(), "at the same position"),
        (np.array([[1, 2, 3, -27], [4, 5, 6, 27]], ">f4").tobytes(), "masses in dalton"),
    ],
)
def test_what_is_said_of_a_bad_pos(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.pos"
    path.write_bytes(content)
    with pytest.raises(AptFileError, match=said):
        read_ions(path)


def test_the_other_byte_order_is_told(tmp_path: Path) -> None:
    path = write_pos(tmp_path / "a.pos", *some_ions(), dtype="<f4")
    with pytest.raises(AptFileError, match="little-endian"):
        read_ions(path)


def test_a_few_absurd_masses_pass_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    positions, mass = some_ions()
    mass[0] = -1.0
    with caplog.at_level(logging.WARNING):
        assert len(read_ions(write_pos(tmp_path / "a.pos", positions, mass))) == 500
    assert "1 ions have an implausible mass" in caplog.text


def test_a_name_of_no_known_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(AptFileError, match=r"\.pos"):
        read_ions(tmp_path / "a.csv")
    with pytest.raises(AptFileError, match=r"\.rrng"):
        read_ranges(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError):
        read_ions(tmp_path / "absent.pos")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (RRNG, "", "is empty"),
        (RRNG, "[Ranges]\nNumber=0\n", "no ranges"),
        ("Range4=42.90 43.10 Vol:0.03 Al:1 O:1 Name: Color:00FF00\n", "", "cut short: 4 .* 3"),
        ("6.95 7.10", "26.95 27.2", "overlap"),
        ("6.95 7.10", "7.10 6.95", "is empty"),
        ("6.95 7.10", "6.95 inf", "isn't finite"),
        ("6.95 7.10", "six 7.10", "can't read the range"),
        ("Li:1", "Li;1", "not 'Element:count'"),
        ("Li:1 ", "", "names no ion"),
        (RRNG, "Range1=26.90 27.10 Al:1", r"no \[Ranges\]"),
    ],
)
def test_what_is_said_of_a_bad_rrng(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "a.rrng").write_text(RRNG.replace(old, new))
    with pytest.raises(AptFileError, match=said):
        read_ranges(tmp_path / "a.rrng")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("3 3\n", "three 3\n", "numbers of ions"),
        ("------------- Al Li O", "Al Li O", "line of dashes"),
        ("------------- Al Li O", "------------- Al Li", "3 ions are announced, 2"),
        (". 42.90 43.10 1 0 1\n\n--- polyatomic extension\n2 1\n", "", "cut short: 3 .* 2"),
        (". 6.95 7.10 0 1 0", ". 6.95 7.10 0 1", "is not a range of 3 ions"),
        (". 6.95 7.10 0 1 0", ". 27.0 28.0 0 1 0", "overlap"),
    ],
)
def test_what_is_said_of_a_bad_rng(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in RNG
    (tmp_path / "a.rng").write_text(RNG.replace(old, new))
    with pytest.raises(AptFileError, match=said):
        read_ranges(tmp_path / "a.rng")


def test_overlapping_ranges_of_one_species_are_as_good_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.rrng").write_text(RRNG.replace("13.40 13.60", "27.00 27.30"))
    found = read_ranges(tmp_path / "a.rrng")
    ions = label_checked(IonCloud(np.eye(3, dtype=np.float32), np.array([26.95, 27.05, 27.2], np.float32)), found)
    assert (ions.species == 0).all()


def refusal_of(path: Path) -> str | None:
    try:
        (read_ranges if path.suffix in {".rrng", ".rng"} else read_ions)(path)
    except AptFileError as error:
        return str(error)
    return None


fuzzed = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(data=st.binary(max_size=400), suffix=st.sampled_from([".pos", ".epos", ".rrng", ".rng"]))
def test_any_bytes_are_read_or_refused_with_a_reason(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    refusal = refusal_of(path)
    assert refusal is None or str(path) in refusal


@fuzzed
@given(cut=st.integers(min_value=0, max_value=len(RRNG)), at=st.integers(0, len(RRNG) - 1), byte=st.characters())
def test_a_damaged_rrng_is_read_or_refused_with_a_reason(tmp_path: Path, cut: int, at: int, byte: str) -> None:
    path = tmp_path / "a.rrng"
    damaged = (RRNG[:at] + byte + RRNG[at + 1 :])[:cut]
    path.write_bytes(damaged.encode("utf-8", "surrogatepass"))
    refusal = refusal_of(path)
    assert refusal is None or str(path) in refusal


@fuzzed
@given(cut=st.integers(min_value=0, max_value=540 + 2 * 172 + 16 * 20 - 1))
def test_a_truncated_apt_is_refused(tmp_path: Path, cut: int) -> None:
    pytest.importorskip("ifes_apt_tc_data_modeling")
    path = write_apt(tmp_path / "a.apt", *some_ions(20))
    os.truncate(path, cut % path.stat().st_size)  # shorter than the whole, however long that is
    with pytest.raises(AptFileError, match=r"a\.apt"):
        read_ions(path)
