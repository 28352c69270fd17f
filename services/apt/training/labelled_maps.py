"""Labelled maps of a simulated library, counted as a bundle wants them, and what the bundle says of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.sdm_input import HOST, SOLUTE, SdmInput
from braggwatch.models.runtimes.base import Runtime
from braggwatch.sim.apt.alloys import load_alloy
from braggwatch.sim.apt.library import WINDOWS, LibrarySpec, make_sample

_BATCH = 64


@dataclass(frozen=True, slots=True)
class JudgedMaps:
    """What a bundle says of maps of whole cubes.

    Attributes
    ----------
    log_odds
        (N,) float32 of L1₂ against fcc, at the bundle's temperature; above 0 it is called L1₂.
    ordered
        (N,) bool, the truth.
    """

    log_odds: NDArray[np.float32]
    ordered: NDArray[np.bool_]

    @property
    def called_ordered(self) -> NDArray[np.bool_]:
        """Which are called L1₂."""
        return self.log_odds > 0


def counted_for(spec: LibrarySpec, sdm: SdmInput) -> LibrarySpec:
    """Return a library of the same cubes' centres and crystals, its maps counted as a network wants them.

    Raises
    ------
    ValueError
        If the network's window is none of those with a name.
    """
    window = next((name for name, one in WINDOWS.items() if one == sdm.window), None)
    if window is None:
        raise ValueError(f"no library has the window {sdm.window}")
    names = load_alloy(spec.alloy).names
    species = {HOST: names[0], SOLUTE: names[-1]}
    return spec.model_copy(
        update={
            "window": window,
            "pairs": tuple((species[a], species[b]) for a, b in sdm.pairs),
            "cube_voxels": sdm.cube_voxels,
            "voxel_nm": sdm.voxel_nm,
        }
    )


def library_cubes(
    spec: LibrarySpec, sdm: SdmInput, seed: int, numbers: range
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Simulate maps (N, pairs, bins_z, bins_x) and say which are L1₂; parameters are the same for every ``sdm``."""
    counted = counted_for(spec, sdm)
    made = [make_sample(counted, seed, number) for number in numbers]
    return np.stack([one.maps for one in made]), np.array([one.ordered > 0.5 for one in made])


def judge_maps(
    runtime: Runtime, temperature: float, maps: NDArray[np.float32], ordered: NDArray[np.bool_]
) -> JudgedMaps:
    """Ask a bundle's runtime about maps."""
    logits = np.concatenate([runtime.run(maps[at : at + _BATCH]).logits for at in range(0, len(maps), _BATCH)])
    return JudgedMaps(((logits[:, 1] - logits[:, 0]) / temperature).astype(np.float32), ordered)
