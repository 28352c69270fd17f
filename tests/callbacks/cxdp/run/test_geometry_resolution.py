"""Every geometry value is found where it is stated, with its origin; what is missing or moves is refused."""

from __future__ import annotations

import numpy as np
import pytest

from braggwatch.models.verdict import Outcome
from braggwatch.sim.geometry.model import CirclePreset, Signal


def origins(result):
    return {origin.field: (origin.value, origin.origin) for origin in result.geometry_origins}


def baseline(scan, values, number=1):
    keys = scan.descriptor(keys=tuple(values), name="baseline")
    return [keys, *(scan.event(i, dict(values), name="baseline") for i in range(number))]


def test_every_value_says_where_it_came_from(scan, bench):
    bench.feed(scan.inline())
    found = origins(bench.result)
    assert found["energy_keV"] == (9.0, "start:energy")
    assert found["detector_circles.delta"] == (32.0, "configuration:delta")
    assert found["distance_m"] == (0.5, "preset")
    assert found["sample_circles.th"] == (scan.angles[0], "event:th")
    assert bench.curve.geometry.frame_shape == scan.frames.shape[1:]


def test_baseline_is_preferred_to_configuration_and_events_to_both(scan, bench_of):
    documents = scan.inline()
    bench = bench_of().feed([documents[0], *baseline(scan, {"delta": 33.0, "energy": 9.5}), *documents[1:]])
    assert origins(bench.result)["detector_circles.delta"] == (33.0, "baseline:delta")
    assert origins(bench.result)["energy_keV"] == (9.5, "baseline:energy")
    for _, doc in documents[2:-1]:
        doc["data"]["delta"] = 34.0
    bench = bench_of().feed([documents[0], *baseline(scan, {"delta": 33.0}), *documents[1:]])
    assert origins(bench.result)["detector_circles.delta"] == (34.0, "event:delta")


@pytest.mark.parametrize("value", [None, "nine", float("nan"), [9.0, 9.0]])
def test_missing_values_are_named_never_defaulted(value, scan, bench):
    documents = scan.inline()
    if value is None:
        del documents[0][1]["energy"]
    else:
        documents[0][1]["energy"] = value
    documents[1][1]["configuration"] = {}
    bench.feed(documents)
    verdict = bench.result.verdict
    assert verdict.outcome is Outcome.INVALID
    for part in ("energy_keV", "'energy'", "detector_circles.delta", "baseline", "configuration", "start"):
        assert part in verdict.reason
    assert not bench.preprocessor.curves


def test_a_late_baseline_is_waited_for(scan, bench):
    documents = scan.inline()
    del documents[0][1]["energy"]
    keys, event = baseline(scan, {"energy": 9.0})
    stop = scan.stop(num_events={"primary": 21, "baseline": 1})
    bench.feed([documents[0], keys, *documents[1:-1], stop])
    assert not bench.reports
    bench.feed([event])
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED


def test_a_detector_arm_that_moves_is_refused(scan, bench):
    documents = scan.inline()
    for index, (_, doc) in enumerate(documents[2:-1]):
        doc["data"]["delta"] = 32.0 + 0.01 * index
    documents[1][1]["data_keys"]["delta"] = {"source": "", "dtype": "number", "shape": []}
    bench.feed(documents)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "moved during the scan" in bench.result.verdict.reason


def test_a_scan_of_something_else_has_no_readback(scan, bench):
    documents = scan.inline()
    for _, doc in documents[2:-1]:
        del doc["data"]["th"]
    bench.feed([documents[0], *baseline(scan, {"th": 0.0}), *documents[1:]]).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "no readback of the scanned circle 'th'" in bench.result.verdict.reason


def test_frames_without_a_readback_are_missing_frames(scan, bench):
    documents = scan.inline()
    documents[3][1]["data"]["th"] = float("nan")
    bench.feed(documents).wait(60)
    assert bench.result.verdict.outcome is Outcome.PARTIAL
    assert "without a readback" in bench.result.verdict.reason
    assert not bench.curve.present[1]


def test_a_readback_in_other_units_is_scaled(scan, preset_with, bench_of):
    circle = CirclePreset(name="th", axis="y+", angle_deg=Signal(signal="th", scale=1e-3), offset_deg=0.0)
    bench = bench_of(preset_with(sample_circles=(circle,))).feed(scan.inline())
    np.testing.assert_allclose(bench.curve.angles_deg, scan.angles * 1e-3)
    assert bench.curve.geometry.sample_circles[0].angle_deg == pytest.approx(scan.angles[0] * 1e-3)


def test_a_region_of_interest_off_the_chip_is_refused(scan, preset_with, bench_of):
    bench = bench_of(preset_with(chip_shape=(16, 16))).feed(scan.inline())
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "chip" in bench.result.verdict.reason


def test_a_monitor_that_is_incomplete_is_not_used(scan, bench):
    documents = scan.inline()
    del documents[5][1]["data"]["monitor"]
    bench.feed(documents)
    assert bench.curve.monitor is None


@pytest.mark.parametrize("turn", [0.0, 360.0])
def test_angles_that_go_over_a_whole_turn_are_those_without_it(turn, scan, bench):
    """A controller that counts from 0 to 360 degrees, with the peak at zero, and an arm that stands at zero."""
    documents = scan.inline()
    for name, doc in documents:
        if name == "event":
            doc["data"]["th"] = doc["data"]["th"] % 360.0
    descriptor = scan.descriptor(keys=("delta",), name="baseline")
    arm = [scan.event(i, {"delta": value}, name="baseline") for i, value in enumerate([turn + 1e-4, turn - 1e-4])]
    if turn == 0.0:
        arm[1][1]["data"]["delta"] %= 360.0
    bench.feed([documents[0], descriptor, *arm, *documents[1:]])
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED, bench.result.verdict.reason
    steps = np.diff(bench.curve.angles_deg)
    np.testing.assert_allclose(steps, np.diff(scan.angles), atol=1e-9)
