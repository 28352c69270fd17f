"""The verdict as a device: read in a plan like a detector, harmless when nobody answers."""

from __future__ import annotations

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from ophyd_async.core import init_devices

from braggwatch.callbacks.cxdp.records import ScreeningReport, ScreeningResult
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection, burgers_visibility
from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.unrecorded import Cause, UnrecordedRun
from braggwatch.callbacks.plans.verdict_device import VerdictDevice
from braggwatch.callbacks.plans.verdict_source import RecentVerdicts
from braggwatch.models.verdict import ModelIdentity, Outcome, PerfectRegion, Verdict
from braggwatch.sim.crystallography.stated_lattice import stated_lattice

IDENTITY = ModelIdentity(name="fake", version="1.0.0", sha256="0" * 64, runtime="none")


class BrokenSource(RecentVerdicts):
    async def wait(self, run_uid, timeout_s):
        raise OSError("nobody there")


def result(run_uid, verdict):
    return ScreeningResult(
        run_uid=run_uid,
        scan_id=1,
        revision=1,
        verdict=verdict,
        frames_expected=10,
        frames_received=9,
        quality=None,
        started_at=0.0,
        finished_at=1.0,
        latency_s=0.1,
    )


def read_verdict(run_engine, source, run_uid, timeout_s=0.05):
    """Return the data of an event in which a plan read the device."""
    with init_devices():
        device = VerdictDevice(source, timeout_s, name="verdict")
    events = []
    token = run_engine.subscribe(lambda name, doc: events.append(doc["data"]), "event")

    @bpp.run_decorator()
    def plan():
        yield from bps.abs_set(device.target, run_uid, wait=True)
        yield from bps.trigger_and_read([device])

    run_engine(plan())
    run_engine.unsubscribe(token)
    return events[0]


def test_a_plan_reads_the_verdict(run_engine: RunEngine):
    source = RecentVerdicts()
    verdict = Verdict(outcome=Outcome.PARTIAL, label="screw", confidence=0.8, reason="1 of 10", model=IDENTITY)
    source.put(ScreeningReport(result("run-1", verdict), None))
    assert read_verdict(run_engine, source, "run-1", 5.0) == {
        "verdict-label": "screw",
        "verdict-confidence": 0.8,
        "verdict-outcome": "partial",
        "verdict-reason": "1 of 10",
        "verdict-completeness": 0.9,
        "verdict-blind_directions": -1,
        "verdict-region_radius": -1.0,
        "verdict-run_uid": "run-1",
        "verdict-model_id": "fake/1.0.0",
    }


@pytest.mark.parametrize(("hkl", "blind"), [((1, 1, 1), 3), ((2, 0, 0), 2), ((4, 2, 0), 0), (None, -1)])
def test_a_plan_reads_how_far_perfect_goes(run_engine: RunEngine, hkl, blind):
    source = RecentVerdicts()
    verdict = Verdict(outcome=Outcome.CLASSIFIED, label="perfect", confidence=0.9, model=IDENTITY)
    burgers = burgers_visibility(
        StatedReflection(hkl, None if hkl is None else "preset", lattice=stated_lattice("fcc"))
    )
    record = result("run-1", verdict).model_copy(update={"burgers": burgers})
    source.put(ScreeningReport(record, None))
    assert read_verdict(run_engine, source, "run-1", 5.0)["verdict-blind_directions"] == blind


def test_a_plan_reads_how_far_from_the_centre_perfect_goes(run_engine: RunEngine):
    source = RecentVerdicts()
    verdict = Verdict(
        outcome=Outcome.CLASSIFIED,
        label="perfect",
        confidence=0.9,
        model=IDENTITY,
        region=PerfectRegion(radius=0.3, share=0.95),
    )
    source.put(ScreeningReport(result("run-1", verdict), None))
    assert read_verdict(run_engine, source, "run-1", 5.0)["verdict-region_radius"] == 0.3


@pytest.mark.parametrize("source", [RecentVerdicts(), BrokenSource()])
def test_silence_reads_as_no_answer(run_engine: RunEngine, source):
    data = read_verdict(run_engine, source, "run-1")
    assert (data["verdict-label"], data["verdict-outcome"], data["verdict-run_uid"]) == ("", "no_answer", "run-1")
    assert data["verdict-confidence"] == 0.0
    assert data["verdict-blind_directions"] == -1


def test_a_run_without_a_class_reads_as_its_outcome(run_engine: RunEngine):
    source = RecentVerdicts()
    source.put(ScreeningReport(result("run-1", Verdict.without_class(Outcome.INVALID, "no angles")), None))
    data = read_verdict(run_engine, source, "run-1")
    assert (data["verdict-label"], data["verdict-outcome"]) == ("", "invalid")
    assert data["verdict-reason"] == "no angles"


def test_a_run_without_a_record_reads_as_why(run_engine: RunEngine):
    source = RecentVerdicts()
    contents = RunContents(run_uid="run-1")
    why = UnrecordedRun(
        run_uid="run-1",
        scan_id=1,
        cause=Cause.NO_DETECTOR,
        reason="no key 'det_image'",
        noticed_at=1.0,
        contents=contents,
    )
    source.put_unrecorded(why)
    data = read_verdict(run_engine, source, "run-1")
    assert (data["verdict-label"], data["verdict-outcome"]) == ("", "no_record")
    assert data["verdict-reason"] == "no key 'det_image'"
