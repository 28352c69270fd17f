"""What runs the bundle in use fastest here: every runtime in turn, round after round, in one process.

``pytest -m benchmark tests/benchmarks/test_runtimes.py -s`` prints the tables; nothing fails for being slow. On a CPU
the processor seconds of all threads are compared, which hold on a busy machine; on a GPU the wall time, from host
memory to host memory and, where a runtime can, from device memory.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.cxdp.benchmarking import Benchmark
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.symmetry import symmetry_batch
from braggwatch.models.runtimes import OnnxRuntime, RuntimeUnavailableError
from braggwatch.models.runtimes.base import Runtime, RuntimeOutput
from braggwatch.models.runtimes.cuda_probe import cuda_problem, find_device
from braggwatch.models.runtimes.device_input import DeviceRuntime
from braggwatch.models.runtimes.engine_torch import TorchRuntime
from braggwatch.models.runtimes.factory import CANDIDATES
from braggwatch.models.runtimes.onnx_cuda import OnnxCudaRuntime
from braggwatch.models.runtimes.openvino import OpenVinoRuntime
from braggwatch.models.verdict import Verdict
from support.production import production_bundle

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

THREADS = 2
ROUNDS = {1: 40, 8: 12, 32: 5}
GPU_ROUNDS = {1: 1000, 8: 500, 32: 200}
DEVIATION = 0.1
Work = Callable[[NDArray[np.float32]], RuntimeOutput]


@dataclass
class Timing:
    """One runtime at one batch size: seconds of each round."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def add(self, work: Work, batch: NDArray[np.float32]) -> RuntimeOutput:
        cpu, wall = time.process_time(), time.perf_counter()
        output = work(batch)
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)
        return output


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(production_bundle())


def volumes(bundle: Bundle, size: int) -> NDArray[np.float32]:
    """Golden volumes and their mirror images, (size, 64, 64, 64)."""
    copies = np.concatenate([symmetry_batch(one, 8) for one in bundle.golden.counts])
    return np.ascontiguousarray(np.resize(copies, (size, *copies.shape[1:])))


def compete(contenders: dict[str, Work], bundle: Bundle, rounds: dict[int, int]) -> dict[int, dict[str, Timing]]:
    """Time every runtime once in each round, so that a busy moment meets all of them; outputs must agree."""
    found: dict[int, dict[str, Timing]] = {}
    for size, count in rounds.items():
        batch = volumes(bundle, size)
        reference = OnnxRuntime(bundle.model, THREADS).run(batch)
        for work in contenders.values():
            work(batch)
            assert np.abs(work(batch).logits - reference.logits).max() < DEVIATION
        timings = {name: Timing() for name in contenders}
        for _ in range(count):
            for name, work in contenders.items():
                timings[name].add(work, batch)
        found[size] = timings
    return found


