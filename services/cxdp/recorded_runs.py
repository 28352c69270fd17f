"""Classifies recorded documents offline, with the same callback as in the live service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from braggwatch.callbacks.cxdp.preprocess.preprocessing import Preprocessor
from braggwatch.callbacks.cxdp.records import ScreeningReport
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.models.cxdp.classifier import Classifier
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.geometry.model import GeometryPreset


def screen_documents(
    records: Iterable[RecordedDocument],
    preset: GeometryPreset,
    preprocessor: Preprocessor,
    classifier: Classifier,
    settings: AssemblySettings | None = None,
    *,
    allow_untrained: bool = False,
    on_unrecorded: Callable[[UnrecordedRun], None] | None = None,
) -> Iterator[ScreeningReport]:
    """Yield each run's report as soon as its documents are complete; runs without a stop document come last.

    Parameters
    ----------
    records
        From a recording or an importer; their exceptions are passed on.
    preset, preprocessor, classifier, settings, allow_untrained, on_unrecorded
        See `ScreeningCallback`.
    """
    reports: list[ScreeningReport] = []
    callback = ScreeningCallback(
        preset,
        preprocessor,
        classifier,
        reports.append,
        settings,
        allow_untrained=allow_untrained,
        on_unrecorded=on_unrecorded,
    )
    for record in records:
        callback(record.name, record.document)
        yield from _drain(reports)
    callback.flush()
    yield from _drain(reports)


def _drain(reports: list[ScreeningReport]) -> list[ScreeningReport]:
    drained = list(reports)
    reports.clear()
    return drained
