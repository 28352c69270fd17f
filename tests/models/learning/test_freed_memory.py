"""A training step does not pay again for memory that the last one freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from braggwatch.models.learning.freed_memory import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library can't be told to keep memory")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_process_that_trains_keeps_what_it_frees() -> None:
    assert page_faults("keep") < 0.1 * page_faults("leave")
