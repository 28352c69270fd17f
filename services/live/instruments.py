"""What every part of a running service reports to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from braggwatch.services.live.accelerator_fallbacks import AcceleratorFallbacks
from braggwatch.services.live.health import Health
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics


@dataclass(frozen=True, slots=True)
class Instruments:
    """Metrics, health, and the list of accelerators for which the CPU stands in; each is thread-safe."""

    metrics: ServiceMetrics
    health: Health
    fallbacks: AcceleratorFallbacks

    @classmethod
    def of(cls, metrics: ServiceMetrics | None = None, health: Health | None = None) -> Self:
        """Return instruments that belong together; what is not given is made, and exports nothing."""
        metrics = metrics or NoMetrics()
        health = health or Health(on_change=metrics.ready)
        return cls(metrics, health, AcceleratorFallbacks(metrics, health))
