"""The ophyd-async detector: HDF5 (SWMR) announced by StreamResource and StreamDatum, in step and fly scans."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from ophyd_async.core import (
    DetectorAcquireLogic,
    DetectorDataLogic,
    DetectorTriggerLogic,
    PathProvider,
    SignalDict,
    StandardDetector,
    StreamableDataProvider,
    StreamResourceDataProvider,
    StreamResourceInfo,
    TriggerInfo,
    soft_signal_r_and_setter,
)

from braggwatch.sim.beamline.frame_file import ANGLES, ANGLES_CHUNK, FRAMES, FrameFile
from braggwatch.sim.beamline.motors import RockingMotor
from braggwatch.sim.beamline.world import SimulatedWorld


class FrameWriter:
    """State shared by the detector's three logics: number of frames, source of pulses, and file."""

    def __init__(self, world: SimulatedWorld, th: RockingMotor) -> None:
        self.world = world
        self.th = th
        self.frames_requested = 1
        self.dwell_s = 0.0
        self.on_pulses = False
        self.written, self._set_written = soft_signal_r_and_setter(int)
        self._file: FrameFile | None = None

    def open(self, path: Path) -> None:
        """Create the file for one stage/unstage cycle."""
        self._file = FrameFile(path, self.world.frame_shape, angles=self.on_pulses, swmr=True)
        self._set_written(0)

    def close(self) -> None:
        """Close the file if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def take_frames(self) -> None:
        """Take and write the requested frames.

        Raises
        ------
        RuntimeError
            If no file is open.
        """
        file = self._file
        if file is None:
            raise RuntimeError("the detector was not prepared: no file is open")
        for _ in range(self.frames_requested):
            if self.on_pulses:
                angle = await self.th.pulses.get()
                self.th.stand_at(angle)
            else:
                await asyncio.sleep(self.dwell_s)
                angle = self.world.angle_deg
            frame = await asyncio.to_thread(self.world.expose, angle)
            self._set_written(file.append(frame, angle))


class FrameTriggerLogic(DetectorTriggerLogic):
    """Internal timing in step scans, the rocking motor's pulses in fly scans."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer

    def get_deadtime(self, config_values: SignalDict) -> float:
        """No dead time."""
        del config_values
        return 0.0

    async def prepare_internal(self, num: int, livetime: float, deadtime: float) -> None:
        """Prepare ``num`` frames, each ``livetime + deadtime`` seconds after the last."""
        self._writer.frames_requested = num
        self._writer.dwell_s = livetime + deadtime
        self._writer.on_pulses = False

    async def prepare_edge(self, num: int, livetime: float) -> None:
        """Prepare one frame at each of the next ``num`` pulses."""
        del livetime
        self._writer.frames_requested = num
        self._writer.on_pulses = True

    async def default_trigger_info(self) -> TriggerInfo:
        """Prepare one internally timed frame."""
        return TriggerInfo()


class FrameAcquireLogic(DetectorAcquireLogic):
    """Runs the acquisition as a task."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._task: asyncio.Task[None] | None = None

    async def start_acquiring(self) -> None:
        """Start taking frames (or waiting for pulses)."""
        self._task = asyncio.create_task(self._writer.take_frames())

    async def wait_for_idle(self) -> None:
        """Wait for the last frame; an error of the acquisition surfaces here."""
        if self._task is not None:
            await self._task

    async def ensure_stopped(self) -> None:
        """Cancel the acquisition in progress."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None


class FrameDataLogic(DetectorDataLogic):
    """Opens a file and announces its datasets.

    In a step scan the motor's reading is in each event; a fly scan has no events, so the angles go into a second
    dataset of the same file, with its own stream resource under the motor's name.
    """

    def __init__(self, writer: FrameWriter, path_provider: PathProvider, suffix: str) -> None:
        self._writer = writer
        self._path_provider = path_provider
        self.datakey_suffix = suffix

    async def prepare_unbounded(self, datakey_name: str) -> StreamableDataProvider:
        """Create the file and describe its datasets."""
        info = self._path_provider(datakey_name)
        filename = f"{info.filename}.h5"
        self._writer.open(Path(info.directory_path) / filename)
        shape = self._writer.world.frame_shape
        resources = [
            StreamResourceInfo(
                data_key=datakey_name,
                shape=shape,
                chunk_shape=(1, *shape),
                dtype_numpy="<u4",
                parameters={"dataset": FRAMES},
            )
        ]
        if self._writer.on_pulses:
            resources.append(
                StreamResourceInfo(
                    data_key=self._writer.th.name,
                    shape=(),
                    chunk_shape=(ANGLES_CHUNK,),
                    dtype_numpy="<f8",
                    parameters={"dataset": ANGLES},
                )
            )
        return StreamResourceDataProvider(
            uri=f"{info.directory_uri}{filename}",
            resources=resources,
            mimetype="application/x-hdf5",
            collections_written_signal=self._writer.written,
        )

    async def stop(self) -> None:
        """Close the file."""
        self._writer.close()

    def get_hinted_fields(self, datakey_name: str) -> list[str]:
        """Return the frames' field, which a live view should show."""
        return [datakey_name]


class StreamDetector(StandardDetector):
    """Area detector whose frames travel as StreamResource and StreamDatum.

    Parameters
    ----------
    world
        Source of the exposures.
    th
        The rocking motor, whose pulses trigger the detector in fly scans.
    path_provider
        Provides the path of each file.
    data_key
        Field of the frames; ``det_image`` makes a device ``det``.
    """

    def __init__(
        self, world: SimulatedWorld, th: RockingMotor, path_provider: PathProvider, data_key: str = "det_image"
    ) -> None:
        name, underscore, suffix = data_key.partition("_")
        writer = FrameWriter(world, th)
        self.add_detector_logics(
            FrameTriggerLogic(writer),
            FrameAcquireLogic(writer),
            FrameDataLogic(writer, path_provider, underscore + suffix),
        )
        super().__init__(name=name)
