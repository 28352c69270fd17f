"""The simulated beamline in a real RunEngine: valid documents, the same frames on every route."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import bluesky.plan_stubs as bps
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus
from event_model import DocumentNames, schema_validators

from braggwatch.sim.beamline.assembly import build_beamline
from braggwatch.sim.beamline.diffractometer import DiffractometerSettings
from braggwatch.sim.beamline.plans import fly_rocking_curve, rocking_curve, screen_particles
from braggwatch.sim.beamline.sample import SimulatedSample
from braggwatch.sim.geometry import geometry_from_values, load_preset, preset_signals
from support.hdf5 import dataset

NUM = 5
START, STOP = 17.9, 18.1
ANGLES = np.linspace(START, STOP, NUM)


class Documents:
    """Collects documents and validates each against event-model's schema."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        schema_validators[DocumentNames[name]].validate(doc)
        self.all.append((name, doc))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [doc for kind, doc in self.all if kind == name]

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for name, _ in self.all)

    def stream(self, stream_name: str) -> dict[str, Any]:
        (descriptor,) = [d for d in self.of("descriptor") if d["name"] == stream_name]
        return descriptor

    def events(self, stream_name: str) -> list[dict[str, Any]]:
        uid = self.stream(stream_name)["uid"]
        return [e for e in self.of("event") if e["descriptor"] == uid]


@pytest.fixture
def documents(run_engine: RunEngine) -> Documents:
    collected = Documents()
    run_engine.subscribe(collected)
    return collected


def expected_frames(beamline) -> np.ndarray:
    """What the world delivers without any control system."""
    world = beamline.world
    world.precompute(ANGLES)
    frames = []
    for angle in ANGLES.tolist():
        world.angle_deg = angle
        frames.append(world.expose())
    return np.stack(frames)


def stored_frames(resource: dict[str, Any]) -> np.ndarray:
    path = unquote(urlparse(resource["uri"]).path)
    with h5py.File(path, "r") as file:
        return dataset(file, resource["parameters"]["dataset"])[()]


def inline_frames(documents: Documents) -> np.ndarray:
    return np.stack([e["data"]["det_image"] for e in documents.events("primary")])


def area_detector_frames(documents: Documents) -> np.ndarray:
    (resource,) = documents.of("resource")
    assert resource["spec"] == "AD_HDF5"
    datums = {d["datum_id"]: d["datum_kwargs"]["point_number"] for d in documents.of("datum")}
    with h5py.File(Path(resource["root"]) / resource["resource_path"], "r") as file:
        data = dataset(file, "/entry/data/data")[()]
    return np.stack([data[datums[e["data"]["det_image"]]] for e in documents.events("primary")])


def stream_frames(documents: Documents) -> np.ndarray:
    (resource,) = [r for r in documents.of("stream_resource") if r["data_key"] == "det_image"]
    return stored_frames(resource)


ROUTES = {
    "inline_detector": inline_frames,
    "area_detector": area_detector_frames,
    "stream_detector": stream_frames,
}


@pytest.mark.parametrize("route", ROUTES)
def test_step_scan_delivers_the_worlds_frames_on_every_route(
    route, make_beamline, run_engine: RunEngine, documents: Documents
):
    beamline = make_beamline()
    run_engine(rocking_curve(beamline, getattr(beamline, route), START, STOP, NUM))
    frames = ROUTES[route](documents)
    assert frames.dtype == np.uint32
    np.testing.assert_array_equal(frames, expected_frames(make_beamline()))
    assert [e["data"]["th"] for e in documents.events("primary")] == pytest.approx(ANGLES)
    key = documents.stream("primary")["data_keys"]["det_image"]
    assert tuple(key["shape"])[-2:] == beamline.world.frame_shape
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert stop["num_events"]["primary"] == NUM


