"""A small screening service for tests: everything is real but the numerics. Also a program, to be killed.

    python service_process.py STREAM_ADDRESS STORE_PATH

prints ``ready`` once a run that arrives would be judged, and runs until SIGTERM.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from braggwatch.callbacks.cxdp.records import ModelInput, Quality, RockingCurve
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.cxdp.live.modality import CurveModality
from braggwatch.services.live.feedback_dispatch import FeedbackDispatcher
from braggwatch.services.live.instruments import Instruments
from braggwatch.services.live.screening_service import ScreeningService
from braggwatch.services.live.supervision import stop_on_signal
from braggwatch.services.settings import QueueSettings, ScreeningSettings, Settings
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.services.stream.stream_settings import StreamSettings
from braggwatch.sim.geometry import load_preset

EDGE = 24
PREFIX = "raw"


def small_preset():
    """The simulated beamline with a chip of 24 x 24 pixels."""
    return load_preset("simulated").model_copy(
        update={"chip_shape": (EDGE, EDGE), "direct_beam_px": (EDGE / 2, EDGE / 2)}
    )


class QuickPreprocessor:
    """Puts the frames into the corner of the model input: quick, and every count shows in the result."""

    def __call__(self, curve: RockingCurve) -> ModelInput:
        intensity = np.zeros((64, 64, 64), np.float32)
        frames = curve.frames[:64]
        intensity[: len(frames), : frames.shape[1], : frames.shape[2]] = frames
        return ModelInput(
            run_uid=curve.run_uid,
            intensity=intensity,
            basis=np.eye(3),
            centre_inv_A=np.zeros(3),
            quality=Quality(
                coverage=1.0,
                peak_counts=float(frames.max()),
                total_counts=float(frames.sum()),
                saturated_pixels=0,
                size_nm=None,
                scale_valid=True,
                voxel_size_inv_A=1e-3,
                q_inv_A=2.7,
                d_spacing_A=2.3,
                d_deviation=None,
            ),
        )


class QuickClassifier:
    """Names a class by the total of the counts."""

    identity = ModelIdentity(name="quick", version="1.0.0", sha256="0" * 64, runtime="test")

    def classify(self, intensity) -> Verdict:
        total = int(intensity.sum(dtype=np.float64))
        label = ("perfect", "screw", "edge")[total % 3]
        return Verdict(
            outcome=Outcome.CLASSIFIED,
            label=label,
            probabilities={"perfect": 0.05, "screw": 0.05, "edge": 0.05} | {label: 0.9},
            confidence=0.9,
            ood_score=1.0,
            ood_threshold=2.0,
            model=self.identity,
        )


def make_callback(on_report, **assembly) -> ScreeningCallback:
    """The real callback with the quick numerics."""
    settings = AssemblySettings.model_validate({"grace_s": 0.5, "run_timeout_s": 600.0} | assembly)
    return ScreeningCallback(small_preset(), QuickPreprocessor(), QuickClassifier(), on_report, settings)


def make_settings(address: str, *, queue=None, **stream) -> Settings:
    """Settings for one stream, with short deadlines."""
    return Settings(
        stream=StreamSettings.model_validate({"address": address, "prefix": PREFIX, "gap_grace_s": 0.5} | stream),
        queue=QueueSettings(**queue or {}),
        screening=ScreeningSettings(expire_interval_s=0.05, stop_deadline_s=5.0),
    )


def make_curves(store: ResultStore, make_stream=None, **more) -> CurveModality:
    """Rocking curves with the quick numerics, or with the callback that ``make_stream(on_report, ...)`` makes."""
    return CurveModality(store, make_stream or (lambda on_report, *_: make_callback(on_report)), **more)


def make_service(
    settings: Settings,
    store: ResultStore,
    *,
    modalities=None,
    sinks=(),
    metrics=None,
    health=None,
    assembly=None,
    on_beat=None,
) -> ScreeningService:
    """A service on an open store; without ``modalities``, for rocking curves with the quick numerics."""
    if modalities is None:
        chosen = assembly or {}
        modalities = [make_curves(store, lambda on_report, *_: make_callback(on_report, **chosen), metrics=metrics)]
    outboxes = [modality.outbox for modality in modalities]
    feedback = FeedbackDispatcher(sinks, outboxes, store.wait_for_change, metrics)
    return ScreeningService(settings, modalities, feedback, Instruments.of(metrics, health), on_beat=on_beat)


def main() -> None:
    """Run until SIGTERM."""
    address, path = sys.argv[1:]
    with stop_on_signal() as stopping, ResultStore(Path(path)) as store:
        service = make_service(make_settings(address), store)
        service.start()
        service.wait_ready(30.0)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        stopping.wait()
        service.stop()


if __name__ == "__main__":
    main()
