"""Labelled CXDPs for training and testing: resumable, deterministic by seed, one HDF5 shard per task.

A sample is made like a live scan: a crystal, a diffractometer, expected counts at every pixel's exact Q, noise and
gaps in the detector's frame, then the same preprocessing as live data. That preprocessing belongs to a higher layer
and is passed in (`Preprocess`), so that nothing here imports upwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.artefacts import (
    NO_ARTEFACTS,
    UNSPOILT,
    Artefacts,
    blurred,
    changed,
    random_artefacts,
    unmeasured,
)
from braggwatch.sim.cxdp.crystal import Crystal, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.dataset_spec import CLEAN_PEAK, DatasetSpec, NuisanceWord, Sample, SampleInfo
from braggwatch.sim.cxdp.diffraction_setup import DiffractionSetup, random_setup
from braggwatch.sim.cxdp.labels import Label
from braggwatch.sim.cxdp.nuisance import measure, random_nuisance
from braggwatch.sim.cxdp.sample_facts import facts_of
from braggwatch.sim.cxdp.scattering import amplitude_at
from braggwatch.sim.cxdp.shards import ShardFacts, check_shard, read_shard, shard_facts, shard_nuisance, store_samples
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import pixel_q
from braggwatch.sim.shard_errors import ForeignShardError, ShardError

__all__ = [
    "CLEAN_PEAK",
    "CrystalSource",
    "DatasetSpec",
    "ForeignShardError",
    "Label",
    "NuisanceWord",
    "Preprocess",
    "Sample",
    "SampleInfo",
    "ShardError",
    "ShardFacts",
    "check_shard",
    "ideal_intensity",
    "make_sample",
    "read_shard",
    "scan_of",
    "shard_facts",
    "shard_nuisance",
    "store_samples",
    "write_shard",
]


class Preprocess(Protocol):
    """Converts detector frames into the model's volume: the numeric core of the live path."""

    def __call__(
        self,
        frames: NDArray[np.generic],
        angles_deg: NDArray[np.float64],
        present: NDArray[np.bool_],
        geometry: RockingGeometry,
        dead: NDArray[np.bool_],
        fringe_period_voxels: float,
    ) -> tuple[NDArray[np.float32] | None, str]:
        """Return the (64, 64, 64) float32 counts and '', or None and the reason."""
        ...


class CrystalSource(Protocol):
    """Source of crystals that are not built here, such as relaxed ones."""

    @property
    def name(self) -> str:
        """Name of the source, stored with the data; never empty, and unique to its crystals."""
        ...

    def configuration(self, number: int) -> int:
        """Return the number of the crystal in sample ``number``; several samples may share a crystal.

        Raises
        ------
        ValueError
            If there is no such crystal.
        """
        ...

    def draw(self, rng: np.random.Generator, config: int) -> Crystal:
        """Return crystal ``config`` at a reflection and a size drawn from ``rng``."""
        ...


@runtime_checkable
class TellsCrystals(Protocol):
    """A source that knows what stands for each of its crystals itself, in whichever library."""

    def identity(self, config: int) -> str | None:
        """Return it for crystal ``config``; None if unknown."""
        ...


