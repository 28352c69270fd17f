"""Groups of patterns by what is known of them: each key gives a pattern's group and the group's place in the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import floor, inf, log10

from braggwatch.models.cxdp.predictions import NO_ARTEFACT, Prediction

LINE_OFFSET_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, inf)
"""Bins of the distance of a line from the centre, in cube roots of the crystal's volume."""
_COMPLETENESS_EDGES = (0.0, 0.5, 0.8, 0.95, 1.0, inf)
_STRAIN_EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, inf)
_BLUR_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, inf)
_ASPECT_EDGES = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, inf)

GroupKey = Callable[[Prediction], tuple[float, str] | None]
"""Place in the order and name of a pattern's group; None: in no group."""


def by_counts(one: Prediction) -> tuple[float, str] | None:
    """Group by decade of the largest voxel."""
    if one.peak_counts <= 0.0:
        return None
    decade = floor(log10(one.peak_counts))
    return float(decade), f"1e{decade} to 1e{decade + 1}"


def by_element(one: Prediction) -> tuple[float, str] | None:
    """Group by chemical symbol."""
    return None if one.element is None else (0.0, one.element)


def by_reflection(one: Prediction) -> tuple[float, str] | None:
    """Group by the family of reflections."""
    if one.hkl is None:
        return None
    return float(sum(index * index for index in one.hkl)), family(one.hkl)


def by_visibility(one: Prediction) -> tuple[float, str] | None:
    """Group by the size of g·b: how many fringes the line's displacement moves the phase by."""
    if one.g_dot_b is None:
        return None
    size = round(abs(one.g_dot_b), 2)
    return size, f"{size:g}"


def by_line_offset(one: Prediction) -> tuple[float, str] | None:
    """Group by distance of the line from the centre."""
    return _band(one.line_offset, LINE_OFFSET_EDGES)


def by_completeness(one: Prediction) -> tuple[float, str] | None:
    """Group by the share of the rocking curve's frames that arrived."""
    return _band(one.completeness, _COMPLETENESS_EDGES)


def by_strain(one: Prediction) -> tuple[float, str] | None:
    """Group by smooth strain, as the phase that it makes in rad."""
    return _band(one.strain_rad, _STRAIN_EDGES)


def by_blur(one: Prediction) -> tuple[float, str] | None:
    """Group by the blur of partial coherence, in fringes."""
    return _band(one.blur_fringes, _BLUR_EDGES)


def by_aspect(one: Prediction) -> tuple[float, str] | None:
    """Group by longest over shortest extent of the crystal."""
    return _band(one.aspect, _ASPECT_EDGES)


def by_artefact(one: Prediction) -> tuple[float, str] | None:
    """Group by what spoils the pattern, the unspoilt first."""
    return None if one.artefact is None else (float(one.artefact != NO_ARTEFACT), one.artefact.replace("_", " "))


def by_lattice(one: Prediction) -> tuple[float, str] | None:
    """Group by the crystal's lattice."""
    return None if one.lattice is None else (0.0, one.lattice)


def by_source(one: Prediction) -> tuple[float, str] | None:
    """Group by where the crystal came from."""
    return None if one.source is None else (0.0, one.source)


def family(hkl: tuple[int, int, int]) -> str:
    """Name of a cubic family of reflections, e.g. '{311}'."""
    return "{" + "".join(str(index) for index in sorted((abs(i) for i in hkl), reverse=True)) + "}"


def _band(value: float | None, edges: Sequence[float]) -> tuple[float, str] | None:
    if value is None:
        return None
    size = abs(value)
    for low, high in pairwise(edges):
        if low <= size < high:
            return low, band_name(low, high)
    return None


def band_name(low: float, high: float) -> str:
    """Name of a bin, e.g. '0.1 to 0.2', or 'from 0.5' where it has no end."""
    return f"{low:g} to {high:g}" if high < inf else f"from {low:g}"
