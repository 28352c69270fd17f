"""One command shows everything at once, truthfully, and cleans up after itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from support.quick_bundle import write_quick_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COMMAND = [sys.executable, "-m", "braggwatch.services.cli", "demo"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_quick_registry(tmp_path_factory.mktemp("registry"))


def left_behind() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("braggwatch-demo-*"))


@pytest.mark.parametrize("route", ["stream", "inline", "resource"])
def test_every_route_ends_in_verdicts_beside_the_truth(registry: Path, route: str) -> None:
    before = left_behind()
    arguments = ["--scans", "2", "--exit", "--json", "--route", route, "--registry", str(registry)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    *records, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == summary["results"] == 2
    for record in records:
        assert record["truth"] in {"perfect", "screw", "edge"}
        assert record["frames_received"] == record["frames_expected"] == 81
        assert record["quality"]["d_spacing_A"] == pytest.approx(2.3545, rel=0.005)
        assert {"x", "y"} <= record["position"].keys()
    assert summary["documents_lost"] == 0
    assert left_behind() <= before


def test_nothing_classified_is_not_success(tmp_path: Path) -> None:
    """To this bundle everything is out of distribution, and a script must notice."""
    arguments = ["--scans", "1", "--exit", "--json", "--registry", str(write_quick_registry(tmp_path, ood=1e-9))]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=240, check=False)
    *records, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[0]["verdict"]["outcome"] == "out_of_distribution"
    assert summary["classified"] == 0
    assert done.returncode == 1


def test_no_model_is_said_clearly(tmp_path: Path) -> None:
    before = left_behind()
    done = subprocess.run(
        [*COMMAND, "--scans", "1", "--exit", "--registry", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: no bundle")
    assert left_behind() <= before


def test_without_an_end_the_page_is_up_until_it_is_stopped(registry: Path) -> None:
    demo = subprocess.Popen(
        [*COMMAND, "--json", "--registry", str(registry)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    assert demo.stderr is not None
    said: list[str] = []
    reader = threading.Thread(target=said.extend, args=[demo.stderr])
    reader.start()
    try:
        first = json.loads(demo.stdout.readline())
        url = next(line.split()[1] for line in said if line.startswith("page:"))
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"<html" in answer.read().lower()
        assert first["revision"] == 1
        demo.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 40
        while demo.poll() is None and time.monotonic() < deadline:
            demo.stdout.readline()
        assert demo.wait(5) == 0
    finally:
        demo.kill()
        demo.wait()
        demo.stdout.close()
        reader.join(10)
        demo.stderr.close()
