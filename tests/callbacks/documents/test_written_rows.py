"""A row of a file counts once it was written: HDF5 itself reads fill values where it wasn't, without an error."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from braggwatch.callbacks.documents.frame_routes_hdf5 import Hdf5Reader, Hdf5Rows
from braggwatch.callbacks.documents.written_rows import RowNotWritten
from braggwatch.models.verdict import Outcome

DATASET = "/entry/data/data"


def read(path: Path, index: int, *, swmr: bool = False, blank_is_written: bool = True) -> np.ndarray:
    reader = Hdf5Reader()
    try:
        return reader.read(Hdf5Rows(path, DATASET, index, 1, swmr=swmr), blank_is_written=blank_is_written)
    finally:
        reader.close()


def part(folder: Path, first: int, frames: np.ndarray) -> str:
    name = f"part_{first:03d}.h5"
    with h5py.File(folder / name, "w", libver="latest") as file:
        file.create_dataset(DATASET, data=frames, chunks=(1, *frames.shape[1:]))
    return name


def master(folder: Path, scan, each: int) -> Path:
    """Map the frames of several files, ``each`` to a file, as a detector's master file does."""
    count, shape = len(scan.frames), scan.frames.shape[1:]
    layout = h5py.VirtualLayout((count, *shape), scan.frames.dtype)
    for first in range(0, count, each):
        last = min(first + each, count)
        name = part(folder, first, scan.frames[first:last])
        layout[first:last] = h5py.VirtualSource(name, DATASET, (last - first, *shape))
    with h5py.File(folder / "master.h5", "w", libver="latest") as file:
        file.create_virtual_dataset(DATASET, layout, fillvalue=0)
    return folder / "master.h5"


@pytest.mark.parametrize("each", [1, 4, 21])
def test_a_virtual_dataset_is_read_whole(each, scan, bench, tmp_path: Path):
    bench.feed(scan.streamed(master(tmp_path, scan, each)))
    np.testing.assert_array_equal(bench.curve.frames, scan.frames)
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED


@pytest.mark.parametrize(("each", "gone", "lost"), [(4, 16, 4), (2, 10, 2), (1, 0, 1)])
def test_frames_of_a_file_that_is_gone_are_missing(each, gone, lost, scan, bench, tmp_path: Path):
    path = master(tmp_path, scan, each)
    (tmp_path / f"part_{gone:03d}.h5").unlink()
    bench.feed(scan.streamed(path)).wait(60)
    assert bench.result.verdict.outcome is Outcome.PARTIAL
    assert bench.result.frames_received == 21 - lost
    assert f"part_{gone:03d}.h5 is not there" in bench.result.verdict.reason


def test_a_source_that_is_shorter_than_the_mapping_lacks_its_rows(scan, bench, tmp_path: Path):
    path = master(tmp_path, scan, 7)
    (tmp_path / "part_014.h5").unlink()
    part(tmp_path, 14, scan.frames[14:17])
    bench.feed(scan.streamed(path)).wait(60)
    assert bench.result.frames_received == 17


def test_sources_of_one_frame_without_an_axis_of_frames_are_read(scan, tmp_path: Path):
    layout = h5py.VirtualLayout(scan.frames.shape, scan.frames.dtype)
    for index in range(3):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            file["frame"] = scan.frames[index]
        layout[index] = h5py.VirtualSource(f"{index}.h5", "frame", scan.frames.shape[1:])
    with h5py.File(tmp_path / "m.h5", "w", libver="latest") as file:
        file.create_virtual_dataset(DATASET, layout)
    np.testing.assert_array_equal(read(tmp_path / "m.h5", 2), scan.frames[2])
    with pytest.raises(RowNotWritten, match="no file holds row 4"):
        read(tmp_path / "m.h5", 3)


def test_a_source_that_comes_late_is_waited_for(scan, bench, tmp_path: Path):
    path = master(tmp_path, scan, 7)
    (tmp_path / "part_014.h5").rename(tmp_path / "hidden.h5")
    bench.feed(scan.streamed(path))
    assert not bench.reports
    (tmp_path / "hidden.h5").rename(tmp_path / "part_014.h5")
    bench.wait(1.0)
    np.testing.assert_array_equal(bench.curve.frames, scan.frames)


def test_a_virtual_dataset_may_map_onto_another(scan, tmp_path: Path):
    inner = master(tmp_path, scan, 7)
    layout = h5py.VirtualLayout(scan.frames.shape, scan.frames.dtype)
    layout[:] = h5py.VirtualSource(inner.name, DATASET, scan.frames.shape)
    with h5py.File(tmp_path / "outer.h5", "w", libver="latest") as file:
        file.create_virtual_dataset(DATASET, layout)
    np.testing.assert_array_equal(read(tmp_path / "outer.h5", 15), scan.frames[15])
    (tmp_path / "part_014.h5").unlink()
    with pytest.raises(RowNotWritten, match=r"part_014\.h5"):
        read(tmp_path / "outer.h5", 15)


