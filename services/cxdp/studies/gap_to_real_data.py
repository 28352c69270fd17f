"""Measure the gap to real data: how a bundle classifies crystals unlike those it was trained on.

Every case goes through the preprocessing of live data and the bundle's full decision, thresholds included. A measured
scan is used for testing only: nothing is trained on it and no model is selected by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings, preprocess_curve
from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.models.cxdp.classifier import BundleClassifier, Classifier
from braggwatch.models.cxdp.nuisance_augmentation import measured_copy
from braggwatch.models.verdict import Outcome
from braggwatch.services.batch.executors import one_core_each
from braggwatch.services.cxdp.training.live_framing import LiveFraming
from braggwatch.services.cxdp.training.shard_making import live_preprocessing
from braggwatch.sim.crystallography.fcc import g_dot_b
from braggwatch.sim.cxdp.datasets import DatasetSpec, Sample, read_shard, store_samples, write_shard
from braggwatch.sim.cxdp.given_particles import Measurement, ParticleObject, Rescan, visible_lines
from braggwatch.sim.cxdp.hard_perfect import HARDNESSES, Hardness, HardPerfect
from braggwatch.sim.cxdp.hard_rows import NO_CLASS, HardRow, hard_rows, hard_sample
from braggwatch.sim.errors import InputError

RIM_OFFSETS = (0.3, 0.4)
"""Distances from the centre of the lines that are put near a particle's rim."""
OVERSAMPLINGS = (3.2, 3.5, 3.8)
"""Fringe periods, in voxels, at which objects are classified: the one trained for, one below and one above."""


@dataclass(frozen=True, slots=True)
class Case:
    """One pattern with a known answer.

    Attributes
    ----------
    group
        Set of cases that it belongs to.
    condition
        Row of the report that it counts in.
    truth
        The correct class, or `sim.cxdp.hard_rows.NO_CLASS`.
    intensity
        (64, 64, 64) float32 counts, or None if the preprocessing rejected the scan.
    """

    group: str
    condition: str
    truth: str
    intensity: NDArray[np.float32] | None


_WITHOUT_CLASS = frozenset(outcome.value for outcome in Outcome if outcome is not Outcome.CLASSIFIED)


class GapRow(BaseModel):
    """How a bundle classified the cases of one condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    condition: str
    truth: str
    named: dict[str, int] = Field(description="Verdicts: the class if one was named, else the outcome.")
    likeliest: dict[str, int] = Field(description="Most probable classes, whether or not they were named.")
    truth_probability: FiniteFloat = Field(description="Mean probability of the truth over all classified cases.")

    @property
    def cases(self) -> int:
        """Number of patterns."""
        return sum(self.named.values())

    @property
    def right(self) -> int:
        """Number of patterns given the correct class, or given none where that is right."""
        if self.truth == NO_CLASS:
            return sum(count for name, count in self.named.items() if name in _WITHOUT_CLASS)
        return self.named.get(self.truth, 0)

    def wrong(self, classes: Sequence[str]) -> int:
        """Return the number of patterns given a wrong class."""
        return sum(count for name, count in self.named.items() if name in classes and name != self.truth)


class GapReport(BaseModel):
    """The gap of one bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str
    classes: tuple[str, ...]
    particle: str | None = Field(description="Where the particle came from; None if there is none.")
    rows: tuple[GapRow, ...]

    def group(self, name: str) -> tuple[GapRow, ...]:
        """Return the rows of one set."""
        return tuple(row for row in self.rows if row.group == name)


def score_cases(
    cases: Iterable[Case],
    classifiers: Sequence[BundleClassifier],
    particle: str | None = None,
    on_case: Callable[[], None] | None = None,
) -> list[GapReport]:
    """Classify every case with every bundle; one report per bundle, rows in order of first appearance.

    Parameters
    ----------
    particle
        Where the particle came from.
    on_case
        Called after each case.

    Raises
    ------
    InputError
        If a bundle was trained for a fringe period other than that of the cases.
    """
    for classifier in classifiers:
        period = classifier.bundle.manifest.input.fringe_period_voxels
        if abs(period - OVERSAMPLINGS[1]) > 0.01:
            raise InputError(
                f"{classifier.identity.id} needs a fringe period of {period} voxels, the cases have {OVERSAMPLINGS[1]}"
            )
    tallies: list[dict[tuple[str, str, str], _Tally]] = [{} for _ in classifiers]
    for case in cases:
        for tally, classifier in zip(tallies, classifiers, strict=True):
            tally.setdefault((case.group, case.condition, case.truth), _Tally()).add(case, classifier)
        if on_case is not None:
            on_case()
    return [
        GapReport(
            bundle=classifier.identity.id,
            classes=classifier.classes,
            particle=particle,
            rows=tuple(counts.row(*key) for key, counts in tally.items()),
        )
        for tally, classifier in zip(tallies, classifiers, strict=True)
    ]


