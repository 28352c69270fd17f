"""Range a reconstruction's ions with a range file, and check that the two belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from braggwatch.services.apt.files.error import AptFileError
from braggwatch.services.apt.files.ranges import read_ranges
from braggwatch.services.apt.files.reconstruction import read_ions
from braggwatch.sim.apt.model import UNRANGED, IonCloud, LabelledIons, MassRange, label_ions

_LEAST_RANGED = 0.1


@dataclass(frozen=True, slots=True)
class RangedShare:
    """Number of ions of each species.

    Attributes
    ----------
    ions
        Number of all ions in the reconstruction.
    by_name
        Ions of each species, in the order of the range file.
    """

    ions: int
    by_name: dict[str, int]

    @property
    def ranged(self) -> float:
        """Fraction of the ions that lie in a range."""
        return sum(self.by_name.values()) / self.ions

    @classmethod
    def of(cls, ions: LabelledIons) -> RangedShare:
        """Count them."""
        counts = np.bincount(ions.species, minlength=UNRANGED + 1)
        return cls(len(ions), {name: int(counts[n]) for n, name in enumerate(ions.names)})


def label_checked(cloud: IonCloud, ranges: Sequence[MassRange], *, least_ranged: float = _LEAST_RANGED) -> LabelledIons:
    """Assign species to the ions and check that the ranges fit them.

    Raises
    ------
    AptFileError
        If less than ``least_ranged`` of the ions lie in a range.
    """
    ions = label_ions(cloud, ranges)
    share = RangedShare.of(ions)
    if share.ranged < least_ranged:
        masses = np.percentile(cloud.mass_to_charge_Da, (5, 95))
        raise AptFileError(
            f"only {share.ranged:.1%} of the ions lie in a range; the file's masses go from {masses[0]:.1f} to "
            f"{masses[1]:.1f} Da (5th to 95th percentile), the ranges from {min(r.low_Da for r in ranges):.1f} to "
            f"{max(r.high_Da for r in ranges):.1f} Da. Is it the range file of this reconstruction?"
        )
    return ions


def read_labelled(reconstruction: Path, ranges: Path) -> LabelledIons:
    """Read a reconstruction and its ranges; errors as `read_ions`, `read_ranges` and `label_checked`."""
    found = read_ranges(ranges)
    return label_checked(read_ions(reconstruction), found)
