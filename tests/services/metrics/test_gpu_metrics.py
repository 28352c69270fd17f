"""GPU metrics: what the driver says, at any scrape, at no cost to it; nothing where there is no GPU."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from braggwatch.services.metrics.gpu_metrics import GpuMonitor
from braggwatch.services.metrics.gpu_readings import (
    ECC_KINDS,
    THROTTLE_REASONS,
    GpuReader,
    GpuReading,
    GpuUnreadableError,
    Nvml,
)
from braggwatch.services.metrics.prometheus import Metrics
from support.gpus import NvmlStandIn, gpu_reading

PROMTOOL = shutil.which("promtool")
COMPILER = shutil.which("cc")
HAS_DRIVER = Path("/proc/driver/nvidia/version").exists()


@contextmanager
def watched(nvml: NvmlStandIn, stale_after_s: float = 30.0) -> Generator[tuple[Metrics, GpuMonitor]]:
    metrics = Metrics()
    monitor = GpuMonitor(lambda: GpuReader(nvml), interval_s=0.01, stale_after_s=stale_after_s)
    metrics.watch_gpus(monitor)
    monitor.start()
    try:
        wait_until(lambda: bool(monitor.latest()))
        yield metrics, monitor
    finally:
        nvml.hold.set()
        monitor.close()


def wait_until(holds) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Values of a GPU metric by its GPU and last label."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            if sample.name == f"braggwatch_gpu_{name}":
                rest = [value for label, value in sample.labels.items() if label not in ("gpu", "uuid")]
                found[sample.labels["gpu"], *rest] = sample.value
    return found


def test_each_gpu_tells_what_it_knows_in_base_units() -> None:
    with watched(NvmlStandIn()) as (metrics, _):
        assert series(metrics, "utilisation_ratio") == {("0",): 0.37, ("1",): 0.37}
        assert series(metrics, "memory_used_bytes")["0",] == 754_820_096
        assert series(metrics, "memory_total_bytes")["0",] == 150_754_820_096
        assert series(metrics, "temperature_celsius")["0",] == 41
        assert series(metrics, "power_watts")["0",] == pytest.approx(123.456)
        assert series(metrics, "power_limit_watts")["0",] == 700
        assert series(metrics, "answering") == {("0",): 1, ("1",): 1}
        assert series(metrics, "ecc_errors_total") == {("0", "corrected"): 3, ("0", "uncorrected"): 0}
        assert ("1", "580.65.06", "NVIDIA GeForce RTX 5090") in series(metrics, "info")


def test_an_idle_gpu_is_not_throttled_and_a_hot_one_says_why() -> None:
    nvml = NvmlStandIn()
    with watched(nvml) as (metrics, _):
        assert set(series(metrics, "throttled").values()) == {0.0}
        nvml.reasons = 0x40 | 0x8
        wait_until(lambda: series(metrics, "throttled")["0", "thermal"] == 1)
        held = {key[1] for key, value in series(metrics, "throttled").items() if value}
        assert held == {"thermal", "hardware_slowdown"}


@pytest.mark.parametrize(
    ("function", "metric"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilisation_ratio"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "throttled"),
        ("nvmlDeviceGetTotalEccErrors", "ecc_errors_total"),
    ],
)
def test_what_a_gpu_does_not_tell_has_no_series_and_costs_no_other(function: str, metric: str) -> None:
    nvml = NvmlStandIn()
    nvml.refused = {(function, 1)}
    with watched(nvml) as (metrics, _):
        assert {key[0] for key in series(metrics, metric)} == {"0"}
        assert series(metrics, "answering") == {("0",): 1, ("1",): 1}
        assert {key[0] for key in series(metrics, "memory_used_bytes")} == {"0", "1"}


def test_a_gpu_that_is_lost_does_not_answer_and_one_that_comes_back_does() -> None:
    nvml = NvmlStandIn()
    with watched(nvml) as (metrics, _):
        nvml.refused.add(("", 0))
        wait_until(lambda: series(metrics, "answering")["0",] == 0)
        assert {key[0] for key in series(metrics, "memory_used_bytes")} == {"1"}
        nvml.refused.discard(("", 0))
        wait_until(lambda: series(metrics, "answering")["0",] == 1)


def test_a_driver_that_hangs_holds_up_no_scrape() -> None:
    nvml = NvmlStandIn()
    with watched(nvml, stale_after_s=0.5) as (metrics, _):
        nvml.hold.clear()
        wait_until(lambda: set(series(metrics, "answering").values()) == {0.0})
        assert series(metrics, "temperature_celsius") == {}
        nvml.hold.set()
        wait_until(lambda: set(series(metrics, "answering").values()) == {1.0})


def test_a_driver_that_hangs_at_the_start_holds_up_nothing_either() -> None:
    nvml = NvmlStandIn()
    nvml.hold.clear()
    monitor = GpuMonitor(lambda: GpuReader(nvml))
    monitor.start()
    assert monitor.latest() == ()
    nvml.hold.set()
    monitor.close()
    assert nvml.opened == 0


def test_closing_ends_the_thread_and_lets_go_of_the_driver() -> None:
    nvml = NvmlStandIn()
    with watched(nvml):
        assert nvml.opened == 1
    assert nvml.opened == 0
    assert "braggwatch-gpu" not in {thread.name for thread in threading.enumerate()}


def test_a_monitor_that_was_never_started_can_be_closed() -> None:
    GpuMonitor().close()


@pytest.mark.skipif(HAS_DRIVER, reason="there is a driver")
def test_without_a_driver_there_are_no_gpu_metrics_and_one_line_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """With the real bindings, which find no library of NVIDIA's."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py isn't installed")
    metrics, monitor = Metrics(), GpuMonitor()
    metrics.watch_gpus(monitor)
    with caplog.at_level(logging.INFO, "braggwatch.services.metrics.gpu_metrics"):
        monitor.start()
        wait_until(lambda: "braggwatch-gpu" not in {thread.name for thread in threading.enumerate()})
    monitor.close()
    assert b"braggwatch_gpu_memory" not in metrics.exposition()
    assert [record.message for record in caplog.records if "no GPU metrics: no NVIDIA driver" in record.message]
    assert len(caplog.records) == 1


