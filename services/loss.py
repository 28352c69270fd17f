"""Counts documents that must exist and never came, from ``seq_num`` and the stop document's ``num_events``.

Nothing on the wire numbers the messages themselves, so loss shows in what the documents say of each other: a jump in
``seq_num`` within a stream, and a stop document that counts more events than came.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from braggwatch.services.run_index import text

logger = logging.getLogger(__name__)

# A forged seq_num must not make us keep a list of that length.
_LARGEST_JUMP = 1_000_000


@dataclass(slots=True)
class _Stream:
    name: str
    highest: int = 0
    missing: dict[int, float] = field(default_factory=dict[int, float])


@dataclass(slots=True)
class _Run:
    streams: dict[str, _Stream] = field(default_factory=dict[str, _Stream])
    lost: int = 0
    stopped_at: float | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """Newly certain loss of one run."""

    run_uid: str
    documents: int


class LossLedger:
    """Follows the event streams of the open runs.

    Parameters
    ----------
    grace_s
        How long a document may come out of order before it counts as lost, seconds of the clock given to `observe`.
    max_runs
        Runs followed; the longest idle is forgotten first.
    """

    def __init__(self, grace_s: float, max_runs: int = 1000) -> None:
        self._grace_s = grace_s
        self._max_runs = max_runs
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self.jumps = 0

    @property
    def open_runs(self) -> int:
        """Runs that started and have not stopped."""
        return sum(run.stopped_at is None for run in self._runs.values())

    def observe(self, run_uid: str | None, name: str, document: Mapping[str, object], now: float) -> bool:
        """Take one document; return True where it shows a jump in its stream."""
        if run_uid is None:
            return False
        if name == "start":
            self._runs.setdefault(run_uid, _Run())
            while len(self._runs) > self._max_runs:
                self._runs.popitem(last=False)
            return False
        run = self._runs.get(run_uid)
        if run is None:
            return False
        self._runs.move_to_end(run_uid)
        if name == "descriptor" and (uid := text(document.get("uid"))) is not None:
            run.streams.setdefault(uid, _Stream(text(document.get("name")) or "primary"))
        elif name in ("event", "event_page"):
            return self._events(run, document, now)
        elif name == "stop":
            self._stopped(run, document, now)
        return False

    def _events(self, run: _Run, document: Mapping[str, object], now: float) -> bool:
        stream = run.streams.get(text(document.get("descriptor")) or "")
        if stream is None:
            return False
        number = document.get("seq_num")
        jumped = False
        for seq_num in number if isinstance(number, list) else [number]:
            if not isinstance(seq_num, int) or not 0 < seq_num <= stream.highest + _LARGEST_JUMP:
                continue
            if seq_num > stream.highest:
                if seq_num > stream.highest + 1:
                    jumped = True
                    stream.missing.update(dict.fromkeys(range(stream.highest + 1, seq_num), now))
                stream.highest = seq_num
            else:
                stream.missing.pop(seq_num, None)
        if jumped:
            self.jumps += 1
        return jumped

    def _stopped(self, run: _Run, document: Mapping[str, object], now: float) -> None:
        run.stopped_at = now
        counts = document.get("num_events")
        if not isinstance(counts, dict):
            return
        for stream in run.streams.values():
            count = counts.get(stream.name)
            # A stream without any event may be one whose data travel as stream_datum, which this does not follow.
            if isinstance(count, int) and stream.highest and stream.highest < count <= stream.highest + _LARGEST_JUMP:
                stream.missing.update(dict.fromkeys(range(stream.highest + 1, count + 1), now))
                stream.highest = count

    def settle(self, now: float) -> list[Loss]:
        """Return what became certainly lost since the last call, and forget runs that are done."""
        losses: list[Loss] = []
        done: list[str] = []
        for run_uid, run in self._runs.items():
            lost = 0
            for stream in run.streams.values():
                overdue = [number for number, since in stream.missing.items() if now - since >= self._grace_s]
                for number in overdue:
                    del stream.missing[number]
                lost += len(overdue)
            if lost:
                run.lost += lost
                losses.append(Loss(run_uid, lost))
                logger.warning("run %s: %d documents lost (%d in all)", run_uid, lost, run.lost)
            if run.stopped_at is not None and now - run.stopped_at >= self._grace_s:
                done.append(run_uid)
        for run_uid in done:
            del self._runs[run_uid]
        return losses
