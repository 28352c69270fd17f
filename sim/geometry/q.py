"""Closed-form Q of (angle, row, column) for any diffractometer, and its exact inverse.

Conventions are those of `braggwatch.sim.geometry.model`: laboratory frame with z along the beam, Q = k_out - k_in with
|k| = 2 pi / lambda. Q is given in the **sample frame**: laboratory axes with all sample circles at zero, which is what
``xrayutilities.QConversion.area`` returns as (qx, qy, qz) for ``r_i = (0, 0, 1)``. With S the product of the sample
rotations (outer to inner), D that of the detector rotations and p a pixel's position at D = 1:
``Q = S^-1 (k D p / |p| - k z)``. The rotations follow Busing & Levy, Acta Cryst. 22, 457 (1967), for arbitrary axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braggwatch.sim.errors import InputError
from braggwatch.sim.geometry.model import Axis, Circle, DetectorTilt, RockingGeometry

HC_KEV_A = 12.398419843320026
"""Planck constant times speed of light in keV angstrom (exact in the 2019 SI)."""

_BEAM = np.array([0.0, 0.0, 1.0])


def axis_vector(axis: Axis) -> NDArray[np.float64]:
    """Return the (3,) unit vector of an axis such as ``"y-"`` in the laboratory frame."""
    vector = np.zeros(3)
    vector["xyz".index(axis[0])] = 1.0 if axis[1] == "+" else -1.0
    return vector


def rotation(axis: Axis, angle_deg: float) -> NDArray[np.float64]:
    """Return the (3, 3) matrix of the right-handed rotation about ``axis`` by ``angle_deg`` (Rodrigues)."""
    return _rotation_about(axis_vector(axis), angle_deg)


def _rotation_about(n: NDArray[np.float64], angle_deg: float) -> NDArray[np.float64]:
    cross = np.array([[0.0, -n[2], n[1]], [n[2], 0.0, -n[0]], [-n[1], n[0], 0.0]])
    angle = np.radians(angle_deg)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def _tilted(
    tilt: DetectorTilt | None, row_axis: NDArray[np.float64], column_axis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the directions of growing row and column index of a chip that may be tilted."""
    if tilt is None:
        return row_axis, column_axis
    normal = np.cross(row_axis, column_axis)
    towards = _rotation_about(normal, tilt.azimuth_deg) @ row_axis
    turn = rotation("z+", tilt.rotation_deg) @ _rotation_about(np.cross(towards, normal), tilt.tilt_deg)
    return turn @ row_axis, turn @ column_axis


