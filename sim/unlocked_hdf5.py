"""HDF5 files that others write: read without HDF5's lock, which would keep their next writer out."""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

import h5py

_FLOCK = "hhqqi"
_MISMATCH = "file locking flag values don't match"


class HeldByWriterError(OSError):
    """A writer has the file open and locked: what it has not written yet would read as zeros."""


def open_foreign(path: Path, *, swmr: bool = False) -> h5py.File:
    """Open a file that isn't ours to read; its writer can open it at any moment, whatever we do.

    HDF5's lock is not taken. It is respected: where a writer holds it, the file is refused as HDF5 itself would refuse
    it. The lock is seen on Linux only, and in a container not that of a process outside, unless over NFS.

    Parameters
    ----------
    swmr
        Open for single-writer-multiple-reader access, so that the file can be read while it grows.

    Raises
    ------
    HeldByWriterError
        Where another process holds a writer's lock on the file.
    OSError
        Where the file is absent, no HDF5, or marked as being written.
    """
    if held_by_writer(path):
        raise HeldByWriterError(f"{path.name} is being written: its writer holds it open")
    libver = "latest" if swmr else None
    try:
        return h5py.File(path, "r", libver=libver, swmr=swmr, locking=False)
    except OSError as error:
        if _MISMATCH not in str(error):
            raise
    # This very process has it open with locking, and HDF5 shares what is open: no further lock is taken.
    return h5py.File(path, "r", libver=libver, swmr=swmr)


def refuse_if_held(dataset: h5py.Dataset) -> None:
    """Check the files in which a dataset's values lie: those that links and virtual datasets lead to have own writers.

    Raises
    ------
    HeldByWriterError
        Where another process holds a writer's lock on one of them.
    """
    home = Path(dataset.file.filename)
    names = {source.file_name for source in dataset.virtual_sources()} if dataset.is_virtual else set[str]()
    for path in {home, *(home.parent / name for name in names)}:
        # A part that isn't there is for HDF5 to tell of.
        if path.is_file() and held_by_writer(path):
            raise HeldByWriterError(f"{path.name} is being written: its writer holds it open")


def held_by_writer(path: Path) -> bool:
    """Tell whether another process holds a writer's lock on the file; only looks, takes no lock itself.

    Raises
    ------
    OSError
        Where the file can't be opened.
    """
    if sys.platform != "linux":
        return False
    return _record_locked(path) or _listed_as_locked(path)


def _record_locked(path: Path) -> bool:
    """Ask for record locks, which are what NFS makes of a lock, whichever machine holds it."""
    import fcntl

    with path.open("rb") as file:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        with suppress(OSError):  # a file system without record locks
            answer = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
            return answer[0] != fcntl.F_UNLCK and answer[4] != os.getpid()
    return False


def _listed_as_locked(path: Path) -> bool:
    """Look for the lock that HDF5 takes on a local disk, which nothing but the kernel's list tells of."""
    status = path.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    # Btrfs and overlays state another device to us than to the list, of major number 0.
    anonymous = os.major(status.st_dev) == 0
    with suppress(OSError, ValueError):  # no such list, or not in this form
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # e.g. "1: FLOCK ADVISORY WRITE 12604 fe:00:2147689 0 EOF"; those who wait have an arrow in place of FLOCK
            _, kind, _, access, pid, where, *_ = line.split()
            on, _, inode = where.rpartition(":")
            same = int(inode) == status.st_ino and (anonymous or on == device)
            if same and kind in ("FLOCK", "OFDLCK") and access == "WRITE" and int(pid) != os.getpid():
                return True
    return False
