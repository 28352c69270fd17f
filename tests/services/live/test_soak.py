"""A night in minutes: the same scan replayed as fast as the service takes it loses nothing and leaves nothing behind.

``pytest -m slow -s tests/services/live/test_soak.py`` prints what it measured.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.verdict import Outcome
from braggwatch.services.recording.recordings import RecordingWriter, read_recording
from braggwatch.services.recording.replay import ReadyPublisher, ReplayOptions, replay
from braggwatch.services.storage.result_store import ResultStore
from support.live_service import ServiceProcess, Stream, documents_of, running_proxy, running_service
from support.quick_bundle import production_or_quick
from support.scans import Case, synthetic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads another process's memory as Linux has it"),
]

ROUNDS, ROUND = 24, 10
"""Four hours of a scan a minute; after each round the service is idle and is looked at."""
LEAST_ROUNDS = 12
LIMIT_S = 100.0
SETTLED = 8
"""Rounds until every buffer and the allocator's arenas have their size."""
LARGEST_GROWTH_BYTES = 25e6
"""From the settled rounds to the last: less than one run's frames. A model input kept from each would be 150 MB."""
NOTHING_LOST = ("documents_lost", "documents_rejected", "runs_lost", "runs_shed", "stream_gaps", "socket_resets")


@dataclass
class Watched:
    """The service after each round."""

    memory_bytes: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self, service: ServiceProcess) -> None:
        process = Path(f"/proc/{service.pid}")
        self.memory_bytes.append(service.memory_bytes("VmRSS"))
        self.files.append(len(list((process / "fd").iterdir())))
        self.threads.append(len(list((process / "task").iterdir())))

    def grown(self, values: list[int]) -> float:
        """Return by how much a figure has risen since it settled."""
        settled = values[SETTLED:]
        return float(np.median(settled[-2:]) - np.median(settled[:2]))


def counters(service: ServiceProcess) -> dict[str, float]:
    """Read the totals of the page's metrics over all labels."""
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=10.0) as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        if line.startswith("braggwatch_") and "_total" in line:
            name = line.split("_total")[0].removeprefix("braggwatch_")
            found[name] = found.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own, which keeps the last three of them: results hold every run's model input.
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def case() -> Case:
    return synthetic(128, 256, 0.5, 0.7, 300.0)


@pytest.fixture
def recording(case: Case, folder: Path) -> Path:
    path = folder / "scan.bwrec"
    with contextlib.closing(RecordingWriter(path, source="test", compress=False)) as writer:
        for name, document in documents_of(case, 1):
            writer(name, document)
    return path


@pytest.fixture
def memory_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the C library give freed memory back at once: what a process still has is what it keeps, not spare room."""
    for name, value in (("ARENA_MAX", 1), ("MMAP_THRESHOLD_", 2**16), ("TRIM_THRESHOLD_", 2**17)):
        monkeypatch.setenv(f"MALLOC_{name}", str(value))


@pytest.mark.usefixtures("memory_given_back")
def test_hours_of_scans_at_full_speed(case: Case, recording: Path, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(running_proxy())
        bundle = production_or_quick(folder / "registry")
        service = stack.enter_context(running_service(case, bundle, proxy, folder))
        stream = stack.enter_context(contextlib.closing(Stream(*proxy)))
        publisher = stack.enter_context(contextlib.closing(ReadyPublisher(proxy[0], prefix=b"raw")))
        publisher.wait_for_subscriber(20.0)
        watched, uids = Watched(), list[str]()
        cpu, began = service.cpu_s(), time.monotonic()
        for number in range(ROUNDS):
            if number >= LEAST_ROUNDS and time.monotonic() - began > LIMIT_S:
                break
            for place in range(ROUND):
                uids += replay(read_recording(recording), publisher, ReplayOptions(new_uids=True, new_times=True)).runs
                # Two runs on their way keep the service busy; its queue is meant for bursts, not for a whole night.
                if place:
                    assert stream.verdict(uids[-2], 60.0) is not None
            assert stream.verdict(uids[-1], 60.0) is not None
            service.settle()
            watched.look(service)
        seconds, cpu = time.monotonic() - began, service.cpu_s() - cpu
        totals = counters(service)
    with ResultStore(folder / "results.sqlite", read_only=True) as store:
        results = [store.get(uid) for uid in uids]
    assert all(one is not None and one.frames_received == len(case.curve.frames) for one in results)
    assert {one.verdict.outcome for one in results if one is not None}.isdisjoint({Outcome.ERROR, Outcome.TIMEOUT})
    assert len({one.verdict.model_dump_json() for one in results if one is not None}) == 1
    assert {name: totals.get(name, 0.0) for name in NOTHING_LOST} == dict.fromkeys(NOTHING_LOST, 0.0)
    memory, grown = watched.memory_bytes, watched.grown(watched.memory_bytes)
    print(  # noqa: T201 - the figures are the result
        f"\n{len(uids)} runs of {case.name} in {seconds:.0f} s, {1e3 * cpu / len(uids):.0f} ms of CPU each; "
        f"memory {memory[SETTLED] / 1e6:.0f} MB after {(SETTLED + 1) * ROUND} runs, {grown / 1e6:+.1f} MB at the end, "
        f"after each round {[round(one / 1e6) for one in memory]}; "
        f"{watched.files[-1]} open files, {watched.threads[-1]} threads"
    )
    assert grown < LARGEST_GROWTH_BYTES
    assert watched.grown(watched.files) <= 0
    assert watched.grown(watched.threads) <= 0
