"""A device that ends while scans come: the CPU preprocesses that scan and the next ones, and says so once."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

wp = pytest.importorskip("warp", reason="Warp isn't installed: no kernels to run")

from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor  # noqa: E402 - needs Warp
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings  # noqa: E402
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_curve  # noqa: E402


@pytest.fixture
def curve() -> Any:
    return artificial_curve(np.dtype(np.uint16))


@pytest.fixture
def wanted(curve: Any) -> Any:
    return CpuPreprocessor(PreprocessingSettings())(curve).intensity


def test_a_device_that_ends_is_left_and_no_scan_is_lost(
    curve: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    preprocessor = DevicePreprocessor(PreprocessingSettings(), "cpu", on_takeover=told.append)
    assert preprocessor(curve).batch is not None
    failures = 0

    def ended(_: object = None) -> None:
        nonlocal failures
        failures += 1
        raise RuntimeError("CUDA error 700: an illegal memory access was encountered")

    monkeypatch.setattr(wp, "synchronize_device", ended)
    with caplog.at_level(logging.WARNING):
        made = [preprocessor(replace(curve, run_uid=name)) for name in ("first", "second", "third")]
        before = failures
        preprocessor.frames.stored("fourth", curve.frames, 0)
        preprocessor.frames.dropped("fourth")
    assert failures == before
    assert all(np.array_equal(one.intensity, wanted) and one.batch is None for one in made)
    assert preprocessor.device == "cpu"
    assert preprocessor.frames.nbytes == 0
    (message,) = told
    assert "illegal memory access" in message
    assert [record.getMessage() for record in caplog.records] == [message]


def test_a_device_that_lacks_room_for_a_scan_takes_the_next(
    curve: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    preprocessor = DevicePreprocessor(PreprocessingSettings(), "cpu", on_takeover=told.append)

    def full(*_: object) -> None:
        raise RuntimeError("Failed to allocate 560000000 bytes on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(preprocessor.frames, "take", full)
        made = preprocessor(curve)
    assert np.array_equal(made.intensity, wanted)
    assert made.batch is None
    assert "on the CPU" in caplog.text
    assert preprocessor(curve).batch is not None
    assert told == []
