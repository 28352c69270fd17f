"""Each hard row is what its name says, and has crystals of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from braggwatch.services.cxdp.training.live_framing import LiveFraming
from braggwatch.services.cxdp.training.shard_making import live_preprocessing
from braggwatch.sim.cxdp.artefacts import unmeasured
from braggwatch.sim.cxdp.crystal.build import CrystalSpec
from braggwatch.sim.cxdp.dataset_spec import DatasetSpec, Sample
from braggwatch.sim.cxdp.diffraction_setup import random_setup
from braggwatch.sim.cxdp.given_particles import visible_lines
from braggwatch.sim.cxdp.hard_rows import NO_CLASS, ROW_SEED, HardRow, artefacts_of, hard_rows, hard_sample
from braggwatch.sim.cxdp.object_files import fitted_gold

ROWS = hard_rows()
POPULATIONS = Path(__file__).parents[3] / "sim" / "populations"


def row(condition: str, label: str = "perfect") -> HardRow:
    (found,) = (one for one in ROWS if (one.condition, one.label) == (condition, label))
    return found


def made(of: HardRow, number: int = 0) -> Sample:
    sample = hard_sample(of, number, live_preprocessing, LiveFraming())
    assert isinstance(sample, Sample), sample
    return sample


def test_rows_have_names_and_draws_of_their_own() -> None:
    assert len({one.slug for one in ROWS}) == len(ROWS)
    assert len({(one.group, one.condition, one.truth) for one in ROWS}) == len(ROWS)
    assert len({float(one.rng(0).random()) for one in ROWS}) == len(ROWS)
    # a row's crystals don't depend on which rows there are besides
    assert row("spheres").rng(3).random() == hard_rows()[2].rng(3).random()


def test_no_population_has_the_seed_of_the_rows() -> None:
    for path in POPULATIONS.rglob("*.json"):
        assert json.loads(path.read_text()).get("seed") != ROW_SEED, path.name
    assert DatasetSpec().seed != ROW_SEED


@pytest.mark.parametrize(("condition", "least", "most"), [("plates, aspect 4", 3, 6), ("spheres", 1, 1.1)])
def test_shapes_are_what_they_are_called(condition: str, least: float, most: float) -> None:
    info = made(row(condition)).info
    assert info.label == "perfect"
    assert info.strain_rad == 0.0
    assert info.aspect is not None
    assert least <= info.aspect <= most


def test_strain_is_as_strong_as_stated() -> None:
    assert made(row("strain 1.5 rad")).info.strain_rad == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("condition", "low", "high"), [("line at 0.25 to 0.35", 0.25, 0.35), ("line at beyond 0.45", 0.45, 1.5)]
)
def test_lines_lie_in_their_ring(condition: str, low: float, high: float) -> None:
    info = made(row(condition, "edge")).info
    assert info.label == "edge"
    assert low <= info.line_distance < high


def test_a_pattern_is_as_blurred_as_stated_or_more() -> None:
    assert (made(row("blur 0.4 fringe", "screw")).info.blur_fringes or 0.0) >= 0.4


@pytest.mark.parametrize(
    ("condition", "axis", "samples"),
    [("gap of 2 px at the peak", 1, 2), ("a blank frame at the peak", 0, 1), ("two blank frames at the peak", 0, 2)],
)
def test_as_many_pixels_or_frames_are_missing_as_stated(condition: str, axis: int, samples: int) -> None:
    spec = _some_crystal()
    for seed in range(20):
        setup = random_setup(spec, np.random.default_rng(seed))
        distance = np.arange(-20, 21) / setup.fringe[axis]
        missing = unmeasured(artefacts_of(row(condition), setup), distance)
        assert missing is not None
        assert int(missing.sum()) == samples
        assert missing[20]


def test_three_frames_are_attenuated_tenfold() -> None:
    setup = random_setup(_some_crystal(), np.random.default_rng(1))
    artefacts = artefacts_of(row("three frames attenuated tenfold at the peak"), setup)
    inside = np.abs(np.arange(-20, 21) / setup.fringe[0]) <= 0.5 * artefacts.width
    assert (int(inside.sum()), artefacts.factor, artefacts.middle) == (3, 0.1, 0.0)


def test_two_particles_have_no_class() -> None:
    two = row("two equal particles, 0.7 to 2 fringes apart")
    assert two.truth == NO_CLASS
    assert made(two).info.label == "two_particles"


def test_a_line_beside_a_particle_is_not_in_it() -> None:
    particle = fitted_gold().particle()
    for distance, held in ((0.0, True), (0.4, True), (0.9, False)):
        assert {particle.holds(line) for line in visible_lines(particle.hkl, (distance,))} == {held}


def _some_crystal() -> CrystalSpec:
    from braggwatch.sim.cxdp.crystal import random_crystal_spec

    return random_crystal_spec(np.random.default_rng(5), "perfect")
