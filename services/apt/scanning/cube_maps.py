"""Count the maps of one cube of a reconstruction as network input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.apt.level import fit_levelling
from braggwatch.callbacks.apt.pole import map_planes, require_planes
from braggwatch.models.apt.channels import as_host_and_solute, chosen_elements
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.apt.scan import scan_sdm
from braggwatch.sim.errors import InputError


def cube_maps(
    ions: LabelledIons,
    sdm: SdmInput,
    at_nm: tuple[float, float, float],
    host: str | None = None,
    solute: str | None = None,
) -> NDArray[np.float32]:
    """Count the maps of the cube around a point.

    Parameters
    ----------
    ions
        Ranged ions as read; they are levelled first, as for a scan.
    at_nm
        Centre of the cube, nm, in the data's coordinates.
    host, solute
        Elements; None: the most and the second most abundant.

    Returns
    -------
    (pairs, bins_z, bins_x) float32 counts.

    Raises
    ------
    UnresolvedPlanesError
        If the data don't resolve lattice planes.
    InputError
        If an element is absent, or the cube contains no pair of ions.
    """
    host, solute = chosen_elements(ions, host, solute)
    level = fit_levelling(require_planes(map_planes(ions.positions_nm)), sdm.plane_spacing_nm)
    flat = LabelledIons(level.apply(ions.positions_nm), ions.species, ions.names)
    middle = level.apply(np.array([at_nm], dtype=np.float32))[0].astype(np.float64)
    half = sdm.cube_voxels * sdm.voxel_nm / 2
    corner = (float(middle[0] - half), float(middle[1] - half), float(middle[2] - half))
    k = sdm.cube_voxels
    grid = VoxelGrid(corner, (k, k, k), sdm.voxel_nm)
    maps = scan_sdm(as_host_and_solute(flat, host, solute), sdm.pairs, sdm.scan_settings(), grid=grid).maps[0, 0, 0]
    if maps.max(initial=0) <= 0:
        raise InputError(f"the cube of {2 * half:g} nm around {at_nm} contains no pair of ions: is it inside the data?")
    return maps
