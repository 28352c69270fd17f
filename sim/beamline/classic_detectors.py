"""The two classic ophyd detectors: frames inside the events, and frames in an areaDetector-like HDF5 file."""

from __future__ import annotations

import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bluesky.protocols import Reading
from event_model import ComposeResourceBundle, DataKey, compose_resource
from numpy.typing import NDArray
from ophyd import Component, Device, Kind, Signal
from ophyd.status import DeviceStatus

from braggwatch.sim.beamline.frame_file import FrameFile
from braggwatch.sim.beamline.world import SimulatedWorld

AssetDocument = tuple[str, dict[str, object]]


class _ExposingDevice(Device, ABC):
    """Takes an exposure outside the event loop on each trigger and passes it to `_deliver`."""

    def __init__(self, world: SimulatedWorld, name: str) -> None:
        super().__init__(name=name)
        self.world = world

    def trigger(self) -> DeviceStatus:
        """Take one exposure; the status is done once the frame can be read."""
        status = DeviceStatus(self)
        threading.Thread(target=self._expose_into, args=(status,), name=f"{self.name}-exposure", daemon=True).start()
        return status

    def _expose_into(self, status: DeviceStatus) -> None:
        try:
            self._deliver(self.world.expose())
        except (OSError, RuntimeError, ValueError) as error:  # the plan must fail, not hang
            status.set_exception(error)
        else:
            status.set_finished()

    @abstractmethod
    def _deliver(self, frame: NDArray[np.uint32]) -> None:
        """Make a frame readable."""


class InlineDetector(_ExposingDevice):
    """Area detector whose frames travel as arrays in the events.

    Parameters
    ----------
    world
        Source of the exposures.
    data_key
        Field of the frames.
    """

    image = Component(Signal, kind=Kind.normal)

    def __init__(self, world: SimulatedWorld, data_key: str = "det_image") -> None:
        super().__init__(world, name=data_key.partition("_")[0])
        self.image.name = data_key
        # descriptors are made before the first exposure: the signal needs a value of the right shape
        self.image.put(np.zeros(world.frame_shape, dtype=np.uint32))

    def _deliver(self, frame: NDArray[np.uint32]) -> None:
        self.image.put(frame)


class AreaDetectorHDF5(_ExposingDevice):
    """Area detector whose frames travel as Resource and Datum (spec ``AD_HDF5``), one file per run.

    Parameters
    ----------
    world
        Source of the exposures.
    directory
        Folder of the files; the ``root`` of the resource documents.
    data_key
        Field of the frames.
    swmr
        Whether the file can be read while it grows, which older areaDetector set-ups don't support.
    """

    def __init__(
        self, world: SimulatedWorld, directory: Path, data_key: str = "det_image", *, swmr: bool = True
    ) -> None:
        super().__init__(world, name=data_key.partition("_")[0])
        self._directory = directory
        self._data_key = data_key
        self._swmr = swmr
        self._file: FrameFile | None = None
        self._resource: ComposeResourceBundle | None = None
        self._pending: list[AssetDocument] = []
        self._datum_id = ""
        self._timestamp = time.time()

    def stage(self) -> list[object]:
        """Open a new file and compose its resource document."""
        staged = super().stage()
        filename = f"{uuid.uuid4()}.h5"
        self._file = FrameFile(self._directory / filename, self.world.frame_shape, angles=False, swmr=self._swmr)
        self._resource = compose_resource(
            spec="AD_HDF5",
            root=str(self._directory),
            resource_path=filename,
            resource_kwargs={"frame_per_point": 1},
        )
        resource = dict(self._resource.resource_doc)
        # without a run uid, the composer omits the key; bluesky fills it in when the document is emitted
        resource.pop("run_start", None)
        self._pending = [("resource", resource)]
        return staged

    def unstage(self) -> list[object]:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._resource = None
        return super().unstage()

    # ophyd annotates this with its own type, which nothing else satisfies
    def describe(self) -> OrderedDict[str, DataKey]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Describe the external frames."""
        key = DataKey(
            source=f"SIM:{self.name}",
            dtype="array",
            dtype_numpy="<u4",
            shape=list(self.world.frame_shape),
            external="FILESTORE:",
        )
        return OrderedDict({self._data_key: key})

    def read(self) -> OrderedDict[str, Reading[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the datum id of the last frame."""
        return OrderedDict({self._data_key: Reading(value=self._datum_id, timestamp=self._timestamp)})

    @property
    def hints(self) -> dict[str, list[str]]:
        """No hints: the frames are external, so there is nothing to plot."""
        return {"fields": []}

    def collect_asset_docs(self) -> Iterator[AssetDocument]:
        """Yield the documents that belong to frames taken since the last call."""
        pending, self._pending = self._pending, []
        yield from pending

    def _deliver(self, frame: NDArray[np.uint32]) -> None:
        if self._file is None or self._resource is None:
            raise RuntimeError(f"{self.name} must be staged before it is triggered")
        written = self._file.append(frame, self.world.angle_deg)
        datum = self._resource.compose_datum(datum_kwargs={"point_number": written - 1})
        self._timestamp = time.time()
        self._datum_id = str(datum["datum_id"])
        self._pending.append(("datum", dict(datum)))
