"""Chooses the device for preprocessing: CUDA if available, else the CPU; the results are the same."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.models.runtimes.cuda_probe import cuda_problem
from braggwatch.sim.errors import BraggwatchError

if TYPE_CHECKING:
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

logger = logging.getLogger(__name__)

PreprocessingDevice = Literal["auto", "cpu", "cuda"]
"""``auto``: CUDA if it can be used, else the CPU."""


class DeviceUnavailableError(BraggwatchError, RuntimeError):
    """The requested device can't be used; the message says why and what to do."""


def device_problem() -> str | None:
    """Return why curves can't be preprocessed on a CUDA device; None if they can. Works without a driver."""
    problem = cuda_problem()
    if problem is None and importlib.util.find_spec("warp") is None:
        problem = "Warp isn't installed: pip install braggwatch[gpu]"
    return problem


def open_preprocessor(
    settings: PreprocessingSettings,
    device: PreprocessingDevice = "auto",
    max_bytes: int = 2_000_000_000,
    on_takeover: Callable[[str], None] | None = None,
) -> CpuPreprocessor | DevicePreprocessor:
    """Make the preprocessor for this machine, and log which device it uses.

    Parameters
    ----------
    settings
        Corrections and limits.
    device
        ``auto`` never fails.
    max_bytes
        Device memory for the frames of open runs.
    on_takeover
        See `DevicePreprocessor`.

    Raises
    ------
    DeviceUnavailableError
        If ``cuda`` is requested but can't be used.
    """
    if device == "cpu":
        return CpuPreprocessor(settings)
    problem = device_problem()
    if problem is None:
        from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

        try:
            made = DevicePreprocessor(settings, "cuda:0", max_bytes=max_bytes, on_takeover=on_takeover)
        except (RuntimeError, ValueError) as error:
            problem = f"Warp can't use the device: {error}"
        else:
            logger.info("frames are preprocessed on %s", made.device)
            return made
    if device == "cuda":
        raise DeviceUnavailableError(f"preprocessing.device is 'cuda', but {problem}; 'auto' falls back to the CPU")
    logger.info("frames are preprocessed on the CPU: %s", problem)
    return CpuPreprocessor(settings)
