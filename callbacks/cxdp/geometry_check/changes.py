"""Ways in which a geometry is stated wrongly: signs, directions, units and factors, each by itself or two at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

from braggwatch.sim.geometry.model import Axis, Circle, RockingGeometry

_AT_ZERO_DEG = 0.05


@dataclass(frozen=True, slots=True)
class GeometryChange:
    """A changed geometry.

    Attributes
    ----------
    words
        What is changed, e.g. ``"column direction flipped ('x-')"``.
    geometry
        The whole geometry, changed.
    rocking_scale
        True rocking steps over stated ones, see `braggwatch.callbacks.cxdp.geometry_check.trace.local_map`.
    changes
        How many single changes it is made of, 1 or 2.
    """

    words: str
    geometry: RockingGeometry
    rocking_scale: float = 1.0
    changes: int = 1


@dataclass(frozen=True, slots=True)
class _Single:
    """One change; those of one kind exclude each other."""

    kind: str
    words: str
    apply: Callable[[RockingGeometry], RockingGeometry]
    rocking_scale: float = 1.0
    pairs: bool = True


def single_changes(geometry: RockingGeometry) -> tuple[GeometryChange, ...]:
    """Return every single change of a geometry that is tried."""
    return tuple(GeometryChange(one.words, one.apply(geometry), one.rocking_scale) for one in _singles(geometry))


def double_changes(geometry: RockingGeometry) -> tuple[GeometryChange, ...]:
    """Return every two changes at once that are tried: of signs, directions and units, not of factors."""
    return tuple(
        GeometryChange(f"{first.words} and {second.words}", second.apply(first.apply(geometry)), changes=2)
        for first, second in combinations([one for one in _singles(geometry) if one.pairs], 2)
        if first.kind != second.kind
    )


def _singles(geometry: RockingGeometry) -> Iterator[_Single]:
    column, row = _flipped(geometry.column_direction), _flipped(geometry.row_direction)
    yield _Single("column", f"column direction flipped ('{column}')", lambda g: _updated(g, column_direction=column))
    yield _Single("row", f"row direction flipped ('{row}')", lambda g: _updated(g, row_direction=row))
    turned = str(not geometry.transposed).lower()
    yield _Single("transposed", f"transposed ({turned})", lambda g: _updated(g, transposed=not g.transposed))
    for number, circle in enumerate(geometry.detector_circles):
        if abs(circle.angle_deg + circle.offset_deg) > _AT_ZERO_DEG:
            yield _Single(f"detector {circle.name}", _sign(circle), _detector_flip(number))
    scanned = next(n for n, circle in enumerate(geometry.sample_circles) if circle.name == geometry.scanned)
    axis = _flipped(geometry.sample_circles[scanned].axis)
    yield _Single("rocking", f"rocking sign ({geometry.scanned}: '{axis}')", _sample_flip(scanned))
    # circles inside the scanned one turn the crystal alone, which leaves no trace
    for number, circle in enumerate(geometry.sample_circles[:scanned]):
        if abs(circle.angle_deg + circle.offset_deg) > _AT_ZERO_DEG:
            yield _Single(f"sample {circle.name}", _sign(circle), _sample_flip(number))
    for words, factor in (("eV instead of keV", 1e-3), ("MeV instead of keV", 1e3)):
        yield _Single("energy", f"energy in wrong units ({words})", _scaled_energy(factor))
    for words, factor in (("mm instead of m", 1e-3), ("km instead of m", 1e3)):
        yield _Single("distance", f"distance in wrong units ({words})", _scaled_distance(factor))
    for words, factor in (("5 % too long", 1 / 1.05), ("5 % too short", 1 / 0.95)):
        yield _Single("distance", f"distance {words}", _scaled_distance(factor), pairs=False)
    for words, factor in (("half of what is stated", 0.5), ("twice what is stated", 2.0)):
        yield _Single("step", f"rocking step {words}", _same, factor, pairs=False)
        yield _Single("binning", f"pixels {words} (binning)", _scaled_pixels(factor), pairs=False)


def _same(geometry: RockingGeometry) -> RockingGeometry:
    return geometry


def _updated(geometry: RockingGeometry, **fields: object) -> RockingGeometry:
    return geometry.model_copy(update=fields)


def _flipped(axis: Axis) -> Axis:
    flipped: dict[Axis, Axis] = {"x+": "x-", "x-": "x+", "y+": "y-", "y-": "y+", "z+": "z-", "z-": "z+"}
    return flipped[axis]


def _sign(circle: Circle) -> str:
    return f"{circle.name}'s sign ('{_flipped(circle.axis)}')"


def _turned(circles: tuple[Circle, ...], number: int) -> tuple[Circle, ...]:
    changed = circles[number].model_copy(update={"axis": _flipped(circles[number].axis)})
    return (*circles[:number], changed, *circles[number + 1 :])


def _detector_flip(number: int) -> Callable[[RockingGeometry], RockingGeometry]:
    return lambda g: _updated(g, detector_circles=_turned(g.detector_circles, number))


def _sample_flip(number: int) -> Callable[[RockingGeometry], RockingGeometry]:
    return lambda g: _updated(g, sample_circles=_turned(g.sample_circles, number))


def _scaled_energy(factor: float) -> Callable[[RockingGeometry], RockingGeometry]:
    return lambda g: _updated(g, energy_keV=g.energy_keV * factor)


def _scaled_distance(factor: float) -> Callable[[RockingGeometry], RockingGeometry]:
    return lambda g: _updated(g, distance_m=g.distance_m * factor)


def _scaled_pixels(factor: float) -> Callable[[RockingGeometry], RockingGeometry]:
    """Scale delivered pixels about the frame's first, as binning does; the direct beam stays at its chip pixel."""

    def scaled(geometry: RockingGeometry) -> RockingGeometry:
        pitch = (geometry.pixel_size_m[0] * factor, geometry.pixel_size_m[1] * factor)
        beam = (geometry.direct_beam_px[0] / factor, geometry.direct_beam_px[1] / factor)
        origin = (geometry.roi_origin[0] / factor, geometry.roi_origin[1] / factor)
        return _updated(geometry, pixel_size_m=pitch, direct_beam_px=beam, roi_origin=origin)

    return scaled
