"""Speed of simulated electron diffraction, and how many times as fast as pymatgen's in the same run."""

from __future__ import annotations

import time
from functools import reduce

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

pytest.importorskip("gemmi", reason="electron diffraction needs the extra [sadp]")

from braggwatch.sim.sadp.dataset import PatternSpec, patterns_of
from braggwatch.sim.sadp.render import RenderSettings, render
from braggwatch.sim.sadp.table import structure_named, structures

pytestmark = pytest.mark.benchmark

SOME = [row.build() for row in structures()[::60]]


def seconds(benchmark: BenchmarkFixture, statistic: str) -> float:
    """Return 'mean' or 'min' of what one round took."""
    assert benchmark.stats is not None
    return float(benchmark.stats[statistic])


@pytest.mark.parametrize("dynamical", [False, True], ids=["kinematic", "dynamical"])
def test_patterns_of_a_data_set(benchmark: BenchmarkFixture, dynamical: bool):
    spec = PatternSpec(dynamical=dynamical)
    list(patterns_of(SOME[0], PatternSpec(dynamical=dynamical, per_zone=1)))  # compiles

    def make() -> int:
        return sum(1 for structure in SOME for _ in patterns_of(structure, spec))

    made = benchmark.pedantic(make, rounds=1)
    assert made == 320 * len(SOME)
    benchmark.extra_info["patterns_per_s"] = round(made / seconds(benchmark, "mean"), 1)


def test_pictures_of_256_px(benchmark: BenchmarkFixture):
    patterns = [spots for spots, _ in patterns_of(SOME[0], PatternSpec())]
    settings = RenderSettings(inv_A_per_px=0.012)
    render(patterns[0], settings)

    def draw() -> np.ndarray:
        return reduce(np.add, (render(spots, settings) for spots in patterns))

    assert benchmark.pedantic(draw, rounds=3).max() > 0
    benchmark.extra_info["pictures_per_s"] = round(len(patterns) / seconds(benchmark, "mean"), 1)


def test_kinematic_pattern_against_pymatgen(benchmark: BenchmarkFixture):
    tem = pytest.importorskip("pymatgen.analysis.diffraction.tem")
    core = pytest.importorskip("pymatgen.core")
    ours = structure_named("Cu").build()
    theirs = core.Structure(core.Lattice(ours.cell_A), ["Cu"] * 4, ours.positions)
    calculator = tem.TEMCalculator(beam_direction=(0, 0, 1), voltage=200)
    calculator.get_pattern(theirs)
    spec = PatternSpec()
    list(patterns_of(ours, PatternSpec(per_zone=1)))

    def peer() -> float:
        started = time.perf_counter()
        for _ in range(3):
            calculator.get_pattern(theirs)
        return (time.perf_counter() - started) / 3

    benchmark.pedantic(lambda: list(patterns_of(ours, spec)), rounds=3)
    benchmark.extra_info["times_as_fast_as_pymatgen"] = round(peer() / (seconds(benchmark, "min") / 320), 1)
