"""The training world of the order network, and its samples: reproducible, balanced, without a shortcut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.apt.training.sample_files import make_samples
from braggwatch.models.apt.training.training_world import TrainingWorld, cut_samples, draw_volume

WORLD = TrainingWorld(edge_nm=9.0, samples_per_volume=20, radius_nm=(1.0, 2.5))


def test_nuisance_doesnt_depend_on_the_phase_and_composition_doesnt_tell_order() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_volume(TrainingWorld(), rng) for _ in range(3000)]
    matrix = np.array([spec.imaging.sigma_z_matrix_nm for spec, _ in drawn])
    precipitate = np.array([spec.imaging.sigma_z_ordered_nm for spec, _ in drawn])
    assert matrix.mean() == pytest.approx(precipitate.mean(), rel=0.03)
    assert abs(np.corrcoef(matrix, precipitate)[0, 1]) < 0.06
    assert 0.1 < np.mean([not ordered for _, ordered in drawn]) < 0.2
    flat = [
        abs(spec.resolved_alloy().ordered_composition[1] - spec.resolved_alloy().matrix[1]) < 1e-9 for spec, _ in drawn
    ]
    assert 0.2 < np.mean(flat) < 0.3


def test_samples_are_the_same_for_the_same_seed_and_labels_follow_the_voxel() -> None:
    one, again = (cut_samples(WORLD, SdmInput(), 3, 5) for _ in range(2))
    np.testing.assert_array_equal(one.maps, again.maps)
    np.testing.assert_array_equal(one.labels, again.labels)
    assert one.maps.shape[1:] == (3, 93, 5)
    assert (one.labels[one.fraction == 0.0] == 0).all()
    assert (one.labels[one.fraction == 1.0] == 1).all()


def test_interrupted_sampling_goes_on_and_other_worlds_are_refused(tmp_path: Path) -> None:
    first = make_samples(tmp_path, WORLD, SdmInput(), range(3), seed=2)
    part = next(tmp_path.glob("*.npz"))
    before = part.stat().st_mtime_ns
    again = make_samples(tmp_path, WORLD, SdmInput(), range(3), seed=2)
    assert part.stat().st_mtime_ns == before
    np.testing.assert_array_equal(first.maps, again.maps)
    part.write_bytes(part.read_bytes()[:100])
    np.testing.assert_array_equal(make_samples(tmp_path, WORLD, SdmInput(), range(3), seed=2).labels, first.labels)
    with pytest.raises(ValueError, match="samples of another world"):
        make_samples(tmp_path, WORLD, SdmInput(), range(3), seed=9)
    rest, own = first.fold(1, 3)
    assert set(own.volume.tolist()) == {1}
    assert set(rest.volume.tolist()) == {0, 2}
