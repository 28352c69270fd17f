"""One durable record a run, whatever the disk does."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from braggwatch.callbacks.cxdp.records import ModelInput, Quality, ScreeningReport, ScreeningResult
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.storage.array_codec import pack_volume, unpack_volume
from braggwatch.services.storage.result_store import ResultStore, StoreError

MODEL = ModelIdentity(name="m", version="1", sha256="0" * 64, runtime="test")
QUALITY = Quality(
    coverage=1.0,
    peak_counts=1.0,
    total_counts=1.0,
    saturated_pixels=0,
    size_nm=None,
    scale_valid=True,
    voxel_size_inv_A=1e-3,
    q_inv_A=2.7,
    d_spacing_A=2.3,
    d_deviation=None,
)


def result(run_uid: str = "r1", label: str = "screw", revision: int = 1) -> ScreeningResult:
    verdict = Verdict(outcome=Outcome.CLASSIFIED, label=label, probabilities={label: 1.0}, confidence=0.9, model=MODEL)
    return ScreeningResult(
        run_uid=run_uid,
        scan_id=1,
        revision=revision,
        verdict=verdict,
        frames_expected=10,
        frames_received=10,
        quality=None,
        started_at=1.0,
        finished_at=2.0,
        latency_s=0.1,
    )


def report(run_uid: str = "r1", *, edge: int = 64, **changes) -> ScreeningReport:
    volume = np.random.default_rng(0).poisson(5, (edge, edge, edge)).astype(np.float32)
    model_input = ModelInput(run_uid, volume, np.eye(3), np.zeros(3), QUALITY)
    return ScreeningReport(result(run_uid, **changes), model_input, np.arange(20.0).reshape(10, 2))


@pytest.fixture
def store(tmp_path: Path):
    with ResultStore(tmp_path / "s.sqlite", sinks=("a", "b")) as opened:
        yield opened


def test_a_result_is_there_after_the_process_is_gone(tmp_path: Path):
    with ResultStore(tmp_path / "s.sqlite") as first:
        assert first.put(report())
        epoch = first.epoch
    with ResultStore(tmp_path / "s.sqlite") as second:
        assert second.get("r1") == result()
        assert second.epoch > epoch
        volume, curve = second.model_input("r1"), second.rocking_curve("r1")
        assert volume is not None
        assert volume.shape == (64, 64, 64)
        assert curve is not None
        assert np.array_equal(curve, np.arange(20.0).reshape(10, 2))


def test_a_result_is_on_the_disk_when_put_returns(store, tmp_path: Path):
    store.put(report())
    with ResultStore(tmp_path / "s.sqlite", read_only=True) as other:
        assert other.get("r1") == result()


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), min_size=1, max_size=20))
@example("caf\udce9", "a folder called caf\udce9")
@example("Au \ud83d", "nul \x00")
def test_any_text_of_a_document_is_stored(tmp_path_factory: pytest.TempPathFactory, sample, reason):
    verdict = Verdict.without_class(Outcome.ABORTED, reason)
    odd = ScreeningResult.model_validate({**dict(result()), "sample": sample, "verdict": verdict})
    with ResultStore(tmp_path_factory.mktemp("store") / "s.sqlite") as store:
        assert store.put(ScreeningReport(odd, None))
        stored = store.get("r1")
        assert stored == odd
        assert stored is not None
        assert stored.sample == sample.encode(errors="replace").decode()
        assert stored.verdict.reason == reason.encode(errors="replace").decode()


def test_no_second_verdict_of_the_same_revision(store):
    assert store.put(report(label="screw"))
    assert not store.put(report(label="edge"))
    assert store.get("r1").verdict.label == "screw"
    assert len(store.latest(10)) == 1


def test_a_higher_revision_replaces_the_record(store):
    store.put(report(label="screw"))
    assert store.put(report(label="edge", revision=2))
    assert not store.put(report(label="screw", revision=1))
    assert [(each.verdict.label, each.revision) for each in store.latest(10)] == [("edge", 2)]


def test_latest_pages_from_new_to_old(store):
    for number in range(5):
        store.put(report(f"r{number}", edge=4))
    assert [each.run_uid for each in store.latest(2)] == ["r4", "r3"]
    assert [each.run_uid for each in store.latest(2, after_id="r3")] == ["r2", "r1"]
    assert store.latest(2, after_id="r0") == []
    assert store.latest(2, after_id="unknown") == []


def test_wait_returns_as_soon_as_the_result_is_there(store):
    threading.Timer(0.05, store.put, [report()]).start()
    assert store.wait("r1", 5.0) == result()
    assert store.wait("other", 0.01) is None


def test_old_arrays_go_and_records_stay(tmp_path: Path):
    with ResultStore(tmp_path / "s.sqlite", max_array_bytes=700_000) as store:
        for number in range(4):
            store.put(report(f"r{number}"))
        assert len(store.latest(10)) == 4
        assert store.model_input("r3") is not None
        assert store.model_input("r0") is None


def test_a_refusing_disk_loses_nothing(store, tmp_path: Path):
    store.put(report("before"))
    store._database.execute("PRAGMA query_only = ON")
    assert store.put(report("during"))
    assert not store.put(report("during", label="edge"))
    assert store.pending == 1
    assert store.get("during") == result("during")
    assert store.wait("during", 0.0) == result("during")
    assert [each.run_uid for each in store.latest(10)] == ["during", "before"]
    assert [each.run_uid for each in store.latest(10, after_id="during")] == ["before"]
    assert store.model_input("during").shape == (64, 64, 64)
    assert [each.run_uid for each in store.pending_deliveries("a")] == ["before", "during"]
    assert store.retry_pending() == 1

    store._database.execute("PRAGMA query_only = OFF")
    assert store.retry_pending() == 0
    with ResultStore(tmp_path / "s.sqlite", read_only=True) as other:
        assert {each.run_uid for each in other.latest(10)} == {"before", "during"}


def test_a_full_disk_is_survived(store):
    store.put(report("before", edge=4))
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(5):
        assert store.put(report(f"r{number}"))
    assert store.pending > 0
    assert len(store.latest(10)) == 6
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert store.retry_pending() == 0


def test_what_a_sink_took_while_the_disk_refused_is_not_offered_again(store):
    store._database.execute("PRAGMA query_only = ON")
    store.put(report())
    store.mark_delivered("a", result())
    assert store.pending_deliveries("a") == []
    assert store.pending_deliveries("b") == [result()]
    store._database.execute("PRAGMA query_only = OFF")
    store.retry_pending()
    assert store.pending_deliveries("a") == []
    assert store.pending_deliveries("b") == [result()]


def test_the_outbox_outlives_the_process(tmp_path: Path):
    with ResultStore(tmp_path / "s.sqlite", sinks=("a", "b")) as first:
        first.put(report())
        first.mark_delivered("a", result())
    with ResultStore(tmp_path / "s.sqlite", sinks=("a", "b")) as second:
        assert second.pending_deliveries("a") == []
        assert second.pending_deliveries("b") == [result()]


def test_a_file_that_is_no_store_is_a_clear_error(tmp_path: Path):
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        ResultStore(path)
    with pytest.raises(StoreError, match="unable to open"):
        ResultStore(tmp_path / "absent" / "s.sqlite")


def test_a_newer_schema_is_not_touched(tmp_path: Path):
    path = tmp_path / "s.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer version"):
        ResultStore(path)


@given(hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 2**24, width=32)))
@example(np.full((3, 4, 5), np.finfo(np.float32).tiny))
def test_packed_volumes_keep_their_values(volume):
    restored = unpack_volume(pack_volume(volume))
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, volume, rtol=5e-4, atol=float(volume.max()) * 1e-8)


def test_other_bytes_are_no_volume():
    with pytest.raises(ValueError, match="not a packed volume"):
        unpack_volume(b"x" * 40)
