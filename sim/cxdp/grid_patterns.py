"""Expected intensities straight on the model's grid, scaled and centred by the estimators of live data.

A third of the cost of a scan in a random diffractometer, for training: no frames, no gathering, no noise (which is
added while training). What the gathering leaves in a pattern isn't here: calibrate and test on the other route.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.miller import Miller
from braggwatch.sim.cxdp.artefacts import Artefacts, blurred, changed, random_artefacts, unmeasured
from braggwatch.sim.cxdp.crystal import Crystal, random_crystal_spec
from braggwatch.sim.cxdp.crystal.build import build_alike, build_crystal
from braggwatch.sim.cxdp.crystal.population import draw_line
from braggwatch.sim.cxdp.crystal.zoo import ZOO_KINDS, ZooKind, random_zoo_spec
from braggwatch.sim.cxdp.dataset_spec import CLEAN_PEAK, DatasetSpec, Sample
from braggwatch.sim.cxdp.diffraction_setup import orient
from braggwatch.sim.cxdp.sample_facts import facts_of
from braggwatch.sim.cxdp.scattering import amplitude_on_grid

_SIDE = 64
_ROUNDS = 3
_SIZE_MARGIN = 1.15
# As in preprocessing: within this range of assumed over true size the estimate doesn't depend on the grid.
_SIZE_BAND = (0.8, 1.7)


class Framing(Protocol):
    """The estimators of live data that decide where a model input lies and how large its voxels are."""

    def size_nm(self, intensity: NDArray[np.float32], step_inv_nm: float) -> float | None:
        """Estimate L in nanometre from (64, 64, 64) on a grid of this step (1/nm, without 2π); None: impossible."""
        ...

    def centre(self, intensity: NDArray[np.float32], fringe_voxels: float) -> NDArray[np.float64]:
        """Return the peak's (3,) voxel."""
        ...


@dataclass(frozen=True, slots=True)
class SecondParticle:
    """Another particle in the beam: its crystal, the offset of its peak, its intensity.

    Attributes
    ----------
    offset_fringes
        (3,) from the first one's peak, in fringes of the first, axes of the grid.
    share
        Its highest intensity over the first one's.
    coherent
        Whether amplitudes are added, with a random phase, rather than intensities.
    phase
        Of the amplitude, radians.
    """

    crystal: Crystal
    offset_fringes: tuple[float, float, float]
    share: float
    coherent: bool
    phase: float


def class_family(spec: DatasetSpec, config: int) -> tuple[Crystal, ...]:
    """Build the crystals of one number: one of each class, alike in shape, strain, size and reflection."""
    rng = np.random.default_rng((spec.seed, 55, config))
    base = random_crystal_spec(rng, "perfect", spec.population)
    lines = [None if label == "perfect" else draw_line(base, spec.population, label, rng) for label in spec.classes]
    return build_alike([base.model_copy(update={"line": line}) for line in lines])


_STAND_IN: Miller = (1, 1, 1)
"""Drawn with; the first particle's reflection takes its place."""


def second_particle(
    spec: DatasetSpec,
    first: Crystal,
    rng: np.random.Generator,
    *,
    share: tuple[float, float],
    fringes: tuple[float, float],
) -> SecondParticle:
    """Draw another particle in the beam, at the same reflection and 0.6 to 1.3 times as large.

    Parameters
    ----------
    share
        Of its intensity over the first one's, log-uniform.
    fringes
        Distance of the peaks, log-uniform.
    """
    size = first.spec.size_nm * float(rng.uniform(0.6, 1.3))
    other = random_crystal_spec(rng, "perfect", spec.population, hkl=_STAND_IN)
    same = {"size_nm": size, "element": first.spec.element, "hkl": first.hkl, "lattice": first.spec.lattice}
    crystal = build_crystal(other.model_copy(update=same))
    coherent = bool(rng.random() < 0.4)
    if coherent:
        beside = rng.normal(size=3)
        beside *= first.spec.size_nm * rng.uniform(0.8, 1.6) / np.linalg.norm(beside)
        crystal = replace(crystal, positions_nm=crystal.positions_nm + beside)
    direction = rng.normal(size=3)
    direction *= np.exp(rng.uniform(*np.log(fringes))) / np.linalg.norm(direction)
    return SecondParticle(
        crystal,
        (float(direction[0]), float(direction[1]), float(direction[2])),
        float(np.exp(rng.uniform(*np.log(share)))),
        coherent,
        float(rng.uniform(0, 2 * np.pi)),
    )


WEAK_SECOND_FRACTION = 0.08
_WEAK_SHARE, _WEAK_FRINGES = (0.003, 0.04), (1.0, 8.0)
_STRONG_SHARE, _STRONG_FRINGES = (0.1, 1.0), (0.5, 8.0)


def class_samples(spec: DatasetSpec, config: int, framing: Framing, numbers: Sequence[int]) -> list[Sample | str]:
    """Make the samples of one number's crystals; a weak second particle is in some of them.

    Parameters
    ----------
    numbers
        Which of the classes, as indices into ``spec.classes``.
    """
    family = class_family(spec, config)
    made: list[Sample | str] = []
    for number in numbers:
        rng = np.random.default_rng((spec.seed, 56, config, number))
        second: SecondParticle | None = None
        if rng.random() < WEAK_SECOND_FRACTION:
            second = second_particle(spec, family[number], rng, share=_WEAK_SHARE, fringes=_WEAK_FRINGES)
        made.append(grid_sample(spec, family[number], framing, rng, config=config, second=second))
    return made


