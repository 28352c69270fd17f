"""The live verdicts on one run of diffraction patterns, as a Bluesky run of its own that names the raw one.

Its start and descriptor go out with the first pattern, an event with each pattern, and at the end an event for each
particle and the stop document. Every uid follows from the raw run, the model and the pattern's number, so a repeat is
recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from braggwatch.callbacks.sadp.records import CrystalSoFar, ParticleState, PatternResult, PatternRunResult
from braggwatch.models.verdict import ModelIdentity
from braggwatch.services.live.derived_documents import DerivedRun, DerivedStream, Document, Fields, uid_of

PATTERNS = "primary"
PARTICLES = "particles"


def derived_pattern_uid(run_uid: str, model: ModelIdentity | None) -> str:
    """Return the derived run's uid: the same for the same raw run and model."""
    return uid_of("braggwatch", "sadp", run_uid, "no-model" if model is None else model.id)


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
    run = _run(result)
    yield run.start
    yield _descriptor(_patterns(run, result))


def pattern_event(result: PatternResult) -> Document:
    """Return the event of one pattern."""
    stream = _patterns(_run(result), result)
    return stream.event(pattern_fields(result), result.judged_at, result.number, f"{PATTERNS}:{result.number}")


def closing(result: PatternRunResult, particles: Sequence[ParticleState]) -> Iterator[Document]:
    """Yield an event for each particle, and the stop document."""
    uid = derived_pattern_uid(result.run_uid, result.model)
    run = DerivedRun(uid, result.started_at, {}, {PATTERNS: result.judged, PARTICLES: 0})
    if particles:
        stream = run.stream(PARTICLES, particle_fields(particles[0]), result.ended_at, PARTICLES)
        yield _descriptor(stream)
        for number, state in enumerate(particles, start=1):
            yield stream.event(particle_fields(state), result.ended_at, number, f"{PARTICLES}:{number}")
    yield run.stop(result.ended_at, f"{result.ending}: {result.reason}" if result.reason else result.ending.value)


def _run(result: PatternResult) -> DerivedRun:
    metadata: dict[str, object] = {"original_run_uid": result.run_uid, "purpose": "braggwatch electron diffraction"}
    if result.scan_id is not None:
        metadata["original_scan_id"] = result.scan_id
    return DerivedRun(derived_pattern_uid(result.run_uid, result.model), result.run_started_at, metadata)


def _patterns(run: DerivedRun, result: PatternResult) -> DerivedStream:
    return run.stream(PATTERNS, pattern_fields(result), result.run_started_at, PATTERNS)


def _descriptor(stream: DerivedStream) -> Document:
    name, document = stream.descriptor
    # Empty, optional, and never in these descriptors: they stay as consumers know them.
    document.pop("object_classes", None)
    return name, document


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
