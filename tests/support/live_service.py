"""The service as an operator starts it, a proxy and a stock publisher in front of it, and runs to send through them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import event_model
import numpy as np
import pytest
import zmq
from bluesky.callbacks.zmq import Publisher

from braggwatch.callbacks.cxdp.run.geometry_resolution import scanned_signal
from braggwatch.services.stream.codec import decode
from support.scans import Case


class ServiceProcess:
    """``braggwatch screen`` in a process of its own; its processor clock and its memory as the kernel counts them."""

    def __init__(self, config: Path, url: str, log: Path) -> None:
        self._log = log
        self.url = url
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

    @property
    def pid(self) -> int:
        return self._process.pid

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
            if not self._derived.poll(max(1, round(left * 1e3))):
                continue
            message = self._derived.recv()
            came = time.perf_counter()
            if message.startswith(b"braggwatch event"):
                _, document = decode(b"braggwatch", message)
                data = document["data"]
                assert isinstance(data, dict)
                if data["run_uid"] == run_uid:
                    return came
        return None

    def close(self) -> None:
        self.publisher.close()
        self._derived.close()
        self._context.term()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running_proxy() -> Generator[tuple[str, str]]:
    """Run a stock proxy; its address to publish to and the one to subscribe at."""
    addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    program = Path(sys.executable).with_name("bluesky-0MQ-proxy")
    command = [str(program), "--in-address", addresses[0], "--out-address", addresses[1]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield addresses[0], addresses[1]
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_service(case: Case, bundle: Path, proxy: tuple[str, str], folder: Path) -> Generator[ServiceProcess]:
    """Run a service for a case's beamline with its files in ``folder``: ``results.sqlite``, ``log.txt``."""
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
    try:
        yield process
    finally:
        process.stop()


def documents_of(case: Case, scan_id: int) -> list[tuple[str, dict[str, Any]]]:
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
