"""Plans that act on verdicts, and continue without them after a timeout."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import bluesky.plan_stubs as bps
import bluesky.plans as bp
from bluesky.protocols import Movable, Readable

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.callbacks.plans.verdict_source import VerdictSource, final_or_reason
from braggwatch.models.verdict import Outcome

if TYPE_CHECKING:
    from bluesky.utils import Msg

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class SampleMotor(Movable[float], Readable[object], Protocol):
    """A motor that can be read with the detectors, so that the documents contain the sample position."""


@dataclass(frozen=True, slots=True)
class PlanVerdict:
    """What a plan needs to know of a run.

    Attributes
    ----------
    label
        The class; None if there is no reliable one.
    outcome
        As `Outcome`, or ``"no_answer"``, or ``"no_record"`` with the reason: the service gives this run none.
    completeness
        Received over expected frames, None where unknown.
    model_id
        Name and version of the model; None if no model was run.
    blind_directions
        Number of the lattice's Burgers directions that are invisible at this reflection (g·b = 0): ``"perfect"`` only
        excludes dislocations with the others. None if unknown; don't treat that as 0.
    region_radius
        Distance from the centre, over the cube root of the particle's volume, up to which ``"perfect"`` excludes
        dislocations. None for other classes, and where it isn't known.
    """

    run_uid: str
    label: str | None
    outcome: str
    confidence: float | None
    completeness: float | None
    model_id: str | None
    reason: str | None
    blind_directions: int | None = None
    region_radius: float | None = None

    @property
    def answered(self) -> bool:
        """Whether this is from the service's record of the run."""
        return self.outcome not in (NO_ANSWER, NO_RECORD)

    @classmethod
    def of(cls, result: ScreeningResult) -> PlanVerdict:
        """Make one from a run's record."""
        verdict = result.verdict
        return cls(
            run_uid=result.run_uid,
            label=verdict.label,
            outcome=verdict.outcome.value,
            confidence=verdict.confidence,
            completeness=result.completeness,
            model_id=verdict.model.id if verdict.model is not None else None,
            reason=verdict.reason,
            blind_directions=result.blind_directions,
            region_radius=result.region_radius,
        )

    @classmethod
    def of_answer(cls, answer: ScreeningResult | UnrecordedRun | None, run_uid: str) -> PlanVerdict:
        """Make one from what was answered: a record, the reason why there is none, or nothing."""
        if answer is None:
            return cls.no_answer(run_uid)
        return cls.of(answer) if isinstance(answer, ScreeningResult) else cls.no_record(answer)

    @classmethod
    def no_answer(cls, run_uid: str) -> PlanVerdict:
        """Return the safe default: no class, outcome ``"no_answer"``."""
        return cls(run_uid, None, NO_ANSWER, None, None, None, "no verdict within the time")

    @classmethod
    def no_record(cls, run: UnrecordedRun) -> PlanVerdict:
        """Return what a plan is told of a run that gets no record: no class, outcome ``"no_record"``, the reason."""
        return cls(run.run_uid, None, NO_RECORD, None, None, None, run.reason)


NO_ANSWER = "no_answer"
"""Outcome of a plan verdict that no service gave."""

NO_RECORD = "no_record"
"""Outcome of a plan verdict on a run that the service gives no record."""


def wait_for_verdict(
    run_uid: str, source: VerdictSource, timeout_s: float, default: PlanVerdict | None = None
) -> Generator[Msg, object, PlanVerdict]:
    """Wait for the verdict on a run; a plan stub.

    The RunEngine stays responsive (pause, abort, other documents). When the time is up, or the source fails, the
    plan continues with ``default``; so it does as soon as the source tells that the run gets no record.

    Parameters
    ----------
    run_uid
        The raw run, as ``bps.close_run`` and ``bp.scan`` return it.
    source
        E.g. ``braggwatch.services.HttpVerdictSource`` or `RecentVerdicts`.
    timeout_s
        Maximum wait in seconds.
    default
        Value to continue with; None takes `PlanVerdict.no_answer`, or `PlanVerdict.no_record` with the reason.

    Returns
    -------
    PlanVerdict
        The verdict or the default; the value of ``yield from``.
    """
    answer = yield from awaited(lambda: final_or_reason(source, run_uid, timeout_s))
    if isinstance(answer, ScreeningResult) or default is None:
        return PlanVerdict.of_answer(answer, run_uid)
    return default


