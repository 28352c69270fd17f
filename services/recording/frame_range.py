"""Cut a recorded run down to a range of its frames, so that the result is a complete, shorter scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from braggwatch.sim.errors import InputError
from braggwatch.sim.validated import validated

Document = dict[str, object]


class FrameRange(BaseModel):
    """Frames ``first`` to ``stop - 1`` of the stream, zero-based, like a Python slice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: int = Field(ge=0)
    stop: int = Field(ge=1)
    stream: str = "primary"

    @model_validator(mode="after")
    def _not_empty(self) -> FrameRange:
        if self.stop <= self.first:
            raise ValueError(f"frame range {self.first}:{self.stop} is empty")
        return self

    @classmethod
    def parse(cls, text: str) -> FrameRange:
        """Read ``50:150``.

        Raises
        ------
        InputError
            If the text is not a range.
        """
        first, separator, stop = text.partition(":")
        if not separator or not first.strip().isdigit() or not stop.strip().isdigit():
            raise InputError(f"{text!r} is not a frame range: write FIRST:STOP, e.g. 50:150 for frames 50 to 149")
        with validated(text):
            return cls(first=int(first), stop=int(stop))


class FrameRangeFilter:
    """Keep only the events and stream datums of a range, renumbered from one; start and stop are updated to match.

    A datum whose event is dropped may stay: nothing refers to it. Event pages are not split.
    """

    def __init__(self, frames: FrameRange) -> None:
        self._range = frames
        self._descriptors: set[str] = set()
        self._events_kept: dict[str, int] = {}

    def __call__(self, name: str, doc: Mapping[str, object]) -> Document | None:
        """Return the document to publish instead, or None to drop it.

        Raises
        ------
        InputError
            If the stream was recorded as event pages.
        """
        match name:
            case "start":
                return self._start(doc)
            case "descriptor":
                if doc.get("name") == self._range.stream:
                    self._descriptors.add(str(doc.get("uid")))
                return dict(doc)
            case "event" if str(doc.get("descriptor")) in self._descriptors:
                return self._event(doc)
            case "stream_datum" if str(doc.get("descriptor")) in self._descriptors:
                return self._stream_datum(doc)
            case "event_page" if str(doc.get("descriptor")) in self._descriptors:
                raise InputError("a frame range can't be cut out of event pages")
            case "stop":
                return self._stop(doc)
            case _:
                return dict(doc)

    def _start(self, doc: Mapping[str, object]) -> Document:
        result = dict(doc)
        points = doc.get("num_points")
        if isinstance(points, int):
            remaining = max(min(self._range.stop, points) - self._range.first, 0)
            result["num_points"] = remaining
            if "num_intervals" in result:
                result["num_intervals"] = max(remaining - 1, 0)
        result["replay_frames"] = [self._range.first, self._range.stop]
        return result

    def _event(self, doc: Mapping[str, object]) -> Document | None:
        index = int(cast("int", doc["seq_num"])) - 1
        if not self._range.first <= index < self._range.stop:
            return None
        descriptor = str(doc["descriptor"])
        self._events_kept[descriptor] = self._events_kept.get(descriptor, 0) + 1
        return dict(doc) | {"seq_num": index - self._range.first + 1}

    def _stream_datum(self, doc: Mapping[str, object]) -> Document | None:
        numbers = cast("Mapping[str, int]", doc["seq_nums"])
        indices = cast("Mapping[str, int]", doc["indices"])
        first = max(numbers["start"], self._range.first + 1)
        stop = min(numbers["stop"], self._range.stop + 1)
        if first >= stop:
            return None
        begin = indices["start"] + first - numbers["start"]
        return dict(doc) | {
            "seq_nums": {"start": first - self._range.first, "stop": stop - self._range.first},
            "indices": {"start": begin, "stop": begin + stop - first},
        }

    def _stop(self, doc: Mapping[str, object]) -> Document:
        result = dict(doc)
        events = doc.get("num_events")
        if isinstance(events, Mapping) and self._range.stream in events:
            total = sum(self._events_kept.values())
            result["num_events"] = dict(cast("Mapping[str, object]", events)) | {self._range.stream: total}
        return result