def _product(circles: Sequence[Circle], readings_deg: Sequence[float]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for circle, reading in zip(circles, readings_deg, strict=True):
        matrix = matrix @ rotation(circle.axis, reading + circle.offset_deg)
    return matrix


@dataclass(frozen=True, slots=True)
class RockingMap:
    """The matrices of one rocking curve, which map (angle, row, column) to Q and back.

    Rows and columns are those of the given array: a delivered frame without its first ``crop_origin`` rows and columns.
    Build with `rocking_map`.

    Attributes
    ----------
    k_inv_A
        Wave number 2 pi / lambda in 1/angstrom.
    outer, inner
        (3, 3) products of the sample circles outside and inside the scanned one.
    scan_axis, scan_offset_deg
        Axis of the scanned circle and what is added to its readings.
    detector
        (3, 3) product of the detector circles.
    origin_m
        (3,) position of the array's pixel (0, 0) with the detector circles at zero, in metres.
    row_step_m, column_step_m
        (3,) displacements of one row and one column of the array, in metres.
    """

    k_inv_A: float
    outer: NDArray[np.float64]
    inner: NDArray[np.float64]
    scan_axis: Axis
    scan_offset_deg: float
    detector: NDArray[np.float64]
    origin_m: NDArray[np.float64]
    row_step_m: NDArray[np.float64]
    column_step_m: NDArray[np.float64]

    def q(self, angles_deg: ArrayLike, rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float64]:
        """Return Q in the sample frame, 1/angstrom.

        Parameters
        ----------
        angles_deg, rows, columns
            Readings of the scanned circle in degrees (without offset) and pixel indices; broadcast together.

        Returns
        -------
        (..., 3) float64
        """
        r = np.asarray(rows, dtype=np.float64)[..., None]
        c = np.asarray(columns, dtype=np.float64)[..., None]
        place = self.origin_m + r * self.row_step_m + c * self.column_step_m
        direction = place / np.linalg.norm(place, axis=-1, keepdims=True)
        q_lab = self.k_inv_A * (direction @ self.detector.T - _BEAM)
        # The sample's inverse, outside in: undo the outer circles, then the scanned one, then the inner ones.
        v = q_lab @ self.outer
        n = axis_vector(self.scan_axis)
        omega = np.radians(np.asarray(angles_deg, dtype=np.float64) + self.scan_offset_deg)[..., None]
        along = (v @ n)[..., None] * n
        turned = np.cos(omega) * (v - along) - np.sin(omega) * np.cross(n, v) + along
        return turned @ self.inner

    def index(self, q: ArrayLike, near_angle_deg: float) -> NDArray[np.float64]:
        """Return the (angle, row, column) at which Q satisfies the Bragg condition: the exact inverse of `q`.

        Parameters
        ----------
        q
            (..., 3) in the sample frame, 1/angstrom.
        near_angle_deg
            Any reading of the scan: of the two intersections with the Ewald sphere the nearer one is returned.

        Returns
        -------
        (..., 3) float64: reading of the scanned circle in degrees, row, column; NaN if rocking never brings Q to the
        Ewald sphere or the diffracted beam doesn't meet the detector's plane.
        """
        target = np.asarray(q, dtype=np.float64)
        w = target @ self.inner.T
        u = self.outer.T @ _BEAM
        n = axis_vector(self.scan_axis)
        # Bragg condition z.Q_lab = -Q^2 / 2k is  a cos(omega) + b sin(omega) = c  (Rodrigues on u.R(omega)w).
        axial = (w @ n) * float(u @ n)
        a = w @ u - axial
        b = np.cross(n, w) @ u
        c = -np.sum(target * target, axis=-1) / (2.0 * self.k_inv_A) - axial
        with np.errstate(invalid="ignore", divide="ignore"):
            half = np.arccos(c / np.hypot(a, b))
        middle = np.arctan2(b, a)
        near = np.radians(near_angle_deg + self.scan_offset_deg)
        first = _nearest_turn(middle + half, near)
        second = _nearest_turn(middle - half, near)
        omega = np.where(np.abs(first - near) <= np.abs(second - near), first, second)
        along = (w @ n)[..., None] * n
        cos, sin = np.cos(omega)[..., None], np.sin(omega)[..., None]
        q_lab = (cos * (w - along) + sin * np.cross(n, w) + along) @ self.outer.T
        beam = (q_lab + self.k_inv_A * _BEAM) @ self.detector
        normal = np.cross(self.row_step_m, self.column_step_m)
        with np.errstate(invalid="ignore", divide="ignore"):
            stretch = float(self.origin_m @ normal) / (beam @ normal)
        hit = np.where(stretch > 0, stretch, np.nan)[..., None] * beam - self.origin_m
        rows = hit @ self.row_step_m / float(self.row_step_m @ self.row_step_m)
        columns = hit @ self.column_step_m / float(self.column_step_m @ self.column_step_m)
        return np.stack([np.degrees(omega) - self.scan_offset_deg, rows, columns], axis=-1)


def _nearest_turn(angle: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    return near + np.mod(angle - near + np.pi, 2.0 * np.pi) - np.pi


def rocking_map(geometry: RockingGeometry, crop_origin: tuple[int, int] = (0, 0)) -> RockingMap:
    """Build the map of one rocking curve.

    Parameters
    ----------
    geometry
        The diffractometer.
    crop_origin
        First (row, column) of the array within the delivered frame.

    Raises
    ------
    InputError
        If the pixel rows or columns run along the beam, or the direct beam can't hit the detector at the readings it
        was measured at.
    """
    names = [circle.name for circle in geometry.sample_circles]
    at = names.index(geometry.scanned)
    circles = geometry.sample_circles
    outer, scanned, inner = circles[:at], circles[at], circles[at + 1 :]
    row_axis, column_axis = axis_vector(geometry.row_direction), axis_vector(geometry.column_direction)
    if row_axis[2] != 0 or column_axis[2] != 0:
        raise InputError("pixel rows and columns must be perpendicular to the beam with the detector circles at zero")
    row_axis, column_axis = _tilted(geometry.detector_tilt, row_axis, column_axis)
    normal = np.cross(row_axis, column_axis)
    row_pitch, column_pitch = geometry.pixel_size_m
    # The direct beam hits a known pixel at known readings: find the pixel it hits with all circles at zero.
    seen = _product(geometry.detector_circles, geometry.direct_beam_angles_deg).T @ _BEAM
    stretch = geometry.distance_m * float(_BEAM @ normal) / float(seen @ normal)
    if not stretch > 0:
        raise InputError("the direct beam can't hit the detector at direct_beam_angles_deg")
    beside = stretch * seen - geometry.distance_m * _BEAM
    beam_row = geometry.direct_beam_px[0] - float(beside @ row_axis) / row_pitch
    beam_column = geometry.direct_beam_px[1] - float(beside @ column_axis) / column_pitch
    # Chip coordinates of the delivered pixel (0, 0), then the steps of delivered rows and columns.
    first_row = geometry.roi_origin[0] + (geometry.binning[0] - 1) / 2
    first_column = geometry.roi_origin[1] + (geometry.binning[1] - 1) / 2
    chip_row_step = geometry.binning[0] * row_pitch * row_axis
    chip_column_step = geometry.binning[1] * column_pitch * column_axis
    corner = (
        geometry.distance_m * _BEAM
        + (first_row - beam_row) * row_pitch * row_axis
        + (first_column - beam_column) * column_pitch * column_axis
    )
    row_step, column_step = (
        (chip_column_step, chip_row_step) if geometry.transposed else (chip_row_step, chip_column_step)
    )
    return RockingMap(
        k_inv_A=2.0 * np.pi * geometry.energy_keV / HC_KEV_A,
        outer=_product(outer, [c.angle_deg for c in outer]),
        inner=_product(inner, [c.angle_deg for c in inner]),
        scan_axis=scanned.axis,
        scan_offset_deg=scanned.offset_deg,
        detector=_product(geometry.detector_circles, [c.angle_deg for c in geometry.detector_circles]),
        origin_m=corner + crop_origin[0] * row_step + crop_origin[1] * column_step,
        row_step_m=row_step,
        column_step_m=column_step,
    )


def pixel_q(geometry: RockingGeometry, angles_deg: ArrayLike, rows: ArrayLike, cols: ArrayLike) -> NDArray[np.float64]:
    """Return Q (sample frame, 1/angstrom) of delivered pixels at readings of the scanned circle.

    The arguments broadcast together; a whole scan is ``pixel_q(g, angles[:, None, None], rows[:, None], cols)``.

    Returns
    -------
    (..., 3) float64
    """
    return rocking_map(geometry).q(angles_deg, rows, cols)


def q_index(geometry: RockingGeometry, q: ArrayLike, near_angle_deg: float) -> NDArray[np.float64]:
    """Return (angle in degrees, row, column) of delivered pixels for Q: the exact inverse of `pixel_q`.

    See `RockingMap.index` for shapes and for what ``near_angle_deg`` chooses.
    """
    return rocking_map(geometry).index(q, near_angle_deg)