def awaited(ask: Callable[[], Awaitable[_Answer | None]]) -> Generator[Msg, object, _Answer | None]:
    """Await a coroutine in the RunEngine's loop without blocking it; a plan stub that returns its result.

    None if there is no result: in a dry run, which executes no message, or if the coroutine is cancelled.
    """
    answers: list[_Answer | None] = []

    async def keep() -> None:
        answers.append(await ask())

    yield from bps.wait_for([keep])
    return answers[0] if answers else None


@dataclass(frozen=True, slots=True)
class GridScreening:
    """The result of `screen_grid`: one verdict per position, and the position chosen, if any."""

    verdicts: tuple[PlanVerdict, ...]
    chosen: int | None


def screen_grid(
    detectors: Sequence[Readable[object]],
    rocking: Movable[float],
    rocking_range: tuple[float, float, int],
    motors: Sequence[SampleMotor],
    positions: Sequence[Sequence[float]],
    *,
    wanted: str,
    source: VerdictSource,
    timeout_s: float = 10.0,
    min_confidence: float = 0.0,
    md: Mapping[str, object] | None = None,
) -> Generator[Msg, object, GridScreening]:
    """Rock every particle of a grid, then move back to the best one of the wanted class; an example adaptive plan.

    The best is the complete scan of that class with the highest confidence. If no particle qualifies, or the
    service doesn't respond, the motors stay at the last position and ``chosen`` is None: the caller decides.

    Parameters
    ----------
    detectors
        Read at each point of each rocking curve.
    rocking, rocking_range
        The circle to rock and ``(start, stop, number of points)``, absolute, in its own unit.
    motors, positions
        Sample motors, and for each particle one value for each motor.
    wanted
        Class to look for, e.g. ``"screw"``.
    timeout_s
        Maximum wait for each verdict, seconds.
    min_confidence
        Minimum confidence of the particle chosen, 0 to 1.
    md
        Added to the start document of each rocking curve, with ``grid_index``.
    """
    start, stop, num = rocking_range
    verdicts: list[PlanVerdict] = []
    for index, position in enumerate(positions):
        yield from _move(motors, position)
        metadata = {**(md or {}), "grid_index": index}
        run_uid = yield from bp.scan([*detectors, *motors], rocking, start, stop, num, md=metadata)
        verdict = yield from wait_for_verdict(str(run_uid), source, timeout_s)
        logger.info("particle %d: %s (%s)", index, verdict.label or verdict.outcome, verdict.confidence)
        verdicts.append(verdict)
    chosen = best_of(verdicts, wanted, min_confidence)
    if chosen is not None:
        yield from _move(motors, positions[chosen])
    return GridScreening(tuple(verdicts), chosen)


def best_of(verdicts: Sequence[PlanVerdict], wanted: str, min_confidence: float) -> int | None:
    """Return the index of the most confident complete scan of class ``wanted``, None where none qualifies."""
    confidences = {
        index: verdict.confidence
        for index, verdict in enumerate(verdicts)
        if verdict.outcome == Outcome.CLASSIFIED and verdict.label == wanted and verdict.confidence is not None
    }
    best = max(confidences, key=lambda index: confidences[index], default=None)
    return best if best is not None and confidences[best] >= min_confidence else None


def _move(motors: Sequence[SampleMotor], position: Sequence[float]) -> Generator[Msg, object, None]:
    pairs = [item for pair in zip(motors, position, strict=True) for item in pair]
    yield from bps.mv(*pairs)
