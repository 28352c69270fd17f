"""Publishes a result as a derived Bluesky run: start (with the raw run's uid), descriptor, one event, stop."""

from __future__ import annotations

from collections.abc import Iterator

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.services.live.derived_documents import DerivedRun, Document, uid_of

STREAM_NAME = "primary"


def derived_uid(result: ScreeningResult) -> str:
    """Return the derived run's uid, determined by run, model and revision, so that repeats can be recognised."""
    model = result.verdict.model.id if result.verdict.model is not None else "no-model"
    return uid_of("braggwatch", result.run_uid, model, result.revision)


def flat_fields(result: ScreeningResult, epoch: int) -> dict[str, str | int | float]:
    """Return a result as flat event data. Unknown values are left out, never replaced by a number."""
    verdict = result.verdict
    fields: dict[str, str | int | float | None] = {
        "verdict": verdict.headline,
        "verdict_in_words": result.in_words,
        "outcome": verdict.outcome.value,
        "label": verdict.label,
        "reason": verdict.reason,
        "confidence": verdict.confidence,
        "prediction_set": ",".join(verdict.prediction_set) if verdict.prediction_set else None,
        "ood_score": verdict.ood_score,
        "ood_threshold": verdict.ood_threshold,
        "completeness": result.completeness,
        "frames_expected": result.frames_expected,
        "frames_received": result.frames_received,
        "run_uid": result.run_uid,
        "revision": result.revision,
        "epoch": epoch,
        "latency_s": result.latency_s,
        **{f"probability_{name}": float(value) for name, value in verdict.probabilities.items()},
    }
    if verdict.model is not None:
        fields |= {
            "model_id": verdict.model.id,
            "model_sha256": verdict.model.sha256,
            "model_runtime": verdict.model.runtime,
        }
    if (burgers := result.burgers) is not None:
        fields |= {
            "hkl": None if burgers.hkl is None else "({} {} {})".format(*burgers.hkl),
            "burgers_seen": burgers.seen_along if burgers.known else None,
            "burgers_blind": burgers.blind_along if burgers.known else None,
            "blind_directions": result.blind_directions,
            "excludes": burgers.statement,
        }
    if (trained := result.trained_for) is not None:
        fields |= {"trained_for": trained.answer, "training": trained.statement}
    return {key: value for key, value in fields.items() if value is not None}


def derived_run(result: ScreeningResult, epoch: int) -> Iterator[Document]:
    """Yield the derived run's documents, identical byte for byte each time.

    Its start document has the raw run's uid as ``original_run_uid``.
    """
    fields = flat_fields(result, epoch)
    now = result.finished_at
    metadata: dict[str, object] = {
        "original_run_uid": result.run_uid,
        "purpose": "braggwatch screening",
        "revision": result.revision,
        "epoch": epoch,
    }
    if result.scan_id is not None:
        metadata["original_scan_id"] = result.scan_id
    if result.sample is not None:
        metadata["sample_name"] = result.sample
    run = DerivedRun(derived_uid(result), now, metadata)
    yield run.start
    stream = run.stream(STREAM_NAME, fields, now, "descriptor")
    yield stream.descriptor
    yield stream.event(fields, now, 1, "event")
    yield run.stop(now)
