"""GPUs that are not there: a stand-in for the functions of ``pynvml`` that are used, and readings."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from braggwatch.services.metrics.gpu_readings import GpuReading


class NvmlError(Exception):
    """As the module's own."""


class NvmlStandIn:
    """Two GPUs, the second without memory checking; what is in ``refused`` fails as NVML does.

    Attributes
    ----------
    refused
        (function name, index of the GPU).
    hold
        Cleared: reading hangs, as it does on a GPU that is dying.
    """

    NVMLError: type[Exception] = NvmlError

    def __init__(self) -> None:
        self.refused: set[tuple[str, int]] = {("nvmlDeviceGetTotalEccErrors", 1)}
        self.hold = threading.Event()
        self.hold.set()
        self.opened = 0
        self.reasons = 0x1
        self.corrected = 3

    def _check(self, name: str, handle: Any) -> None:
        if (name, handle) in self.refused or ("", handle) in self.refused:
            raise self.NVMLError(name)

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return f"GPU-{handle:08d}"

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return ("NVIDIA H200", "NVIDIA GeForce RTX 5090")[handle]

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        self._check("nvmlDeviceGetUtilizationRates", handle)
        return SimpleNamespace(gpu=37, memory=12)

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        self.hold.wait()
        self._check("nvmlDeviceGetMemoryInfo", handle)
        return SimpleNamespace(total=150_754_820_096, free=150_000_000_000, used=754_820_096)

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:
        self._check("nvmlDeviceGetTemperature", handle)
        return 41 + sensor

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        self._check("nvmlDeviceGetPowerUsage", handle)
        return 123_456

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int:
        self._check("nvmlDeviceGetEnforcedPowerLimit", handle)
        return 700_000

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any) -> int:
        self._check("nvmlDeviceGetCurrentClocksEventReasons", handle)
        return self.reasons

    def nvmlDeviceGetTotalEccErrors(self, handle: Any, errorType: int, counterType: int) -> int:
        self._check("nvmlDeviceGetTotalEccErrors", handle)
        assert counterType == 0
        return (self.corrected, 0)[errorType]


def gpu_reading() -> GpuReading:
    """One GPU that tells everything."""
    return GpuReading(
        index=0,
        uuid="GPU-00000000",
        name="NVIDIA H200",
        driver="580.65.06",
        answering=True,
        utilisation=0.37,
        memory_used_bytes=754_820_096,
        memory_total_bytes=150_754_820_096,
        temperature_celsius=41,
        power_watts=123.456,
        power_limit_watts=700.0,
        throttled=frozenset({"thermal"}),
        ecc_errors={"corrected": 3, "uncorrected": 0},
    )
