"""Data sets are deterministic, resumable and honest about what they refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.sim.datasets import DatasetSpec, make_sample, read_shard, write_shard
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.nuisance import gap_mask, measure, random_nuisance

SPEC = DatasetSpec(seed=4)


def crop(
    frames: NDArray[np.generic],
    angles_deg: NDArray[np.float64],
    present: NDArray[np.bool_],
    geometry: RockingGeometry,
    dead: NDArray[np.bool_],
    fringe_period_voxels: float,
) -> tuple[NDArray[np.float32] | None, str]:
    """Stand in for the preprocessing a storey above: pads or crops the raw cube."""
    assert frames.shape == (len(angles_deg), *geometry.frame_shape) == (len(present), *dead.shape)
    assert fringe_period_voxels > 2
    volume = np.zeros((64, 64, 64), dtype=np.float32)
    part = frames[:64, :64, :64]
    volume[tuple(slice(0, n) for n in part.shape)] = part
    return volume, ""


def refuse(*_: object) -> tuple[None, str]:
    return None, "refused for the test"


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    first, again = make_sample(SPEC, 7, crop), make_sample(SPEC, 7, crop)
    assert not isinstance(first, str)
    assert not isinstance(again, str)
    np.testing.assert_array_equal(first.intensity, again.intensity)
    assert first.info == again.info
    other = make_sample(SPEC.model_copy(update={"seed": 5}), 7, crop)
    assert not isinstance(other, str)
    assert not np.array_equal(first.intensity, other.intensity)


def test_shards_are_written_whole_and_left_alone_when_there(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    assert [config for config, _ in write_shard(path, SPEC, range(3), crop)] == [0, 1, 2]
    volumes, infos = read_shard(path)
    assert volumes.shape == (3, 64, 64, 64)
    assert [i.label for i in infos] == ["perfect", "screw", "edge"]
    assert all(i.g_dot_b != 0 for i in infos[1:])
    before = path.read_bytes()
    assert list(write_shard(path, SPEC, range(3), crop)) == []
    assert path.read_bytes() == before


def test_an_interrupted_shard_leaves_no_file_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    steps = write_shard(path, SPEC, range(3), crop)
    next(steps)
    steps.close()
    assert not path.exists()


def test_refusals_are_reported_and_kept_out(tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    assert list(write_shard(path, SPEC, range(2), refuse)) == [(0, "refused for the test"), (1, "refused for the test")]
    volumes, infos = read_shard(path)
    assert len(volumes) == len(infos) == 0


def test_counts_have_poisson_statistics_and_dead_pixels_are_zero() -> None:
    rng = np.random.default_rng(2)
    spec = random_nuisance(rng, (5, 20, 20), (10, 40, 40), (3.0, 3.0, 3.0)).model_copy(
        update={
            "peak_counts": 500.0,
            "background": 0.0,
            "blur": (0.0, 0.0, 0.0),
            "aliens": 0,
            "hot_pixels": 0,
            "gain_spread": 0.0,
            "gap_rows": (3, 6),
            "gap_cols": None,
        }
    )
    counts, dead = measure(np.ones((10, 40, 40)), spec, (3.0, 3.0, 3.0), rng)
    np.testing.assert_array_equal(dead, gap_mask(spec, (40, 40)))
    assert counts[:, dead].sum() == 0
    live = counts[:, ~dead].astype(float)
    assert live.mean() == pytest.approx(500, rel=0.01)
    assert live.var() == pytest.approx(500, rel=0.05)
