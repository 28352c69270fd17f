"""Compares what a run's documents hold with what a geometry preset reads: what fits, what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from braggwatch.callbacks.cxdp.run.geometry_resolution import BASELINE, scanned_signal
from braggwatch.callbacks.cxdp.run.missing_detector import missing_detector
from braggwatch.callbacks.documents.contents import KeyContents, RunContents
from braggwatch.sim.geometry.model import GeometryPreset
from braggwatch.sim.geometry.resolve import preset_signals


class FitLine(BaseModel):
    """One thing that a preset reads from documents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="What the preset uses it for, e.g. 'detector_field'.")
    field: str = Field(description="Its key in the documents.")
    found: str | None = Field(description="Where it is, e.g. 'stream primary'; None where it is missing.")
    optional: bool = Field(default=False, description="Whether runs are judged without it too.")
    problem: str | None = Field(default=None, description="What is wrong, and what to do; None if it fits.")


def preset_fit(preset: GeometryPreset, contents: RunContents) -> tuple[FitLine, ...]:
    """Return a line for each field that a preset reads, the detector first."""
    return tuple(_lines(preset, contents))


def _lines(preset: GeometryPreset, contents: RunContents) -> Iterator[FitLine]:
    yield _detector(preset, contents)
    scanned = scanned_signal(preset).signal
    yield _signal(f"scanned circle {preset.scanned}", scanned, contents, moving=True)
    for signal in preset_signals(preset):
        if signal != scanned:
            yield _signal("geometry value", signal, contents)
    for name, field in (("monitor_field", preset.monitor_field), ("transmission_field", preset.transmission_field)):
        if field is not None:
            found = _where(field, contents)
            problem = None if found is not None else "not corrected for: set it to null if there is none"
            yield FitLine(name=name, field=field, found=found, optional=True, problem=problem)


def _detector(preset: GeometryPreset, contents: RunContents) -> FitLine:
    field = preset.detector_field
    for stream in contents.streams:
        for key in stream.keys:
            if key.name == field and stream.name != BASELINE:
                found = f"stream {stream.name}, {' × '.join(map(str, key.frame_shape)) or 'shape unknown'}"
                return FitLine(name="detector_field", field=field, found=found, problem=_shape_problem(preset, key))
    return FitLine(name="detector_field", field=field, found=None, problem=missing_detector(preset, contents))


def _shape_problem(preset: GeometryPreset, key: KeyContents) -> str | None:
    sides = key.frame_shape[-2:]
    if len(sides) < 2:
        return None
    on_chip = sides[::-1] if preset.transposed else sides
    largest = tuple(side // factor for side, factor in zip(preset.chip_shape, preset.binning, strict=True))
    if all(side <= most for side, most in zip(on_chip, largest, strict=True)):
        return None
    return f"frames are larger than the preset's chip of {largest[0]} × {largest[1]}: chip_shape or transposed is wrong"


def _signal(name: str, field: str, contents: RunContents, *, moving: bool = False) -> FitLine:
    found = _where(field, contents)
    if found is None and moving and contents.states_fly:
        found = "start document, 'fly'"
    if found is None:
        problem = (
            "in no event, baseline, configuration or start document: add its device to the baseline stream "
            "(SupplementalData), or state a number in the preset"
        )
    elif moving and found in ("baseline", "configuration", "start document"):
        problem = "not read with each frame: is another circle scanned?"
    else:
        problem = None
    return FitLine(name=name, field=field, found=found, problem=problem)


def _where(field: str, contents: RunContents) -> str | None:
    """Return where a field is, in the order in which geometry is looked up; None if it is nowhere."""
    names = {stream.name: {key.name for key in stream.keys} for stream in contents.streams}
    for stream in sorted(names, key=lambda name: name == BASELINE):
        if field in names[stream]:
            return BASELINE if stream == BASELINE else f"stream {stream}"
    if any(field in stream.configuration for stream in contents.streams):
        return "configuration"
    return "start document" if field in contents.start_numbers else None