def grid_outlier(
    spec: DatasetSpec, kind: ZooKind | Literal["two_particles"], config: int, framing: Framing
) -> Sample | str:
    """Make one sample that is to be refused: a crystal with another defect, or two particles of like intensity."""
    if kind == "two_particles":
        rng = np.random.default_rng((spec.seed, 57, config))
        first = build_crystal(random_crystal_spec(rng, "perfect", spec.population))
        second = second_particle(spec, first, rng, share=_STRONG_SHARE, fringes=_STRONG_FRINGES)
        return grid_sample(spec, first, framing, rng, config=config, second=second, label=kind)
    rng = np.random.default_rng((spec.seed, 58, ZOO_KINDS.index(kind), config))
    crystal = build_crystal(random_zoo_spec(rng, kind, spec.population))
    return grid_sample(spec, crystal, framing, rng, config=config, label=kind)


def grid_sample(
    spec: DatasetSpec,
    crystal: Crystal,
    framing: Framing,
    rng: np.random.Generator,
    *,
    config: int,
    source: str = "continuum",
    identity: str | None = None,
    second: SecondParticle | None = None,
    label: str | None = None,
) -> Sample | str:
    """Make one noiseless sample, or return the reason why there is none.

    Parameters
    ----------
    config, source, identity, label
        Stored with the sample (see `SampleInfo`); a label of None: the crystal's own.
    second
        Another particle in the beam.
    """
    view = _View.random(spec, crystal, rng, second)
    size = 1.1 * crystal.spec.size_nm
    middle = np.zeros(3)
    for _ in range(_ROUNDS):
        step = 1.0 / (spec.fringe_period_voxels * size)
        volume = view.intensity(step, middle)
        estimate = framing.size_nm(volume, step)
        true_size = size if estimate is None else estimate
        at = framing.centre(volume, 1.0 / (true_size * step))
        middle = middle + (at - _SIDE // 2) * step
        if estimate is not None and _SIZE_BAND[0] <= size / estimate <= _SIZE_BAND[1]:
            break
        size = 1.5 * size if estimate is None else _SIZE_MARGIN * estimate
    else:
        estimate = None
    if estimate is None:
        return "no size could be found"
    period = spec.fringe_period_voxels * float(np.exp(rng.normal(scale=spec.fringe_jitter)))
    volume = view.intensity(1.0 / (period * estimate), middle)
    peak = float(volume.max())
    if not np.isfinite(peak) or peak <= 0.0:
        return "no intensity in the model input"
    facts = replace(
        facts_of(crystal, config=config, source=source, identity=identity),
        label=crystal.label if label is None else label,
        blur_fringes=max(view.artefacts.blur),
        artefact=view.artefacts.kind if second is None or view.artefacts.kind is not None else "second_particle",
    )
    return Sample(volume * np.float32(CLEAN_PEAK / peak), facts)


@dataclass(frozen=True, slots=True)
class _View:
    """How a crystal is looked at.

    Attributes
    ----------
    axes
        (3, 3) rows: the grid's axes in crystal axes, the first along g.
    normal
        (3,) of the slab that is spoilt, in the grid's axes.
    """

    crystal: Crystal
    axes: NDArray[np.float64]
    artefacts: Artefacts
    normal: NDArray[np.float64]
    second: SecondParticle | None

    @classmethod
    def random(
        cls, spec: DatasetSpec, crystal: Crystal, rng: np.random.Generator, second: SecondParticle | None
    ) -> _View:
        artefacts = random_artefacts(spec.artefacts, rng)
        axes = orient(crystal.g_inv_nm, np.array([1.0, 0.0, 0.0]), rng)
        normal = rng.normal(size=3)
        return cls(crystal, axes, artefacts, normal / np.linalg.norm(normal), second)

    def intensity(self, step: float, middle: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the (64, 64, 64) intensity about ``middle``, in the grid's axes from g; both in 1/nm."""
        fringe_inv_nm = 1.0 / self.crystal.spec.size_nm
        intensity = self._whole(step, middle, fringe_inv_nm)
        if not self.artefacts.spoils:
            return intensity
        fringe = fringe_inv_nm / step
        intensity = blurred(intensity, self.artefacts, (fringe, fringe, fringe))
        if self.artefacts.kind is None:
            return intensity
        x, y, z = np.meshgrid(
            *((np.arange(_SIDE) - _SIDE // 2) * step + middle[axis] for axis in range(3)), indexing="ij", sparse=True
        )
        distance = (x * self.normal[0] + y * self.normal[1] + z * self.normal[2]) / fringe_inv_nm
        intensity = changed(intensity, self.artefacts, distance)
        missing = unmeasured(self.artefacts, distance)
        if missing is not None:
            intensity[missing] = 0.0
        return intensity

    def _whole(self, step: float, middle: NDArray[np.float64], fringe_inv_nm: float) -> NDArray[np.float32]:
        field = self._amplitude(self.crystal, step, middle)
        intensity = _squared(field)
        second = self.second
        if second is None:
            return intensity
        other = self._amplitude(second.crystal, step, middle - np.asarray(second.offset_fringes) * fringe_inv_nm)
        height = np.abs(other).max()
        scale = np.sqrt(second.share) * np.abs(field).max() / max(float(height), 1e-30)
        if second.coherent:
            return _squared(field + other * np.complex64(scale * np.exp(1j * second.phase)))
        return np.asarray(intensity + scale**2 * _squared(other), dtype=np.float32)

    def _amplitude(self, crystal: Crystal, step: float, middle: NDArray[np.float64]) -> NDArray[np.complexfloating]:
        shape = (_SIDE, _SIDE, _SIDE)
        return amplitude_on_grid(crystal, self.axes * step, shape, eps=1e-3, middle_inv_nm=middle @ self.axes)


def _squared(field: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    return np.asarray(field.real**2 + field.imag**2, dtype=np.float32)
