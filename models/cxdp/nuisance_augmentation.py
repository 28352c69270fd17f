"""What a measurement adds to a clean pattern, drawn anew each time it is shown while training.

The same effects as `sim.nuisance` gives in the detector's frame, here on the model's grid and in batches: what was
simulated once serves at any number of counts. Not copied here are what needs the detector: hot pixels, missing frames,
and the smoothing of the noise by the interpolation from pixels to voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SIDE = 64
_CENTRE = 32.0
_CHUNK = 2
"""Volumes at a time on the CPU: what is worked on stays in the cache."""
_GAUSSIAN_FROM = 30.0
"""Expected counts from which Poisson's law is drawn as a rounded normal one, skewness < 0.2."""
_INVERSION_BELOW, _INVERSION_TERMS = 0.3, 5
"""Expected counts below which six counts or more, once in 1e6 voxels, are taken for five."""
_LEAST_WEIGHT = 1e-9
_MOST_ALIENS = 2


@dataclass(frozen=True, slots=True)
class NuisanceRanges:
    """From what a nuisance is drawn. Pairs are bounds; lengths in voxels.

    Attributes
    ----------
    peak_counts, background
        Brightest voxel, and mean background of every voxel; log-uniform.
    zoom
        Largest relative change of the fringe period, either way.
    shift
        Largest shift off the centre along each axis, a fraction of a voxel: the preprocessing finds the centre of a
        perfect crystal's pattern within 0.05 in 19 of 20 (0.15 where it is strained).
    blurred_share, blur
        Share of the patterns with partial coherence; sigma over the fringe period.
    gap_share, gap_width, gap_clearance
        Share with a dead slab of random orientation, its thickness, its least distance from the peak.
    alien_share, alien_strength, alien_clearance
        Share with one or two weak peaks of other particles, their height over the peak's, log-uniform, and their
        least distance from it.
    gain_share, gain_spread
        Share with uncorrected gains, constant along one axis, and their relative spread.
    fringe_period
        Period that the patterns are scaled to.
    """

    peak_counts: tuple[float, float] = (1e3, 1e6)
    background: tuple[float, float] = (0.002, 0.1)
    zoom: float = 0.08
    shift: float = 0.1
    blurred_share: float = 0.6
    blur: tuple[float, float] = (0.03, 0.2)
    gap_share: float = 0.4
    gap_width: tuple[float, float] = (1.0, 4.0)
    gap_clearance: float = 5.6
    alien_share: float = 0.25
    alien_strength: tuple[float, float] = (1e-4, 1e-2)
    alien_clearance: float = 6.0
    gain_share: float = 0.4
    gain_spread: tuple[float, float] = (0.02, 0.25)
    fringe_period: float = 3.5


DEFAULT_RANGES = NuisanceRanges()


def measured_copy(log_intensity: Tensor, generator: torch.Generator, ranges: NuisanceRanges = DEFAULT_RANGES) -> Tensor:
    """Return clean patterns as one measurement each would have recorded them.

    Parameters
    ----------
    log_intensity
        (B, 64, 64, 64) float32 log1p of noiseless intensity, best at a peak of 1e6; axis 1 along Q, peak at index 32.
    generator
        On the device of the volumes; the result depends on nothing else.
    ranges
        From what to draw.

    Returns
    -------
    Tensor
        (B, 64, 64, 64) float32, log1p of whole counts.

    Raises
    ------
    ValueError
        If the volumes are not of 64 voxels a side.
    """
    if log_intensity.shape[1:] != (_SIDE, _SIDE, _SIDE):
        raise ValueError(f"volumes of {(_SIDE,) * 3} are taken, not {tuple(log_intensity.shape[1:])}")
    draws = torch.rand((len(log_intensity), 32), generator=generator, device=generator.device)
    if log_intensity.device.type != "cpu":
        return _measured(log_intensity, draws, generator, ranges)
    parts = [
        _measured(log_intensity[start : start + _CHUNK], draws[start : start + _CHUNK], generator, ranges)
        for start in range(0, len(log_intensity), _CHUNK)
    ]
    return torch.cat(parts) if parts else log_intensity


