"""Frames that a file's writer dropped: later rows go where their unique ids say, or the run gets no class."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from braggwatch.callbacks.documents.dropped_rows import UnplacedRows, rows_by_point
from braggwatch.models.verdict import Outcome

IDS = "/entry/instrument/NDAttributes/NDArrayUniqueId"


def write(path: Path, scan, kept: list[int], ids: list[int] | None = None) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("/entry/data/data", data=scan.frames[kept], chunks=(1, *scan.frames.shape[1:]))
        file[IDS] = np.array(kept) + 1 if ids is None else ids
    return path


@pytest.mark.parametrize("route", ["streamed", "resource_datum"])
def test_rows_are_placed_by_their_unique_ids(route, scan, bench, tmp_path: Path):
    kept = [index for index in range(21) if index not in (2, 3)]
    documents = getattr(scan, route)(write(tmp_path / "scan.h5", scan, kept))
    bench.feed(documents).wait(60)
    result = bench.result
    assert (result.verdict.outcome, result.frames_received) == (Outcome.PARTIAL, 19)
    assert "dropped frame 3" in result.verdict.reason
    assert result.verdict.label == "screw"
    assert np.flatnonzero(~bench.curve.present).tolist() == [2, 3]
    np.testing.assert_array_equal(bench.curve.frames[kept], scan.frames[kept])


def test_frames_dropped_at_the_peak_leave_no_class(scan, bench, tmp_path: Path):
    kept = [index for index in range(21) if index not in (9, 10, 11)]
    bench.feed(scan.streamed(write(tmp_path / "scan.h5", scan, kept))).wait(60)
    assert (bench.result.verdict.outcome, bench.result.verdict.label) == (Outcome.PARTIAL, None)
    assert "3 of them near the peak" in bench.result.verdict.reason


def test_ids_that_do_not_account_for_all_leave_no_class(scan, bench, tmp_path: Path):
    kept = [index for index in range(20) if index not in (2, 3)]
    bench.feed(scan.streamed(write(tmp_path / "scan.h5", scan, kept))).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "18 rows are there for 21, the ids account for 20" in bench.result.verdict.reason


def test_a_whole_file_needs_no_ids(scan, bench, tmp_path: Path):
    """A plugin that passes on every second frame has ids with gaps, and drops nothing."""
    bench.feed(scan.streamed(write(tmp_path / "scan.h5", scan, list(range(21)), [2 * i + i // 7 for i in range(21)])))
    np.testing.assert_array_equal(bench.curve.frames, scan.frames)


def test_a_file_that_is_cut_short_lacks_its_end(scan, bench, tmp_path: Path):
    bench.feed(scan.streamed(write(tmp_path / "scan.h5", scan, list(range(20))))).wait(60)
    assert np.flatnonzero(~bench.curve.present).tolist() == [20]


@pytest.mark.parametrize("ids", [[1, 2, 2, 5], [1, 2, 1, 5], [4, 3, 2, 0]])
def test_ids_that_do_not_rise_place_nothing(ids):
    with pytest.raises(UnplacedRows):
        rows_by_point(np.array(ids), 4, 1)


def test_rows_of_several_exposures_are_not_placed():
    with pytest.raises(UnplacedRows):
        rows_by_point(np.array([1, 2, 3, 5, 6]), 2, 2)
