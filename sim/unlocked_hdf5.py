"""Read HDF5 files that other programs write, without taking HDF5's lock, which would block their next writer."""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

import h5py

from braggwatch.sim.errors import BraggwatchError

_FLOCK = "hhqqi"
_MISMATCH = "file locking flag values don't match"


class HeldByWriterError(BraggwatchError, OSError):
    """A writer has the file open and locked: data it has not written yet would read as zeros."""


def open_unlocked(path: Path, *, swmr: bool = False) -> h5py.File:
    """Open another program's file for reading without locking it, so that its writer can open it at any time.

    A writer's lock is respected all the same: a locked file is refused, as HDF5 itself would refuse it. Locks are
    detected on Linux only; from inside a container, a lock held by a process outside is seen only over NFS.

    Parameters
    ----------
    swmr
        Open for single-writer-multiple-reader access, so that the file can be read while it grows.

    Raises
    ------
    HeldByWriterError
        If another process holds a writer's lock on the file.
    OSError
        If the file is absent, is not HDF5, or is marked as being written.
    """
    if held_by_writer(path):
        raise HeldByWriterError(f"{path.name} is being written: its writer holds it open")
    libver = "latest" if swmr else None
    try:
        return h5py.File(path, "r", libver=libver, swmr=swmr, locking=False)
    except OSError as error:
        if _MISMATCH not in str(error):
            raise
    # This process already has the file open with locking, and HDF5 shares open files: no further lock is taken.
    return h5py.File(path, "r", libver=libver, swmr=swmr)


def check_not_being_written(dataset: h5py.Dataset) -> None:
    """Check every file that holds a dataset's values; the targets of links and virtual datasets have their own writers.

    Raises
    ------
    HeldByWriterError
        If another process holds a writer's lock on one of them.
    """
    container = Path(dataset.file.filename)
    names = {source.file_name for source in dataset.virtual_sources()} if dataset.is_virtual else set[str]()
    for path in {container, *(container.parent / name for name in names)}:
        # HDF5 itself reports a source file that is missing.
        if path.is_file() and held_by_writer(path):
            raise HeldByWriterError(f"{path.name} is being written: its writer holds it open")


def held_by_writer(path: Path) -> bool:
    """Return whether another process holds a writer's lock on the file; takes no lock itself.

    Raises
    ------
    OSError
        If the file can't be opened.
    """
    if sys.platform != "linux":
        return False
    return _record_locked(path) or _listed_as_locked(path)


def _record_locked(path: Path) -> bool:
    """Query record locks, which NFS uses for every lock, whichever machine holds it."""
    import fcntl

    with path.open("rb") as file:
        query = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        with suppress(OSError):  # a file system without record locks
            answer = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, query))
            return answer[0] != fcntl.F_UNLCK and answer[4] != os.getpid()
    return False


def _listed_as_locked(path: Path) -> bool:
    """Look for the lock that HDF5 takes on a local disk; only the kernel's lock list shows it."""
    status = path.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    # On Btrfs and overlay file systems stat reports another device than the list, with major number 0.
    anonymous = os.major(status.st_dev) == 0
    with suppress(OSError, ValueError):  # no such list, or not in this form
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # e.g. "1: FLOCK ADVISORY WRITE 12604 fe:00:2147689 0 EOF"; a waiting process has an arrow instead of FLOCK
            _, kind, _, access, pid, location, *_ = line.split()
            listed_device, _, inode = location.rpartition(":")
            same = int(inode) == status.st_ino and (anonymous or listed_device == device)
            if same and kind in ("FLOCK", "OFDLCK") and access == "WRITE" and int(pid) != os.getpid():
                return True
    return False
