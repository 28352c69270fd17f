"""ONNX to a TensorRT plan: strongly typed, one optimisation profile for each batch size in use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.tensorrt_api import TensorRt
from braggwatch.models.runtimes.tensorrt_types import (
    Builder,
    FullBuilderConfig,
    IBuilderConfig,
    INetworkDefinition,
    OnnxParser,
    RtxBuilderConfig,
)

BATCHES = (1, 8, 32)

# What TensorRT-RTX 1.7 builds for without the device. Turing (SM75) is left out: it has no fp32 matrix product there,
# and the head of every network is one.
PORTABLE_CAPABILITIES = ("SM80", "SM86", "SM89", "SM120")


class EngineBuildError(RuntimeUnavailableError):
    """TensorRT can't build an engine of this graph here; the message has its own words."""


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """An engine in bytes.

    Attributes
    ----------
    plan
        What TensorRT loads. Holds code for host and device.
    seconds
        Time of parsing and building.
    timing_cache
        What full TensorRT measured of kernels, to build faster the next time; None for TensorRT-RTX.
    """

    plan: bytes
    seconds: float
    timing_cache: bytes | None


def parser_problem(api: TensorRt, model: bytes) -> str | None:
    """Return what TensorRT's parser can't take of an ONNX graph, None where it takes all of it.

    With full TensorRT this needs a driver.
    """
    # Each holds a bare pointer to the one before: all of them live until the parser is done.
    builder = api.builder()
    network = api.network(builder)
    parser = api.parser(network)
    return None if parser.supports_model_v2(model) else _parser_errors(parser, api)


def build_plan(
    api: TensorRt,
    model: bytes,
    *,
    batches: tuple[int, ...] = BATCHES,
    capabilities: tuple[str, ...] = (),
    timing_cache: bytes | None = None,
) -> BuiltPlan:
    """Build an engine.

    Parameters
    ----------
    api
        The TensorRT to build with.
    model
        Bytes of the ONNX graph; precision is what it says. Each input is dynamic in its first axis alone.
    batches
        Batch sizes, each with a profile that is exact: kernels are chosen for it.
    capabilities
        For TensorRT-RTX: devices to build for, e.g. 'SM86'; none for the device that is here.
    timing_cache
        From an earlier :class:`BuiltPlan` of the same TensorRT and device.

    Raises
    ------
    EngineBuildError
        If the graph can't be parsed or built.
    """
    if not batches or min(batches) < 1 or len(set(batches)) != len(batches):
        raise ValueError(f"batch sizes must be distinct and positive, got {batches}")
    started = time.perf_counter()
    api.messages.errors.clear()
    builder = api.builder()
    network = api.network(builder)
    parser = api.parser(network)
    if not parser.parse(model):
        raise EngineBuildError(f"{api.flavour} {api.version} can't parse the graph: {_parser_errors(parser, api)}")
    config = builder.create_builder_config()
    for batch in batches:
        _add_profile(builder, config, network, batch)
    if api.is_rtx:
        _name_devices(api, cast(RtxBuilderConfig, config), capabilities)
    elif capabilities:
        raise EngineBuildError(f"{api.flavour} builds for the device that is here only, not for {capabilities}")
    else:
        full = cast(FullBuilderConfig, config)
        full.set_timing_cache(full.create_timing_cache(timing_cache or b""), False)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise EngineBuildError(f"{api.flavour} {api.version} can't build the engine: {api.messages.take()}")
    measured = None if api.is_rtx else cast(FullBuilderConfig, config).get_timing_cache()
    return BuiltPlan(
        plan=bytes(memoryview(built)),
        seconds=time.perf_counter() - started,
        timing_cache=None if measured is None else bytes(memoryview(measured.serialize())),
    )


def _add_profile(builder: Builder, config: IBuilderConfig, network: INetworkDefinition, batch: int) -> None:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(int(size) for size in tensor.shape)
        if not shape or shape[0] != -1 or any(size < 1 for size in shape[1:]):
            raise EngineBuildError(
                f"input {tensor.name!r} has shape {shape}: only the batch may be dynamic, and must be"
            )
        exact = (batch, *shape[1:])
        profile.set_shape(tensor.name, exact, exact, exact)
    if config.add_optimization_profile(profile) < 0:
        raise EngineBuildError(f"the profile for batches of {batch} was refused")


def _name_devices(api: TensorRt, config: RtxBuilderConfig, capabilities: tuple[str, ...]) -> None:
    wanted = [api.compute_capability(name) for name in capabilities or (None,)]
    config.num_compute_capabilities = len(wanted)
    for index, one in enumerate(wanted):
        if not config.set_compute_capability(one, index):
            raise EngineBuildError(f"{api.flavour} {api.version} refuses to build for {capabilities[index]}")


def _parser_errors(parser: OnnxParser, api: TensorRt) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    found = [f"{one.node_operator() or 'the graph'} {one.node_name()!r} ({one.desc()})" for one in errors]
    said = api.messages.take()
    return "; ".join(found) or said
