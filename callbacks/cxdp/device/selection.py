"""Choose where curves are preprocessed: a CUDA device where there is one, else the CPU; either gives the same."""

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
"""``auto``: CUDA where it can be used, else the CPU."""


class DeviceUnavailableError(BraggwatchError, RuntimeError):
    """A device that was asked for can't be used; the message says why and what to do."""


def device_problem() -> str | None:
    """Say why curves can't be preprocessed on a CUDA device here; None where they can. Safe without a driver."""
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
    """Make the preprocessor for this machine, and log once which it is.

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
        If ``cuda`` is asked for and can't be used.
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
        raise DeviceUnavailableError(f"preprocessing.device is 'cuda', but {problem}; 'auto' takes the CPU then")
    logger.info("frames are preprocessed on the CPU: %s", problem)
    return CpuPreprocessor(settings)
