"""The result store: its tables, what it writes into them, and a file of an earlier version."""

from __future__ import annotations

import io
import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from braggwatch.services.sadp.live.pattern_picture import unpack_picture
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
    results,
)
from support.golden import Golden
from support.stored_samples import fill, restored


def test_the_store_has_the_same_tables(golden: Golden, tmp_path: Path) -> None:
    ResultStore(tmp_path / "new.sqlite").close()
    golden.same_json("store/schema.json", _schema(tmp_path / "new.sqlite"))


def test_a_store_of_an_earlier_version_gives_back_its_results(golden: Golden, tmp_path: Path) -> None:
    with ResultStore(restored(golden, tmp_path)) as store:
        assert store.latest(10) == [bare_result(), classified_result(), full_result()]
        for result in results().values():
            assert store.get(result.run_uid) == result
        made = report(full_result())
        volume, curve = store.model_input(full_result().run_uid), store.rocking_curve(full_result().run_uid)
        assert volume is not None
        assert curve is not None
        assert made.model_input is not None
        assert made.rocking_curve is not None
        assert volume.dtype == np.float32
        assert np.array_equal(volume, made.model_input.intensity)
        assert np.array_equal(curve, made.rocking_curve, equal_nan=True)
        assert store.model_input(bare_result().run_uid) is None
        assert store.pending_deliveries("stream") == [full_result(), bare_result()]
        assert store.epoch == 2
        run_uid = particle().run_uid
        assert PatternStore.of(store).particle(run_uid, "grain 7/a") == particle()
        assert PatternStore.of(store).all_patterns(run_uid) == patterns()
        assert PatternStore.of(store).run(run_uid) == pattern_run()
        assert [one.record for one in PatternStore.of(store).undelivered("stream")] == [*patterns(), pattern_run()]
        packed = PatternStore.of(store).picture(run_uid, "grain 7/a")
        assert packed is not None
        found = unpack_picture(packed)
        assert np.array_equal(found.pixels, picture().pixels)
        assert np.array_equal(found.spots, picture().spots)
        facts = (found.seq_num, found.centre, found.inv_nm_per_px)
        assert facts == (picture().seq_num, picture().centre, picture().inv_nm_per_px)


def test_a_store_from_before_electron_diffraction_gives_back_its_results(golden: Golden, tmp_path: Path) -> None:
    path = restored(golden, tmp_path)
    with closing(sqlite3.connect(path)) as database:
        for table in ("pattern_journal", "particles", "pattern_cursors"):
            database.execute(f"DROP TABLE {table}")
        database.execute("PRAGMA user_version = 1")
        database.commit()
    with ResultStore(path) as store:
        assert store.latest(10) == [bare_result(), classified_result(), full_result()]
    golden.same_json("store/schema.json", _schema(path))


def test_a_store_is_written_with_the_same_rows(golden: Golden, tmp_path: Path) -> None:
    then = restored(golden, tmp_path)
    fill(tmp_path / "now.sqlite")
    assert _rows(tmp_path / "now.sqlite") == _rows(then)


def _schema(path: Path) -> object:
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        entries = [
            [kind, name, table, sql and " ".join(sql.split())] for kind, name, table, sql in database.execute(query)
        ]
    return {"user_version": version, "entries": entries}


def _rows(path: Path) -> dict[str, list[list[object]]]:
    """All rows but for times, with what is compressed unpacked: its bytes depend on the machine's zlib."""
    tables = ("results", "arrays", "outbox", "pattern_journal", "particles", "pattern_cursors")
    rows: dict[str, list[list[object]]] = {}
    with closing(sqlite3.connect(path)) as database:
        for table in tables:
            cursor = database.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
            names = [column[0] for column in cursor.description]
            assert "size_bytes" in names or table != "arrays"
            rows[table] = [
                [_unpacked(name, value) for name, value in zip(names, row, strict=True) if name != "size_bytes"]
                for row in cursor
            ]
        (epochs,) = database.execute("SELECT count(*) FROM epochs").fetchone()
    assert epochs == 1
    return rows


def _unpacked(column: str, value: Any) -> object:
    if column == "model_input" and value is not None:
        head = struct.calcsize("<d3I")
        return value[:head], zlib.decompress(value[head:])
    if column == "picture" and value is not None:
        return zlib.decompress(value)
    if column == "rocking_curve" and value is not None:
        curve = np.load(io.BytesIO(value), allow_pickle=False)
        return curve.dtype.str, curve.shape, curve.tobytes()
    return value
