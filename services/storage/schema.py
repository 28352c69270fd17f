"""Tables of the result store, and how an older file is brought up to date."""

from __future__ import annotations

import sqlite3
from typing import Final

from braggwatch.sim.errors import BraggwatchError

SCHEMA_VERSION: Final = 2

# Each step brings a file from the version of its place to the next.
_STEPS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE epochs (id INTEGER PRIMARY KEY AUTOINCREMENT, started_at REAL NOT NULL);
    CREATE TABLE results (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_uid TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,
        epoch INTEGER NOT NULL REFERENCES epochs(id),
        outcome TEXT NOT NULL,
        label TEXT,
        finished_at REAL NOT NULL,
        record TEXT NOT NULL
    );
    CREATE TABLE arrays (
        run_uid TEXT PRIMARY KEY,
        result_id INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        model_input BLOB,
        rocking_curve BLOB
    );
    CREATE INDEX arrays_by_age ON arrays(result_id);
    CREATE TABLE outbox (
        sink TEXT NOT NULL,
        run_uid TEXT NOT NULL,
        revision INTEGER NOT NULL,
        PRIMARY KEY (sink, run_uid)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE pattern_journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL CHECK (kind IN ('pattern', 'run')),
        run_uid TEXT NOT NULL,
        particle TEXT NOT NULL,
        stream TEXT NOT NULL,
        seq_num INTEGER NOT NULL,
        record TEXT NOT NULL,
        UNIQUE (run_uid, stream, seq_num)
    );
    CREATE INDEX pattern_journal_by_particle ON pattern_journal(run_uid, particle, id);
    CREATE TABLE particles (
        run_uid TEXT NOT NULL,
        particle TEXT NOT NULL,
        changed INTEGER NOT NULL,
        record TEXT NOT NULL,
        picture BLOB,
        PRIMARY KEY (run_uid, particle)
    ) WITHOUT ROWID;
    CREATE INDEX particles_by_change ON particles(changed);
    CREATE TABLE pattern_cursors (sink TEXT PRIMARY KEY, journal_id INTEGER NOT NULL) WITHOUT ROWID;
    """,
)


class StoreError(BraggwatchError):
    """The store can't be opened; the text says why, for an operator."""


def open_database(path: str, *, read_only: bool) -> sqlite3.Connection:
    """Open or make the file, durable (write-ahead log, each commit on the disk before it returns).

    Raises
    ------
    StoreError
        Where the file can't be opened or written, isn't a store, or was written by a newer version.
    """
    try:
        if read_only:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        else:
            connection = sqlite3.connect(path, check_same_thread=False, timeout=2.0)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    try:
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        _bring_up_to_date(connection, read_only=read_only)
    except (sqlite3.Error, StoreError) as error:
        connection.close()
        raise StoreError(f"{path}: {error}") from error
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, *, read_only: bool) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StoreError(f"written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})")
    if version < SCHEMA_VERSION and read_only:
        raise StoreError(f"schema {version} must first be brought to {SCHEMA_VERSION} by the service")
    for number in range(version, SCHEMA_VERSION):
        # One script, one transaction: a power cut leaves the old schema or the new one.
        connection.executescript(f"BEGIN; {_STEPS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
