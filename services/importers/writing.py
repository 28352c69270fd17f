"""A recording that is there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from braggwatch.services.recording.recordings import RecordedDocument, RecordingWriter


def write_whole(output: Path, documents: Iterable[RecordedDocument], *, source: str, overwrite: bool) -> None:
    """Write documents as they come; where one fails, no output is left behind and what was there stays.

    Raises
    ------
    FileExistsError
        If the output is there and ``overwrite`` is False.
    """
    writing = output.with_name(output.name + ".partial")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} is there already")
    try:
        with RecordingWriter(writing, source=source, overwrite=True) as recording:
            for document in documents:
                recording.write(document)
        writing.replace(output)
    finally:
        writing.unlink(missing_ok=True)
