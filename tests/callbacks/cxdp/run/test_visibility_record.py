"""What a verdict excludes stands in its record; lines that the reflection can't see end there, not as plain perfect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
import pytest
from bluesky import RunEngine
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings
from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection, burgers_visibility, read_miller
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.sim.beamline.assembly import build_beamline
from braggwatch.sim.beamline.diffractometer import DiffractometerSettings
from braggwatch.sim.beamline.plans import screen_particles
from braggwatch.sim.beamline.sample import Particle, SimulatedSample
from braggwatch.sim.crystallography.miller import canonical
from braggwatch.sim.crystallography.stated_lattice import stated_lattice
from braggwatch.sim.cxdp.labels import Label
from braggwatch.sim.geometry import load_preset
from support.production import production_bundle

GOLD: dict[str, object] = {"material": "Au", "lattice_parameter_A": 4.0782}
PERFECT = Verdict(
    outcome=Outcome.CLASSIFIED,
    label="perfect",
    probabilities={"perfect": 0.98, "screw": 0.01, "edge": 0.01},
    confidence=0.98,
    model=ModelIdentity(name="fake", version="1.0.0", sha256="0" * 64, runtime="none"),
)


@pytest.fixture
def perfect_bench(bench_of, preset_with):
    def build(hkl=(1, 1, 1), crystal=MappingProxyType({}), **settings):
        bench = bench_of(preset_with(**GOLD | crystal, hkl=hkl), **settings)
        bench.classifier.answer = PERFECT
        return bench

    return build


def with_start(scan, **extra):
    (name, start), *others = scan.inline()
    return [(name, start | extra), *others]


def origins(result):
    return {one.field: one.origin for one in result.geometry_origins if one.field.startswith("hkl")}


def test_the_presets_reflection_is_taken_as_stated(scan, perfect_bench):
    result = perfect_bench().feed(scan.inline()).result
    assert result.burgers.origin == "preset"
    assert result.burgers.blind == ((1, -1, 0), (1, 0, -1), (0, 1, -1))
    assert "as the preset states it" in result.burgers.statement
    assert result.in_words == (
        "perfect, as far as 111 sees: blind to 3 of 6 Burgers directions; how far from the centre is unknown"
    )
    assert result.verdict.label == "perfect"
    assert origins(result) == {"hkl.0": "preset", "hkl.1": "preset", "hkl.2": "preset"}


@pytest.mark.parametrize("stated", [[1, 1, -1], (1.0, 1.003, -1), np.array([1, 1, -1]), "1 1 -1", "(1,1,-1)", "11-1"])
def test_the_start_document_wins_and_its_signs_count(stated, scan, perfect_bench):
    bench = perfect_bench()
    result = bench.feed(with_start(scan, hkl=stated)).result
    assert result.burgers.hkl == (1, 1, -1)
    assert result.burgers.blind == ((1, -1, 0), (1, 0, 1), (0, 1, 1))
    assert set(origins(result).values()) == {"start:hkl"}
    assert bench.curve.geometry.hkl == (1, 1, -1)


def test_the_key_can_be_another(scan, perfect_bench):
    result = perfect_bench(hkl_field="reflection").feed(with_start(scan, reflection=[2, 0, 0], hkl="?")).result
    assert result.burgers.hkl == (2, 0, 0)


@pytest.mark.parametrize(
    "stated", ["the strong one", [1, 1], [1, 1, 1.5], [0, 0, 0], [1, 1, None], {"h": 1}, 111, True]
)
def test_what_cannot_be_read_leaves_the_class_and_makes_its_reach_unknown(stated, scan, perfect_bench):
    bench = perfect_bench()
    result = bench.feed(with_start(scan, hkl=stated)).result
    assert result.verdict.label == "perfect"
    assert not result.burgers.known
    assert result.burgers.hkl is None
    assert "the start document's 'hkl'" in result.burgers.statement
    assert "unknown" in result.in_words
    assert bench.curve.geometry.hkl is None, "the preset's may be another reflection"


def test_where_nobody_states_it_the_record_says_what_to_do(scan, perfect_bench):
    result = perfect_bench(hkl=None).feed(scan.inline()).result
    assert "state hkl in the preset or the start document" in result.burgers.statement
    assert result.in_words.startswith("perfect, ")
    assert origins(result) == {}


def test_a_reflection_that_fcc_lacks_is_named(scan, perfect_bench):
    result = perfect_bench().feed(with_start(scan, hkl=[1, 1, 0])).result
    assert result.burgers.hkl == (1, 1, 0)
    assert "fcc has no 110 reflection" in result.burgers.statement


def test_tungsten_is_spoken_of_in_the_burgers_vectors_of_bcc(scan, perfect_bench):
    tungsten = {"material": "W", "lattice_parameter_A": 3.1652}
    result = perfect_bench(hkl=(2, 0, 0), crystal=tungsten).feed(scan.inline()).result
    assert result.burgers.lattice == "bcc"
    assert result.burgers.seen_vectors == ("½[111]", "½[11-1]", "½[1-11]", "½[1-1-1]", "[100]")
    assert result.burgers.blind_vectors == ("[010]", "[001]")
    assert result.blind_directions == 2
    assert "110⟩" not in result.burgers.statement
    assert result.in_words.startswith("perfect, as far as 200 sees: blind to 2 of 7 Burgers directions; ")
    assert ("can't see b along", "[010] [001]") in result.card.rows


def test_zinc_oxide_is_written_with_four_indices(scan, perfect_bench):
    oxide = {"material": "ZnO", "lattice_parameter_A": 3.2498, "lattice_parameter_c_A": 5.2066}
    result = perfect_bench(hkl=(0, 0, 2), crystal=oxide).feed(scan.inline()).result
    assert result.burgers.lattice == "wurtzite"
    assert result.burgers.blind_along == "[2-1-10] [1-210] [11-20]"
    assert "this reflection can't see b = ⅓[2-1-10], ⅓[1-210] or ⅓[11-20]" in result.burgers.statement


def test_where_a_space_group_leaves_two_lattices_the_one_that_has_the_reflection_is_meant(scan, perfect_bench):
    spinel_or_diamond = {"material": None, "space_group": 227}
    result = perfect_bench(hkl=(2, 2, 2), crystal=spinel_or_diamond).feed(scan.inline()).result
    assert result.burgers.lattice == "diamond or spinel"
    assert result.burgers.known


@pytest.mark.parametrize(
    ("crystal", "why"),
    [
        ({"material": None}, "neither lattice, space_group nor material is stated"),
        ({"material": "CoPt"}, "no structure is tabulated for material 'CoPt'"),
        ({"material": None, "space_group": 221}, "space group 221 may be a perovskite, CsCl"),
    ],
)
def test_no_lattice_is_assumed(crystal, why, scan, perfect_bench):
    result = perfect_bench(crystal=crystal).feed(scan.inline()).result
    assert result.verdict.label == "perfect"
    assert not result.burgers.known
    assert result.burgers.hkl == (1, 1, 1)
    assert why in result.burgers.statement
    assert result.burgers.statement.endswith("state lattice in the preset")


def test_the_start_documents_lattice_wins_over_the_presets_crystal(scan, perfect_bench):
    bench = perfect_bench(crystal={"lattice_parameter_A": None})
    result = bench.feed(with_start(scan, hkl=[1, 1, 0], crystal_lattice="bcc")).result
    assert result.burgers.lattice == "bcc"
    assert bench.curve.geometry.crystal_lattice.names == ("bcc",)


@pytest.mark.parametrize("stated", ["sc", [4.08, 4.08, 4.08], 229])
def test_a_lattice_that_cannot_be_read_is_unknown_not_the_presets(stated, scan, perfect_bench):
    bench = perfect_bench()
    result = bench.feed(with_start(scan, crystal_lattice=stated)).result
    assert not result.burgers.known
    assert "the start document's 'crystal_lattice' is not one of fcc, bcc, diamond" in result.burgers.statement
    assert bench.curve.geometry.crystal_lattice.names == ()


def test_it_goes_with_every_answer_of_a_network_and_with_no_other_end(scan_of, perfect_bench):
    bench = perfect_bench()
    bench.feed(scan_of(uid="a").inline())
    bench.classifier.answer = Verdict(outcome=Outcome.UNSURE, reason="?", probabilities=PERFECT.probabilities)
    bench.feed(scan_of(uid="b").inline())
    bench.preprocessor.invalid_reason = "no peak"
    bench.feed(scan_of(uid="c").inline())
    classified, unsure, invalid = (report.result for report in bench.reports)
    assert classified.burgers == unsure.burgers
    assert unsure.in_words == "unsure"
    assert invalid.burgers is None


def test_a_partial_perfect_is_no_plain_perfect_either(scan, perfect_bench):
    documents = scan.inline()
    bench = perfect_bench().feed([*documents[:2], *documents[3:]]).wait(3)
    assert bench.result.in_words == (
        "partial: perfect, as far as 111 sees: blind to 3 of 6 Burgers directions; how far from the centre is unknown"
    )


def test_records_of_before_still_load(scan, perfect_bench):
    stored = perfect_bench().feed(scan.inline()).result.model_dump(mode="json")
    assert ScreeningResult.model_validate(stored).burgers is not None
    del stored["burgers"]
    old = ScreeningResult.model_validate(stored)
    assert old.burgers is None
    assert old.in_words == "perfect, as far as its reflection sees; how far from the centre is unknown"


indices = st.tuples(*[st.integers(-99, 99)] * 3).filter(any)


@given(indices, st.sampled_from([" ", ",", ", ", ";"]))
def test_any_three_whole_numbers_are_read_back(hkl, separator):
    assert read_miller(list(hkl)) == hkl
    assert read_miller(separator.join(map(str, hkl))) == hkl
    assert read_miller(np.array(hkl, dtype=float)) == hkl


@pytest.mark.parametrize(
    ("stated", "hkl"),
    [
        ("Au 111", (1, 1, 1)),
        ("Au(111)", (1, 1, 1)),
        ("Al2O3 (1 0 4)", (1, 0, 4)),
        ("hkl = 1, -1, 1", (1, -1, 1)),
        ("1.0 1.0 -1.0", (1, 1, -1)),
        ({"h": 1, "k": 0.99, "l": 1}, (1, 1, 1)),
        ({"H": 2, "K": 0, "L": 0}, (2, 0, 0)),
        ([1, 0, -1, 2], (1, 0, 2)),
        ("1 0 -1 2", (1, 0, 2)),
        ("ZnO 0002", (0, 0, 2)),
        ("10-10", (1, 0, 0)),
        ("1111", None),
        ([1, 1, 1, 1], None),
        ({"h": 1, "k": 1}, None),
        ("Au", None),
        ("Au-111", None),
        ("run 7", None),
        ("1.5 1 1", None),
    ],
)
def test_the_reflection_is_read_as_people_state_it(stated, hkl, scan, perfect_bench):
    """A minus right behind a name may be a hyphen: that isn't guessed."""
    assert read_miller(stated) == hkl
    result = perfect_bench(hkl=None).feed(with_start(scan, hkl=stated)).result
    assert result.burgers.hkl == hkl
    if hkl is None:
        assert "is not three whole numbers, one not zero" in result.burgers.statement


