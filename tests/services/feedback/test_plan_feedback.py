"""A plan asks the running service for verdicts and acts on them, and goes on without it.

RunEngine, simulated beamline, stock publisher and proxy, service, page and verdict client are all the real ones.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.run_engine import RunEngineResult
from bluesky.utils import Msg
from ophyd_async.plan_stubs import ensure_connected

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.callbacks.plans.verdict_plans import (
    NO_RECORD,
    PlanVerdict,
    best_of,
    screen_grid,
    wait_for_verdict,
)
from braggwatch.services.feedback.verdict_client import HttpVerdictSource
from braggwatch.services.serving import serve
from braggwatch.services.settings import PageSettings, ScreeningSettings, Settings, StoreSettings
from braggwatch.services.stream.stream_settings import StreamSettings
from braggwatch.sim.beamline.assembly import SimulatedBeamline, build_beamline
from braggwatch.sim.beamline.diffractometer import DiffractometerSettings
from braggwatch.sim.beamline.sample import SimulatedSample
from braggwatch.sim.geometry import load_preset
from support.quick_bundle import production_or_quick

FRAMES = 51
HALF_WIDTH_DEG = 0.4
WANTED = "edge"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The production bundle, or an untrained one where there is none: what is shown here hangs on no weights."""
    return production_or_quick(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def beamline(tmp_path: Path) -> SimulatedBeamline:
    sample = SimulatedSample.grid(
        5, rows=1, columns=3, points_across=20, size_nm=(250.0, 320.0), peak_counts=(2e4, 5e4)
    )
    settings = DiffractometerSettings(frame_shape=(144, 144))
    return build_beamline(sample, load_preset("simulated"), tmp_path, settings=settings)


@pytest.fixture
def settings(bundle: Path, shared_proxy, tmp_path: Path) -> Settings:
    return Settings(
        stream=StreamSettings(address=shared_proxy.out_address, prefix="raw"),
        screening=ScreeningSettings(geometry="simulated", model=str(bundle), threads=1),
        store=StoreSettings(path=tmp_path / "results.sqlite"),
        page=PageSettings(port=0),
    )


@pytest.fixture
def engine(beamline: SimulatedBeamline, shared_proxy, make_publisher) -> Iterator[RunEngine]:
    engine = RunEngine({}, call_returns_result=True)
    engine.subscribe(make_publisher(shared_proxy))
    engine.preprocessors.append(bpp.SupplementalData(baseline=list(beamline.baseline)))
    engine(ensure_connected(beamline.th, *beamline.baseline))
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(timeout=10)
    engine.loop.close()


def grid_plan(beamline: SimulatedBeamline, source: HttpVerdictSource, wanted: str, timeout_s: float):
    centre = beamline.world.bragg_angle_deg
    detector: Any = beamline.inline_detector  # ophyd's annotations don't fit the protocols of Bluesky
    return screen_grid(
        [detector],
        beamline.th,
        (centre - HALF_WIDTH_DEG, centre + HALF_WIDTH_DEG, FRAMES),
        [beamline.sample_x, beamline.sample_y],
        [(particle.x_um, particle.y_um) for particle in beamline.world.sample.particles],
        wanted=wanted,
        source=source,
        timeout_s=timeout_s,
        md={"num_points": FRAMES},
    )


def ran(engine: RunEngine, plan: Generator[Msg, Any, Any]) -> RunEngineResult:
    answer = engine(plan)
    assert isinstance(answer, RunEngineResult)
    return answer


def stands_at(beamline: SimulatedBeamline) -> tuple[float, float]:
    return beamline.world.x_um, beamline.world.y_um


def matches(verdict: PlanVerdict, result: ScreeningResult | None) -> bool:
    return result is not None and PlanVerdict.of(result) == verdict


def test_a_plan_gets_the_verdict_on_each_run_and_drives_to_the_best(
    settings: Settings, beamline: SimulatedBeamline, engine: RunEngine
) -> None:
    particles = beamline.world.sample.particles
    with serve(settings) as running:
        assert running.composed.service.wait_ready(60.0), running.health.report().reasons
        source = HttpVerdictSource(running.url)
        answer = ran(engine, grid_plan(beamline, source, WANTED, 30.0))
        found, uids = answer.plan_result, answer.run_start_uids
        assert [verdict.run_uid for verdict in found.verdicts] == list(uids)
        assert all(verdict.answered for verdict in found.verdicts), found
        found_again = [running.composed.store.get(uid) for uid in uids]
        stored = [result for result in found_again if result is not None]
        assert all(matches(verdict, result) for verdict, result in zip(found.verdicts, stored, strict=True))
        assert all(result.verdict.model is not None for result in stored), stored
        assert [result.frames_received for result in stored] == [FRAMES] * len(particles)
        assert [result.position["x"] for result in stored] == [particle.x_um for particle in particles]
        assert found.chosen == best_of(found.verdicts, WANTED, 0.0)
        here = particles[-1 if found.chosen is None else found.chosen]
        assert stands_at(beamline) == (here.x_um, here.y_um)
        # A second plan finds what the first one did, without scanning again.
        again = ran(engine, wait_for_verdict(uids[0], source, 5.0)).plan_result
        assert again == found.verdicts[0]
        assert running.composed.service.receiver_stats.lost == 0


def test_without_the_service_the_plan_goes_on_with_its_default(
    settings: Settings, beamline: SimulatedBeamline, engine: RunEngine
) -> None:
    with serve(settings) as running:
        assert running.composed.service.wait_ready(60.0), running.health.report().reasons
        source = HttpVerdictSource(running.url)
    answer = ran(engine, grid_plan(beamline, source, WANTED, 0.5))
    found = answer.plan_result
    assert answer.exit_status == "success"
    assert [verdict.run_uid for verdict in found.verdicts] == list(answer.run_start_uids)
    assert {verdict.outcome for verdict in found.verdicts} == {"no_answer"}
    assert found.chosen is None
    last = beamline.world.sample.particles[-1]
    assert stands_at(beamline) == (last.x_um, last.y_um)
    default = PlanVerdict("any", "perfect", "assumed", None, None, None, "the operator said so")
    assert ran(engine, wait_for_verdict("any", source, 0.3, default)).plan_result is default


def test_a_service_that_stops_in_the_middle_ends_no_plan(
    settings: Settings, beamline: SimulatedBeamline, engine: RunEngine
) -> None:
    with serve(settings) as running:
        assert running.composed.service.wait_ready(60.0), running.health.report().reasons
        source = HttpVerdictSource(running.url)
        stops: list[str] = []

        def stop_after_first(name: str, document: dict[str, Any]) -> None:
            if name == "start" and document.get("grid_index") == 1:
                running.composed.service.stop()
                stops.append(document["uid"])

        engine.subscribe(stop_after_first)
        answer = ran(engine, grid_plan(beamline, source, WANTED, 2.0))
        first, *others = answer.plan_result.verdicts
        assert stops
        assert first.answered
        assert all(verdict.label is None for verdict in others)
        assert not others[-1].answered
        assert np.isfinite(stands_at(beamline)).all()


def test_a_plan_is_told_at_once_of_a_run_that_gets_no_record(
    settings: Settings, beamline: SimulatedBeamline, engine: RunEngine
) -> None:
    with serve(settings) as running:
        assert running.composed.service.wait_ready(60.0), running.health.report().reasons
        source = HttpVerdictSource(running.url)

        def plan() -> Generator[Msg, Any, PlanVerdict]:
            uid = yield from bp.count([beamline.sample_x], num=2)
            return (yield from wait_for_verdict(str(uid), source, 60.0))

        began = time.monotonic()
        answer = ran(engine, plan())
        assert time.monotonic() - began < 30.0
        verdict = answer.plan_result
        assert (verdict.outcome, verdict.label) == (NO_RECORD, None)
        assert verdict.reason.startswith("no key 'det_image'")
        assert "'sample_x'" in verdict.reason
        with urllib.request.urlopen(f"{running.url}/unrecorded") as response:
            (run,) = json.load(response)
        assert (run["run_uid"], run["cause"]) == (answer.run_start_uids[0], "no_detector")
        with urllib.request.urlopen(f"{running.url}/status") as response:
            status = json.load(response)
        assert status["runs_unrecorded"] == 1
        assert "no key 'det_image'" in status["newest_unrecorded"]


def test_without_a_geometry_the_service_runs_and_says_what_scans_hold(
    settings: Settings, beamline: SimulatedBeamline, engine: RunEngine
) -> None:
    bare = settings.model_copy(update={"screening": settings.screening.model_copy(update={"geometry": None})})
    with serve(bare) as running:
        assert running.composed.service.wait_ready(60.0), running.health.report().reasons
        source = HttpVerdictSource(running.url)

        def plan() -> Generator[Msg, Any, PlanVerdict]:
            detector: Any = beamline.inline_detector
            uid = yield from bp.scan([detector], beamline.th, 16.9, 17.1, 9)
            return (yield from wait_for_verdict(str(uid), source, 60.0))

        verdict = ran(engine, plan()).plan_result
        assert (verdict.outcome, verdict.label) == ("invalid", None)
        for words in ("no geometry preset", "--geometry", "'det_image' (144 × 144)", "'th'"):
            assert words in verdict.reason
        with urllib.request.urlopen(f"{running.url}/status") as response:
            status = json.load(response)
        assert status["state"] == "degraded"
        assert any("no geometry preset" in reason and "34idc, simulated" in reason for reason in status["reasons"])
