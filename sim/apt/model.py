"""An atom probe reconstruction before and after ranging, and the truth of a simulated one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError

UNRANGED = 255
"""Species of an ion whose mass-to-charge ratio lies in no range."""


@dataclass(frozen=True, slots=True)
class IonCloud:
    """One reconstruction, as in a ``.pos`` file.

    Attributes
    ----------
    positions_nm
        (N, 3) float32: x, y and z, nm; z along the direction of analysis (depth).
    mass_to_charge_Da
        (N,) float32.
    """

    positions_nm: NDArray[np.float32]
    mass_to_charge_Da: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.positions_nm.ndim != 2 or self.positions_nm.shape[1] != 3:
            raise ValueError(f"positions of shape (N, 3) are needed, not {self.positions_nm.shape}")
        if self.mass_to_charge_Da.shape != self.positions_nm.shape[:1]:
            raise ValueError(
                f"{self.positions_nm.shape[0]} positions, but {self.mass_to_charge_Da.size} mass-to-charge ratios"
            )

    def __len__(self) -> int:
        return self.positions_nm.shape[0]


@dataclass(frozen=True, slots=True)
class LabelledIons:
    """A reconstruction after ranging.

    Attributes
    ----------
    positions_nm
        (N, 3) float32, as in `IonCloud`.
    species
        (N,) uint8: index into ``names``, or `UNRANGED`.
    names
        Element (or molecular ion) of each species, e.g. ``("Al", "Li")``.
    """

    positions_nm: NDArray[np.float32]
    species: NDArray[np.uint8]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.positions_nm.ndim != 2 or self.positions_nm.shape[1] != 3:
            raise ValueError(f"positions of shape (N, 3) are needed, not {self.positions_nm.shape}")
        if self.species.shape != self.positions_nm.shape[:1]:
            raise ValueError(f"{self.positions_nm.shape[0]} positions, but {self.species.size} species")
        if len(self.names) >= UNRANGED:
            raise InputError(f"{len(self.names)} species: at most {UNRANGED - 1} can be told apart")

    def __len__(self) -> int:
        return self.positions_nm.shape[0]

    def index(self, name: str) -> int:
        """Return the species index of an element.

        Raises
        ------
        InputError
            If no range has this element.
        """
        if name not in self.names:
            raise InputError(f"no ions of {name}: the ranges name {', '.join(self.names) or 'nothing'}")
        return self.names.index(name)


@dataclass(frozen=True, slots=True)
class VolumeTruth:
    """The truth of a simulated reconstruction.

    Attributes
    ----------
    precipitate
        (N,) int32: number of the precipitate that the ion comes from, -1 for the matrix. A displaced or background ion
        belongs to the precipitate in which it was placed.
    centres_nm
        (M, 3) float32 centres of the precipitates in the reconstruction, nm.
    radii_nm
        (M,) float32 radii of the precipitates in the material, nm.
    """

    precipitate: NDArray[np.int32]
    centres_nm: NDArray[np.float32]
    radii_nm: NDArray[np.float32]

    @property
    def ordered(self) -> NDArray[np.bool_]:
        """(N,) bool: whether the ion comes from an ordered precipitate."""
        return self.precipitate >= 0


@dataclass(frozen=True, slots=True)
class MassRange:
    """One range of a mass spectrum.

    Attributes
    ----------
    low_Da, high_Da
        The range contains ``low_Da <= m/q < high_Da``.
    name
        Element, e.g. ``Al``.
    volume_nm3
        Atomic volume in nm³, as in ``.rrng`` files.
    color
        Six hexadecimal digits, red, green, blue.
    """

    low_Da: float
    high_Da: float
    name: str
    volume_nm3: float = 0.0
    color: str = "808080"

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_Da < self.high_Da:
            raise InputError(f"{self.name}: a range from {self.low_Da} to {self.high_Da} Da is empty")


def label_ions(cloud: IonCloud, ranges: Sequence[MassRange]) -> LabelledIons:
    """Give each ion the species whose range contains its mass-to-charge ratio.

    Parameters
    ----------
    ranges
        Ranges in any order; several may have the same species. Species are numbered by first appearance.

    Raises
    ------
    InputError
        If two ranges overlap, or if there are none.
    """
    if not ranges:
        raise InputError("no ranges: the ions' species can't be determined")
    names = tuple(dict.fromkeys(r.name for r in ranges))
    ordered = sorted(ranges, key=lambda r: r.low_Da)
    for left, right in pairwise(ordered):
        if right.low_Da < left.high_Da:
            raise InputError(
                f"the ranges of {left.name} ({left.low_Da} to {left.high_Da} Da) and {right.name} "
                f"({right.low_Da} to {right.high_Da} Da) overlap"
            )
    low = np.array([r.low_Da for r in ordered], dtype=np.float32)
    high = np.array([r.high_Da for r in ordered], dtype=np.float32)
    number = np.array([names.index(r.name) for r in ordered], dtype=np.uint8)
    at = np.searchsorted(low, cloud.mass_to_charge_Da, side="right") - 1
    inside = (at >= 0) & (cloud.mass_to_charge_Da < high[np.maximum(at, 0)])
    species = np.where(inside, number[np.maximum(at, 0)], np.uint8(UNRANGED)).astype(np.uint8)
    return LabelledIons(cloud.positions_nm, species, names)