@given(st.recursive(st.none() | st.text(max_size=9) | st.floats() | st.integers(), lambda s: st.lists(s, max_size=4)))
def test_nothing_stated_breaks_it(value):
    hkl = read_miller(value)
    assert hkl is None or (any(hkl) and all(isinstance(index, int) for index in hkl))
    fcc = stated_lattice("fcc")
    record = burgers_visibility(StatedReflection(hkl, None if hkl is None else "start:hkl", lattice=fcc))
    assert record.statement
    assert record.known == (len(record.seen) + len(record.blind) == 6)


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Particle, ScreeningResult]]:
    """Three invisible lines and two visible ones through the simulated beamline and the bundle that ships."""
    bundle = production_bundle()
    labels: tuple[Label, ...] = ("screw", "edge")
    bright = (5e4, 2e5)
    hidden = SimulatedSample.grid(1, rows=1, columns=3, labels=labels, visible_fraction=0.0, peak_counts=bright)
    shown = SimulatedSample.grid(2, rows=1, columns=2, labels=labels, peak_counts=bright)
    moved = [p.model_copy(update={"index": p.index + 3, "y_um": p.y_um + 50.0}) for p in shown.particles]
    sample = hidden.model_copy(update={"particles": (*hidden.particles, *moved)})
    preset = load_preset("simulated")
    settings = DiffractometerSettings(frame_shape=(128, 128))
    beamline = build_beamline(sample, preset, tmp_path_factory.mktemp("frames"), settings=settings)
    results: list[ScreeningResult] = []
    classifier = BundleClassifier.load(bundle, threads=1)
    preprocessor = CpuPreprocessor(PreprocessingSettings())
    callback = ScreeningCallback(preset, preprocessor, classifier, lambda report: results.append(report.result))
    for engine in _engine():
        engine.subscribe(callback)
        engine(screen_particles(beamline, 0.4, 61, detector=beamline.inline_detector))
    return list(zip(sample.particles, results, strict=True))


