"""Numbers read beside the frames, kept by stream and sequence number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from braggwatch.callbacks.documents.document_checks import finite


@dataclass(frozen=True, slots=True)
class Row:
    """The wanted numbers of one event; ``version`` orders events that share a sequence number."""

    version: tuple[float, str]
    values: Mapping[str, float]


@dataclass(slots=True)
class StreamReadings:
    """The events of one stream of one run, wanted fields only.

    A sequence number may come again: the same event (a duplicate), or a later one, after a plan was paused and
    rewound. The later one counts (event model: sequence numbers repeat on rewind).
    """

    name: str
    rows: dict[int, Row] = field(default_factory=dict[int, Row])

    def put(self, seq_num: int, time: float, uid: str, data: Mapping[str, object], wanted: frozenset[str]) -> bool:
        """Keep one event's wanted numbers; return False where it is known already or older than the one known."""
        version = (time, uid)
        known = self.rows.get(seq_num)
        if known is not None and version <= known.version:
            return False
        values = {key: value for key in wanted if (value := finite(data.get(key))) is not None}
        self.rows[seq_num] = Row(version, values)
        return True

    def series(self, key: str) -> dict[int, float]:
        """Return field values by sequence number."""
        return {seq_num: row.values[key] for seq_num, row in self.rows.items() if key in row.values}
