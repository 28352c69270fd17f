"""Two processes that work for longer than any test, as a program to be ended: ``python pool_process.py FOLDER``.

Each leaves a file named after its process number when it has begun.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from braggwatch.services.batch.executors import run_shards


def work(folder: Path, number: int) -> int:
    """Leave a sign of life, then be busy."""
    (folder / str(os.getpid())).touch()
    time.sleep(600)
    return number


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
    run_shards(partial(work, Path(sys.argv[1])), [0, 1], lambda _: None, workers=2)
