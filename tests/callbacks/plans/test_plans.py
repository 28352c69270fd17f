"""Plans that wait for verdicts in a real RunEngine: they take them when they come and go on when they don't."""

from __future__ import annotations

import asyncio
import http.server
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from bluesky.run_engine import RunEngineResult
from bluesky.utils import Msg
from ophyd import Component, Device, Signal
from ophyd.sim import SynAxis

from braggwatch.callbacks.cxdp.records import ScreeningReport, ScreeningResult
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection, burgers_visibility
from braggwatch.callbacks.plans.verdict_plans import NO_ANSWER, PlanVerdict, best_of, screen_grid, wait_for_verdict
from braggwatch.callbacks.plans.verdict_source import RecentVerdicts
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.feedback.verdict_client import HttpVerdictSource
from braggwatch.sim.crystallography.stated_lattice import stated_lattice

IDENTITY = ModelIdentity(name="fake", version="1.0.0", sha256="0" * 64, runtime="none")


def record(run_uid: str, label: str = "screw", confidence: float = 0.9) -> ScreeningResult:
    return ScreeningResult(
        run_uid=run_uid,
        scan_id=1,
        revision=1,
        verdict=Verdict(outcome=Outcome.CLASSIFIED, label=label, confidence=confidence, model=IDENTITY),
        frames_expected=10,
        frames_received=10,
        quality=None,
        started_at=0.0,
        finished_at=1.0,
        latency_s=0.1,
    )


class BrokenSource:
    async def wait(self, run_uid, timeout_s):
        raise ConnectionRefusedError("nobody there")

    def wait_blocking(self, run_uid, timeout_s):
        raise ConnectionRefusedError("nobody there")


def asked(run_engine, *args):
    return run_engine(wait_for_verdict(*args)).plan_result


def test_a_verdict_that_is_there_is_taken(run_engine: RunEngine):
    source = RecentVerdicts()
    source.put(ScreeningReport(record("a"), None))
    verdict = asked(run_engine, "a", source, 5.0)
    assert verdict == PlanVerdict("a", "screw", "classified", 0.9, 1.0, "fake/1.0.0", None)
    assert verdict.answered
    assert source.wait_blocking("a", 1.0) == record("a")


def test_a_perfect_crystal_is_one_only_as_far_as_its_reflection_sees(run_engine: RunEngine):
    source = RecentVerdicts()
    seen = burgers_visibility(StatedReflection((1, 1, 1), "preset", lattice=stated_lattice("fcc")))
    source.put(ScreeningReport(record("a", "perfect").model_copy(update={"burgers": seen}), None))
    assert asked(run_engine, "a", source, 5.0).blind_directions == 3
    assert PlanVerdict.no_answer("b").blind_directions is None


def test_a_verdict_that_comes_later_is_waited_for(run_engine: RunEngine):
    source = RecentVerdicts()
    timer = threading.Timer(0.2, lambda: source.put(ScreeningReport(record("a"), None)))
    timer.start()
    assert asked(run_engine, "a", source, 10.0).label == "screw"
    timer.join()


def test_without_a_verdict_the_plan_goes_on_with_the_default(run_engine: RunEngine):
    assert asked(run_engine, "a", RecentVerdicts(), 0.05) == PlanVerdict.no_answer("a")
    assumed = PlanVerdict("a", "perfect", "assumed", None, None, None, "by default")
    assert asked(run_engine, "a", RecentVerdicts(), 0.05, assumed) == assumed


def test_a_source_that_fails_does_not_stop_the_plan(run_engine: RunEngine):
    assert asked(run_engine, "a", BrokenSource(), 5.0).outcome == NO_ANSWER


class CancelledSource(BrokenSource):
    async def wait(self, run_uid, timeout_s):
        raise asyncio.CancelledError


def test_a_source_that_is_cancelled_does_not_stop_the_plan(run_engine: RunEngine):
    assert asked(run_engine, "a", CancelledSource(), 1.0).outcome == NO_ANSWER


def test_a_dry_run_of_the_plan_goes_on_with_the_default():
    verdicts = []

    def plan():
        verdicts.append((yield from wait_for_verdict("a", RecentVerdicts(), 1.0)))

    assert [message.command for message in plan()] == ["wait_for"]
    assert [verdict.outcome for verdict in verdicts] == [NO_ANSWER]


def test_a_service_that_is_down_does_not_stop_the_plan(run_engine: RunEngine):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        port = server.server_address[1]
    source = HttpVerdictSource(f"http://127.0.0.1:{port}")
    verdict = asked(run_engine, "a", source, 0.5)
    assert not verdict.answered


def test_the_run_engine_stays_responsive_while_waiting(run_engine: RunEngine):
    """Another task of the engine's loop runs on while a plan waits for the service."""
    beats: list[float] = []

    async def beat():
        for _ in range(5):
            beats.append(time.monotonic())
            await asyncio.sleep(0.02)

    def plan():
        asyncio.run_coroutine_threadsafe(beat(), run_engine.loop)
        return (yield from wait_for_verdict("a", RecentVerdicts(), 0.5))

    run_engine(plan())
    assert len(beats) == 5


