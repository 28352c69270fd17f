"""Provisional verdicts on rocking curves in progress, at configured fractions of the scan."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from braggwatch.callbacks.cxdp.preprocess.preprocessing import Preprocessor
from braggwatch.callbacks.cxdp.records import ProvisionalVerdict
from braggwatch.callbacks.cxdp.run.assembled_run import AssembledRun
from braggwatch.callbacks.cxdp.run.curve import peak_is_behind
from braggwatch.callbacks.cxdp.run.judging import CurveJudge
from braggwatch.callbacks.cxdp.run.reflection import burgers_visibility
from braggwatch.callbacks.cxdp.run.scan_shares import check_shares
from braggwatch.models.cxdp.classifier import Classifier

logger = logging.getLogger(__name__)


class ProvisionalScreening:
    """Classifies runs in progress, once at each point, and only past the Bragg peak.

    A verdict is made from the frames so far, which must have no gaps, with the same preprocessing and model as the
    final one; it takes as long as that, in the caller's thread. The run is not changed by it.

    Parameters
    ----------
    preprocessor
        A separate one: nothing that it caches may affect the final verdicts.
    on_verdict
        Called for each verdict, in the caller's thread.
    points
        Fractions of the expected frames, ascending, between 0 and 1.
    is_behind
        Whether documents wait; if so, this point is skipped or delayed.
    allow_untrained
        As of `ScreeningCallback`.

    Raises
    ------
    ValueError
        If the points aren't ascending fractions.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        classifier: Classifier,
        on_verdict: Callable[[ProvisionalVerdict], None],
        points: Sequence[float] = (0.7, 0.85),
        *,
        is_behind: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        allow_untrained: bool = False,
    ) -> None:
        check_shares(points)
        self._preprocessor = preprocessor
        self._judge_curve = CurveJudge(classifier, allow_untrained=allow_untrained)
        self._on_verdict = on_verdict
        self._points = tuple(points)
        self._is_behind = is_behind
        self._clock = clock
        self._passed: dict[str, int] = {}

    def look(self, progress: Mapping[str, tuple[int, int]], so_far: Callable[[str], AssembledRun | None]) -> None:
        """Classify the runs that have reached their next point; call it after each document. Never raises.

        Parameters
        ----------
        progress
            Uid of each open run → frames received, frames expected.
        so_far
            Returns an open run's frames so far, None if they can't be classified.
        """
        for uid in self._passed.keys() - progress.keys():
            del self._passed[uid]
        for uid, (received, expected) in progress.items():
            reached = sum(received >= point * expected for point in self._points)
            if received >= expected or reached <= self._passed.get(uid, 0) or self._is_behind():
                continue
            try:
                run = so_far(uid)
                if run is not None and run.classifiable and peak_is_behind(run.rocking_curve):
                    self._passed[uid] = reached
                    self._judge(run, expected)
            except Exception:
                # The final verdict is what counts, and it doesn't depend on this one.
                self._passed[uid] = reached
                logger.exception("the provisional verdict on run %s failed", uid)

    def _judge(self, run: AssembledRun, expected: int) -> None:
        if run.curve is None:
            return
        began = self._clock()
        made = self._preprocessor(run.curve)
        if made.quality.invalid_reason is not None or not bool(np.isfinite(made.intensity).all()):
            return
        verdict, trained = self._judge_curve(made, run.reflection)
        self._on_verdict(
            ProvisionalVerdict(
                run_uid=run.run_uid,
                scan_id=run.scan_id,
                verdict=verdict,
                frames_expected=expected,
                frames_received=run.frames_received,
                burgers=burgers_visibility(run.reflection) if verdict.probabilities else None,
                trained_for=trained,
                sample=run.sample,
                started_at=run.started_at,
                made_at=time.time(),
                seconds=max(0.0, self._clock() - began),
            )
        )
