"""The network of Li et al. 2021: its pictures, its schedule, its votes, measured maps beside simulated ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggwatch.models.apt.area import area_under_curve, curve
from braggwatch.models.apt.cube_votes import PAPER_VOTES, mean_calls, votes
from braggwatch.models.apt.modulation import half_order_amplitude
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.apt.training.measured_maps import MeasuredMapsError, read_measured_maps, sevenfold
from braggwatch.sim.apt.library import load_library_spec, make_sample
from braggwatch.sim.apt.picture import paper_pictures
from braggwatch.sim.apt.sdm import PAPER

pytest.importorskip("torch")
import torch


def maps_of(samples: int, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    spec = load_library_spec("published")
    spec = spec.model_validate({**spec.model_dump(), **changes})
    made = [make_sample(spec, 0, number) for number in range(samples)]
    return np.stack([s.maps for s in made]), np.array([int(s.ordered) for s in made])


def test_the_schedule_is_the_published_one() -> None:
    from braggwatch.models.apt.training.vote_network import EPOCHS, FOLDS, paper_sdm_config

    config = paper_sdm_config(9866 + 8550)
    assert (config.optimiser, config.learning_rate, config.schedule) == ("rmsprop", 1e-3, "constant")
    assert (config.batch, EPOCHS, FOLDS) == (32, 7, 5)
    assert config.steps == 7 * (18416 // 32)
    assert config.weight_decay == config.label_smoothing == config.ema == config.clip_norm == 0
    assert not config.symmetry
    assert not config.nuisance


def test_the_graph_draws_the_picture_that_the_network_learnt_from() -> None:
    from braggwatch.models.networks.sdm import DrawnSdmNet, PaperSdmNet

    maps, _ = maps_of(3)
    maps = np.concatenate([maps, np.zeros((1, 1, 94, 94), dtype=np.float32)])
    network = PaperSdmNet().eval()
    drawn = DrawnSdmNet(network, PAPER.shape)
    assert sum(p.numel() for p in drawn.parameters()) == 1_666_881
    picture = drawn.draw(torch.from_numpy(maps)).numpy()
    np.testing.assert_allclose(picture, paper_pictures(maps), atol=1e-5)
    with torch.no_grad():
        logits, features = drawn(torch.from_numpy(maps))
        wanted = network(torch.from_numpy(paper_pictures(maps)))[0]
    np.testing.assert_allclose(logits.numpy(), wanted.numpy(), atol=1e-4)
    assert features.shape == (4, 64)


@pytest.mark.parametrize("blur", [0.01, 0.03, 0.05])
def test_one_number_of_the_map_tells_order_at_any_blur(blur: float) -> None:
    maps, labels = maps_of(16, sigma_z_disordered_nm=(blur, blur), sigma_z_ordered_nm=(blur, blur))
    found = half_order_amplitude(maps[:, 0], SdmInput.paper())
    assert found[labels == 1].min() > 0.06
    assert found[labels == 0].max() < 0.06
    assert half_order_amplitude(np.zeros((1, 94, 94), np.float32), SdmInput.paper()).tolist() == [0.0]


def test_the_input_is_the_window_of_the_publication() -> None:
    sdm = SdmInput.paper()
    assert sdm.window == PAPER
    assert (sdm.cube_voxels, sdm.shape) == (4, (1, 94, 94))
    assert SdmInput.model_validate_json(sdm.model_dump_json()) == sdm
    assert SdmInput().window.ball_nm is None


def test_the_network_learns_sharp_maps_in_a_few_steps_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from braggwatch.models.apt.training.pictures import PictureSamples
    from braggwatch.models.apt.training.vote_network import cross_validate, judge_fold, paper_sdm_config, train_paper

    sharp = {"sigma_z_disordered_nm": (0.02, 0.02), "sigma_z_ordered_nm": (0.02, 0.02), "efficiency": (0.7, 0.8)}
    maps, labels = maps_of(72, **sharp)
    samples = PictureSamples.of_maps(maps[:, 0], labels)
    assert samples.pictures.shape == (72, 150, 150)
    assert samples.pictures.dtype == np.uint8
    rest, own = samples.fold(0, 6)
    config = replace(paper_sdm_config(len(rest)), batch=8, steps=42, validate_every=21)
    network = train_paper(rest, own, config, tmp_path / "one")
    found = judge_fold(network, len(rest), own)
    assert found.area is not None
    assert found.area.area > 0.95
    assert found.loss < 0.65, "better than knowing nothing, ln 2"
    again = train_paper(rest, own, config, tmp_path / "one")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    folds = cross_validate(samples, lambda n: paper_sdm_config(n, epochs=1), tmp_path / "folds", folds=2)
    assert [fold.trained_on + fold.tested_on for fold in folds] == [72, 72]


def test_copies_of_one_map_never_lie_on_both_sides_of_a_fold() -> None:
    from braggwatch.models.apt.training.pictures import PictureSamples

    pictures = np.zeros((10, 150, 150), dtype=np.uint8)
    simulated = PictureSamples(pictures, np.zeros(10, dtype=np.int64), np.arange(10))
    measured = PictureSamples(pictures[:7], np.ones(7, dtype=np.int64), np.zeros(7, dtype=np.int64))
    joined = PictureSamples.joined([simulated, measured, measured])
    assert len(np.unique(joined.origin)) == 12
    seen = 0
    for number in range(3):
        rest, own = joined.fold(number, 3, seed=5)
        assert not set(rest.origin.tolist()) & set(own.origin.tolist())
        seen += len(own)
    assert seen == len(joined)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.02, 0.98))
def test_votes_are_counted_cube_by_cube(seed: int, k: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, 3))
    calls = rng.random(shape)
    calls[rng.random(shape) < 0.2] = np.nan
    wanted = np.zeros(tuple(n + k - 1 for n in shape), dtype=np.int64)
    total, known = np.zeros(wanted.shape), np.zeros(wanted.shape)
    for i, j, m in np.ndindex(shape):
        cube = (slice(i, i + k), slice(j, j + k), slice(m, m + k))
        wanted[cube] += bool(calls[i, j, m] > share)
        total[cube] += 0 if np.isnan(calls[i, j, m]) else calls[i, j, m]
        known[cube] += not np.isnan(calls[i, j, m])
    np.testing.assert_array_equal(votes(calls, k, cut=share), wanted)
    mean = np.where(known > 0, total / np.maximum(known, 1), np.nan)
    np.testing.assert_allclose(mean_calls(calls, k), mean, rtol=1e-5)


def test_sixty_two_votes_need_a_neighbourhood_of_seven_voxels() -> None:
    calls = np.ones((7, 7, 7))
    assert (votes(calls) >= PAPER_VOTES).sum() == 4**3
    one = np.ones((4, 4, 4))
    assert (votes(one) >= PAPER_VOTES).sum() == 1, "7 x 7 x 7 nm of ordered cubes leave one voxel"


def test_areas_and_their_intervals() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, 1, 60), rng.normal(0, 1, 60)
    found = area_under_curve(positive, negative)
    false, true = curve(positive, negative)
    assert found.area == pytest.approx(np.trapezoid(true, false))
    assert found.low < found.area < found.high
    # the share of intervals that hold the truth, Phi(1 / sqrt 2) = 0.7602
    held = 0
    for _ in range(300):
        one = area_under_curve(rng.normal(1, 1, 40), rng.normal(0, 1, 40))
        held += one.low <= 0.7602 <= one.high
    assert held / 300 > 0.91
    perfect = area_under_curve(np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    assert perfect.area == perfect.high == 1
    assert perfect.low < 0.9, "four samples prove little"
    with pytest.raises(ValueError, match="at least one"):
        area_under_curve(np.array([]), np.array([1.0]))


def test_measured_maps_are_read_from_folders_and_hdf5(tmp_path: Path) -> None:
    maps, labels = maps_of(4)
    (tmp_path / "f" / "fcc").mkdir(parents=True)
    (tmp_path / "f" / "l12").mkdir()
    np.save(tmp_path / "f" / "fcc" / "a.npy", maps[0, 0])
    np.savetxt(tmp_path / "f" / "fcc" / "b.csv", maps[2, 0], delimiter=",")
    np.savetxt(tmp_path / "f" / "l12" / "c.txt", maps[1, 0][:50])
    (tmp_path / "f" / "fcc" / "notes.md").write_text("not a map")
    found = read_measured_maps(tmp_path / "f")
    assert found.labels.tolist() == [0, 0, 1]
    np.testing.assert_allclose(found.maps[1], maps[2, 0])
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["maps"], file["ordered"] = maps, labels
    again = read_measured_maps(tmp_path / "m.h5")
    assert len(again) == 4
    assert again.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("damage", ["text", "ragged", "negative", "empty", "small", "zero", "labels", "no file"])
def test_bad_measured_maps_are_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "maps"
    (folder / "fcc").mkdir(parents=True)
    good = np.ones((20, 20))
    if damage == "text":
        (folder / "fcc" / "a.csv").write_text("dz, dx\n")
    elif damage == "ragged":
        (folder / "fcc" / "a.csv").write_text("1,2\n3\n")
    elif damage == "negative":
        np.save(folder / "fcc" / "a.npy", -good)
    elif damage == "small":
        np.save(folder / "fcc" / "a.npy", good[:3])
    elif damage == "zero":
        np.save(folder / "fcc" / "a.npy", 0 * good)
    elif damage == "labels":
        folder = tmp_path / "m.h5"
        with h5py.File(folder, "w") as file:
            file["maps"], file["ordered"] = good[None], np.array([2.0])
    elif damage == "no file":
        folder = tmp_path / "nowhere"
    match = {"empty": "holds no maps", "labels": "labels 0 or 1", "no file": "no such", "small": "10 x 10"}
    with pytest.raises((MeasuredMapsError, FileNotFoundError), match=match.get(damage, "a\\.")):
        read_measured_maps(folder)


def test_seven_of_one_map_are_like_it_but_not_the_same() -> None:
    maps, _ = maps_of(1)
    one = maps[0, 0]
    made = sevenfold(one, 3)
    assert len(made) == 7
    np.testing.assert_array_equal(made[0], one)
    np.testing.assert_array_equal(made[1], one[:, ::-1])
    profile = one.sum(axis=1)
    for other in made[2:]:
        assert other.shape == one.shape
        assert (other >= 0).all()
        assert 0.4 < other.sum() / one.sum() < 1.05
        assert np.corrcoef(other.sum(axis=1), profile)[0, 1] > 0.8
    np.testing.assert_array_equal(made[4], sevenfold(one, 3)[4])
    assert not np.array_equal(made[4], sevenfold(one, 4)[4])


def test_weights_in_half_precision_change_nothing_but_the_size() -> None:
    from braggwatch.models.bundling.export import export_onnx
    from braggwatch.models.bundling.half_storage import in_half_storage
    from braggwatch.models.networks.sdm import DrawnSdmNet, PaperSdmNet
    from braggwatch.models.runtimes import OnnxRuntime

    network = PaperSdmNet(2)
    plain = export_onnx(DrawnSdmNet(network, PAPER.shape).eval(), 1.0, (1, 94, 94), normalisation="network")
    assert len(in_half_storage(plain)) > 0.99 * len(plain), "not exact in half precision: left as it is"
    with torch.no_grad():
        network.dense.weight.copy_(network.dense.weight.half().float())
    whole = export_onnx(DrawnSdmNet(network, PAPER.shape).eval(), 1.0, (1, 94, 94), normalisation="network")
    small = in_half_storage(whole)
    assert len(small) < 0.52 * len(whole)
    maps, _ = maps_of(2)
    before, after = (OnnxRuntime(model, threads=1).run(maps) for model in (whole, small))
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.features, after.features)