def measure_clean(
    log_intensity: Tensor, clean: Tensor, generator: torch.Generator, ranges: NuisanceRanges = DEFAULT_RANGES
) -> Tensor:
    """Apply `measured_copy` where ``clean``, (B,) bool, says so; measured patterns pass as they are."""
    if not bool(clean.any()):
        return log_intensity
    chosen = clean.nonzero()[:, 0]
    out = log_intensity.clone()
    out[chosen] = measured_copy(log_intensity[chosen], generator, ranges)
    return out


def _measured(log_intensity: Tensor, draws: Tensor, generator: torch.Generator, ranges: NuisanceRanges) -> Tensor:
    zoom = torch.exp(_between((-ranges.zoom, ranges.zoom), draws[:, 0]))
    shifts = (2 * draws[:, 1:4] - 1) * ranges.shift
    scaled = _along_axes(log_intensity, [_zoom_operator(zoom, shifts[:, axis]) for axis in range(3)])
    rate = torch.expm1(scaled.clamp_(min=0.0))
    rate = _blurred(rate, draws[:, 4:8], ranges)
    peak = _log_between(ranges.peak_counts, draws[:, 8])
    rate *= (peak / rate.amax(dim=(1, 2, 3)).clamp_min(1e-12))[:, None, None, None]
    _add_aliens(rate, peak, draws[:, 9:20], ranges)
    rate += _log_between(ranges.background, draws[:, 20])[:, None, None, None]
    _apply_gains(rate, draws[:, 21:24], generator, ranges)
    counts = _poisson(rate, generator)
    _cut_gaps(counts, draws[:, 24:29], ranges)
    return torch.log1p(counts)


def _between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _log_between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    return torch.exp(_between((math.log(bounds[0]), math.log(bounds[1])), draw))


def _axis(like: Tensor) -> Tensor:
    return torch.arange(_SIDE, dtype=torch.float32, device=like.device)


def _along_axes(volumes: Tensor, operators: list[Tensor]) -> Tensor:
    """Apply one (B, 64, 64) matrix to each of the three axes; rows of a matrix are the new voxels."""
    out = volumes
    for operator in operators:
        # the axis in turn comes first and leaves last: after three turns the order is the old one
        out = torch.bmm(out.reshape(len(out), _SIDE, -1).transpose(1, 2), operator.transpose(1, 2))
        out = out.reshape(-1, _SIDE, _SIDE, _SIDE)
    return out


def _zoom_operator(zoom: Tensor, shift: Tensor) -> Tensor:
    """Interpolation at ``centre + (i - centre) / zoom - shift`` by cubic convolution.

    Keys, IEEE Trans. Acoust. 29, 1153 (1981), a = -1/2.
    """
    axis = _axis(zoom)
    position = _CENTRE + (axis - _CENTRE)[None, :] / zoom[:, None] - shift[:, None]
    distance = (position[:, :, None] - axis[None, None, :]).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return torch.where(distance < 1.0, near, torch.where(distance < 2.0, far, torch.zeros_like(distance)))


def _blurred(rate: Tensor, draws: Tensor, ranges: NuisanceRanges) -> Tensor:
    chosen = (draws[:, 0] < ranges.blurred_share).nonzero()[:, 0]
    if not len(chosen):
        return rate
    axis = _axis(rate)
    squares = (axis[:, None] - axis[None, :]) ** 2
    sigmas = ranges.fringe_period * _between(ranges.blur, draws[chosen, 1:4])
    # the discrete Gaussian of a narrow sigma, its weights normalised, is narrower than meant: no matter here
    weights = torch.exp(-0.5 * squares / sigmas[:, :, None, None] ** 2)
    # what a sum in single precision doesn't feel: denormal numbers make the product twenty times slower
    weights = weights.masked_fill(weights < _LEAST_WEIGHT, 0.0)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    rate[chosen] = _along_axes(rate[chosen], [weights[:, axis] for axis in range(3)])
    return rate


