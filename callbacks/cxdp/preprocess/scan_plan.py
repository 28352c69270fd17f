"""Checks a rocking curve's readings and orders its frames, before any counts are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import frame_normalisation, in_array_layout, pixel_gain
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import FrameOrder, order_frames
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import RockingMap, rocking_map


class InvalidDataError(BraggwatchError, ValueError):
    """The data can't give a model input; the message says why, for an operator."""


@dataclass(frozen=True, slots=True)
class DetectorImages:
    """Corrections of each pixel, in the layout of the frames at hand.

    Attributes
    ----------
    gain
        (R, C) float32, see `braggwatch.callbacks.cxdp.preprocess.corrections.PixelCorrections`.
    dark
        (R, C) float32 counts a frame, or shape (0, 0) for none.
    """

    gain: NDArray[np.float32]
    dark: NDArray[np.float32]


ImageMaker = Callable[[PreprocessingSettings, RockingGeometry, tuple[int, int], tuple[int, int]], DetectorImages]
"""Makes the images for settings, geometry, crop origin and (R, C); raises ValueError as `detector_images`."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """A curve that passed its checks: everything but the counts.

    Attributes
    ----------
    usable
        (N,) bool, frames that are there and have an angle.
    frame_scale
        (N,) float64 normalisation by monitor and transmission, median 1.
    flags
        What was noticed, in words for an operator.
    crop_origin
        First (row, column) of the frames at hand within the delivered frame.
    """

    usable: NDArray[np.bool_]
    order: FrameOrder
    mapping: RockingMap
    images: DetectorImages
    frame_scale: NDArray[np.float64]
    flags: tuple[str, ...]
    crop_origin: tuple[int, int]


def detector_images(
    settings: PreprocessingSettings, geometry: RockingGeometry, crop_origin: tuple[int, int], shape: tuple[int, int]
) -> DetectorImages:
    """Bring mask, flat and dark of the settings to the frames' layout.

    Raises
    ------
    ValueError
        If one has a shape that fits nothing.
    """
    mask, flat, dark = (
        None if image is None else in_array_layout(image, geometry, crop_origin, shape)
        for image in (settings.mask, settings.flat, settings.dark)
    )
    return DetectorImages(
        pixel_gain(shape, mask, flat),
        np.zeros((0, 0), dtype=np.float32) if dark is None else np.nan_to_num(dark).astype(np.float32),
    )


def plan_scan(curve: RockingCurve, settings: PreprocessingSettings, images: ImageMaker = detector_images) -> ScanPlan:
    """Check a curve's readings against its frames and order the frames.

    Parameters
    ----------
    curve
        Its frames are an (N, R, C) cube, of which only the shape counts here.
    images
        Makes the detector images; may be a cache.

    Raises
    ------
    InvalidDataError
        If no class may be given.
    """
    count, rows, columns = curve.frames.shape
    geometry, crop_origin = curve.geometry, curve.crop_origin
    angles = np.asarray(curve.angles_deg, dtype=np.float64)
    present = np.asarray(curve.present, dtype=np.bool_)
    if angles.shape != (count,) or present.shape != (count,):
        raise InvalidDataError(f"{count} frames, but angles of shape {angles.shape} and presence of {present.shape}")
    if (
        min(crop_origin) < 0
        or crop_origin[0] + rows > geometry.frame_shape[0]
        or crop_origin[1] + columns > geometry.frame_shape[1]
    ):
        raise InvalidDataError(
            f"frames of {rows} x {columns} at {crop_origin} don't fit the geometry's frame of {geometry.frame_shape}"
        )
    flags = list(curve.notes)
    usable = present & np.isfinite(angles)
    lost_angles = int(present.sum() - usable.sum())
    if lost_angles:
        flags.append(f"{lost_angles} frames have no finite angle and are left out")
    if int(usable.sum()) < settings.min_frames:
        raise InvalidDataError(
            f"only {int(usable.sum())} frames can be used, {settings.min_frames} are needed"
            + (f" ({lost_angles} have no finite angle)" if lost_angles else "")
        )
    if usable.mean() < settings.min_completeness:
        raise InvalidDataError(f"only {usable.mean():.0%} of the frames can be used")
    try:
        order = order_frames(angles, usable)
        mapping = rocking_map(geometry, crop_origin)
        made = images(settings, geometry, crop_origin, (rows, columns))
    except ValueError as error:
        raise InvalidDataError(str(error)) from error
    scale, unusable = frame_normalisation(count, curve.monitor, curve.transmission)
    if unusable:
        flags.append(f"{unusable} monitor or transmission readings are unusable")
    return ScanPlan(usable, order, mapping, made, scale, tuple(flags), crop_origin)
