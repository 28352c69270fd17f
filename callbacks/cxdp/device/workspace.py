"""What every run needs on a device whatever its frames: fixed arrays of 64 voxels an edge, made once."""

from __future__ import annotations

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.device import cube_kernels
from braggwatch.callbacks.cxdp.device.launch import download, launch, launch_blocks, page_locked, upload, zeroed
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import CUBE
from braggwatch.callbacks.cxdp.preprocess.scale import normalised_profile, radial_bins
from braggwatch.models.cxdp.symmetry import SymmetryCopies, mirrored_axes
from braggwatch.sim.warp.warp_arrays import ints

# Edge of the middle block in which the peak is searched, see `braggwatch.callbacks.cxdp.preprocess.peak_centre`.
_SEARCH = 32


class Workspace:
    """A cube, its spectrum, its mirror images, and page-locked memory to read results through.

    About 17 MB on the device, of which 8 MB are the mirror images.
    """

    def __init__(self, device: wp.Device) -> None:
        self.device = device
        cube = (CUBE, CUBE, CUBE)
        half = (CUBE, CUBE, CUBE // 2 + 1)
        self.intensity = zeroed(cube, wp.float32, device)
        self.coverage = zeroed(cube, wp.float32, device)
        copies: SymmetryCopies = 8
        self.batch = zeroed((copies, *cube), wp.float32, device)
        flipped = np.zeros((copies, 3), dtype=np.int32)
        for number, axes in enumerate(mirrored_axes(copies)):
            flipped[number, list(axes)] = 1
        self._flipped = upload(flipped, wp.int32, device)
        self._spectra = [zeroed(half, wp.vec2d, device) for _ in range(2)]
        self._power = zeroed(half, wp.float64, device)
        phase = -2.0 * np.pi * np.arange(CUBE) / CUBE
        self._turns = upload(np.stack([np.cos(phase), np.sin(phase)], axis=1), wp.vec2d, device)
        self._bins = CUBE // 2 + 1
        index, weight, radius = radial_bins(cube)
        self._radius = radius[: self._bins]
        order = np.argsort(index, kind="stable")
        start = np.searchsorted(index[order], np.arange(self._bins + 1))
        used = order[: start[-1]]
        self._start, self._sample = ints(start, device), ints(used, device)
        self._weight = upload(weight[used], wp.float64, device)
        # A sample rounds to the outermost bin up to this squared radius.
        self._most = int((self._bins - 0.5) ** 2)
        self._means = zeroed([self._bins], wp.float64, device)
        self._amplitudes = zeroed([self._bins + 1], wp.float64, device)
        self._peaks = zeroed([_SEARCH], wp.float32, device)
        self._places = zeroed([_SEARCH], wp.int32, device)
        self._centre = zeroed([3], wp.float64, device)
        self._host_cubes = [page_locked(cube, wp.float32, device) for _ in range(2)]

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        arrays = (self.intensity, self.coverage, self.batch, *self._spectra, self._power, self._sample, self._weight)
        return sum(array.capacity for array in arrays)

    def profile(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return `callbacks.cxdp.preprocess.scale.radial_autocorrelation` of the cube, None where it is all zero.

        The host gets 34 numbers.
        """
        first, second = self._spectra
        half = self._power.shape
        launch(cube_kernels.transform_last, half, [self.intensity, self._turns, first], self.device)
        launch(cube_kernels.transform_middle, half, [first, self._turns, self._most, second], self.device)
        launch(cube_kernels.transform_first, half, [second, self._turns, self._most, self._power], self.device)
        samples = [self._power.flatten(), self._start, self._sample, self._weight]
        launch_blocks(cube_kernels.mean_power, [self._bins], [*samples, self._means], self.device)
        launch_blocks(cube_kernels.mean_amplitude, [self._bins], [*samples, self._means, self._amplitudes], self.device)
        result = download(self._amplitudes)
        if result[-1] <= 0.0:
            return None
        return self._radius, normalised_profile(self._radius, result[:-1])

    def centre(self, window_voxels: float) -> NDArray[np.float64]:
        """Return `braggwatch.callbacks.cxdp.preprocess.peak_centre.peak_centre` of the cube."""
        peaks = [self.intensity, self._peaks, self._places]
        launch_blocks(cube_kernels.find_plane_peaks, [_SEARCH], peaks, self.device)
        launch_blocks(cube_kernels.find_centre, [1], [*peaks, float(window_voxels), self._centre], self.device)
        return download(self._centre)

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return intensity and coverage, 1 MB each, as arrays of their own."""
        for host, array in zip(self._host_cubes, (self.intensity, self.coverage), strict=True):
            wp.copy(host, array)
        if self.device.is_cuda:
            wp.synchronize_stream(self.device)
        intensity, coverage = (np.array(host.numpy(), dtype=np.float32) for host in self._host_cubes)
        return intensity, coverage

    def mirror(self) -> None:
        """Write the cube and its mirror images to `batch`, in the order of `braggwatch.models.cxdp.symmetry`."""
        launch(cube_kernels.mirror, self.batch.shape, [self.intensity, self._flipped, self.batch], self.device)
