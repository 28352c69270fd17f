"""Assesses the quality of a preprocessed peak: what an operator must know before trusting a verdict on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.geometry_check.checking import POSSIBLE_D_A, StatedCrystal
from braggwatch.callbacks.cxdp.geometry_check.verdict import GeometryCheck, GeometryVerdict, what_fits
from braggwatch.callbacks.cxdp.preprocess.corrections import FrameStatistics
from braggwatch.callbacks.cxdp.preprocess.facets import Streaks, ideal_angle_error_deg, mutual_angles_deg
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import QGrid
from braggwatch.callbacks.cxdp.records import Quality
from braggwatch.sim.crystallography.lattices import LATTICES
from braggwatch.sim.geometry.model import RockingGeometry

_FEWEST_STREAKS = 4


def invalid_quality(reason: str) -> Quality:
    """Return the record of data that gave no model input."""
    return Quality(
        coverage=0.0,
        peak_counts=0.0,
        total_counts=0.0,
        saturated_pixels=0,
        size_nm=None,
        scale_valid=False,
        voxel_size_inv_A=0.0,
        q_inv_A=0.0,
        d_spacing_A=0.0,
        d_deviation=None,
        invalid_reason=reason,
    )


def d_deviation(d_spacing_A: float, geometry: RockingGeometry) -> float | None:
    """Return the relative deviation of d from that of the stated reflection, None if none is stated."""
    expected = _stated_d_A(geometry)
    return None if expected is None else d_spacing_A / expected - 1.0


def contradiction(d_spacing_A: float, geometry: RockingGeometry, max_d_deviation: float) -> str | None:
    """Say how the measured d contradicts the stated reflection; None if it doesn't, or none is stated.

    Strain, alloying and heat change d by about a percent. Beyond the limit the geometry, the reflection or the lattice
    is not as stated, so the model input doesn't show the stated crystal.
    """
    expected = _stated_d_A(geometry)
    deviation = d_deviation(d_spacing_A, geometry)
    if expected is None and not POSSIBLE_D_A[0] <= d_spacing_A <= POSSIBLE_D_A[1]:
        return (
            f"no crystal measured so has a d-spacing of {d_spacing_A:.4g} Å: check the unit of the energy (keV) and of "
            "the distance (m) in the preset"
        )
    if expected is None or deviation is None or abs(deviation) <= max_d_deviation:
        return None
    hkl = " ".join(map(str, geometry.hkl or ()))
    return (
        f"the measured d-spacing, {d_spacing_A:.4f} Å, contradicts the stated reflection ({hkl}), {expected:.4f} Å: "
        f"it is {deviation:+.1%} off, the limit is {max_d_deviation:.1%} (preprocessing.max_d_deviation); check the "
        "preset's row and column directions and direct beam, the unit of the energy (keV) and of the distance (m), the "
        "detector circles, hkl and the lattice parameter"
    )


def _stated_d_A(geometry: RockingGeometry) -> float | None:
    a, c = geometry.lattice_parameter_A, geometry.lattice_parameter_c_A
    if geometry.hkl is None or a is None or geometry.hkl == (0, 0, 0):
        return None
    if geometry.crystal_lattice.system != "hexagonal":
        return a / float(np.linalg.norm(geometry.hkl))
    return None if c is None else LATTICES["hcp"].d_spacing(geometry.hkl, a, c)


def stated_crystal(geometry: RockingGeometry, max_d_deviation: float) -> StatedCrystal:
    """Return what the geometry states of the crystal, for the check of the geometry."""
    hkl = geometry.hkl if geometry.crystal_lattice.system == "cubic" and geometry.hkl != (0, 0, 0) else None
    return StatedCrystal(_stated_d_A(geometry), hkl, max_d_deviation)


def _has_octahedra(geometry: RockingGeometry) -> bool:
    """Whether small crystals of this lattice may end in {111} and {100}; also where the lattice isn't known."""
    names = geometry.crystal_lattice.names
    return not names or any(LATTICES[name].centring == "F" for name in names)


def assess(
    *,
    intensity: NDArray[np.float32],
    coverage: NDArray[np.float32],
    grid: QGrid,
    statistics: FrameStatistics,
    geometry: RockingGeometry,
    size_nm: float | None,
    scale_doubts: tuple[str, ...],
    flags: tuple[str, ...],
    max_d_deviation: float,
    min_coverage: float,
    streaks: Streaks | None,
    check: GeometryCheck | None,
) -> Quality:
    """Build the quality record of one model input.

    Parameters
    ----------
    intensity, coverage
        (64, 64, 64) from the final gather.
    grid
        Position and orientation of the cube.
    statistics
        Result of the pass over the raw frames.
    geometry
        For the stated reflection and lattice parameter.
    size_nm
        L from the autocorrelation, None where there was none.
    scale_doubts
        Why L can't be trusted; empty where it can.
    flags
        Flags found before.
    max_d_deviation, min_coverage
        Limits, as in the settings.
    streaks
        Facet streaks, None where none were looked for.
    check
        Whether the scan contradicts its geometry, None where that wasn't checked.
    """
    noticed = list(flags)
    q = float(np.linalg.norm(grid.centre_inv_A))
    d_spacing = 2.0 * np.pi / q
    deviation = d_deviation(d_spacing, geometry)
    contradicted = contradiction(d_spacing, geometry, max_d_deviation)
    if contradicted is not None and deviation is not None:
        noticed.append(f"d-spacing {d_spacing:.4f} Å is {deviation:+.1%} off the stated reflection")
    elif deviation is None and None not in (geometry.hkl, geometry.lattice_parameter_A):
        noticed.append("d-spacing not compared: a hexagonal lattice needs lattice_parameter_c_A in the preset")
    noticed.extend(f"scale: {doubt}" for doubt in scale_doubts)
    covered = float(coverage.mean())
    if statistics.saturated:
        noticed.append(f"{statistics.saturated} saturated readings")
    if statistics.invalid:
        noticed.append(f"{statistics.invalid} readings are negative, not finite or marked and were left out")
    if statistics.outliers:
        noticed.append(f"{statistics.outliers} isolated hot readings were left out")
    angles: tuple[float, ...] = ()
    error: float | None = None
    if streaks is not None:
        angles = tuple(float(angle) for angle in mutual_angles_deg(streaks.directions))
        if len(streaks.directions) >= _FEWEST_STREAKS and _has_octahedra(geometry):
            error = ideal_angle_error_deg(np.asarray(angles))
    reason: str | None = None
    if not np.isfinite(intensity).all() or float(intensity.max()) <= 0:
        reason = "no intensity in the model input"
    elif contradicted is not None:
        # Checked before the coverage, which a wrong geometry reduces too.
        reason = contradicted
        if check is not None and check.mends:
            reason = f"{reason}; {what_fits(check.mends)}"
    elif check is not None and check.verdict is GeometryVerdict.INCONSISTENT:
        reason = f"the scan contradicts its geometry: {check.statement}"
    elif covered < min_coverage:
        reason = f"only {covered:.0%} of the model input was measured"
    return Quality(
        coverage=covered,
        peak_counts=statistics.peak_counts,
        total_counts=float(statistics.frame_totals.sum()),
        saturated_pixels=statistics.saturated,
        size_nm=size_nm,
        scale_valid=not scale_doubts,
        voxel_size_inv_A=grid.voxel_size_inv_A,
        q_inv_A=q,
        d_spacing_A=d_spacing,
        d_deviation=deviation,
        facet_angles_deg=angles,
        facet_angle_error_deg=error,
        geometry=check,
        flags=tuple(noticed),
        invalid_reason=reason,
    )
