"""How long the model input takes and how much memory, beside xrayutilities on the same frames.

``pytest -m benchmark tests/benchmarks/test_preprocessing.py -s`` prints the tables.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, warm_up

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

RUNS = 40


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_last_frame_to_model_input(case: Any, cpu_seconds: Any, benchmark: Any) -> None:
    preprocessor = CpuPreprocessor(case.settings)
    warm_up(preprocessor)
    assert preprocessor(case.curve).quality.invalid_reason is None
    benchmark.pedantic(lambda: preprocessor(case.curve), rounds=RUNS, warmup_rounds=1)
    walls, cpus = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        cpus.append(cpu_seconds(lambda: preprocessor(case.curve)))
        walls.append(time.perf_counter() - start)
    p50, p99 = np.percentile(walls, [50, 99]) * 1e3
    memory = peak_bytes(lambda: preprocessor(case.curve)) / case.curve.frames.nbytes
    print(  # noqa: T201 the table is the result
        f"\n{case.name}: last frame to model input p50 {p50:.1f} ms, p99 {p99:.1f} ms wall, "
        f"{np.median(cpus) * 1e3:.1f} ms CPU; memory {1 + memory:.2f} frame cubes in all"
    )
    assert memory < 1.0


@pytest.mark.parametrize("grid", ["64", "native"])
def test_ratio_to_xrayutilities(case: Any, grid: str, cpu_seconds: Any, xrayutilities_cpu_s: Any) -> None:
    preprocessor = CpuPreprocessor(case.settings)
    preprocessor(case.curve)
    theirs = xrayutilities_cpu_s(case, grid)
    if theirs is None:
        pytest.skip("xrayutilities needs over 5 GB for this grid")
    mine = min(cpu_seconds(lambda: preprocessor(case.curve)) for _ in range(7))
    print(f"\n{case.name}: xrayutilities to {grid} {theirs:.2f} s CPU, ours {mine * 1e3:.0f} ms, {theirs / mine:.0f} x")  # noqa: T201
    assert theirs > mine
