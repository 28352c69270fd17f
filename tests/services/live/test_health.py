"""When the service calls itself alive and ready."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.services.live.health import ConditionStatus, Health, HealthState

PARTS = ("stream", "model", "store")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_is_not_ready_before_each_part_has_spoken():
    health = Health(PARTS)
    for part in PARTS:
        assert health.report().state is HealthState.STARTING
        health.ok(part)
    assert health.report().state is HealthState.READY
    assert health.report().reasons == ()


def test_a_stalled_loop_is_not_alive_and_not_ready():
    clock = Clock()
    health = Health((), stall_after_s=10, clock=clock)
    clock.now = 1000.0
    assert health.report().live, "nothing is due before the first beat"
    health.beat()
    clock.now = 1010.0
    assert health.report().ready
    clock.now = 1010.5
    report = health.report()
    assert report.state is HealthState.UNRESPONSIVE
    assert not report.live
    assert not report.ready
    assert "no sign of life" in report.reasons[0]
    health.beat()
    assert health.report().ready


def test_once_stopping_it_is_never_ready_again():
    health = Health(("model",))
    health.stopping()
    health.ok("model")
    assert health.report().state is HealthState.STOPPING
    assert not health.report().ready


def test_changes_are_told_once():
    told: list[tuple[bool, bool]] = []
    health = Health(("model",), on_change=lambda ready, degraded: told.append((ready, degraded)))
    health.ok("model")
    health.ok("model")
    health.degraded("model", "CPU fallback")
    health.degraded("model", "CPU fallback, still")
    health.failed("model", "gone")
    assert told == [(True, False), (True, True), (False, False)]


def test_a_remark_is_read_among_the_reasons_and_changes_no_state():
    health = Health(("model",))
    health.ok("model")
    health.remark("runs", "run r has no frames of 'det'")
    assert health.report().reasons == ("runs: run r has no frames of 'det'",)
    assert health.report().state is HealthState.READY
    health.remark("runs", None)
    assert health.report().reasons == ()


def test_an_unknown_part_is_an_error_that_names_the_known_ones():
    with pytest.raises(KeyError, match="stream, model, store"):
        Health(PARTS).ok("strem")


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(["ok", "degraded", "failed"])), max_size=12))
def test_the_state_follows_from_the_worst_part(steps):
    health = Health(PARTS)
    last: dict[str, str] = {}
    for part, word in steps:
        health.ok(part) if word == "ok" else getattr(health, word)(part, "why")
        last[part] = word
    report = health.report()
    if "failed" in last.values():
        assert report.state is HealthState.NOT_READY
    elif len(last) < len(PARTS):
        assert report.state is HealthState.STARTING
    else:
        assert report.state is (HealthState.DEGRADED if "degraded" in last.values() else HealthState.READY)
    assert report.ready == (report.state in (HealthState.READY, HealthState.DEGRADED))
    unwell = [c for c in report.conditions.values() if c.status is not ConditionStatus.OK]
    assert len(report.reasons) == len(unwell)
