"""Engines on disk: written whole or not at all, and loaded only where they are provably our own.

A plan holds code for host and device, so it is loaded only from a folder and a file that nobody else can write, with
the SHA-256 that its sidecar states. Each engine is ``KEY-PLAN.plan`` with its sidecar ``KEY.json``: the sidecar is
renamed into place last and names its plan, so that a reader never sees a mixture of two writers.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from braggwatch.models.runtimes.engine_key import EngineKey
from braggwatch.sim.errors import BraggwatchError

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class EngineCacheError(BraggwatchError):
    """An engine on disk can't be used; the message says which and why."""


class EngineMissingError(EngineCacheError):
    """There is no engine of this network."""


class EngineStaleError(EngineMissingError):
    """There is one of this network, but for another TensorRT, device, driver or set of batches; it says which."""


class EngineRecord(BaseModel):
    """The sidecar of an engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: EngineKey
    bundle: str = Field(description="Id of the bundle, e.g. 'cxdp-fcc/1.3.0'.")
    precision: str = Field(description="'fp16', or 'fp32' where the network has nothing that would gain.")
    half_nodes: int = Field(ge=0, description="Layers that compute in fp16.")
    nodes: int = Field(ge=0, description="All layers.")
    plan_sha256: str
    plan_bytes: int = Field(ge=0)
    onnx_bytes: int = Field(ge=0, description="Size of the graph that it was built from.")
    build_seconds: FiniteFloat = Field(ge=0.0)
    built: AwareDatetime
    graph_difference: FiniteFloat | None = Field(
        default=None, description="Largest deviation of a golden output: the graph on the CPU."
    )
    golden_difference: FiniteFloat | None = Field(
        default=None, description="The same of the engine on its device; none where it never ran."
    )


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An engine that was read and verified."""

    record: EngineRecord
    plan: bytes


def default_cache_folder() -> Path:
    """Return where engines are kept: ``$BRAGGWATCH_ENGINES``, else a folder in the user's cache."""
    stated = os.environ.get("BRAGGWATCH_ENGINES")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "braggwatch" / "engines"


class EngineCache:
    """A folder of engines.

    Parameters
    ----------
    folder
        Made, for its owner alone, when the first engine is stored; None for :func:`default_cache_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_cache_folder() if folder is None else folder

    def store(self, record: EngineRecord, plan: bytes) -> Path:
        """Write an engine; returns the plan's path. The record's digest and size are taken from the plan.

        Raises
        ------
        EngineCacheError
            If the folder is open to others or can't be written.
        """
        digest = hashlib.sha256(plan).hexdigest()
        record = record.model_copy(update={"plan_sha256": digest, "plan_bytes": len(plan)})
        path = self._plan_path(record)
        before = self._named_plan(record.key)
        self._write(path, plan)
        self._write(self._record_path(record.key), (record.model_dump_json(indent=2) + "\n").encode())
        if before is not None and before != path:
            before.unlink(missing_ok=True)
        return path

    def load(self, key: EngineKey) -> StoredEngine:
        """Read the engine of a key.

        Raises
        ------
        EngineMissingError
            If there is none; :class:`EngineStaleError` where there is one for another machine.
        EngineCacheError
            If it belongs to another key, others may write it, or its content differs from its SHA-256.
        """
        path = self._record_path(key)
        if not path.exists():
            self._raise_missing(key)
        record = self._read_record(path)
        if record.key != key:
            raise EngineCacheError(f"{path} belongs to another engine: {', '.join(key.differences(record.key))}")
        plan_path = self._plan_path(record)
        plan = self._read(plan_path)
        if len(plan) != record.plan_bytes or hashlib.sha256(plan).hexdigest() != record.plan_sha256:
            raise EngineCacheError(f"{plan_path} differs from its SHA-256: changed, or cut short")
        return StoredEngine(record, plan)

    def discard(self, key: EngineKey) -> None:
        """Remove the engine of a key, whatever state it is in."""
        named = self._named_plan(key)
        self._record_path(key).unlink(missing_ok=True)
        if named is not None:
            named.unlink(missing_ok=True)

    def records(self) -> tuple[EngineRecord, ...]:
        """Sidecars of all engines that can be read, by bundle and flavour."""
        found: list[EngineRecord] = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(self._read_record(path))
            except EngineCacheError:
                continue
        return tuple(sorted(found, key=lambda one: (one.bundle, one.key.flavour, one.key.device)))

    def read_blob(self, name: str) -> bytes | None:
        """Read a side product (timing cache, compiled kernels); None where it is absent, open to others or changed."""
        try:
            content = self._read(self.folder / name)
        except EngineCacheError:
            return None
        digest, _, blob = content.partition(b"\n")
        return blob if digest == hashlib.sha256(blob).hexdigest().encode() else None

    def write_blob(self, name: str, content: bytes) -> None:
        """Write a side product behind its SHA-256."""
        self._write(self.folder / name, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def _record_path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.digest[:24]}.json"

    def _plan_path(self, record: EngineRecord) -> Path:
        return self.folder / f"{record.key.digest[:24]}-{record.plan_sha256[:16]}.plan"

    def _named_plan(self, key: EngineKey) -> Path | None:
        try:
            return self._plan_path(self._read_record(self._record_path(key)))
        except EngineCacheError:
            return None

    def _read_record(self, path: Path) -> EngineRecord:
        try:
            return EngineRecord.model_validate_json(self._read(path))
        except ValidationError as error:
            raise EngineCacheError(f"{path} is no record of an engine: {error.errors()[0]['msg']}") from error

    def _raise_missing(self, key: EngineKey) -> NoReturn:
        wanted = f"no engine for {key.flavour} {key.version} on {key.device} in {self.folder}"
        others = [key.differences(one.key) for one in self.records() if one.key.model_sha256 == key.model_sha256]
        if not others:
            raise EngineMissingError(wanted)
        raise EngineStaleError(f"{wanted}; the nearest is stale: {', '.join(min(others, key=len))}")

    def _read(self, path: Path) -> bytes:
        try:
            _refuse_open_to_others(self.folder)
            with path.open("rb") as stream:
                _refuse_status(path, os.fstat(stream.fileno()))
                return stream.read()
        except OSError as error:
            raise EngineCacheError(f"{path} can't be read: {error.strerror}") from error

    def _write(self, path: Path, content: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _refuse_open_to_others(self.folder)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
            staging = Path(name)
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                staging.replace(path)
            except BaseException:
                staging.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise EngineCacheError(f"{path} can't be written: {error.strerror}") from error


def _refuse_open_to_others(folder: Path) -> None:
    _refuse_status(folder, folder.stat())


def _refuse_status(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise EngineCacheError(f"{path} belongs to another user: an engine holds code, only our own is loaded")
    if status.st_mode & _OTHERS_MAY_WRITE:
        raise EngineCacheError(
            f"{path} can be written by others: an engine holds code; chmod go-w it, or name a folder"
        )
