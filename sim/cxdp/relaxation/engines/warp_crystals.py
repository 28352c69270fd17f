"""Several crystals on one Warp device: their atoms' positions, energies, forces and motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.engines import eam_kernels as kernels
from braggwatch.sim.cxdp.relaxation.engines import motion_kernels as motion
from braggwatch.sim.cxdp.relaxation.engines.fire import FireMove
from braggwatch.sim.cxdp.relaxation.engines.neighbours import NeighbourList, lay_out_grids, spatial_order
from braggwatch.sim.cxdp.relaxation.potentials.eam_spline import EamSpline
from braggwatch.sim.warp.warp_arrays import WarpArray, WarpStruct, ints, vectors, zeros

_GROUP = 64
_ATOMS_PER_A3 = 0.09  # denser than any fcc metal: an upper estimate of the number of neighbours


@dataclass(frozen=True, slots=True)
class Measured:
    """Sums over each crystal, each (B,) float64; undefined for crystals that aren't active.

    ``power``, ``v2``, ``f2``: Σ F·v, Σ v², Σ F² over free atoms; ``energy_eV`` over all; largest forces in eV/Å.
    """

    power: NDArray[np.float64]
    v2: NDArray[np.float64]
    f2: NDArray[np.float64]
    energy_eV: NDArray[np.float64]
    max_free_force_eV_A: NDArray[np.float64]
    max_force_eV_A: NDArray[np.float64]


class _Groups:
    """A tree over atoms: groups of up to 64 of one crystal, groups of groups, up to one per crystal."""

    def __init__(self, sizes: NDArray[np.int64], device: wp.Device, *, interleaved: bool) -> None:
        self.levels: list[list[WarpArray]] = []
        while not self.levels or sizes.max() > 1:
            groups = -(-sizes // _GROUP)
            starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            rank = np.concatenate([np.arange(n) for n in groups])
            start, size, many = (np.repeat(a, groups) for a in (starts, sizes, groups))
            if interleaved:  # neighbouring threads read neighbouring elements
                first, count, stride = start + rank, -(-(size - rank) // many), many
            else:
                first, count = start + rank * _GROUP, np.minimum(size - rank * _GROUP, _GROUP)
                stride = np.ones_like(many)
            self.levels.append([ints(a, device) for a in (first, count, stride)])
            sizes = groups


class WarpCrystals:
    """Atoms of B crystals, sorted in space within each crystal while on the device."""

    def __init__(
        self,
        positions_A: Sequence[NDArray[np.float64]],
        shells: Sequence[NDArray[np.bool_]] | None,
        spline: EamSpline,
        *,
        skin_A: float,
        device: wp.Device,
        for_many_threads: bool | None = None,
    ) -> None:
        """Copy the crystals to the device.

        Parameters
        ----------
        positions_A
            (N, 3) of each crystal.
        shells
            (N,) bool of each crystal: the atoms that `set_flags` can hold.
        skin_A
            Distance beyond the cutoff up to which pairs are listed.
        for_many_threads
            Full lists without atomic additions, neighbouring threads on neighbouring memory; None: on CUDA only.

        Raises
        ------
        ValueError
            If atoms coincide, or there are too many for one launch.
        """
        reach = spline.cutoff_A + skin_A
        many = device.is_cuda if for_many_threads is None else for_many_threads
        self._device = device
        self._skin_A = skin_A
        self._orders = [spatial_order(p, reach) for p in positions_A]
        sizes = np.asarray([len(p) for p in positions_A], dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(sizes)])
        self._atoms = int(self._first[-1])
        crystals = len(sizes)

        self._crystal = ints(np.repeat(np.arange(crystals), sizes), device)
        self._x = wp.array(
            np.concatenate([p[o] for p, o in zip(positions_A, self._orders, strict=True)]),
            dtype=wp.vec3d,
            device=device,
        )
        held = (
            np.zeros(self._atoms)
            if shells is None
            else np.concatenate([s[o] for s, o in zip(shells, self._orders, strict=True)])
        )
        self._shell = ints(held, device)
        self._active = ints(np.ones(crystals), device)
        self._clamped = zeros(crystals, wp.int32, device)
        self._v, self._force = (zeros(self._atoms, wp.vec3d, device) for _ in range(2))
        self._density, self._slope, self._energy = (zeros(self._atoms, wp.float64, device) for _ in range(3))
        self._tables = _tables(spline, device)
        self._groups = _Groups(sizes, device, interleaved=many)
        counts = [len(level[0]) for level in self._groups.levels]
        self._sums = [zeros(n, motion.Measures, device) for n in counts]
        self._moved2 = [zeros(n, wp.float64, device) for n in counts]
        self._list = NeighbourList(
            lay_out_grids(positions_A, reach),
            self._crystal,
            reach,
            int(_ATOMS_PER_A3 * 4.19 * reach**3),
            half=not many,
            interleaved=many,
            device=device,
        )
        self._list.rebuild(self._x)

    def set_flags(self, active: NDArray[np.bool_], clamped: NDArray[np.bool_]) -> None:
        """Set which crystals are active and which of them hold their shells, each (B,) bool."""
        self._active.assign(active.astype(np.int32))
        self._clamped.assign(clamped.astype(np.int32))

    def evaluate(self) -> None:
        """Compute the energies and forces of the active crystals' atoms."""
        pairs, n = self._list.pairs, self._atoms
        self._density.zero_()
        common = [self._x, self._crystal, self._active, pairs, self._tables]
        wp.launch(kernels.sum_density, n, [*common, self._density], device=self._device)
        outputs = [self._slope, self._energy, self._force]
        inputs = [self._crystal, self._active, self._tables, self._density, *outputs]
        wp.launch(kernels.embed, n, inputs, device=self._device)
        wp.launch(kernels.sum_forces, n, [*common, *outputs], device=self._device)

    def measure(self) -> Measured:
        """Sum over each crystal after `evaluate`."""
        leaves, *levels = self._groups.levels
        inputs = [*leaves, self._crystal, self._active, self._clamped, self._shell]
        inputs += [self._v, self._force, self._energy, self._sums[0]]
        wp.launch(motion.measure, len(self._sums[0]), inputs, device=self._device)
        for k, level in enumerate(levels):
            wp.launch(
                motion.combine_measures,
                len(self._sums[k + 1]),
                [*level, self._sums[k], self._sums[k + 1]],
                device=self._device,
            )
        power, v2, f2, energy, free, everyone = self._sums[-1].numpy().T.copy()
        return Measured(power, v2, f2, energy, np.sqrt(free), np.sqrt(everyone))

    def move(self, how: FireMove, longest_step_A: float) -> None:
        """Move the active crystals' free atoms; pairs are listed again if an atom has moved by half the skin.

        Raises
        ------
        ValueError
            If atoms coincide after the move.
        """
        leaves, *levels = self._groups.levels
        coefficients = vectors(how.stacked(), self._device)
        inputs = [*leaves, self._crystal, self._active, self._clamped, self._shell, coefficients, longest_step_A]
        inputs += [self._force, self._list.x_listed, self._x, self._v, self._moved2[0]]
        wp.launch(motion.move, len(self._moved2[0]), inputs, device=self._device)
        for k, level in enumerate(levels):
            wp.launch(
                motion.combine_moved,
                len(self._moved2[k + 1]),
                [*level, self._moved2[k], self._moved2[k + 1]],
                device=self._device,
            )
        wanted = self._moved2[-1].numpy() > (0.5 * self._skin_A) ** 2
        if wanted.any():
            self._list.rebuild(self._x, ints(wanted, self._device))

    def positions_A(self, crystal: int) -> NDArray[np.float64]:
        """Return the positions of one crystal, (N, 3) Å, atoms in their original order."""
        return self._restored(self._x, crystal)

    def forces_eV_A(self, crystal: int) -> NDArray[np.float64]:
        """Return the forces of one crystal, (N, 3) eV/Å, from the last `evaluate`."""
        return self._restored(self._force, crystal)

    def energies_eV(self, crystal: int) -> NDArray[np.float64]:
        """Return the energies of one crystal's atoms, (N,) eV, from the last `evaluate`."""
        return self._restored(self._energy, crystal)

    def _restored(self, values: WarpArray, crystal: int) -> NDArray[np.float64]:
        sorted_values = values[int(self._first[crystal]) : int(self._first[crystal + 1])].numpy()
        restored = np.empty_like(sorted_values)
        restored[self._orders[crystal]] = sorted_values
        return restored


def _tables(spline: EamSpline, device: wp.Device) -> WarpStruct:
    tables: WarpStruct = kernels.Tables()
    tables.density = vectors(spline.density, device)
    tables.pair = vectors(spline.pair, device)
    tables.embedding = vectors(spline.embedding, device)
    tables.inverse_distance_step = 1.0 / spline.distance_step_A
    tables.inverse_density_step = 1.0 / spline.density_step
    tables.cutoff2 = spline.cutoff_A**2
    return tables