def _add_aliens(rate: Tensor, peak: Tensor, draws: Tensor, ranges: NuisanceRanges) -> None:
    chosen = (draws[:, 0] < ranges.alien_share).nonzero()[:, 0]
    if not len(chosen):
        return
    axis = _axis(rate)
    for number in range(_MOST_ALIENS):
        along, around, away, width, strength = draws[chosen, 1 + 5 * number : 6 + 5 * number].unbind(1)
        distance = _between((ranges.alien_clearance, _CENTRE - 2.0), away)
        cos, angle = 2 * along - 1, 2 * math.pi * around
        sin = torch.sqrt(1 - cos**2)
        direction = torch.stack([cos, sin * torch.cos(angle), sin * torch.sin(angle)], dim=1)
        sigma = ranges.fringe_period * _between((0.225, 0.9), width)
        offsets = axis - _CENTRE - (direction * distance[:, None])[:, :, None]
        profiles = torch.exp(-0.5 * (offsets / sigma[:, None, None]) ** 2)
        height = peak[chosen] * _log_between(ranges.alien_strength, strength)
        if number:
            # the first draw is uniform below the share: its lower half has one alien
            height = height * (draws[chosen, 0] > 0.5 * ranges.alien_share)
        across = profiles[:, 1, :, None] * profiles[:, 2, None, :] * height[:, None, None]
        rate[chosen] += profiles[:, 0, :, None, None] * across[:, None]


def _apply_gains(rate: Tensor, draws: Tensor, generator: torch.Generator, ranges: NuisanceRanges) -> None:
    chosen = (draws[:, 0] < ranges.gain_share).nonzero()[:, 0]
    if not len(chosen):
        return
    spread = _between(ranges.gain_spread, draws[chosen, 1])
    noise = torch.randn((len(chosen), _SIDE, _SIDE), generator=generator, device=rate.device)
    gains = (1.0 + spread[:, None, None] * noise).clamp_min(0.1)
    constant_along = (3 * draws[chosen, 2]).long()
    for axis in range(3):
        those = (constant_along == axis).nonzero()[:, 0]
        if len(those):
            rate[chosen[those]] *= gains[those].unsqueeze(axis + 1)


def _poisson(rate: Tensor, generator: torch.Generator) -> Tensor:
    """Draw counts: below `_INVERSION_BELOW`, where most voxels are, by inversion, a quarter of the library's time."""
    flat = rate.reshape(-1)
    uniform = torch.rand(flat.shape, generator=generator, device=rate.device)
    term = torch.exp(-flat)
    reached = term.clone()
    counts = (uniform > reached).float()
    for number in range(1, _INVERSION_TERMS):
        term *= flat / number
        reached += term
        counts += uniform > reached
    others = (flat >= _INVERSION_BELOW).nonzero()[:, 0]
    theirs = flat[others]
    many = theirs > _GAUSSIAN_FROM
    normal = torch.randn(theirs.shape, generator=generator, device=rate.device)
    # a normal law that reaches six sigma, once in 1e8 voxels, goes below no counts, and log1p to no number
    gaussian = torch.round(theirs + torch.sqrt(theirs) * normal).clamp_min(0.0)
    counts[others] = torch.where(many, gaussian, torch.poisson(theirs.masked_fill(many, 0.0), generator=generator))
    return counts.reshape(rate.shape)


def _cut_gaps(counts: Tensor, draws: Tensor, ranges: NuisanceRanges) -> None:
    chosen = (draws[:, 0] < ranges.gap_share).nonzero()[:, 0]
    if not len(chosen):
        return
    along, around, away, thickness = draws[chosen, 1:].unbind(1)
    cos, angle = 2 * along - 1, 2 * math.pi * around
    sin = torch.sqrt(1 - cos**2)
    width = _between(ranges.gap_width, thickness)
    nearest = ranges.gap_clearance + 0.5 * width
    middle = nearest + (_CENTRE - nearest) * away
    axis = _axis(counts) - _CENTRE
    plane = (cos[:, None] * axis)[:, :, None, None] - middle[:, None, None, None]
    plane = plane + (sin * torch.cos(angle))[:, None, None, None] * axis[None, None, :, None]
    plane = plane + (sin * torch.sin(angle))[:, None, None, None] * axis
    counts[chosen] = counts[chosen].masked_fill(plane.abs() < 0.5 * width[:, None, None, None], 0.0)
