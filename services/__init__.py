"""Processes: receiver, screening, store, feedback, page, metrics, recording, replay, CLI.

The top storey: it may import all others, and nothing below imports it.

Ask the service for a verdict from a script; where none answers within the time, that is no error:

>>> from braggwatch.services import HttpVerdictSource
>>> source = HttpVerdictSource("http://127.0.0.1:1")
>>> source.wait_blocking("a run's uid", timeout_s=0.1) is None
True

Settings come from a TOML file, the environment or the caller; what nobody states has its default:

>>> from braggwatch.services import Settings
>>> Settings(screening={"geometry": "34idc"}).screening.model
'production'
"""

from __future__ import annotations

from braggwatch.sim.lazy_names import lazy_names

# Type checkers take this name for true. Importing typing for it would double the time that importing the package takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from braggwatch.services.cxdp.recorded_runs import screen_documents
    from braggwatch.services.cxdp.training.shard_making import make_dataset
    from braggwatch.services.feedback.verdict_client import HttpVerdictSource
    from braggwatch.services.importers.bliss import BlissOptions, import_bliss
    from braggwatch.services.importers.hdf5 import Hdf5Options, hdf5_documents
    from braggwatch.services.importers.spec34idc import ImportOptions, import_scan
    from braggwatch.services.recording.recordings import (
        RecordedDocument,
        RecordingError,
        RecordingWriter,
        read_recording,
    )
    from braggwatch.services.recording.replay import ReadyPublisher, ReplayOptions, ReplayReport, Serializer, replay
    from braggwatch.services.sadp.sources.picture_files import Picture, read_pictures
    from braggwatch.services.serving import RunningService, serve
    from braggwatch.services.settings import Settings, load_settings
    from braggwatch.services.settings_error import SettingsError
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "BlissOptions": "braggwatch.services.importers.bliss",
            "Hdf5Options": "braggwatch.services.importers.hdf5",
            "HttpVerdictSource": "braggwatch.services.feedback.verdict_client",
            "ImportOptions": "braggwatch.services.importers.spec34idc",
            "Picture": "braggwatch.services.sadp.sources.picture_files",
            "ReadyPublisher": "braggwatch.services.recording.replay",
            "RecordedDocument": "braggwatch.services.recording.recordings",
            "RecordingError": "braggwatch.services.recording.recordings",
            "RecordingWriter": "braggwatch.services.recording.recordings",
            "ReplayOptions": "braggwatch.services.recording.replay",
            "ReplayReport": "braggwatch.services.recording.replay",
            "RunningService": "braggwatch.services.serving",
            "Serializer": "braggwatch.services.recording.replay",
            "Settings": "braggwatch.services.settings",
            "SettingsError": "braggwatch.services.settings_error",
            "hdf5_documents": "braggwatch.services.importers.hdf5",
            "import_bliss": "braggwatch.services.importers.bliss",
            "import_scan": "braggwatch.services.importers.spec34idc",
            "load_settings": "braggwatch.services.settings",
            "make_dataset": "braggwatch.services.cxdp.training.shard_making",
            "read_pictures": "braggwatch.services.sadp.sources.picture_files",
            "read_recording": "braggwatch.services.recording.recordings",
            "replay": "braggwatch.services.recording.replay",
            "screen_documents": "braggwatch.services.cxdp.recorded_runs",
            "serve": "braggwatch.services.serving",
        },
    )

__all__ = [
    "BlissOptions",
    "Hdf5Options",
    "HttpVerdictSource",
    "ImportOptions",
    "Picture",
    "ReadyPublisher",
    "RecordedDocument",
    "RecordingError",
    "RecordingWriter",
    "ReplayOptions",
    "ReplayReport",
    "RunningService",
    "Serializer",
    "Settings",
    "SettingsError",
    "hdf5_documents",
    "import_bliss",
    "import_scan",
    "load_settings",
    "make_dataset",
    "read_pictures",
    "read_recording",
    "replay",
    "screen_documents",
    "serve",
]
