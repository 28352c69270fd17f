"""Warp kernels that read raw frames: the survey, the sum near the peak, the gather. One source for CPU and CUDA.

Each does what its namesake in `braggwatch.callbacks.cxdp.preprocess.corrections` and
`braggwatch.callbacks.cxdp.preprocess.orthonormalise` does, in float64, and is compiled for every dtype in `STORED`.
"""

# Warp compiles these functions and never runs them as Python: their types are Warp's, checked when it compiles.
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportInvalidTypeForm=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false, reportReturnType=false

from __future__ import annotations

from typing import Any

import warp as wp

STORED = (wp.uint16, wp.int32, wp.uint32, wp.float32, wp.float64)
"""What frames are kept as on a device."""

FINDINGS = 10
"""Columns of the table that `reduce_rows` writes."""

_NOWHERE = wp.constant(wp.int32(2147483647))


@wp.struct
class Limits:
    """When a raw count is a measurement, saturated, hot; as in `callbacks.cxdp.preprocess.corrections.survey`."""

    valid_from: wp.float64
    valid_below: wp.float64
    saturation: wp.float64
    hot_ratio: wp.float64
    hot_counts: wp.float64


@wp.struct
class RowFindings:
    """What `survey_rows` found in each row of each usable frame, (M, R) each."""

    total: wp.array2d[wp.float64]
    peak: wp.array2d[wp.float64]
    peak_column: wp.array2d[wp.int32]
    special: wp.array2d[wp.int32]
    saturated: wp.array2d[wp.int32]
    invalid: wp.array2d[wp.int32]
    hot: wp.array2d[wp.int32]


@wp.struct
class Rocking:
    """The usable frames in the order of their angles, see `callbacks.cxdp.preprocess.orthonormalise.FrameOrder`."""

    angles: wp.array[wp.float64]
    frames: wp.array[wp.int32]
    trust: wp.array[wp.float64]
    scale: wp.array[wp.float64]


@wp.func
def is_hot(
    frames: wp.array3d[Any], gain: wp.array2d[wp.float32], limits: Limits, n: wp.int32, r: wp.int32, c: wp.int32
) -> wp.bool:
    """Tell whether a usable reading is far above the third largest of its usable neighbours."""
    value = wp.float64(frames[n, r, c])
    if not (value >= limits.hot_counts):
        return False
    first = wp.float64(0.0)
    second = wp.float64(0.0)
    third = wp.float64(0.0)
    seen = wp.int32(0)
    for rr in range(wp.max(r - 1, 0), wp.min(r + 2, frames.shape[1])):
        for cc in range(wp.max(c - 1, 0), wp.min(c + 2, frames.shape[2])):
            if (rr != r or cc != c) and gain[rr, cc] > wp.float32(0.0):
                other = wp.float64(frames[n, rr, cc])
                if other >= limits.valid_from and other < limits.valid_below:
                    seen += 1
                    if other > first:
                        third = second
                        second = first
                        first = other
                    elif other > second:
                        third = second
                        second = other
                    elif other > third:
                        third = other
    return seen >= 3 and value > limits.hot_ratio * wp.max(third, wp.float64(1.0))


