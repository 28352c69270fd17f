"""Classify recorded documents offline, with the same callback that classifies live ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from braggwatch.callbacks.cxdp.preprocess.preprocessing import Preprocessor
from braggwatch.callbacks.cxdp.records import ScreeningReport
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.models.cxdp.classifier import Classifier
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.geometry.model import GeometryPreset


def screen_documents(
    records: Iterable[RecordedDocument],
    preset: GeometryPreset,
    preprocessor: Preprocessor,
    classifier: Classifier,
    settings: AssemblySettings | None = None,
) -> Iterator[ScreeningReport]:
    """Yield each run's report as soon as its documents allow; runs without a stop document are reported last.

    Parameters
    ----------
    records
        From a recording or an importer; their errors pass through.
    preset, preprocessor, classifier, settings
        See `ScreeningCallback`.
    """
    reports: list[ScreeningReport] = []
    callback = ScreeningCallback(preset, preprocessor, classifier, reports.append, settings or AssemblySettings())
    for record in records:
        callback(record.name, record.document)
        yield from _drain(reports)
    callback.flush()
    yield from _drain(reports)


def _drain(reports: list[ScreeningReport]) -> list[ScreeningReport]:
    drained = list(reports)
    reports.clear()
    return drained
