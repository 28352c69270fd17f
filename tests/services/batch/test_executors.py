"""However a command ends, the processes that it began end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("pool_process.py")
PATIENCE_S = 120


def runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(what: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    end = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc who still runs")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_processes_of_a_killed_command_end(tmp_path: Path, sent: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, str(PROGRAM), str(tmp_path)], stderr=subprocess.DEVNULL)
    workers: list[int] = []
    try:
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2 or parent.poll() is not None)
        workers = [int(path.name) for path in tmp_path.iterdir()]
        assert len(workers) == 2
        assert all(runs(worker) for worker in workers)
        # to the parent alone, as from a scheduler; a terminal's Ctrl-C goes to all of them
        parent.send_signal(sent)
        assert parent.wait(PATIENCE_S) != 0
        assert wait_until(lambda: not any(runs(worker) for worker in workers))
    finally:
        for process in [parent.pid, *workers]:
            if runs(process):
                os.kill(process, signal.SIGKILL)
        parent.wait(PATIENCE_S)