class _Tally:
    def __init__(self) -> None:
        self._named: Counter[str] = Counter()
        self._likeliest: Counter[str] = Counter()
        self._probabilities: list[float] = []

    def add(self, case: Case, classifier: Classifier) -> None:
        if case.intensity is None:
            self._named[Outcome.INVALID.value] += 1
            return
        verdict = classifier.classify(case.intensity)
        self._named[verdict.headline] += 1
        if verdict.probabilities:
            self._likeliest[max(verdict.probabilities, key=lambda name: verdict.probabilities[name])] += 1
            self._probabilities.append(verdict.probabilities.get(case.truth, 0.0))

    def row(self, group: str, condition: str, truth: str) -> GapRow:
        mean = float(np.mean(self._probabilities)) if self._probabilities else 0.0
        return GapRow(
            group=group,
            condition=condition,
            truth=truth,
            named=dict(self._named),
            likeliest=dict(self._likeliest),
            truth_probability=mean,
        )


def shard_cases(paths: Sequence[Path], most: int | None = None) -> Iterator[Case]:
    """Yield the patterns of test shards, at most ``most`` of each class.

    Raises
    ------
    ValueError
        If a file is not a shard.
    """
    yielded: Counter[str] = Counter()
    for path in paths:
        volumes, infos = read_shard(path)
        for volume, info in zip(volumes, infos, strict=True):
            if most is not None and yielded[info.label] >= most:
                continue
            yielded[info.label] += 1
            yield Case("default", info.label, info.label, np.expm1(volume.astype(np.float32)))


def hard_cases(
    folder: Path, samples: int, workers: int = 1, seed: int = 11, on_made: Callable[[int], None] | None = None
) -> Iterator[Case]:
    """Yield strained and odd-shaped perfect crystals, simulated once and stored in ``folder`` as shards.

    Parameters
    ----------
    folder
        Folder of the shards; another bundle scored with the same folder gets the same patterns.
    samples
        Crystals of each hardness.
    workers
        Processes.
    seed
        Seed of the simulation; must differ from that of any training set.
    on_made
        Called with the number of crystals that have been simulated since the last call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = DatasetSpec(classes=("perfect",), seed=seed)
    paths = [folder / f"hard-{spec.digest()}-{number}-{samples}.h5" for number in range(len(HARDNESSES))]
    with one_core_each(workers) as pool:
        jobs = [
            pool.submit(_make_hard, path, spec, hardness, samples)
            for path, hardness in zip(paths, HARDNESSES, strict=True)
        ]
        for path, hardness, job in zip(paths, HARDNESSES, jobs, strict=True):
            rejected = job.result()
            if on_made is not None:
                on_made(samples)
            for volume in read_shard(path)[0]:
                yield Case("hard", hardness.name, "perfect", np.expm1(volume.astype(np.float32)))
            yield from (Case("hard", hardness.name, "perfect", None) for _ in range(rejected))


def _make_hard(path: Path, spec: DatasetSpec, hardness: Hardness, samples: int) -> int:
    results = write_shard(path, spec, range(samples), live_preprocessing, HardPerfect(hardness))
    for _ in results:
        pass
    return samples - len(read_shard(path)[0])


def row_cases(
    folder: Path, samples: int, workers: int = 1, on_made: Callable[[int], None] | None = None
) -> Iterator[Case]:
    """Yield the patterns of every `sim.cxdp.hard_rows` row, simulated once and stored in ``folder`` as shards.

    Parameters
    ----------
    folder, workers, on_made
        As in `hard_cases`.
    samples
        Crystals of each row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = hard_rows()
    paths = [folder / f"row-{row.slug}-{row.spec.digest()}-{samples}.h5" for row in rows]
    with one_core_each(workers) as pool:
        jobs = [pool.submit(_make_row, path, row, samples) for path, row in zip(paths, rows, strict=True)]
        for path, row, job in zip(paths, rows, jobs, strict=True):
            job.result()
            if on_made is not None:
                on_made(samples)
            volumes, _ = read_shard(path)
            for volume in volumes:
                yield Case(row.group, row.condition, row.truth, np.expm1(volume.astype(np.float32)))
            yield from (Case(row.group, row.condition, row.truth, None) for _ in range(samples - len(volumes)))


