"""Judge recorded documents without any socket, with the very callback that judges live ones."""

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
    """Yield each run's report as soon as its documents allow; a run without its end is reported last.

    Parameters
    ----------
    records
        From a recording or an importer; what they raise passes through.
    preset, preprocessor, classifier, settings
        As `ScreeningCallback` takes them.
    """
    reports: list[ScreeningReport] = []
    callback = ScreeningCallback(preset, preprocessor, classifier, reports.append, settings or AssemblySettings())
    for record in records:
        callback(record.name, record.document)
        yield from _taken(reports)
    callback.flush()
    yield from _taken(reports)


def _taken(reports: list[ScreeningReport]) -> list[ScreeningReport]:
    taken = list(reports)
    reports.clear()
    return taken
