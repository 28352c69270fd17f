"""Initialise Warp; what it prints goes to the log."""

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
    """Initialise Warp once per process, without printing devices or, without a CUDA driver, a warning to stderr."""
    # otherwise devices and every compilation are printed
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
    # native code reports the missing driver whatever the log level
    with _stderr_to_log():
        wp.init()


@contextmanager
def _stderr_to_log() -> Generator[None]:
    with TemporaryFile() as captured:
        saved_stderr = os.dup(_STDERR)
        os.dup2(captured.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(saved_stderr, _STDERR)
            os.close(saved_stderr)
            captured.seek(0)
            for line in captured.read().decode(errors="replace").splitlines():
                level = logging.DEBUG if _NO_DRIVER in line else logging.WARNING
                logger.log(level, "%s", line.strip())
