"""Pages taken apart into events and datums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from braggwatch.callbacks.documents.document_checks import check


def parts(name: str, doc: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Take pages apart into events and datums; anything else is itself."""
    if name == "event_page":
        data = cast("Mapping[str, Sequence[object]]", doc["data"])
        columns = [cast("Sequence[object]", doc[key]) for key in ("seq_num", "uid", "time")]
        for row, (seq_num, uid, time) in enumerate(zip(*columns, strict=True)):
            event = {
                "descriptor": doc["descriptor"],
                "seq_num": seq_num,
                "uid": uid,
                "time": time,
                "data": {key: values[row] for key, values in data.items()},
            }
            check("event", event)
            yield "event", event
    elif name == "datum_page":
        kwargs = cast("Mapping[str, Sequence[object]]", doc["datum_kwargs"])
        for row, datum_id in enumerate(cast("Sequence[object]", doc["datum_id"])):
            datum = {
                "datum_id": datum_id,
                "resource": doc["resource"],
                "datum_kwargs": {key: values[row] for key, values in kwargs.items()},
            }
            check("datum", datum)
            yield "datum", datum
    else:
        yield name, doc


def array_bytes(doc: Mapping[str, object]) -> int:
    """Return the bytes of the arrays in an event."""
    data = doc.get("data")
    if not isinstance(data, Mapping):
        return 0
    return sum(value.nbytes for value in cast("Mapping[str, object]", data).values() if isinstance(value, np.ndarray))
