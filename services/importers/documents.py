"""Bluesky documents of an imported scan: plain dictionaries, valid under event-model, reproducible."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

Document = dict[str, object]

NAMESPACE = uuid.UUID("3b1de5c1-52a8-5c94-9a3e-34dc34dc34dc")


def run_uid(*parts: str) -> str:
    """Derive the uid of a run from the scan's content, so that importing it twice gives the same run."""
    return str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


def number_key(source: str, units: str | None = None) -> Document:
    """Describe a number in a descriptor's ``data_keys``."""
    key: Document = {"source": source, "dtype": "number", "shape": []}
    if units is not None:
        key["units"] = units
    return key


def array_key(source: str, shape: tuple[int, ...], dtype: str) -> Document:
    """Describe an inline array; ``dtype`` in numpy's notation, e.g. ``<i4``."""
    return {"source": source, "dtype": "array", "dtype_numpy": dtype, "shape": list(shape)}


class DocumentMaker:
    """Makes the documents of one run, with uids derived from the run's.

    Parameters
    ----------
    uid
        Uid of the run.
    """

    def __init__(self, uid: str) -> None:
        self._uid = uid

    def descriptor(self, stream: str, time: float, keys: Mapping[str, object]) -> Document:
        """Describe a stream."""
        return {
            "uid": self._id(f"{stream} descriptor"),
            "run_start": self._uid,
            "time": time,
            "name": stream,
            "data_keys": dict(keys),
            "object_keys": {name: [name] for name in keys},
            "configuration": {},
            "hints": {},
        }

    def event(self, stream: str, seq_num: int, time: float, data: Mapping[str, object]) -> Document:
        """Describe one reading of a stream; ``seq_num`` counts from one."""
        return {
            "uid": self._id(f"{stream} event {seq_num}"),
            "descriptor": self._id(f"{stream} descriptor"),
            "seq_num": seq_num,
            "time": time,
            "data": dict(data),
            "timestamps": dict.fromkeys(data, time),
            "filled": {},
        }

    def stop(self, time: float, events: Mapping[str, int], *, abort_reason: str | None = None) -> Document:
        """End the run, as aborted if a reason is given."""
        return {
            "uid": self._id("stop"),
            "run_start": self._uid,
            "time": time,
            "exit_status": "success" if abort_reason is None else "abort",
            "reason": abort_reason or "",
            "num_events": dict(events),
        }

    def _id(self, suffix: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{self._uid} {suffix}"))
