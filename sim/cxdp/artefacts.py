"""What spoils whole patterns: partial coherence, gaps and blank frames through the peak, clipping, a scan cut short.

All lengths are in fringes of the particle (2π/L, or 1/L without the 2π), so that the same specification serves on a
detector's frames and on the model's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter

ArtefactKind = Literal["gap", "blank_frames", "attenuated_frames", "clipped", "cut_off"]
ARTEFACT_KINDS: tuple[ArtefactKind, ...] = get_args(ArtefactKind)


class ArtefactSpec(BaseModel):
    """How often and how strongly patterns are spoilt. Lengths in fringes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blurred_fraction: float = Field(default=0.0, ge=0, le=1, description="Share of patterns with partial coherence.")
    blur: tuple[float, float] = Field(default=(0.0, 0.5), description="Gaussian sigma along each axis, uniform.")
    spoilt_fraction: float = Field(default=0.0, ge=0, le=1, description="Share of patterns with one of ``kinds``.")
    kinds: tuple[ArtefactKind, ...] = ARTEFACT_KINDS
    gap_width: tuple[float, float] = Field(
        default=(0.2, 2.5), description="Dead slab: 1 to 8 pixels at 2.3 to 6 pixels a fringe; log-uniform."
    )
    gap_distance: tuple[float, float] = Field(default=(0.0, 2.0), description="Of its middle from the peak, uniform.")
    frames_width: tuple[float, float] = Field(
        default=(0.1, 1.0), description="Blank or attenuated frames: 1 to 3 at 2.5 to 9 frames a fringe; log-uniform."
    )
    frames_distance: tuple[float, float] = Field(default=(0.0, 0.8), description="Of their middle from the peak.")
    attenuation: tuple[float, float] = Field(default=(0.03, 0.5), description="Factor that nobody stated; log-uniform.")
    clip: tuple[float, float] = Field(default=(0.1, 0.8), description="Saturation over the peak; log-uniform.")
    cut_off: tuple[float, float] = Field(default=(0.5, 4.0), description="Where the rocking curve ends, one side.")


NO_ARTEFACTS = ArtefactSpec()


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What spoils one pattern.

    Attributes
    ----------
    blur
        Gaussian sigma along the three axes, fringes.
    kind
        None: no more than the blur.
    middle, width
        Of a slab, in fringes from the peak along its normal; ``middle`` is also where a scan cut short ends.
    factor
        Attenuation, or saturation over the peak.
    """

    blur: tuple[float, float, float]
    kind: ArtefactKind | None
    middle: float = 0.0
    width: float = 0.0
    factor: float = 0.0

    @property
    def spoils(self) -> bool:
        """Whether there is anything to do."""
        return self.kind is not None or any(self.blur)


UNSPOILT = Artefacts((0.0, 0.0, 0.0), None)


def random_artefacts(spec: ArtefactSpec, rng: np.random.Generator) -> Artefacts:
    """Draw what spoils one pattern."""

    def log_uniform(bounds: tuple[float, float]) -> float:
        return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))

    def around(bounds: tuple[float, float]) -> float:
        return float(rng.uniform(*bounds)) * float(rng.choice((-1.0, 1.0)))

    blur = (0.0, 0.0, 0.0)
    if rng.random() < spec.blurred_fraction:
        first, second, third = rng.uniform(*spec.blur, size=3).tolist()
        # one in three is blurred along one axis far more than along the others: a bandwidth, a narrow slit
        blur = (first, 0.3 * second, 0.3 * third) if rng.random() < 1 / 3 else (first, second, third)
        turn = int(rng.integers(3))
        blur = (blur[turn], blur[(turn + 1) % 3], blur[(turn + 2) % 3])
    if rng.random() >= spec.spoilt_fraction:
        return Artefacts(blur, None)
    kind = spec.kinds[int(rng.integers(len(spec.kinds)))]
    if kind == "gap":
        return Artefacts(blur, kind, around(spec.gap_distance), log_uniform(spec.gap_width))
    if kind == "blank_frames":
        return Artefacts(blur, kind, around(spec.frames_distance), log_uniform(spec.frames_width))
    if kind == "attenuated_frames":
        width = log_uniform(spec.frames_width)
        return Artefacts(blur, kind, around(spec.frames_distance), width, log_uniform(spec.attenuation))
    if kind == "clipped":
        return Artefacts(blur, kind, factor=log_uniform(spec.clip))
    return Artefacts(blur, kind, around(spec.cut_off))


def blurred(
    intensity: NDArray[np.float32], artefacts: Artefacts, fringe: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return the (n0, n1, n2) intensity with its partial coherence; ``fringe`` is a fringe in samples of each axis."""
    if not any(artefacts.blur):
        return intensity
    sigma = tuple(one * period for one, period in zip(artefacts.blur, fringe, strict=True))
    return np.asarray(gaussian_filter(intensity, sigma, truncate=3.0), dtype=np.float32)


def unmeasured(artefacts: Artefacts, distance: NDArray[np.floating]) -> NDArray[np.bool_] | None:
    """Return where nothing was measured; None where everything was.

    Parameters
    ----------
    distance
        From the peak along the slab's normal, in fringes; any shape. The normal of a gap is a detector axis, that of
        everything else the scan's direction.
    """
    match artefacts.kind:
        case "gap" | "blank_frames":
            return np.abs(distance - artefacts.middle) <= 0.5 * artefacts.width
        case "cut_off":
            return distance >= artefacts.middle if artefacts.middle > 0 else distance <= artefacts.middle
        case _:
            return None


def changed(
    intensity: NDArray[np.float32], artefacts: Artefacts, distance: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return the intensity attenuated or clipped, where it is; ``distance`` as for `unmeasured`, broadcast."""
    match artefacts.kind:
        case "attenuated_frames":
            inside = np.abs(distance - artefacts.middle) <= 0.5 * artefacts.width
            return np.where(inside, intensity * np.float32(artefacts.factor), intensity)
        case "clipped":
            return np.minimum(intensity, np.float32(artefacts.factor) * intensity.max())
        case _:
            return intensity
