"""Examines one curve's geometry at leisure: the verdict of the live path, each change tried, and what can't be told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.geometry_check.candidates import leaves_no_trace
from braggwatch.callbacks.cxdp.geometry_check.changes import GeometryChange, double_changes, single_changes
from braggwatch.callbacks.cxdp.geometry_check.checking import check_geometry
from braggwatch.callbacks.cxdp.geometry_check.rereading import Rereader
from braggwatch.callbacks.cxdp.geometry_check.star import fit_star
from braggwatch.callbacks.cxdp.geometry_check.trace import trace
from braggwatch.callbacks.cxdp.geometry_check.verdict import GeometryCheck
from braggwatch.callbacks.cxdp.preprocess.facets import facet_streaks
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import QGrid
from braggwatch.callbacks.cxdp.preprocess.preprocessing import preprocess_curve, survey_curve
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.quality import stated_crystal
from braggwatch.callbacks.cxdp.records import RockingCurve


@dataclass(frozen=True, slots=True)
class StreakView:
    """The peak as read with one geometry.

    Attributes
    ----------
    words
        The geometry: ``"as stated"``, or the change.
    intensity
        (64, 64, 64) counts, axis 0 along Q.
    found, expected
        (k, 3) directions of the streaks found, and (13, 3) of the crystal's facets turned to fit: lines in voxel axes;
        {111} (4), {100} (3), {110} (6). None of the latter where the crystal isn't known to be cubic.
    """

    words: str
    intensity: NDArray[np.float32]
    found: NDArray[np.float64]
    expected: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExaminedGeometry:
    """What one curve tells of its geometry.

    Attributes
    ----------
    check
        The verdict, with every single change tried; None if the curve couldn't be read at all.
    reason
        Why the curve gets no class, None if it may have one.
    no_trace
        Single changes that this scan can't show, at its place and with its reflection.
    views
        As stated, and with the first mend.
    """

    check: GeometryCheck | None
    reason: str | None
    no_trace: tuple[str, ...] = ()
    views: tuple[StreakView, ...] = ()


def examine_geometry(curve: RockingCurve, settings: PreprocessingSettings) -> ExaminedGeometry:
    """Examine one curve; unusable data give the reason, nothing is raised for them."""
    # found with all of the settings, facets included: else the live path makes no check
    settings = settings.model_copy(update={"facets": True})
    made = preprocess_curve(curve, settings)
    quality, geometry = made.quality, curve.geometry
    if quality.geometry is None:
        return ExaminedGeometry(None, quality.invalid_reason)
    frames = survey_curve(curve, settings)
    near = float(curve.angles_deg[frames.statistics.peak_index[0]])
    reader = Rereader(frames, QGrid(made.centre_inv_A, made.basis, quality.voxel_size_inv_A), near)
    crystal = stated_crystal(geometry, settings.max_d_deviation)
    stated = GeometryChange("as stated", geometry)
    singles = single_changes(geometry)
    streaks = reader.streaks(stated)
    if streaks is None:
        return ExaminedGeometry(quality.geometry, quality.invalid_reason)
    check = check_geometry(geometry, crystal, streaks, reader, try_all=True)
    shown = [stated, *(one for one in (*singles, *double_changes(geometry)) if one.words in check.mends[:1])]
    return ExaminedGeometry(
        check,
        quality.invalid_reason,
        tuple(one.words for one in singles if _unseen(reader, one)),
        tuple(view for one in shown if (view := _view(reader, one, crystal.hkl)) is not None),
    )


def _unseen(reader: Rereader, change: GeometryChange) -> bool:
    local = reader.local(change)
    return local is not None and leaves_no_trace(trace(reader.here, local))


def _view(reader: Rereader, change: GeometryChange, hkl: tuple[int, int, int] | None) -> StreakView | None:
    cube = reader.cube(change)
    if cube is None:
        return None
    streaks = facet_streaks(cube.intensity, cube.coverage)
    expected = np.zeros((0, 3)) if hkl is None else fit_star(streaks, hkl).directions
    return StreakView(change.words, cube.intensity, streaks.directions, expected)