def test_without_the_bindings_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GpuUnreadableError, match=r"braggwatch\[gpu\]"):
        GpuReader()


def functions() -> list[str]:
    return [name for name in vars(Nvml) if name.startswith("nvml")]


@pytest.mark.parametrize("name", functions())
def test_the_bindings_have_what_is_used_and_the_stand_in_is_like_them(name: str) -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py isn't installed")
    real = list(inspect.signature(getattr(pynvml, name)).parameters.values())
    for other in (getattr(Nvml, name), getattr(NvmlStandIn, name)):
        ours = list(inspect.signature(other).parameters)[1:]
        assert ours == [one.name for one in real[: len(ours)]]
        assert all(one.default is not inspect.Parameter.empty for one in real[len(ours) :])


def test_the_constants_are_the_bindings_own() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py isn't installed")
    assert {
        "power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
        "thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown | pynvml.nvmlClocksEventReasonHwThermalSlowdown,
        "hardware_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
        "power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    } == THROTTLE_REASONS
    assert ECC_KINDS == {
        "corrected": pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
        "uncorrected": pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
    }
    assert (pynvml.NVML_TEMPERATURE_GPU, pynvml.NVML_VOLATILE_ECC) == (0, 0)


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.skipif(HAS_DRIVER, reason="there is a driver")
def test_the_real_bindings_read_a_library_with_nvmls_interface(tmp_path: Path) -> None:
    """Through ctypes, as on a machine with a driver whose GPU tells no power limit and no uncorrected errors."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py isn't installed")
    source = Path(__file__).with_name("nvml_library.c")
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    code = "from braggwatch.services.metrics.gpu_readings import GpuReader; r = GpuReader(); print(r.read()); r.close()"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert "uuid='GPU-c0ffee', name='NVIDIA H200', driver='580.65.06', answering=True" in ran.stdout
    for words in (
        "utilisation=0.37",
        "memory_used_bytes=754820096",
        "temperature_celsius=41",
        "power_watts=123.456",
        "power_limit_watts=None",
        "throttled=frozenset({'thermal'})",
        "ecc_errors={'corrected': 5}",
    ):
        assert words in ran.stdout


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    with watched(NvmlStandIn()) as (metrics, _):
        text = metrics.exposition()
    assert b"braggwatch_gpu_ecc_errors_total" in text
    checked = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.gpu
def test_a_real_gpu_tells_its_memory_temperature_and_power() -> None:
    reader = GpuReader()
    readings = reader.read()
    reader.close()
    assert readings
    for one in readings:
        assert one.answering
        assert one.uuid.startswith(("GPU-", "MIG-"))
        assert one.memory_total_bytes
        assert 0 < (one.memory_used_bytes or 0) <= one.memory_total_bytes
        assert one.temperature_celsius is None or 0 < one.temperature_celsius < 120


def test_a_reading_that_tells_everything_leaves_nothing_out() -> None:
    told = gpu_reading()
    assert all(getattr(told, one.name) is not None for one in fields(GpuReading))
