"""Augmentation while training: only what keeps the Q axis, since the line's direction to Q tells screw from edge.

The 16 operations about the peak (index 32) that map the Q axis onto itself: three flips times the swap of the two axes
across Q. All 48 of the cube cost 19 points of accuracy in a prototype.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def symmetry_copy(volumes: Tensor, generator: torch.Generator) -> Tensor:
    """Apply one random operation of the 16 to each of (B, 64, 64, 64) volumes, axis 1 along Q."""
    draws = torch.randint(0, 2, (len(volumes), 4), generator=generator, device=generator.device)
    out: list[Tensor] = []
    for volume, draw in zip(volumes, draws.tolist(), strict=True):
        axes = [axis for axis in range(3) if draw[axis]]
        # about the peak at 32, not between 31 and 32: then only the first plane along an axis has no partner
        copy = torch.roll(torch.flip(volume, axes), [1] * len(axes), axes) if axes else volume
        out.append(copy.transpose(1, 2) if draw[3] else copy)
    return torch.stack(out)


def turn_copy(volumes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Turn a ``share`` of (B, 64, 64, 64) volumes about Q by any angle, bilinearly: a crystal has no preferred one."""
    draws, angles = torch.rand((len(volumes), 2), generator=generator, device=generator.device).unbind(1)
    chosen = (draws < share).nonzero()[:, 0].to(volumes.device)
    if not len(chosen):
        return volumes
    angles = 2 * math.pi * angles.to(volumes.device)[chosen]
    cos, sin, none = torch.cos(angles), torch.sin(angles), torch.zeros_like(angles)
    matrices = torch.stack([cos, -sin, none, sin, cos, none], dim=1).reshape(-1, 2, 3)
    turned = volumes.clone()
    # the last voxel plane has no partner about the centre (32, 32): aligned corners of a 65-wide field
    field = functional.pad(volumes[chosen], (0, 1, 0, 1))
    grid = functional.affine_grid(matrices, [len(chosen), 1, *field.shape[2:]], align_corners=True)
    turned[chosen] = functional.grid_sample(field, grid, align_corners=True)[:, :, :-1, :-1]
    return turned


def shift_copy(volumes: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Shift each volume by up to ``largest`` voxels along every axis (the centring's own uncertainty), zeros enter."""
    shifts = torch.randint(-largest, largest + 1, (len(volumes), 3), generator=generator, device=generator.device)
    out = torch.zeros_like(volumes)
    for index, shift in enumerate(shifts.tolist()):
        source: list[slice] = []
        target: list[slice] = []
        for step, size in zip(shift, volumes.shape[1:], strict=True):
            source.append(slice(max(0, -step), size - max(0, step)))
            target.append(slice(max(0, step), size - max(0, -step)))
        out[(index, *target)] = volumes[(index, *source)]
    return out


def normalise(log_intensity: Tensor) -> Tensor:
    """Divide each volume of log1p counts by its maximum, as the deployed graph does."""
    peak = log_intensity.amax(dim=(1, 2, 3), keepdim=True)
    return log_intensity / peak.clamp_min(1e-6)
