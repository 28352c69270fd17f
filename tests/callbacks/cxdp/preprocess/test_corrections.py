"""Detector images reach the right pixels, normalisations keep counts, and only what is hot is called hot."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import (
    FrameStatistics,
    PixelCorrections,
    frame_normalisation,
    in_array_layout,
    pixel_gain,
    survey,
    valid_range,
)
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_geometry

NO_DARK = np.zeros((0, 0), np.float32)


def look(frames: NDArray[np.generic], **changes: object) -> tuple[PixelCorrections, FrameStatistics]:
    n, rows, columns = frames.shape
    arguments: dict[str, object] = {
        "present": np.ones(n, bool),
        "gain": np.ones((rows, columns), np.float32),
        "dark": NO_DARK,
        "frame_scale": np.ones(n),
        "saturation_counts": None,
        "hot_ratio": 10.0,
        "hot_counts": 20.0,
        **changes,
    }
    return survey(frames, **arguments)  # type: ignore[arg-type]


def test_a_chip_image_follows_roi_binning_transpose_and_crop() -> None:
    geometry = artificial_geometry().model_copy(
        update={
            "chip_shape": (40, 60),
            "roi_origin": (4, 6),
            "binning": (2, 3),
            "frame_shape": (12, 16),
            "transposed": True,
        }
    )
    chip = np.add.outer(1000.0 * np.arange(40), np.arange(60.0))
    image = in_array_layout(chip, geometry, (1, 2), (10, 14))
    # Delivered (row, column) is chip (column, row): row 1 + r is the chip's column bin, column 2 + c its row bin.
    assert image.shape == (10, 14)
    assert image[0, 0] == pytest.approx(1000 * (4 + 2 * 2 + 0.5) + 6 + 3 * 1 + 1)
    assert image[5, 7] == pytest.approx(1000 * (4 + 2 * 9 + 0.5) + 6 + 3 * 6 + 1)


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="neither"):
        in_array_layout(np.zeros((7, 7)), artificial_geometry(), (0, 0), (48, 48))


def test_dead_and_wild_flat_field_pixels_are_masked_and_the_rest_keeps_its_size() -> None:
    flat = np.full((6, 6), 200.0)
    flat[0, 0], flat[1, 1], flat[2, 2], flat[3, 3] = 0.0, 20.0, np.nan, 5000.0
    flat[4, 4] = 100.0
    mask = np.zeros((6, 6))
    mask[5, 5] = 2
    gain = pixel_gain((6, 6), mask, flat)
    assert [gain[i, i] for i in range(6)] == [0, 0, 0, 0, 2, 0]
    assert np.median(gain) == 1.0


def test_normalisation_keeps_the_median_frame_and_survives_bad_readings() -> None:
    scale, unusable = frame_normalisation(4, np.array([90.0, 100.0, 110.0, 0.0]), np.array([1.0, 1.0, 0.5, np.nan]))
    assert np.allclose(scale, [100 / 90, 1.0, 100 / 110 * 2, 1.0])
    assert unusable == 2
    assert np.all(frame_normalisation(3, None, None)[0] == 1.0)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_totals_peak_and_saturation(dtype: type) -> None:
    frames = np.zeros((5, 9, 9), dtype)
    frames[2, 3:6, 3:6] = [[100, 200, 100], [200, 300, 200], [100, 200, 100]]
    corrections, statistics = look(frames, saturation_counts=200)
    assert statistics.peak_index == (2, 4, 4)
    assert statistics.peak_counts == 300
    assert statistics.saturated == 5
    assert statistics.frame_totals.tolist() == [0, 0, 1500, 0, 0]
    assert statistics.total_image.sum() == 1500
    assert corrections.outlier_pixel.size == 0


def test_a_faint_peak_is_still_found() -> None:
    frames = np.zeros((3, 9, 9), np.uint16)
    frames[1, 6, 2] = 7
    assert look(frames)[1].peak_index == (1, 6, 2)


def test_isolated_readings_are_outliers_and_repeated_ones_hot_pixels() -> None:
    frames = np.random.default_rng(0).poisson(0.5, (20, 16, 16)).astype(np.int32)
    frames[7, 3, 3] = 400
    frames[:, 10, 10:12] = 900
    corrections, statistics = look(frames)
    assert statistics.hot_pixels == 2
    assert statistics.outliers == 41
    assert statistics.peak_counts < 20
    assert corrections.gain[10, 10] == 0
    assert corrections.gain[10, 11] == 0
    assert corrections.gain[3, 3] == 1
    starts = corrections.outlier_start
    assert 3 * 16 + 3 in corrections.outlier_pixel[starts[7] : starts[8]]
    assert 3 * 16 + 3 not in corrections.outlier_pixel[starts[8] : starts[9]]


def test_a_bragg_peak_is_not_hot() -> None:
    axis = np.arange(32) - 16.0
    radius = np.sqrt(axis[:, None] ** 2 + axis**2)
    frame = np.random.default_rng(1).poisson(1e5 * np.exp(-((radius / 1.2) ** 2)))
    assert look(frame[None].astype(np.int32))[1].outliers == 0


def test_masked_pixels_count_for_nothing() -> None:
    frames = np.ones((2, 8, 8), np.uint16)
    frames[:, 2, 2] = 60000
    gain = np.ones((8, 8), np.float32)
    gain[2, 2] = 0
    statistics = look(frames, gain=gain)[1]
    assert statistics.frame_totals.tolist() == [63, 63]
    assert statistics.peak_counts == 1


def test_markers_are_no_measurements() -> None:
    assert valid_range(np.dtype(np.uint16)) == (0.0, 65535.0)
    assert valid_range(np.dtype(np.uint8)) == (0.0, 256.0)
    assert look(np.full((1, 4, 4), 2**32 - 1, np.uint32))[1].invalid == 16
    assert look(np.full((1, 4, 4), -2, np.int32))[1].invalid == 16
    assert look(np.full((1, 4, 4), np.nan, np.float32))[1].invalid == 16


def test_absent_frames_are_not_read() -> None:
    frames = np.full((3, 4, 4), 5, np.uint16)
    statistics = look(frames, present=np.array([True, False, True]))[1]
    assert statistics.frame_totals.tolist() == [80, 0, 80]
