"""Pixels without a reading stay pixels without a reading, whatever dtype their mark ended up in."""

from __future__ import annotations

import numpy as np
import pytest

from braggwatch.callbacks.cxdp.run.volume import usable_counts
from braggwatch.callbacks.documents.markers import marked, one_frame, stacked, without_reading
from braggwatch.models.verdict import Outcome

GAP = (slice(None), 7)


def with_gap(dtype: str, mark: float) -> tuple[np.ndarray, np.ndarray]:
    counts = np.random.default_rng(0).poisson(300.0, (24, 20))
    frame = counts.astype(dtype)
    frame[GAP] = mark
    counts[GAP] = 0
    return frame, counts


@pytest.mark.parametrize("dtype", ["u4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("mark", [2**32 - 1, 2**16 - 1])
def test_an_eigers_marks_are_found_in_every_type_they_come_in(dtype, mark):
    frame, counts = with_gap(dtype, mark)
    found = marked(frame)
    assert found.dtype == frame.dtype
    assert without_reading(found)[GAP].all()
    assert without_reading(found).sum() == 24
    np.testing.assert_array_equal(usable_counts(found, None), counts)


@pytest.mark.parametrize("dtype", ["u2", "u4", "i4", "i8", "f4"])
def test_counts_are_left_alone(dtype):
    """The largest count of 16 bits is a count where another pixel has more, or few have it."""
    frame = np.random.default_rng(0).poisson(300.0, (24, 20)).astype(dtype)
    assert marked(frame) is frame
    if dtype != "u2":
        frame[0, :3] = 65535
        assert marked(frame) is frame
        frame[:, 7] = 65535
        frame[3, 3] = 70000
        assert marked(frame) is frame


@pytest.mark.parametrize(("dtype", "mark"), [("u2", 2**16 - 1), ("u4", 2**32 - 1), ("i4", -1), ("f4", np.nan)])
def test_a_pixel_without_a_reading_has_none_in_the_sum_of_exposures(dtype, mark):
    frame, counts = with_gap(dtype, mark)
    total = one_frame(np.stack([frame, frame, frame]), marks_gaps=True)
    np.testing.assert_array_equal(usable_counts(total, None), 3 * counts)
    assert without_reading(total)[GAP].all()


def test_where_the_largest_number_is_a_count_it_is_summed():
    frame = np.full((4, 4), 65535, np.uint16)
    assert (stacked(np.stack([frame, frame]), marks_gaps=False) == 2 * 65535).all()


@pytest.mark.parametrize("dtype", ["u8", "i8", "f4"])
def test_a_scan_with_an_eigers_marks_in_a_wider_type_is_judged(dtype, scan, bench):
    for name, doc in (documents := scan.inline()):
        if name == "event":
            doc["data"]["det"] = np.where(np.arange(20) == 2, 2**32 - 1, doc["data"]["det"]).astype(dtype)
    bench.feed(documents)
    assert bench.result.verdict.outcome is not Outcome.INVALID
    scan.frames[:, :, 2] = 0
    np.testing.assert_array_equal(usable_counts(bench.curve.frames, None), scan.frames)
