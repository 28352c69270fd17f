"""The preprocessing with its frames on a device: same decisions, same results, no cube of frames on the way back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.device.frame_store import DeviceFrameStore
from braggwatch.callbacks.cxdp.device.launch import address, upload
from braggwatch.callbacks.cxdp.device.surveyed import DeviceImages, SurveyedOnDevice
from braggwatch.callbacks.cxdp.device.workspace import Workspace
from braggwatch.callbacks.cxdp.preprocess.model_input import make_model_input
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, readable, unusable_input
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.scan_plan import DetectorImages, InvalidDataError, detector_images, plan_scan
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.models.runtimes.device_input import DeviceBatch
from braggwatch.sim.bounded import Bounded
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.warp.warp_arrays import WarpArray

logger = logging.getLogger(__name__)

_IMAGES_KEPT = 4


class DevicePreprocessor:
    """Preprocesses on a CUDA device, or with the same kernels on a CPU, see `CpuPreprocessor` for the result.

    Frames given to `frames` while a run is being put together are on the device when its curve comes; the others go
    up then. Where the device fails, the curve is preprocessed on the CPU and the log says so; where it then doesn't
    answer at all, as after an illegal access, so are all that follow. Not for several threads.

    Parameters
    ----------
    device
        As Warp names it: ``"cuda:0"``, ``"cpu"``.
    max_bytes, slots
        See `DeviceFrameStore`.
    on_takeover
        Called once, with the reason in words, when the CPU has taken over for good; must not raise.

    Raises
    ------
    ValueError
        If Warp knows no such device.
    """

    def __init__(
        self,
        settings: PreprocessingSettings,
        device: str = "cuda:0",
        *,
        max_bytes: int = 2_000_000_000,
        slots: int = 8,
        on_takeover: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        # Else Warp prints its devices and every compilation.
        wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
        wp.init()
        self._device = wp.get_device(device)
        self._workspace = Workspace(self._device)
        self._store = DeviceFrameStore(self._device, max_bytes, slots)
        self._images = Bounded[tuple[object, ...], tuple[DetectorImages, DeviceImages]](_IMAGES_KEPT)
        self._on_cpu = CpuPreprocessor(settings)
        self._on_takeover = on_takeover
        self._lost = False

    @property
    def device(self) -> str:
        """Name of the device, and of the hardware where Warp knows it; ``"cpu"`` once the CPU has taken over."""
        if self._lost:
            return "cpu"
        return f"{self._device.alias} ({self._device.name})" if self._device.name else self._device.alias

    @property
    def frames(self) -> DeviceFrameStore:
        """Takes frames as they arrive."""
        return self._store

    def __call__(self, curve: RockingCurve) -> ModelInput:
        """Preprocess one curve; `ModelInput.batch` is good until the next call."""
        if self._lost:
            return self._on_cpu(curve)
        try:
            return self._preprocess(curve)
        except InvalidDataError as error:
            return unusable_input(curve.run_uid, str(error))
        except RuntimeError as error:
            self._failed(curve.run_uid, error)
            return self._on_cpu(curve)
        finally:
            self._store.dropped(curve.run_uid)

    def _failed(self, run_uid: str, error: RuntimeError) -> None:
        """Say what failed, and leave the device where it is beyond use."""
        if self._answers():
            logger.warning("%s failed on run %s, which is preprocessed on the CPU: %s", self._device, run_uid, error)
            return
        self._lost = True
        self._store.give_up()
        reason = f"{self._device} failed while it preprocessed a scan, the CPU goes on until a restart: {error}"
        logger.warning("%s", reason)
        if self._on_takeover is not None:
            self._on_takeover(reason)

    def _answers(self) -> bool:
        """Tell whether the device still computes: after an illegal access it does nothing any more."""
        try:
            self._workspace.mirror()
            wp.synchronize_device(self._device)
        except RuntimeError:
            return False
        return True

    def _preprocess(self, curve: RockingCurve) -> ModelInput:
        cube = readable(curve.frames)
        plan = plan_scan(curve, self.settings, self._host_images)
        images = self._images[_images_key(curve.geometry, curve.crop_origin, (cube.shape[1], cube.shape[2]))][1]
        frames = self._store.take(curve.run_uid, cube, plan.usable)
        try:
            surveyed = SurveyedOnDevice(frames, plan, images, self.settings, self._workspace)
            made = make_model_input(surveyed, curve.geometry, self.settings, curve.run_uid)
        finally:
            self._store.release(frames)
        return replace(made, batch=self._batch())

    def _batch(self) -> DeviceBatch:
        self._workspace.mirror()
        batch = self._workspace.batch
        wp.synchronize_device(self._device)
        return DeviceBatch(address(batch), batch.shape[0], batch.shape[1], self._device.alias, batch)

    def _host_images(
        self,
        settings: PreprocessingSettings,
        geometry: RockingGeometry,
        crop_origin: tuple[int, int],
        shape: tuple[int, int],
    ) -> DetectorImages:
        """Make the detector's images once for each layout of its frames."""
        key = _images_key(geometry, crop_origin, shape)
        if key not in self._images:
            made = detector_images(settings, geometry, crop_origin, shape)
            self._images[key] = made, DeviceImages(self._upload(made.gain), self._upload(made.dark))
        return self._images[key][0]

    def _upload(self, image: NDArray[np.float32]) -> WarpArray:
        return upload(image, wp.float32, self._device)


def _images_key(geometry: RockingGeometry, crop_origin: tuple[int, int], shape: tuple[int, int]) -> tuple[object, ...]:
    """Return all that `detector_images` reads of a geometry."""
    return (
        geometry.chip_shape,
        geometry.frame_shape,
        geometry.roi_origin,
        geometry.binning,
        geometry.transposed,
        crop_origin,
        shape,
    )
