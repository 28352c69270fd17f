"""The frames of one curve on a device, surveyed and ready to be gathered from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.device import frame_kernels
from braggwatch.callbacks.cxdp.device.frame_store import DeviceFrames, marker
from braggwatch.callbacks.cxdp.device.launch import download, launch, launch_blocks, upload, zeroed
from braggwatch.callbacks.cxdp.device.workspace import Workspace
from braggwatch.callbacks.cxdp.preprocess.corrections import FrameStatistics, valid_range
from braggwatch.callbacks.cxdp.preprocess.gather_kernel import MINIMUM_WEIGHT
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import CUBE, IndexPolynomial
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.scale import SizeEstimate, size_from_profile
from braggwatch.callbacks.cxdp.preprocess.scan_plan import ScanPlan
from braggwatch.sim.warp.warp_arrays import WarpArray, WarpStruct, ints

_MOST_HOT = 65536
_STATIC_HOT_FRAMES = 3


@dataclass(frozen=True, slots=True)
class DeviceImages:
    """Gain and dark of `braggwatch.callbacks.cxdp.preprocess.scan_plan.DetectorImages` on the device."""

    gain: WarpArray
    dark: WarpArray


class DeviceCube:
    """The cube in the workspace, valid until the next one is gathered; arrays are copied to the host when read."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._read: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def intensity(self) -> NDArray[np.float32]:
        """(64, 64, 64) float32 corrected counts."""
        return self._arrays()[0]

    @property
    def coverage(self) -> NDArray[np.float32]:
        """(64, 64, 64) float32 measured fraction of each voxel, 0 to 1."""
        return self._arrays()[1]

    def size(self, voxel_size_inv_A: float) -> SizeEstimate | None:
        """See `braggwatch.callbacks.cxdp.preprocess.scale.estimate_size`."""
        found = self._workspace.profile()
        if found is None:
            return None
        return size_from_profile(*found, 2.0 * np.pi / (CUBE * voxel_size_inv_A) / 10.0)

    def centre(self, window_voxels: float) -> NDArray[np.float64]:
        """See `braggwatch.callbacks.cxdp.preprocess.peak_centre.peak_centre`."""
        return self._workspace.centre(window_voxels)

    def _arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self._read is None:
            self._read = self._workspace.read()
        return self._read


