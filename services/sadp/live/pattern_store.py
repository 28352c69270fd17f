"""Keeps the record of each diffraction pattern, of each particle as it stands, and of each run of patterns."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunResult
from braggwatch.services.storage.result_store import ResultStore

logger = logging.getLogger(__name__)

ParticleKey = tuple[str, str]
"""Uid of the run and name of the particle."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One record in the order in which it was stored; ``id`` only ever grows."""

    id: int
    record: PatternResult | PatternRunResult


class PatternStore:
    """The tables of the result store that belong to diffraction patterns; safe to use from any thread.

    Parameters
    ----------
    database
        The store's connection.
    changed
        The store's lock; told of new records.
    """

    def __init__(self, database: sqlite3.Connection, changed: threading.Condition) -> None:
        self._database = database
        self._changed = changed

    @classmethod
    def of(cls, store: ResultStore) -> PatternStore:
        """Return the tables of patterns in a result store's file."""
        return cls(store.database, store.changed)

    def put(
        self,
        records: Sequence[PatternResult | PatternRunResult],
        particles: Sequence[ParticleState],
        pictures: Mapping[ParticleKey, bytes],
    ) -> bool:
        """Store records and particles in one transaction; on the disk when this returns.

        A pattern of the same stream and sequence number as before (a rewound plan) takes the place of the old one.

        Returns
        -------
        bool
            False where the disk refuses: nothing of it is stored then, and the caller may come again.
        """
        with self._changed:
            try:
                with self._database:
                    newest = 0
                    for record in records:
                        newest = self._write(record)
                    for particle in particles:
                        self._write_particle(particle, newest, pictures.get((particle.run_uid, particle.particle)))
            except sqlite3.Error as error:
                logger.warning("%d pattern records kept in memory, the store refuses them: %s", len(records), error)
                return False
            self._changed.notify_all()
            return True

    def particles(self, limit: int) -> list[ParticleState]:
        """Return up to ``limit`` particles, those with the newest patterns first."""
        rows = self._all("SELECT record FROM particles ORDER BY changed DESC, particle LIMIT ?", limit)
        return [ParticleState.model_validate_json(record) for (record,) in rows]

    def particle(self, run_uid: str, particle: str) -> ParticleState | None:
        """Return a particle as it stands, None where there is none."""
        rows = self._all("SELECT record FROM particles WHERE run_uid = ? AND particle = ?", run_uid, particle)
        return ParticleState.model_validate_json(rows[0][0]) if rows else None

    def particles_of(self, run_uid: str) -> list[ParticleState]:
        """Return the particles of a run by name."""
        rows = self._all("SELECT record FROM particles WHERE run_uid = ? ORDER BY particle", run_uid)
        return [ParticleState.model_validate_json(record) for (record,) in rows]

    def picture(self, run_uid: str, particle: str) -> bytes | None:
        """Return the particle's last picture that was kept, as it was packed."""
        rows = self._all("SELECT picture FROM particles WHERE run_uid = ? AND particle = ?", run_uid, particle)
        return rows[0][0] if rows else None

    def patterns(self, run_uid: str, particle: str, limit: int) -> list[PatternResult]:
        """Return the newest ``limit`` patterns of a particle in the order in which they were judged."""
        rows = self._all(
            "SELECT record FROM pattern_journal WHERE run_uid = ? AND particle = ? AND kind = 'pattern'"
            " ORDER BY id DESC LIMIT ?",
            run_uid,
            particle,
            limit,
        )
        return [PatternResult.model_validate_json(record) for (record,) in reversed(rows)]

    def run(self, run_uid: str) -> PatternRunResult | None:
        """Return the final record of a run of patterns, None while it goes on or where there is none."""
        rows = self._all("SELECT record FROM pattern_journal WHERE run_uid = ? AND kind = 'run'", run_uid)
        return PatternRunResult.model_validate_json(rows[0][0]) if rows else None

    def count(self, run_uid: str) -> int:
        """Return how many patterns of a run are stored."""
        rows = self._all("SELECT count(*) FROM pattern_journal WHERE run_uid = ? AND kind = 'pattern'", run_uid)
        return int(rows[0][0])

    def unfinished_runs(self) -> list[str]:
        """Return the uids of runs that have patterns and no final record."""
        rows = self._all(
            "SELECT DISTINCT run_uid FROM pattern_journal AS pattern WHERE kind = 'pattern' AND NOT EXISTS"
            " (SELECT 1 FROM pattern_journal WHERE run_uid = pattern.run_uid AND kind = 'run')"
        )
        return [run_uid for (run_uid,) in rows]

    def all_patterns(self, run_uid: str) -> list[PatternResult]:
        """Return every pattern of a run in the order of judgement."""
        rows = self._all(
            "SELECT record FROM pattern_journal WHERE run_uid = ? AND kind = 'pattern' ORDER BY id", run_uid
        )
        return [PatternResult.model_validate_json(record) for (record,) in rows]

    def undelivered(self, sink: str, limit: int = 200) -> list[JournalEntry]:
        """Return the oldest records that a sink has not been given.

        A sink that is new to this file begins with what is stored from now on.
        """
        with self._changed:
            rows = self._all("SELECT journal_id FROM pattern_cursors WHERE sink = ?", sink)
            if not rows:
                self._begin(sink)
                return []
            found = self._all(
                "SELECT id, kind, record FROM pattern_journal WHERE id > ? ORDER BY id LIMIT ?", rows[0][0], limit
            )
        return [JournalEntry(number, _parsed(kind, record)) for number, kind, record in found]

    def mark_delivered(self, sink: str, journal_id: int) -> None:
        """Note how far a sink is; where the disk refuses the note it may be given some again."""
        with self._changed:
            try:
                with self._database:
                    self._database.execute(
                        "UPDATE pattern_cursors SET journal_id = max(journal_id, ?) WHERE sink = ?", (journal_id, sink)
                    )
            except sqlite3.Error as error:
                logger.warning("delivery of patterns to %s not noted: %s", sink, error)

    def _begin(self, sink: str) -> None:
        try:
            with self._database:
                self._database.execute(
                    "INSERT INTO pattern_cursors SELECT ?, coalesce(max(id), 0) FROM pattern_journal", (sink,)
                )
        except sqlite3.Error as error:
            logger.warning("patterns can't be delivered to %s yet: %s", sink, error)

    def _write(self, record: PatternResult | PatternRunResult) -> int:
        is_pattern = isinstance(record, PatternResult)
        # A run's own record stands where no pattern can: sequence numbers begin at 1.
        stream, seq_num, particle = (record.stream, record.seq_num, record.particle) if is_pattern else ("", 0, "")
        cursor = self._database.execute(
            # The old row goes and a new id comes, so that readers who go by the id see the change.
            "INSERT OR REPLACE INTO pattern_journal (kind, run_uid, particle, stream, seq_num, record)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                "pattern" if is_pattern else "run",
                record.run_uid,
                particle,
                stream,
                seq_num,
                record.model_dump_json(),
            ),
        )
        return cursor.lastrowid or 0

    def _write_particle(self, state: ParticleState, changed: int, picture: bytes | None) -> None:
        self._database.execute(
            "INSERT INTO particles VALUES (?, ?, ?, ?, ?) ON CONFLICT (run_uid, particle) DO UPDATE SET"
            " changed = excluded.changed, record = excluded.record, picture = coalesce(excluded.picture, picture)",
            (state.run_uid, state.particle, changed, state.model_dump_json(), picture),
        )

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._changed, closing(self._database.execute(query, values)) as cursor:
            return cursor.fetchall()


def _parsed(kind: str, record: str) -> PatternResult | PatternRunResult:
    if kind == "pattern":
        return PatternResult.model_validate_json(record)
    return PatternRunResult.model_validate_json(record)
