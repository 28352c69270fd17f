"""The list of sinks. To add one: a module here, its settings group, and an entry in the list."""

from __future__ import annotations

from typing import Final

from braggwatch.services.feedback.publisher import DERIVED_RUNS
from braggwatch.services.feedback.pvs import PROCESS_VARIABLES
from braggwatch.services.live.sink import SinkKind
from braggwatch.services.settings import FeedbackSettings

SINKS: Final[tuple[SinkKind, ...]] = (DERIVED_RUNS, PROCESS_VARIABLES)


def enabled_sinks(settings: FeedbackSettings) -> tuple[SinkKind, ...]:
    """Return the sinks that the settings enable."""
    return tuple(kind for kind in SINKS if kind.is_enabled(settings))