@pytest.fixture
def service():
    """An HTTP peer that says 202 once for each run and then answers with its record."""
    asked_for: Counter[str] = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            uid = self.path.split("/")[2]
            asked_for[uid] += 1
            if self.headers.get("Authorization") != "Bearer secret":
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            garbage = uid == "garbage"
            body = b"{" if garbage else record(uid).model_dump_json().encode()
            self.send_response(200 if asked_for[uid] > 1 or garbage else 202)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_verdicts_come_over_http(run_engine: RunEngine, service):
    source = HttpVerdictSource(service, token="secret")
    assert asked(run_engine, "run-1", source, 10.0).label == "screw"
    assert source.wait_blocking("run-2", 10.0) == record("run-2")
    assert source.wait_blocking("garbage", 0.3) is None
    assert HttpVerdictSource(service).wait_blocking("run-3", 10.0) is None
    with pytest.raises(ValueError, match="http"):
        HttpVerdictSource("file:///etc/passwd")


def test_the_best_is_the_surest_complete_scan_of_the_class():
    def verdict(label, confidence, outcome="classified"):
        return PlanVerdict("a", label, outcome, confidence, 1.0, "m", None)

    verdicts = [
        verdict("screw", 0.8),
        verdict("edge", 0.99),
        verdict("screw", 0.95, "partial"),
        verdict("screw", 0.9),
        PlanVerdict.no_answer("a"),
    ]
    assert best_of(verdicts, "screw", 0.0) == 3
    assert best_of(verdicts, "screw", 0.95) is None
    assert best_of(verdicts, "perfect", 0.0) is None


class Camera(Device):
    image = Component(Signal, value=np.zeros((4, 4)), kind="hinted")


@pytest.mark.parametrize("service_up", [True, False])
def test_a_grid_is_screened_and_the_best_particle_driven_to(run_engine: RunEngine, service_up):
    """One label for each position; a silent service leaves the plan to finish all the same."""
    labels = {0.0: ("edge", 0.9), 1.0: ("screw", 0.8), 2.0: ("screw", 0.95), 3.0: ("perfect", 0.99)}
    # ophyd's annotations don't fit the protocols of Bluesky
    camera: Any = Camera(name="det")
    th: Any = SynAxis(name="th")
    x: Any = SynAxis(name="sample_x")
    y: Any = SynAxis(name="sample_y")
    source, starts = RecentVerdicts(), []

    def judge(name, doc):
        if name == "start":
            starts.append(doc)
        elif name == "stop" and service_up:
            source.put(ScreeningReport(record(doc["run_start"], *labels[x.position]), None))

    run_engine.subscribe(judge)
    positions = [(0.0, 5.0), (1.0, 6.0), (2.0, 7.0), (3.0, 8.0)]
    plan = screen_grid(
        [camera],
        th,
        (-0.1, 0.1, 3),
        [x, y],
        positions,
        wanted="screw",
        source=source,
        timeout_s=5.0 if service_up else 0.05,
    )
    answer = run_engine(plan)
    assert isinstance(answer, RunEngineResult)
    screening = answer.plan_result
    assert [start["grid_index"] for start in starts] == [0, 1, 2, 3]
    assert len(screening.verdicts) == 4
    if service_up:
        assert screening.chosen == 2
        assert (x.position, y.position) == (2.0, 7.0)
    else:
        assert screening.chosen is None
        assert not any(verdict.answered for verdict in screening.verdicts)
        assert (x.position, y.position) == (3.0, 8.0)


def test_a_whole_chain_in_one_session(run_engine: RunEngine, preset_with, bench_of, frames_of):
    """The screening callback, its verdicts and a plan that waits for them, without any service."""
    frames, source = frames_of(11), RecentVerdicts()
    camera: Any = Camera(name="det")
    th: Any = SynAxis(name="th")
    preset = preset_with(
        detector_field="det_image", monitor_field=None, energy_keV=9.0, detector_circles=(), direct_beam_angles_deg=()
    )
    bench = bench_of(preset)
    bench.callback._on_report = source.put
    run_engine.subscribe(bench.callback)

    def per_step(detectors: Sequence[Any], motor: Any, step: Any, *_: object) -> Generator[Msg, Any, None]:
        yield from bps.mv(motor, step, camera.image, frames[round((step + 0.5) * 10)])
        yield from bps.trigger_and_read([*detectors, motor])

    def plan():
        uid = yield from bp.scan([camera], th, -0.5, 0.5, 11, per_step=per_step)
        return (yield from wait_for_verdict(uid, source, 10.0))

    answer = run_engine(plan())
    assert isinstance(answer, RunEngineResult)
    verdict = answer.plan_result
    assert (verdict.label, verdict.completeness) == ("screw", 1.0)
