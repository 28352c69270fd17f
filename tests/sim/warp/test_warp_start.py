"""Warp starts without a word on stderr, whether there is a CUDA driver or not."""

from __future__ import annotations

import subprocess
import sys


def test_the_start_says_nothing_but_to_the_log() -> None:
    program = (
        "import logging, os, sys\n"
        "logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)\n"
        "from braggwatch.sim.cxdp.relaxation.engines.warp_relaxer import WarpRelaxer\n"
        "WarpRelaxer()\n"
        "WarpRelaxer()\n"
        "print('still there', file=sys.stderr)\n"
        "os.write(2, b'and native\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr == "still there\nand native\n"
    assert done.stdout.count("NVIDIA CUDA driver") <= 1
