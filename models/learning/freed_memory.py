"""Freed memory is kept for the next training step, not given back to the system.

The C library of Linux gives every freed tensor above 32 MB back, and the next step pays for each of its pages again:
half the processor time of a step of Lim et al.'s network, four tenths of Li et al.'s (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_GROW_BY = 256 * 2**20


def keep_freed_memory() -> bool:
    """Have this process keep what it frees; for processes that train. Returns whether the C library does so."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        # not glibc
        return False
    taken = 0
    for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _GROW_BY)):
        taken += int(mallopt(parameter, value))
    return taken == 3
