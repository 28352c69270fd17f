"""A plan that rocks a particle only until its class is sure, and spends the rest of the time on the next one."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Readable

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict
from braggwatch.callbacks.plans.verdict_plans import SampleMotor, awaited
from braggwatch.callbacks.plans.verdict_source import ProvisionalSource, answer_or_none
from braggwatch.models.verdict import Outcome

if TYPE_CHECKING:
    from bluesky.utils import Msg

logger = logging.getLogger(__name__)

_ANSWER_S = 0.5


@dataclass(frozen=True, slots=True)
class RockedRun:
    """One rocking curve, whole or ended early.

    Attributes
    ----------
    points
        Angles that were measured.
    ended_on
        What the scan was ended on; None where it went on to its end.
    """

    run_uid: str
    points: int
    ended_on: ProvisionalVerdict | None


def rock_until_sure(
    detectors: Sequence[Readable[object]],
    rocking: SampleMotor,
    start: float,
    stop: float,
    num: int,
    *,
    source: ProvisionalSource,
    min_confidence: float = 0.95,
    md: Mapping[str, object] | None = None,
) -> Generator[Msg, object, RockedRun]:
    """Rock through the angles as ``bp.scan`` does, and end as soon as a class is named with enough confidence.

    The service says something at the shares of the scan that its ``screening.provisional_at`` names, and only with
    the Bragg peak behind. Where it says nothing, is unsure or down, the scan goes to its end. The record of a run that
    was ended early has the class and the outcome ``partial``, with the frames that were left out.

    Parameters
    ----------
    rocking, start, stop, num
        The circle to rock, from where to where in its own unit, in how many points.
    source
        E.g. ``braggwatch.services.HttpVerdictSource``; asked after each point of the second half.
    min_confidence
        Least calibrated confidence of a class to end on, 0 to 1.
    md
        Added to the start document.

    Returns
    -------
    RockedRun
        As the value of ``yield from``.
    """
    metadata: dict[str, object] = {
        "plan_name": "rock_until_sure",
        "detectors": [detector.name for detector in detectors],
        "motors": [rocking.name],
        "num_points": num,
        "num_intervals": num - 1,
        "min_confidence": min_confidence,
        "hints": {"dimensions": [([rocking.name], "primary")]},
        **(md or {}),
    }

    @bpp.stage_decorator([*detectors, rocking])
    def rock() -> Generator[Msg, object, RockedRun]:
        uid = str((yield from bps.open_run(metadata)))
        sure = None
        points = 0
        for angle in np.linspace(start, stop, num):
            yield from bps.one_1d_step(detectors, rocking, float(angle))
            points += 1
            if num / 2 < points < num:
                sure = yield from _sure_of(uid, source, min_confidence)
            if sure is not None:
                logger.info("run %s ended after %d of %d points: %s", uid, points, num, sure.in_words)
                break
        yield from bps.close_run()
        return RockedRun(uid, points, sure)

    return (yield from rock())


def _sure_of(
    run_uid: str, source: ProvisionalSource, min_confidence: float
) -> Generator[Msg, object, ProvisionalVerdict | None]:
    answer = yield from awaited(lambda: answer_or_none(source.so_far(run_uid), _ANSWER_S, run_uid))
    if answer is None or answer.verdict.outcome is not Outcome.CLASSIFIED:
        return None
    return answer if (answer.verdict.confidence or 0.0) >= min_confidence else None
