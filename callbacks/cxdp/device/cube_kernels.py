"""Warp kernels that read a gathered cube: its autocorrelation, its centre, its mirror images.

Each does what its namesake in `braggwatch.callbacks.cxdp.preprocess.scale`,
`braggwatch.callbacks.cxdp.preprocess.peak_centre` and `braggwatch.models.cxdp.symmetry` does. The transform is a plain
sum over 64 samples along each axis, and only the frequencies that the radial mean uses: at this size that is cheaper
than a library's set-up, and the same on CPU and CUDA.
"""

# Warp compiles these functions and never runs them as Python: their types are Warp's, checked when it compiles.
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportInvalidTypeForm=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false, reportReturnType=false

from __future__ import annotations

import warp as wp

_NOWHERE = wp.constant(wp.int32(2147483647))
_ITERATIONS = wp.constant(wp.int32(8))
_SETTLED = wp.constant(wp.float64(0.02))


@wp.func
def folded(k: wp.int32, size: wp.int32) -> wp.int32:
    """Return the absolute frequency of sample k of a transform."""
    return wp.min(k, size - k)


@wp.kernel(enable_backward=False)
def transform_last(intensity: wp.array3d[wp.float32], turns: wp.array[wp.vec2d], spectrum: wp.array3d[wp.vec2d]):
    """Transform real values along the last axis to its size // 2 + 1 frequencies; ``turns`` is exp(-2 pi i m / n)."""
    a, b, k = wp.tid()
    size = intensity.shape[2]
    total = wp.vec2d()
    for n in range(size):
        total += wp.float64(intensity[a, b, n]) * turns[(k * n) % size]
    spectrum[a, b, k] = total


@wp.kernel(enable_backward=False)
def transform_middle(
    spectrum: wp.array3d[wp.vec2d], turns: wp.array[wp.vec2d], most: wp.int32, result: wp.array3d[wp.vec2d]
):
    """Transform along the middle axis, where the squared frequency stays within ``most``."""
    a, k, c = wp.tid()
    size = spectrum.shape[1]
    f = folded(k, size)
    if f * f + c * c > most:
        return
    real = wp.float64(0.0)
    imaginary = wp.float64(0.0)
    for n in range(size):
        value = spectrum[a, n, c]
        turn = turns[(k * n) % size]
        real += value[0] * turn[0] - value[1] * turn[1]
        imaginary += value[0] * turn[1] + value[1] * turn[0]
    result[a, k, c] = wp.vec2d(real, imaginary)


@wp.kernel(enable_backward=False)
def transform_first(
    spectrum: wp.array3d[wp.vec2d], turns: wp.array[wp.vec2d], most: wp.int32, power: wp.array3d[wp.float64]
):
    """Transform along the first axis and square, where the squared frequency stays within ``most``."""
    k, b, c = wp.tid()
    size = spectrum.shape[0]
    f = folded(k, size)
    g = folded(b, spectrum.shape[1])
    if f * f + g * g + c * c > most:
        return
    real = wp.float64(0.0)
    imaginary = wp.float64(0.0)
    for n in range(size):
        value = spectrum[n, b, c]
        turn = turns[(k * n) % size]
        real += value[0] * turn[0] - value[1] * turn[1]
        imaginary += value[0] * turn[1] + value[1] * turn[0]
    power[k, b, c] = real * real + imaginary * imaginary


@wp.kernel(enable_backward=False)
def mean_power(
    power: wp.array[wp.float64],
    start: wp.array[wp.int32],
    sample: wp.array[wp.int32],
    weight: wp.array[wp.float64],
    means: wp.array[wp.float64],
):
    """Average the power over one radial bin with one block."""
    b, lane = wp.tid()
    total = wp.float64(0.0)
    for e in range(start[b] + lane, start[b + 1], wp.block_dim()):
        total += weight[e] * power[sample[e]]
    result = wp.tile_sum(wp.tile(total))[0]
    if lane == 0:
        means[b] = result


@wp.kernel(enable_backward=False)
def mean_amplitude(
    power: wp.array[wp.float64],
    start: wp.array[wp.int32],
    sample: wp.array[wp.int32],
    weight: wp.array[wp.float64],
    means: wp.array[wp.float64],
    amplitudes: wp.array[wp.float64],
):
    """Average the amplitude above the noise over one radial bin; the last element gets the power at zero."""
    b, lane = wp.tid()
    last = means.shape[0] - 1
    floor = wp.min(wp.min(means[last], means[last - 1]), wp.min(means[last - 2], means[last - 3]))
    total = wp.float64(0.0)
    for e in range(start[b] + lane, start[b + 1], wp.block_dim()):
        total += weight[e] * wp.sqrt(wp.max(power[sample[e]] - floor, wp.float64(0.0)))
    result = wp.tile_sum(wp.tile(total))[0]
    if lane == 0:
        amplitudes[b] = result
        if b == 0:
            amplitudes[last + 1] = means[0]


@wp.func
def box_mean(intensity: wp.array3d[wp.float32], low: wp.int32, high: wp.int32, i: wp.int32, j: wp.int32, k: wp.int32):
    """Average 3 x 3 x 3 voxels of a block, zero outside it, rounding after each axis as scipy's filter does."""
    three = wp.float64(3.0)
    planes = wp.float64(0.0)
    for kk in range(wp.max(k - 1, low), wp.min(k + 2, high)):
        rows = wp.float64(0.0)
        for jj in range(wp.max(j - 1, low), wp.min(j + 2, high)):
            line = wp.float64(0.0)
            for ii in range(wp.max(i - 1, low), wp.min(i + 2, high)):
                line += wp.float64(intensity[ii, jj, kk])
            rows += wp.float64(wp.float32(line / three))
        planes += wp.float64(wp.float32(rows / three))
    return wp.float32(planes / three)


