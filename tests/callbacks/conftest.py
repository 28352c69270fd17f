"""Rocking curves as documents by three routes, and the smallest possible preprocessor and classifier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
from bluesky import RunEngine

from braggwatch.callbacks.cxdp.records import ModelInput, Quality, RockingCurve, ScreeningReport
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.sim.geometry.model import CirclePreset, GeometryPreset, Signal

Document = tuple[str, dict[str, object]]

IDENTITY = ModelIdentity(name="fake", version="1.0.0", sha256="0" * 64, runtime="none")


def make_preset(**changes: object) -> GeometryPreset:
    values: dict[str, object] = {
        "name": "test",
        "description": "a beamline made of numbers",
        "energy_keV": Signal(signal="energy", scale=1.0),
        "sample_circles": (
            CirclePreset(name="th", axis="y+", angle_deg=Signal(signal="th", scale=1.0), offset_deg=0.0),
        ),
        "scanned": "th",
        "detector_circles": (
            CirclePreset(name="delta", axis="y+", angle_deg=Signal(signal="delta", scale=1.0), offset_deg=0.0),
        ),
        "distance_m": 0.5,
        "pixel_size_m": (55e-6, 55e-6),
        "row_direction": "y-",
        "column_direction": "x+",
        "detector_tilt": None,
        "direct_beam_px": (12.0, 10.0),
        "direct_beam_angles_deg": (0.0,),
        "chip_shape": (4096, 4096),
        "roi_origin": (0.0, 0.0),
        "binning": (1, 1),
        "transposed": False,
        "detector_field": "det",
        "monitor_field": "monitor",
        "transmission_field": None,
        "saturation_counts": None,
        "material": None,
        "lattice_parameter_A": None,
        "hkl": None,
    }
    return GeometryPreset.model_validate(values | changes)


def make_frames(count: int, shape: tuple[int, int] = (24, 20), dtype: str = "<u2", seed: int = 0) -> np.ndarray:
    """A Bragg peak in the middle of the scan and the detector, Poisson counts."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rng = np.random.default_rng(seed)
    spot = np.exp(-(((rows - shape[0] // 2) / 3) ** 2) - ((columns - shape[1] // 2) / 3) ** 2)
    rock = np.exp(-(((np.arange(count) - count // 2) / (count / 8)) ** 2))
    peak = 200 if np.dtype(dtype).itemsize == 1 else 2000
    return rng.poisson(peak * rock[:, None, None] * spot + 0.05).astype(dtype)


@dataclass
class Scan:
    """One rocking curve and its documents by each route."""

    frames: np.ndarray
    angles: np.ndarray
    monitor: np.ndarray
    uid: str = "run-1"
    start_extra: dict[str, object] = field(default_factory=dict)

    def start(self, **extra: object) -> Document:
        doc: dict[str, object] = {"uid": self.uid, "time": 1000.0, "scan_id": 7, "energy": 9.0}
        doc |= {"num_points": len(self.frames), "sample_name": "P10", "braggwatch_simulation": {"truth": "screw"}}
        return "start", doc | self.start_extra | extra

    def stop(self, exit_status: str = "success", **extra: object) -> Document:
        doc: dict[str, object] = {"uid": f"{self.uid}-stop", "time": 2000.0, "run_start": self.uid}
        return "stop", doc | {"exit_status": exit_status, "num_events": {"primary": len(self.frames)}} | extra

    def descriptor(
        self, external: str | None = None, *, keys: tuple[str, ...] = ("det", "th", "monitor"), name: str = "primary"
    ) -> Document:
        shape = list(self.frames.shape[1:])
        data_keys: dict[str, object] = {}
        for key in keys:
            data_keys[key] = {"source": "sim", "dtype": "number", "shape": []}
        if "det" in keys:
            data_keys["det"] = {"source": "sim", "dtype": "array", "shape": shape if external is None else [1, *shape]}
            if external is not None:
                data_keys["det"]["external"] = external  # pyright: ignore
        configuration = {"diff": {"data": {"delta": 32.0}, "timestamps": {"delta": 0.0}, "data_keys": {}}}
        return "descriptor", {
            "uid": f"{self.uid}-{name}",
            "run_start": self.uid,
            "time": 1001.0,
            "name": name,
            "data_keys": data_keys,
            "configuration": configuration,
            "hints": {},
            "object_keys": {},
        }

    def event(self, index: int, data: Mapping[str, object], *, name: str = "primary", retake: int = 0) -> Document:
        return "event", {
            "uid": f"{self.uid}-{name}-{index}-{retake}",
            "descriptor": f"{self.uid}-{name}",
            "seq_num": index + 1,
            "time": 1002.0 + index + retake,
            "data": dict(data),
            "timestamps": dict.fromkeys(data, 0.0),
            "filled": {},
        }

    def readings(self, index: int) -> dict[str, object]:
        return {"th": float(self.angles[index]), "monitor": float(self.monitor[index])}

    def inline(self) -> list[Document]:
        events = [self.event(i, {"det": frame, **self.readings(i)}) for i, frame in enumerate(self.frames)]
        return [self.start(), self.descriptor(), *events, self.stop()]

    def inline_page(self) -> list[Document]:
        count = len(self.frames)
        columns = {"det": self.frames, "th": self.angles, "monitor": list(self.monitor)}
        page: dict[str, object] = {
            "descriptor": f"{self.uid}-primary",
            "seq_num": list(range(1, count + 1)),
            "uid": [f"{self.uid}-{i}" for i in range(count)],
            "time": [1002.0 + i for i in range(count)],
            "data": columns,
            "timestamps": {},
        }
        return [self.start(), self.descriptor(), ("event_page", page), self.stop()]

    def write(self, path: Path, *, dataset: str = "/entry/data/data", lead: int = 0, **options: object) -> Path:
        with h5py.File(path, "w", libver="latest") as file:
            frames = np.concatenate([np.zeros((lead, *self.frames.shape[1:]), self.frames.dtype), self.frames])
            file.create_dataset(
                dataset, data=frames, chunks=(1, *frames.shape[1:]), maxshape=(None, *frames.shape[1:]), **options
            )
        return path

    def resource_datum(self, path: Path, *, root: str | None = None, paged: bool = False) -> list[Document]:
        root = str(path.parent) if root is None else root
        resource: dict[str, object] = {
            "uid": f"{self.uid}-res",
            "run_start": self.uid,
            "spec": "AD_HDF5",
            "root": root,
            "resource_path": path.name,
            "resource_kwargs": {"frame_per_point": 1},
            "path_semantics": "posix",
        }
        documents: list[Document] = [self.start(), ("resource", resource)]
        count = len(self.frames)
        ids = [f"{self.uid}-res/{i}" for i in range(count)]
        if paged:
            page: dict[str, object] = {
                "datum_id": ids,
                "resource": f"{self.uid}-res",
                "datum_kwargs": {"point_number": list(range(count))},
            }
            documents.append(("datum_page", page))
        documents.append(self.descriptor("FILESTORE:"))
        for i in range(count):
            if not paged:
                datum: dict[str, object] = {
                    "datum_id": ids[i],
                    "resource": f"{self.uid}-res",
                    "datum_kwargs": {"point_number": i},
                }
                documents.append(("datum", datum))
            documents.append(self.event(i, {"det": ids[i], **self.readings(i)}))
        return [*documents, self.stop()]

    def stream_resource(self, path: Path, key: str = "det", dataset: str = "/entry/data/data") -> Document:
        return "stream_resource", {
            "uid": f"{self.uid}-{key}-sr",
            "run_start": self.uid,
            "data_key": key,
            "mimetype": "application/x-hdf5",
            "uri": f"file://localhost{path}",
            "parameters": {"dataset": dataset, "chunk_shape": [1, *self.frames.shape[1:]]},
        }

    def stream_datum(
        self, first: int, last: int, key: str = "det", *, lead: int = 0, name: str = "primary"
    ) -> Document:
        return "stream_datum", {
            "uid": f"{self.uid}-{key}-sr/{first}",
            "stream_resource": f"{self.uid}-{key}-sr",
            "descriptor": f"{self.uid}-{name}",
            "indices": {"start": first + lead, "stop": last + lead},
            "seq_nums": {"start": first + 1, "stop": last + 1},
        }

    def streamed(self, path: Path, *, lead: int = 0) -> list[Document]:
        documents: list[Document] = [self.start(), self.descriptor("STREAM:"), self.stream_resource(path)]
        for i in range(len(self.frames)):
            documents += [self.stream_datum(i, i + 1, lead=lead), self.event(i, self.readings(i))]
        return [*documents, self.stop()]

    def fly(
        self, path: Path, *more: Document, num_events: dict[str, int] | None = None, **start: object
    ) -> list[Document]:
        """No events: the frames in two stream datums; the angles elsewhere, from ``more`` or the start document."""
        count = len(self.frames)
        name, doc = self.start(**start)
        doc.pop("num_points")
        stop = self.stop(num_events=num_events or {"primary": count})
        frames = [self.stream_datum(0, count // 2), self.stream_datum(count // 2, count)]
        opening: list[Document] = [(name, doc), self.descriptor("STREAM:", keys=("det",)), self.stream_resource(path)]
        return [*opening, *frames, *more, stop]


class FakePreprocessor:
    """Keeps the curve and returns its sum in a 64³."""

    def __init__(self) -> None:
        self.curves: list[RockingCurve] = []
        self.fill = 1.0
        self.invalid_reason: str | None = None
        self.error: Exception | None = None

    def __call__(self, curve: RockingCurve) -> ModelInput:
        self.curves.append(curve)
        if self.error is not None:
            raise self.error
        quality = Quality(
            coverage=1.0,
            peak_counts=float(curve.frames.max()),
            total_counts=float(curve.frames.sum()),
            saturated_pixels=0,
            size_nm=300.0,
            scale_valid=True,
            voxel_size_inv_A=0.001,
            q_inv_A=2.7,
            d_spacing_A=2.35,
            d_deviation=None,
            invalid_reason=self.invalid_reason,
        )
        intensity = np.full((64, 64, 64), self.fill, np.float32)
        return ModelInput(curve.run_uid, intensity, np.eye(3), np.zeros(3), quality)


class FakeClassifier:
    """Says screw, or whatever `answer` is set to."""

    identity = IDENTITY

    def __init__(self) -> None:
        self.answer: Verdict | Exception | Callable[[], Verdict] = Verdict(
            outcome=Outcome.CLASSIFIED,
            label="screw",
            probabilities={"perfect": 0.02, "screw": 0.97, "edge": 0.01},
            confidence=0.97,
            model=IDENTITY,
        )

    def classify(self, intensity: np.ndarray) -> Verdict:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, Verdict) else self.answer()


class Bench:
    """A screening callback with a clock that is set by hand."""

    def __init__(self, preset: GeometryPreset, settings: AssemblySettings) -> None:
        self.now = 100.0
        self.preprocessor = FakePreprocessor()
        self.classifier = FakeClassifier()
        self.reports: list[ScreeningReport] = []
        self.unrecorded: list[UnrecordedRun] = []
        self.callback = ScreeningCallback(
            preset,
            self.preprocessor,
            self.classifier,
            self.reports.append,
            settings,
            clock=lambda: self.now,
            on_unrecorded=self.unrecorded.append,
        )

    def feed(self, documents: list[Document], step_s: float = 0.0) -> Bench:
        for name, doc in documents:
            self.callback(name, doc)
            self.now += step_s
        return self

    def wait(self, seconds: float) -> Bench:
        self.now += seconds
        self.callback.expire(self.now)
        return self

    @property
    def curve(self) -> RockingCurve:
        return self.preprocessor.curves[-1]

    @property
    def result(self):
        assert len(self.reports) == 1, [r.result.verdict for r in self.reports]
        return self.reports[0].result


@pytest.fixture
def run_engine() -> Iterator[RunEngine]:
    """A RunEngine with its own event loop, closed afterwards."""
    loop = asyncio.new_event_loop()
    engine = RunEngine({}, loop=loop, call_returns_result=True)
    yield engine
    if engine.state not in {"idle", "panicked"}:
        engine.halt()
    loop.call_soon_threadsafe(loop.stop)
    engine._th.join()
    loop.close()


@pytest.fixture
def preset() -> GeometryPreset:
    return make_preset()


@pytest.fixture
def preset_with() -> Callable[..., GeometryPreset]:
    return make_preset


@pytest.fixture
def frames_of() -> Callable[..., np.ndarray]:
    return make_frames


@pytest.fixture
def scan_of() -> Callable[..., Scan]:
    def build(count: int = 21, uid: str = "run-1", **frames: object) -> Scan:
        angles = np.linspace(-0.3, 0.3, count) + 1e-4 * np.sin(np.arange(count))
        monitor = 1000.0 + np.arange(count)
        return Scan(make_frames(count, **frames), angles, monitor, uid)  # pyright: ignore

    return build


@pytest.fixture
def scan(scan_of: Callable[..., Scan]) -> Scan:
    return scan_of()


@pytest.fixture
def bench_of() -> Callable[..., Bench]:
    def build(preset: GeometryPreset | None = None, **settings: object) -> Bench:
        return Bench(preset or make_preset(), AssemblySettings.model_validate(settings))

    return build


@pytest.fixture
def bench(bench_of: Callable[..., Bench]) -> Bench:
    return bench_of()
