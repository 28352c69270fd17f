"""Without a geometry preset nothing is assumed: each scan's record says what it holds and how to name a preset."""

from __future__ import annotations

import pytest
from bluesky import plans as bp
from ophyd.sim import hw

from braggwatch.callbacks.cxdp.without_preset import WithoutPreset
from braggwatch.callbacks.modalities import ModalityCallback
from braggwatch.models.verdict import Outcome

HARDWARE = hw()
det, motor = HARDWARE.det, HARDWARE.motor


@pytest.fixture
def heard(run_engine):
    """What a callback without a preset reports and tells of the runs of a RunEngine."""
    reports, unrecorded = [], []
    stream = WithoutPreset(reports.append)
    return reports, unrecorded, ModalityCallback([stream], on_unrecorded=unrecorded.append)


def test_a_scan_gets_a_record_that_says_what_it_holds(heard, scan):
    reports, unrecorded, callback = heard
    documents = scan.inline()
    documents[0][1]["motors"] = ("th",)
    for pair in documents:
        callback(*pair)
    (report,) = reports
    result = report.result
    assert (result.verdict.outcome, result.verdict.label) == (Outcome.INVALID, None)
    for words in ("no geometry preset", "--geometry", "34idc, simulated", "'det' (24 × 20)", "motors 'th'"):
        assert words in result.verdict.reason
    assert (result.scan_id, result.sample, result.frames_received) == (7, "P10", 21)
    assert not unrecorded
    assert callback.open_runs == 0


def test_a_run_without_frames_gets_none_and_is_told_of(heard, run_engine):
    reports, unrecorded, callback = heard
    run_engine.subscribe(callback)
    run_engine(bp.scan([det], motor, -1, 1, 3))
    assert not reports
    (run,) = unrecorded
    assert "no geometry preset" in run.reason
    assert "'det', 'motor'" in run.reason


def test_runs_that_never_stop_are_recorded_too(heard, scan):
    reports, _, callback = heard
    for pair in scan.inline()[:-1]:
        callback(*pair)
    callback.flush()
    assert [report.result.verdict.outcome for report in reports] == [Outcome.INVALID]
