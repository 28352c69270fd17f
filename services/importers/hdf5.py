"""Read a rocking curve from any HDF5 file (NeXus, BLISS, areaDetector, …): the user names the datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.services.importers.documents import Document, DocumentMaker, array_key, number_key, run_uid
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.crystallography.fcc import Miller
from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.unlocked_hdf5 import check_not_being_written, open_unlocked

_STACK_DIMENSIONS = 3
_PLUGINS = hdf5plugin.__name__  # importing it registers the compression filters that detectors use


class Hdf5ImportError(BraggwatchError, ValueError):
    """The file lacks a named dataset, or a dataset's shape doesn't fit a rocking curve."""


class Hdf5Options(BaseModel):
    """The datasets to read, and the document fields they become."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    frames: str = Field(description="Dataset of the frames, (N, rows, columns).")
    angles: str = Field(description="Dataset of the scanned circle's readback, (N,), in degrees.")
    monitor: str | None = Field(default=None, description="Dataset of the incident intensity, (N,).")
    detector_field: str = Field(description="Field for the frames: the geometry preset's detector_field.")
    scanned: str = Field(description="Field for the angles: the geometry preset's scanned circle.")
    monitor_field: str | None = Field(default=None, description="Field for the monitor.")
    stated: dict[str, FiniteFloat] = Field(default_factory=dict, description="Signals stated by the user.")
    read: dict[str, str] = Field(default_factory=dict, description="Signal → dataset that holds one number.")
    sample: str | None = None
    hkl: Miller | None = Field(default=None, description="Reflection stated by the user; None: the preset's.")
    hkl_field: str = Field(default="hkl", description="Key in the start document for the reflection.")


def hdf5_documents(options: Hdf5Options) -> Iterator[RecordedDocument]:
    """Yield the documents; one frame is in memory at a time.

    Raises
    ------
    Hdf5ImportError
        If a dataset is absent or has the wrong shape or length.
    OSError
        If the file can't be opened.
    """
    with open_unlocked(options.file) as file:
        frames = _dataset(file, options.frames)
        if frames.ndim != _STACK_DIMENSIONS:
            raise Hdf5ImportError(f"{options.frames} has shape {frames.shape}, not (N, rows, columns)")
        angles = _column(file, options.angles, frames.shape[0])
        monitor = _column(file, options.monitor, frames.shape[0]) if options.monitor is not None else None
        if monitor is not None and options.monitor_field is None:
            raise Hdf5ImportError("a monitor dataset is named, but the geometry preset has no monitor_field")
        signals, origins = _signals(file, options)
        yield from _documents(options, frames, angles, monitor, signals, origins)


def _documents(
    options: Hdf5Options,
    frames: h5py.Dataset,
    angles: NDArray[np.float64],
    monitor: NDArray[np.float64] | None,
    signals: Mapping[str, float],
    origins: Mapping[str, str],
) -> Iterator[RecordedDocument]:
    status = options.file.stat()
    statements = [repr(sorted(signals.items())), *([] if options.hkl is None else [repr(options.hkl)])]
    uid = run_uid(str(options.file.resolve()), str(status.st_size), str(status.st_mtime_ns), *statements)
    make, time = DocumentMaker(uid), status.st_mtime
    count = int(frames.shape[0])
    start: Document = {
        "uid": uid,
        "time": time,
        "scan_id": 0,
        "plan_name": "imported",
        "source_file": options.file.name,
        "motors": [options.scanned],
        "num_points": count,
        "num_intervals": count - 1,
        "hints": {"dimensions": [[[options.scanned], "primary"]]},
        "import_origins": dict(origins),
    }
    if options.sample is not None:
        start["sample_name"] = options.sample
    if options.hkl is not None:
        start[options.hkl_field] = list(options.hkl)
    yield RecordedDocument(0.0, "start", start)
    baseline = {name: number_key(origins[name]) for name in signals}
    yield RecordedDocument(0.0, "descriptor", make.descriptor("baseline", time, baseline))
    yield RecordedDocument(0.0, "event", make.event("baseline", 1, time, signals))
    keys: Document = {
        options.detector_field: array_key(f"dataset {options.frames}", frames.shape[1:], frames.dtype.str),
        options.scanned: number_key(f"dataset {options.angles}", "deg"),
    }
    if monitor is not None and options.monitor_field is not None:
        keys[options.monitor_field] = number_key(f"dataset {options.monitor}")
    yield RecordedDocument(0.0, "descriptor", make.descriptor("primary", time, keys))
    for index in range(count):
        data: Document = {options.detector_field: np.asarray(frames[index]), options.scanned: float(angles[index])}
        if monitor is not None and options.monitor_field is not None:
            data[options.monitor_field] = float(monitor[index])
        yield RecordedDocument(0.0, "event", make.event("primary", index + 1, time, data))
    yield RecordedDocument(0.0, "stop", make.stop(time, {"baseline": 1, "primary": count}))


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        present: list[str] = []
        file.visititems(lambda path, item: present.append(f"/{path}") if isinstance(item, h5py.Dataset) else None)
        raise Hdf5ImportError(f"no dataset {name}; the file has {', '.join(present[:20]) or 'none'}")
    check_not_being_written(found)
    return found


def _column(file: h5py.File, name: str, length: int) -> NDArray[np.float64]:
    dataset = _dataset(file, name)
    if dataset.shape != (length,):
        raise Hdf5ImportError(f"{name} has shape {dataset.shape}, but there are {length} frames")
    return np.asarray(dataset[()], dtype=np.float64)


def _signals(file: h5py.File, options: Hdf5Options) -> tuple[dict[str, float], dict[str, str]]:
    signals: dict[str, float] = dict(options.stated)
    origins = dict.fromkeys(options.stated, "stated by the user at import")
    for name, path in options.read.items():
        dataset = _dataset(file, path)
        if dataset.size != 1:
            raise Hdf5ImportError(f"{path} holds {dataset.size} values, {name} needs one")
        signals[name] = float(cast("NDArray[np.float64]", np.asarray(dataset[()])).reshape(-1)[0])
        origins[name] = f"dataset {path}"
    return signals, origins
