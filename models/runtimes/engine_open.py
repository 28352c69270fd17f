"""From a bundle to a running engine: from the cache where it is sound and fits, else built, tested and kept."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from braggwatch.models.bundling.half_precision import RECIPE, HalfPrecisionError, to_half_precision
from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.cuda_probe import CudaDevice, find_device
from braggwatch.models.runtimes.engine_build import BATCHES, BuiltPlan, EngineBuildError, build_plan
from braggwatch.models.runtimes.engine_cache import (
    EngineCache,
    EngineCacheError,
    EngineMissingError,
    EngineRecord,
    EngineStaleError,
)
from braggwatch.models.runtimes.engine_key import EngineKey
from braggwatch.models.runtimes.onnx import OnnxRuntime
from braggwatch.models.runtimes.self_test import GoldenMismatchError, golden_difference
from braggwatch.models.runtimes.tensorrt import HALF_TOLERANCE, TensorRtRuntime
from braggwatch.models.runtimes.tensorrt_api import Flavour, TensorRt, load_tensorrt
from braggwatch.models.runtimes.tensorrt_memory import DeviceMemory
from braggwatch.models.runtimes.tensorrt_memory_warp import WarpMemory

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineGraph:
    """The graph that an engine is built from.

    Attributes
    ----------
    model
        Bytes of the ONNX graph.
    precision
        'fp16', or 'fp32' where the network has nothing that would gain or loses too much.
    half_nodes, nodes
        Layers in fp16, and all.
    difference
        Largest deviation of a golden logit or probability when the graph runs on the CPU.
    """

    model: bytes
    precision: str
    half_nodes: int
    nodes: int
    difference: float


@dataclass(frozen=True, slots=True)
class OpenedEngine:
    """A running engine, and what is known of it."""

    runtime: TensorRtRuntime
    record: EngineRecord


class _HalfOnCpu(OnnxRuntime):
    """The fp16 graph on the CPU, which may deviate as the engine may."""

    @property
    def golden_tolerance(self) -> float:
        return HALF_TOLERANCE


def engine_graph(bundle: Bundle, threads: int = 2) -> EngineGraph:
    """Bring a bundle's graph to fp16 and run its golden inputs on the CPU.

    Where fp16 would cost more than :data:`.tensorrt.HALF_TOLERANCE`, the graph stays fp32.

    Raises
    ------
    RuntimeUnavailableError
        Without the package ``onnx``, or where the graph can't be converted.
    """
    try:
        half = to_half_precision(bundle.model)
    except ImportError as error:
        raise RuntimeUnavailableError(f"no engine can be built without onnx ({error})") from error
    except HalfPrecisionError as error:
        raise RuntimeUnavailableError(f"{bundle.manifest.id}: {error}") from error
    try:
        difference = golden_difference(_HalfOnCpu(half.model, threads), bundle)
    except GoldenMismatchError as error:
        logger.warning("%s stays in fp32: in fp16 %s", bundle.manifest.id, error)
        difference = golden_difference(OnnxRuntime(bundle.model, threads), bundle)
        return EngineGraph(bundle.model, "fp32", 0, half.nodes, difference)
    return EngineGraph(half.model, half.precision, half.half_nodes, half.nodes, difference)


def engine_key(
    bundle: Bundle, api: TensorRt, device: CudaDevice | None, capabilities: tuple[str, ...], batches: tuple[int, ...]
) -> EngineKey:
    """Return the key of an engine for a device, or for compute capabilities without one."""
    if device is None:
        where = " ".join(capabilities)
    else:
        where = f"{device.name}, compute capability {device.compute_capability[0]}.{device.compute_capability[1]}"
    return EngineKey(
        model_sha256=bundle.sha256,
        precision=RECIPE,
        flavour=api.flavour,
        version=api.version,
        device=where,
        driver="" if device is None else device.driver,
        batches=batches,
    )


def build_engine(
    bundle: Bundle,
    api: TensorRt,
    device: CudaDevice | None = None,
    *,
    capabilities: tuple[str, ...] = (),
    batches: tuple[int, ...] = BATCHES,
    timing_cache: bytes | None = None,
) -> tuple[EngineRecord, BuiltPlan]:
    """Build the engine of a bundle; it is not run.

    Parameters
    ----------
    bundle
        A verified bundle.
    api
        The TensorRT to build with.
    device
        The device that is here, or None to build for ``capabilities`` (TensorRT-RTX alone).

    Raises
    ------
    RuntimeUnavailableError
        If it can't be built; in TensorRT's words.
    """
    if (device is None) == (not capabilities):
        raise EngineBuildError(
            "an engine is built for the device that is here, or with TensorRT-RTX for named compute capabilities"
        )
    graph = engine_graph(bundle)
    built = build_plan(api, graph.model, batches=batches, capabilities=capabilities, timing_cache=timing_cache)
    record = EngineRecord(
        key=engine_key(bundle, api, device, capabilities, batches),
        bundle=bundle.manifest.id,
        precision=graph.precision,
        half_nodes=graph.half_nodes,
        nodes=graph.nodes,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        onnx_bytes=len(graph.model),
        build_seconds=built.seconds,
        built=datetime.now(UTC),
        graph_difference=graph.difference,
    )
    return record, built


def open_engine(
    bundle: Bundle,
    flavour: Flavour,
    *,
    cache: EngineCache | None = None,
    load: Callable[[Flavour], TensorRt] = load_tensorrt,
    find: Callable[[], CudaDevice] = find_device,
    make_memory: Callable[[], DeviceMemory] = WarpMemory,
    batches: tuple[int, ...] = BATCHES,
) -> OpenedEngine:
    """Open a bundle's engine on this machine's device.

    An engine of the cache that is corrupted, stale, another device's, refused, or wrong on the golden inputs is named
    in one message of the log and built again; that build is tested before it is kept.

    Raises
    ------
    RuntimeUnavailableError
        If there is no TensorRT, no driver, no room, or no engine can be built.
    GoldenMismatchError
        If the fresh engine does not reproduce the golden outputs to :data:`.tensorrt.HALF_TOLERANCE`.
    """
    api, device = load(flavour), find()
    cache = EngineCache() if cache is None else cache
    key = engine_key(bundle, api, device, (), batches)
    memory = make_memory()
    kept = _from_cache(bundle, api, key, cache, memory)
    if kept is not None:
        return kept
    timing_name = _timing_name(key)
    record, built = build_engine(bundle, api, device, batches=batches, timing_cache=cache.read_blob(timing_name))
    runtime = TensorRtRuntime(api, built.plan, batches, memory)
    difference = golden_difference(runtime, bundle)
    logger.info("%s: engine built in %.1f s, golden outputs within %.2g", key.flavour, built.seconds, difference)
    record = record.model_copy(update={"golden_difference": difference})
    try:
        cache.store(record, built.plan)
        _keep_side_products(cache, key, built.timing_cache, runtime.compiled_kernels)
    except EngineCacheError as error:
        logger.warning("the engine is not kept and will be built again at the next start: %s", error)
    return OpenedEngine(runtime, record)


def _from_cache(
    bundle: Bundle, api: TensorRt, key: EngineKey, cache: EngineCache, memory: DeviceMemory
) -> OpenedEngine | None:
    try:
        stored = cache.load(key)
    except EngineMissingError as missing:
        level = logging.WARNING if isinstance(missing, EngineStaleError) else logging.INFO
        logger.log(level, "building an engine: %s", missing)
        return None
    except EngineCacheError as error:
        logger.warning("the cached engine is not used and built again: %s", error)
        return None
    try:
        runtime = TensorRtRuntime(api, stored.plan, key.batches, memory, cache.read_blob(_kernels_name(key)))
        golden_difference(runtime, bundle)
    except (RuntimeUnavailableError, GoldenMismatchError) as error:
        logger.warning("the cached engine of %s is discarded and built again: %s", bundle.manifest.id, error)
        cache.discard(key)
        return None
    return OpenedEngine(runtime, stored.record)


def _keep_side_products(cache: EngineCache, key: EngineKey, timings: bytes | None, kernels: bytes | None) -> None:
    if timings is not None:
        cache.write_blob(_timing_name(key), timings)
    if kernels is not None:
        cache.write_blob(_kernels_name(key), kernels)


def _timing_name(key: EngineKey) -> str:
    """Name what holds for every network on one device with one TensorRT."""
    place = f"{key.flavour} {key.version} {key.device} {key.driver}"
    return f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.timings"


def _kernels_name(key: EngineKey) -> str:
    return f"{key.digest[:24]}.kernels"
