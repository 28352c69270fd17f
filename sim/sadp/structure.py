"""A crystal structure for electron diffraction: cell and all atoms of the cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import gcd

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError, MissingPackageError

DEFAULT_B_ISO_A2 = 0.5
"""Default Debye-Waller B, Å²: typical of hard crystals at room temperature."""
_SAME_PLACE_A = 0.05


class StructureError(BraggwatchError, ValueError):
    """The structure can't be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Site:
    """One site of the asymmetric unit: fractional ``position``, ``occupancy`` and isotropic ``b_iso_A2``."""

    element: str
    position: tuple[float, float, float]
    occupancy: float = 1.0
    b_iso_A2: float = DEFAULT_B_ISO_A2
    wyckoff: str = ""


@dataclass(frozen=True, slots=True)
class CrystalStructure:
    """All atoms of one conventional cell.

    Attributes
    ----------
    id, formula, prototype
        Names; ``prototype`` is '' if not given.
    space_group
        Number of the space group; 0 if unknown.
    cell_A
        (3, 3) rows are a, b and c in Å.
    elements
        Chemical symbols, each once.
    species
        (M,) index of each atom's element in ``elements``.
    positions
        (M, 3) fractional, in [0, 1).
    occupancy, b_iso_A2
        (M,).
    source
        Source of the data.
    """

    id: str
    formula: str
    prototype: str
    space_group: int
    cell_A: NDArray[np.float64]
    elements: tuple[str, ...]
    species: NDArray[np.int64]
    positions: NDArray[np.float64]
    occupancy: NDArray[np.float64]
    b_iso_A2: NDArray[np.float64]
    source: str = ""

    @property
    def volume_A3(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.cell_A)))

    @property
    def reciprocal_inv_A(self) -> NDArray[np.float64]:
        """(3, 3): rows are a*, b* and c* in 1/Å, without 2π."""
        return np.asarray(np.linalg.inv(self.cell_A).T, dtype=np.float64)


def require_gemmi() -> None:
    """Check that gemmi is installed.

    Raises
    ------
    MissingPackageError
        If it isn't; the message says how to install it.
    """
    if find_spec("gemmi") is None:
        raise MissingPackageError("electron diffraction needs gemmi: pip install 'braggwatch[sadp]'")


def expand(
    identity: str,
    sites: Sequence[Site],
    cell_A: NDArray[np.float64],
    operations: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    prototype: str = "",
    space_group: int = 0,
    source: str = "",
) -> CrystalStructure:
    """Fill the cell from the asymmetric unit.

    Parameters
    ----------
    operations
        Rotations (3, 3) and translations (3,) on fractional coordinates, centring included.

    Raises
    ------
    StructureError
        If there are no sites, an element is unknown, an occupancy is outside 0 to 1, or the occupancies at one position
        add up to more than 1.
    """
    if not sites:
        raise StructureError(f"{identity}: no atom sites")
    elements = tuple(sorted({site.element for site in sites}))
    places: list[NDArray[np.float64]] = []
    species: list[int] = []
    occupancy: list[float] = []
    b_iso: list[float] = []
    for site in sites:
        if not 0 < site.occupancy <= 1 + 1e-3:
            raise StructureError(f"{identity}: occupancy {site.occupancy:g} of {site.element} is not between 0 and 1")
        orbit = _orbit(np.asarray(site.position, dtype=np.float64), cell_A, operations)
        places.append(orbit)
        species += [elements.index(site.element)] * len(orbit)
        occupancy += [site.occupancy] * len(orbit)
        b_iso += [site.b_iso_A2] * len(orbit)
    positions = np.concatenate(places)
    filled = np.asarray(occupancy)
    _check_occupancies(identity, positions, filled, cell_A)
    kinds = np.asarray(species)
    amounts = [float(filled[kinds == i].sum()) for i in range(len(elements))]
    return CrystalStructure(
        id=identity,
        formula=_formula(elements, amounts),
        prototype=prototype,
        space_group=space_group,
        cell_A=cell_A,
        elements=elements,
        species=kinds,
        positions=positions,
        occupancy=filled,
        b_iso_A2=np.asarray(b_iso),
        source=source,
    )


def _orbit(
    position: NDArray[np.float64],
    cell_A: NDArray[np.float64],
    operations: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    images = np.array([rotation @ position + shift for rotation, shift in operations])
    images -= np.floor(images)
    distinct: list[NDArray[np.float64]] = []
    for image in images:
        if not distinct or np.min(_distances_A(image, np.array(distinct), cell_A)) > _SAME_PLACE_A:
            distinct.append(image)
    return np.array(distinct)


def _distances_A(
    point: NDArray[np.float64], others: NDArray[np.float64], cell_A: NDArray[np.float64]
) -> NDArray[np.float64]:
    apart = others - point
    apart -= np.round(apart)
    return np.linalg.norm(apart @ cell_A, axis=1)


def _check_occupancies(
    identity: str, positions: NDArray[np.float64], occupancy: NDArray[np.float64], cell_A: NDArray[np.float64]
) -> None:
    for place in positions:
        if occupancy[_distances_A(place, positions, cell_A) < _SAME_PLACE_A].sum() > 1.01:
            at = ", ".join(f"{x:.3f}" for x in place)
            raise StructureError(f"{identity}: atoms overlap at ({at}): wrong symmetry or occupancies")


def _formula(elements: tuple[str, ...], amounts: list[float]) -> str:
    integers = [round(amount) for amount in amounts]
    if min(integers) > 0 and all(abs(a - n) < 1e-3 for a, n in zip(amounts, integers, strict=True)):
        divisor = gcd(*integers)
        counts = [f"{n // divisor}" for n in integers]
    else:
        counts = [f"{amount / min(amounts):.3g}" for amount in amounts]
    return "".join(e if c == "1" else e + c for e, c in zip(elements, counts, strict=True))
