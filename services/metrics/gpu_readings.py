"""What a GPU's driver says of it, read through NVML with nvidia-ml-py (extra ``gpu``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

from braggwatch.sim.errors import BraggwatchError

_MILLIWATTS = 1e-3
_PERCENT = 1e-2

THROTTLE_REASONS = {
    "power_cap": 0x4,
    "thermal": 0x20 | 0x40,
    "hardware_slowdown": 0x8,
    "power_brake": 0x80,
}
"""Bits of ``nvmlClocksEventReason…`` that mean slower than asked for; idle and chosen clocks are none."""

ECC_KINDS = {"corrected": 0, "uncorrected": 1}
"""``NVML_MEMORY_ERROR_TYPE_…``."""

_TEMPERATURE_OF_GPU = 0
_SINCE_THE_DRIVER_LOADED = 0


_Arguments = ParamSpec("_Arguments")
_Told = TypeVar("_Told")


class GpuUnreadableError(BraggwatchError, RuntimeError):
    """GPUs can't be looked at on this machine; the message says why."""


class _Memory(Protocol):
    @property
    def used(self) -> int: ...
    @property
    def total(self) -> int: ...


class _Rates(Protocol):
    @property
    def gpu(self) -> int: ...


class Nvml(Protocol):
    """The part of the module ``pynvml`` that is used."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: D102
    def nvmlShutdown(self) -> None: ...  # noqa: D102
    def nvmlSystemGetDriverVersion(self) -> str: ...  # noqa: D102
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: D102
    def nvmlDeviceGetUUID(self, handle: object) -> str: ...  # noqa: D102
    def nvmlDeviceGetName(self, handle: object) -> str: ...  # noqa: D102
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> _Rates: ...  # noqa: D102
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> _Memory: ...  # noqa: D102
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: D102
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: D102
    def nvmlDeviceGetEnforcedPowerLimit(self, handle: object) -> int: ...  # noqa: D102
    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object) -> int: ...  # noqa: D102
    def nvmlDeviceGetTotalEccErrors(self, handle: object, errorType: int, counterType: int) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One look at one GPU; None where the GPU, its driver or its owner doesn't tell.

    Attributes
    ----------
    answering
        Whether the driver still reaches it: a GPU that fell off the bus does not answer.
    utilisation
        Part of the last sampling period, 0 to 1, in which a kernel ran.
    throttled
        Names out of `THROTTLE_REASONS`.
    ecc_errors
        Counts since the driver was loaded by `ECC_KINDS`; only kinds that the GPU counts.
    """

    index: int
    uuid: str
    name: str
    driver: str
    answering: bool
    utilisation: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    throttled: frozenset[str] | None = None
    ecc_errors: dict[str, int] = field(default_factory=dict[str, int])


def unanswered(reading: GpuReading) -> GpuReading:
    """Return what is left of a reading while the driver doesn't reach the GPU: which GPU it is."""
    return GpuReading(reading.index, reading.uuid, reading.name, reading.driver, answering=False)


@dataclass(frozen=True, slots=True)
class _Device:
    index: int
    uuid: str
    name: str
    handle: object


class GpuReader:
    """Reads every GPU that the driver shows to this process.

    Parameters
    ----------
    nvml
        The module; None for the installed ``pynvml``.

    Raises
    ------
    GpuUnreadableError
        If nvidia-ml-py isn't installed, there is no driver, or it shows no GPU.
    """

    def __init__(self, nvml: Nvml | None = None) -> None:
        self._nvml = _installed() if nvml is None else nvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise GpuUnreadableError(f"no NVIDIA driver: {error}") from error
        try:
            self._driver = self._nvml.nvmlSystemGetDriverVersion()
            self._devices = [self._device(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        except self._nvml.NVMLError as error:
            self.close()
            raise GpuUnreadableError(f"the NVIDIA driver can't list its GPUs: {error}") from error
        if not self._devices:
            self.close()
            raise GpuUnreadableError("the NVIDIA driver shows no GPU")

    def _device(self, index: int) -> _Device:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        return _Device(index, self._nvml.nvmlDeviceGetUUID(handle), self._nvml.nvmlDeviceGetName(handle), handle)

    def read(self) -> tuple[GpuReading, ...]:
        """Look at each GPU; one that fails is not answering, a quantity that it doesn't tell is None."""
        return tuple(self._reading(device) for device in self._devices)

    def close(self) -> None:
        """Let go of the driver."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            # It is gone already, with the driver.
            return

    def _reading(self, device: _Device) -> GpuReading:
        nvml, handle = self._nvml, device.handle
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError:
            # Every GPU tells its memory: one that does not is lost, or was reset under us.
            return GpuReading(device.index, device.uuid, device.name, self._driver, answering=False)
        rates = self._told(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._told(nvml.nvmlDeviceGetPowerUsage, handle)
        limit = self._told(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        reasons = self._told(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        counts = {
            kind: self._told(nvml.nvmlDeviceGetTotalEccErrors, handle, number, _SINCE_THE_DRIVER_LOADED)
            for kind, number in ECC_KINDS.items()
        }
        return GpuReading(
            index=device.index,
            uuid=device.uuid,
            name=device.name,
            driver=self._driver,
            answering=True,
            utilisation=None if rates is None else rates.gpu * _PERCENT,
            memory_used_bytes=int(memory.used),
            memory_total_bytes=int(memory.total),
            temperature_celsius=self._told(nvml.nvmlDeviceGetTemperature, handle, _TEMPERATURE_OF_GPU),
            power_watts=None if power is None else power * _MILLIWATTS,
            power_limit_watts=None if limit is None else limit * _MILLIWATTS,
            throttled=None if reasons is None else _names(reasons),
            ecc_errors={kind: count for kind, count in counts.items() if count is not None},
        )

    def _told(
        self, ask: Callable[_Arguments, _Told], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Told | None:
        """Ask for one quantity; None where this GPU or driver has none, or doesn't tell us."""
        try:
            return ask(*arguments, **named)
        except self._nvml.NVMLError:
            return None


def _names(reasons: int) -> frozenset[str]:
    return frozenset(name for name, bits in THROTTLE_REASONS.items() if reasons & bits)


def _installed() -> Nvml:
    try:
        import pynvml
    except ImportError as error:
        raise GpuUnreadableError("nvidia-ml-py isn't installed (pip install 'braggwatch[gpu]')") from error
    return pynvml  # pyright: ignore[reportReturnType] - a module, which has these functions
