"""Structures from CIF files, of any crystal system."""

from __future__ import annotations

from math import pi
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.sadp.structure import (
    DEFAULT_B_ISO_A2,
    CrystalStructure,
    Site,
    StructureError,
    expand,
    require_gemmi,
)

if TYPE_CHECKING:
    import gemmi

Operation = tuple[NDArray[np.float64], NDArray[np.float64]]


def read_cif(path: Path, default_b_iso_A2: float = DEFAULT_B_ISO_A2) -> CrystalStructure:
    """Read the first structure of a CIF.

    The file's symmetry operations are used if it lists them, otherwise those of its space group.

    Parameters
    ----------
    default_b_iso_A2
        Debye-Waller B of atoms that have neither B nor U.

    Raises
    ------
    ImportError
        If gemmi is not installed.
    StructureError
        If the file is not a CIF, or lacks a valid cell, symmetry or atoms.
    FileNotFoundError
        If the file does not exist.
    """
    require_gemmi()
    import gemmi

    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        # gemmi reports broken syntax as ValueError or RuntimeError, and the file may have encoding errors
        small = gemmi.read_small_structure(str(path))
        operations = _operations(small, path.name)
    except (ValueError, RuntimeError, IndexError) as error:
        if isinstance(error, StructureError):
            raise
        raise StructureError(f"{path.name} is not a readable CIF: {' '.join(str(error).split())}") from error
    cell = small.cell
    if cell.volume < 1.0 or cell.a <= 1.0:
        raise StructureError(f"{path.name}: no unit cell (_cell_length_a and so on)")
    sites = [_site(site, path.name, default_b_iso_A2) for site in small.sites]
    # gemmi's orthogonalisation has a, b and c in its columns
    cell_A = np.array(cell.orth.mat.tolist(), dtype=np.float64).T
    group = cast("gemmi.SpaceGroup | None", small.spacegroup)  # gemmi's stubs omit the None
    return expand(
        path.stem,
        sites,
        cell_A,
        operations,
        space_group=0 if group is None else int(group.number),
        source=path.name,
    )


def group_operations(name: str) -> list[Operation]:
    """Return the operations of a space group by its Hermann-Mauguin name, e.g. 'F d -3 m:2', centring included.

    Raises
    ------
    StructureError
        If there is no such group.
    """
    require_gemmi()
    import gemmi

    group = cast("gemmi.SpaceGroup | None", gemmi.find_spacegroup_by_name(name))
    if group is None:
        raise StructureError(f"no space group is called {name!r}")
    return [_operation(op) for op in group.operations()]


def _operations(small: gemmi.SmallStructure, name: str) -> list[Operation]:
    import gemmi

    if len(small.symops) > 1:
        return [_operation(gemmi.Op(text)) for text in small.symops]
    group = cast("gemmi.SpaceGroup | None", small.spacegroup)
    if group is None:
        raise StructureError(f"{name}: neither symmetry operations nor a known space group")
    return [_operation(op) for op in group.operations()]


def _operation(op: gemmi.Op) -> Operation:
    denominator = float(op.DEN)
    rotation = np.array(op.rot, dtype=np.float64) / denominator
    return rotation, np.array(op.tran, dtype=np.float64) / denominator


def _site(site: gemmi.SmallStructure.Site, name: str, default_b_iso_A2: float) -> Site:
    element = site.element.name
    place = (site.fract.x, site.fract.y, site.fract.z)
    if element == "X" or not np.isfinite(place).all():
        raise StructureError(f"{name}: atom {site.label!r} has no known element or no position")
    b_iso = 8 * pi**2 * site.u_iso
    return Site(
        element=element,
        position=place,
        occupancy=float(site.occ),
        b_iso_A2=float(b_iso) if b_iso > 0 else default_b_iso_A2,
    )
