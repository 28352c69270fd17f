"""Devices of numbers for a real RunEngine: a motor, and a detector that shows a known rocking curve."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_WRITER = """
import h5py, numpy, sys
frames, path, swmr = numpy.load(sys.argv[1]), sys.argv[2], sys.argv[3] == "swmr"
file = h5py.File(path, "w", libver="latest")
data = file.create_dataset(
    "/entry/data/data", (0, *frames.shape[1:]), frames.dtype, maxshape=(None, *frames.shape[1:]), chunks=(1, *frames.shape[1:])
)
if swmr:
    file.swmr_mode = True
print("open", flush=True)
for line in sys.stdin:
    if line == "close\\n":
        break
    data.resize(int(line) + 1, axis=0)
    data[int(line)] = frames[int(line)]
    if swmr:
        data.flush()
    print("written", flush=True)
file.close()
print("closed", flush=True)
"""  # noqa: E501


class _Done:
    done = success = True

    def add_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    def exception(self, timeout: float | None = None) -> None:
        return None

    def wait(self, timeout: float | None = None) -> None:
        return None


class SoftSignal:
    """A number with a name that can be read and moved."""

    parent = None

    def __init__(
        self, name: str, value: float = 0.0, *, on_set: Callable[[float], object] | None = None, **key: Any
    ) -> None:
        self.name, self.value, self.on_set = name, value, on_set
        self._key: dict[str, object] = {"source": f"SIM:{name}", "dtype": "number", "shape": [], **key}
        self.configuration: dict[str, float] = {}

    def describe(self) -> dict[str, Any]:
        return {self.name: dict(self._key)}

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.value, "timestamp": time.time()}}

    def describe_configuration(self) -> dict[str, Any]:
        return {name: {"source": "SIM", "dtype": "number", "shape": []} for name in self.configuration}

    def read_configuration(self) -> dict[str, Any]:
        return {name: {"value": value, "timestamp": time.time()} for name, value in self.configuration.items()}

    def configure(self, values: dict[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
        before = self.read_configuration()
        self.configuration |= values
        return before, self.read_configuration()

    @property
    def hints(self) -> dict[str, list[str]]:
        return {"fields": [self.name]}

    @property
    def position(self) -> float:
        return self.value

    def set(self, value: float) -> _Done:
        self.value = value
        if self.on_set is not None:
            self.on_set(value)
        return _Done()

    def stop(self, *, success: bool = False) -> None:
        pass


class SoftDetector(SoftSignal):
    """Shows the frame that belongs to a motor's position; its frames travel inside the events."""

    def __init__(self, name: str, frames: np.ndarray, angles: np.ndarray, motor: SoftSignal, **key: object) -> None:
        super().__init__(name)
        self._key |= {"dtype": "array", "shape": list(frames.shape[1:]), **key}
        self.frames, self._angles, self._motor = frames, angles, motor
        self.shown: Any = frames[0]

    def trigger(self) -> _Done:
        self.shown = self.frames[int(np.abs(self._angles - self._motor.value).argmin())].copy()
        return _Done()

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.shown, "timestamp": time.time()}}


class FileDetector(SoftDetector):
    """Writes ``frames``, one at each trigger, to a file that another process holds open until it is unstaged."""

    def __init__(self, *scan: Any, path: Path, swmr: bool = False) -> None:
        super().__init__(*scan, external="FILESTORE:")
        self._path, self._swmr, self._point = path, swmr, -1
        self._told: list[tuple[str, dict[str, Any]]] = []
        self._writer: subprocess.Popen[str] | None = None

    def stage(self) -> list[Any]:
        source = self._path.with_suffix(".npy")
        np.save(source, self.frames)
        words = [sys.executable, "-c", _WRITER, str(source), str(self._path), "swmr" if self._swmr else "plain"]
        self._writer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._heard() == "open\n"
        spec = "AD_HDF5_SWMR" if self._swmr else "AD_HDF5"
        resource = {"uid": self.name, "spec": spec, "root": "/", "resource_path": str(self._path)[1:]}
        resource |= {"resource_kwargs": {"frame_per_point": 1}, "path_semantics": "posix"}
        self._told.append(("resource", resource))
        return [self]

    def unstage(self) -> list[Any]:
        assert self._writer is not None
        assert self._ask("close") == "closed\n"
        with self._writer:
            pass
        return [self]

    def trigger(self) -> _Done:
        self._point += 1
        assert self._ask(str(self._point)) == "written\n"
        datum = {"datum_id": f"{self.name}/{self._point}", "resource": self.name}
        self._told.append(("datum", datum | {"datum_kwargs": {"point_number": self._point}}))
        self.shown = f"{self.name}/{self._point}"
        return _Done()

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        told, self._told = self._told, []
        yield from told

    def _ask(self, what: str) -> str:
        assert self._writer is not None
        assert self._writer.stdin is not None
        self._writer.stdin.write(what + "\n")
        self._writer.stdin.flush()
        return self._heard()

    def _heard(self) -> str:
        assert self._writer is not None
        assert self._writer.stdout is not None
        return self._writer.stdout.readline()