@wp.kernel(enable_backward=False)
def find_plane_peaks(intensity: wp.array3d[wp.float32], peaks: wp.array[wp.float32], places: wp.array[wp.int32]):
    """Find the largest smoothed voxel of one plane of the middle block, and its number within the block."""
    plane, lane = wp.tid()
    size = intensity.shape[0]
    edge = peaks.shape[0]
    low = size // 2 - edge // 2
    best = wp.float32(0.0)
    at = wp.int32(_NOWHERE)
    for v in range(lane, edge * edge, wp.block_dim()):
        smooth = box_mean(intensity, low, low + edge, low + plane, low + v // edge, low + v % edge)
        if smooth > best:
            best = smooth
            at = plane * edge * edge + v
    top = wp.tile_max(wp.tile(best))[0]
    candidate = wp.int32(_NOWHERE)
    if best == top:
        candidate = at
    first = wp.tile_min(wp.tile(candidate))[0]
    if lane == 0:
        peaks[plane] = top
        places[plane] = first


@wp.kernel(enable_backward=False)
def find_centre(
    intensity: wp.array3d[wp.float32],
    peaks: wp.array[wp.float32],
    places: wp.array[wp.int32],
    radius: wp.float64,
    centre: wp.array[wp.float64],
):
    """From the smoothed maximum, with a single block: centres of mass in a moving soft sphere."""
    _, lane = wp.tid()
    size = intensity.shape[0]
    edge = peaks.shape[0]
    low = size // 2 - edge // 2
    best = wp.float32(0.0)
    at = wp.int32(_NOWHERE)
    for p in range(lane, edge, wp.block_dim()):
        if peaks[p] > best:
            best = peaks[p]
            at = places[p]
    top = wp.tile_max(wp.tile(best))[0]
    candidate = wp.int32(_NOWHERE)
    if best == top:
        candidate = at
    first = wp.tile_min(wp.tile(candidate))[0]
    middle = wp.float64(size // 2)
    c0 = middle
    c1 = middle
    c2 = middle
    # Counts are not negative: a mean of zero means an empty cube.
    steps = wp.int32(_ITERATIONS)
    if top > wp.float32(0.0):
        c0 = wp.float64(low + first // (edge * edge))
        c1 = wp.float64(low + (first // edge) % edge)
        c2 = wp.float64(low + first % edge)
        steps = wp.int32(0)
    rim = radius + wp.float64(0.5)
    while steps < _ITERATIONS:
        i0 = wp.clamp(wp.int32(wp.floor(c0 - radius)) - 1, 0, size)
        j0 = wp.clamp(wp.int32(wp.floor(c1 - radius)) - 1, 0, size)
        k0 = wp.clamp(wp.int32(wp.floor(c2 - radius)) - 1, 0, size)
        ni = wp.clamp(wp.int32(wp.ceil(c0 + radius)) + 2, 0, size) - i0
        nj = wp.clamp(wp.int32(wp.ceil(c1 + radius)) + 2, 0, size) - j0
        nk = wp.clamp(wp.int32(wp.ceil(c2 + radius)) + 2, 0, size) - k0
        total = wp.float64(0.0)
        s0 = wp.float64(0.0)
        s1 = wp.float64(0.0)
        s2 = wp.float64(0.0)
        for v in range(lane, ni * nj * nk, wp.block_dim()):
            i = i0 + v // (nj * nk)
            j = j0 + (v // nk) % nj
            k = k0 + v % nk
            d0 = wp.float64(i) - c0
            d1 = wp.float64(j) - c1
            d2 = wp.float64(k) - c2
            soft = wp.clamp(rim - wp.sqrt(d0 * d0 + d1 * d1 + d2 * d2), wp.float64(0.0), wp.float64(1.0))
            weighted = soft * wp.float64(intensity[i, j, k])
            total += weighted
            s0 += weighted * d0
            s1 += weighted * d1
            s2 += weighted * d2
        all_weight = wp.tile_sum(wp.tile(total))[0]
        all0 = wp.tile_sum(wp.tile(s0))[0]
        all1 = wp.tile_sum(wp.tile(s1))[0]
        all2 = wp.tile_sum(wp.tile(s2))[0]
        steps += 1
        if all_weight > wp.float64(0.0):
            m0 = all0 / all_weight
            m1 = all1 / all_weight
            m2 = all2 / all_weight
            c0 += m0
            c1 += m1
            c2 += m2
            if wp.max(wp.max(wp.abs(m0), wp.abs(m1)), wp.abs(m2)) < _SETTLED:
                steps = wp.int32(_ITERATIONS)
        else:
            steps = wp.int32(_ITERATIONS)
    if lane == 0:
        centre[0] = c0
        centre[1] = c1
        centre[2] = c2


@wp.kernel(enable_backward=False)
def mirror(volume: wp.array3d[wp.float32], flipped: wp.array2d[wp.int32], batch: wp.array4d[wp.float32]):
    """Write one voxel of one mirror image about voxel n/2 of even n; ``flipped`` (B, 3) says along which axes."""
    b, i, j, k = wp.tid()
    ii = i
    jj = j
    kk = k
    if flipped[b, 0] != 0:
        ii = (volume.shape[0] - i) % volume.shape[0]
    if flipped[b, 1] != 0:
        jj = (volume.shape[1] - j) % volume.shape[1]
    if flipped[b, 2] != 0:
        kk = (volume.shape[2] - k) % volume.shape[2]
    batch[b, i, j, k] = volume[ii, jj, kk]
