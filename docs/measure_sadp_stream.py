"""Judge a live stream of simulated diffraction patterns and say how long each verdict took and what was lost.

A real proxy, the service in a process of its own (``braggwatch screen``), and a RunEngine that publishes its documents
at a fixed rate; store, page and metrics are read over HTTP. The frames are drawn before the stream begins.

Run: ``python docs/measure_sadp_stream.py --bundle sadp --seconds 31``
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import httpx
import numpy as np
from bluesky import RunEngine
from pydantic import TypeAdapter

from braggwatch.callbacks.sadp.records import PatternResult, PatternRunResult
from braggwatch.services.recording.replay import ReadyPublisher, Serializer
from braggwatch.sim.beamline.diffraction_camera import DiffractionCamera, visit_zones
from braggwatch.sim.beamline.microscope import CameraSpec, SimulatedMicroscope
from braggwatch.sim.sadp.table import structures

ZONES = ((0, 0, 1), (0, 1, 1), (1, 1, 2), (0, 1, 3), (1, 2, 3), (1, 1, 1))
FRAMES_A_ZONE = 8
START_S = 180.0
Found = TypeVar("Found")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(what: str, ask: Callable[[], Found | None], timeout_s: float) -> Found:
    """Ask until there is an answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = ask()
        except httpx.HTTPError:
            found = None
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {timeout_s:g} s")
        time.sleep(0.1)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counted(metrics: str, name: str) -> float:
    """Sum of a metric over its labels."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", metrics, re.MULTILINE)
    return sum(float(value) for value in found)


def stream(page: httpx.Client, in_address: str, service: int, args: argparse.Namespace) -> dict[str, object]:
    """Publish one run and read what became of it."""
    crystal = next(row for row in structures() if row.formula == args.formula).build()
    spec = CameraSpec(size_px=args.size)
    each = int(args.seconds * args.rate / len(ZONES))
    taken = [frame for _, _, frame in SimulatedMicroscope(crystal, spec).expose_all(ZONES, FRAMES_A_ZONE)]
    frames = [taken[z * FRAMES_A_ZONE + n % FRAMES_A_ZONE] for z in range(len(ZONES)) for n in range(each)]
    camera = DiffractionCamera(SimulatedMicroscope(crystal, spec), frames=frames)
    publisher = ReadyPublisher(in_address, serializer=Serializer.MSGPACK)
    try:
        publisher.wait_for_subscriber(START_S)
        engine = RunEngine({}, context_managers=[])
        engine.subscribe(publisher)
        before, began = cpu_seconds(service), time.monotonic()
        plan = visit_zones(camera, ZONES, each, period_s=1 / args.rate, md={"sample_name": args.formula})
        (uid,) = cast("tuple[str, ...]", engine(plan))
        published_s = time.monotonic() - began
        run = wait_for("end of the run", lambda: ended(page, uid), 10 * args.seconds + 60)
        after_s = time.monotonic() - began - published_s
        spent = cpu_seconds(service) - before
    finally:
        publisher.close()
    answer = page.get(f"/sadp/runs/{uid}/particles/particle%201/patterns?limit=10000")
    patterns = TypeAdapter(list[PatternResult]).validate_json(answer.content)
    metrics = page.get("/metrics").text
    latency_ms = 1000 * np.array([one.latency_s for one in patterns])
    return {
        "run_uid": uid,
        "published": len(frames),
        "per_second": len(frames) / published_s,
        "judged": run.judged,
        "lost": run.lost,
        "usable": run.usable,
        "set_aside": run.set_aside,
        "stored": len(patterns),
        "in_metrics": counted(metrics, "braggwatch_sadp_patterns_total"),
        "documents_lost": counted(metrics, "braggwatch_documents_lost_total"),
        "latency_ms_p50": float(np.percentile(latency_ms, 50)),
        "latency_ms_p99": float(np.percentile(latency_ms, 99)),
        "end_after_last_s": after_s,
        "cpu_ms_a_pattern": 1000 * spent / len(frames),
        "crystal": patterns[-1].crystal.model_dump(),
    }


def ended(page: httpx.Client, run_uid: str) -> PatternRunResult | None:
    """Return a run's final record once it is there."""
    answer = page.get(f"/sadp/runs/{run_uid}")
    return PatternRunResult.model_validate_json(answer.content) if answer.status_code == 200 else None


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", default="sadp", help="bundle for electron diffraction: name, alias or folder")
    parser.add_argument("--seconds", type=float, default=31.0)
    parser.add_argument("--rate", type=float, default=30.0, help="patterns a second")
    parser.add_argument("--size", type=int, default=256, help="side of a frame, pixels")
    parser.add_argument("--formula", default="Al", help="of a tabulated crystal")
    parser.add_argument("--picture", type=Path, help="write a picture of the page here (needs playwright, chromium)")
    args = parser.parse_args()
    in_port, out_port, page_port = free_port(), free_port(), free_port()
    tools = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as folder:
        log = (Path(folder) / "service.log").open("w+")
        proxy_call = ["--in-address", f"127.0.0.1:{in_port}", "--out-address", f"127.0.0.1:{out_port}"]
        proxy = subprocess.Popen(  # noqa: S603
            [tools / "bluesky-0MQ-proxy", *proxy_call], stdout=log, stderr=log
        )
        call = ["screen", "--from", f"127.0.0.1:{out_port}", "--geometry", "simulated", "--port", str(page_port)]
        service = subprocess.Popen(  # noqa: S603
            [tools / "braggwatch", *call, "--store", Path(folder) / "results.sqlite"],
            env={**os.environ, "BRAGGWATCH_SCREENING__SADP_BUNDLE": args.bundle},
            stdout=log,
            stderr=log,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{page_port}", timeout=30) as page:
                wait_for("service", lambda: page.get("/readyz").status_code == 200 or None, START_S)
                found = stream(page, f"127.0.0.1:{in_port}", service.pid, args)
            if args.picture is not None:
                _photograph(f"http://127.0.0.1:{page_port}/sadp", args.picture)
            sys.stdout.write(json.dumps(found) + "\n")
        except TimeoutError:
            log.seek(0)
            sys.stderr.write(log.read()[-3000:])
            raise
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(30)
            proxy.kill()
            proxy.wait(10)
            log.close()


def _photograph(url: str, path: Path) -> None:
    import shutil

    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(url)
        tab.wait_for_selector("#odds .band", state="attached")
        tab.wait_for_selector("#pattern[data-seq]")
        tab.wait_for_timeout(1000)
        tab.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    main()
