"""A tiny artificial rocking curve, to compile kernels on before the first real one arrives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.sim.geometry.model import Circle, RockingGeometry

_FRAMES, _EDGE = 24, 48


def artificial_geometry() -> RockingGeometry:
    """Return a two-circle geometry for 48 x 48 pixels on the Au 111 peak at 9 keV."""
    return RockingGeometry(
        energy_keV=9.0,
        sample_circles=(Circle(name="th", axis="y+", angle_deg=0.0, offset_deg=0.0),),
        scanned="th",
        detector_circles=(Circle(name="delta", axis="y+", angle_deg=34.04, offset_deg=0.0),),
        distance_m=0.5,
        pixel_size_m=(55e-6, 55e-6),
        row_direction="y-",
        column_direction="x+",
        detector_tilt=None,
        direct_beam_px=(_EDGE / 2, _EDGE / 2),
        direct_beam_angles_deg=(0.0,),
        chip_shape=(_EDGE, _EDGE),
        roi_origin=(0, 0),
        binning=(1, 1),
        frame_shape=(_EDGE, _EDGE),
        transposed=False,
        material="Au",
        lattice_parameter_A=4.0782,
        hkl=(1, 1, 1),
    )


def artificial_curve(dtype: np.dtype[np.generic]) -> RockingCurve:
    """Return a curve of 24 frames with one Gaussian peak of 1e4 counts in the given dtype."""
    axes = [np.arange(n) - n / 2 for n in (_FRAMES, _EDGE, _EDGE)]
    profile = [np.exp(-0.5 * (axis / width) ** 2) for axis, width in zip(axes, (2.0, 3.0, 3.0), strict=True)]
    counts: NDArray[np.float64] = 1e4 * profile[0][:, None, None] * profile[1][:, None] * profile[2]
    return RockingCurve(
        run_uid="warm-up",
        frames=np.rint(counts).astype(dtype),
        angles_deg=np.linspace(-0.1, 0.1, _FRAMES),
        present=np.ones(_FRAMES, dtype=np.bool_),
        monitor=None,
        transmission=None,
        crop_origin=(0, 0),
        geometry=artificial_geometry(),
    )
