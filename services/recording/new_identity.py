"""Give a recorded run new uids and times, including every reference to the old ones."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import cast

Document = dict[str, object]

_OWN_UID = frozenset({"start", "stop", "descriptor", "event", "resource", "stream_resource"})
_REFERENCES: Mapping[str, tuple[str, ...]] = {
    "stop": ("run_start",),
    "descriptor": ("run_start",),
    "event": ("descriptor",),
    "event_page": ("descriptor",),
    "resource": ("run_start",),
    "datum": ("resource",),
    "datum_page": ("resource",),
    "stream_resource": ("run_start",),
    "stream_datum": ("descriptor", "stream_resource"),
}
_DATUM_SEPARATOR = "/"


class UidStamper:
    """Replace every uid by a new one; the same old uid always gets the same new one.

    Identifiers of the form ``resource_uid/number`` (datum ids, stream datum uids) keep their number. A start document
    gains ``replay_of`` with the uid it was recorded under.
    """

    def __init__(self) -> None:
        self._new: dict[str, str] = {}
        self._external: dict[str, frozenset[str]] = {}

    def __call__(self, name: str, doc: Mapping[str, object]) -> Document:
        """Return a copy of the document with new identifiers; frames are not copied."""
        result = dict(doc)
        if name == "start":
            result["replay_of"] = result.get("uid")
        if name == "descriptor":
            self._remember_external(doc)
            self._replace_in_configuration(result)
        if name in _OWN_UID:
            self._replace(result, "uid", self._uid)
        for field in _REFERENCES.get(name, ()):
            self._replace(result, field, self._uid)
        if name == "stream_datum":
            self._replace(result, "uid", self._identifier)
        if name in {"datum", "datum_page"}:
            self._replace(result, "datum_id", self._identifier)
        if name == "event_page":
            self._replace(result, "uid", self._uid)
        if name in {"event", "event_page"}:
            self._replace_datum_ids(str(doc.get("descriptor")), result)
        return result

    def _uid(self, old: str) -> str:
        if old not in self._new:
            self._new[old] = str(uuid.uuid4())
        return self._new[old]

    def _identifier(self, old: str) -> str:
        head, separator, tail = old.partition(_DATUM_SEPARATOR)
        return self._uid(head) + separator + tail

    @staticmethod
    def _replace(document: Document, field: str, make: Callable[[str], str]) -> None:
        value = document.get(field)
        if isinstance(value, str):
            document[field] = make(value)
        elif isinstance(value, Sequence):
            document[field] = [make(item) if isinstance(item, str) else item for item in cast("list[object]", value)]

    def _remember_external(self, descriptor: Mapping[str, object]) -> None:
        self._external[str(descriptor.get("uid"))] = _external_keys(descriptor)

    def _replace_in_configuration(self, descriptor: Document) -> None:
        configuration = descriptor.get("configuration")
        if not isinstance(configuration, Mapping):
            return
        devices: Document = dict(cast("Mapping[str, object]", configuration))
        for name, entry in devices.items():
            if isinstance(entry, Mapping):
                changed = dict(cast("Mapping[str, object]", entry))
                self._replace_data(_external_keys(changed), changed)
                devices[name] = changed
        descriptor["configuration"] = devices

    def _replace_datum_ids(self, descriptor: str, event: Document) -> None:
        self._replace_data(self._external.get(descriptor, frozenset()), event)
        filled = event.get("filled")
        if isinstance(filled, Mapping):
            event["filled"] = {
                key: self._identifier(value) if isinstance(value, str) else value
                for key, value in cast("Mapping[str, object]", filled).items()
            }

    def _replace_data(self, external: frozenset[str], holder: Document) -> None:
        data = holder.get("data")
        if external and isinstance(data, Mapping):
            values = dict(cast("Mapping[str, object]", data))
            for key in external & values.keys():
                self._replace(values, key, self._identifier)
            holder["data"] = values


def _external_keys(holder: Mapping[str, object]) -> frozenset[str]:
    keys = holder.get("data_keys")
    if not isinstance(keys, Mapping):
        return frozenset()
    return frozenset(
        str(key)
        for key, value in cast("Mapping[object, object]", keys).items()
        if isinstance(value, Mapping) and "external" in value
    )


class TimeStamper:
    """Shift every time so that the recording's first document happens at a given moment; intervals are kept."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._shift: float | None = None

    def __call__(self, name: str, doc: Mapping[str, object]) -> Document:  # noqa: ARG002 - stampers share one signature
        """Return a copy of the document with its times shifted (seconds since the epoch)."""
        result = dict(doc)
        time = doc.get("time")
        if self._shift is None and isinstance(time, int | float):
            self._shift = self._begin - time
        if self._shift is not None:
            for field in ("time", "timestamps"):
                if field in result:
                    result[field] = _moved(result[field], self._shift)
        return result


def _moved(value: object, shift: float) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value + shift
    if isinstance(value, Mapping):
        return {key: _moved(item, shift) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_moved(item, shift) for item in cast("list[object]", value)]
    return value


def remap_root(name: str, doc: Mapping[str, object], old: str, new: str) -> Document:
    """Point a resource or stream resource at files that have moved.

    Parameters
    ----------
    name, doc
        A document; any other than resource and stream_resource is returned unchanged.
    old, new
        Absolute directory when recorded and now: replaced in ``root``, or at the start of the path in ``uri``.
    """
    result = dict(doc)
    if name == "resource":
        root = str(doc.get("root", ""))
        if _below(root, old):
            result["root"] = new.rstrip("/") + root[len(old.rstrip("/")) :]
    elif name == "stream_resource":
        uri = str(doc.get("uri", ""))
        scheme, separator, location = uri.partition("://")
        host, slash, path = location.partition("/")
        if separator and scheme == "file" and slash and _below("/" + path, old):
            result["uri"] = f"file://{host}{new.rstrip('/')}{('/' + path)[len(old.rstrip('/')) :]}"
    return result


def _below(path: str, folder: str) -> bool:
    folder = folder.rstrip("/")
    return path == folder or path.startswith(folder + "/")
