"""Real peers for the service's tests: the stock proxy as a process, the stock publisher, and a TCP link to harm."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import pickle
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

import event_model
import numpy as np
import pytest
import zmq
import zmq.auth
from bluesky.callbacks.zmq import Publisher

from braggwatch.services.stream.stream_settings import CurveKeys

_SPEC = importlib.util.spec_from_file_location("service_process", Path(__file__).with_name("service_process.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
_QUICK = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_QUICK)


@pytest.fixture(scope="session")
def quick():
    """The module with the quick service."""
    return _QUICK


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def eventually(condition, timeout_s: float = 10.0, what: str = "condition"):
    """Wait until a condition holds; return its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() >= deadline:
            pytest.fail(f"{what} not met within {timeout_s} s")
        time.sleep(0.01)
    return value


@pytest.fixture(scope="session", name="eventually")
def eventually_fixture():
    return eventually


class ProxyProcess:
    """A real ``bluesky-0MQ-proxy``."""

    def __init__(self, *extra: str) -> None:
        self.in_port, self.out_port = free_port(), free_port()
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def in_address(self) -> str:
        return f"tcp://127.0.0.1:{self.in_port}"

    @property
    def out_address(self) -> str:
        return f"tcp://127.0.0.1:{self.out_port}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        program = Path(sys.executable).with_name("bluesky-0MQ-proxy")
        command = [str(program), "--in-address", self.in_address, "--out-address", self.out_address, *self._extra]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port in (self.in_port, self.out_port):
            eventually(lambda port=port: _listens(port), 30.0, "proxy listening")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def shared_proxy():
    """A proxy for tests that leave it alone."""
    proxy = ProxyProcess()
    yield proxy
    proxy.kill()


@pytest.fixture
def make_proxy():
    """Make proxies that a test may kill."""
    with contextlib.ExitStack() as stack:

        def make(*extra: str) -> ProxyProcess:
            proxy = ProxyProcess(*extra)
            stack.callback(proxy.kill)
            return proxy

        yield make


@pytest.fixture
def make_publisher():
    """Make stock publishers that are known to reach a proxy's subscribers."""
    with contextlib.ExitStack() as stack:

        def make(proxy: ProxyProcess, *, serializer=pickle.dumps, curve_config=None, probe=True) -> Publisher:
            publisher = Publisher(proxy.in_address, prefix=b"raw", serializer=serializer, curve_config=curve_config)
            stack.callback(publisher.close)
            if probe:
                _probe(publisher, proxy)
            return publisher

        yield make


