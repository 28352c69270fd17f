"""Listens to live documents for a while, and says what the runs among them hold."""

from __future__ import annotations

import time
from typing import Final

from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.contents_book import ContentsBook
from braggwatch.services.stream.backlog import Backlog
from braggwatch.services.stream.receiver import Receiver
from braggwatch.services.stream.stream_settings import StreamSettings

_WAIT_S: Final = 0.1
_MAX_DOCUMENTS: Final = 10_000
_MAX_BYTES: Final = 500_000_000


def overhear(settings: StreamSettings, seconds: float) -> tuple[RunContents, ...]:
    """Return what the runs hold of which documents came, oldest first.

    It ends early with the first run of which a descriptor and the stop came, so that its streams are all known.

    Parameters
    ----------
    seconds
        Longest time to listen.

    Raises
    ------
    SettingsError
        If the stream's address or keys can't be used.
    """
    book = ContentsBook()
    backlog = Backlog(_MAX_DOCUMENTS, _MAX_BYTES)
    receiver = Receiver(settings, backlog)
    receiver.start()
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            item = backlog.get(_WAIT_S)
            if item is None:
                continue
            uid, _ = book.take(item.name, item.document)
            if item.name == "stop" and uid is not None and book.contents(uid).streams:
                break
    finally:
        receiver.stop()
    return tuple(book.contents(uid) for uid in book.runs)
