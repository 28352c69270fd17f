"""A measured rocking curve (APS 34-ID-C, scan 54, a perfect gold crystal) passes from SPEC and TIFF to its verdict.

However its frames travel, live or replayed, the network sees the very same numbers.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgpack_numpy
import numpy as np
import pytest
import tifffile
from event_model import DocumentNames, schema_validators

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor
from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningReport, ScreeningResult
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.composition import compose_service
from braggwatch.services.cxdp.preprocessing import preprocessing_settings
from braggwatch.services.cxdp.recorded_runs import screen_documents
from braggwatch.services.importers.spec34idc import ImportOptions, ImportReport, import_scan
from braggwatch.services.recording.recordings import RecordedDocument, read_recording
from braggwatch.services.recording.replay import ReadyPublisher, ReplayOptions, Serializer, replay
from braggwatch.services.settings import (
    PreprocessingChoices,
    ScreeningSettings,
    Settings,
    StoreSettings,
)
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.services.stream.stream_settings import StreamSettings
from braggwatch.sim.geometry import load_preset
from braggwatch.sim.geometry.model import Signal
from support.production import production_bundle

ARCHIVE = Path(__file__).resolve().parents[4] / "shared" / "data" / "34idc_S0054.tar.xz"
IMAGE = "34idcTIM2_image"
FRAMES = 201
PRESET = load_preset("34idc")

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason=f"needs the measured scan {ARCHIVE.name}")


@dataclass(frozen=True)
class Measured:
    recording: Path
    report: ImportReport
    choices: PreprocessingChoices


class Witness:
    """Stands in for the network where only its input matters."""

    identity = ModelIdentity(name="witness", version="1", sha256="0" * 64, runtime="test")

    def classify(self, intensity: np.ndarray) -> Verdict:
        return Verdict(outcome=Outcome.UNSURE, reason="only a witness", model=self.identity)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("scan")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    spec_file = next(folder.glob("**/example.spec"))
    report = import_scan(
        ImportOptions(spec_file=spec_file, scan=54, frames=spec_file.parent / "frames", sample="Au 34-ID-C"),
        folder / "scan54.bwrec",
    )
    # The dark image of this counting detector marks its noisy pixels.
    np.save(folder / "mask.npy", tifffile.imread(spec_file.parent / "dark.tif") > 1)
    choices = PreprocessingChoices(mask_path=folder / "mask.npy", flat_path=spec_file.parent / "whitefield.tif")
    return Measured(folder / "scan54.bwrec", report, choices)


@pytest.fixture(scope="module")
def preprocessor(measured: Measured) -> CpuPreprocessor:
    return CpuPreprocessor(preprocessing_settings(measured.choices, PRESET))


@pytest.fixture(scope="module")
def reference(measured: Measured, preprocessor: CpuPreprocessor) -> ScreeningReport:
    """The recording, judged without any socket."""
    (report,) = screen_documents(read_recording(measured.recording), PRESET, preprocessor, Witness())
    return report


def test_the_import_is_whole_and_its_pairing_certain(measured: Measured) -> None:
    report = measured.report
    assert report.frames == report.points == FRAMES
    assert report.total_mismatches == report.missing_points == ()
    expected = {"energy": 9.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0, "detector_distance": 0.5}
    assert report.signals == expected
    assert all(origin.startswith("SPEC motor ") for origin in report.origins.values())
    for record in read_recording(measured.recording):
        schema_validators[DocumentNames[record.name]].validate(record.document)


def test_it_is_gold_111_with_its_facets(reference: ScreeningReport) -> None:
    result = reference.result
    assert (result.frames_received, result.frames_expected) == (FRAMES, FRAMES)
    quality = result.quality
    assert quality is not None
    assert quality.d_spacing_A == pytest.approx(2.3545, rel=0.01)
    assert len(quality.facet_angles_deg) >= 3
    assert np.median(quality.facet_angles_deg) == pytest.approx(70.53, abs=3.0)
    origins = {origin.field: origin.origin for origin in result.geometry_origins}
    assert origins["energy_keV"] == "baseline:energy"
    assert origins["distance_m"] == "baseline:detector_distance"


class Certain(Witness):
    """Says perfect to whatever it is shown."""

    def classify(self, intensity: np.ndarray) -> Verdict:
        return Verdict(outcome=Outcome.CLASSIFIED, label="perfect", confidence=1.0, model=self.identity)


@pytest.mark.parametrize(
    ("change", "d_A"),
    [
        ({}, 2.36),
        ({"column_direction": "x-"}, 2.27),
        ({"energy_keV": Signal(signal="energy", scale=1000.0)}, 0.0024),
    ],
)
def test_a_geometry_that_contradicts_gold_111_gets_no_class(
    measured: Measured, preprocessor: CpuPreprocessor, change: dict[str, object], d_A: float
) -> None:
    """The detector's columns the wrong way round, or the energy in eV: neither live, nor on the way, nor afterwards."""
    reports: list[ScreeningReport] = []
    told: list[ProvisionalVerdict] = []
    provisional = ProvisionalScreening(preprocessor, Certain(), told.append, (0.85,))
    preset = PRESET.model_copy(update=change)
    callback = ScreeningCallback(preset, preprocessor, Certain(), reports.append, provisional=provisional)
    for record in read_recording(measured.recording):
        callback(record.name, record.document)
    (result,) = (report.result for report in reports)
    assert result.quality is not None
    assert result.quality.d_spacing_A == pytest.approx(d_A, rel=0.02)
    assert result.quality.peak_counts > 1e5
    if not change:
        assert [one.verdict.label for one in told] == [result.verdict.label] == ["perfect"]
        return
    assert told == []
    assert (result.verdict.outcome, result.verdict.label) == (Outcome.INVALID, None)
    assert "contradicts the stated reflection (1 1 1)" in (result.verdict.reason or "")


