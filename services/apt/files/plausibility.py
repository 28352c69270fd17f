"""Check that positions and masses are plausible for an atom probe reconstruction."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from braggwatch.services.apt.files.error import AptFileError
from braggwatch.sim.apt.model import IonCloud

logger = logging.getLogger(__name__)

PLAUSIBLE_POSITION_NM = 1e5
PLAUSIBLE_MASS_DA = 2000.0
_LARGEST_ABSURD_SHARE = 0.01


def check_plausible(cloud: IonCloud, path: Path) -> IonCloud:
    """Return the ions unchanged if they are plausible.

    Up to 1 % of mass-to-charge ratios outside 0 to 2000 Da only give a warning: they lie in no range.

    Raises
    ------
    AptFileError
        If there are no ions, a number isn't finite, positions reach 0.1 mm or all coincide, or more masses are outside.
    """
    if len(cloud) == 0:
        raise AptFileError(f"{path} contains no ions: export it again")
    not_finite = ~np.isfinite(cloud.positions_nm).all(axis=1) | ~np.isfinite(cloud.mass_to_charge_Da)
    if not_finite.any():
        raise AptFileError(
            f"{path}: {int(not_finite.sum())} of {len(cloud)} ions have a position or mass that is not finite, the "
            f"first is ion {int(not_finite.argmax())}. Is it a {path.suffix.lower()} file? If so, export it again"
        )
    low, high = cloud.positions_nm.min(axis=0), cloud.positions_nm.max(axis=0)
    if max(abs(float(low.min())), abs(float(high.max()))) >= PLAUSIBLE_POSITION_NM:
        raise AptFileError(
            f"{path}: positions reach {max(abs(float(low.min())), abs(float(high.max()))):.3g} nm. They must be "
            "nanometres; is the file damaged or in other units?"
        )
    if len(cloud) > 1 and float((high - low).max()) == 0.0:
        raise AptFileError(f"{path}: all {len(cloud)} ions are at the same position: this is not a reconstruction")
    absurd = (cloud.mass_to_charge_Da <= 0) | (cloud.mass_to_charge_Da > PLAUSIBLE_MASS_DA)
    share = float(absurd.mean())
    if share > _LARGEST_ABSURD_SHARE:
        raise AptFileError(
            f"{path}: {share:.1%} of the mass-to-charge ratios lie outside 0 to {PLAUSIBLE_MASS_DA:.0f} Da. Is it a "
            f"{path.suffix.lower()} file with masses in dalton?"
        )
    if share:
        logger.warning("%s: %d ions have an implausible mass and stay unranged", path, int(absurd.sum()))
    return cloud
