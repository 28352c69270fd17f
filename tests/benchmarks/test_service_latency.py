"""How long a plan waits: from the last frame's document to the verdict's, through the stock publisher and proxy.

The service is a process of its own, started as an operator starts it, so that processor time and memory are its alone.
``pytest -m benchmark tests/benchmarks/test_service_latency.py -s`` prints the table. Nothing fails for being slow: the
figures are worth comparing within one run only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import event_model
import numpy as np
import pytest
import zmq
from bluesky.callbacks.zmq import Publisher

from braggwatch.callbacks.geometry_resolution import scanned_signal
from braggwatch.callbacks.records import ScreeningResult
from braggwatch.services.codec import decode
from braggwatch.services.store import ResultStore
from support.quick_bundle import production_or_quick

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="reads another process's clocks and memory as Linux has them"),
]

FRAMES_PER_SECOND = 100.0
BYTES_MEASURED = 1_000_000_000
RUNS = (10, 40)


@dataclass(frozen=True)
class Timing:
    """One run: wall and the service's processor seconds from the last frame to the verdict."""

    run_uid: str
    wall_s: float
    cpu_s: float


class ServiceProcess:
    """``braggwatch screen`` in a process of its own; its processor clock and its memory as the kernel counts them."""

    def __init__(self, config: Path, url: str, log: Path) -> None:
        self._log = log
        command = [sys.executable, "-m", "braggwatch.services.cli", "screen", "--config", str(config)]
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        self._wait_ready(url + "/readyz")

    def _wait_ready(self, url: str) -> None:
        deadline = time.monotonic() + 120.0
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5.0):
                return
            time.sleep(0.1)
        pytest.fail(f"not ready: {self._log.read_text()}")

    def cpu_s(self) -> float:
        # The kernel's clock of another process, man clock_getcpuclockid.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def memory_bytes(self, field: str) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def settle(self) -> None:
        """Wait until all that was sent has been taken: idle, the service uses next to nothing."""
        while True:
            before = self.cpu_s()
            time.sleep(0.05)
            if self.cpu_s() - before < 0.005:
                return

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stream:
    """A stock publisher in front of a proxy, and a subscriber to the derived runs behind it."""

    def __init__(self, in_address: str, out_address: str) -> None:
        self.publisher = Publisher(in_address, prefix=b"raw")
        self._context = zmq.Context()
        self._derived = self._context.socket(zmq.SUB)
        self._derived.linger = 0
        self._derived.subscribe(b"braggwatch ")
        self._derived.subscribe(b"probe ")
        self._derived.connect(out_address)
        deadline = time.monotonic() + 20.0
        while not self._derived.poll(20):
            assert time.monotonic() < deadline, "the proxy passes nothing on"
            self.publisher._socket.send(b"probe x")

    def verdict(self, run_uid: str, timeout_s: float) -> float | None:
        """Return when the derived run's event came, by this process's clock; None where it did not in time."""
        deadline = time.perf_counter() + timeout_s
        while (left := deadline - time.perf_counter()) > 0:
            if not self._derived.poll(left * 1e3):
                continue
            message = self._derived.recv()
            came = time.perf_counter()
            if message.startswith(b"braggwatch event"):
                _, document = decode(b"braggwatch", message)
                if document["data"]["run_uid"] == run_uid:
                    return came
        return None

    def close(self) -> None:
        self.publisher.close()
        self._derived.close()
        self._context.term()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return production_or_quick(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[str, str]]:
    addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    program = Path(sys.executable).with_name("bluesky-0MQ-proxy")
    command = [str(program), "--in-address", addresses[0], "--out-address", addresses[1]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield addresses[0], addresses[1]
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def stream(proxy: tuple[str, str]) -> Iterator[Stream]:
    opened = Stream(*proxy)
    yield opened
    opened.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def service(case: Any, bundle: Path, proxy: tuple[str, str], folder: Path) -> Iterator[ServiceProcess]:
    preset = folder / "preset.json"
    preset.write_text(case.preset.model_dump_json())
    arrays = {}
    for name in ("mask", "flat", "dark"):
        array = getattr(case.settings, name)
        if array is not None:
            np.save(folder / f"{name}.npy", array)
            arrays[f"{name}_path"] = str(folder / f"{name}.npy")
    port = free_port()
    groups: dict[str, dict[str, object]] = {
        "stream": {"address": proxy[1], "prefix": "raw"},
        "preprocessing": arrays,
        "screening": {"geometry": str(preset), "model": str(bundle)},
        "store": {"path": str(folder / "results.sqlite")},
        "feedback.publisher": {"enabled": True, "address": proxy[0]},
        "page": {"port": port},
    }
    config = folder / "braggwatch.toml"
    lines = [
        f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in group.items()) for name, group in groups.items()
    ]
    config.write_text("\n".join(lines))
    process = ServiceProcess(config, f"http://127.0.0.1:{port}", folder / "log.txt")
    yield process
    process.stop()


