"""A diffraction pattern as the page draws it: small, on a logarithmic scale, with the spots that were found."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.sadp.records import PatternReport
from braggwatch.sim.errors import InputError

LARGEST_SIDE = 256
_BRIGHTEST_SHARE = 99.9


@dataclass(frozen=True, slots=True)
class PatternPicture:
    """What the page draws.

    Attributes
    ----------
    pixels
        (rows, columns) uint8: logarithm of the counts above the background, 255 at the brightest spots.
    seq_num
        Of the pattern's event.
    centre
        Direct beam, (x, y) in pixels of the picture, None where none was found.
    spots
        (N, 3) of the diffracted spots: x, y in pixels of the picture, and intensity relative to the brightest.
    inv_nm_per_px
        Scale of the picture, None without a calibration.
    """

    pixels: NDArray[np.uint8]
    seq_num: int
    centre: tuple[float, float] | None
    spots: NDArray[np.float64]
    inv_nm_per_px: float | None


def draw(report: PatternReport) -> PatternPicture | None:
    """Make the picture of a report; None where there was no frame."""
    if report.frame is None:
        return None
    step = max(1, -(-max(report.frame.shape) // LARGEST_SIDE))
    measured = report.measured
    scale = report.result.inv_nm_per_px
    centre, spots = None, np.zeros((0, 3))
    if measured is not None and len(measured.intensity):
        # A picture of bins: its pixel k covers k * step to k * step + step - 1, centred half a step further.
        shift = (step - 1) / 2.0
        x, y = measured.centre_px
        centre = ((x - shift) / step, (y - shift) / step)
        places = (measured.positions_px + np.array([x, y]) - shift) / step
        spots = np.column_stack([places, measured.intensity / measured.intensity.max()])
    return PatternPicture(
        pixels=_shown(report.frame, step),
        seq_num=report.result.seq_num,
        centre=centre,
        spots=spots,
        inv_nm_per_px=None if scale is None else scale * report.binning * step,
    )


def pack_picture(picture: PatternPicture) -> bytes:
    """Pack for the store and the wire: a line of JSON, then the pixels, compressed."""
    head = {
        "shape": list(picture.pixels.shape),
        "seq_num": picture.seq_num,
        "centre": picture.centre,
        "spots": np.round(picture.spots, 3).tolist(),
        "inv_nm_per_px": picture.inv_nm_per_px,
    }
    return zlib.compress(json.dumps(head).encode() + b"\n" + picture.pixels.tobytes(), 1)


def unpack_picture(packed: bytes) -> PatternPicture:
    """Reverse of `pack_picture`.

    Raises
    ------
    InputError
        Where the bytes are no packed picture.
    """
    try:
        head, _, body = zlib.decompress(packed).partition(b"\n")
        facts = json.loads(head)
        pixels = np.frombuffer(body, np.uint8).reshape(facts["shape"])
        centre = facts["centre"]
        return PatternPicture(
            pixels=pixels,
            seq_num=facts["seq_num"],
            centre=None if centre is None else (float(centre[0]), float(centre[1])),
            spots=np.array(facts["spots"], np.float64).reshape(-1, 3),
            inv_nm_per_px=facts["inv_nm_per_px"],
        )
    except (zlib.error, KeyError, TypeError, IndexError) as error:
        raise InputError(f"no packed picture: {error}") from error


def _shown(frame: NDArray[np.generic], step: int) -> NDArray[np.uint8]:
    counts = np.nan_to_num(frame.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if step > 1:
        rows, columns = (side // step * step for side in counts.shape)
        counts = counts[:rows, :columns].reshape(rows // step, step, columns // step, step).max(axis=(1, 3))
    background = float(np.median(counts))
    above = np.log1p(np.maximum(counts - background, 0.0))
    highest = float(np.percentile(above, _BRIGHTEST_SHARE)) or float(above.max()) or 1.0
    return np.clip(np.round(above * (255.0 / highest)), 0, 255).astype(np.uint8)
