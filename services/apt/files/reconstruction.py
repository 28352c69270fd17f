"""Read a reconstruction in any supported format."""

from __future__ import annotations

from pathlib import Path

from braggwatch.services.apt.files.apt import read_apt
from braggwatch.services.apt.files.error import AptFileError
from braggwatch.services.apt.files.pos import read_records
from braggwatch.sim.apt.model import IonCloud

READERS = {".pos": read_records, ".epos": read_records, ".apt": read_apt}


def read_ions(path: Path) -> IonCloud:
    """Read a reconstruction; the file name's suffix determines the format.

    Raises
    ------
    AptFileError
        If the suffix is unknown, or the content doesn't match it.
    OSError
        If the file doesn't exist or can't be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise AptFileError(f"{path}: a reconstruction's file name must end in {', '.join(READERS)}")
    return reader(path)