class SurveyedOnDevice:
    """`braggwatch.callbacks.cxdp.preprocess.surveyed_frames.SurveyedFrames` on a device.

    The host gets 80 bytes for each frame of the survey, 131 kB of the frames' sum about the peak, and what the
    workspace hands out; the frames stay where they are. Hot readings are overwritten there.
    """

    def __init__(
        self,
        frames: DeviceFrames,
        plan: ScanPlan,
        images: DeviceImages,
        settings: PreprocessingSettings,
        workspace: Workspace,
    ) -> None:
        self._plan = plan
        self._device = device = workspace.device
        self._workspace = workspace
        self._shape = frames.shape
        self._array = frames.array(plan.usable.size)
        self._dark = images.dark
        self._survey_gain = self._gain = images.gain
        self._usable = ints(np.flatnonzero(plan.usable), device)
        limits: WarpStruct = frame_kernels.Limits()
        limits.valid_from, limits.valid_below = valid_range(frames.source)
        limits.saturation = np.inf if settings.saturation_counts is None else settings.saturation_counts
        limits.hot_ratio, limits.hot_counts = settings.hot_ratio, settings.hot_counts
        self._limits = limits
        rocking: WarpStruct = frame_kernels.Rocking()
        rocking.angles = upload(plan.order.angles_deg, wp.float64, device)
        rocking.frames = ints(plan.order.frames, device)
        rocking.trust = upload(plan.order.trust, wp.float64, device)
        rocking.scale = upload(plan.frame_scale, wp.float64, device)
        self._rocking = rocking
        self._statistics = self._survey(marker(frames.stored))

    @property
    def plan(self) -> ScanPlan:
        """Order, geometry and corrections."""
        return self._plan

    @property
    def statistics(self) -> FrameStatistics:
        """What the pass over the frames found; `total_image` has shape (0, 0), see `image`."""
        return self._statistics

    def image(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Return a window of the frames' sum: usable counts, not corrected."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        image = zeroed(shape, wp.float64, self._device)
        inputs = [self._array, self._usable, self._survey_gain, self._limits, rows.start, columns.start]
        launch(frame_kernels.sum_window, shape, [*inputs, image], self._device)
        return download(image)

    def gather(self, polynomial: IndexPolynomial, samples: tuple[int, int, int]) -> DeviceCube:
        """Pull a cube out of the frames into the workspace."""
        workspace = self._workspace
        coefficients = upload(polynomial.coefficients, wp.float64, self._device)
        inputs = [self._array, self._rocking, self._gain, self._dark, self._limits, coefficients, *samples]
        outputs = [workspace.intensity, workspace.coverage]
        launch(
            frame_kernels.gather_cube, (CUBE, CUBE, CUBE), [*inputs, wp.float64(MINIMUM_WEIGHT), *outputs], self._device
        )
        return DeviceCube(workspace)

    def _survey(self, no_measurement: NDArray[np.generic]) -> FrameStatistics:
        device, count, rows = self._device, self._usable.size, self._shape[0]
        found: WarpStruct = frame_kernels.RowFindings()
        for name, kind in (("total", wp.float64), ("peak", wp.float64)):
            setattr(found, name, zeroed((count, rows), kind, device))
        for name in ("peak_column", "special", "saturated", "invalid", "hot"):
            setattr(found, name, zeroed((count, rows), wp.int32, device))
        table = zeroed((count, frame_kernels.FINDINGS), wp.float64, device)
        inputs = [self._array, self._usable, self._survey_gain, self._limits, found]
        launch_blocks(frame_kernels.survey_rows, [count, rows], inputs, device)
        launch_blocks(frame_kernels.reduce_rows, [count], [found, table], device)
        values = download(table)
        hot = min(int(values[:, 3].sum()), _MOST_HOT)
        static = self._leave_out(found.hot, hot, no_measurement) if hot else 0
        totals = np.zeros(self._plan.usable.size)
        numbers = np.flatnonzero(self._plan.usable)
        totals[numbers] = values[:, 0]
        # As in the survey on a CPU: rows without a potentially hot count are only searched if no other row has a peak.
        which = 4 if values[:, 4].max() > 0 else 7
        top = int(np.argmax(values[:, which]))
        return FrameStatistics(
            total_image=np.zeros((0, 0)),
            frame_totals=totals,
            peak_index=(int(numbers[top]), int(values[top, which + 1]), int(values[top, which + 2])),
            peak_counts=float(values[top, which]),
            saturated=int(values[:, 1].sum()),
            invalid=int(values[:, 2].sum()),
            outliers=hot,
            hot_pixels=static,
        )

    def _leave_out(self, hot_rows: WarpArray, hot: int, no_measurement: NDArray[np.generic]) -> int:
        """Mark hot readings and mask pixels that are hot in several frames; returns how many pixels those are."""
        device = self._device
        start = zeroed([hot_rows.size], wp.int32, device)
        wp.utils.array_scan(hot_rows.flatten(), start, inclusive=False)
        hot_frame, hot_pixel = zeroed([hot], wp.int32, device), zeroed([hot], wp.int32, device)
        times = zeroed(self._shape, wp.int32, device)
        inputs = [self._array, self._usable, self._survey_gain, self._limits, hot_rows, start]
        launch(frame_kernels.list_hot, hot_rows.shape, [*inputs, hot_frame, hot_pixel, times], device)
        mark = upload(no_measurement, self._array.dtype, device)
        launch(frame_kernels.mark_hot, (hot,), [self._array, hot_frame, hot_pixel, mark], device)
        masked = zeroed(self._shape, wp.float32, device)
        number = zeroed([1], wp.int32, device)
        launch(
            frame_kernels.mask_static,
            self._shape,
            [self._survey_gain, times, _STATIC_HOT_FRAMES, masked, number],
            device,
        )
        self._gain = masked
        return int(number.numpy()[0])