@wp.kernel(enable_backward=False)
def survey_rows(
    frames: wp.array3d[Any],
    usable: wp.array[wp.int32],
    gain: wp.array2d[wp.float32],
    limits: Limits,
    found: RowFindings,
):
    """Read one row of one usable frame with one block: no two threads write to one place, so the bits are the same."""
    m, r, lane = wp.tid()
    n = usable[m]
    plain_below = wp.min(wp.min(limits.valid_below, limits.saturation), limits.hot_counts)
    total = wp.float64(0.0)
    peak = wp.float64(0.0)
    column = wp.int32(_NOWHERE)
    special = wp.int32(0)
    saturated = wp.int32(0)
    invalid = wp.int32(0)
    hot = wp.int32(0)
    for c in range(lane, frames.shape[2], wp.block_dim()):
        value = wp.float64(frames[n, r, c])
        if not (value >= limits.valid_from and value < plain_below):
            special = wp.int32(1)
        # A NaN fails both comparisons.
        if not (value >= limits.valid_from and value < limits.valid_below):
            invalid += 1
        elif value != wp.float64(0.0) and gain[r, c] > wp.float32(0.0):
            if value >= limits.saturation:
                saturated += 1
            if is_hot(frames, gain, limits, n, r, c):
                hot += 1
            else:
                total += value
                if value > peak:
                    peak = value
                    column = c
    top = wp.tile_max(wp.tile(peak))[0]
    candidate = wp.int32(_NOWHERE)
    if peak == top:
        candidate = column
    first = wp.tile_min(wp.tile(candidate))[0]
    row_total = wp.tile_sum(wp.tile(total))[0]
    row_special = wp.tile_max(wp.tile(special))[0]
    row_saturated = wp.tile_sum(wp.tile(saturated))[0]
    row_invalid = wp.tile_sum(wp.tile(invalid))[0]
    row_hot = wp.tile_sum(wp.tile(hot))[0]
    if lane == 0:
        found.total[m, r] = row_total
        found.peak[m, r] = top
        found.peak_column[m, r] = first
        found.special[m, r] = row_special
        found.saturated[m, r] = row_saturated
        found.invalid[m, r] = row_invalid
        found.hot[m, r] = row_hot


@wp.kernel(enable_backward=False)
def reduce_rows(found: RowFindings, table: wp.array2d[wp.float64]):
    """Sum up one frame: total, saturated, invalid, hot, then peak, row and column among special and among all rows."""
    m, lane = wp.tid()
    total = wp.float64(0.0)
    saturated = wp.float64(0.0)
    invalid = wp.float64(0.0)
    hot = wp.float64(0.0)
    special_peak = wp.float64(0.0)
    special_row = wp.int32(_NOWHERE)
    peak = wp.float64(0.0)
    row = wp.int32(_NOWHERE)
    for r in range(lane, found.total.shape[1], wp.block_dim()):
        total += found.total[m, r]
        saturated += wp.float64(found.saturated[m, r])
        invalid += wp.float64(found.invalid[m, r])
        hot += wp.float64(found.hot[m, r])
        here = found.peak[m, r]
        if here > peak:
            peak = here
            row = r
        if found.special[m, r] != 0 and here > special_peak:
            special_peak = here
            special_row = r
    top = wp.tile_max(wp.tile(peak))[0]
    candidate = wp.int32(_NOWHERE)
    if peak == top:
        candidate = row
    first = wp.tile_min(wp.tile(candidate))[0]
    special_top = wp.tile_max(wp.tile(special_peak))[0]
    candidate = wp.int32(_NOWHERE)
    if special_peak == special_top:
        candidate = special_row
    special_first = wp.tile_min(wp.tile(candidate))[0]
    all_total = wp.tile_sum(wp.tile(total))[0]
    all_saturated = wp.tile_sum(wp.tile(saturated))[0]
    all_invalid = wp.tile_sum(wp.tile(invalid))[0]
    all_hot = wp.tile_sum(wp.tile(hot))[0]
    if lane == 0:
        table[m, 0] = all_total
        table[m, 1] = all_saturated
        table[m, 2] = all_invalid
        table[m, 3] = all_hot
        table[m, 4] = special_top
        table[m, 7] = top
        if special_top > wp.float64(0.0):
            table[m, 5] = wp.float64(special_first)
            table[m, 6] = wp.float64(found.peak_column[m, special_first])
        if top > wp.float64(0.0):
            table[m, 8] = wp.float64(first)
            table[m, 9] = wp.float64(found.peak_column[m, first])