def _probe(publisher: Publisher, proxy: ProxyProcess) -> None:
    """Send until a subscriber of another prefix hears it: then the way is open."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket_:
        socket_.linger = 0
        socket_.subscribe(b"probe ")
        socket_.connect(proxy.out_address)

        def heard() -> bool:
            publisher._socket.send(b"probe x")
            return bool(socket_.poll(20))

        eventually(heard, 20.0, "publisher connected")


class ChaosLink:
    """Forwards TCP to a port and harms what flows from there: flips a byte, cuts, stalls."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._links: list[tuple[socket.socket, socket.socket]] = []
        self._flip_at: int | None = None
        self._needle: bytes | None = None
        self._flow = threading.Event()
        self._flow.set()
        self._closing = False
        self.flips = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def flip(self, offset: int = 0, *, in_front_of: bytes | None = None) -> None:
        """Invert one byte of the next bytes that flow: at an offset, or ``offset`` before given bytes."""
        self._needle = in_front_of
        self._flip_at = offset

    def cut(self) -> None:
        for pair in self._links:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        self._flow.clear()

    def resume(self) -> None:
        self._flow.set()

    def close(self) -> None:
        self._closing = True
        self._flow.set()
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(5.0)
        for pair in self._links:
            for end in pair:
                end.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                readable, _, _ = select.select([self._server], [], [], 0.05)
                if not readable:
                    continue
                client, _ = self._server.accept()
            except (OSError, ValueError):
                return
            try:
                target = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                client.close()
                continue
            self._links.append((client, target))
            for source, sink, harmed in ((client, target, False), (target, client, True)):
                thread = threading.Thread(target=self._pump, args=(source, sink, harmed), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pump(self, source: socket.socket, sink: socket.socket, harmed: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flow.wait()
                sink.sendall(self._harm(data) if harmed else data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _harm(self, data: bytes) -> bytes:
        if self._flip_at is None:
            return data
        place = self._flip_at
        if self._needle is not None:
            found = data.find(self._needle)
            if found < place:
                return data
            place = found - place
        if place >= len(data):
            return data
        self._flip_at = None
        self.flips += 1
        return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.fixture
def make_chaos_link():
    with contextlib.ExitStack() as stack:

        def make(target_port: int) -> ChaosLink:
            link = ChaosLink(target_port)
            stack.callback(link.close)
            return link

        yield make


@dataclasses.dataclass(frozen=True)
class CurveFiles:
    """Keys for a proxy's out-address with one client on its list."""

    keys: CurveKeys
    proxy_options: tuple[str, ...]


@pytest.fixture
def curve_files(tmp_path: Path):
    folder, allowed = tmp_path / "keys", tmp_path / "allowed"
    folder.mkdir()
    allowed.mkdir()
    for name in ("server", "client"):
        zmq.auth.create_certificates(folder, name)
    (allowed / "client.key").write_bytes((folder / "client.key").read_bytes())
    return CurveFiles(
        CurveKeys(secret_key=folder / "client.key_secret", server_public_key=folder / "server.key"),
        ("--out-curve-secret", str(folder / "server.key_secret"), "--out-curve-client-keys", str(allowed)),
    )


class RunDocuments(list[tuple[str, Any]]):
    """The documents of one run as (name, document), with its uid."""

    @property
    def uid(self) -> str:
        return self[0][1]["uid"]

    @property
    def events(self):
        return [pair for pair in self if pair[0] == "event"]

    def without(self, *names: str) -> RunDocuments:
        return RunDocuments(pair for pair in self if pair[0] not in names)

    def send(self, publisher, pause_s: float = 0.0) -> None:
        for name, document in self:
            publisher(name, document)
            if pause_s:
                time.sleep(pause_s)


def make_run(
    frames: int = 8,
    *,
    seed: int = 0,
    scan_id: int = 1,
    geometry: bool = True,
    exit_status: Literal["success", "abort", "fail"] = "success",
    **metadata,
) -> RunDocuments:
    """One rocking curve of 24 x 24 frames as documents of the simulated beamline."""
    rng = np.random.default_rng(seed)
    values = {"energy": 9.0, "delta": 34.0, "gamma": 0.0, "detector_distance": 0.5} if geometry else {}
    run = event_model.compose_run(
        metadata={
            "scan_id": scan_id,
            "num_points": frames,
            "sample_name": f"particle {seed}",
            "hints": {"dimensions": [[["th"], "primary"]]},
            **values,
            **metadata,
        }
    )
    documents = RunDocuments([("start", run.start_doc)])
    stream = run.compose_descriptor(
        name="primary",
        data_keys={
            "det_image": {"source": "test", "dtype": "array", "shape": [24, 24], "dtype_numpy": "<u2"},
            "th": {"source": "test", "dtype": "number", "shape": []},
        },
    )
    documents.append(("descriptor", stream.descriptor_doc))
    for index in range(frames):
        data = {
            "det_image": rng.poisson(50 * np.exp(-0.5 * ((index - frames / 2) / 2) ** 2), (24, 24)).astype("<u2"),
            "th": 17.0 + 0.01 * index,
        }
        event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0), validate=False)
        documents.append(("event", dict(event)))
    documents.append(("stop", run.compose_stop(exit_status=exit_status)))
    return documents


@pytest.fixture(scope="session", name="make_run")
def make_run_fixture():
    return make_run


class CountingMetrics:
    """Counts what the pipeline tells."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, object], int] = {}
        self._lock = threading.Lock()

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)

        def count(*arguments: Any) -> None:
            key = (name, arguments[0] if arguments and isinstance(arguments[0], str) else None)
            by = int(arguments[0]) if name in ("documents_lost", "stream_frames_lost", "runs_lost") else 1
            with self._lock:
                self.counts[key] = self.counts.get(key, 0) + by

        return count


@pytest.fixture
def metrics():
    return CountingMetrics()
