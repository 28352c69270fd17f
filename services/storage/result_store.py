"""Keeps one final record for each run, on disk before anyone is told, and the arrays to show with it."""

from __future__ import annotations

import io
import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.records import ScreeningReport, ScreeningResult
from braggwatch.services.storage.array_codec import pack_volume, unpack_volume
from braggwatch.services.storage.schema import StoreError, open_database
from braggwatch.sim.bounded import Bounded

__all__ = ["ResultStore", "StoreError"]

logger = logging.getLogger(__name__)

_PENDING_WITH_ARRAYS = 100
_NEWEST = 2**62


class ResultStore:
    """Results in SQLite, safe to use from any thread.

    While the disk refuses to take results (full, read-only), they are kept in memory, still served and still
    handed to the sinks, and written once the disk takes them again: see `retry_pending`.

    Parameters
    ----------
    path
        The file; made where absent.
    sinks
        Names of the sinks for which each new result is put into the outbox.
    max_array_bytes
        Bytes of stored arrays; beyond it the oldest go, their records stay.
    max_pending
        Results held in memory at most; beyond it the oldest is given up, with an error in the log.
    read_only
        Open beside a running service, to look.

    Raises
    ------
    StoreError
        Where the file can't be opened, or was written by a newer version.
    """

    def __init__(
        self,
        path: Path,
        *,
        sinks: Sequence[str] = (),
        max_array_bytes: int = 4_000_000_000,
        max_pending: int = 10_000,
        read_only: bool = False,
    ) -> None:
        self._sinks = tuple(sinks)
        self._max_array_bytes = max_array_bytes
        self._max_pending = max_pending
        self._database = open_database(str(path), read_only=read_only)
        self._changed = threading.Condition(threading.RLock())
        self._pending = Bounded[str, ScreeningReport](max_pending)
        self._pending_deliveries: dict[tuple[str, str], ScreeningResult] = {}
        self._closed = False
        self.epoch = self._current_epoch() if read_only else self._begin_epoch()

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, for the tables of other systems in the same file; use it with `changed` held."""
        return self._database

    @property
    def changed(self) -> threading.Condition:
        """The store's lock, which is notified of new records."""
        return self._changed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """Results that wait in memory for the disk."""
        with self._changed:
            return len(self._pending)

    def put(self, report: ScreeningReport) -> bool:
        """Make a result its run's record; on the disk when this returns, unless the disk refuses.

        Returns
        -------
        bool
            True where it is new and may be published; False for a revision not above the one that stands, so that
            no second verdict can contradict the first.
        """
        result = report.result
        with self._changed:
            if self._standing_revision(result.run_uid) >= result.revision:
                return False
            if not self._pending and self._write(report, self._sinks):
                self._changed.notify_all()
                return True
            self._hold(report)
            self._changed.notify_all()
            return True

    def retry_pending(self) -> int:
        """Try to write what the disk refused; return how many results still wait."""
        with self._changed:
            while self._pending:
                run_uid, report = next(iter(self._pending.items()))
                # Those that took it from memory meanwhile need not be offered it again.
                sinks = [sink for sink in self._sinks if (sink, run_uid) in self._pending_deliveries]
                if not self._write(report, sinks):
                    break
                del self._pending[run_uid]
                for sink in sinks:
                    del self._pending_deliveries[sink, run_uid]
            return len(self._pending)

    def get(self, run_uid: str) -> ScreeningResult | None:
        """Return a run's record, None where there is none."""
        with self._changed:
            if run_uid in self._pending:
                return self._pending[run_uid].result
            row = self._one("SELECT record FROM results WHERE run_uid = ?", run_uid)
            return None if row is None else ScreeningResult.model_validate_json(row[0])

    def latest(self, limit: int, after_id: str | None = None) -> list[ScreeningResult]:
        """Return up to ``limit`` records, the newest first; with ``after_id``, a run's uid, only those older than it.

        Records that still wait for the disk come first. An unknown ``after_id`` gives none.
        """
        with self._changed:
            waiting = [report.result for report in reversed(self._pending.values())]
            below = _NEWEST
            if after_id is not None:
                place = next((n for n, result in enumerate(waiting) if result.run_uid == after_id), None)
                below = _NEWEST if place is not None else self.id_of(after_id) or 0
                waiting = [] if place is None else waiting[place + 1 :]
            waiting = waiting[:limit]
            rows = self._all(
                "SELECT record FROM results WHERE id < ? ORDER BY id DESC LIMIT ?", below, limit - len(waiting)
            )
            return waiting + [ScreeningResult.model_validate_json(record) for (record,) in rows]

    def id_of(self, run_uid: str) -> int | None:
        """Return the number of a run's record, growing with each record stored; None where it isn't stored."""
        with self._changed:
            row = self._one("SELECT id FROM results WHERE run_uid = ?", run_uid)
            return None if row is None else int(row[0])

    def model_input(self, run_uid: str) -> NDArray[np.float32] | None:
        """Return the (64, 64, 64) float32 counts the network saw (to 5e-4), None where not kept."""
        with self._changed:
            if (report := self._pending.get(run_uid)) is not None:
                return None if report.model_input is None else report.model_input.intensity
            row = self._one("SELECT model_input FROM arrays WHERE run_uid = ?", run_uid)
        return None if row is None or row[0] is None else unpack_volume(row[0])

    def rocking_curve(self, run_uid: str) -> NDArray[np.float64] | None:
        """Return the run's rocking curve as the report gave it, None where not kept."""
        with self._changed:
            if (report := self._pending.get(run_uid)) is not None:
                return report.rocking_curve
            row = self._one("SELECT rocking_curve FROM arrays WHERE run_uid = ?", run_uid)
        if row is None or row[0] is None:
            return None
        curve: NDArray[np.float64] = np.load(io.BytesIO(row[0]), allow_pickle=False)
        return curve

    def wait(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Return a run's record, waiting for it up to ``timeout_s`` seconds; blocks the calling thread."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (result := self.get(run_uid)) is None and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            return result

    def pending_deliveries(self, sink: str, limit: int = 100) -> list[ScreeningResult]:
        """Return results this sink has not been given, the oldest first."""
        with self._changed:
            rows = self._all(
                "SELECT record FROM outbox JOIN results USING (run_uid) WHERE sink = ? ORDER BY id LIMIT ?", sink, limit
            )
            stored = [ScreeningResult.model_validate_json(record) for (record,) in rows]
            waiting = [result for (name, _), result in self._pending_deliveries.items() if name == sink]
            return (stored + waiting)[:limit]

    def mark_delivered(self, sink: str, result: ScreeningResult) -> None:
        """Note that a sink has been given this revision; where the disk refuses the note it may be given it again."""
        with self._changed:
            self._pending_deliveries.pop((sink, result.run_uid), None)
            try:
                with self._database:
                    self._database.execute(
                        "DELETE FROM outbox WHERE sink = ? AND run_uid = ? AND revision <= ?",
                        (sink, result.run_uid, result.revision),
                    )
            except sqlite3.Error as error:
                logger.warning("delivery of run %s to %s not noted: %s", result.run_uid, sink, error)

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait for a new result, up to ``timeout_s`` seconds."""
        with self._changed:
            if not self._closed:
                self._changed.wait(timeout_s)

    def close(self) -> None:
        """Write what waits if the disk takes it, and close the file."""
        with self._changed:
            if self._closed:
                return
            left = self.retry_pending()
            if left:
                logger.error("%d results could not be written before the end", left)
            self._closed = True
            self._changed.notify_all()
            self._database.close()

    def _begin_epoch(self) -> int:
        try:
            with self._database:
                cursor = self._database.execute("INSERT INTO epochs (started_at) VALUES (?)", (time.time(),))
        except sqlite3.Error as error:
            self._database.close()
            raise StoreError(f"the store can't be written: {error}") from error
        return cursor.lastrowid or 0

    def _current_epoch(self) -> int:
        row = self._one("SELECT max(id) FROM epochs")
        return 0 if row is None or row[0] is None else int(row[0])

    def _standing_revision(self, run_uid: str) -> int:
        if run_uid in self._pending:
            return self._pending[run_uid].result.revision
        row = self._one("SELECT revision FROM results WHERE run_uid = ?", run_uid)
        return 0 if row is None else int(row[0])

    def _hold(self, report: ScreeningReport) -> None:
        run_uid = report.result.run_uid
        # A long outage must not fill the memory with arrays: records are small, volumes are not.
        keeps_arrays = len(self._pending) < _PENDING_WITH_ARRAYS
        kept = report if keeps_arrays else replace(report, model_input=None, rocking_curve=None)
        lost = self._pending.put(run_uid, kept)
        for sink in self._sinks:
            self._pending_deliveries[sink, run_uid] = report.result
        for lost_uid, _ in lost:
            logger.error("run %s: result given up, the disk has refused %d results", lost_uid, self._max_pending)

    def _write(self, report: ScreeningReport, sinks: Sequence[str]) -> bool:
        result = report.result
        try:
            with self._database:
                # A higher revision takes a new id, so that readers who go by the id see it.
                self._database.execute("DELETE FROM results WHERE run_uid = ?", (result.run_uid,))
                cursor = self._database.execute(
                    "INSERT INTO results (run_uid, revision, epoch, outcome, label, finished_at, record)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        result.run_uid,
                        result.revision,
                        self.epoch,
                        result.verdict.outcome.value,
                        result.verdict.label,
                        result.finished_at,
                        result.model_dump_json(),
                    ),
                )
                self._write_arrays(report, cursor.lastrowid or 0)
                self._database.executemany(
                    "INSERT OR REPLACE INTO outbox (sink, run_uid, revision) VALUES (?, ?, ?)",
                    [(sink, result.run_uid, result.revision) for sink in sinks],
                )
        except sqlite3.Error as error:
            logger.warning("run %s: result kept in memory, the store refuses it: %s", result.run_uid, error)
            return False
        return True

    def _write_arrays(self, report: ScreeningReport, result_id: int) -> None:
        volume = None if report.model_input is None else pack_volume(report.model_input.intensity)
        curve = None if report.rocking_curve is None else _npy(report.rocking_curve)
        size = len(volume or b"") + len(curve or b"")
        if size == 0 or size > self._max_array_bytes:
            return
        self._database.execute(
            "INSERT OR REPLACE INTO arrays VALUES (?, ?, ?, ?, ?)",
            (report.result.run_uid, result_id, size, volume, curve),
        )
        (total,) = self._database.execute("SELECT total(size_bytes) FROM arrays").fetchone()
        while total > self._max_array_bytes:
            row = self._one("SELECT run_uid, size_bytes FROM arrays ORDER BY result_id LIMIT 1")
            if row is None:
                return
            self._database.execute("DELETE FROM arrays WHERE run_uid = ?", (row[0],))
            total -= row[1]

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        with closing(self._database.execute(query, values)) as cursor:
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    def _all(self, query: str, *values: object) -> list[tuple[str]]:
        with closing(self._database.execute(query, values)) as cursor:
            return cursor.fetchall()


def _npy(curve: NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, curve, allow_pickle=False)
    return buffer.getvalue()
