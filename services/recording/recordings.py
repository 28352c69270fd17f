"""Recorded runs: one file format for what came over the wire, what an importer made and what replay publishes.

A recording is a plain msgpack stream, so any msgpack reader can open it::

    {"format": "braggwatch-recording", "schema_version": 1, "tool": "braggwatch 0.1.0", ...}     the header
    [time_s, name, compression, crc32, payload]                                                  once a document
    {"end": true, "documents": 204}                                                              only if closed well

``time_s`` counts from the first document; ``payload`` is the document in the wire's own msgpack form (numpy arrays
with dtype and shape, never an object), compressed with zlib where ``compression`` is 1. The checksum is that of the
payload as stored. A file without the end record was cut short: its whole records are still good.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Protocol, Self, cast

import msgpack
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from braggwatch.services.stream.codec import DOCUMENT_NAMES, RejectedMessage, pack_document, unpack_document

logger = logging.getLogger(__name__)

FORMAT_NAME = "braggwatch-recording"
SCHEMA_VERSION = 1
SUFFIX = ".bwrec"

_MAX_DOCUMENT_BYTES = 512 * 2**20
_COMPRESS_FROM_BYTES = 256
_ZLIB_LEVEL = 1  # frames are mostly zeros: level 1 gives nearly level 9's size at a fifth of its time
_RECORD_FIELDS = 5


class RecordingError(ValueError):
    """The file can't be read as a recording, or stops being one at the place the message names."""


class RecordingTruncatedError(RecordingError):
    """The file ends before its end record: whoever wrote it was cut short. What came before is good."""


class RecordingHeader(BaseModel):
    """First object of a recording."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal["braggwatch-recording"] = FORMAT_NAME
    schema_version: int = Field(ge=1)
    tool: str = Field(description="What wrote the file, e.g. 'braggwatch 0.1.0'.")
    created_at: FiniteFloat = Field(description="Seconds since the epoch.")
    source: str = Field(description="Where the documents came from, e.g. 'tcp://127.0.0.1:5578' or a SPEC file.")


class RecordingSummary(BaseModel):
    """What a recording holds, for a table or a script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: RecordingHeader
    documents: int
    by_name: dict[str, int]
    runs: tuple[str, ...] = Field(description="Uids of the start documents, in order.")
    duration_s: FiniteFloat
    truncated: bool


@dataclass(frozen=True, slots=True)
class RecordedDocument:
    """One document as it was written: seconds since the recording's first document, name, document."""

    time_s: float
    name: str
    document: dict[str, object]


class RecordingWriter:
    """Append documents to a new recording; call it like any Bluesky callback.

    Every document is on its way to the disk before the call returns, so a killed process loses no whole document.

    Parameters
    ----------
    path
        File to create.
    source
        Where the documents come from, kept in the header.
    overwrite
        Replace an existing file. Without it an existing file is an error.
    compress
        Compress each document with zlib.

    Raises
    ------
    FileExistsError
        If the file is there and ``overwrite`` is False.
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
        """Write a document that happens now."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        self.write(RecordedDocument(now - self._started, name, dict(doc)))

    def write(self, record: RecordedDocument) -> None:
        """Write one document with its own time.

        Raises
        ------
        RecordingError
            If the name is no document name or the document can't be put into the safe form.
        """
        if record.name not in DOCUMENT_NAMES:
            raise RecordingError(f"{record.name!r} is no document name")
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
        """Write the end record and close the file; harmless when done twice."""
        if not self._file.closed:
            self._write({"end": True, "documents": self._documents})
            self._file.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error without the end record, so that the file shows that it was cut short."""
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
        If the file is no recording or was written by a newer version.
    FileNotFoundError
        If there is no such file.
    """
    with path.open("rb") as file:
        return _header(path, _unpacker(file))


def is_recording(path: Path) -> bool:
    """Say whether the file begins as a recording does."""
    try:
        read_header(path)
    except (RecordingError, OSError):
        return False
    return True


def read_recording(path: Path, *, allow_truncated: bool = False) -> Iterator[RecordedDocument]:
    """Yield the documents in the order they were written, one in memory at a time.

    Parameters
    ----------
    path
        The recording.
    allow_truncated
        End quietly (with a warning in the log) where the file was cut short.

    Raises
    ------
    RecordingTruncatedError
        After the last whole document, if the end record is missing and ``allow_truncated`` is False.
    RecordingError
        If the file is no recording or is corrupted; the message names the byte.
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
    """Read a whole recording and count what it holds; a truncated one is said to be so.

    Raises
    ------
    RecordingError
        As `read_recording`.
    """
    by_name: dict[str, int] = {}
    runs: list[str] = []
    last = 0.0
    truncated = False
    try:
        for record in read_recording(path):
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
        duration_s=last,
        truncated=truncated,
    )


_END_OF_FILE = object()


class _Unpacker(Protocol):
    """What is used of ``msgpack.Unpacker``, which has no types of its own."""

    def unpack(self) -> object: ...
    def tell(self) -> int: ...


def tool_version() -> str:
    """Name this tool and its version, e.g. ``braggwatch 0.1.0``."""
    try:
        return f"braggwatch {version('braggwatch')}"
    except PackageNotFoundError:
        return "braggwatch"


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
    not_one = f"{path.name} is no Braggwatch recording"
    try:
        item = _next(path, unpacker)
    except RecordingError as error:
        raise RecordingError(not_one) from error
    if not isinstance(item, dict):
        raise RecordingError(not_one)
    fields = cast("dict[str, object]", item)
    if fields.get("format") != FORMAT_NAME:
        raise RecordingError(not_one)
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
        raise RecordingError(f"{path.name} is corrupted: a map that is no end record after {count} documents")
    if item.get("documents") != count:
        raise RecordingError(f"{path.name} says {item.get('documents')} documents at its end, but {count} were read")


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
        raise RecordingError(f"{where}: {name!r} is no document name")
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
        raise ValueError(f"a document longer than {_MAX_DOCUMENT_BYTES} bytes")
    return plain