@wp.kernel(enable_backward=False)
def list_hot(
    frames: wp.array3d[Any],
    usable: wp.array[wp.int32],
    gain: wp.array2d[wp.float32],
    limits: Limits,
    hot: wp.array2d[wp.int32],
    start: wp.array[wp.int32],
    hot_frame: wp.array[wp.int32],
    hot_pixel: wp.array[wp.int32],
    times: wp.array2d[wp.int32],
):
    """List the hot readings in scan order, as many as the list holds, and count them for each pixel."""
    m, r = wp.tid()
    if hot[m, r] == 0:
        return
    n = usable[m]
    at = start[m * frames.shape[1] + r]
    for c in range(frames.shape[2]):
        value = wp.float64(frames[n, r, c])
        valid = value >= limits.valid_from and value < limits.valid_below and gain[r, c] > wp.float32(0.0)
        if valid and is_hot(frames, gain, limits, n, r, c):
            if at < hot_frame.shape[0]:
                hot_frame[at] = n
                hot_pixel[at] = r * frames.shape[2] + c
                wp.atomic_add(times, r, c, 1)
            at += 1


@wp.kernel(enable_backward=False)
def mark_hot(
    frames: wp.array3d[Any], hot_frame: wp.array[wp.int32], hot_pixel: wp.array[wp.int32], marker: wp.array[Any]
):
    """Overwrite hot readings in the device's own frames by what is no measurement."""
    e = wp.tid()
    pixel = hot_pixel[e]
    r = pixel // frames.shape[2]
    frames[hot_frame[e], r, pixel - r * frames.shape[2]] = marker[0]


@wp.kernel(enable_backward=False)
def mask_static(
    gain: wp.array2d[wp.float32],
    times: wp.array2d[wp.int32],
    least: wp.int32,
    masked: wp.array2d[wp.float32],
    number: wp.array[wp.int32],
):
    """Copy the gain, zero where a pixel was hot in so many frames, and count those pixels."""
    r, c = wp.tid()
    if times[r, c] >= least:
        masked[r, c] = wp.float32(0.0)
        wp.atomic_add(number, 0, 1)
    else:
        masked[r, c] = gain[r, c]


@wp.kernel(enable_backward=False)
def sum_window(
    frames: wp.array3d[Any],
    usable: wp.array[wp.int32],
    gain: wp.array2d[wp.float32],
    limits: Limits,
    row: wp.int32,
    column: wp.int32,
    image: wp.array2d[wp.float64],
):
    """Sum the usable counts of a window over the frames; hot readings are marked by now."""
    i, j = wp.tid()
    r = row + i
    c = column + j
    total = wp.float64(0.0)
    if gain[r, c] > wp.float32(0.0):
        for m in range(usable.shape[0]):
            value = wp.float64(frames[usable[m], r, c])
            if value >= limits.valid_from and value < limits.valid_below:
                total += value
    image[i, j] = total


@wp.func
def power_series(poly: wp.array4d[wp.float64], o: wp.int32, x: wp.float64, y: wp.float64, z: wp.float64) -> wp.float64:
    """Evaluate one output of an `IndexPolynomial`."""
    value = wp.float64(0.0)
    for c3 in range(4):
        c = 3 - c3
        outer = wp.float64(0.0)
        for a3 in range(c3 + 1):
            a = c3 - a3
            inner = wp.float64(0.0)
            for b3 in range(a3 + 1):
                inner = inner * y + poly[o, a, a3 - b3, c]
            outer = outer * x + inner
        value = value * z + outer
    return value


@wp.func
def corner(
    frames: wp.array3d[Any],
    gain: wp.array2d[wp.float32],
    dark: wp.array2d[wp.float32],
    limits: Limits,
    n: wp.int32,
    r: wp.int32,
    c: wp.int32,
    weight: wp.float64,
) -> wp.vec2d:
    """Return a reading's weighted, corrected count and its weight; zero for what is no measurement."""
    g = gain[r, c]
    value = wp.float64(frames[n, r, c])
    if g > wp.float32(0.0) and value >= limits.valid_from and value < limits.valid_below:
        if dark.shape[0] > 0:
            value -= wp.float64(dark[r, c])
        return wp.vec2d(weight * value * wp.float64(g), weight)
    return wp.vec2d(wp.float64(0.0), wp.float64(0.0))


