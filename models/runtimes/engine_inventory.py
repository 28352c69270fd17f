"""Which engines are on disk, whether this machine would take them, and which ways to run a bundle it has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.cuda_probe import CudaDevice, find_device
from braggwatch.models.runtimes.engine_cache import EngineCache, EngineCacheError, EngineRecord
from braggwatch.models.runtimes.factory import CANDIDATES
from braggwatch.models.runtimes.tensorrt_api import FLAVOURS, TensorRt, load_tensorrt


class RouteState(BaseModel):
    """A way to run a bundle; ``problem`` is None where this machine has it."""

    model_config = ConfigDict(frozen=True)

    route: str
    problem: str | None


class EngineState(BaseModel):
    """An engine on disk; ``problem`` is None where it would be used here."""

    model_config = ConfigDict(frozen=True)

    record: EngineRecord
    problem: str | None


class EngineInventory(BaseModel):
    """What ``braggwatch engine info`` knows."""

    model_config = ConfigDict(frozen=True)

    folder: str
    device: str | None
    driver: str | None
    installed: dict[str, str]
    routes: tuple[RouteState, ...]
    engines: tuple[EngineState, ...]


def take_inventory(cache: EngineCache) -> EngineInventory:
    """Look at the driver, the installed TensorRT, the routes and the engines of a folder; builds and runs nothing."""
    try:
        device, no_device = find_device(), None
    except RuntimeUnavailableError as error:
        device, no_device = None, str(error)
    apis: dict[str, TensorRt] = {}
    installed: dict[str, str] = {}
    for flavour in FLAVOURS:
        try:
            apis[flavour] = load_tensorrt(flavour)
            installed[flavour] = apis[flavour].version
        except RuntimeUnavailableError as error:
            installed[flavour] = str(error)
    return EngineInventory(
        folder=str(cache.folder),
        device=None if device is None else device.name,
        driver=None if device is None else device.driver,
        installed=installed,
        routes=tuple(RouteState(route=one.name, problem=one.probe()) for one in CANDIDATES),
        engines=tuple(
            EngineState(record=one, problem=_problem(one, cache, apis.get(one.key.flavour), device, no_device))
            for one in cache.records()
        ),
    )


def _problem(
    record: EngineRecord, cache: EngineCache, api: TensorRt | None, device: CudaDevice | None, no_device: str | None
) -> str | None:
    try:
        plan = cache.load(record.key).plan
    except EngineCacheError as error:
        return str(error)
    if api is None:
        return f"{record.key.flavour} isn't installed here"
    if api.version != record.key.version:
        return f"built by {record.key.flavour} {record.key.version}, here is {api.version}"
    if device is None:
        return f"can't be asked: {no_device}"
    if api.is_rtx:
        return api.plan_problem(api.runtime(), plan)
    here = f"{device.name}, compute capability {device.compute_capability[0]}.{device.compute_capability[1]}"
    if (record.key.device, record.key.driver) != (here, device.driver):
        return f"built for {record.key.device} with driver {record.key.driver}"
    return None
