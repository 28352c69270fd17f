"""What a change of geometry does to the pattern that is read: which changes leave a trace in one scan, and which don't.

About a peak, a geometry maps (rocking angle, row, column) to Q linearly: ``q = q0 + J (angle, row, column)``. Two
geometries ``(q0, J)`` and ``(q0', J')`` differ in the pattern read by the linear map ``F = J' J^-1``. The crystal's
orientation isn't known, so a rotation of everything can't be seen; nor can an inversion, as |F(q)|² has the symmetry
of inversion about the peak wherever the crystal isn't strained; nor a mirror image, as the facets of a cubic crystal
have mirror planes. What is left is |q0|, the stretches of F, and where q0 points among the streaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.geometry.q import RockingMap

_STEP_DEG = 1e-4


@dataclass(frozen=True, slots=True)
class LocalMap:
    """The linear map about one place of a scan.

    Attributes
    ----------
    q_inv_A
        (3,) Q of the place, sample frame, 1/angstrom.
    jacobian
        (3, 3) columns: change of Q a degree of the scanned circle's reading, a row, a column, 1/angstrom.
    """

    q_inv_A: NDArray[np.float64]
    jacobian: NDArray[np.float64]

    @property
    def d_spacing_A(self) -> float:
        """2 pi / |Q|, angstrom."""
        return 2.0 * np.pi / float(np.linalg.norm(self.q_inv_A))


@dataclass(frozen=True, slots=True)
class Trace:
    """How far what is read changes.

    Attributes
    ----------
    d_ratio
        d-spacing read with the second geometry over that read with the first.
    turn_deg
        The largest angle by which a direction moves against the others, or against Q, degrees.
    """

    d_ratio: float
    turn_deg: float


def local_map(mapping: RockingMap, place: tuple[float, float, float], rocking_scale: float = 1.0) -> LocalMap:
    """Return the linear map about a place.

    Parameters
    ----------
    mapping
        Q of (angle, row, column).
    place
        Reading of the scanned circle in degrees, row, column.
    rocking_scale
        True rocking steps over stated ones: readings count that much more, from the place on.
    """
    angle, row, column = place
    angles = np.array([angle, angle + _STEP_DEG, angle - _STEP_DEG, angle, angle, angle, angle])
    rows = np.array([row, row, row, row + 0.5, row - 0.5, row, row])
    columns = np.array([column, column, column, column, column, column + 0.5, column - 0.5])
    q = mapping.q(angles, rows, columns)
    steps = np.stack([(q[1] - q[2]) / (2 * _STEP_DEG) * rocking_scale, q[3] - q[4], q[5] - q[6]], axis=1)
    return LocalMap(q[0], steps)


def between(first: LocalMap, second: LocalMap) -> NDArray[np.float64]:
    """Return the (3, 3) map F from directions read with the first geometry to those read with the second."""
    return second.jacobian @ np.linalg.inv(first.jacobian)


def trace(first: LocalMap, second: LocalMap) -> Trace:
    """Return what is seen of the change from the first geometry to the second."""
    change = between(first, second)
    stretches = np.linalg.svd(change, compute_uv=False)
    # the pair of directions that a stretch by s1 and s3 turns most lies half-way between its axes
    against_others = np.degrees(2.0 * np.arcsin((stretches[0] - stretches[-1]) / (stretches[0] + stretches[-1])))
    moved = change @ first.q_inv_A
    cosine = abs(float(moved @ second.q_inv_A)) / float(np.linalg.norm(moved) * np.linalg.norm(second.q_inv_A))
    against_q = np.degrees(np.arccos(min(cosine, 1.0)))
    return Trace(second.d_spacing_A / first.d_spacing_A, float(max(against_others, against_q)))