def test_fly_scan_has_no_events_and_two_datasets_in_one_file(
    make_beamline, run_engine: RunEngine, documents: Documents
):
    beamline = make_beamline()
    run_engine(fly_rocking_curve(beamline, START, STOP, NUM))
    assert documents.events("primary") == []
    resources = {r["data_key"]: r for r in documents.of("stream_resource")}
    assert set(resources) == {"det_image", "th"}
    assert resources["th"]["uri"] == resources["det_image"]["uri"]
    assert resources["th"]["parameters"]["dataset"] == "/entry/instrument/th"
    np.testing.assert_array_equal(stored_frames(resources["th"]), ANGLES)
    np.testing.assert_array_equal(stored_frames(resources["det_image"]), expected_frames(make_beamline()))
    for data_key, resource in resources.items():
        ranges = [d["indices"] for d in documents.of("stream_datum") if d["stream_resource"] == resource["uid"]]
        covered = [i for r in sorted(ranges, key=lambda r: r["start"]) for i in range(r["start"], r["stop"])]
        assert covered == list(range(NUM)), data_key
    (start,) = documents.of("start")
    assert start["num_points"] == NUM
    assert start["hints"] == {"dimensions": [[["th"], "primary"]]}


def test_start_document_carries_the_truth_and_baseline_the_geometry(
    make_beamline, run_engine: RunEngine, documents: Documents
):
    beamline = make_beamline()
    particle = beamline.world.sample.particles[2]

    def plan():
        yield from bps.mv(beamline.sample_x, particle.x_um, beamline.sample_y, particle.y_um)
        yield from rocking_curve(beamline, beamline.inline_detector, START, STOP, NUM, md={"operator": "me"})

    run_engine(plan())
    (start,) = documents.of("start")
    assert start["sample_name"] == "Au grid 2"
    assert start["braggwatch_simulation"]["truth"] == particle.truth.truth
    assert start["braggwatch_simulation"]["particle"] == 2
    assert start["num_points"] == NUM
    assert list(start["hints"]["dimensions"][0]) == [["th"], "primary"]
    assert start["operator"] == "me"
    before, after = documents.events("baseline")
    assert before["data"]["sample_x"] == particle.x_um
    assert before["data"]["sample_y"] == particle.y_um
    assert before["data"]["energy"] == 9.0
    assert before["data"]["detector_distance"] == 1000.0
    assert before["data"]["gamma"] == 12.0
    delta = next(c.angle_deg for c in beamline.world.geometry.detector_circles if c.name == "delta")
    assert before["data"]["delta"] == delta
    assert before["data"] == after["data"]


def test_shipped_preset_reads_the_geometry_back_from_the_documents(
    run_engine: RunEngine, documents: Documents, tmp_path: Path, small_sample: SimulatedSample
):
    preset = load_preset("simulated")
    settings = DiffractometerSettings(frame_shape=(24, 28))
    beamline = build_beamline(small_sample, preset, tmp_path, settings=settings)
    run_engine(rocking_curve(beamline, beamline.inline_detector, 16.9, 17.1, 2))
    readings = {**documents.events("baseline")[0]["data"], **documents.events("primary")[0]["data"]}
    read_back = geometry_from_values(preset, {k: readings[k] for k in preset_signals(preset)}, (24, 28))
    world = beamline.world.geometry
    assert read_back.detector_circles == world.detector_circles
    assert read_back.model_copy(update={"sample_circles": world.sample_circles}) == world
    assert readings["det_image"].shape == (24, 28)


def test_tour_visits_every_particle_and_lets_a_plan_act_in_between(
    make_beamline, run_engine: RunEngine, documents: Documents
):
    beamline = make_beamline()
    seen: list[tuple[int, str]] = []

    def note(particle, uid):
        seen.append((particle.index, uid))
        yield from bps.null()

    run_engine(screen_particles(beamline, 0.1, 3, after_scan=note))
    starts = documents.of("start")
    assert [s["braggwatch_simulation"]["particle"] for s in starts] == [0, 1, 2, 3]
    assert seen == [(i, s["uid"]) for i, s in enumerate(starts)]
    assert documents.counts["stop"] == 4