def documents_of(case: Any, scan_id: int) -> list[tuple[str, dict[str, Any]]]:
    """One run as a stock RunEngine publishes it with its frames inline."""
    angle = scanned_signal(case.preset).signal
    values = {name: value for name, value in case.values.items() if name != angle}
    run = event_model.compose_run(metadata={"scan_id": scan_id, "num_points": len(case.curve.frames), **values})
    documents: list[tuple[str, dict[str, Any]]] = [("start", dict(run.start_doc))]
    keys = {
        case.preset.detector_field: {"source": "bench", "dtype": "array", "shape": [*case.curve.frames.shape[1:]]},
        angle: {"source": "bench", "dtype": "number", "shape": []},
    }
    primary = run.compose_descriptor(name="primary", data_keys=keys)
    documents.append(("descriptor", dict(primary.descriptor_doc)))
    for frame, degrees in zip(case.curve.frames, case.curve.angles_deg, strict=True):
        data = {case.preset.detector_field: frame, angle: float(degrees)}
        event = primary.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0), validate=False)
        documents.append(("event", dict(event)))
    documents.append(("stop", dict(run.compose_stop())))
    return documents


def screen_once(case: Any, stream: Stream, service: ServiceProcess, scan_id: int, pause_s: float = 0.0) -> Timing:
    """Publish one run; the last frame once the service has taken all before it, as at a detector's pace."""
    *before, last, stop = documents_of(case, scan_id)
    run_uid = before[0][1]["uid"]
    for name, document in before:
        stream.publisher(name, document)
        time.sleep(pause_s)
    service.settle()
    cpu = service.cpu_s()
    began = time.perf_counter()
    stream.publisher(*last)
    stream.publisher(*stop)
    came = stream.verdict(run_uid, 60.0)
    spent = service.cpu_s() - cpu
    assert came is not None, "no verdict within a minute"
    return Timing(run_uid, came - began, spent)


def runs_for(case: Any) -> int:
    return int(np.clip(BYTES_MEASURED / case.curve.frames.nbytes, *RUNS))


def table(case: Any, timings: list[Timing], results: list[ScreeningResult], memory_bytes: int) -> str:
    """Write the table: the whole, then what it is made of."""
    walls = np.array([timing.wall_s for timing in timings]) * 1e3
    cpus = np.array([timing.cpu_s for timing in timings]) * 1e3
    stages = {
        name: np.array([result.stage_seconds[name] for result in results]) * 1e3
        for name in ("queue", "preprocess", "classify")
    }
    stages["wire, store, feedback"] = walls - sum(stages.values())
    rows = [f"{case.name}: {len(timings)} runs", f"  {'':26} {'p50':>8} {'p99':>8}"]
    rows += [f"  {'last frame to verdict, ms':26} {np.median(walls):8.1f} {np.percentile(walls, 99):8.1f}"]
    rows += [f"    {name:24} {np.median(part):8.1f} {np.percentile(part, 99):8.1f}" for name, part in stages.items()]
    rows += [f"  {'CPU of the service, ms':26} {np.median(cpus):8.1f} {np.percentile(cpus, 99):8.1f}"]
    cubes = memory_bytes / case.curve.frames.nbytes
    rows += [f"  peak memory above idle: {memory_bytes / 1e6:.0f} MB, {cubes:.2f} cubes of frames as delivered"]
    return "\n".join(rows)


def test_last_frame_to_published_verdict(
    case: Any, stream: Stream, service: ServiceProcess, folder: Path, xrayutilities_cpu_s: Any
) -> None:
    idle = service.memory_bytes("VmRSS")
    service.forget_peak()
    first = screen_once(case, stream, service, 1, 1.0 / FRAMES_PER_SECOND)
    memory = service.memory_bytes("VmHWM") - idle
    timings = [screen_once(case, stream, service, 2 + n) for n in range(runs_for(case))]
    with ResultStore(folder / "results.sqlite", read_only=True) as store:
        found = [store.get(timing.run_uid) for timing in (first, *timings)]
    results = [result for result in found if result is not None]
    assert len(results) == len(timings) + 1
    assert all(result.frames_received == len(case.curve.frames) for result in results)
    assert all(result.verdict.model is not None for result in results), results[0].verdict
    print("\n" + table(case, timings, results[1:], memory))  # noqa: T201 the table is the result
    theirs = xrayutilities_cpu_s(case, "native")
    if theirs is None:
        return
    mine = float(np.median([timing.cpu_s for timing in timings]))
    print(  # noqa: T201
        f"  xrayutilities to a grid of the scan's size: {theirs:.2f} s CPU, {theirs / mine:.0f} x the service's"
        f" whole work after the last frame (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    )
    assert theirs > mine
