"""Labelled maps of a simulated library, counted as a bundle needs them, and the bundle's classification of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.sdm_input import HOST, SOLUTE, SdmInput
from braggwatch.models.runtimes.base import Runtime
from braggwatch.sim.apt.alloys import load_alloy
from braggwatch.sim.apt.library import WINDOWS, LibrarySpec, make_sample
from braggwatch.sim.errors import InputError

_BATCH = 64


@dataclass(frozen=True, slots=True)
class JudgedMaps:
    """A bundle's classification of maps of whole cubes.

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
        """(N,) bool: classified as L1₂."""
        return self.log_odds > 0


def counted_for(spec: LibrarySpec, sdm: SdmInput) -> LibrarySpec:
    """Return a library of the same cube centres and crystals, with maps counted as a network needs them.

    Raises
    ------
    InputError
        If the network's window is not one of the named windows.
    """
    window = next((name for name, window in WINDOWS.items() if window == sdm.window), None)
    if window is None:
        raise InputError(f"no library has the window {sdm.window}")
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
    """Simulate maps (N, pairs, bins_z, bins_x) and labels (N,), True for L1₂; the crystals don't depend on ``sdm``."""
    counted = counted_for(spec, sdm)
    samples = [make_sample(counted, seed, number) for number in numbers]
    return np.stack([sample.maps for sample in samples]), np.array([sample.ordered > 0.5 for sample in samples])


def judge_maps(
    runtime: Runtime, temperature: float, maps: NDArray[np.float32], ordered: NDArray[np.bool_]
) -> JudgedMaps:
    """Classify maps with a bundle's runtime."""
    logits = np.concatenate([runtime.run(maps[at : at + _BATCH]).logits for at in range(0, len(maps), _BATCH)])
    return JudgedMaps(((logits[:, 1] - logits[:, 0]) / temperature).astype(np.float32), ordered)
