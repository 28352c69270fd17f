"""Ends the runs of patterns that a killed service left open, so that nothing looks live that nobody judges any more."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunEnding, PatternRunResult
from braggwatch.services.sadp.live.pattern_store import PatternStore

logger = logging.getLogger(__name__)

REASON = "the service ended before the run did; patterns after its restart can't be joined with their run"


def end_unfinished(store: PatternStore) -> int:
    """Give each run without a final record one that says so, and make its particles final; return how many runs.

    To be called before documents are taken: every run that is open then is one of a life before.
    """
    unfinished = store.unfinished_runs()
    for run_uid in unfinished:
        particles = [state.model_copy(update={"final": True}) for state in store.particles_of(run_uid)]
        patterns = store.all_patterns(run_uid)
        if not store.put([_record(patterns, particles)], particles, {}):
            return 0
        logger.warning("run %s: %s", run_uid, REASON)
    return len(unfinished)


def _record(patterns: Sequence[PatternResult], particles: Sequence[ParticleState]) -> PatternRunResult:
    last = patterns[-1]
    aside = Counter(one.set_aside.value for one in patterns if one.set_aside is not None)
    return PatternRunResult(
        run_uid=last.run_uid,
        scan_id=last.scan_id,
        sample=particles[0].sample if particles else None,
        ending=PatternRunEnding.TIMEOUT,
        reason=REASON,
        expected=None,
        judged=len(patterns),
        lost=0,
        usable=len(patterns) - aside.total(),
        set_aside=dict(sorted(aside.items())),
        particles=len(particles),
        model=last.model,
        started_at=last.run_started_at,
        ended_at=last.judged_at,
    )
