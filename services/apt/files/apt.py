"""Read ``.apt``, the sectioned format of AP Suite 6, with the FAIRmat library."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from braggwatch.services.apt.files.error import AptFileError
from braggwatch.services.apt.files.plausibility import check_plausible
from braggwatch.sim.apt.model import IonCloud
from braggwatch.sim.errors import MissingPackageError

_LIBRARY_LOG = "ifes-apt-tc-data-modeling"


def read_apt(path: Path) -> IonCloud:
    """Read positions and mass-to-charge ratios of an ``.apt`` file.

    Raises
    ------
    AptFileError
        If it is not such a file, is truncated, or lacks the sections ``Position`` and ``Mass``.
    MissingPackageError
        If the library isn't installed.
    OSError
        If the file can't be read.
    """
    if path.stat().st_size == 0:
        raise AptFileError(f"{path} is empty: export or copy it again")
    with _quiet_library():
        try:
            from ifes_apt_tc_data_modeling.apt.apt6_reader import ReadAptFileFormat
        except ImportError as error:
            raise MissingPackageError("reading .apt needs the extra [apt]: pip install 'braggwatch[apt]'") from error
        try:
            reader = ReadAptFileFormat(str(path))
            position, mass = reader.get_reconstructed_positions(), reader.get_mass_to_charge_state_ratio()
        except (TypeError, ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError, MemoryError) as error:
            raise AptFileError(
                f"{path} is not an .apt file of AP Suite 6, or is cut short ({error}). Copy it again, or export .pos"
            ) from error
    if position is None or mass is None:
        raise AptFileError(
            f"{path} lacks {'positions' if position is None else 'masses'}, or is cut short there. Export it with the "
            "reconstruction, or as .pos"
        )
    cloud = IonCloud(
        np.ascontiguousarray(position.magnitude, dtype=np.float32).reshape(-1, 3),
        np.ascontiguousarray(mass.magnitude, dtype=np.float32).reshape(-1),
    )
    return check_plausible(cloud, path)


@contextmanager
def _quiet_library() -> Generator[None]:
    """Prevent the library from creating a log file in the current folder on import."""
    root, log = logging.getLogger(), logging.getLogger(_LIBRARY_LOG)
    # its basicConfig does nothing if there is already a handler
    stand_in = logging.NullHandler()
    root.addHandler(stand_in)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
        root.removeHandler(stand_in)
