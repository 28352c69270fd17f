"""The recording file format, shared by the recorder, the importers and replay.

A recording is a plain msgpack stream, so any msgpack reader can open it::

    {"format": "braggwatch-recording", "schema_version": 1, "tool": "braggwatch 0.1.0", ...}     the header
    [time_s, name, compression, crc32, payload]                                                  once per document
    {"end": true, "documents": 204}                                                              only if closed properly

``time_s`` counts from the first document; ``payload`` is the document in the wire's own msgpack form (numpy arrays
with dtype and shape, never an object), compressed with zlib if ``compression`` is 1. The checksum covers the payload
as stored. A file without the end record was cut short: its complete records are still valid.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Protocol, Self, cast

import msgpack
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.contents_book import ContentsBook
from braggwatch.services.stream.codec import DOCUMENT_NAMES, RejectedMessage, pack_document, unpack_document
from braggwatch.services.version import tool_version
from braggwatch.sim.errors import BraggwatchError, InputError

logger = logging.getLogger(__name__)

FORMAT_NAME = "braggwatch-recording"
SCHEMA_VERSION = 1
SUFFIX = ".bwrec"

_MAX_DOCUMENT_BYTES = 512 * 2**20
_COMPRESS_FROM_BYTES = 256
_ZLIB_LEVEL = 1  # frames are mostly zeros: level 1 gives nearly the size of level 9 in a fifth of the time
_RECORD_FIELDS = 5
_MOST_RUNS = 10_000


class RecordingError(BraggwatchError, ValueError):
    """The file is not a recording, or is corrupted at the place the message names."""


class RecordingTruncatedError(RecordingError):
    """The file has no end record: its writer was cut short. The documents before that point are valid."""


class RecordingHeader(BaseModel):
    """First object in a recording."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal["braggwatch-recording"] = FORMAT_NAME
    schema_version: int = Field(ge=1)
    tool: str = Field(description="Program that wrote the file, e.g. 'braggwatch 0.1.0'.")
    created_at: FiniteFloat = Field(description="Seconds since the epoch.")
    source: str = Field(description="Where the documents came from, e.g. 'tcp://127.0.0.1:5578' or a SPEC file.")


class RecordingSummary(BaseModel):
    """What a recording contains, for a table or a script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: RecordingHeader
    documents: int
    by_name: dict[str, int]
    runs: tuple[str, ...] = Field(description="Uids of the start documents, in order.")
    contents: tuple[RunContents, ...] = Field(description="What each run holds: keys with shapes, streams, motors.")
    duration_s: FiniteFloat
    truncated: bool


@dataclass(frozen=True, slots=True)
class RecordedDocument:
    """One document as recorded: seconds since the recording's first document, name, document."""

    time_s: float
    name: str
    document: dict[str, object]


