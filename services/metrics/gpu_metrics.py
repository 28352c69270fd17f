"""GPU metrics for Prometheus: sampled by a timer of their own, so that a slow driver never slows a scrape.

A scrape shows the newest sample. Where the driver hasn't returned for 15 s, the GPUs count as not answering
and their other series end, rather than stand still at what was true once. Without a GPU, its driver or nvidia-ml-py
there are no such series at all, and one line in the log says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from braggwatch.services.metrics.gpu_readings import (
    THROTTLE_REASONS,
    GpuReader,
    GpuReading,
    GpuUnreadableError,
    unanswered,
)

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0
STALE_AFTER_S = 15.0
_STOP_S = 2.0

_LABELS = ("gpu", "uuid")
_GAUGES: dict[str, tuple[str, Callable[[GpuReading], float | None]]] = {
    "utilisation_ratio": ("Part of the time in which a kernel ran.", lambda one: one.utilisation),
    "memory_used_bytes": ("Memory in use, by every process.", lambda one: one.memory_used_bytes),
    "memory_total_bytes": ("Memory there is.", lambda one: one.memory_total_bytes),
    "temperature_celsius": ("Temperature of the chip.", lambda one: one.temperature_celsius),
    "power_watts": ("Power drawn.", lambda one: one.power_watts),
    "power_limit_watts": ("Power it may draw.", lambda one: one.power_limit_watts),
}


class GpuMonitor:
    """Samples the GPUs from time to time in a thread of its own, which also opens the driver: that can hang as well.

    Parameters
    ----------
    open_reader
        Opens what readings come from; raises `GpuUnreadableError` where there is nothing to read.
    interval_s
        Time between the end of one look and the next, seconds.
    stale_after_s
        Age of the newest look from which the GPUs count as not answering, seconds.
    clock
        Monotonic clock in seconds.
    """

    def __init__(
        self,
        open_reader: Callable[[], GpuReader] = GpuReader,
        *,
        interval_s: float = INTERVAL_S,
        stale_after_s: float = STALE_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_reader = open_reader
        self._interval_s = interval_s
        self._stale_after_s = stale_after_s
        self._clock = clock
        self._sample: _Sample | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="braggwatch-gpu", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def latest(self) -> tuple[GpuReading, ...]:
        """Return the newest readings at once, none where there is no GPU to read.

        GPUs whose driver has not returned for long are not answering.
        """
        sample = self._sample
        if sample is None:
            return ()
        if self._clock() - sample.taken_s > self._stale_after_s:
            return tuple(unanswered(one) for one in sample.readings)
        return sample.readings

    def close(self) -> None:
        """Stop sampling; a driver that doesn't return is left to itself."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        try:
            reader = self._open_reader()
        except GpuUnreadableError as error:
            logger.info("no GPU metrics: %s", error)
            return
        try:
            self._sample = _Sample(self._clock(), reader.read())
            logger.info("GPU metrics of %s", ", ".join(one.name for one in self._sample.readings))
            while not self._stop.wait(self._interval_s):
                self._sample = _Sample(self._clock(), reader.read())
        finally:
            reader.close()


@dataclass(frozen=True, slots=True)
class _Sample:
    taken_s: float
    readings: tuple[GpuReading, ...]


class GpuCollector(Collector):
    """Turns the newest readings into metric families at each scrape; no families where there are no GPUs.

    Parameters
    ----------
    latest
        Gives the newest readings at once.
    """

    def __init__(self, latest: Callable[[], tuple[GpuReading, ...]]) -> None:
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        """Yield the families with their series."""
        readings = self._latest()
        if readings:
            yield from gpu_families(readings)

    def describe(self) -> Iterator[Metric]:
        """Yield the families without series."""
        return gpu_families(())


def gpu_families(readings: tuple[GpuReading, ...]) -> Iterator[Metric]:
    """Yield every GPU metric with the series of these readings; a quantity that isn't told has no series."""
    info = GaugeMetricFamily("braggwatch_gpu_info", "A GPU and its driver.", labels=(*_LABELS, "name", "driver"))
    answering = GaugeMetricFamily("braggwatch_gpu_answering", "1 where the driver reaches the GPU.", labels=_LABELS)
    throttled = GaugeMetricFamily(
        "braggwatch_gpu_throttled", "1 where clocks are held down, by reason.", labels=(*_LABELS, "reason")
    )
    errors = CounterMetricFamily(
        "braggwatch_gpu_ecc_errors", "Memory errors since the driver was loaded.", labels=(*_LABELS, "kind")
    )
    gauges = {
        name: GaugeMetricFamily(f"braggwatch_gpu_{name}", text, labels=_LABELS) for name, (text, _) in _GAUGES.items()
    }
    for one in readings:
        labels = (str(one.index), one.uuid)
        info.add_metric((*labels, one.name, one.driver), 1)
        answering.add_metric(labels, one.answering)
        for name, (_, quantity) in _GAUGES.items():
            value = quantity(one)
            if value is not None:
                gauges[name].add_metric(labels, value)
        if one.throttled is not None:
            for reason in THROTTLE_REASONS:
                throttled.add_metric((*labels, reason), reason in one.throttled)
        for kind, count in one.ecc_errors.items():
            errors.add_metric((*labels, kind), count)
    yield from (info, answering, *gauges.values(), throttled, errors)