WRONG_SIGNS: dict[str, tuple[dict[str, object], set[str]]] = {
    "columns": ({"column_direction": "x-"}, {"column direction flipped ('x+')"}),
    "rows": ({"row_direction": "y+"}, {"row direction flipped ('y-')", "gamma's sign ('x+')"}),
    "transposed": ({"transposed": True}, {"transposed (false)"}),
    "delta": (
        {
            "detector_circles": (
                PRESET.detector_circles[0].model_copy(update={"axis": "y-"}),
                PRESET.detector_circles[1],
            )
        },
        {"delta's sign ('y+')"},
    ),
    "rocking": (
        {"sample_circles": (PRESET.sample_circles[0].model_copy(update={"axis": "y-"}), *PRESET.sample_circles[1:])},
        {"rocking sign (th: 'y+')"},
    ),
}


@pytest.mark.parametrize("what", WRONG_SIGNS)
def test_a_wrong_sign_gets_no_class_and_is_named(measured: Measured, preprocessor: CpuPreprocessor, what: str) -> None:
    change, mends = WRONG_SIGNS[what]
    preset = PRESET.model_copy(update=change)
    (report,) = screen_documents(read_recording(measured.recording), preset, preprocessor, Certain())
    result = report.result
    assert (result.verdict.outcome, result.verdict.label) == (Outcome.INVALID, None)
    assert result.quality is not None
    assert result.quality.geometry is not None
    assert result.quality.geometry.verdict == "inconsistent"
    assert set(result.quality.geometry.mends) == mends
    assert all(mend in (result.verdict.reason or "") for mend in mends)


def test_five_per_cent_of_the_distance_leave_no_trace(
    measured: Measured, preprocessor: CpuPreprocessor, reference: ScreeningReport
) -> None:
    preset = PRESET.model_copy(update={"distance_m": Signal(signal="detector_distance", scale=1.05)})
    (report,) = screen_documents(read_recording(measured.recording), preset, preprocessor, Certain())
    for result in (report.result, reference.result):
        assert result.quality is not None
        assert result.quality.geometry is not None
        assert result.quality.geometry.verdict == "consistent"


def through_resource(records: list[RecordedDocument], folder: Path) -> list[RecordedDocument]:
    """The run as a classic areaDetector would tell it."""
    _write_frames(records, folder)
    result: list[RecordedDocument] = []
    for record in records:
        doc: dict[str, Any] = dict(record.document)
        if record.name == "descriptor" and doc["name"] == "primary":
            doc["data_keys"] = _with_image(doc, {"shape": [256, 256], "external": "FILESTORE:"})
            run = doc["run_start"]
            resource: dict[str, object] = {
                "uid": "resource-1",
                "run_start": run,
                "spec": "AD_HDF5",
                "root": str(folder),
                "resource_path": "frames.h5",
                "path_semantics": "posix",
                "resource_kwargs": {"frame_per_point": 1},
            }
            result += [RecordedDocument(record.time_s, "descriptor", doc)]
            result += [RecordedDocument(record.time_s, "resource", resource)]
            continue
        if record.name == "event" and IMAGE in doc["data"]:
            index = doc["seq_num"] - 1
            datum_id = f"resource-1/{index}"
            datum: dict[str, object] = {"datum_id": datum_id, "resource": "resource-1"}
            datum["datum_kwargs"] = {"point_number": index}
            result.append(RecordedDocument(record.time_s, "datum", datum))
            doc["data"] = {**doc["data"], IMAGE: datum_id}
            doc["filled"] = {IMAGE: False}
        result.append(RecordedDocument(record.time_s, record.name, doc))
    return result


