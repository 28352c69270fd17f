"""One stream of documents for two kinds of detectors: each gets what is its own, in one run or in many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.counters import AssemblyCounters
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback


class ModalityCallback:
    """Hands each document to the patterns' callback, and to the rocking curves' one without the patterns' frames.

    A run may hold rocking curves, diffraction patterns or both, in streams of their own or in one. What is declared as
    `sadp` never reaches the rocking curves' side, even under the data key of that detector.

    Parameters
    ----------
    curves
        Screens rocking curves.
    patterns
        Judges diffraction patterns.
    """

    def __init__(self, curves: ScreeningCallback, patterns: PatternCallback) -> None:
        self._curves = curves
        self._patterns = patterns

    @property
    def open_runs(self) -> int:
        """Runs of either kind that have begun and not ended."""
        return max(self._curves.open_runs, self._patterns.open_runs)

    @property
    def counters(self) -> AssemblyCounters:
        """Totals of the rocking curves; documents that can't be used are counted there for both."""
        return self._curves.counters

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model; never raises."""
        self._patterns(name, doc)
        self._curves(name, self._without_patterns(name, doc))

    def expire(self, now_monotonic: float) -> None:
        """End what is over; call it about once a second."""
        self._patterns.expire(now_monotonic)
        self._curves.expire(now_monotonic)

    def flush(self) -> None:
        """End and report every open run, as at shutdown."""
        self._patterns.flush()
        self._curves.flush()

    def _without_patterns(self, name: str, doc: Mapping[str, object]) -> Mapping[str, object]:
        if name == "descriptor":
            detectors = self._detectors(doc.get("uid"))
            if detectors and isinstance(run_uid := doc.get("run_start"), str):
                self._curves.leave_to_others(run_uid)
            return _without(doc, "data_keys", detectors)
        if name in ("event", "event_page"):
            return _without(doc, "data", self._detectors(doc.get("descriptor")))
        return doc

    def _detectors(self, descriptor_uid: object) -> frozenset[str]:
        return self._patterns.detectors_of(descriptor_uid) if isinstance(descriptor_uid, str) else frozenset()


def _without(doc: Mapping[str, object], group: str, keys: frozenset[str]) -> Mapping[str, object]:
    """Return a document without some keys of one of its mappings."""
    values = doc.get(group)
    if not keys or not isinstance(values, Mapping):
        return doc
    kept = {key: value for key, value in cast("Mapping[str, object]", values).items() if key not in keys}
    return {**doc, group: kept}