def test_same_devices_step_after_they_flew(make_beamline, run_engine: RunEngine, documents: Documents):
    beamline = make_beamline()
    run_engine(fly_rocking_curve(beamline, START, STOP, NUM))
    run_engine(rocking_curve(beamline, beamline.stream_detector, START, STOP, NUM))
    flown, stepped = documents.of("stop")
    assert flown["exit_status"] == stepped["exit_status"] == "success"
    # bluesky counts the frames of a stream as events, though there are no event documents
    assert flown["num_events"]["primary"] == NUM
    assert stepped["num_events"]["primary"] == NUM


@pytest.mark.parametrize("route", ["stream_detector", "area_detector"])
def test_frames_can_be_read_while_the_run_goes_on(route, make_beamline, run_engine: RunEngine):
    beamline = make_beamline()
    shapes: list[tuple[int, ...]] = []
    paths: list[Path] = []

    def read_on_event(name, doc):
        if name == "stream_resource":
            paths.append(Path(unquote(urlparse(doc["uri"]).path)))
        if name == "resource":
            paths.append(Path(doc["root"]) / doc["resource_path"])
        if name == "event" and "th" in doc["data"]:
            with h5py.File(paths[0], "r", swmr=True) as file:
                shapes.append(dataset(file, "/entry/data/data").shape)

    run_engine.subscribe(read_on_event)
    run_engine(rocking_curve(beamline, getattr(beamline, route), START, STOP, NUM))
    assert [s[0] for s in shapes] == list(range(1, NUM + 1))


def test_counts_fall_with_the_distance_from_the_beam(make_beamline):
    world = make_beamline().world
    at_centre = world.expected_counts()
    world.x_um += 0.5 * world.beam.fwhm_um[0]
    np.testing.assert_allclose(world.expected_counts(), 0.5 * at_centre, rtol=1e-5)
    world.x_um += 100.0
    assert world.illuminated() == []
    assert not world.expected_counts().any()


def test_precomputed_frames_equal_those_computed_one_by_one(make_beamline):
    lazy, eager = make_beamline().world, make_beamline().world
    eager.precompute(ANGLES)
    for angle in ANGLES.tolist():
        lazy.angle_deg = eager.angle_deg = angle
        np.testing.assert_allclose(lazy.expected_counts(), eager.expected_counts(), rtol=1e-3, atol=1e-2)


def test_repeated_exposures_differ_only_by_their_noise(make_beamline):
    world = make_beamline().world
    first, second = world.expose(), world.expose()
    assert (first != second).any()
    assert abs(int(first.sum()) - int(second.sum())) < 8 * np.sqrt(first.sum())


def test_sample_is_determined_by_its_seed_and_deals_labels_evenly():
    one, two = (SimulatedSample.grid(11, rows=3, columns=3) for _ in range(2))
    assert one == two
    assert one != SimulatedSample.grid(12, rows=3, columns=3)
    assert Counter(p.truth.truth for p in one.particles) == {"perfect": 3, "screw": 3, "edge": 3}
    assert all(p.truth.visible for p in one.particles)


def test_invisible_lines_are_said_to_be_invisible():
    sample = SimulatedSample.grid(4, rows=3, columns=3, labels=["screw"], visible_fraction=0.0)
    assert all(p.truth.g_dot_b == 0 and not p.truth.visible for p in sample.particles)


def test_a_failing_exposure_fails_the_plan(make_beamline, run_engine: RunEngine, monkeypatch: pytest.MonkeyPatch):
    beamline = make_beamline()

    def broken():
        raise RuntimeError("detector on fire")

    monkeypatch.setattr(beamline.world, "expose", broken)
    with pytest.raises(FailedStatus) as failure:
        run_engine(rocking_curve(beamline, beamline.inline_detector, START, STOP, NUM))
    assert "detector on fire" in str(failure.value.__cause__)


def test_an_exposure_keeps_its_pulses_angle_while_the_circle_sweeps_on(make_beamline):
    still, sweeping = make_beamline().world, make_beamline().world
    still.angle_deg = ANGLES[1]
    sweeping.angle_deg = STOP
    np.testing.assert_array_equal(sweeping.expose(ANGLES[1]), still.expose())
