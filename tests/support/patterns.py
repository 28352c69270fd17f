"""Documents of diffraction patterns, and a judge that needs no trained network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal

import event_model
import numpy as np

from braggwatch.models.sadp.classifier import PatternJudgement
from braggwatch.models.sadp.crystal import pattern_groups
from braggwatch.models.sadp.groups import GroupTable, ZoneMember
from braggwatch.models.sadp.measured import MeasuredPattern
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict

GROUPS = ("213", "221", "225", "227", "229")
ZONES = ((0, 0, 1), (0, 1, 1), (1, 1, 1), (0, 1, 2))


def small_table() -> GroupTable:
    """Five groups along four zones: [001] tells 213 from the rest, [011] nothing, [111] and [012] some of them."""
    classes = {
        (0, 0, 1): (0, 1, 1, 1, 1),
        (0, 1, 1): (2, 2, 2, 2, 2),
        (1, 1, 1): (3, 4, 4, 3, 4),
        (0, 1, 2): (5, 5, 6, 7, 7),
    }
    members = [
        ZoneMember(class_index=index, group=group, zone=zone)
        for zone, indices in classes.items()
        for group, index in zip(GROUPS, indices, strict=True)
    ]
    return GroupTable(groups=GROUPS, members=tuple(members))


class QuickJudge:
    """Names a class by the number of spots: everything before it is real, and what it says is easy to foresee."""

    identity = ModelIdentity(name="quick", version="1.0.0", sha256="0" * 64, runtime="test")
    classes = 8

    def __init__(self) -> None:
        self.table = small_table()

    def classify(self, measured: MeasuredPattern) -> PatternJudgement:
        if measured.problem is not None:
            verdict = Verdict(outcome=Outcome.INVALID, reason=measured.problem, model=self.identity)
            return PatternJudgement(verdict=verdict, spots=measured.quality.spots)
        probabilities = np.full(self.classes, 0.02)
        probabilities[measured.quality.spots % self.classes] += 1.0 - probabilities.sum()
        best = int(probabilities.argmax())
        groups = pattern_groups(probabilities, self.table)[0]
        verdict = Verdict(
            outcome=Outcome.CLASSIFIED,
            label=f"class {best}",
            probabilities={f"class {n}": float(p) for n, p in enumerate(probabilities)},
            confidence=float(probabilities[best]),
            model=self.identity,
        )
        return PatternJudgement(
            verdict=verdict,
            groups={name: float(p) for name, p in zip(GROUPS, groups, strict=True)},
            spots=measured.quality.spots,
        )


@cache
def net(spacing_px: float = 22.0, reach: int = 2, size: int = 128) -> np.ndarray:
    """A square net of spots without noise, brighter towards the middle, (size, size) uint16."""
    rows, columns = np.mgrid[:size, :size]
    middle = (size - 1) / 2
    clean = np.full((size, size), 20.0)
    for x, y in itertools.product(range(-reach, reach + 1), repeat=2):
        if x or y:
            distance = (rows - middle - spacing_px * y) ** 2 + (columns - middle - spacing_px * x) ** 2
            clean += 3000.0 * np.exp(-0.5 * distance / 2.25) / (x * x + y * y)
    return clean.astype(np.uint16)


def noisy(frame: np.ndarray, seed: int) -> np.ndarray:
    """A frame with counting noise."""
    return np.random.default_rng(seed).poisson(frame).astype(np.uint16)


class PatternRunDocuments(list[tuple[str, Any]]):
    """The documents of one run as (name, document)."""

    @property
    def uid(self) -> str:
        return self[0][1]["uid"]

    def events(self) -> Iterator[dict[str, Any]]:
        return (doc for name, doc in self if name == "event")


def pattern_run(
    frames: Sequence[Any],
    *,
    particles: Sequence[str] | None = None,
    visits: Sequence[object] | None = None,
    zones: Sequence[object] | None = None,
    data_key: dict[str, Any] | None = None,
    start: dict[str, Any] | None = None,
    name: str = "primary",
    detector: str = "camera",
    exit_status: Literal["success", "abort", "fail"] = "success",
) -> PatternRunDocuments:
    """One run of inline patterns; ``data_key`` replaces what the detector's key declares."""
    declared = {"modality": "sadp", "inv_nm_per_px": 0.1} if data_key is None else data_key
    shape = list(np.shape(frames[0])) if np.ndim(frames[0]) == 2 else [128, 128]
    keys = {detector: {"source": "test", "dtype": "array", "shape": shape, **declared}}
    columns = {"particle": particles, "zone_visit": visits, "zone": zones}
    columns = {key: values for key, values in columns.items() if values is not None}
    for key in columns:
        keys[key] = {"source": "test", "dtype": "string", "shape": []}
    run = event_model.compose_run(metadata={"scan_id": 1, "sample_name": "foil", **(start or {})})
    documents = PatternRunDocuments([("start", run.start_doc)])
    stream = run.compose_descriptor(name=name, data_keys=keys)
    documents.append(("descriptor", stream.descriptor_doc))
    for number, frame in enumerate(frames):
        data = {detector: frame, **{key: values[number] for key, values in columns.items()}}
        event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0), validate=False)
        documents.append(("event", dict(event)))
    documents.append(("stop", run.compose_stop(exit_status=exit_status)))
    return documents
