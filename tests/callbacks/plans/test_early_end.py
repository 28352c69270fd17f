"""A plan that ends a scan once the class is sure, in a real RunEngine with the real screening beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from ophyd import Component, Device, Signal
from ophyd.sim import NullStatus, SynAxis

from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.plans.early_end import rock_until_sure
from braggwatch.callbacks.plans.verdict_plans import wait_for_verdict
from braggwatch.callbacks.plans.verdict_source import RecentVerdicts
from braggwatch.models.verdict import Outcome
from braggwatch.services.feedback.verdict_client import HttpVerdictSource

COUNT = 40


class RockedCamera(Device):
    """Shows the frame that belongs to the angle."""

    image = Component(Signal, value=np.zeros((24, 20), np.uint16), kind="hinted")

    def __init__(self, frames: np.ndarray, rocked: SynAxis) -> None:
        super().__init__(name="det")
        self.frames, self.rocked = frames, rocked

    def trigger(self) -> Any:
        self.image.put(self.frames[round((self.rocked.position + 0.3) / 0.6 * (COUNT - 1))])
        return NullStatus()


@pytest.fixture
def session(run_engine: RunEngine, preset_with, bench_of, frames_of):
    """A RunEngine whose runs are judged in this process, on their way and when they end."""
    th, source, bench = SynAxis(name="th"), RecentVerdicts(), bench_of()
    preset = preset_with(
        detector_field="det_image", monitor_field=None, energy_keV=9.0, detector_circles=(), direct_beam_angles_deg=()
    )
    fake = type(bench.preprocessor)
    looking = ProvisionalScreening(fake(), bench.classifier, source.put_provisional, (0.75, 0.85))
    callback = ScreeningCallback(preset, bench.preprocessor, bench.classifier, source.put, provisional=looking)
    run_engine.subscribe(callback)
    return run_engine, RockedCamera(frames_of(COUNT), th), th, source, bench.classifier


def rocked(session, source=None, **options):
    run_engine, camera, th, own, _ = session

    def plan():
        run = yield from rock_until_sure([camera], th, -0.3, 0.3, COUNT, source=source or own, **options)
        verdict = yield from wait_for_verdict(run.run_uid, own, 10.0)
        return run, verdict

    return run_engine(plan()).plan_result


def test_a_sure_class_ends_the_scan_and_stays_in_its_record(session) -> None:
    run, verdict = rocked(session)
    assert run.points == 30
    assert run.ended_on is not None
    assert run.ended_on.verdict.label == "screw"
    assert (verdict.label, verdict.outcome, verdict.completeness) == ("screw", "partial", 0.75)
    assert verdict.reason == "the plan ended it with the peak behind; 10 of 40 frames missing"


def test_a_class_stays_only_where_the_end_was_meant(bench, preset, scan_of) -> None:
    """Frames lost on the wire, an end before the peak is behind, or too early an end leave no class."""
    scan = scan_of(COUNT)
    documents = scan.inline()
    stop = documents[-1]

    def ended(frames: int, told: int) -> tuple[str | None, str | None]:
        fresh = type(bench)(preset, AssemblySettings(grace_s=0.0))
        name, doc = stop
        fresh.feed([*documents[: 2 + frames], (name, {**doc, "num_events": {"primary": told}})]).wait(10.0)
        return fresh.result.verdict.label, fresh.result.verdict.reason

    assert ended(30, 30)[0] == "screw"
    assert ended(30, COUNT) == (None, "10 of 40 frames missing: too much for a class")
    assert ended(23, 23)[0] is None
    assert ended(30, 31)[0] is None


def test_a_doubtful_one_lets_it_go_to_its_end(session) -> None:
    run, verdict = rocked(session, min_confidence=0.99)
    assert (run.points, run.ended_on) == (COUNT, None)
    assert (verdict.label, verdict.outcome, verdict.completeness) == ("screw", "classified", 1.0)


def test_an_unsure_outcome_never_ends_a_scan(session) -> None:
    classifier = session[-1]
    classifier.answer = classifier.answer.model_copy(update={"outcome": Outcome.UNSURE, "label": None, "reason": "?"})
    run, verdict = rocked(session)
    assert (run.points, run.ended_on, verdict.outcome) == (COUNT, None, "unsure")


class Hanging:
    async def so_far(self, run_uid):
        await asyncio.sleep(60)


class Broken:
    async def so_far(self, run_uid):
        raise ConnectionRefusedError("nobody there")


@pytest.mark.parametrize("source", [Broken(), HttpVerdictSource("http://127.0.0.1:9")])
def test_a_service_that_is_down_costs_nothing_but_the_asking(session, source) -> None:
    run, verdict = rocked(session, source)
    assert (run.points, run.ended_on, verdict.outcome) == (COUNT, None, "classified")


def test_a_service_that_hangs_is_not_waited_for(session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braggwatch.callbacks.plans.early_end._ANSWER_S", 0.01)
    run, _ = rocked(session, Hanging())
    assert (run.points, run.ended_on) == (COUNT, None)