@wp.kernel(enable_backward=False)
def gather_cube(
    frames: wp.array3d[Any],
    rocking: Rocking,
    gain: wp.array2d[wp.float32],
    dark: wp.array2d[wp.float32],
    limits: Limits,
    poly: wp.array4d[wp.float64],
    n0: wp.int32,
    n1: wp.int32,
    n2: wp.int32,
    minimum_weight: wp.float64,
    intensity: wp.array3d[wp.float32],
    coverage: wp.array3d[wp.float32],
):
    """Pull one voxel out of the frames, see `braggwatch.callbacks.cxdp.preprocess.orthonormalise.gather`."""
    i, j, k = wp.tid()
    one = wp.float64(1.0)
    half = wp.float64(intensity.shape[0]) * wp.float64(0.5)
    last = rocking.angles.shape[0] - 1
    low = rocking.angles[0]
    high = rocking.angles[last]
    total = wp.float64(0.0)
    weight = wp.float64(0.0)
    for s in range(n0 * n1 * n2):
        s0 = s // (n1 * n2)
        s1 = (s // n2) % n1
        s2 = s % n2
        x = (wp.float64(i) + (wp.float64(s0) + wp.float64(0.5)) / wp.float64(n0) - wp.float64(0.5) - half) / half
        y = (wp.float64(j) + (wp.float64(s1) + wp.float64(0.5)) / wp.float64(n1) - wp.float64(0.5) - half) / half
        z = (wp.float64(k) + (wp.float64(s2) + wp.float64(0.5)) / wp.float64(n2) - wp.float64(0.5) - half) / half
        angle = power_series(poly, 0, x, y, z)
        row = power_series(poly, 1, x, y, z)
        column = power_series(poly, 2, x, y, z)
        inside = angle >= low and angle <= high and row >= wp.float64(0.0) and column >= wp.float64(0.0)
        # Before the conversion: what lies far outside does not fit an integer.
        if inside and row < wp.float64(frames.shape[1] - 1) and column < wp.float64(frames.shape[2] - 1):
            h = wp.int32(0)
            above = wp.int32(last)
            while above - h > 1:
                middle = (h + above) // 2
                if rocking.angles[middle] <= angle:
                    h = middle
                else:
                    above = middle
            trusted = rocking.trust[h]
            if trusted > wp.float64(0.0):
                width = rocking.angles[h + 1] - rocking.angles[h]
                t = wp.float64(0.5)
                if width > wp.float64(0.0):
                    t = (angle - rocking.angles[h]) / width
                r = wp.int32(row)
                c = wp.int32(column)
                fr = row - wp.float64(r)
                fc = column - wp.float64(c)
                for side in range(2):
                    n = rocking.frames[h + side]
                    wt = t * trusted
                    if side == 0:
                        wt = (one - t) * trusted
                    sums = corner(frames, gain, dark, limits, n, r, c, (one - fr) * (one - fc))
                    sums += corner(frames, gain, dark, limits, n, r, c + 1, (one - fr) * fc)
                    sums += corner(frames, gain, dark, limits, n, r + 1, c, fr * (one - fc))
                    sums += corner(frames, gain, dark, limits, n, r + 1, c + 1, fr * fc)
                    total += wt * rocking.scale[n] * sums[0]
                    weight += wt * sums[1]
    covered = weight / wp.float64(n0 * n1 * n2)
    coverage[i, j, k] = wp.float32(wp.min(covered, one))
    if covered >= minimum_weight:
        intensity[i, j, k] = wp.float32(wp.max(total / weight, wp.float64(0.0)))
    else:
        intensity[i, j, k] = wp.float32(0.0)


# All at once: a dtype added later would compile the module anew.
for _kind in STORED:
    _frames = wp.array3d[_kind]
    wp.overload(survey_rows, {"frames": _frames})
    wp.overload(list_hot, {"frames": _frames})
    wp.overload(mark_hot, {"frames": _frames, "marker": wp.array[_kind]})
    wp.overload(sum_window, {"frames": _frames})
    wp.overload(gather_cube, {"frames": _frames})
