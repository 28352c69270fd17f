"""A page with a real store, broker and server, and results to put into them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from braggwatch.callbacks.cxdp.records import (
    LiveRecord,
    ModelInput,
    ProvisionalVerdict,
    Quality,
    ScreeningReport,
    ScreeningResult,
)
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.cxdp.live.explainer import Explainer
from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.cxdp.live.routes import add_curve_routes
from braggwatch.services.live.health import Health
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.page import create_app
from braggwatch.services.sadp.live.page_routes import add_pattern_routes
from braggwatch.services.sadp.live.pattern_desk import PatternDesk
from braggwatch.services.settings import PageSettings
from braggwatch.services.storage.result_store import ResultStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

CLASSES = ("perfect", "screw", "edge")
MODEL = ModelIdentity(name="cxdp-fcc", version="1.0.0", sha256="ab" * 32, runtime="onnxruntime-cpu")


def make_quality(voxel_size_inv_A: float = 5e-4) -> Quality:
    return Quality(
        coverage=0.97,
        peak_counts=5200.0,
        total_counts=8.1e5,
        saturated_pixels=0,
        size_nm=210.0,
        scale_valid=True,
        voxel_size_inv_A=voxel_size_inv_A,
        q_inv_A=2.668,
        d_spacing_A=2.355,
        d_deviation=4e-4,
    )


def make_result(uid: str = "run-0001", label: str | None = "screw", **changes: object) -> ScreeningResult:
    if label is None:
        verdict = Verdict.without_class(Outcome.INVALID, "frame shape changed")
    else:
        others = [name for name in CLASSES if name != label]
        probabilities = {label: 0.9, others[0]: 0.07, others[1]: 0.03}
        verdict = Verdict(
            outcome=Outcome.CLASSIFIED,
            label=label,
            probabilities=probabilities,
            confidence=0.9,
            prediction_set=(label,),
            ood_score=4.0,
            ood_threshold=10.0,
            model=MODEL,
        )
    values: dict[str, object] = {
        "run_uid": uid,
        "scan_id": 54,
        "revision": 1,
        "verdict": verdict,
        "frames_expected": 61,
        "frames_received": 61,
        "quality": make_quality(),
        "sample": "gold on silicon",
        "position": {"x": 1.5, "y": -2.0},
        "truth": None,
        "started_at": 1_700_000_000.0,
        "finished_at": 1_700_000_060.0,
        "latency_s": 0.4,
    }
    return ScreeningResult.model_validate(values | changes)


def make_report(result: ScreeningResult, *, arrays: bool = True) -> ScreeningReport:
    if not arrays:
        return ScreeningReport(result=result, model_input=None)
    axes = np.meshgrid(*[np.arange(64) - 32.0] * 3, indexing="ij")
    intensity = (5200.0 * np.exp(-sum((a / s) ** 2 for a, s in zip(axes, (3, 6, 9), strict=True)))).astype(np.float32)
    model_input = ModelInput(
        run_uid=result.run_uid,
        intensity=intensity,
        basis=np.eye(3),
        centre_inv_A=np.array([0.0, 2.668, 0.0]),
        quality=result.quality or make_quality(),
    )
    angles = np.linspace(-0.3, 0.3, 61)
    curve = np.stack([angles, 1e4 * np.exp(-((angles / 0.08) ** 2))], axis=1)
    return ScreeningReport(result=result, model_input=model_input, rocking_curve=curve)


@dataclass
class World:
    """Everything that a page stands on."""

    store: ResultStore
    broker: ResultBroker[LiveRecord]
    metrics: Metrics
    health: Health
    board: ProvisionalBoard
    explainer: Explainer | None = None
    patterns: PatternDesk | None = None
    classes: tuple[str, ...] = CLASSES

    def app(self, **settings: object) -> FastAPI:
        return self.app_with(PageSettings.model_validate(settings))

    def app_with(self, settings: PageSettings) -> FastAPI:
        parts = [lambda app: add_curve_routes(app, self.store, self.broker, self.board, self.explainer, self.classes)]
        desk = self.patterns
        if desk is not None:
            parts.append(lambda app: add_pattern_routes(app, desk))
        epoch, watchers = self.broker.epoch, lambda: self.broker.clients
        return create_app(parts, self.metrics, self.health, settings, epoch=epoch, watchers=watchers)

    @contextlib.contextmanager
    def served(self, **settings: object) -> Generator[str]:
        """A real server on a free loopback port, whatever host the settings name; yields its address."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(self.app(**settings), log_level="warning", ws="none", lifespan="off")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.broker.close()
            if self.patterns is not None:
                self.patterns.broker.close()
            server.should_exit = True
            thread.join(timeout=10)

    @contextlib.contextmanager
    def client(self, host_header: str | None = None, **settings: object) -> Generator[httpx.Client]:
        headers = {} if host_header is None else {"Host": host_header}
        with self.served(**settings) as url, httpx.Client(base_url=url, headers=headers, timeout=20) as client:
            yield client

    def publish(self, result: ScreeningResult, *, arrays: bool = True) -> None:
        self.store.put(make_report(result, arrays=arrays))
        self.metrics.run_finished(result)
        self.broker.publish(result)
        self.board.settle(result)


@pytest.fixture(name="result_of")
def _result_of() -> Callable[..., ScreeningResult]:
    return make_result


@pytest.fixture
def provisional_of() -> Callable[..., ProvisionalVerdict]:
    """Of what a run's record will say, what is said of it on its way."""

    def make(result: ScreeningResult, received: int = 43) -> ProvisionalVerdict:
        return ProvisionalVerdict(
            run_uid=result.run_uid,
            scan_id=result.scan_id,
            verdict=result.verdict,
            frames_expected=61,
            frames_received=received,
            sample=result.sample,
            started_at=result.started_at,
            made_at=result.finished_at - 61 + received,
            seconds=0.06,
        )

    return make


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = ResultStore(tmp_path / "results.sqlite")
    metrics = Metrics()
    broker = ResultBroker(epoch=7)
    yield World(store, broker, metrics, Health(on_change=metrics.ready), ProvisionalBoard(broker, metrics))
    store.close()


@pytest.fixture
def http(world: World) -> Iterator[httpx.Client]:
    with world.client() as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright_api.sync_playwright() as play:
        running = play.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"), args=BROWSER_FLAGS
        )
        yield running
        running.close()


@pytest.fixture
def page(world: World, browser: Browser) -> Iterator[Page]:
    """An open page that has read the list and follows the events; fails on any error the browser reports."""
    errors: list[str] = []
    with world.served() as url:
        context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
        opened.goto("/")
        opened.wait_for_selector("#status .chip")
        while not world.broker.clients:
            opened.wait_for_timeout(10)
        yield opened
        context.close()
    assert errors == []
