"""The interface of a feedback sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunResult
from braggwatch.services.settings import FeedbackSettings
from braggwatch.sim.errors import BraggwatchError


class SinkError(BraggwatchError):
    """A sink could not accept a result; the same revision will be offered again."""


class Sink(Protocol):
    """One destination for results; a sink derives from it and overrides what it supports.

    Each sink has one thread, which calls `publish` and `close`. Delivery is at least once: a result may be repeated
    with the same run uid, model id and revision; the repeat must have no further effect.
    """

    name: str
    """One word, usable as a metric label; also the key of the outbox."""

    def publish(self, result: ScreeningResult) -> None:
        """Deliver one result.

        Raises
        ------
        SinkError
            If it could not; nothing else is expected.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...

    def provisional(self, verdict: ProvisionalVerdict) -> None:
        """Take a provisional verdict. Called by the worker thread: must return at once."""

    def beat(self) -> None:
        """Take note that scans can be classified. Called at each turn of the worker's loop: must return at once."""


@runtime_checkable
class PatternSink(Protocol):
    """A sink that also takes verdicts on diffraction patterns, in the order in which they were stored."""

    def publish_pattern(self, result: PatternResult) -> None:
        """Deliver the record of one pattern.

        Raises
        ------
        SinkError
            If it could not; nothing else is expected.
        """
        ...

    def publish_pattern_run(self, result: PatternRunResult, particles: tuple[ParticleState, ...]) -> None:
        """Deliver the final record of a run of patterns, with its particles.

        Raises
        ------
        SinkError
            If it could not; nothing else is expected.
        """
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink knows of the service besides its own settings.

    Attributes
    ----------
    epoch
        Number of this start of the service, from the store.
    classes
        Name of a modality → classes of its model.
    """

    epoch: int
    classes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class SinkKind:
    """A kind of sink, as `braggwatch.services.feedback.registry` lists it.

    Attributes
    ----------
    name
        Name of the sink.
    is_enabled
        Whether the settings enable it.
    open
        Makes the sink; raises `SettingsError` if its settings can't be used.
    """

    name: str
    is_enabled: Callable[[FeedbackSettings], bool]
    open: Callable[[FeedbackSettings, SinkContext], Sink]