def through_stream(records: list[RecordedDocument], folder: Path) -> list[RecordedDocument]:
    """The run as an ophyd-async detector would tell it."""
    _write_frames(records, folder)
    result: list[RecordedDocument] = []
    primary = ""
    for record in records:
        doc: dict[str, Any] = dict(record.document)
        if record.name == "descriptor" and doc["name"] == "primary":
            primary = doc["uid"]
            doc["data_keys"] = _with_image(doc, {"shape": [1, 256, 256], "external": "STREAM:"})
            resource: dict[str, object] = {
                "uid": "resource-1",
                "run_start": doc["run_start"],
                "data_key": IMAGE,
                "mimetype": "application/x-hdf5",
                "uri": f"file://localhost{folder}/frames.h5",
                "parameters": {"dataset": "/entry/data/data", "chunk_shape": [1, 256, 256]},
            }
            result += [RecordedDocument(record.time_s, "descriptor", doc)]
            result += [RecordedDocument(record.time_s, "stream_resource", resource)]
            continue
        if record.name == "event" and IMAGE in doc["data"]:
            number = doc["seq_num"]
            datum: dict[str, object] = {
                "uid": f"resource-1/{number}",
                "stream_resource": "resource-1",
                "descriptor": primary,
                "indices": {"start": number - 1, "stop": number},
                "seq_nums": {"start": number, "stop": number + 1},
            }
            result.append(RecordedDocument(record.time_s, "stream_datum", datum))
            doc["data"] = {key: value for key, value in doc["data"].items() if key != IMAGE}
            doc["timestamps"] = {key: value for key, value in doc["timestamps"].items() if key != IMAGE}
        result.append(RecordedDocument(record.time_s, record.name, doc))
    return result


def _with_image(descriptor: dict[str, Any], change: dict[str, object]) -> dict[str, object]:
    keys = descriptor["data_keys"]
    return {**keys, IMAGE: {**keys[IMAGE], **change}}


def _write_frames(records: list[RecordedDocument], folder: Path) -> None:
    events: list[Any] = [record.document["data"] for record in records if record.name == "event"]
    frames = [data[IMAGE] for data in events if IMAGE in data]
    with h5py.File(folder / "frames.h5", "w", libver="latest") as file:
        file.create_dataset("entry/data/data", data=np.stack(frames), chunks=(1, 256, 256))


@pytest.mark.parametrize("through", [through_resource, through_stream])
def test_every_route_gives_the_same_model_input_bit_for_bit(
    measured: Measured,
    preprocessor: CpuPreprocessor,
    reference: ScreeningReport,
    through: Callable[[list[RecordedDocument], Path], list[RecordedDocument]],
    tmp_path: Path,
) -> None:
    records = through(list(read_recording(measured.recording)), tmp_path)
    for record in records:
        schema_validators[DocumentNames[record.name]].validate(record.document)
    (report,) = screen_documents(records, PRESET, preprocessor, Witness())
    assert report.result.frames_received == FRAMES
    assert report.model_input is not None
    assert reference.model_input is not None
    assert report.model_input.intensity.tobytes() == reference.model_input.intensity.tobytes()


@contextmanager
def witnessing_service(
    quick, address: str, preprocessor: CpuPreprocessor, path: Path
) -> Generator[tuple[ResultStore, dict[str, bytes]]]:
    """The real service with the real preprocessing; in place of the network, its inputs are kept by run."""
    settings = Settings(stream=StreamSettings(address=address, prefix="raw"), store=StoreSettings(path=path))
    inputs: dict[str, bytes] = {}

    def make_stream(on_report: Callable[[ScreeningReport], None], *_: object) -> ScreeningCallback:
        def keep(report: ScreeningReport) -> None:
            # The store rounds what it keeps for the page, so the comparison takes the arrays before it.
            if report.model_input is not None:
                inputs[report.result.run_uid] = report.model_input.intensity.tobytes()
            on_report(report)

        return ScreeningCallback(PRESET, preprocessor, Witness(), keep, settings.assembly)

    with ResultStore(path) as store:
        service = quick.make_service(settings, store, modalities=[quick.make_curves(store, make_stream)])
        service.start()
        try:
            assert service.wait_ready(30.0)
            yield store, inputs
        finally:
            service.stop()


