"""The service is put together from entries, ends in one way, and leaves nothing behind where it can't be made."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import httpx
import pytest

from braggwatch.services import composition
from braggwatch.services.composition import compose_service
from braggwatch.services.cxdp.live.modality import CurveModality
from braggwatch.services.feedback.registry import SINKS
from braggwatch.services.sadp.live.modality import PatternModality, open_patterns
from braggwatch.services.serving import serve
from braggwatch.services.settings import FeedbackSettings, Settings, load_settings
from braggwatch.services.settings_error import SettingsError
from support.quick_bundle import write_quick_registry
from tests.support.patterns import net, pattern_run


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_quick_registry(tmp_path_factory.mktemp("registry"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def settings_of(folder: Path, registry: Path, more: str = "", address: str = "tcp://127.0.0.1:9") -> Settings:
    config = folder / "braggwatch.toml"
    config.write_text(
        f'[stream]\naddress = "{address}"\nprefix = "raw"\n[page]\nport = 0\n'
        f'[screening]\nregistry = "{registry}"\ngeometry = "simulated"\n'
        f'[store]\npath = "{folder / "results.sqlite"}"\n{more}'
    )
    return load_settings(config)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("braggwatch")}


def test_a_sink_that_cant_be_opened_leaves_none_of_the_others_open(registry: Path, tmp_path: Path) -> None:
    pytest.importorskip("p4p")
    port = free_port()
    more = (
        f'[feedback.publisher]\nenabled = true\nmode = "bind"\naddress = "tcp://127.0.0.1:{port}"\n'
        '[feedback.pvs]\nenabled = true\ninterfaces = ["203.0.113.1"]\nport = 0\nsearch_port = 0\n'
    )
    settings = settings_of(tmp_path, registry, more)
    for _ in range(2):  # the second attempt finds the address free and the store closed
        with pytest.raises(SettingsError, match=r"feedback\.pvs\.interfaces"):
            compose_service(settings)
    socket.create_server(("127.0.0.1", port)).close()
    assert threads() == set()


def test_a_model_that_cant_be_used_leaves_nothing_open(registry: Path, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, tmp_path / "nowhere")
    with pytest.raises(Exception, match="nowhere"):
        compose_service(settings)
    (tmp_path / "results.sqlite").rename(tmp_path / "moved.sqlite")
    assert not list(tmp_path.glob("*-wal")), "the store was closed"


def test_it_can_be_closed_at_any_stage_and_twice(registry: Path, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, registry)
    composed = compose_service(settings)
    composed.close()
    composed.close()
    composed = compose_service(settings)
    composed.service.start()
    composed.stop()
    assert composed.store.latest(1) == []
    composed.close()
    assert threads() == set()


def test_a_page_that_cant_be_served_stops_what_was_started(registry: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        more = settings_of(tmp_path, registry)
        page = more.page.model_copy(update={"port": taken.getsockname()[1]})
        with pytest.raises(SettingsError, match="can't listen"), serve(more.model_copy(update={"page": page})):
            pass
    assert threads() == set()


def test_a_modality_is_one_entry(
    shared_proxy, make_publisher, eventually, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service for patterns alone: it needs no model of rocking curves, and shows nothing of them."""
    monkeypatch.setattr(composition, "MODALITIES", (open_patterns,))
    settings = settings_of(tmp_path, tmp_path / "no-models", address=shared_proxy.out_address)
    run = pattern_run([net()] * 2)
    with serve(settings) as running, httpx.Client(base_url=running.url) as client:
        assert running.composed.service.wait_ready(30.0)
        with pytest.raises(LookupError):
            running.composed.modality(CurveModality)
        publisher = make_publisher(shared_proxy)
        for name, document in run:
            publisher(name, document)
        eventually(lambda: client.get(f"/sadp/runs/{run.uid}").is_success, 30.0, what="the run's record")
        assert client.get("/runs").status_code == 404
        patterns = running.composed.modality(PatternModality)
        assert client.get("/status").json()["watchers"] == patterns.watchers == 0
        with client.stream("GET", "/sadp/events"):
            eventually(lambda: client.get("/status").json()["watchers"] == 1, what="the watcher counted")


def test_a_sink_is_one_entry_with_its_settings() -> None:
    off = FeedbackSettings()
    assert not any(kind.is_enabled(off) for kind in SINKS)
    names = [kind.name for kind in SINKS]
    assert len(set(names)) == len(names)


def test_closing_is_a_context(registry: Path, tmp_path: Path) -> None:
    with contextlib.closing(compose_service(settings_of(tmp_path, registry))) as composed:
        assert composed.modality(CurveModality).classes
    assert threads() == set()
