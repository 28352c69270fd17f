"""The log odds of a voxel given the voxels around it, by the rule of an order bundle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from braggwatch.models.apt.order_rule import OrderRule, RuleInput
from braggwatch.models.apt.threshold import smooth
from braggwatch.sim.errors import InputError


def rule_inputs(
    maps: Mapping[str, NDArray[np.floating]], known: NDArray[np.bool_], inputs: tuple[str, ...]
) -> NDArray[np.float32]:
    """Return (known voxels, inputs) float32.

    Parameters
    ----------
    maps
        (nx, ny, nz) each, by the names of `braggwatch.models.apt.order_rule.FIELDS`.
    known
        Voxels with a score; others have no weight.
    inputs
        As `RuleInput.parse` takes them.

    Raises
    ------
    InputError
        If a map has no value where there is a score.
    """
    smoothed: dict[tuple[str, float], NDArray[np.float32]] = {}
    out = np.empty((int(known.sum()), len(inputs)), dtype=np.float32)
    for column, text in enumerate(inputs):
        one = RuleInput.parse(text)
        key = one.field, one.smoothing_voxels
        if key not in smoothed:
            values = np.where(known, maps[one.field], np.nan).astype(np.float32)
            smoothed[key] = values if one.smoothing_voxels == 0 else smooth(values, one.smoothing_voxels)
        found = smoothed[key]
        if one.extreme == "max":
            found = maximum_filter(np.where(known, found, -np.inf), one.cube_voxels, mode="constant", cval=-np.inf)
        elif one.extreme == "min":
            found = minimum_filter(np.where(known, found, np.inf), one.cube_voxels, mode="constant", cval=np.inf)
        out[:, column] = found[known]
    if not np.isfinite(out).all():
        raise InputError("scores without a spread or a modulation: the rule can't be used on them")
    return out


def neighbourhood_log_odds(
    rule: OrderRule, maps: Mapping[str, NDArray[np.floating]], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the log odds that at least half of a voxel's ions are of an ordered precipitate, NaN without a score.

    Parameters and errors are those of `rule_inputs`.
    """
    out = np.full(known.shape, np.nan, dtype=np.float32)
    middle, scale = np.array(rule.middle, dtype=np.float32), np.array(rule.scale, dtype=np.float32)
    x = (rule_inputs(maps, known, rule.inputs) - middle) / scale
    units = np.tanh(x @ np.array(rule.hidden, dtype=np.float32).T + np.array(rule.hidden_bias, dtype=np.float32))
    out[known] = units @ np.array(rule.out, dtype=np.float32) + np.float32(rule.out_bias)
    return out
