"""What makes a bundle one for the order of atom probe data, and what its network looks at."""

from __future__ import annotations

from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.bundling.bundle import Bundle, BundleError

TASK = "apt-order"


def sdm_input_of(bundle: Bundle) -> SdmInput:
    """Return how a bundle's maps are counted.

    Raises
    ------
    BundleError
        If it is of another task, or takes no spatial distribution maps.
    """
    sdm = bundle.manifest.input.sdm
    if bundle.manifest.task != TASK or sdm is None:
        raise BundleError(
            f"{bundle.manifest.id} takes no spatial distribution maps: choose a bundle of 'braggwatch apt train'"
        )
    return sdm
