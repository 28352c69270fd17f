"""A file is whole or not there, and a full disk is told by its name and never taken for something else."""

from __future__ import annotations

import errno
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from braggwatch.sim.whole_file import UnwritableError, whole_file
from braggwatch.sim.whole_hdf5 import whole_hdf5


def test_what_was_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "one.h5"
    with whole_hdf5(path) as file:
        file["numbers"] = np.arange(1000)
        assert not path.exists()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["numbers"], np.arange(1000))
    assert list(tmp_path.iterdir()) == [path]


def test_what_broke_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> None:
        with whole_hdf5(tmp_path / "one.h5") as file:
            file["numbers"] = np.arange(1000)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        broken()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*_: object) -> int:
        raise OSError(number, "nameless")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnwritableError, match=r"one\.h5 couldn't be written") as told, whole_hdf5(tmp_path / "one.h5"):
        pass
    assert list(tmp_path.iterdir()) == []
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"), whole_file(tmp_path / "one"):
        (tmp_path / "absent").read_bytes()


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from braggwatch.sim.whole_hdf5 import whole_hdf5
try:
    with whole_hdf5(Path(sys.argv[1])) as file:
        file["numbers"] = np.arange(1_000_000)
except OSError as error:
    print(error)
"""


def test_a_process_that_finds_no_room_goes_on_to_say_so(tmp_path: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        [sys.executable, "-c", _WRITER, tmp_path / "one.h5"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_files,
    )
    assert done.returncode == 0, done.stderr
    assert "one.h5 couldn't be written: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []
