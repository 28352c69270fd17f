"""Every way to run a bundle, measured in turns in one process, so that all meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat

from braggwatch.models.runtimes.base import InferenceError, Runtime, RuntimeCandidate, RuntimeUnavailableError
from braggwatch.models.runtimes.cuda_probe import cuda_problem
from braggwatch.models.runtimes.device_input import DeviceRuntime
from braggwatch.models.runtimes.engine_torch import TorchRuntime, probe_torch
from braggwatch.models.runtimes.factory import CANDIDATES
from braggwatch.models.runtimes.self_test import GoldenMismatchError, golden_difference
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle

_ROUNDS = 10
# A large batch takes a processor as long as many samples do: fewer of them are enough for a median.
_LARGE_ROUNDS = 3
_WARM_UPS = 2


class Latency(BaseModel):
    """Distribution of single runs, milliseconds."""

    model_config = ConfigDict(frozen=True)

    p50_ms: FiniteFloat
    p99_ms: FiniteFloat
    runs: int


class RouteResult(BaseModel):
    """One way to run a bundle; ``problem`` says why it wasn't measured."""

    model_config = ConfigDict(frozen=True)

    route: str
    version: str | None = None
    problem: str | None = None
    golden_difference: FiniteFloat | None = None
    same_classes: bool | None = None
    open_s: FiniteFloat | None = None
    host: Latency | None = None
    device_in: Latency | None = None
    device_in_problem: str | None = None
    throughput_per_s: FiniteFloat | None = None


TORCH_ROUTES: tuple[RuntimeCandidate, ...] = (
    RuntimeCandidate("torch-cpu", lambda: probe_torch(cuda=False), lambda b, t: TorchRuntime(b, threads=t)),
    RuntimeCandidate("torch-cuda", lambda: probe_torch(cuda=True), lambda b, _: TorchRuntime(b, "cuda")),
    RuntimeCandidate(
        "torch-cuda-graph", lambda: probe_torch(cuda=True), lambda b, _: TorchRuntime(b, "cuda", graph=True)
    ),
)


def choose_routes(names: tuple[str, ...]) -> tuple[RuntimeCandidate, ...]:
    """Return the routes of these names, all where none is named; raises ValueError for a name that isn't known."""
    known = {one.name: one for one in (*CANDIDATES, *TORCH_ROUTES)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"there is no route {unknown[0]!r}: choose among {', '.join(known)}")
    return tuple(known[name] for name in names or known)


def bench_routes(
    bundle: Bundle,
    candidates: tuple[RuntimeCandidate, ...],
    *,
    repeats: int = 200,
    batch: int = 32,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[RouteResult, ...]:
    """Measure every route that this machine has.

    Parameters
    ----------
    bundle
        A verified bundle; the first golden input is the sample.
    candidates
        Routes, each opened and checked against the golden outputs first.
    repeats
        Single runs of each, spread over turns among the routes.
    batch
        Samples at once for the throughput.
    threads
        Of CPU routes.
    progress
        Called with turns done and in all.

    Returns
    -------
    tuple
        One result for each candidate, in their order.
    """
    results = {one.name: RouteResult(route=one.name) for one in candidates}
    runtimes: dict[str, Runtime] = {}
    for one in candidates:
        results[one.name], runtime = _open(bundle, one, threads)
        if runtime is not None:
            runtimes[one.name] = runtime
    sample = bundle.golden.counts[:1]
    many = np.ascontiguousarray(np.resize(bundle.golden.counts, (batch, *sample.shape[1:])))
    single: dict[str, list[float]] = {name: [] for name in runtimes}
    whole: dict[str, list[float]] = {name: [] for name in runtimes}
    inner: dict[str, list[float]] = {name: [] for name in runtimes}
    failed: dict[str, str] = {}
    rounds = min(_ROUNDS, repeats)
    with _on_device(sample) as pointer:
        for turn in range(rounds):
            for name, runtime in runtimes.items():
                share = repeats // rounds + (turn < repeats % rounds)
                try:
                    single[name] += _times(lambda run=runtime.run: run(sample), share, _WARM_UPS)
                    if turn < _LARGE_ROUNDS:
                        whole[name] += _times(lambda run=runtime.run: run(many), 1, warm_ups=0 if turn else 1)
                    if isinstance(pointer, int) and isinstance(runtime, DeviceRuntime) and "-cpu" not in name:
                        inner[name] += _times(lambda run=runtime.run_device: run(pointer, 1), share, _WARM_UPS)
                except InferenceError as error:
                    failed[name] = str(error)
            if progress is not None:
                progress(turn + 1, rounds)
    for name, runtime in runtimes.items():
        if name in failed:
            results[name] = results[name].model_copy(update={"problem": failed[name]})
            continue
        results[name] = results[name].model_copy(
            update={
                "host": _latency(single[name]),
                "device_in": _latency(inner[name]) if inner[name] else None,
                "device_in_problem": None if inner[name] else _why_no_device_in(name, runtime, pointer),
                "throughput_per_s": batch / float(np.median(whole[name])),
            }
        )
    return tuple(results[one.name] for one in candidates)


def _open(bundle: Bundle, candidate: RuntimeCandidate, threads: int) -> tuple[RouteResult, Runtime | None]:
    problem = candidate.probe()
    if problem is not None:
        return RouteResult(route=candidate.name, problem=problem), None
    began = time.perf_counter()
    try:
        runtime = candidate.open(bundle, threads)
        difference = golden_difference(runtime, bundle)
        logits = runtime.run(bundle.golden.counts).logits
    except (RuntimeUnavailableError, GoldenMismatchError, InferenceError) as error:
        return RouteResult(route=candidate.name, problem=str(error)), None
    result = RouteResult(
        route=candidate.name,
        version=runtime.version,
        golden_difference=difference,
        same_classes=bool(np.array_equal(logits.argmax(axis=1), bundle.golden.logits.argmax(axis=1))),
        open_s=time.perf_counter() - began,
    )
    return result, runtime


@contextmanager
def _on_device(sample: NDArray[np.float32]) -> Generator[int | str]:
    """Address of the sample on the device, or why there is none."""
    problem = cuda_problem()
    if problem is None:
        try:
            import warp
        except ImportError as error:
            problem = f"warp-lang isn't installed ({error})"
        else:
            there = warp.array(np.ascontiguousarray(sample), dtype=warp.float32, device="cuda:0")
            warp.synchronize_device("cuda:0")
            yield int(there.ptr or 0)
            del there
            return
    yield problem


def _why_no_device_in(name: str, runtime: Runtime, pointer: int | str) -> str:
    if "-cpu" in name:
        return "runs on the processor"
    if not isinstance(runtime, DeviceRuntime):
        return "takes no input from device memory"
    return pointer if isinstance(pointer, str) else "not measured"


def _times(call: Callable[[], object], runs: int, warm_ups: int) -> list[float]:
    for _ in range(warm_ups):
        call()
    times: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def _latency(seconds: list[float]) -> Latency:
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return Latency(p50_ms=float(p50), p99_ms=float(p99), runs=len(seconds))
