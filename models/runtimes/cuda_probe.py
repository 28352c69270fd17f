"""Which NVIDIA device is here, asked of the driver itself: TensorRT's objects can crash where there is no driver."""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass
from pathlib import Path

from braggwatch.models.runtimes.base import RuntimeUnavailableError

_LIBRARY = "libcuda.so.1"
_KERNEL_MODULE_VERSION = Path("/sys/module/nvidia/version")
# From cuda.h, CUdevice_attribute.
_ATTRIBUTE_MAJOR = 75
_ATTRIBUTE_MINOR = 76


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """A device and the driver that serves it.

    Attributes
    ----------
    name
        As the driver calls it, e.g. 'NVIDIA H200'.
    compute_capability
        Major and minor number.
    driver
        Version of the kernel module where it can be read, and the CUDA version of the driver's interface.
    """

    name: str
    compute_capability: tuple[int, int]
    driver: str


def find_device(ordinal: int = 0, library: str = _LIBRARY) -> CudaDevice:
    """Ask the driver for a device; safe on any machine.

    Parameters
    ----------
    ordinal
        Which of the visible devices.
    library
        Name or path of the driver's library.

    Raises
    ------
    RuntimeUnavailableError
        If there is no driver, it can't start, or it has no such device.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError as error:
        raise RuntimeUnavailableError(f"no NVIDIA driver here ({library} can't be loaded)") from error
    _check(cuda, cuda.cuInit(0), "start")
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)), "count its devices")
    if ordinal >= count.value:
        raise RuntimeUnavailableError(f"the NVIDIA driver shows {count.value} devices, number {ordinal} is wanted")
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), ordinal), "open a device")
    name = ctypes.create_string_buffer(256)
    _check(cuda, cuda.cuDeviceGetName(name, len(name), device), "name a device")
    numbers: list[int] = []
    for attribute in (_ATTRIBUTE_MAJOR, _ATTRIBUTE_MINOR):
        value = ctypes.c_int()
        _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), "describe a device")
        numbers.append(value.value)
    _check(cuda, cuda.cuDriverGetVersion(ctypes.byref(version)), "tell its version")
    return CudaDevice(name.value.decode("utf-8", "replace"), (numbers[0], numbers[1]), _driver_text(version.value))


def cuda_problem(library: str = _LIBRARY) -> str | None:
    """Return why no CUDA device can be used here, or None where one can."""
    try:
        find_device(library=library)
    except RuntimeUnavailableError as error:
        return str(error)
    return None


def _check(cuda: ctypes.CDLL, status: int, doing: str) -> None:
    if status == 0:
        return
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(status, ctypes.byref(text))
    reason = text.value.decode("utf-8", "replace") if text.value else f"error {status}"
    raise RuntimeUnavailableError(f"the NVIDIA driver can't {doing}: {reason}")


def _driver_text(interface: int) -> str:
    cuda = f"CUDA {interface // 1000}.{interface % 1000 // 10}"
    with contextlib.suppress(OSError):
        return f"{_KERNEL_MODULE_VERSION.read_text(encoding='ascii').strip()}, {cuda}"
    return cuda