def test_live_and_replayed_are_the_same_bit_for_bit(
    measured: Measured,
    preprocessor: CpuPreprocessor,
    reference: ScreeningReport,
    quick,
    shared_proxy,
    make_publisher,
    tmp_path: Path,
) -> None:
    """Stock publisher with pickle and msgpack, and Braggwatch's replay, through a real bluesky-0MQ-proxy."""
    assert reference.model_input is not None
    expected = reference.model_input.intensity.tobytes()
    options = ReplayOptions(new_uids=True)
    with witnessing_service(quick, shared_proxy.out_address, preprocessor, tmp_path / "r.sqlite") as (store, inputs):
        runs: list[str] = []
        for publisher in (make_publisher(shared_proxy), make_publisher(shared_proxy, serializer=msgpack_numpy.dumps)):
            runs += replay(read_recording(measured.recording), publisher, options).runs
        for serializer in Serializer:
            with closing(ReadyPublisher(shared_proxy.in_address, prefix=b"raw", serializer=serializer)) as ours:
                ours.wait_for_subscriber(10.0)
                runs += replay(read_recording(measured.recording), ours, options).runs
        assert len(set(runs)) == 4
        for run in runs:
            result = store.wait(run, 30.0)
            assert result is not None
            assert (result.frames_received, result.frames_expected) == (FRAMES, FRAMES)
            assert inputs[run] == expected


@pytest.fixture(scope="module")
def production() -> Path:
    return production_bundle()


def assert_perfect(result: ScreeningResult) -> None:
    verdict = result.verdict
    assert verdict.outcome is Outcome.CLASSIFIED, verdict
    assert verdict.label == "perfect"
    assert verdict.ood_score is not None
    assert verdict.ood_threshold is not None
    assert verdict.ood_score < verdict.ood_threshold
    assert (result.frames_received, result.frames_expected) == (FRAMES, FRAMES)


def test_it_is_called_perfect_or_nothing_with_a_third_of_the_scan_to_go(
    measured: Measured, production: Path, preprocessor: CpuPreprocessor
) -> None:
    told: list[ProvisionalVerdict] = []
    classifier = BundleClassifier.load(production, threads=1)
    callback = ScreeningCallback(
        PRESET,
        preprocessor,
        classifier,
        lambda _: None,
        provisional=ProvisionalScreening(preprocessor, classifier, told.append, (0.65, 0.8)),
    )
    for record in read_recording(measured.recording):
        callback(record.name, record.document)
    assert [one.frames_received for one in told] == [round(0.65 * FRAMES + 0.5), round(0.8 * FRAMES + 0.5)]
    for one in told:
        assert one.verdict.label in ("perfect", None), one.verdict
        assert max(one.verdict.probabilities, key=one.verdict.probabilities.__getitem__) == "perfect", one.verdict


@pytest.mark.parametrize("pack", ["pickle", "msgpack"])
def test_the_service_calls_it_perfect(
    measured: Measured, production: Path, shared_proxy, make_publisher, pack: str, tmp_path: Path
) -> None:
    settings = Settings(
        stream=StreamSettings(address=shared_proxy.out_address, prefix="raw"),
        preprocessing=measured.choices,
        screening=ScreeningSettings(geometry="34idc", model=str(production), threads=1),
        store=StoreSettings(path=tmp_path / "r.sqlite"),
    )
    publisher = (
        make_publisher(shared_proxy)
        if pack == "pickle"
        else make_publisher(shared_proxy, serializer=msgpack_numpy.dumps)
    )
    with closing(compose_service(settings)) as composed:
        composed.service.start()
        assert composed.service.wait_ready(60.0), composed.service.health.report()
        report = replay(read_recording(measured.recording), publisher, ReplayOptions(new_uids=True))
        result = composed.store.wait(report.runs[0], 30.0)
        assert result is not None
        assert_perfect(result)
        assert composed.service.receiver_stats.lost == 0
