"""Says of runs that hold no frames of the preset's detector, and get no record for it, what they hold instead."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.sim.geometry.model import GeometryPreset

logger = logging.getLogger(__name__)

_LOG_EVERY_S: Final = 10.0
_NAMED: Final = 12
_LONGEST_NAME: Final = 60


class RunsWithoutDetector:
    """Counts such runs, and tells of them in the log: at most one line in ten seconds.

    Runs that are no rocking curves are normal at a beamline; a preset that names the wrong detector looks the same.
    The words on the newest one, in `MutableCounters`, therefore stand only until another run has its record.

    Parameters
    ----------
    counters
        Where they are counted.
    """

    def __init__(self, preset: GeometryPreset, counters: MutableCounters) -> None:
        self._wanted = f"{preset.detector_field!r}, the detector_field of the preset {preset.name!r}"
        self._counters = counters
        self._logged_at = float("-inf")

    def note(self, run_uid: str, scan_id: int | None, keys: Mapping[str, Collection[str]], now: float) -> None:
        """Take note of one run.

        Parameters
        ----------
        keys
            Stream → its data keys.
        now
            Monotonic seconds.
        """
        scan = "" if scan_id is None else f" (scan {scan_id})"
        words = f"run {run_uid}{scan} has no frames of {self._wanted}, and gets no record; it has {_in_words(keys)}"
        self._counters.without_detector += 1
        self._counters.newest_without_detector = words
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            logger.info("%s (%d such runs so far)", words, self._counters.without_detector)

    def recorded(self) -> None:
        """Take note that a run has its record: the preset fits what comes."""
        self._counters.newest_without_detector = None


def _in_words(keys: Mapping[str, Collection[str]]) -> str:
    streams = [f"{_listed(names)} in stream {_quoted(stream)}" for stream, names in sorted(keys.items())[:_NAMED]]
    return "; ".join(streams) if streams else "no data at all"


def _listed(names: Collection[str]) -> str:
    shown = [_quoted(name) for name in sorted(names)[:_NAMED]]
    more = [f"{len(names) - len(shown)} more"] if len(names) > len(shown) else []
    return ", ".join(shown + more) or "nothing"


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…")
