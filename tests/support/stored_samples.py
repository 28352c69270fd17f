"""A result store filled with the samples, and its dump as SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from braggwatch.callbacks.cxdp.records import ScreeningReport
from braggwatch.services.sadp.live.pattern_picture import pack_picture
from braggwatch.services.sadp.live.pattern_store import PatternStore
from braggwatch.services.storage.result_store import ResultStore
from support.format_samples import (
    bare_result,
    classified_result,
    full_result,
    particle,
    pattern_run,
    patterns,
    picture,
    report,
)
from support.golden import Golden


def fill(path: Path) -> None:
    """Make a store with the samples: two results wait for the sink 'stream', one was delivered."""
    with ResultStore(path, sinks=["stream"]) as store:
        store.put(report(full_result()))
        store.put(report(classified_result()))
        store.put(ScreeningReport(result=bare_result(), model_input=None))
        store.mark_delivered("stream", classified_result())
        assert PatternStore.of(store).undelivered("stream") == []
        state = particle()
        PatternStore.of(store).put(
            [*patterns(), pattern_run()], [state], {(state.run_uid, state.particle): pack_picture(picture())}
        )


def restored(golden: Golden, folder: Path) -> Path:
    """Return a store of an earlier version, in a folder."""
    dump = golden.made_once("store/results.sql", _write_dump).read_text(encoding="utf-8")
    path = folder / "then.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(dump)
    return path


def _write_dump(path: Path) -> None:
    database_path = path.with_suffix(".sqlite")
    try:
        fill(database_path)
        with closing(sqlite3.connect(database_path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            database.execute("UPDATE epochs SET started_at = 1700000000.0")
            lines = [*database.iterdump(), f"PRAGMA user_version = {version};"]
    finally:
        for name in (database_path.name, f"{database_path.name}-wal", f"{database_path.name}-shm"):
            database_path.with_name(name).unlink(missing_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
