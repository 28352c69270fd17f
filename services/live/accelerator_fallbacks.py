"""Keeps track of the parts of a running service that fell back from a failed accelerator to the CPU."""

from __future__ import annotations

import threading

from braggwatch.services.live.health import Health
from braggwatch.services.live.service_metrics import ServiceMetrics


class AcceleratorFallbacks:
    """Records fallbacks and reports them to metrics and health; thread-safe.

    Verdicts stay correct but come later: the service is degraded until a restart tries the accelerator again.

    Parameters
    ----------
    metrics
        Told that the CPU has taken over.
    health
        Its condition ``model`` is set to degraded, with the reasons.
    """

    def __init__(self, metrics: ServiceMetrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._lock = threading.Lock()
        self._reasons: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What failed and what replaced it, in order of occurrence."""
        return self._reasons

    def tell(self, reason: str) -> None:
        """Record one fallback."""
        with self._lock:
            self._reasons = (*self._reasons, reason)
        self._metrics.fallback(True)
        self._health.degraded("model", "; ".join(self._reasons))
