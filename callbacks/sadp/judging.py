"""From a frame of a live stream to the record of its pattern and of its particle."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.sadp.frame_checks import binned, unfit
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.callbacks.sadp.pattern import PatternSettings, measure_pattern
from braggwatch.callbacks.sadp.records import (
    CrystalSoFar,
    ParticleState,
    PatternReport,
    PatternResult,
    SetAside,
)
from braggwatch.callbacks.sadp.run import PatternFrame
from braggwatch.callbacks.sadp.running import Place, RunningCrystal
from braggwatch.models.sadp.classifier import PatternJudgement
from braggwatch.models.sadp.groups import GroupTable, Zone
from braggwatch.models.sadp.measured import MeasuredPattern
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict

logger = logging.getLogger(__name__)

_PROBLEMS = {
    "no picture": SetAside.BLANK,
    "too few": SetAside.TOO_FEW_SPOTS,
    "rings": SetAside.RINGS,
    "no Friedel": SetAside.NO_FRIEDEL_SYMMETRY,
    "off zone": SetAside.OFF_ZONE,
}
_NO_ODDS = CrystalSoFar(patterns=0, visits=0, product={}, mean={})


class PatternJudge(Protocol):
    """The part of `braggwatch.models.sadp.classifier.SadpClassifier` that a live stream needs."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model speaks."""
        ...

    @property
    def table(self) -> GroupTable:
        """Which groups show which classes along which zones."""
        ...

    def classify(self, measured: MeasuredPattern) -> PatternJudgement:
        """Judge one pattern; never raises for bad data."""
        ...


@dataclass(frozen=True, slots=True)
class PatternModel:
    """A judge with what its bundle says of it.

    Attributes
    ----------
    accuracy
        How often the class of a pattern is told right, 0 to 1.
    """

    judge: PatternJudge
    accuracy: float


@dataclass(frozen=True, slots=True)
class NoPatternModel:
    """Stands where no model could be loaded; ``reason`` says why and what to do."""

    reason: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run's start document says that goes into each record; ``started_at`` in seconds since the epoch."""

    scan_id: int | None
    sample: str | None
    started_at: float


@dataclass(slots=True)
class _Particle:
    crystal: RunningCrystal | None
    outcomes: dict[Place, SetAside | None] = field(default_factory=dict[Place, SetAside | None])
    set_aside: Counter[str] = field(default_factory=Counter[str])
    zones: list[Zone] = field(default_factory=list[Zone])
    so_far: CrystalSoFar = _NO_ODDS
    proposals: tuple[tuple[Zone, float], ...] = ()
    last: PatternResult | None = None


@dataclass(frozen=True, slots=True)
class _Judged:
    """A judgement, or why there is none, with what it was made from."""

    judgement: PatternJudgement
    set_aside: SetAside | None
    measured: MeasuredPattern | None = None
    largest_spacing_nm: float | None = None
    frame: NDArray[np.generic] | None = None
    binning: int = 1


