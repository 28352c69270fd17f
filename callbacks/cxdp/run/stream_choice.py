"""Chooses which stream of a run is the rocking curve, where several have the detector: dark frames, an alignment."""

from __future__ import annotations

from collections.abc import Mapping

from braggwatch.callbacks.cxdp.run.scan_documents import ScanDocuments, stream_name


class StreamChoice:
    """Decides as descriptors come, and remembers the streams that may as well have been it."""

    def __init__(self) -> None:
        self._rivals: set[str] = set()

    def takes(self, documents: ScanDocuments, doc: Mapping[str, object], received: int) -> bool:
        """Tell whether a descriptor's stream takes the place of the detector's stream so far.

        Parameters
        ----------
        received
            Frames of the stream so far.
        """
        known, stream = documents.detector_stream or "", stream_name(doc)
        preferred = documents.prefers(doc)
        if preferred is None:
            # Neither says of itself that it is the scan: what came before it is an alignment, unless it is all of it.
            preferred = documents.announced is None or received < documents.announced
            self._rivals.add(known if preferred else stream)
            self._rivals.discard(stream if preferred else known)
        return preferred

    def why_undecided(self, documents: ScanDocuments, received: int) -> str | None:
        """Say which other stream may as well be the curve, once the run has ended; None if it is clear."""
        promised = documents.promised
        own = promised.get(documents.detector_stream or "", received)
        for rival in sorted(self._rivals):
            if (events := promised.get(rival, 0)) > own / 2:
                return (
                    f"the detector is in the streams {documents.detector_stream!r} ({own} events) and {rival!r} "
                    f"({events}), and nothing says which is the rocking curve: call it 'primary'"
                )
        return None