def _engine() -> Iterator[RunEngine]:
    loop = asyncio.new_event_loop()
    engine = RunEngine({}, loop=loop)
    yield engine
    loop.call_soon_threadsafe(loop.stop)
    engine._th.join()
    loop.close()


def test_a_line_the_reflection_cannot_see_is_named_among_the_blind_where_it_ends_as_perfect(
    screened: list[tuple[Particle, ScreeningResult]],
):
    hidden = [(particle, result) for particle, result in screened if not particle.truth.visible]
    assert {particle.truth.truth for particle, _ in hidden} == {"screw", "edge"}
    for particle, result in hidden:
        assert particle.truth.g_dot_b == 0
        assert result.burgers is not None
        assert particle.truth.burgers is not None
        assert result.burgers.hkl == particle.truth.hkl
        assert result.burgers.origin == "start:hkl"
        assert canonical(particle.truth.burgers) in result.burgers.blind
        # an edge line leaves a faint trace all the same, which may be seen
        if result.verdict.label == "perfect":
            assert "blind to 3 of 6 Burgers directions" in result.in_words
        else:
            assert result.verdict.label == particle.truth.truth == "edge"


def test_a_line_the_reflection_sees_is_among_the_seen(screened: list[tuple[Particle, ScreeningResult]]):
    shown = [(particle, result) for particle, result in screened if particle.truth.visible]
    assert len(shown) == 2
    for particle, result in shown:
        assert result.burgers is not None
        assert particle.truth.burgers is not None
        assert canonical(particle.truth.burgers) in result.burgers.seen
        assert result.verdict.probabilities["perfect"] < 0.5
