"""What it takes to be told of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunResult
from braggwatch.services.settings import FeedbackSettings
from braggwatch.sim.errors import BraggwatchError


class SinkError(BraggwatchError):
    """A sink could not take a result now; the same revision will be offered again."""


class Sink(Protocol):
    """One way out for results; a sink derives from it and takes up what it can tell.

    `publish` and `close` are called by one thread of its own. Delivery is at least once: a result may come again with
    the same run uid, model id and revision, and must then mean nothing new.
    """

    name: str
    """One word, fit for a metric's label; the outbox is kept under it."""

    def publish(self, result: ScreeningResult) -> None:
        """Hand one result over.

        Raises
        ------
        SinkError
            Where it could not; nothing else is expected.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...

    def provisional(self, verdict: ProvisionalVerdict) -> None:
        """Take note of a verdict on a run that goes on. Called by the thread that judges: returns at once."""

    def beat(self) -> None:
        """Take note that scans can be judged. Called at each turn of the loop that judges: returns at once."""


@runtime_checkable
class PatternSink(Protocol):
    """What a sink may take besides: the verdicts on diffraction patterns, in the order in which they were stored."""

    def publish_pattern(self, result: PatternResult) -> None:
        """Hand over one pattern's record.

        Raises
        ------
        SinkError
            Where it could not; nothing else is expected.
        """
        ...

    def publish_pattern_run(self, result: PatternRunResult, particles: tuple[ParticleState, ...]) -> None:
        """Hand over the end of a run of patterns, with its particles.

        Raises
        ------
        SinkError
            Where it could not; nothing else is expected.
        """
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may know of the service beside its own settings.

    Attributes
    ----------
    epoch
        Number of this life of the service, as the store gives it out.
    classes
        Name of a modality → the classes that its verdicts choose among.
    """

    epoch: int
    classes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class SinkKind:
    """A kind of sink, as `braggwatch.services.feedback.registry` lists it.

    Attributes
    ----------
    name
        The name of its sink.
    is_enabled
        Whether the settings ask for it.
    open
        Makes the sink; raises `SettingsError` where its settings can't be used.
    """

    name: str
    is_enabled: Callable[[FeedbackSettings], bool]
    open: Callable[[FeedbackSettings, SinkContext], Sink]