class RunJudge:
    """Judges the patterns of one run, in the order given, and keeps its particles.

    Parameters
    ----------
    model
        Without one patterns are counted and set aside with the reason.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        run_uid: str,
        model: PatternModel | NoPatternModel,
        limits: PatternLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_uid = run_uid
        self._model = model
        self._max_particles = limits.max_particles
        self._bin_above_px = limits.bin_above_px
        self._clock = clock
        self._particles: dict[str, _Particle] = {}
        self._number = 0

    @property
    def judged(self) -> int:
        """Patterns judged so far."""
        return self._number

    @property
    def usable(self) -> int:
        """Those that count for their particle."""
        return sum(particle.so_far.patterns for particle in self._particles.values())

    @property
    def particles(self) -> int:
        """How many particles there are."""
        return len(self._particles)

    @property
    def set_aside(self) -> dict[str, int]:
        """Reason → patterns, over all particles."""
        total: Counter[str] = Counter()
        for particle in self._particles.values():
            total += particle.set_aside
        return dict(sorted(total.items()))

    @property
    def identity(self) -> ModelIdentity | None:
        """Which model speaks; None where there is none."""
        return self._model.judge.identity if isinstance(self._model, PatternModel) else None

    def judge(self, pattern: PatternFrame, run: RunFacts, arrived: float) -> PatternReport:
        """Judge one frame; whatever is wrong with it is an outcome with its reason."""
        stages: dict[str, float] = {}
        name = pattern.particle
        if name not in self._particles and len(self._particles) >= self._max_particles:
            # Its patterns are told, but nothing is kept for it: a stream that names each frame anew must not fill up.
            particle = _Particle(None)
            judged = _refused(SetAside.LIMIT, f"a run may have {self._max_particles} particles", self.identity)
        else:
            crystal = self._new_crystal() if name not in self._particles else None
            particle = self._particles.setdefault(name, _Particle(crystal))
            judged = self._say(pattern, stages)
        self._number += 1
        self._take(particle, pattern, judged)
        result = self._record(pattern, judged, particle.so_far, run, arrived)
        particle.last = result
        return PatternReport(
            result=result,
            particle=self._state(name, particle, run.sample, result, final=False),
            frame=pattern.frame if judged.frame is None else judged.frame,
            measured=judged.measured,
            stage_seconds=stages,
            binning=judged.binning,
        )

    def final_states(self, sample: str | None) -> tuple[ParticleState, ...]:
        """Return every particle as it stands for good."""
        return tuple(
            self._state(name, particle, sample, particle.last, final=True)
            for name, particle in self._particles.items()
            if particle.last is not None
        )

    def _new_crystal(self) -> RunningCrystal | None:
        if isinstance(self._model, NoPatternModel):
            return None
        return RunningCrystal(self._model.judge.table, self._model.accuracy)

    def _say(self, pattern: PatternFrame, stages: dict[str, float]) -> _Judged:
        if pattern.problem is not None or pattern.frame is None:
            kind, reason = pattern.problem or (SetAside.UNREADABLE, "no frame")
            return _refused(kind, reason, self.identity)
        if pattern.declaration.problem is not None:
            return _refused(SetAside.CALIBRATION, pattern.declaration.problem, self.identity)
        if isinstance(self._model, NoPatternModel):
            return _refused(SetAside.NO_MODEL, self._model.reason, None)
        try:
            bad = unfit(pattern.frame, pattern.declaration.saturation_counts)
            if bad is not None:
                return _refused(*bad, self.identity)
            return self._judged(self._model.judge, pattern.frame, pattern.declaration.inv_nm_per_px, stages)
        except Exception as error:
            # Any failure at one pattern is an outcome of this pattern, and the next one goes on.
            logger.exception("pattern %d of run %s could not be judged", pattern.seq_num, self._run_uid)
            reason = f"{type(error).__name__}: {error}"[:300]
            return _refused(SetAside.ERROR, reason, self.identity, Outcome.ERROR)

    def _judged(
        self, judge: PatternJudge, frame: NDArray[np.generic], inv_nm_per_px: float | None, stages: dict[str, float]
    ) -> _Judged:
        began = self._clock()
        picture, binning = binned(frame.astype(np.uint8) if frame.dtype.kind == "b" else frame, self._bin_above_px)
        scale = None if inv_nm_per_px is None else 0.1 * inv_nm_per_px * binning
        measured = measure_pattern(picture, PatternSettings(), inv_A_per_px=scale)
        stages["sadp_measure"] = self._clock() - began
        began = self._clock()
        judgement = judge.classify(measured)
        stages["sadp_classify"] = self._clock() - began
        spacing = None
        if inv_nm_per_px is not None and judgement.usable and (lattice := measured.lattice) is not None:
            spacing = 1.0 / (float(np.hypot(*lattice.a)) * inv_nm_per_px * binning)
        return _Judged(judgement, _why_set_aside(measured, judgement), measured, spacing, picture, binning)

    def _take(self, particle: _Particle, pattern: PatternFrame, judged: _Judged) -> None:
        """Bring the particle up to date; a place that comes again replaces what it said before."""
        place: Place = (pattern.stream, pattern.seq_num)
        before = particle.outcomes.get(place)
        if before is not None:
            particle.set_aside[before] -= 1
            particle.set_aside += Counter[str]()
        particle.outcomes[place] = judged.set_aside
        if judged.set_aside is not None:
            particle.set_aside[judged.set_aside] += 1
        if pattern.zone is not None and pattern.zone not in particle.zones and judged.set_aside is None:
            particle.zones.append(pattern.zone)
        crystal = particle.crystal
        if crystal is None:
            return
        if judged.set_aside is None:
            crystal.put(place, pattern.visit, judged.judgement.groups)
        else:
            crystal.withdraw(place)
        particle.so_far = crystal.so_far()
        if particle.so_far.patterns:
            particle.proposals = crystal.next_zones(tuple(particle.zones))

    def _record(
        self, pattern: PatternFrame, judged: _Judged, so_far: CrystalSoFar, run: RunFacts, arrived: float
    ) -> PatternResult:
        judgement, verdict = judged.judgement, judged.judgement.verdict
        return PatternResult(
            run_uid=self._run_uid,
            scan_id=run.scan_id,
            stream=pattern.stream,
            seq_num=pattern.seq_num,
            number=self._number,
            particle=pattern.particle,
            visit=pattern.visit,
            stated_zone=pattern.zone,
            outcome=verdict.outcome,
            label=verdict.label,
            reason=verdict.reason,
            set_aside=judged.set_aside,
            confidence=verdict.confidence,
            groups=judgement.groups,
            members=judgement.members,
            spots=judgement.spots,
            cell_ratio=judgement.cell_ratio,
            cell_angle_deg=judgement.cell_angle_deg,
            unexplained_spots=judgement.unexplained_spots,
            residual_px=judgement.residual_px,
            inv_nm_per_px=pattern.declaration.inv_nm_per_px,
            largest_spacing_nm=judged.largest_spacing_nm,
            crystal=so_far,
            model=verdict.model,
            run_started_at=run.started_at,
            judged_at=time.time(),
            latency_s=max(0.0, self._clock() - arrived),
        )

    def _state(
        self, name: str, particle: _Particle, sample: str | None, last: PatternResult, *, final: bool
    ) -> ParticleState:
        return ParticleState(
            run_uid=self._run_uid,
            scan_id=last.scan_id,
            sample=sample,
            particle=name,
            patterns=len(particle.outcomes),
            set_aside=dict(sorted(particle.set_aside.items())),
            crystal=particle.so_far,
            zones=tuple(particle.zones),
            next_zones=particle.proposals,
            last=last,
            final=final,
        )


def _refused(kind: SetAside, reason: str, model: ModelIdentity | None, outcome: Outcome = Outcome.INVALID) -> _Judged:
    return _Judged(PatternJudgement(verdict=Verdict(outcome=outcome, reason=reason, model=model), spots=0), kind)


def _why_set_aside(measured: MeasuredPattern, judgement: PatternJudgement) -> SetAside | None:
    if judgement.usable:
        return None
    verdict = judgement.verdict
    if verdict.outcome is Outcome.ERROR:
        return SetAside.ERROR
    if measured.problem is not None:
        return next((kind for start, kind in _PROBLEMS.items() if measured.problem.startswith(start)), SetAside.ERROR)
    if not verdict.probabilities:
        return SetAside.OFF_LATTICE
    if (
        verdict.ood_score is not None
        and verdict.ood_threshold is not None
        and verdict.ood_score > verdict.ood_threshold
    ):
        return SetAside.UNLIKE_TRAINING
    return SetAside.NO_KNOWN_ZONE
