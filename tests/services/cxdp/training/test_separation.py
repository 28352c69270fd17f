"""Training, calibration and test are compared by crystal, whatever file, library or data set shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from braggwatch.models.bundling.manifest import Manifest
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards, Part, Split
from braggwatch.services.cxdp.training.separation import check_separation, crystals_in, statement
from braggwatch.sim.cxdp.datasets import DatasetSpec
from support.class_shards import CLEAN, MEASURED, write_shard
from support.production import production_bundle


def crystals(folder: Path, numbers: range, spec: DatasetSpec = MEASURED, **more: str):
    return crystals_in([write_shard(folder / f"{spec.digest()}-{numbers.start}-{len(more)}", spec, numbers, **more)])


def test_sets_of_other_numbers_or_another_seed_are_apart(tmp_path: Path) -> None:
    found = check_separation(
        crystals(tmp_path, range(6)),
        crystals(tmp_path, range(6), DatasetSpec(seed=2)),
        crystals(tmp_path, range(6, 9), CLEAN),
    )
    assert found.overlaps == ()
    assert found.separation.model_dump(exclude_defaults=True) == {
        "training": 6, "calibration": 6, "test": 3, "shared": 0,
    }  # fmt: skip
    assert "used nowhere else: compared by crystal" in statement(found.separation)
    assert found.learnt.numbers == {"1": ((0, 5),)}
    assert found.learnt.complete


def test_a_relaxed_crystal_is_itself_in_every_data_set(tmp_path: Path) -> None:
    two, three = (
        crystals(tmp_path / str(each), range(4), source=f"relaxed-abcx{each}", crystal="c") for each in (2, 3)
    )
    found = check_separation(two, crystals(tmp_path, range(50, 53)), three)
    assert found.separation.shared == 4
    assert "training and test share 4 crystals (relaxed c0" in found.overlaps[0]
    assert statement(found.separation).startswith("WARNING: 4 crystals are shared")


def test_all_patterns_of_a_relaxed_crystal_go_the_same_way_in_every_data_set(tmp_path: Path) -> None:
    shards = [
        write_shard(tmp_path / str(each), MEASURED, range(40), source=f"relaxed-{each * 'ab'}x{each}", crystal="c")
        for each in (2, 3)
    ]
    split = Split(shares=(0.5, 0.3, 0.2))
    parts = [
        {info.crystal for info in LabelledShards(shards, part=Part(split, name)).infos}
        for name in ("training", "calibration", "test")
    ]
    assert all(parts)
    assert sum(len(part) for part in parts) == 40


def test_crystals_of_older_shards_compare_within_their_library_alone(tmp_path: Path) -> None:
    old = [
        crystals(tmp_path / name, range(first, first + 4), source=f"relaxed-{name}")
        for name, first in (("abx2", 0), ("abx3", 2), ("abx3", 10), ("cdx2", 20))
    ]
    assert check_separation(old[0], old[2], old[1]).separation.shared == 2
    apart = check_separation(old[0], crystals(tmp_path, range(3)), old[2]).separation
    assert (apart.shared, apart.unidentified) == (0, 0)
    unsure = check_separation(old[0], old[2], old[3]).separation
    assert unsure.unidentified == 12
    assert "used nowhere else" not in statement(unsure)
    assert "can't be told apart" in statement(unsure)


def started_from(folder: Path, provenance: dict[str, object]) -> Path:
    manifest = json.loads((production_bundle() / "model.json").read_text())
    manifest["provenance"] = {**manifest["provenance"], **provenance}
    target = folder / "earlier" / "1.0.0"
    target.mkdir(parents=True)
    (target / "model.json").write_text(Manifest.model_validate(manifest).model_dump_json())
    return target


def test_what_the_first_weights_learnt_from_counts(tmp_path: Path) -> None:
    learnt = {"numbers": {"1": [[0, 4], [200, 200]]}, "relaxed": ["c7"], "complete": True}
    start = started_from(tmp_path, {"learnt": learnt})
    learning, calibration, test = (crystals(tmp_path, range(first, first + 3)) for first in (10, 100, 200))
    found = check_separation(learning, calibration, test, start)
    assert found.separation.shared == 1
    assert "200 of seed 1" in found.overlaps[0]
    assert found.learnt.numbers == {"1": ((0, 4), (10, 12), (200, 200))}
    apart = check_separation(learning, calibration, crystals(tmp_path, range(300, 303)), start)
    assert (apart.separation.shared, apart.separation.earlier_known) == (0, True)
    assert "by earlier/1.0.0 and before it included" in statement(apart.separation)


@pytest.mark.parametrize(("first", "shared"), [(7150, 3), (9000, 0)])
def test_an_older_bundle_is_known_by_its_shards_names_and_never_whole(tmp_path: Path, first: int, shared: int) -> None:
    sets = {f"cxdp-{MEASURED.digest()}-007100.h5": "0" * 64}
    start = started_from(tmp_path, {"training_sets": sets, "learnt": None})
    learning, calibration, test = (crystals(tmp_path, range(at, at + 3)) for at in (10, 20_000, first))
    found = check_separation(learning, calibration, test, start).separation
    assert (found.shared, found.earlier_known) == (shared, False)
    assert "used nowhere else" not in statement(found)
