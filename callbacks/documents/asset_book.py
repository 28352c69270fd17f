"""What Resource, Datum and StreamResource documents say, for all runs: a detector staged once may serve several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from braggwatch.sim.bounded import Bounded

_RESOURCES = 4096
_DATUMS = 131_072


class AssetBook:
    """Keeps references to files by their uid, whatever run they came in; the oldest are forgotten first.

    Attributes
    ----------
    resources, stream_resources
        By uid.
    datums
        By datum id.
    order
        Of each stream resource, by uid: counted as they came.
    """

    def __init__(self) -> None:
        self.resources: Bounded[str, Mapping[str, object]] = Bounded(_RESOURCES)
        self.stream_resources: Bounded[str, Mapping[str, object]] = Bounded(_RESOURCES)
        self.datums: Bounded[str, Mapping[str, object]] = Bounded(_DATUMS)
        self.order: Bounded[str, int] = Bounded(_RESOURCES)
        self._numbers = itertools.count()

    def put(self, name: str, doc: Mapping[str, object]) -> None:
        """Take a Resource, Datum or StreamResource document."""
        if name == "resource":
            self.resources[str(doc["uid"])] = doc
        elif name == "datum":
            self.datums[str(doc["datum_id"])] = doc
        else:
            uid = str(doc["uid"])
            self.stream_resources[uid] = doc
            if uid not in self.order:
                self.order[uid] = next(self._numbers)