def test_files_by_number_are_looked_for_by_their_number(scan, tmp_path: Path):
    """A mapping without end, whose sources are named by a pattern."""
    shape = scan.frames.shape[1:]
    for number in (0, 2):
        part(tmp_path, number, scan.frames[5 * number : 5 * number + 5])
    virtual = h5py.h5s.create_simple((0, *shape), (h5py.h5s.UNLIMITED, *shape))
    virtual.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (5, 1, 1), (5, *shape))
    source = h5py.h5s.create_simple((5, *shape))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_virtual(virtual, b"part_00%b.h5", DATASET.encode(), source)
    with h5py.File(tmp_path / "m.h5", "w", libver="latest") as file:
        group = file.create_group("/entry/data")
        space = h5py.h5s.create_simple((0, *shape), (h5py.h5s.UNLIMITED, *shape))
        h5py.h5d.create(group.id, b"data", h5py.h5t.NATIVE_UINT16, space, properties)
    np.testing.assert_array_equal(read(tmp_path / "m.h5", 3), scan.frames[3])
    with pytest.raises(RowNotWritten):
        read(tmp_path / "m.h5", 7)
    part(tmp_path, 1, scan.frames[5:10])
    np.testing.assert_array_equal(read(tmp_path / "m.h5", 7), scan.frames[7])


def test_frames_announced_before_they_are_written_are_waited_for(scan, bench, tmp_path: Path):
    """The dataset has its whole length from the beginning; each document comes three frames before its frame."""
    shape = scan.frames.shape[1:]
    with h5py.File(tmp_path / "ahead.h5", "w", libver="latest") as file:
        dataset = file.create_dataset(DATASET, (21, *shape), "u2", chunks=(1, *shape))
        file.swmr_mode = True
        told = 0
        for name, doc in scan.streamed(tmp_path / "ahead.h5"):
            if name == "stop":
                dataset[18:] = scan.frames[18:]
                dataset.flush()
            bench.feed([(name, doc)])
            if name == "stream_datum":
                told += 1
                if told > 3:
                    dataset[told - 4] = scan.frames[told - 4]
                    dataset.flush()
    np.testing.assert_array_equal(bench.curve.frames, scan.frames)


def test_a_row_that_is_never_written_is_missing(scan, bench, tmp_path: Path):
    shape = scan.frames.shape[1:]
    with h5py.File(tmp_path / "gap.h5", "w", libver="latest") as file:
        dataset = file.create_dataset(DATASET, (21, *shape), "u2", chunks=(1, *shape))
        for index in range(21):
            if index != 2:
                dataset[index] = scan.frames[index]
    bench.feed(scan.streamed(tmp_path / "gap.h5")).wait(60)
    assert bench.result.frames_received == 20
    assert "row 3" in bench.result.verdict.reason


@pytest.mark.parametrize("options", [{"chunks": (4, 24, 20)}, {}])
def test_where_hdf5_cannot_tell_a_blank_row_is_waited_for_until_the_run_ends(options, scan, bench, tmp_path: Path):
    """Chunks of several frames, or none: that something was written doesn't tell which row."""
    path = tmp_path / "blocks.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset(DATASET, (21, 24, 20), "u2", **options)[0:2] = scan.frames[0:2] + 1
    np.testing.assert_array_equal(read(path, 1, blank_is_written=False), scan.frames[1] + 1)
    with pytest.raises(RowNotWritten, match="blank"):
        read(path, 2, blank_is_written=False)
    scan.frames[2] = 0
    with h5py.File(path, "r+", libver="latest") as file:
        whole = file[DATASET]
        assert isinstance(whole, h5py.Dataset)
        whole[...] = scan.frames
    bench.feed(scan.streamed(path))
    np.testing.assert_array_equal(bench.curve.frames, scan.frames)
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED


def test_a_missing_row_keeps_no_other_from_being_read(scan, bench, tmp_path: Path):
    shape = scan.frames.shape[1:]
    with h5py.File(tmp_path / "gap.h5", "w", libver="latest") as file:
        dataset = file.create_dataset(DATASET, (21, *shape), "u2", chunks=(1, *shape))
        for index in (*range(1), *range(2, 21)):
            dataset[index] = scan.frames[index]
    bench.feed(scan.streamed(tmp_path / "gap.h5")[:-1])
    (run,) = bench.callback._sorter.runs.values()
    assert run.progress == (20, 21)


def test_a_dataset_that_is_open_twice_gives_no_other_row(scan, tmp_path: Path):
    """HDF5 then reads its first chunk for each: the row is waited for until it can be told from others."""
    path = scan.write(tmp_path / "scan.h5")
    first = Hdf5Reader()
    first.read(Hdf5Rows(path, DATASET, 0, 1, swmr=True))
    held = first._open[path][DATASET]
    assert isinstance(held, h5py.Dataset)
    with pytest.raises(RowNotWritten):
        read(path, 10, swmr=True)
    del held
    np.testing.assert_array_equal(read(path, 10, swmr=True), scan.frames[10])
    first.close()
