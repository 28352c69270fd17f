"""The parts of a running service in which the CPU took over from a failed accelerator, told to whoever watches."""

from __future__ import annotations

import threading

from braggwatch.services.live.health import Health
from braggwatch.services.live.service_metrics import ServiceMetrics


class AcceleratorFallbacks:
    """Collects what took over; thread-safe.

    Verdicts stay right and come later: the service is degraded, and stays so until a restart tries the accelerator
    again.

    Parameters
    ----------
    metrics
        Is told that the CPU stands in.
    health
        Its condition ``model`` is degraded, with the reasons.
    """

    def __init__(self, metrics: ServiceMetrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._lock = threading.Lock()
        self._reasons: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What failed and what goes on in its place, in the order in which it happened."""
        return self._reasons

    def tell(self, reason: str) -> None:
        """Take note of one."""
        with self._lock:
            self._reasons = (*self._reasons, reason)
        self._metrics.fallback(True)
        self._health.degraded("model", "; ".join(self._reasons))
