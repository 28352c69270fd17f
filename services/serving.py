"""Runs the service together with its page, for ``braggwatch screen`` and the demo."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from braggwatch.services.composition import ComposedService, compose_service
from braggwatch.services.live.health import Health
from braggwatch.services.metrics.gpu_metrics import GpuMonitor
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.page.app import create_app
from braggwatch.services.settings import Settings
from braggwatch.services.settings_error import SettingsError

logger = logging.getLogger(__name__)

_START_S = 15.0
_GRACE_S = 3


@dataclass(frozen=True, slots=True)
class RunningService:
    """A started service.

    Attributes
    ----------
    url
        Address of its page, e.g. ``http://127.0.0.1:8080``.
    """

    composed: ComposedService
    metrics: Metrics
    health: Health
    url: str


@contextmanager
def serve(settings: Settings, *, on_beat: Callable[[], None] | None = None) -> Generator[RunningService]:
    """Run receiver, worker, store, feedback and page until the block is left, then stop them in order.

    Raises
    ------
    SettingsError
        If the page's address is in use or can't be used; also whatever `compose_service` raises.
    """
    metrics = Metrics()
    health = Health(on_change=metrics.ready)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(settings.page.host, settings.page.port))
        composed = stack.enter_context(
            closing(compose_service(settings, metrics=metrics, health=health, on_beat=on_beat))
        )
        metrics.watch_disk("store", settings.store.path.resolve().parent)
        gpus = GpuMonitor()
        metrics.watch_gpus(gpus)
        page = _PageThread(
            create_app(
                [modality.add_routes for modality in composed.modalities],
                metrics,
                health,
                settings.page,
                epoch=composed.store.epoch,
                watchers=lambda: composed.watchers,
                unrecorded=composed.unrecorded,
            ),
            listener,
        )
        # The page runs until the last result is stored and its watchers are disconnected.
        stack.callback(page.stop)
        stack.callback(gpus.close)
        stack.callback(composed.stop)
        gpus.start()
        page.start()
        composed.service.start()
        host, port = listener.getsockname()[:2]
        yield RunningService(composed, metrics, health, f"http://{host}:{port}")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"the page can't listen on {host}:{port} ({error.strerror}): choose another port"
        ) from error
    return listener


class _PageThread:
    """Uvicorn in a thread: signals stay with the main thread, which stops everything in order."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S)
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="braggwatch-page", daemon=True)

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise SettingsError("the page did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])
