"""How strongly lattice planes, and their order, modulate a spatial distribution map: numbers that need no network.

Each ion gets a charge of its species that sums to nothing: 1 - c for solute, -c for host, c being the solute's part of
the cube. With planes of spacing d across z, one and the same charge on every second plane adds up in the sum over pairs
of charge · charge · cos(π dz / d), and only there: that sum is the squared structure factor of the superlattice
reflection, windowed (for all pairs it would be equation 3.4 of Warren, X-ray Diffraction, 1969).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.sdm_input import PAIRS, SdmInput
from braggwatch.sim.errors import InputError


def plane_modulation(
    maps: NDArray[np.float32], sdm: SdmInput
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return superlattice and plane amplitude of maps, and the pairs that they rest on.

    Parameters
    ----------
    maps
        (B, 3, bins_z, bins_x) counts of the pairs host-host, solute-solute, host-solute.

    Returns
    -------
    superlattice
        (B,) float32: sum of charge · charge · cos(π dz / d) over pairs, each species' part divided out; 0 without
        order, 1/3 for sharp planes of stoichiometric L1₂.
    planes
        (B,) float32: mean of cos(2π dz / d) over the pairs of the host; 1 for sharp planes.
    pairs
        (B,) float32: log of 1 + the number of pairs.

    Raises
    ------
    InputError
        If the maps are of other pairs.
    """
    if sdm.pairs != PAIRS:
        raise InputError(f"modulation needs the pairs {PAIRS}, not {sdm.pairs}")
    step = 2 * sdm.half_z_nm / sdm.bins_z
    z = (np.arange(sdm.bins_z) + 0.5) * step - sdm.half_z_nm
    turn = np.pi * z / sdm.plane_spacing_nm
    waves = np.stack([np.ones_like(z), np.cos(turn), np.cos(2 * turn)], axis=1).astype(np.float32)
    sums = maps.sum(axis=3) @ waves
    host, solute, mixed = sums[:, 0], sums[:, 1], sums[:, 2]
    # pairs of host and solute are counted from the host alone, so count twice
    total = host[:, 0] + solute[:, 0] + 2 * mixed[:, 0]
    c = (solute[:, 0] + mixed[:, 0]) / np.maximum(total, 1)
    charged = (1 - c) ** 2 * solute[:, 1] + c**2 * host[:, 1] - 2 * c * (1 - c) * mixed[:, 1]
    superlattice = charged / np.maximum(c * (1 - c) * total, 1)
    planes = host[:, 2] / np.maximum(host[:, 0], 1)
    return superlattice.astype(np.float32), planes.astype(np.float32), np.log1p(total).astype(np.float32)


def half_order_amplitude(maps: NDArray[np.float32], sdm: SdmInput) -> NDArray[np.float32]:
    """Return how strongly every second plane stands out in the host's own map, in units of its shot noise.

    The sum over dx is fitted with a smooth even background (to the fourth power of dz), the planes' cos(2π dz / d) and
    order's cos(π dz / d), both with the overtones that sharp planes have; the amplitude of cos(π dz / d) is divided by
    the root of the number of pairs.

    Parameters
    ----------
    maps
        (N, bins_z, bins_x) counts of the pair host-host.

    Returns
    -------
    (N,) float32, about 0 without order; 0 for a map without counts.
    """
    step = 2 * sdm.half_z_nm / sdm.bins_z
    z = (np.arange(sdm.bins_z) + 0.5) * step - sdm.half_z_nm
    turn = np.pi * z / sdm.plane_spacing_nm
    waves = [np.cos(overtone * turn) for overtone in (6, 5, 4, 3, 2, 1)]
    basis = np.stack([np.ones_like(z), z**2, z**4, *waves], axis=1)
    profile = maps.sum(axis=2, dtype=np.float64)
    fitted = np.linalg.lstsq(basis, profile.T, rcond=None)[0]
    return (fitted[-1] / np.sqrt(np.maximum(profile.sum(axis=1), 1))).astype(np.float32)
