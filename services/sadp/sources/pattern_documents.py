"""Publish frames from any source as a Bluesky run of diffraction patterns, following the live stream's contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import event_model
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

DETECTOR = "pattern"
"""Data key of the frames."""

Publish = Callable[[str, dict[str, object]], object]


class PatternSource(BaseModel):
    """What is known about the patterns before the first one arrives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inv_nm_per_px: FiniteFloat | None = Field(description="Scale, 1/nm per pixel; None: unknown.")
    sample: str | None = None
    origin: str = Field(description="Source of the patterns, for the descriptor, e.g. 'folder:/data/grain7'.")
    metadata: dict[str, object] = Field(default_factory=dict, description="Added to the start document.")


@dataclass(frozen=True, slots=True)
class PatternFacts:
    """Metadata of one frame; empty text if unknown."""

    particle: str = ""
    visit: str = ""
    zone: str = ""
    name: str = ""


class PatternRunWriter:
    """Publishes one run; frames may differ in shape, each shape gets its own descriptor.

    Parameters
    ----------
    publish
        Takes name and document, e.g. `braggwatch.services.recording.replay.ReadyPublisher`.
    """

    def __init__(self, publish: Publish, source: PatternSource) -> None:
        self._publish = publish
        self._source = source
        metadata: dict[str, object] = {"plan_name": "patterns", "purpose": "electron diffraction", **source.metadata}
        if source.sample is not None:
            metadata["sample_name"] = source.sample
        self._run = event_model.compose_run(metadata=metadata)
        self._streams: dict[tuple[tuple[int, ...], str, float | None], event_model.ComposeDescriptorBundle] = {}
        self.frames = 0
        publish("start", dict(self._run.start_doc))

    @property
    def uid(self) -> str:
        """Uid of the run."""
        return str(self._run.start_doc["uid"])

    def frame(self, frame: NDArray[np.generic], facts: PatternFacts, inv_nm_per_px: float | None = None) -> None:
        """Publish one frame.

        Parameters
        ----------
        frame
            (rows, columns).
        inv_nm_per_px
            Scale stated by the frame; the source's takes precedence.
        """
        stated = self._source.inv_nm_per_px
        scale = stated if stated is not None else inv_nm_per_px
        key = (frame.shape, frame.dtype.str, scale)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = self._describe(frame, scale)
            self._publish("descriptor", dict(stream.descriptor_doc))
        data: dict[str, object] = {
            DETECTOR: np.ascontiguousarray(frame),
            "particle": facts.particle,
            "zone_visit": facts.visit,
            "zone": facts.zone,
            "name": facts.name,
        }
        now = time.time()
        event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, now), time=now, validate=False)
        self._publish("event", dict(event))
        self.frames += 1

    def close(self, exit_status: str = "success", reason: str = "") -> None:
        """Publish the stop document."""
        self._publish("stop", dict(self._run.compose_stop(exit_status=exit_status, reason=reason)))  # pyright: ignore[reportArgumentType]

    def _describe(self, frame: NDArray[np.generic], scale: float | None) -> event_model.ComposeDescriptorBundle:
        origin = self._source.origin
        words: Mapping[str, object] = {"source": origin, "dtype": "string", "shape": []}
        keys: dict[str, object] = {
            DETECTOR: {
                "source": origin,
                "dtype": "array",
                "shape": list(frame.shape),
                "dtype_numpy": frame.dtype.str,
                "modality": "sadp",
                "inv_nm_per_px": scale,
            },
            "particle": words,
            "zone_visit": words,
            "zone": words,
            "name": words,
        }
        # Each shape needs its own stream name: a stream has one shape.
        name = "primary" if not self._streams else f"primary_{len(self._streams) + 1}"
        return self._run.compose_descriptor(name=name, data_keys=keys, hints={})  # pyright: ignore[reportArgumentType]
