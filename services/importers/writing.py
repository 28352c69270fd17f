"""Write a recording completely or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from braggwatch.services.recording.recordings import RecordedDocument, RecordingWriter


def write_whole(output: Path, documents: Iterable[RecordedDocument], *, source: str, overwrite: bool) -> None:
    """Write documents as they come; if one fails, no output is left behind and an existing file stays as it was.

    Raises
    ------
    FileExistsError
        If the output exists and ``overwrite`` is False.
    """
    partial = output.with_name(output.name + ".partial")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} already exists")
    try:
        with RecordingWriter(partial, source=source, overwrite=True) as recording:
            for document in documents:
                recording.write(document)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