class RecordingWriter:
    """Append documents to a new recording; call it like any Bluesky callback.

    Every document is flushed before the call returns, so a killed process loses no complete document.

    Parameters
    ----------
    path
        File to create.
    source
        Where the documents come from, stored in the header.
    overwrite
        Replace an existing file; otherwise an existing file is an error.
    compress
        Compress each document with zlib.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is False.
    """

    def __init__(self, path: Path, *, source: str, overwrite: bool = False, compress: bool = True) -> None:
        self._path = path
        self._compress = compress
        self._file: BinaryIO = path.open("wb" if overwrite else "xb")
        self._documents = 0
        self._started: float | None = None
        header = RecordingHeader(
            schema_version=SCHEMA_VERSION, tool=tool_version(), created_at=time.time(), source=source
        )
        self._write(header.model_dump())

    @property
    def documents(self) -> int:
        """Number of documents written."""
        return self._documents

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Write a document, timed now."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        self.write(RecordedDocument(now - self._started, name, dict(doc)))

    def write(self, record: RecordedDocument) -> None:
        """Write one document with its own time.

        Raises
        ------
        RecordingError
            If the name is not a document name or the document can't be packed.
        """
        if record.name not in DOCUMENT_NAMES:
            raise RecordingError(f"{record.name!r} is not a document name")
        try:
            payload = pack_document(record.document)
        except (TypeError, ValueError, OverflowError) as error:
            raise RecordingError(f"the {record.name} document can't be recorded: {error}") from error
        compression = 0
        if self._compress and len(payload) >= _COMPRESS_FROM_BYTES:
            payload = zlib.compress(payload, _ZLIB_LEVEL)
            compression = 1
        self._write([float(record.time_s), record.name, compression, zlib.crc32(payload), payload])
        self._documents += 1

    def close(self) -> None:
        """Write the end record and close the file; calling it again does nothing."""
        if not self._file.closed:
            self._write({"end": True, "documents": self._documents})
            self._file.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error without the end record, to mark the file as cut short."""
        if kind is None:
            self.close()
        else:
            self._file.close()

    def _write(self, item: object) -> None:
        self._file.write(cast("bytes", msgpack.packb(item, use_bin_type=True)))
        self._file.flush()


def read_header(path: Path) -> RecordingHeader:
    """Read the header only.

    Raises
    ------
    RecordingError
        If the file is not a recording or was written by a newer version.
    FileNotFoundError
        If there is no such file.
    """
    with path.open("rb") as file:
        return _header(path, _unpacker(file))


def is_recording(path: Path) -> bool:
    """Return whether the file starts with a readable recording header."""
    try:
        read_header(path)
    except (RecordingError, OSError):
        return False
    return True


def read_recording(path: Path, *, allow_truncated: bool = False) -> Iterator[RecordedDocument]:
    """Yield the documents in the order they were written; one is in memory at a time.

    Parameters
    ----------
    path
        The recording.
    allow_truncated
        If the file was cut short, end with a warning in the log instead of an error.

    Raises
    ------
    RecordingTruncatedError
        After the last complete document, if the end record is missing and ``allow_truncated`` is False.
    RecordingError
        If the file is not a recording or is corrupted; the message names the byte.
    FileNotFoundError
        If there is no such file.
    """
    with path.open("rb") as file:
        unpacker = _unpacker(file)
        _header(path, unpacker)
        count = 0
        while True:
            item = _next(path, unpacker)
            if item is _END_OF_FILE:
                message = f"{path.name} was cut short after {count} documents: it has no end record"
                if not allow_truncated:
                    raise RecordingTruncatedError(message)
                logger.warning("%s", message)
                return
            if isinstance(item, dict):
                _check_end(path, cast("dict[str, object]", item), count)
                return
            yield _record(path, item, unpacker.tell(), count)
            count += 1


def summarise(path: Path) -> RecordingSummary:
    """Read a whole recording and count its documents; a truncated one is marked as such.

    Raises
    ------
    RecordingError
        As `read_recording`.
    """
    by_name: dict[str, int] = {}
    runs: list[str] = []
    last = 0.0
    truncated = False
    book = ContentsBook(_MOST_RUNS)
    try:
        for record in read_recording(path):
            book.take(record.name, record.document)
            by_name[record.name] = by_name.get(record.name, 0) + 1
            last = record.time_s
            if record.name == "start":
                runs.append(str(record.document.get("uid")))
    except RecordingTruncatedError:
        truncated = True
    return RecordingSummary(
        header=read_header(path),
        documents=sum(by_name.values()),
        by_name=by_name,
        runs=tuple(runs),
        contents=tuple(book.contents(uid) for uid in book.runs),
        duration_s=last,
        truncated=truncated,
    )


_END_OF_FILE = object()


class _Unpacker(Protocol):
    """The part of ``msgpack.Unpacker`` used here; msgpack has no type annotations."""

    def unpack(self) -> object: ...
    def tell(self) -> int: ...


def _unpacker(file: BinaryIO) -> _Unpacker:
    unpacker: object = msgpack.Unpacker(
        file,
        raw=False,
        read_size=2**20,
        max_buffer_size=_MAX_DOCUMENT_BYTES + 2**20,
        max_bin_len=_MAX_DOCUMENT_BYTES,
        max_str_len=2**16,
        max_array_len=_RECORD_FIELDS,
        max_map_len=64,
        max_ext_len=0,
    )
    return cast("_Unpacker", unpacker)


def _next(path: Path, unpacker: _Unpacker) -> object:
    position = unpacker.tell()
    try:
        return unpacker.unpack()
    except msgpack.OutOfData:
        return _END_OF_FILE
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise RecordingError(f"{path.name} is corrupted at byte {position}: {error or type(error).__name__}") from error


def _header(path: Path, unpacker: _Unpacker) -> RecordingHeader:
    not_a_recording = f"{path.name} is not a Braggwatch recording"
    try:
        item = _next(path, unpacker)
    except RecordingError as error:
        raise RecordingError(not_a_recording) from error
    if not isinstance(item, dict):
        raise RecordingError(not_a_recording)
    fields = cast("dict[str, object]", item)
    if fields.get("format") != FORMAT_NAME:
        raise RecordingError(not_a_recording)
    try:
        header = RecordingHeader.model_validate(fields)
    except ValidationError as error:
        raise RecordingError(f"{path.name} has a header that can't be read: {error}") from error
    if header.schema_version > SCHEMA_VERSION:
        raise RecordingError(
            f"{path.name} has schema version {header.schema_version} (written by {header.tool}); "
            f"this Braggwatch reads up to {SCHEMA_VERSION}: update it"
        )
    return header


def _check_end(path: Path, item: dict[str, object], count: int) -> None:
    if item.get("end") is not True:
        raise RecordingError(
            f"{path.name} is corrupted: expected the end record after {count} documents, found another map"
        )
    if item.get("documents") != count:
        raise RecordingError(f"{path.name}: the end record counts {item.get('documents')} documents, {count} were read")


def _record(path: Path, item: object, position: int, count: int) -> RecordedDocument:
    where = f"{path.name} is corrupted in document {count + 1}, before byte {position}"
    match item:
        case [float(time_s), str(name), int(compression), int(checksum), bytes(payload)]:
            pass
        case _:
            raise RecordingError(f"{where}: not a record")
    if zlib.crc32(payload) != checksum:
        raise RecordingError(f"{where}: checksum differs")
    if name not in DOCUMENT_NAMES:
        raise RecordingError(f"{where}: {name!r} is not a document name")
    if compression not in {0, 1}:
        raise RecordingError(f"{where}: unknown compression {compression}")
    try:
        document = unpack_document(_inflate(payload) if compression else payload)
    except (zlib.error, RejectedMessage, ValueError) as error:
        raise RecordingError(f"{where}: {error}") from error
    return RecordedDocument(time_s, name, document)


def _inflate(payload: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(payload, _MAX_DOCUMENT_BYTES)
    if inflater.unconsumed_tail or not inflater.eof:
        raise InputError(f"the document is longer than {_MAX_DOCUMENT_BYTES} bytes")
    return plain
