"""Warp kernels that sum energies and forces over crystals and move their atoms, by groups of atoms, then of groups.

A group's elements are ``first + k * stride``. Sums over a tree of groups depend on the crystal alone: they are bitwise
identical whatever else is in the launch.
"""

# Warp compiles these functions and never runs them as Python: their types are Warp's, checked when it compiles.
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportInvalidTypeForm=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import warp as wp

Measures = wp.types.vector(length=6, dtype=wp.float64)
"""P = Σ F·v, Σ v², Σ F², Σ energy, largest F² among the free atoms, largest F² among all."""


@wp.kernel(enable_backward=False)
def measure(
    first: wp.array[wp.int32],
    count: wp.array[wp.int32],
    stride: wp.array[wp.int32],
    crystal: wp.array[wp.int32],
    active: wp.array[wp.int32],
    clamped: wp.array[wp.int32],
    shell: wp.array[wp.int32],
    v: wp.array[wp.vec3d],
    force: wp.array[wp.vec3d],
    energy: wp.array[wp.float64],
    out: wp.array[Measures],
):
    """Compute the `Measures` of one group of atoms of one crystal."""
    group = wp.tid()
    i = first[group]
    c = crystal[i]
    if active[c] == 0:
        return
    power = wp.float64(0.0)
    v2 = wp.float64(0.0)
    f2 = wp.float64(0.0)
    total = wp.float64(0.0)
    most_free = wp.float64(0.0)
    most = wp.float64(0.0)
    for _ in range(count[group]):
        f = force[i]
        square = wp.dot(f, f)
        total += energy[i]
        most = wp.max(most, square)
        if clamped[c] == 0 or shell[i] == 0:
            power += wp.dot(f, v[i])
            v2 += wp.dot(v[i], v[i])
            f2 += square
            most_free = wp.max(most_free, square)
        i += stride[group]
    out[group] = Measures(power, v2, f2, total, most_free, most)


@wp.kernel(enable_backward=False)
def combine_measures(
    first: wp.array[wp.int32],
    count: wp.array[wp.int32],
    stride: wp.array[wp.int32],
    parts: wp.array[Measures],
    out: wp.array[Measures],
):
    """Combine the `Measures` of groups, one level up in the tree."""
    group = wp.tid()
    i = first[group]
    total = parts[i]
    for _ in range(count[group] - 1):
        i += stride[group]
        part = parts[i]
        for k in range(4):
            total[k] += part[k]
        total[4] = wp.max(total[4], part[4])
        total[5] = wp.max(total[5], part[5])
    out[group] = total


@wp.kernel(enable_backward=False)
def move(
    first: wp.array[wp.int32],
    count: wp.array[wp.int32],
    stride: wp.array[wp.int32],
    crystal: wp.array[wp.int32],
    active: wp.array[wp.int32],
    clamped: wp.array[wp.int32],
    shell: wp.array[wp.int32],
    coefficients: wp.array[wp.vec4d],
    longest_step: wp.float64,
    force: wp.array[wp.vec3d],
    x_listed: wp.array[wp.vec3d],
    x: wp.array[wp.vec3d],
    v: wp.array[wp.vec3d],
    moved2: wp.array[wp.float64],
):
    """Set v ← keep v + push F, x ← x + step v - back v_old, with (keep, push, step, back) of the atom's crystal.

    No atom moves farther than ``longest_step``. ``moved2`` is the group's largest squared displacement since its pairs
    were listed.
    """
    group = wp.tid()
    i = first[group]
    c = crystal[i]
    if active[c] == 0:
        moved2[group] = wp.float64(0.0)
        return
    k = coefficients[c]
    farthest = wp.float64(0.0)
    for _ in range(count[group]):
        if clamped[c] == 0 or shell[i] == 0:
            old = v[i]
            new = k[0] * old + k[1] * force[i]
            step = k[2] * new - k[3] * old
            length = wp.length(step)
            if length > longest_step:
                step *= longest_step / length
                new *= longest_step / length
            v[i] = new
            x[i] += step
            displacement = x[i] - x_listed[i]
            farthest = wp.max(farthest, wp.dot(displacement, displacement))
        i += stride[group]
    moved2[group] = farthest


@wp.kernel(enable_backward=False)
def combine_moved(
    first: wp.array[wp.int32],
    count: wp.array[wp.int32],
    stride: wp.array[wp.int32],
    parts: wp.array[wp.float64],
    out: wp.array[wp.float64],
):
    """Combine the largest displacements of groups, one level up in the tree."""
    group = wp.tid()
    i = first[group]
    farthest = wp.float64(0.0)
    for _ in range(count[group]):
        farthest = wp.max(farthest, parts[i])
        i += stride[group]
    out[group] = farthest
