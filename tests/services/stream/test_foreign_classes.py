"""Documents that come as objects of classes nobody here imports: what they hold is read, nothing of them is run."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from braggwatch.services.stream.codec import decode
from braggwatch.services.stream.rejection import RejectedMessage, RejectReason


class Document(dict):  # pyright: ignore[reportMissingTypeArgument]
    """A dictionary of an archive's client, as Tiled's and databroker's are: it can't be changed."""

    def __setitem__(self, key: object, value: object) -> None:
        raise TypeError("a document can't be changed")

    def __getattr__(self, key: str) -> object:
        raise AttributeError(key)


class Table:
    """Columns, as ophyd-async puts them into the configuration of a triggering device."""

    def __init__(self, **columns: object) -> None:
        self.__dict__.update(columns)


class Touches(dict):  # pyright: ignore[reportMissingTypeArgument]
    def __setstate__(self, state: object) -> None:
        Path(str(state)).touch()

    def __getstate__(self) -> object:
        return self["canary"]


def read(document: object, protocol: int = 5) -> dict[str, object]:
    """Send a document whose classes are gone where it arrives."""
    name = f"{__name__}_elsewhere"
    for kind in (Document, Table, Touches):
        kind.__module__ = name
    sys.modules[name] = types.ModuleType(name)
    try:
        for kind in (Document, Table, Touches):
            setattr(sys.modules[name], kind.__name__, kind)
        payload = pickle.dumps(document, protocol=protocol)
    finally:
        del sys.modules[name]
        for kind in (Document, Table, Touches):
            kind.__module__ = __name__
    assert name.encode() in payload
    return decode(b"raw", b"raw event " + payload)[1]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_document_of_an_archive_is_the_mapping_that_it_holds(protocol: int) -> None:
    frame = np.arange(12, dtype=np.uint32).reshape(3, 4)
    inner = Document(det=frame, th=0.25)
    found = read(Document(uid="u", seq_num=1, data=inner), protocol)
    data = found["data"]
    assert type(found) is dict
    assert type(data) is dict
    assert (found["uid"], found["seq_num"], data["th"]) == ("u", 1, 0.25)
    np.testing.assert_array_equal(data["det"], frame)


def test_a_table_in_a_configuration_is_its_columns() -> None:
    found = read({"configuration": Table(time=np.arange(3), trigger=["a", "b"])})
    table = found["configuration"]
    assert isinstance(table, dict)
    assert table["trigger"] == ["a", "b"]
    np.testing.assert_array_equal(table["time"], [0, 1, 2])


def test_nothing_of_the_class_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    assert read(Touches(canary=str(canary))) == {"canary": str(canary)}
    assert not canary.exists()


@pytest.mark.parametrize("name", ["os\nsystem", "builtins\neval", "my_beamline\nDevice"])
@pytest.mark.parametrize("arguments", [b")", b"(X\x01\x00\x00\x00xt"])
def test_a_class_that_is_called_is_refused(name: str, arguments: bytes) -> None:
    payload = b"\x80\x02}X\x01\x00\x00\x00kc" + name.encode() + b"\n" + arguments + b"Rs."
    with pytest.raises(RejectedMessage) as refusal:
        decode(b"raw", b"raw event " + payload)
    assert refusal.value.reason is RejectReason.FORBIDDEN_CODE


def test_an_object_made_with_arguments_and_a_class_itself_are_refused() -> None:
    named = b"\x80\x02}X\x01\x00\x00\x00kcos\npath\n"
    for rest in (b"(X\x01\x00\x00\x00xt\x81s.", b"s."):
        with pytest.raises(RejectedMessage):
            decode(b"raw", b"raw event " + named + rest)
