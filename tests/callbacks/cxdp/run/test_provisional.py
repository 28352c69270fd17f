"""A verdict before the scan is over: told once the peak is behind, from whole data only, and without a trace."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict
from braggwatch.callbacks.cxdp.run.assembly import RunAssembly
from braggwatch.callbacks.cxdp.run.curve import peak_is_behind
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.models.verdict import Outcome

COUNT = 40
POINTS = (0.75, 0.85)


class Watched:
    """A screening callback that judges runs on their way, and what it told."""

    def __init__(self, bench, preset, points=POINTS, **assembly: object) -> None:
        fake = type(bench.preprocessor)
        self.told: list[ProvisionalVerdict] = []
        self.reports = []
        self.behind = False
        self.looking, self.preprocessor, self.classifier = fake(), fake(), bench.classifier
        self.callback = ScreeningCallback(
            preset,
            self.preprocessor,
            self.classifier,
            self.reports.append,
            AssemblySettings.model_validate(assembly),
            provisional=ProvisionalScreening(
                self.looking, self.classifier, self.told.append, points, is_behind=lambda: self.behind
            ),
        )

    def feed(self, documents):
        for name, doc in documents:
            self.callback(name, doc)
        return self


@pytest.fixture
def long_scan(scan_of):
    return scan_of(COUNT)


@pytest.fixture
def watched(bench, preset) -> Watched:
    return Watched(bench, preset)


def test_the_class_so_far_is_told_at_each_point_and_the_record_is_as_without(
    watched: Watched, bench, long_scan
) -> None:
    watched.feed(long_scan.inline())
    assert [(one.frames_received, one.frames_expected) for one in watched.told] == [(30, COUNT), (34, COUNT)]
    first = watched.told[0]
    assert (first.verdict.label, first.run_uid, first.scan_id, first.sample) == ("screw", "run-1", 7, "P10")
    assert first.in_words == "screw, after 75% of the frames"
    curve = watched.looking.curves[0]
    np.testing.assert_array_equal(curve.frames, long_scan.frames[:30])
    np.testing.assert_array_equal(curve.angles_deg, long_scan.angles[:30])
    np.testing.assert_array_equal(curve.monitor, long_scan.monitor[:30])
    assert curve.present.all()

    bench.feed(long_scan.inline())
    (report,) = watched.reports
    drop = {"finished_at", "latency_s", "stage_seconds"}
    assert report.result.model_dump(exclude=drop) == bench.result.model_dump(exclude=drop)
    np.testing.assert_array_equal(watched.preprocessor.curves[0].frames, bench.curve.frames)


@pytest.mark.parametrize("route", ["resource_datum", "streamed"])
def test_frames_in_files_are_judged_on_their_way_too(watched: Watched, long_scan, tmp_path: Path, route: str) -> None:
    watched.feed(getattr(long_scan, route)(long_scan.write(tmp_path / "frames.h5")))
    assert [one.frames_received for one in watched.told] == [30, 34]
    np.testing.assert_array_equal(watched.looking.curves[1].frames, long_scan.frames[:34])
    assert watched.reports[0].result.verdict.outcome is Outcome.CLASSIFIED


def test_a_fly_scan_is_judged_on_its_way_from_frames_and_angles_in_files(
    watched: Watched, long_scan, tmp_path: Path
) -> None:
    """Frames and angles come in pieces of ten, the angles first: readings beyond the frames wait for theirs."""
    long_scan.write(tmp_path / "frames.h5")
    with h5py.File(tmp_path / "angles.h5", "w", libver="latest") as file:
        file.create_dataset("/entry/data/data", data=long_scan.angles, chunks=(1,), maxshape=(None,))
    resource = long_scan.stream_resource(tmp_path / "angles.h5", "th")
    resource[1]["parameters"]["chunk_shape"] = [1]
    name, descriptor = long_scan.descriptor("STREAM:", keys=("det", "th"))
    descriptor["data_keys"]["th"] = {"source": "sim", "dtype": "number", "shape": [1], "external": "STREAM:"}
    watched.feed([long_scan.start(), (name, descriptor), long_scan.stream_resource(tmp_path / "frames.h5"), resource])
    for first in range(0, COUNT, 10):
        watched.feed([long_scan.stream_datum(first, first + 10, key) for key in ("th", "det")])
    watched.feed([long_scan.stop()])
    assert [one.frames_received for one in watched.told] == [30]
    np.testing.assert_array_equal(watched.looking.curves[0].angles_deg, long_scan.angles[:30])
    assert watched.reports[0].result.verdict.outcome is Outcome.CLASSIFIED, watched.reports[0].result.verdict


def test_nothing_is_said_with_the_peak_ahead(bench, preset, scan_of) -> None:
    early = Watched(bench, preset, points=(0.2, 0.55)).feed(scan_of(COUNT).inline())
    # the peak is in the middle: both points come too early, and are made up for by one as soon as it is behind
    assert [one.frames_received for one in early.told] == [29]


def test_nothing_is_said_of_frames_with_a_gap_or_of_a_scan_of_unknown_length(bench, preset, long_scan) -> None:
    documents = long_scan.inline()
    assert Watched(bench, preset).feed(documents[:9] + documents[10:]).told == []
    (start, doc), *others = documents
    unknown = {key: value for key, value in doc.items() if key != "num_points"}
    assert Watched(bench, preset).feed([(start, unknown), *others]).told == []


def test_nothing_is_said_without_geometry(bench, preset_with, long_scan) -> None:
    (start, doc), *others = long_scan.inline()
    doc = {key: value for key, value in doc.items() if key != "energy"}
    watched = Watched(bench, preset_with()).feed([(start, doc), *others])
    assert watched.told == []
    assert watched.reports or watched.callback.open_runs


def test_it_waits_until_no_document_waits(watched: Watched, long_scan) -> None:
    documents = long_scan.inline()
    watched.behind = True
    watched.feed(documents[:34])
    assert watched.told == []
    watched.behind = False
    watched.feed(documents[34:36])
    assert [one.frames_received for one in watched.told] == [33, 34]


def test_what_fails_on_the_way_leaves_the_record_alone(watched: Watched, bench, long_scan) -> None:
    watched.looking.error = RuntimeError("no memory")
    watched.feed(long_scan.inline())
    assert watched.told == []
    assert watched.reports[0].result.verdict.label == "screw"


def test_frames_that_cannot_be_looked_at_cost_one_line_and_no_run(
    watched: Watched, long_scan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run):
        raise OSError("the file is gone")

    monkeypatch.setattr(RunAssembly, "so_far", broken)
    watched.feed(long_scan.inline())
    assert watched.told == []
    assert caplog.text.count("the provisional verdict on run") == len(POINTS)
    assert watched.reports[0].result.verdict.label == "screw"


def test_data_that_allow_no_class_are_not_talked_about(watched: Watched, long_scan) -> None:
    watched.looking.invalid_reason = "no peak above the noise"
    watched.feed(long_scan.inline())
    assert watched.told == []


def test_interleaved_runs_are_judged_apart(watched: Watched, scan_of) -> None:
    one, two = scan_of(COUNT, uid="run-1"), scan_of(COUNT, uid="run-2", seed=2)
    for pair in zip(one.inline(), two.inline(), strict=True):
        watched.feed(pair)
    assert [(t.run_uid, t.frames_received) for t in watched.told] == [
        ("run-1", 30),
        ("run-2", 30),
        ("run-1", 34),
        ("run-2", 34),
    ]
    np.testing.assert_array_equal(watched.looking.curves[1].frames, two.frames[:30])


@pytest.mark.parametrize("points", [(0.5, 0.5), (0.9, 0.5), (0.0, 0.5), (0.5, 1.0), (float("nan"),)])
def test_points_are_ascending_shares(bench, preset, points) -> None:
    with pytest.raises(ValueError, match="ascending shares"):
        Watched(bench, preset, points=points)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_the_peak_is_behind_where_the_newest_frame_is_dark(counts: list[float]) -> None:
    curve = np.stack([np.arange(len(counts)), counts], axis=1)
    assert peak_is_behind(curve) == (counts[-1] <= 0.1 * max(counts))
    assert not peak_is_behind(np.array([[0.0, 5.0]]))
    assert not peak_is_behind(None)


def test_nothing_is_told_of_a_scan_whose_peak_holds_a_blank_frame(watched, scan_of):
    scan = scan_of(COUNT, shape=(64, 64))
    scan.frames[COUNT // 2] = 0
    watched.feed(scan.inline())
    assert watched.told == []
