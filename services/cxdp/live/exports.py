"""Exports: a table of all runs as CSV, and one run's model input as NPZ."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.records import ScreeningResult

_COLUMNS_BEFORE = (
    "finished_at",
    "scan_id",
    "run_uid",
    "revision",
    "sample",
    "x",
    "y",
    "outcome",
    "label",
    "hkl",
    "burgers_seen",
    "burgers_blind",
    "blind_directions",
)
_COLUMNS_AFTER = (
    "confidence",
    "prediction_set",
    "ood_score",
    "ood_threshold",
    "frames_received",
    "frames_expected",
    "size_nm",
    "voxel_size_inv_A",
    "d_spacing_A",
    "latency_s",
    "truth",
    "model",
    "model_sha256",
    "reason",
    "trained_for",
)


def csv_lines(results: Callable[[], Iterable[ScreeningResult]], classes: Sequence[str]) -> Iterator[str]:
    """Yield a header and one line per result, in the given order; unknown values are empty cells.

    Parameters
    ----------
    results
        Gives the results; asked twice, first for the classes that they have besides ``classes``, which earlier models
        knew.
    classes
        Of the model that serves now, in the order of its outputs: each has a column of probabilities.
    """
    named = list(dict.fromkeys([*classes, *(name for result in results() for name in result.verdict.probabilities)]))
    columns = (*_COLUMNS_BEFORE, *(f"p_{name}" for name in named), *_COLUMNS_AFTER)
    yield _line(columns)
    for result in results():
        row = _row(result)
        yield _line(row.get(column) for column in columns)


def model_input_npz(result: ScreeningResult, intensity: NDArray[np.float32]) -> bytes:
    """Pack a run's model input as a self-contained NPZ; loads with ``allow_pickle=False``.

    Arrays: ``intensity`` (64, 64, 64) float32 counts, ``voxel_size_inv_A`` float64 (NaN where unknown), ``run_uid``
    and ``result`` (the record as JSON) as text.
    """
    voxel = float("nan") if result.quality is None else result.quality.voxel_size_inv_A
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        intensity=intensity,
        voxel_size_inv_A=np.float64(voxel),
        run_uid=np.str_(result.run_uid),
        result=np.str_(result.model_dump_json()),
    )
    return buffer.getvalue()


def safe_file_name(run_uid: str, suffix: str) -> str:
    """Return a file name of letters, digits, dots, dashes and underscores only."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", run_uid)[:80] + suffix


def _row(result: ScreeningResult) -> dict[str, object]:
    verdict, quality = result.verdict, result.quality
    burgers = result.burgers
    known = burgers if burgers is not None and burgers.known else None
    return {
        **{f"p_{name}": value for name, value in verdict.probabilities.items()},
        "finished_at": datetime.fromtimestamp(result.finished_at, UTC).isoformat(timespec="milliseconds"),
        "scan_id": result.scan_id,
        "run_uid": result.run_uid,
        "revision": result.revision,
        "sample": result.sample,
        "x": result.position.get("x"),
        "y": result.position.get("y"),
        "outcome": verdict.outcome.value,
        "label": verdict.label,
        # With spaces and parentheses: a spreadsheet reads 1-11 as a date and -111 as a number.
        "hkl": burgers and burgers.hkl and "({} {} {})".format(*burgers.hkl),
        "burgers_seen": known and known.seen_along,
        "burgers_blind": known and known.blind_along,
        "blind_directions": result.blind_directions,
        "confidence": verdict.confidence,
        "prediction_set": " ".join(verdict.prediction_set),
        "ood_score": verdict.ood_score,
        "ood_threshold": verdict.ood_threshold,
        "frames_received": result.frames_received,
        "frames_expected": result.frames_expected,
        "size_nm": quality and quality.size_nm,
        "voxel_size_inv_A": quality and quality.voxel_size_inv_A,
        "d_spacing_A": quality and quality.d_spacing_A,
        "latency_s": result.latency_s,
        "truth": result.truth,
        "model": verdict.model and verdict.model.id,
        "model_sha256": verdict.model and verdict.model.sha256,
        "reason": verdict.reason,
        "trained_for": result.trained_for and result.trained_for.answer,
    }


def _line(values: Iterable[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([_cell(value) for value in values])
    return buffer.getvalue()


def _cell(value: object) -> object:
    # A spreadsheet executes text that begins like a formula; sample names are untrusted input.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return "" if value is None else value
