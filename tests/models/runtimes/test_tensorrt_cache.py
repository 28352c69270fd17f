"""An engine on disk is our own, whole, and the one that was asked for, or it is not loaded."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braggwatch.models.runtimes.engine_cache import (
    EngineCache,
    EngineCacheError,
    EngineMissingError,
    EngineRecord,
    EngineStaleError,
    default_cache_folder,
)
from braggwatch.models.runtimes.engine_key import EngineKey

KEY = EngineKey(
    model_sha256="a" * 64,
    precision="fp16-1",
    flavour="tensorrt",
    version="11.4.0",
    device="NVIDIA H200, compute capability 9.0",
    driver="580.1, CUDA 13.0",
    batches=(1, 8, 32),
)
PLAN = bytes(range(256)) * 40
OTHERS = {
    "model_sha256": "b" * 64,
    "precision": "fp16-2",
    "flavour": "tensorrt-rtx",
    "version": "10.9.0",
    "device": "NVIDIA A100, compute capability 8.0",
    "driver": "590.1, CUDA 13.1",
    "batches": (1, 8),
}


def record(key: EngineKey = KEY) -> EngineRecord:
    return EngineRecord(
        key=key,
        bundle="cxdp-fcc/1.3.0",
        precision="fp16",
        half_nodes=35,
        nodes=63,
        plan_sha256="",
        plan_bytes=0,
        onnx_bytes=10,
        build_seconds=1.5,
        built=datetime(2026, 1, 2, tzinfo=UTC),
    )


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


@pytest.fixture
def stored(cache: EngineCache) -> Path:
    return cache.store(record(), PLAN)


def test_what_was_stored_is_loaded(cache: EngineCache, stored: Path) -> None:
    found = cache.load(KEY)
    assert found.plan == PLAN
    assert found.record.plan_bytes == len(PLAN)
    assert cache.records() == (found.record,)
    assert {path.suffix for path in cache.folder.iterdir()} == {".plan", ".json"}
    assert cache.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("field", OTHERS)
def test_every_part_of_the_key_counts(cache: EngineCache, stored: Path, field: str) -> None:
    other = KEY.model_copy(update={field: OTHERS[field]})
    with pytest.raises(EngineMissingError) as error:
        cache.load(other)
    if field != "model_sha256":
        assert isinstance(error.value, EngineStaleError)
        assert field in str(error.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(place=st.integers(0, len(PLAN) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(cache: EngineCache, stored: Path, place: int, bit: int) -> None:
    damaged = bytearray(PLAN)
    damaged[place] ^= 1 << bit
    stored.write_bytes(damaged)
    with pytest.raises(EngineCacheError, match="SHA-256"):
        cache.load(KEY)


@pytest.mark.parametrize("length", [0, 1, len(PLAN) - 1, len(PLAN) + 1])
def test_a_plan_of_another_length_is_found(cache: EngineCache, stored: Path, length: int) -> None:
    stored.write_bytes((PLAN + b"\0")[:length])
    with pytest.raises(EngineCacheError, match="SHA-256"):
        cache.load(KEY)


def test_a_missing_plan_and_a_broken_sidecar_are_named(cache: EngineCache, stored: Path) -> None:
    sidecar = next(cache.folder.glob("*.json"))
    text = sidecar.read_bytes()
    sidecar.write_bytes(text[: len(text) // 2])
    with pytest.raises(EngineCacheError, match="no record"):
        cache.load(KEY)
    assert cache.records() == ()
    sidecar.write_bytes(text)
    stored.unlink()
    with pytest.raises(EngineCacheError, match="can't be read"):
        cache.load(KEY)


def test_an_engine_under_anothers_name_is_foreign(cache: EngineCache, stored: Path) -> None:
    other = KEY.model_copy(update={"device": OTHERS["device"]})
    next(cache.folder.glob("*.json")).rename(cache.folder / f"{other.digest[:24]}.json")
    with pytest.raises(EngineCacheError, match=r"another engine: device NVIDIA H200.* instead of NVIDIA A100"):
        cache.load(other)


def test_what_others_may_write_is_not_loaded(cache: EngineCache, stored: Path) -> None:
    stored.chmod(0o664)
    with pytest.raises(EngineCacheError, match="written by others"):
        cache.load(KEY)
    stored.chmod(0o644)
    assert cache.load(KEY).plan == PLAN
    cache.folder.chmod(0o777)
    with pytest.raises(EngineCacheError, match="written by others"):
        cache.load(KEY)
    with pytest.raises(EngineCacheError, match="written by others"):
        cache.store(record(), PLAN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_another_user_is_not_loaded(cache: EngineCache, stored: Path) -> None:
    os.chown(stored, 12345, -1)
    with pytest.raises(EngineCacheError, match="another user"):
        cache.load(KEY)


def test_a_new_build_takes_the_place_of_the_old(cache: EngineCache, stored: Path) -> None:
    cache.store(record(), PLAN[::-1])
    assert cache.load(KEY).plan == PLAN[::-1]
    assert not stored.exists()
    cache.discard(KEY)
    assert list(cache.folder.iterdir()) == []
    cache.discard(KEY)


def test_writers_at_once_leave_one_whole_engine(cache: EngineCache) -> None:
    plans = [bytes([number]) * 5000 for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda plan: cache.store(record(), plan), plans))
    assert cache.load(KEY).plan in plans
    assert not list(cache.folder.glob("*.part"))


def test_side_products_prove_themselves_too(cache: EngineCache) -> None:
    assert cache.read_blob("x.timings") is None
    cache.write_blob("x.timings", b"\x00timings\n")
    assert cache.read_blob("x.timings") == b"\x00timings\n"
    path = cache.folder / "x.timings"
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.read_blob("x.timings") is None


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineCacheError, match="can't be written"):
        EngineCache(tmp_path / "file" / "engines").store(record(), PLAN)


def test_the_folder_is_the_users_cache_unless_stated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BRAGGWATCH_ENGINES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "braggwatch" / "engines"
    monkeypatch.setenv("BRAGGWATCH_ENGINES", str(tmp_path / "here"))
    assert default_cache_folder() == tmp_path / "here"
