"""Data sets of patterns: made alike each time, whole or refused, taken up again where they stopped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gemmi", reason="electron diffraction needs the extra [sadp]")

from braggwatch.services.sadp.training.pattern_data import ForeignPatternsError, PatternTask, make_file, write_card
from braggwatch.sim.sadp.dataset import MIN_SPOTS, PatternSpec, facts_of, patterns_of
from braggwatch.sim.sadp.labels import class_of
from braggwatch.sim.sadp.pattern_files import PatternFileError, read_patterns
from braggwatch.sim.sadp.pattern_set import join, pack
from braggwatch.sim.sadp.splits import validation_structures
from braggwatch.sim.sadp.table import structure_named, structures

SMALL = PatternSpec(zones=((0, 0, 1), (1, 3, 3)), per_zone=3)


def task(folder: Path, spec: PatternSpec = SMALL, names: tuple[str, ...] = ("Al", "Si")) -> PatternTask:
    return PatternTask(folder / "patterns-0000.h5", spec, names)


@pytest.mark.parametrize("dynamical", [False, True])
def test_patterns_are_the_same_each_time_and_say_what_they_are(dynamical: bool):
    spec = SMALL.model_copy(update={"dynamical": dynamical, "beams": 30})
    silicon = structure_named("Si").build()
    first, second = list(patterns_of(silicon, spec)), list(patterns_of(silicon, spec))
    assert len(first) == 6
    for (spots, facts), (again, facts_again) in zip(first, second, strict=True):
        assert facts == facts_again
        assert np.array_equal(spots.intensity, again.intensity)
        assert facts.class_label == class_of("227a", facts.zone)
        assert facts.dynamical is dynamical
        assert (spots.intensity >= 1e-3).sum() >= MIN_SPOTS
        assert spots.intensity[0] == 1
        assert np.abs(spots.g_inv_A).max() <= 128 * facts.inv_A_per_px * (1 + 1e-9)


def test_file_gives_back_what_was_made_and_is_kept(tmp_path: Path):
    made = make_file(task(tmp_path))
    assert (made.patterns, made.kept) == (12, False)
    found = read_patterns(tmp_path)
    fresh = [one for name in ("Al", "Si") for one in patterns_of(structure_named(name).build(), SMALL)]
    for number, (spots, facts) in enumerate(fresh):
        assert found.facts(number).structure == facts.structure
        assert found.facts(number).zone == facts.zone
        assert np.array_equal(found.pattern(number).hkl, spots.hkl)
        assert np.allclose(found.pattern(number).intensity, spots.intensity, rtol=1e-6)
    assert make_file(task(tmp_path)).kept
    assert write_card(tmp_path, SMALL, [made.path]).patterns_of_group == {"225": 6, "227a": 6}


def test_damaged_file_is_made_again_and_a_foreign_one_is_left_alone(tmp_path: Path):
    path = make_file(task(tmp_path)).path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PatternFileError, match="damaged"):
        read_patterns(path)
    again = make_file(task(tmp_path))
    assert not again.kept
    assert "damaged" in again.problem
    with pytest.raises(ForeignPatternsError, match="another data set"):
        make_file(task(tmp_path, SMALL.model_copy(update={"seed": 2})))
    with pytest.raises(ForeignPatternsError, match="another data set"):
        make_file(task(tmp_path, names=("Al", "Cu")))


def test_joined_sets_keep_each_pattern():
    parts = []
    for name in ("Al", "Si", "Al"):
        made = structure_named(name).build()
        parts.append(pack([facts_of(made)], list(patterns_of(made, SMALL))))
    whole = join(parts)
    assert [one.id for one in whole.structures] == ["Al", "Si"]
    assert len(whole) == 18
    assert np.array_equal(whole.pattern(7).intensity, parts[1].pattern(1).intensity)
    assert len(whole.of_structures(["Al"])) == 12


def test_split_by_prototype_has_no_prototype_on_both_sides():
    rows = structures()
    chosen = validation_structures(rows, by="prototype")
    inside = {row.prototype for row in rows if row.id in chosen}
    assert not inside & {row.prototype for row in rows if row.id not in chosen}
    for by in ("structure", "prototype"):
        counts = Counter(row.space_group for row in rows if row.id in validation_structures(rows, by=by))
        assert set(counts) == {213, 221, 225, 227, 229}
    assert 0.12 < len(validation_structures(rows)) / len(rows) < 0.18