def _make_row(path: Path, row: HardRow, samples: int) -> None:
    if path.exists():
        return
    made = (
        (number, _measured(hard_sample(row, number, live_preprocessing, LiveFraming()), row, number))
        for number in range(samples)
    )
    for _ in store_samples(path, row.spec, made, range(samples), nuisance="measured"):
        pass


def _measured(sample: Sample | str, row: HardRow, number: int) -> Sample | str:
    """Return the sample with noise: those with a second particle are expected intensities so far."""
    if isinstance(sample, str) or not row.second:
        return sample
    generator = torch.Generator().manual_seed(int(row.rng(number).integers(2**53)))
    clean = torch.from_numpy(np.log1p(sample.intensity))[None]
    return replace(sample, intensity=np.expm1(measured_copy(clean, generator).numpy()[0]))


def scan_cases(curve: RockingCurve, settings: PreprocessingSettings, truth: str) -> Iterator[Case]:
    """Yield a measured scan at several oversamplings."""
    for period in OVERSAMPLINGS:
        chosen = settings.model_copy(update={"fringe_period_voxels": period, "facets": False})
        preprocessed = preprocess_curve(curve, chosen)
        usable = preprocessed.quality.invalid_reason is None
        yield Case("scan", "the measured scan", truth, preprocessed.intensity if usable else None)


class ParticleCases:
    """Patterns of one particle, simulated with the geometry and counts of its own measurement.

    Parameters
    ----------
    particle, measurement
        What scatters, and how it is measured.
    name
        Name in the rows, e.g. 'retrieved object' or 'fitted polyhedron'.
    thinning
        Only every n-th point of the scan is simulated: a finer scan takes longer and adds no information.
    seed
        Seed of the counting noise.
    """

    def __init__(
        self, particle: ParticleObject, measurement: Measurement, name: str, *, thinning: int = 2, seed: int = 1
    ) -> None:
        self._particle = particle
        self._rescan = Rescan(measurement.every(thinning), particle.size_nm)
        self._name = name
        self._rng = np.random.default_rng(seed)

    def frames(self, particle: ParticleObject) -> NDArray[np.int32]:
        """Return a simulated scan of a particle: (frames, rows, columns) int32 counts with Poisson noise."""
        return self._rng.poisson(self._rescan.expected_counts(particle)).astype(np.int32)

    def as_it_is(self, truth: str) -> Iterator[Case]:
        """Yield the particle with its own strain and without strain, at several oversamplings."""
        variants = [("without its strain", self._particle.without_phase())]
        if self._particle.phase_spread_rad > 0:
            variants.insert(0, ("with its strain", self._particle))
        for variant, particle in variants:
            frames = self.frames(particle)
            for period in OVERSAMPLINGS:
                yield Case("object", f"{self._name}, {variant}", truth, self._volume(frames, period))

    def with_lines(self, offsets: tuple[float, ...] = (0.0, 0.1, 0.2)) -> Iterator[Case]:
        """Yield the particle with screw and edge dislocations of every visible Burgers vector, on and off its centre.

        Parameters
        ----------
        offsets
            Distances of the line from the centre, see `visible_lines`. Lines beside the particle are left out.
        """
        variants = [("without its strain", self._particle.without_phase())]
        if self._particle.phase_spread_rad > 0:
            variants.insert(0, ("with its strain", self._particle))
        for variant, particle in variants:
            for line in visible_lines(particle.hkl, offsets):
                if not particle.holds(line):
                    continue
                distance = float(np.hypot(*line.offset))
                order = abs(g_dot_b(particle.hkl, line.burgers))
                condition = f"{self._name}, {variant}, {line.character} {distance:.1f} off, |g·b| = {order:g}"
                frames = self.frames(particle.with_line(line))
                yield Case("dislocated", condition, line.character, self._volume(frames, OVERSAMPLINGS[1]))

    def _volume(self, frames: NDArray[np.int32], period: float) -> NDArray[np.float32] | None:
        measurement = self._rescan.measurement
        angles = np.asarray(measurement.angles_deg, dtype=np.float64)
        dead = np.zeros(measurement.geometry.frame_shape, dtype=bool)
        present = np.ones(len(angles), dtype=bool)
        return live_preprocessing(frames, angles, present, measurement.geometry, dead, period)[0]
