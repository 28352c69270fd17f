"""Other shares of the classes than those of the calibration: probabilities weighted by what a site expects.

Calibrated probabilities hold where the classes are as common as among the calibration samples. With p_k the calibrated
probability of class k, and the share of k being c_k there and s_k at a site, Bayes' rule gives p_k s_k / c_k,
normalised, as long as patterns of one class look alike in both (Saerens, Latinne and Decaestecker, Neural Computation
14, 21 (2002), eq. 2.4). P-values and prediction sets are conditional on the class and know no prior: they stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.manifest import PRIOR_TOLERANCE, Manifest
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class SitePrior:
    """A site's shares of a bundle's classes.

    Attributes
    ----------
    shares
        By class, in the order of the network's outputs; they add up to 1.
    weights
        (K,) float64, by which calibrated probabilities are multiplied.
    """

    shares: dict[str, float]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, shares: Mapping[str, float], manifest: Manifest) -> SitePrior:
        """Check a site's shares against a bundle's classes.

        Raises
        ------
        InputError
            If the bundle doesn't state the shares that it was calibrated with, a class is unknown or left out, or the
            shares aren't positive or don't add up to 1.
        """
        checked = checked_prior(shares)
        if manifest.prior is None:
            raise InputError(
                f"the bundle {manifest.id} doesn't state the prior that it was calibrated with, so it takes no other: "
                "leave screening.prior out"
            )
        known = ", ".join(manifest.classes)
        if unknown := [name for name in checked if name not in manifest.classes]:
            raise InputError(f"prior: {', '.join(unknown)} is no class of {manifest.id}; its classes are {known}")
        if absent := [name for name in manifest.classes if name not in checked]:
            raise InputError(f"prior: no share is given for {', '.join(absent)}; {manifest.id} has the classes {known}")
        ordered = {name: checked[name] for name in manifest.classes}
        calibrated = manifest.prior
        return cls(ordered, np.array([share / calibrated[name] for name, share in ordered.items()]))

    def applied(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities, (..., K), weighted and normalised."""
        weighted = probabilities * self.weights
        return weighted / weighted.sum(axis=-1, keepdims=True)


def checked_prior(shares: Mapping[str, float]) -> dict[str, float]:
    """Return shares that add up to exactly 1.

    Raises
    ------
    InputError
        If one isn't positive, or they don't add up to 1 within a per cent.
    """
    if wrong := [f"{name} = {share}" for name, share in shares.items() if not isfinite(share) or share <= 0.0]:
        raise InputError(f"prior: a share must be above 0, got {', '.join(wrong)}")
    total = sum(shares.values())
    if abs(total - 1.0) > PRIOR_TOLERANCE:
        raise InputError(f"prior: the shares add up to {total:g}, not to 1")
    return {name: share / total for name, share in shares.items()}
