"""From a rocking curve to the model input: correct, gather, scale, centre, assess quality."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import FrameStatistics, PixelCorrections, survey
from braggwatch.callbacks.cxdp.preprocess.model_input import make_model_input
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import CUBE, IndexPolynomial, gather
from braggwatch.callbacks.cxdp.preprocess.peak_centre import peak_centre
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.quality import invalid_quality
from braggwatch.callbacks.cxdp.preprocess.scale import SizeEstimate, estimate_size
from braggwatch.callbacks.cxdp.preprocess.scan_plan import InvalidDataError, ScanPlan, plan_scan
from braggwatch.callbacks.cxdp.preprocess.surveyed_frames import SurveyedFrames
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_curve
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.sim.geometry.model import RockingGeometry

__all__ = [
    "CpuPreprocessor",
    "PreprocessingSettings",
    "Preprocessor",
    "preprocess_arrays",
    "preprocess_curve",
    "warm_up",
]

logger = logging.getLogger(__name__)


class Preprocessor(Protocol):
    """Turns a rocking curve into what the network sees."""

    def __call__(self, curve: RockingCurve) -> ModelInput:
        """Preprocess one curve; bad data set ``quality.invalid_reason``, nothing is raised for them."""
        ...


class CpuPreprocessor:
    """Preprocess on one core with compiled kernels."""

    def __init__(self, settings: PreprocessingSettings) -> None:
        self.settings = settings

    def __call__(self, curve: RockingCurve) -> ModelInput:
        """Preprocess one curve; see `preprocess_curve`."""
        return preprocess_curve(curve, self.settings)


@dataclass(frozen=True, slots=True)
class _Cube:
    """A gathered cube in memory."""

    intensity: NDArray[np.float32]
    coverage: NDArray[np.float32]

    def size(self, voxel_size_inv_A: float) -> SizeEstimate | None:
        return estimate_size(self.intensity, voxel_size_inv_A)

    def centre(self, window_voxels: float) -> NDArray[np.float64]:
        return peak_centre(self.intensity, window_voxels)


@dataclass(frozen=True, slots=True)
class _Frames:
    """Frames in memory, surveyed."""

    frames: NDArray[np.generic]
    plan: ScanPlan
    corrections: PixelCorrections
    statistics: FrameStatistics

    def image(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        return self.statistics.total_image[rows, columns]

    def gather(self, polynomial: IndexPolynomial, samples: tuple[int, int, int]) -> _Cube:
        return _Cube(*gather(self.frames, self.plan.order, self.corrections, polynomial, samples))


def preprocess_curve(curve: RockingCurve, settings: PreprocessingSettings) -> ModelInput:
    """Preprocess one rocking curve, single-threaded; its frames are read in place, never written.

    Returns
    -------
    ModelInput
        If no class may be given, ``quality.invalid_reason`` says why and the intensity is zero or incomplete. Nothing
        is raised for bad data.
    """
    try:
        return make_model_input(survey_curve(curve, settings), curve.geometry, settings, curve.run_uid)
    except InvalidDataError as error:
        return unusable_input(curve.run_uid, str(error))


def survey_curve(curve: RockingCurve, settings: PreprocessingSettings) -> SurveyedFrames:
    """Check a curve's readings and pass over its frames once; they can then be gathered from.

    Raises
    ------
    InvalidDataError
        If no class may be given.
    """
    cube = readable(curve.frames)
    plan = plan_scan(curve, settings)
    corrections, statistics = survey(
        cube,
        plan.usable,
        plan.images.gain,
        plan.images.dark,
        plan.frame_scale,
        settings.saturation_counts,
        settings.hot_ratio,
        settings.hot_counts,
    )
    return _Frames(cube, plan, corrections, statistics)


def preprocess_arrays(
    frames: NDArray[np.generic],
    angles_deg: NDArray[np.float64],
    present: NDArray[np.bool_],
    geometry: RockingGeometry,
    settings: PreprocessingSettings,
    run_uid: str = "",
) -> ModelInput:
    """Preprocess whole frames given as arrays, without monitor or transmission; see `preprocess_curve`.

    Parameters
    ----------
    frames
        (N, R, C) counts in scan order, any real dtype.
    angles_deg
        (N,) readings of the scanned circle in degrees, without the geometry's offset.
    present
        (N,) bool, which frames arrived.
    geometry
        Geometry of the frames.
    run_uid
        Copied to the result.
    """
    curve = RockingCurve(
        run_uid=run_uid,
        frames=frames,
        angles_deg=angles_deg,
        present=present,
        monitor=None,
        transmission=None,
        crop_origin=(0, 0),
        geometry=geometry,
    )
    return preprocess_curve(curve, settings)


def unusable_input(run_uid: str, reason: str) -> ModelInput:
    """Return an empty input with the reason, and log it."""
    logger.warning("run %s can't be preprocessed: %s", run_uid or "(no uid)", reason)
    return ModelInput(
        run_uid=run_uid,
        intensity=np.zeros((CUBE, CUBE, CUBE), dtype=np.float32),
        basis=np.eye(3),
        centre_inv_A=np.zeros(3),
        quality=invalid_quality(reason),
    )


def readable(frames: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the cube in a dtype that the kernels read, copied only if byte order or layout require it.

    Raises
    ------
    InvalidDataError
        If the array is not an (N, R, C) cube of real counts.
    """
    if frames.ndim != 3 or 0 in frames.shape or min(frames.shape[1:]) < 2:
        raise InvalidDataError(f"frames of shape {frames.shape} are not a rocking curve")
    if frames.dtype.kind == "b":
        return frames.view(np.uint8)
    if frames.dtype.kind not in "iuf":
        raise InvalidDataError(f"frames of dtype {frames.dtype} are not counts")
    if frames.dtype == np.float16:
        return frames.astype(np.float32)
    if not frames.dtype.isnative:
        return frames.astype(frames.dtype.newbyteorder("="))
    return np.ascontiguousarray(frames)


def warm_up(preprocessor: Preprocessor) -> None:
    """Compile the kernels for the dtypes detectors deliver, by preprocessing a tiny artificial curve of each.

    Takes seconds the first time on a machine, then milliseconds from the cache on disk.
    """
    for dtype in (np.uint16, np.int32, np.uint32, np.float32):
        curve = artificial_curve(np.dtype(dtype))
        preprocessor(curve)
        curve.frames.flags.writeable = False  # read-only arrays have kernels of their own
        preprocessor(curve)
