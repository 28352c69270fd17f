"""A reconstruction from a file of any of the formats."""

from __future__ import annotations

from pathlib import Path

from braggwatch.services.apt.files.apt import read_apt
from braggwatch.services.apt.files.error import AptFileError
from braggwatch.services.apt.files.pos import read_records
from braggwatch.sim.apt.model import IonCloud

READERS = {".pos": read_records, ".epos": read_records, ".apt": read_apt}


def read_ions(path: Path) -> IonCloud:
    """Read a reconstruction; the ending of the name tells the format.

    Raises
    ------
    AptFileError
        If the ending is unknown, or the content isn't what it says.
    OSError
        If the file isn't there or can't be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise AptFileError(f"{path}: a reconstruction ends in {', '.join(READERS)}")
    return reader(path)