def table(found: dict[int, dict[str, Timing]], peer: str, *, cpu: bool) -> str:
    kind = "CPU" if cpu else "wall"
    lines = [
        f"| runtime | batch | {kind} a batch | {kind} a volume | ratio to {peer} | wall p50 | wall p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, timings in found.items():
        medians = {name: float(np.median(one.cpu_s if cpu else one.wall_s)) for name, one in timings.items()}
        for name, one in timings.items():
            p50, p99 = np.percentile(one.wall_s, (50, 99)) * 1e3
            lines.append(
                f"| {name} | {size} | {medians[name] * 1e3:.3g} ms | {medians[name] / size * 1e3:.3g} ms "
                f"| {medians[name] / medians[peer]:.2f} | {p50:.3g} ms | {p99:.3g} ms |"
            )
    return "\n".join(lines)


def torch_work(bundle: Bundle, device: str) -> Work:
    """Torch eager with the bundle's own weights."""
    module, torch = torch_module(bundle, device)

    def run(batch: NDArray[np.float32]) -> RuntimeOutput:
        with torch.inference_mode():
            return RuntimeOutput(*(one.cpu().numpy() for one in module(torch.from_numpy(batch).to(device))))

    return run


def torch_module(bundle: Bundle, device: str):
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors isn't installed")
    from braggwatch.models.bundling.export import deployable_module
    from braggwatch.models.networks.factory import NamedClasses, network_from_weights

    weights = safetensors.load((bundle.path / "weights.safetensors").read_bytes())
    network = NamedClasses(network_from_weights(weights)[0], len(bundle.manifest.classes))
    return deployable_module(network, bundle.manifest.temperature).eval().to(device), torch


@pytest.mark.parametrize("threads", [1, 2])
def test_on_the_cpu(bundle: Bundle, threads: int) -> None:
    """One thread tells what the work is; with more, threads that spin while they wait cost processor time as well."""
    contenders: dict[str, Work] = {"onnxruntime-cpu": OnnxRuntime(bundle.model, threads).run}
    for precision in ("f32", "bf16"):
        try:
            runtime = OpenVinoRuntime(bundle.model, threads, precision)
        except RuntimeUnavailableError as error:
            print(f"\nopenvino {precision}: {error}")  # noqa: T201
            continue
        contenders[runtime.name] = runtime.run
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    before = torch.get_num_threads()
    try:
        contenders["torch eager"] = TorchRuntime(bundle, "cpu", threads=threads).run
        found = compete(contenders, bundle, ROUNDS)
    finally:
        torch.set_num_threads(before)
    print(f"\n{bundle.manifest.id}, {threads} threads, {platform.processor() or platform.machine()}")  # noqa: T201
    print(table(found, "onnxruntime-cpu", cpu=True))  # noqa: T201 the table is the result


def test_verdicts_on_the_open_test_set(bundle: Bundle) -> None:
    """Volume to verdict, as deployed: what a runtime saves of the whole, and whether its rounding changes anything."""
    reference = BundleClassifier(bundle, OnnxRuntime(bundle.model, threads=2))
    others: dict[str, BundleClassifier] = {}
    for precision in ("f32", "bf16"):
        try:
            runtime = OpenVinoRuntime(bundle.model, 2, precision)
        except RuntimeUnavailableError as error:
            print(f"\nopenvino {precision}: {error}")  # noqa: T201
            continue
        others[runtime.name] = BundleClassifier(bundle, runtime)
    cpu_s = dict.fromkeys(("onnxruntime-cpu", *others), 0.0)
    classes, outcomes, largest = dict.fromkeys(others, 0), dict.fromkeys(others, 0), dict.fromkeys(others, 0.0)

    def verdict(name: str, classifier: BundleClassifier, counts: NDArray[np.float32]) -> Verdict:
        began = time.process_time()
        found = classifier.classify(counts)
        cpu_s[name] += time.process_time() - began
        return found

    patterns = 0
    for classifier in (reference, *others.values()):
        classifier.warm_up()
    for _, counts in Benchmark.load().volumes():
        patterns += 1
        wanted = verdict("onnxruntime-cpu", reference, counts)
        for name, classifier in others.items():
            found = verdict(name, classifier, counts)
            one, other = wanted.probabilities, found.probabilities
            outcomes[name] += (wanted.outcome, wanted.label) != (found.outcome, found.label)
            if one:
                classes[name] += max(one, key=lambda k: one[k]) != max(other, key=lambda k: other[k])
                largest[name] = max(largest[name], *(abs(one[k] - other[k]) for k in one))
    whole = cpu_s["onnxruntime-cpu"]
    print(f"\n{bundle.manifest.id}, {patterns} patterns, two threads\nonnxruntime-cpu {whole:.1f} s CPU")  # noqa: T201
    for name in others:
        print(  # noqa: T201 the table is the result
            f"{name} {cpu_s[name]:.1f} s CPU, {cpu_s[name] / whole:.2f}; likeliest class changed {classes[name]}, "
            f"verdict {outcomes[name]}, largest change of a probability {largest[name]:.2g}"
        )


def torch_graph_work(bundle: Bundle, size: int) -> Work:
    """The network of torch eager, captured once as a CUDA graph for one batch size."""
    module, torch = torch_module(bundle, "cuda")
    counts = torch.zeros((size, 64, 64, 64), device="cuda")
    pinned = torch.zeros((size, 64, 64, 64)).pin_memory()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(stream):
        for _ in range(3):
            module(counts)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        outputs = module(counts)

    def run(batch: NDArray[np.float32]) -> RuntimeOutput:
        pinned.numpy()[...] = batch
        counts.copy_(pinned, non_blocking=True)
        graph.replay()
        return RuntimeOutput(*(one.cpu().numpy() for one in outputs))

    return run


def gpu_runtimes(bundle: Bundle) -> dict[str, Runtime]:
    opened: dict[str, Runtime] = {}
    for candidate in CANDIDATES:
        if "-cpu" in candidate.name:
            continue
        try:
            if (reason := candidate.probe()) is not None:
                raise RuntimeUnavailableError(reason)
            opened[candidate.name] = candidate.open(bundle, THREADS)
            if candidate.name == "onnxruntime-cuda":
                opened["onnxruntime-cuda eager"] = OnnxCudaRuntime(bundle.model, cuda_graph=False)
        except RuntimeUnavailableError as error:
            print(f"\n{candidate.name}: {error}")  # noqa: T201
    return opened


@pytest.mark.gpu
def test_on_the_gpu(bundle: Bundle) -> None:
    if (reason := cuda_problem()) is not None:
        pytest.skip(reason)
    device = find_device()
    print(f"\n{bundle.manifest.id} on {device.name}, driver {device.driver}, host to host")  # noqa: T201
    runtimes = gpu_runtimes(bundle)
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    if not torch.cuda.is_available():
        pytest.skip("this torch is built for the CPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found: dict[int, dict[str, Timing]] = {}
    for size, rounds in GPU_ROUNDS.items():
        contenders: dict[str, Work] = {"torch eager": torch_work(bundle, "cuda")}
        contenders["torch CUDA graph"] = torch_graph_work(bundle, size)
        contenders |= {name: runtime.run for name, runtime in runtimes.items()}
        found |= compete(contenders, bundle, {size: rounds})
    print(table(found, "torch eager", cpu=False))  # noqa: T201 the table is the result


@pytest.mark.gpu
def test_on_the_gpu_from_device_memory(bundle: Bundle) -> None:
    if (reason := cuda_problem()) is not None:
        pytest.skip(reason)
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    if not torch.cuda.is_available():
        pytest.skip("this torch is built for the CPU")
    module, _ = torch_module(bundle, "cuda")
    found: dict[int, dict[str, Timing]] = {}
    for size, rounds in GPU_ROUNDS.items():
        counts = torch.from_numpy(volumes(bundle, size)).to("cuda")
        torch.cuda.synchronize()

        def eager(_: NDArray[np.float32], counts=counts) -> RuntimeOutput:
            with torch.inference_mode():
                return RuntimeOutput(*(one.cpu().numpy() for one in module(counts)))

        contenders: dict[str, Work] = {"torch eager": eager}
        for name, runtime in gpu_runtimes(bundle).items():
            if isinstance(runtime, DeviceRuntime):
                pointer = counts.data_ptr()
                contenders[name] = lambda _, r=runtime, p=pointer, n=size: r.run_device(p, n)
        found |= compete(contenders, bundle, {size: rounds})
    print("\nfrom device memory to host memory\n" + table(found, "torch eager", cpu=False))  # noqa: T201
