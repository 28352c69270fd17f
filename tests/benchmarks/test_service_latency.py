"""How long a plan waits: from the last frame's document to the verdict's, through the stock publisher and proxy.

The service is a process of its own, started as an operator starts it, so that processor time and memory are its alone.
``pytest -m benchmark tests/benchmarks/test_service_latency.py -s`` prints the table. Nothing fails for being slow: the
figures are worth comparing within one run only.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.services.storage.result_store import ResultStore
from support.live_service import ServiceProcess, Stream, documents_of, running_proxy, running_service
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


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return production_or_quick(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[str, str]]:
    with running_proxy() as addresses:
        yield addresses


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
    with running_service(case, bundle, proxy, folder) as process:
        yield process


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
