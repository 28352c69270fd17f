"""Labelled maps: each is what its label and parameters say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braggwatch.sim.apt.library import LibraryName, LibrarySpec, SdmSample, load_library_spec, make_sample
from braggwatch.sim.apt.sdm_shards import check_sdm_shard, read_sdm_shard, write_sdm_shard
from braggwatch.sim.shard_errors import ForeignShardError, ShardError
from braggwatch.sim.whole_file import whole_file


def samples_of(name: LibraryName, count: int, **changes: object) -> list[SdmSample]:
    spec = LibrarySpec.model_validate({**load_library_spec(name).model_dump(), **changes})
    return [make_sample(spec, 0, number) for number in range(count)]


@pytest.mark.parametrize("name", ["published", "equal"])
def test_samples_are_drawn_within_the_ranges_and_are_the_same_again(name: LibraryName) -> None:
    spec = load_library_spec(name)
    made = samples_of(name, 4)
    assert [s.ordered for s in made] == [0, 1, 0, 1]
    for sample in made:
        assert sample.maps.shape == spec.map_shape
        assert sample.maps.sum() > 1000
        for field in ("sigma_xy_nm", "efficiency", "depth_scale", "displaced", "background"):
            low, high = getattr(spec, field)
            assert low <= sample.parameters[field] <= high
        assert all(spec.tilt_deg[0] <= sample.parameters[f"tilt_{axis}_deg"] <= spec.tilt_deg[1] for axis in "xy")
    np.testing.assert_array_equal(make_sample(spec, 0, 1).maps, made[1].maps)
    assert not np.array_equal(make_sample(spec, 1, 1).maps, made[1].maps)


def test_the_published_table_draws_blur_by_class_and_the_equal_one_does_not() -> None:
    published, equal = load_library_spec("published"), load_library_spec("equal")
    for sample in samples_of("published", 6):
        limits = published.sigma_z_ordered_nm if sample.ordered else published.sigma_z_disordered_nm
        assert limits[0] <= sample.parameters["sigma_z_matrix_nm"] <= limits[1]
    assert published.sigma_z_ordered_nm != published.sigma_z_disordered_nm
    assert equal.sigma_z_ordered_nm == equal.sigma_z_disordered_nm


def test_classes_come_in_turn_and_differ_in_every_other_plane() -> None:
    sharp = {"sigma_z_disordered_nm": (0.02, 0.02), "sigma_z_ordered_nm": (0.02, 0.02), "sigma_xy_nm": (0.2, 0.2)}
    made = samples_of("published", 8, **sharp)
    assert [s.ordered for s in made] == [0, 1] * 4
    depth = load_library_spec("published").sdm_window.z_nm()

    def ratio(sample: SdmSample) -> float:
        z_map = sample.maps[0].sum(axis=1)
        # planes of <011> of aluminium are 0.143 nm apart: neighbours one plane away, against two planes away
        one, two = (z_map[np.abs(np.abs(depth) - n * 0.1432) < 0.05].sum() for n in (1, 2))
        return float(one / two)

    disordered, ordered = ([ratio(s) for s in made if s.ordered == label] for label in (0, 1))
    assert max(ordered) < min(disordered)


def test_a_shard_comes_back_and_damage_or_strangers_are_told_apart(tmp_path: Path) -> None:
    spec, path = load_library_spec("equal"), tmp_path / "maps.h5"
    made = samples_of("equal", 3)
    write_sdm_shard(path, spec, 0, 0, made)
    shard = read_sdm_shard(path)
    assert (shard.spec, shard.seed, shard.first, len(shard)) == (spec, 0, 0, 3)
    np.testing.assert_array_equal(shard.maps, np.stack([s.maps for s in made]))
    assert shard.ordered.tolist() == [0, 1, 0]
    column = shard.names.index("efficiency")
    np.testing.assert_allclose(shard.parameters[:, column], [s.parameters["efficiency"] for s in made], rtol=1e-6)

    check_sdm_shard(path, spec, 0, range(3))
    with pytest.raises(ShardError, match="3 of 4"):
        check_sdm_shard(path, spec, 0, range(4))
    with pytest.raises(ForeignShardError, match="move it away"):
        check_sdm_shard(path, spec, 1, range(3))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content[: len(content) - 100])
    with pytest.raises(ShardError, match="damaged"):
        read_sdm_shard(path)


def test_a_file_that_was_not_finished_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half_written() -> None:
        with whole_file(path) as partial:
            partial.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half_written()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
