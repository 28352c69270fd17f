"""Others' files are read without keeping their writers out, and not while a writer has them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from braggwatch.sim.unlocked_hdf5 import HeldByWriterError, check_not_being_written, held_by_writer, open_unlocked
from support.hdf5 import dataset

APPEND = """
import h5py, sys
with h5py.File(sys.argv[1], "a") as file:
    file.create_group(sys.argv[2])
"""
# One of two rows is on the disk; the other would read as zeros.
HOLD = """
import h5py, sys
with h5py.File(sys.argv[1], "w") as file:
    file.create_dataset("d", (2, 4), chunks=(1, 4))[0] = 1
    file.flush()
    print("open", flush=True)
    sys.stdin.readline()
    file["d"][1] = 1
"""
RECORD_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("open", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another(script: str, path: Path) -> Generator[None]:
    """Another process that has the file while the block runs."""
    words = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
        process.stdin.write("close\n")
        process.stdin.flush()
        assert process.wait() == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "set.h5", "w", libver="latest") as file:
        file["d"] = np.ones((2, 4))
    return tmp_path / "set.h5"


@pytest.mark.parametrize("swmr", [False, True])
def test_a_writer_can_open_what_is_being_read(path: Path, swmr: bool) -> None:
    with open_unlocked(path, swmr=swmr) as file:
        subprocess.run([sys.executable, "-c", APPEND, str(path), "next"], check=True)
        np.testing.assert_array_equal(dataset(file, "d")[:], 1)
    with open_unlocked(path) as file:
        assert "next" in file


def test_a_file_that_its_writer_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "held.h5"
    with another(HOLD, path):
        for swmr in (False, True):
            with pytest.raises(HeldByWriterError, match="holds it open"):
                open_unlocked(path, swmr=swmr)
    with open_unlocked(path) as file:
        np.testing.assert_array_equal(dataset(file, "d")[:], 1)


@pytest.mark.parametrize("virtual", [False, True])
def test_a_part_that_its_writer_holds_is_refused(tmp_path: Path, virtual: bool) -> None:
    part, master = tmp_path / "part.h5", tmp_path / "master.h5"
    with h5py.File(master, "w") as file:
        if virtual:
            layout = h5py.VirtualLayout((2, 4), "f4")
            layout[:] = h5py.VirtualSource("part.h5", "d", (2, 4))
            file.create_virtual_dataset("d", layout)
        else:
            file["d"] = h5py.ExternalLink("part.h5", "d")
    with another(HOLD, part), open_unlocked(master) as file, pytest.raises(HeldByWriterError, match=r"part\.h5"):
        check_not_being_written(dataset(file, "d"))
    with open_unlocked(master) as file:
        check_not_being_written(dataset(file, "d"))
        np.testing.assert_array_equal(dataset(file, "d")[:], 1)


def test_a_record_lock_as_on_nfs_is_seen(path: Path) -> None:
    with another(RECORD_LOCK, path):
        assert held_by_writer(path)
    assert not held_by_writer(path)


def test_what_this_process_writes_itself_can_be_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.h5", "w", libver="latest") as file:
        file.create_dataset("d", data=np.ones(3), maxshape=(None,))
        file.swmr_mode = True
        with open_unlocked(tmp_path / "own.h5", swmr=True) as again:
            np.testing.assert_array_equal(dataset(again, "d")[:], 1)


def test_an_absent_file_and_one_of_another_kind_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_unlocked(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(OSError, match="signature"):
        open_unlocked(tmp_path / "text.h5")
