"""Diffraction pictures come out of files as they were put in, and broken files say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from braggwatch.services.cli import app
from braggwatch.services.cli.sadp.classify_command import DEFAULT_MODEL
from braggwatch.services.sadp.sources.mib_file import MibError, parse_mib
from braggwatch.services.sadp.sources.picture_files import PictureFileError, find_pictures, read_pictures

PICTURE = np.random.default_rng(0).poisson(30, size=(40, 64)).astype(np.uint16)


def mib_bytes(frames: np.ndarray, length: int = 384) -> bytes:
    depth = {1: "U08", 2: "U16", 4: "U32"}[frames.dtype.itemsize]
    parts: list[bytes] = []
    for number, frame in enumerate(frames, start=1):
        height, width = frame.shape
        text = f"MQ1,{number:06d},{length:05d},01,{width:04d},{height:04d},{depth},   1x1,01,2020-02-18 16:14:22,0.0,0,"
        parts += [text.encode().ljust(length, b"\0"), frame.astype(frame.dtype.newbyteorder(">")).tobytes()]
    return b"".join(parts)


@given(
    count=st.integers(1, 4),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    dtype=st.sampled_from([np.uint8, np.uint16, np.uint32]),
    length=st.sampled_from([384, 768]),
    seed=st.integers(0, 100),
)
@settings(deadline=None)
def test_mib_frames_come_back(
    count: int, height: int, width: int, dtype: type[np.unsignedinteger], length: int, seed: int
) -> None:
    frames = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, size=(count, height, width), dtype=dtype)
    read = parse_mib(mib_bytes(frames, length))
    np.testing.assert_array_equal(read.frames, frames)
    assert read.frames.dtype == frames.dtype
    assert read.numbers.tolist() == list(range(1, count + 1))


@given(cut=st.integers(1, 2000), noise=st.binary(max_size=40))
@settings(deadline=None)
def test_broken_mib_files_never_crash(cut: int, noise: bytes) -> None:
    whole = mib_bytes(np.zeros((2, 20, 20), dtype=np.uint16))
    for data in (whole[:-cut], noise, whole[:300] + noise + whole[300 + len(noise) :]):
        try:
            read = parse_mib(data)
        except MibError:
            continue
        assert read.frames.shape[1:] == (20, 20)


def test_raw_mode_says_what_to_do() -> None:
    data = mib_bytes(np.zeros((1, 4, 4), dtype=np.uint16)).replace(b"U16", b"R64")
    with pytest.raises(MibError, match="save as U08"):
        parse_mib(data)


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"picture{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, PICTURE)
    elif suffix == ".png":
        image = pytest.importorskip("PIL.Image", reason="needs the sadp extra")
        image.fromarray(PICTURE).save(path)
    elif suffix == ".mrc":
        mrcfile = pytest.importorskip("mrcfile", reason="needs the sadp extra")
        with mrcfile.new(path) as file:
            file.set_data(PICTURE[::-1])
    elif suffix == ".mib":
        path.write_bytes(mib_bytes(PICTURE[None]))
    else:
        with h5py.File(path, "w") as file:
            file["entry/data"] = PICTURE
            file["entry/angle"] = np.arange(100.0)
    return path


@pytest.mark.parametrize("suffix", [".tif", ".png", ".mrc", ".mib", ".h5"])
def test_a_picture_comes_back_the_right_way_up(suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path, suffix)
    pictures = list(read_pictures(path))
    assert len(pictures) == 1
    np.testing.assert_array_equal(pictures[0].pixels, PICTURE)
    assert pictures[0].name.startswith("picture")
    assert find_pictures(tmp_path) == (path,)


def test_stacks_and_colours(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([PICTURE] * 3), photometric="minisblack")
    assert [one.name for one in read_pictures(tmp_path / "stack.tif")] == ["stack.tif#0", "stack.tif#1", "stack.tif#2"]
    image = pytest.importorskip("PIL.Image", reason="needs the sadp extra")
    grey = (PICTURE % 256).astype(np.uint8)
    image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "screen.png")
    (screen,) = read_pictures(tmp_path / "screen.png")
    np.testing.assert_allclose(np.asarray(screen.pixels, np.float64), grey)


def test_hdf5_with_several_pictures_asks_which(tmp_path: Path) -> None:
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        file["one"], file["two"] = PICTURE, PICTURE + 1
    with pytest.raises(PictureFileError, match="--dataset"):
        list(read_pictures(path))
    (chosen,) = read_pictures(path, "two")
    np.testing.assert_array_equal(chosen.pixels, PICTURE + 1)
    with pytest.raises(PictureFileError, match="no dataset"):
        list(read_pictures(path, "three"))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".mrc", ".mib", ".h5", ".dm4"])
def test_rubbish_is_said_to_be_rubbish(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rubbish{suffix}"
    path.write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(PictureFileError, match="rubbish"):
        list(read_pictures(path))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_pictures(tmp_path / "nowhere.tif")
    with pytest.raises(PictureFileError, match="contains no pictures"):
        find_pictures(tmp_path)
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(PictureFileError, match="not supported"):
        list(read_pictures(tmp_path / "note.txt"))


@pytest.mark.parametrize("there", [True, False], ids=["the package's bundles", "no folder of bundles"])
@pytest.mark.parametrize("command", ["classify", "report"])
def test_without_a_bundle_the_error_says_how_to_make_and_name_one(command: str, there: bool, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "one.tif", PICTURE)
    model = "sadp-unmade/9.9.9" if there else DEFAULT_MODEL
    options = ["--model", model] if there else ["--registry", str(tmp_path / "bundles")]
    if command == "report":
        options += ["--output", str(tmp_path / "page.html")]
    result = CliRunner().invoke(app, ["sadp", command, str(tmp_path / "one.tif"), *options])
    assert result.exit_code == 3
    for told in (model, "braggwatch sadp simulate --out", "braggwatch sadp train --data", "--model"):
        assert told in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "page.html").exists()
