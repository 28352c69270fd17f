"""Warp's start: what it prints there goes to the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from tempfile import TemporaryFile

import warp as wp

logger = logging.getLogger(__name__)

_STDERR = 2
_NO_DRIVER = "Could not find or load the NVIDIA CUDA driver"


@cache
def start_warp() -> None:
    """Start Warp, once a process: no list of devices, and no line on stderr where there is no CUDA driver."""
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)  # else devices and every compilation are told
    # the missing driver is told by native code, whatever the log level
    with _stderr_to_log():
        wp.init()


@contextmanager
def _stderr_to_log() -> Generator[None]:
    with TemporaryFile() as told:
        kept = os.dup(_STDERR)
        os.dup2(told.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            told.seek(0)
            for line in told.read().decode(errors="replace").splitlines():
                level = logging.DEBUG if _NO_DRIVER in line else logging.WARNING
                logger.log(level, "%s", line.strip())
