"""Warp kernels of the relaxation: one source for CPU and CUDA, float64, several crystals in one launch.

A pair list is half (each pair is stored for one of its atoms, which adds to both) or full (stored for both, each adds
to itself). Half does half the work and suits one core; full needs no atomic additions, so that results on CUDA are
bitwise reproducible.

Slot k of atom i is at ``i * atom_stride + k * slot_stride``: an atom's slots side by side for a core's cache, all
atoms' k-th slots side by side for the GPU's coalesced loads.
"""

# Warp compiles these functions and never runs them as Python: their types are Warp's, checked when it compiles.
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportInvalidTypeForm=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import warp as wp


@wp.struct
class PairList:
    """Neighbour lists of all atoms."""

    neighbours: wp.array[wp.int32]
    counts: wp.array[wp.int32]
    atom_stride: wp.int32
    slot_stride: wp.int32
    half: wp.int32


@wp.struct
class Tables:
    """Cubic coefficients of a potential, see `braggwatch.sim.cxdp.relaxation.potentials.eam_spline`."""

    density: wp.array[wp.vec4d]
    pair: wp.array[wp.vec4d]
    embedding: wp.array[wp.vec4d]
    inverse_distance_step: wp.float64
    inverse_density_step: wp.float64
    cutoff2: wp.float64


@wp.kernel(enable_backward=False)
def sum_density(
    x: wp.array[wp.vec3d],
    crystal: wp.array[wp.int32],
    active: wp.array[wp.int32],
    pairs: PairList,
    tables: Tables,
    density: wp.array[wp.float64],
):
    """Add f(r) of each pair to the atoms' densities, which start at 0."""
    i = wp.tid()
    if active[crystal[i]] == 0:
        return
    last = tables.density.shape[0] - 1
    xi = x[i]
    total = wp.float64(0.0)
    slot = i * pairs.atom_stride
    for _ in range(pairs.counts[i]):
        j = pairs.neighbours[slot]
        slot += pairs.slot_stride
        d = x[j] - xi
        r2 = wp.dot(d, d)
        if r2 < tables.cutoff2:
            s = wp.sqrt(r2) * tables.inverse_distance_step
            m = wp.min(wp.int32(s), last)
            p = wp.min(s - wp.float64(m), wp.float64(1.0))
            c = tables.density[m]
            f = ((c[0] * p + c[1]) * p + c[2]) * p + c[3]
            total += f
            if pairs.half != 0:
                wp.atomic_add(density, j, f)
    wp.atomic_add(density, i, total)


@wp.kernel(enable_backward=False)
def embed(
    crystal: wp.array[wp.int32],
    active: wp.array[wp.int32],
    tables: Tables,
    density: wp.array[wp.float64],
    slope: wp.array[wp.float64],
    energy: wp.array[wp.float64],
    force: wp.array[wp.vec3d],
):
    """Set the atom's energy to F(ρ), its F'(ρ), its force to 0. Beyond the table F continues with its last slope."""
    i = wp.tid()
    if active[crystal[i]] == 0:
        return
    last = tables.embedding.shape[0] - 1
    s = density[i] * tables.inverse_density_step
    m = wp.clamp(wp.int32(s), 0, last)
    beyond = s - wp.float64(m)
    p = wp.min(beyond, wp.float64(1.0))
    c = tables.embedding[m]
    derivative = (wp.float64(3.0) * c[0] * p + wp.float64(2.0) * c[1]) * p + c[2]
    energy[i] = ((c[0] * p + c[1]) * p + c[2]) * p + c[3] + derivative * (beyond - p)
    slope[i] = derivative * tables.inverse_density_step
    force[i] = wp.vec3d()


@wp.kernel(enable_backward=False)
def sum_forces(
    x: wp.array[wp.vec3d],
    crystal: wp.array[wp.int32],
    active: wp.array[wp.int32],
    pairs: PairList,
    tables: Tables,
    slope: wp.array[wp.float64],
    energy: wp.array[wp.float64],
    force: wp.array[wp.vec3d],
):
    """Add each pair's force, and half of its energy to each atom."""
    i = wp.tid()
    if active[crystal[i]] == 0:
        return
    last = tables.pair.shape[0] - 1
    xi = x[i]
    slope_i = slope[i]
    total = wp.vec3d()
    pair_energy = wp.float64(0.0)
    slot = i * pairs.atom_stride
    for _ in range(pairs.counts[i]):
        j = pairs.neighbours[slot]
        slot += pairs.slot_stride
        d = x[j] - xi
        r2 = wp.dot(d, d)
        if r2 < tables.cutoff2:
            r = wp.sqrt(r2)
            s = r * tables.inverse_distance_step
            m = wp.min(wp.int32(s), last)
            p = wp.min(s - wp.float64(m), wp.float64(1.0))
            c = tables.density[m]
            z = tables.pair[m]
            f1 = (wp.float64(3.0) * c[0] * p + wp.float64(2.0) * c[1]) * p + c[2]
            z1 = (wp.float64(3.0) * z[0] * p + wp.float64(2.0) * z[1]) * p + z[2]
            inverse_r = wp.float64(1.0) / r
            phi = (((z[0] * p + z[1]) * p + z[2]) * p + z[3]) * inverse_r
            derivative = ((slope_i + slope[j]) * f1 + z1 * inverse_r) * tables.inverse_distance_step - phi * inverse_r
            pull = (derivative * inverse_r) * d
            half_phi = wp.float64(0.5) * phi
            total += pull
            pair_energy += half_phi
            if pairs.half != 0:
                wp.atomic_sub(force, j, pull)
                wp.atomic_add(energy, j, half_phi)
    wp.atomic_add(force, i, total)
    wp.atomic_add(energy, i, pair_energy)
