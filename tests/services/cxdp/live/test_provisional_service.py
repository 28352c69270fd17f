"""The running service says what a scan looks like before it is over, and counts how often its record agrees."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from braggwatch.callbacks.cxdp.records import LiveRecord, ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.models.verdict import Outcome, Verdict
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.settings import load_settings
from braggwatch.services.settings_error import SettingsError
from braggwatch.services.storage.result_store import ResultStore


def test_a_scan_is_spoken_of_then_recorded_and_the_two_are_compared(
    quick, shared_proxy, make_publisher, make_run, tmp_path: Path
) -> None:
    metrics = Metrics()

    def make_stream(on_report, on_provisional, links):
        judges = quick.QuickPreprocessor(), quick.QuickClassifier()
        looking = ProvisionalScreening(*judges, on_provisional, (0.8,), is_behind=links.is_behind)
        return ScreeningCallback(quick.small_preset(), *judges, on_report, provisional=looking)

    with ResultStore(tmp_path / "results.sqlite") as store:
        settings = quick.make_settings(shared_proxy.out_address)
        curves = quick.make_curves(store, make_stream, metrics=metrics)
        service = quick.make_service(settings, store, modalities=[curves], metrics=metrics)
        service.start()
        try:
            assert service.wait_ready(10.0)
            publisher = make_publisher(shared_proxy)
            runs = [make_run(20, seed=seed, scan_id=seed + 1) for seed in range(4)]
            for run in runs:
                run.send(publisher, pause_s=0.01)
            results = [store.wait(run.uid, 20.0) for run in runs]
        finally:
            service.stop()
    told = asyncio.run(everything(curves.broker, 2 * len(runs)))
    assert [(type(one), one.run_uid) for one in told] == [
        (kind, run.uid) for run in runs for kind in (ProvisionalVerdict, ScreeningResult)
    ]
    first = [one for one in told if isinstance(one, ProvisionalVerdict)]
    assert all(16 <= one.frames_received < one.frames_expected == 20 for one in first)
    assert None not in results
    labels = [result.verdict.label for result in results if result is not None]
    kept = sum(one.verdict.label == label for one, label in zip(first, labels, strict=True))
    value = metrics.registry.get_sample_value
    assert value("braggwatch_provisional_verdicts_total", {"outcome": "classified"}) == len(runs)
    assert value("braggwatch_provisional_settled_total", {"kept": "yes"}) == kept
    assert value("braggwatch_provisional_settled_total", {"kept": "no"}) == len(runs) - kept
    # each stage of each run once
    for stage in ("queue", "preprocess", "classify", "provisional"):
        assert value("braggwatch_stage_duration_seconds_count", {"stage": stage}) == len(runs)
    assert curves.board.going_on() == []


def test_a_run_that_has_its_record_already_is_not_spoken_of_for_ever(
    quick, shared_proxy, make_publisher, make_run, eventually, tmp_path: Path
) -> None:
    """A stored run that is replayed after a restart: nothing new is published, and the word on it goes."""
    run = make_run(20)
    with ResultStore(tmp_path / "results.sqlite") as store:
        for _ in range(2):
            curves = quick.make_curves(store)
            service = quick.make_service(quick.make_settings(shared_proxy.out_address), store, modalities=[curves])
            service.start()
            try:
                assert service.wait_ready(10.0)
                curves.board.put(spoken_of(run.uid))
                run.send(make_publisher(shared_proxy), pause_s=0.005)
                eventually(lambda board=curves.board: not board.going_on(), what="the word on it gone")
            finally:
                service.stop()


def spoken_of(run_uid: str) -> ProvisionalVerdict:
    verdict = Verdict(outcome=Outcome.UNSURE, reason="a test")
    return ProvisionalVerdict(
        run_uid=run_uid,
        scan_id=1,
        verdict=verdict,
        frames_expected=20,
        frames_received=16,
        started_at=1.0,
        made_at=2.0,
        seconds=0.1,
    )


async def everything(broker: ResultBroker[LiveRecord], count: int) -> list[LiveRecord]:
    got: list[LiveRecord] = []
    async for event in broker.subscribe("1-0"):
        if event.result is not None:
            got.append(event.result)
        if len(got) == count:
            break
    return got


def test_the_points_are_settings_and_checked(tmp_path: Path) -> None:
    config = tmp_path / "braggwatch.toml"
    config.write_text("[screening]\nprovisional_at = []\n")
    assert load_settings(config).screening.provisional_at == ()
    config.write_text("[screening]\nprovisional_at = [0.9, 0.5]\n")
    with pytest.raises(SettingsError, match="ascending shares"):
        load_settings(config)
