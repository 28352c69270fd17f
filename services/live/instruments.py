"""The metrics, health and lists that every part of a running service reports to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from braggwatch.services.live.accelerator_fallbacks import AcceleratorFallbacks
from braggwatch.services.live.health import Health
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.live.unrecorded_board import UnrecordedBoard


@dataclass(frozen=True, slots=True)
class Instruments:
    """Metrics, health, fallbacks from accelerator to CPU, and runs without a record; each is thread-safe."""

    metrics: ServiceMetrics
    health: Health
    fallbacks: AcceleratorFallbacks
    unrecorded: UnrecordedBoard = field(default_factory=UnrecordedBoard)

    @classmethod
    def of(cls, metrics: ServiceMetrics | None = None, health: Health | None = None) -> Self:
        """Return connected instruments; a missing one is created and exports nothing."""
        metrics = metrics or NoMetrics()
        health = health or Health(on_change=metrics.ready)
        return cls(metrics, health, AcceleratorFallbacks(metrics, health))
