"""The live verdicts on one run of diffraction patterns, as a Bluesky run of its own that names the raw one.

Its start and descriptor go out with the first pattern, an event with each pattern, and at the end an event for each
particle and the stop document. Every uid follows from the raw run, the model and the pattern's number, so a repeat is
recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import NAMESPACE_URL, uuid5

from braggwatch.callbacks.sadp.records import CrystalSoFar, ParticleState, PatternResult, PatternRunResult
from braggwatch.models.verdict import ModelIdentity

PATTERNS = "primary"
PARTICLES = "particles"
_DTYPES = {str: "string", int: "integer", float: "number"}

Document = tuple[str, dict[str, object]]
Fields = dict[str, str | int | float]


def derived_pattern_uid(run_uid: str, model: ModelIdentity | None) -> str:
    """Return the derived run's uid: the same for the same raw run and model."""
    return str(uuid5(NAMESPACE_URL, f"braggwatch:sadp:{run_uid}:{'no-model' if model is None else model.id}"))


def pattern_fields(result: PatternResult) -> Fields:
    """Return a pattern as flat event data, the same keys for every pattern of a run; text is empty where unknown."""
    return {
        "particle": result.particle,
        "visit": result.visit or "",
        "stated_zone": _zone(result.stated_zone),
        "outcome": result.outcome.value,
        "label": result.label or "",
        "set_aside": "" if result.set_aside is None else result.set_aside.value,
        "reason": result.reason or "",
        "spots": result.spots,
        **_crystal_fields(result.crystal),
        "run_uid": result.run_uid,
        "run_stream": result.stream,
        "run_seq_num": result.seq_num,
        "latency_s": result.latency_s,
        **_model_fields(result.model),
    }


def particle_fields(state: ParticleState) -> Fields:
    """Return a particle as flat event data."""
    return {
        "particle": state.particle,
        "all_patterns": state.patterns,
        "patterns_set_aside": state.other,
        **_crystal_fields(state.crystal),
        "next_zone": _zone(state.next_zones[0][0]) if state.next_zones else "",
        "run_uid": state.run_uid,
    }


def opening(result: PatternResult) -> Iterator[Document]:
    """Yield start and descriptor of the derived run that a pattern belongs to."""
    uid = derived_pattern_uid(result.run_uid, result.model)
    start: dict[str, object] = {
        "uid": uid,
        "time": result.run_started_at,
        "original_run_uid": result.run_uid,
        "purpose": "braggwatch electron diffraction",
    }
    if result.scan_id is not None:
        start["original_scan_id"] = result.scan_id
    yield "start", start
    yield "descriptor", _descriptor(uid, PATTERNS, result.run_started_at, pattern_fields(result))


def pattern_event(result: PatternResult) -> Document:
    """Return the event of one pattern."""
    uid = derived_pattern_uid(result.run_uid, result.model)
    return "event", _event(uid, PATTERNS, result.number, result.judged_at, pattern_fields(result))


def closing(result: PatternRunResult, particles: Sequence[ParticleState]) -> Iterator[Document]:
    """Yield an event for each particle, and the stop document."""
    uid = derived_pattern_uid(result.run_uid, result.model)
    for number, state in enumerate(particles, start=1):
        fields = particle_fields(state)
        if number == 1:
            yield "descriptor", _descriptor(uid, PARTICLES, result.ended_at, fields)
        yield "event", _event(uid, PARTICLES, number, result.ended_at, fields)
    stop: dict[str, object] = {
        "uid": str(uuid5(NAMESPACE_URL, f"{uid}:stop")),
        "run_start": uid,
        "time": result.ended_at,
        "exit_status": "success",
        "reason": f"{result.ending}: {result.reason}" if result.reason else result.ending.value,
        "num_events": {PATTERNS: result.judged, PARTICLES: len(particles)},
    }
    yield "stop", stop


def _crystal_fields(crystal: CrystalSoFar) -> Fields:
    best = crystal.best
    return {
        "patterns": crystal.patterns,
        "visits": crystal.visits,
        "group": "" if best is None else best[0],
        **{f"product_{name}": value for name, value in crystal.product.items()},
        **{f"mean_{name}": value for name, value in crystal.mean.items()},
    }


def _model_fields(model: ModelIdentity | None) -> Fields:
    if model is None:
        return {}
    return {"model_id": model.id, "model_sha256": model.sha256, "model_runtime": model.runtime}


def _zone(zone: tuple[int, int, int] | None) -> str:
    return "" if zone is None else " ".join(str(index) for index in zone)


def _descriptor(uid: str, stream: str, time: float, fields: Fields) -> dict[str, object]:
    return {
        "uid": str(uuid5(NAMESPACE_URL, f"{uid}:{stream}")),
        "run_start": uid,
        "time": time,
        "name": stream,
        "data_keys": {
            name: {"source": "braggwatch", "dtype": _DTYPES[type(value)], "shape": []} for name, value in fields.items()
        },
        "configuration": {},
        "hints": {},
        "object_keys": {},
    }


def _event(uid: str, stream: str, number: int, time: float, fields: Fields) -> dict[str, object]:
    return {
        "uid": str(uuid5(NAMESPACE_URL, f"{uid}:{stream}:{number}")),
        "descriptor": str(uuid5(NAMESPACE_URL, f"{uid}:{stream}")),
        "seq_num": number,
        "time": time,
        "data": dict(fields),
        "timestamps": dict.fromkeys(fields, time),
        "filled": {},
    }
