"""The complete system on one machine: proxy, simulated beamline and service, each as in real use."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.services.cxdp.live.modality import CurveModality
from braggwatch.services.demo.beamline import FRAMES, PREFIX, PRESET
from braggwatch.services.serving import RunningService, serve
from braggwatch.services.settings import (
    PageSettings,
    ScreeningSettings,
    Settings,
    StoreSettings,
)
from braggwatch.services.stream.stream_settings import StreamSettings
from braggwatch.sim.errors import BraggwatchError

logger = logging.getLogger(__name__)

# The first start compiles every kernel: over a minute on a busy or slow machine.
_START_S = 240.0
_END_S = 5.0
_POLL_S = 0.05
_SILENT_S = 180.0


class DemoError(BraggwatchError, ConnectionError):
    """A part of the demo did not start or ended early; the message says which and quotes its last output."""


class DemoOptions(BaseModel):
    """Options of the demo."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scans: int | None = Field(default=None, ge=1, description="Number of scans; None: until stopped.")
    frames: int = Field(default=FRAMES, ge=8, description="Frames per scan.")
    route: str = Field(default="stream", description="How frames travel: stream, inline or resource.")
    seed: int = Field(default=0, ge=0)
    port: int = Field(default=0, ge=0, le=65535, description="Port of the page; 0: any free one.")
    model: str = "production"
    registry: Path | None = None
    threads: int = Field(default=2, gt=0)


class DemoSummary(BaseModel):
    """Result of the demo."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: int
    classified: int = Field(description="Runs with a class.")
    right: int = Field(description="Runs with the correct class.")
    set_aside: int = Field(description="Runs without a class: unsure, out of distribution, invalid and so on.")
    first_verdict_s: FiniteFloat | None = Field(description="Seconds from the demo's start to its first verdict.")
    documents_lost: int


class Demo:
    """A running demo; made by `run_demo`.

    Attributes
    ----------
    url
        Address of the page.
    """

    def __init__(
        self, running: RunningService, beamline: subprocess.Popen[str], options: DemoOptions, began: float
    ) -> None:
        self.url = running.url
        self._running = running
        self._beamline = beamline
        self._options = options
        self._began = began
        self._results: list[ScreeningResult] = []
        self._on_the_way: dict[str, ProvisionalVerdict] = {}
        self._first_s: float | None = None

    @property
    def results(self) -> tuple[ScreeningResult, ...]:
        """Results so far, oldest first."""
        return tuple(self._results)

    @property
    def on_the_way(self) -> Mapping[str, ProvisionalVerdict]:
        """Uid of a run → its first provisional verdict."""
        return self._on_the_way

    def watch(self, stop: Event, on_result: Callable[[ScreeningResult], None]) -> DemoSummary:
        """Report each result until all scans have one, or ``stop`` is set.

        Raises
        ------
        DemoError
            If the beamline ends early, or no result comes for three minutes.
        """
        seen: set[str] = set()
        last = time.monotonic()
        while not stop.is_set() and not self._complete():
            for verdict in self._running.composed.modality(CurveModality).board.going_on():
                self._on_the_way.setdefault(verdict.run_uid, verdict)
            fresh = [r for r in self._running.composed.store.latest(200) if r.run_uid not in seen]
            for result in reversed(fresh):
                seen.add(result.run_uid)
                self._results.append(result)
                self._first_s = self._first_s or time.monotonic() - self._began
                last = time.monotonic()
                on_result(result)
            if fresh:
                continue
            if self._beamline.poll() not in {None, 0}:
                raise DemoError(f"the simulated beamline ended with code {self._beamline.returncode}")
            if time.monotonic() - last > _SILENT_S:
                raise DemoError(f"no result for {_SILENT_S:g} s")
            stop.wait(_POLL_S)
        return self.summary()

    def _complete(self) -> bool:
        return self._options.scans is not None and len(self._results) >= self._options.scans

    def summary(self) -> DemoSummary:
        """Count the results so far."""
        named = [r for r in self._results if r.verdict.label is not None]
        return DemoSummary(
            results=len(self._results),
            classified=len(named),
            right=sum(r.verdict.label == r.truth for r in named),
            set_aside=len(self._results) - len(named),
            first_verdict_s=self._first_s,
            documents_lost=self._running.composed.service.receiver_stats.lost,
        )


@contextmanager
def run_demo(options: DemoOptions, say: Callable[[str], None] = logger.info) -> Generator[Demo]:
    """Start everything, yield the running demo, and stop everything, whatever happens.

    Parameters
    ----------
    options
        Options of the demo.
    say
        Called with a line that says what is being waited for.

    Raises
    ------
    DemoError
        If a part does not start; errors of `braggwatch.services.serving.serve` pass through.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="braggwatch-demo-")))
        into, out = _free_port(), _free_port()
        say("starting the proxy and the simulated beamline")
        proxy = [str(Path(sys.executable).with_name("bluesky-0MQ-proxy"))]
        proxy += ["--in-address", f"127.0.0.1:{into}", "--out-address", f"127.0.0.1:{out}"]
        stack.enter_context(_child("proxy", proxy, folder))
        beamline = stack.enter_context(_child("beamline", _beamline_command(options, into, folder), folder))
        say("loading the model and compiling")
        running = stack.enter_context(serve(_settings(options, out, folder)))
        if not running.composed.service.wait_ready(_START_S):
            raise DemoError("the service is not ready: " + "; ".join(running.health.report().reasons))
        _start_scanning(beamline, folder)
        yield Demo(running, beamline, options, began)


def _beamline_command(options: DemoOptions, into: int, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "braggwatch.services.demo.beamline", f"127.0.0.1:{into}"]
    command += ["--folder", str(folder), "--scans", str(options.scans or 0), "--seed", str(options.seed)]
    return [*command, "--frames", str(options.frames), "--route", options.route]


def _settings(options: DemoOptions, out: int, folder: Path) -> Settings:
    return Settings(
        stream=StreamSettings(address=f"tcp://127.0.0.1:{out}", prefix=PREFIX.decode()),
        screening=ScreeningSettings(
            geometry=PRESET, model=options.model, registry=options.registry, threads=options.threads
        ),
        store=StoreSettings(path=folder / "results.sqlite"),
        page=PageSettings(port=options.port),
    )


@contextmanager
def _child(name: str, command: list[str], folder: Path) -> Generator[subprocess.Popen[str]]:
    """Run a process with its output in a file; end it with the block."""
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()


def _start_scanning(beamline: subprocess.Popen[str], folder: Path) -> None:
    line = beamline.stdout.readline() if beamline.stdout is not None else ""
    if line.strip() != "ready" or beamline.stdin is None:
        words = (folder / "beamline.log").read_text(encoding="utf-8").strip().splitlines()
        raise DemoError(f"the simulated beamline did not start: {words[-1] if words else line.strip() or 'no reason'}")
    beamline.stdin.write("go\n")
    beamline.stdin.flush()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
