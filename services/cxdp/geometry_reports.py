"""Examines the geometry of recorded scans: each run's curve is put together as the live service does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from braggwatch.callbacks.cxdp.geometry_check.examining import ExaminedGeometry, examine_geometry
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import CUBE
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.quality import invalid_quality
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.cxdp.recorded_runs import screen_documents
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.geometry.model import GeometryPreset

_EXAMINED = "only its geometry was examined"


@dataclass(frozen=True, slots=True)
class GeometryReport:
    """One run's geometry.

    Attributes
    ----------
    scan
        Its scan number, else the beginning of its uid.
    """

    run_uid: str
    scan: str
    examined: ExaminedGeometry


class _Examiner:
    """A preprocessing that examines the geometry of each curve instead."""

    def __init__(self, settings: PreprocessingSettings) -> None:
        self._settings = settings
        self.last: ExaminedGeometry | None = None

    def __call__(self, curve: RockingCurve) -> ModelInput:
        self.last = examine_geometry(curve, self._settings)
        nothing = np.zeros((CUBE, CUBE, CUBE), dtype=np.float32)
        return ModelInput(curve.run_uid, nothing, np.eye(3), np.zeros(3), invalid_quality(_EXAMINED))


class _NoNetwork:
    """Stands where a classifier does; it is never asked."""

    identity = ModelIdentity(name="none", version="0", sha256="0" * 64, runtime="none")

    def classify(self, intensity: object) -> Verdict:  # noqa: ARG002 - a classifier's signature
        return Verdict.without_class(Outcome.INVALID, _EXAMINED)


def geometry_reports(
    records: Iterable[RecordedDocument],
    preset: GeometryPreset,
    preprocessing: PreprocessingSettings,
    assembly: AssemblySettings | None = None,
    on_unrecorded: Callable[[UnrecordedRun], None] | None = None,
) -> Iterator[GeometryReport]:
    """Yield a report for each run that would get a record.

    Parameters
    ----------
    records
        From a recording or an importer; their exceptions are passed on.
    preset, assembly, on_unrecorded
        See `ScreeningCallback`.
    """
    examiner = _Examiner(preprocessing)
    for report in screen_documents(records, preset, examiner, _NoNetwork(), assembly, on_unrecorded=on_unrecorded):
        result = report.result
        examined = examiner.last or ExaminedGeometry(None, result.verdict.reason)
        examiner.last = None
        scan = str(result.scan_id) if result.scan_id is not None else result.run_uid[:8]
        yield GeometryReport(result.run_uid, scan, examined)
