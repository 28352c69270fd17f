"""Read ``.pos`` and ``.epos``: big-endian records of fixed length, one per ion, without a header.

A ``.pos`` record is x, y, z (nm) and the mass-to-charge ratio (Da) as four 32-bit floats; an ``.epos`` record starts
with the same four, followed by time of flight, voltages, detector position, pulses and multiplicity: 44 bytes.
Source: D. J. Larson et al., Local Electrode Atom Probe Tomography, Springer 2013, appendix A.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.services.apt.files.error import AptFileError
from braggwatch.services.apt.files.plausibility import PLAUSIBLE_MASS_DA, PLAUSIBLE_POSITION_NM, check_plausible
from braggwatch.sim.apt.model import IonCloud

_FLOATS_PER_RECORD = {".pos": 4, ".epos": 11}
_BLOCK = 1 << 20
_LOOKED_AT = 20_000


def read_records(path: Path) -> IonCloud:
    """Read a ``.pos`` or ``.epos`` file.

    Memory use is the result (16 bytes per ion) plus one block: the file is memory-mapped.

    Raises
    ------
    AptFileError
        If the file is empty, truncated, in the other byte order, or not a plausible reconstruction.
    OSError
        If it can't be read.
    """
    kind = path.suffix.lower()
    floats = _FLOATS_PER_RECORD.get(kind)
    if floats is None:
        raise AptFileError(f"{path}: neither .pos nor .epos")
    size, record = path.stat().st_size, 4 * floats
    if size == 0:
        raise AptFileError(f"{path} is empty: export or copy it again")
    if size % record:
        raise AptFileError(
            f"{path} is cut short or not a {kind} file: {size} bytes are {size // record} ions of {record} bytes and "
            f"{size % record} bytes more. Copy it again and compare the sizes"
        )
    rows = np.memmap(path, dtype=">f4", mode="r").reshape(-1, floats)
    step = max(1, len(rows) // _LOOKED_AT)
    _check_byte_order(rows[::step, :4], path)
    positions = np.empty((len(rows), 3), dtype=np.float32)
    mass = np.empty(len(rows), dtype=np.float32)
    for at in range(0, len(rows), _BLOCK):
        block = rows[at : at + _BLOCK]
        positions[at : at + _BLOCK] = block[:, :3]
        mass[at : at + _BLOCK] = block[:, 3]
    return check_plausible(IonCloud(positions, mass), path)


def _sane_share(rows: NDArray[np.float32]) -> float:
    """Return the fraction of (N, 4) records that are plausible for an atom probe."""
    with np.errstate(invalid="ignore"):
        x = np.abs(rows[:, :3])
        sane = np.isfinite(rows).all(axis=1) & (x < PLAUSIBLE_POSITION_NM).all(axis=1)
        # in the wrong byte order typical values become subnormal numbers, which no position or mass is
        sane &= (rows[:, 3] > 1e-3) & (rows[:, 3] < PLAUSIBLE_MASS_DA) & (x.max(axis=1) > 1e-6)
    return float(sane.mean())


def _check_byte_order(sample: NDArray[np.float32], path: Path) -> None:
    with np.errstate(invalid="ignore"):
        as_is = _sane_share(sample.astype(np.float32))
        swapped = _sane_share(np.ascontiguousarray(sample).view("<f4").astype(np.float32))
    if as_is < 0.5 < swapped:
        raise AptFileError(
            f"{path} is little-endian; {path.suffix.lower()} files are big-endian. Write it again with "
            "big-endian 32-bit floats (numpy: array.astype('>f4').tofile)"
        )