def ideal_intensity(
    setup: DiffractionSetup,
    amplitude: Callable[[NDArray[np.float64]], NDArray[np.complexfloating]],
    g_inv_nm: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return |F|² at every pixel's exact Q.

    Parameters
    ----------
    setup
        Geometry, angles, orientation.
    amplitude
        Scattered amplitude at (M, 3) offsets from g, 1/nm, crystal axes.
    g_inv_nm
        (3,) reciprocal lattice vector, crystal axes.

    Returns
    -------
    (frames, rows, columns) float32.
    """
    rows, cols = setup.geometry.frame_shape
    q = pixel_q(setup.geometry, setup.angles_deg[:, None, None], np.arange(rows)[:, None], np.arange(cols)).reshape(
        -1, 3
    )
    q = q @ setup.orientation * (10 / (2 * np.pi)) - g_inv_nm  # 1/angstrom with 2 pi to 1/nm without, crystal axes
    field = amplitude(q)
    return (field.real**2 + field.imag**2).astype(np.float32).reshape(len(setup.angles_deg), rows, cols)


def make_sample(
    spec: DatasetSpec, number: int, preprocess: Preprocess, crystals: CrystalSource | None = None
) -> Sample | str:
    """Make one sample, or return the reason why it was rejected.

    Parameters
    ----------
    number
        Number of the sample; together with the specification's seed it determines every draw.
    preprocess
        Converts frames into the volume; may reject the scan.
    crystals
        Relaxed crystals; None: a continuum crystal is built, the classes taking turns.

    Raises
    ------
    ValueError
        If ``crystals`` has none for this number.
    """
    rng = np.random.default_rng((spec.seed, number))
    if crystals is None:
        config, source = number, "continuum"
        label = spec.classes[number % len(spec.classes)]
        crystal = build_crystal(random_crystal_spec(rng, label, spec.population, visible=spec.visible))
    else:
        config, source = crystals.configuration(number), crystals.name
        crystal = crystals.draw(rng, config)
        if crystal.label not in spec.classes:
            return f"class {crystal.label} is not in the specification"
    identity = crystals.identity(config) if isinstance(crystals, TellsCrystals) else None
    return scan_of(spec, crystal, preprocess, rng, config=config, source=source, identity=identity)


def scan_of(
    spec: DatasetSpec,
    crystal: Crystal,
    preprocess: Preprocess,
    rng: np.random.Generator,
    *,
    config: int,
    source: str = "continuum",
    identity: str | None = None,
    spoil: Callable[[DiffractionSetup], Artefacts] | None = None,
) -> Sample | str:
    """Scan one crystal and preprocess the scan, or return the reason why it was rejected.

    Parameters
    ----------
    config, source
        The crystal's number and its source, stored with the sample.
    identity
        What stands for a relaxed crystal itself (`SampleInfo.crystal`).
    spoil
        What spoils the scan in a given set-up; None: drawn as the specification says.
    """
    setup = random_setup(crystal.spec, rng)
    intensity = ideal_intensity(setup, lambda q: amplitude_at(crystal, q, eps=1e-3), crystal.g_inv_nm)
    # no draw where nothing is spoilt: the samples of specifications without artefacts stay the same
    artefacts = random_artefacts(spec.artefacts, rng) if spec.artefacts != NO_ARTEFACTS else UNSPOILT
    if spoil is not None:
        artefacts = spoil(setup)
    intensity = blurred(intensity, artefacts, setup.fringe)
    intensity, unread = _spoilt(intensity, artefacts, setup.fringe, rng)
    scan = _clean_scan(intensity) if spec.nuisance == "none" else _measured_scan(intensity, spec, setup, rng)
    scan = _without(scan, unread)
    period = spec.fringe_period_voxels * float(np.exp(rng.normal(scale=spec.fringe_jitter)))
    volume, reason = preprocess(scan.frames, setup.angles_deg, scan.present, setup.geometry, scan.dead, period)
    if volume is None:
        return reason
    if spec.nuisance == "none":
        volume = volume * np.float32(CLEAN_PEAK / float(volume.max()))
    arrived = float(np.mean(scan.present))
    facts = facts_of(crystal, config=config, source=source, identity=identity)
    return Sample(
        volume,
        replace(
            facts,
            peak_counts=scan.peak_counts,
            coverage=arrived,
            completeness=arrived,
            blur_fringes=float(np.hypot(artefacts.blur, scan.blur_fringes).max()),
            artefact=artefacts.kind,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Scan:
    """Frames (N, R, C), which arrived (N,), dead pixels (R, C), expected counts of the brightest pixel, and its blur.

    ``blur_fringes`` is the sigma of the nuisances' own blur along each axis, in fringes.
    """

    frames: NDArray[np.generic]
    present: NDArray[np.bool_]
    dead: NDArray[np.bool_]
    peak_counts: float
    blur_fringes: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Unread:
    """Frames (N,) that never arrived, frames (N,) that arrived blank, pixels (R, C) that are dead: all bool."""

    late: NDArray[np.bool_]
    blank: NDArray[np.bool_]
    dead: NDArray[np.bool_]


def _spoilt(
    intensity: NDArray[np.float32], artefacts: Artefacts, fringe: tuple[float, float, float], rng: np.random.Generator
) -> tuple[NDArray[np.float32], _Unread]:
    """Return the intensity attenuated or clipped, and what of it isn't read."""
    frames, rows, columns = intensity.shape
    nothing = _Unread(np.zeros(frames, dtype=bool), np.zeros(frames, dtype=bool), np.zeros((rows, columns), dtype=bool))
    if artefacts.kind is None:
        return intensity, nothing
    peak = np.unravel_index(int(intensity.argmax()), intensity.shape)
    axis = int(rng.integers(1, 3)) if artefacts.kind == "gap" else 0
    distance = (np.arange(intensity.shape[axis]) - int(peak[axis])) / fringe[axis]
    missing = unmeasured(artefacts, distance)
    if artefacts.kind == "gap" and missing is not None:
        dead = missing[:, None] if axis == 1 else missing[None, :]
        return intensity, replace(nothing, dead=np.broadcast_to(dead, (rows, columns)).copy())
    if artefacts.kind == "blank_frames" and missing is not None:
        # one frame at least: where they are coarse, none might lie in so thin a slab
        missing[int(np.clip(np.rint(peak[0] + artefacts.middle * fringe[0]), 0, frames - 1))] = True
        return intensity, replace(nothing, blank=missing)
    if artefacts.kind == "cut_off" and missing is not None:
        return intensity, replace(nothing, late=missing)
    return changed(intensity, artefacts, distance[:, None, None]), nothing


def _measured_scan(
    intensity: NDArray[np.float32], spec: DatasetSpec, setup: DiffractionSetup, rng: np.random.Generator
) -> _Scan:
    peak = np.unravel_index(int(intensity.argmax()), intensity.shape)
    shape = (intensity.shape[0], intensity.shape[1], intensity.shape[2])
    nuisance = random_nuisance(rng, (int(peak[0]), int(peak[1]), int(peak[2])), shape, setup.fringe, spec.peak_counts)
    counts, dead = measure(intensity, nuisance, setup.fringe, rng)
    present = rng.random(shape[0]) >= nuisance.missing_fraction
    present[max(0, int(peak[0]) - 2) : int(peak[0]) + 3] = True
    counts[~present] = 0
    own = (nuisance.blur[0] / setup.fringe[0], nuisance.blur[1] / setup.fringe[1], nuisance.blur[2] / setup.fringe[2])
    return _Scan(counts, present, dead, nuisance.peak_counts, own)


def _without(scan: _Scan, unread: _Unread) -> _Scan:
    """Return the scan without what isn't read; a blank frame looks like one that was measured."""
    frames = scan.frames.copy()
    frames[unread.late | unread.blank] = 0
    frames[:, unread.dead] = 0
    return replace(scan, frames=frames, present=scan.present & ~unread.late, dead=scan.dead | unread.dead)


def _clean_scan(intensity: NDArray[np.float32]) -> _Scan:
    frames = intensity * np.float32(CLEAN_PEAK / float(intensity.max()))
    return _Scan(frames, np.ones(len(frames), dtype=bool), np.zeros(frames.shape[1:], dtype=bool), CLEAN_PEAK)


def write_shard(
    path: Path, spec: DatasetSpec, numbers: range, preprocess: Preprocess, crystals: CrystalSource | None = None
) -> Iterator[tuple[int, str | None]]:
    """Write one shard, yielding (number, reason for rejection or None) after each sample for a progress bar.

    The shard appears under its name only when complete; an existing one is left alone, to resume: see `check_shard` to
    verify it.
    """
    if path.exists():
        return
    samples = ((number, make_sample(spec, number, preprocess, crystals)) for number in numbers)
    yield from store_samples(path, spec, samples, numbers, crystals="" if crystals is None else crystals.name)
