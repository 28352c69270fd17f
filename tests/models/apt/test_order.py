"""From maps to precipitates: networks, thresholds, parts, comparison with the truth, injected precipitates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from braggwatch.models.apt.agreement import compare, true_owner
from braggwatch.models.apt.channels import as_host_and_solute, most_abundant
from braggwatch.models.apt.components import find_precipitates, size_distribution
from braggwatch.models.apt.injection import blur_from_signal, inject
from braggwatch.models.apt.isoconcentration import concentration, isoconcentration_cuts
from braggwatch.models.apt.order_bundle import sdm_input
from braggwatch.models.apt.phase_sdm import phase_sdms
from braggwatch.models.apt.sdm_input import PAIRS, SdmInput
from braggwatch.models.apt.splitting import split_parts
from braggwatch.models.apt.threshold import Cut, cut_log_odds, otsu, smooth
from braggwatch.models.bundling.manifest import InputSpec, Manifest, Provenance, Thresholds, task_json
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import UNRANGED, LabelledIons, VolumeTruth
from braggwatch.sim.apt.scan import ScanSettings, scan_sdm
from braggwatch.sim.apt.sdm import Z_ONLY

GRID = VoxelGrid((0.0, 0.0, 0.0), (20, 20, 20))


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    at = np.stack(np.meshgrid(*(np.arange(20) + 0.5,) * 3, indexing="ij"), axis=-1)
    return np.linalg.norm(at - np.array(centre), axis=-1) <= radius


def on_planes(n: int = 60_000, spacing: float = 0.1432, sigma: float = 0.02, seed: int = 0) -> LabelledIons:
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 100, n) * spacing + 0.03 + rng.normal(0, sigma, n)
    positions = np.column_stack([rng.uniform(0, 14, (n, 2)), z]).astype(np.float32)
    return LabelledIons(positions, (rng.random(n) < 0.05).astype(np.uint8), ("host", "solute"))


def test_the_networks_are_the_published_one_and_small_ones() -> None:
    torch = pytest.importorskip("torch")
    from braggwatch.models.networks.sdm import CentreVoxelNet, PaperSdmNet, SdmEnsemble

    paper = PaperSdmNet()
    assert sum(p.numel() for p in paper.parameters()) == 1_666_881
    logits, features = paper(torch.rand(2, 1, 150, 150))
    assert logits.shape == (2, 2)
    assert features.shape == (2, 512)
    assert (logits[:, 0] == 0).all(), "softmax over (0, s) is the sigmoid of s"
    for depth in (1, 2, 3):
        assert PaperSdmNet(depth)(torch.rand(1, 1, 150, 150))[0].shape == (1, 2)
    with pytest.raises(ValueError, match="1 to 4"):
        PaperSdmNet(5)
    ensemble = SdmEnsemble([CentreVoxelNet().eval(), CentreVoxelNet().eval()])
    logits, features = ensemble(torch.poisson(torch.full((3, 3, 93, 5), 20.0)))
    margins = features[:, :2]
    assert features.shape == (3, 2 + 2 * 16)
    assert torch.allclose(margins.mean(dim=1), logits[:, 1] - logits[:, 0], atol=1e-5)


def test_counts_are_judged_in_units_of_their_noise() -> None:
    torch = pytest.importorskip("torch")
    from braggwatch.models.networks.sdm import standardise

    torch.manual_seed(0)
    for mean in (5.0, 50.0, 500.0):
        shown = standardise(torch.poisson(torch.full((4, 3, 93, 5), mean)))
        assert shown.mean().abs() < 1e-4
        assert shown.std() == pytest.approx(1.0, abs=0.12)


def test_maps_are_an_input_that_a_manifest_can_state() -> None:
    sdm = SdmInput()

    def manifest(shape: tuple[int, int, int]) -> Manifest:
        return Manifest(
            name="maps",
            version="1",
            task="apt-order",
            classes=("fcc", "l12"),
            input=InputSpec(axes=("pair", "dz", "dx"), shape=shape, normalisation="network", sdm=task_json(sdm)),
            features=2,
            temperature=1.0,
            thresholds=Thresholds(confidence=0.5, ood=1.0, significance=0.1),
            provenance=Provenance(code_version="test"),
        )

    stated = manifest(sdm.shape)
    assert stated.input.shape == (3, 93, 5)
    assert sdm_input(stated) == sdm
    with pytest.raises(ValueError, match="no input of shape"):
        manifest((1, 93, 5))


@settings(max_examples=30)
@given(share=st.floats(0.1, 0.9), gap=st.floats(6, 20), seed=st.integers(0, 1000))
def test_otsu_cuts_between_two_groups(share: float, gap: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    high = rng.random(5000) < share
    threshold, separability = otsu(rng.normal(0, 1, 5000) + gap * high)
    assert 1.0 < threshold < gap - 1.0
    assert separability > 0.6


def test_a_threshold_never_halves_the_noise_of_a_control() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(-4, 1, (20, 20, 20))
    assert cut_log_odds(noise).rule == "even odds"
    assert cut_log_odds(noise, stated=-1.0) == Cut(-1.0, otsu(noise)[1], "bundle")
    cut = cut_log_odds(noise, stated=-9.0, null=noise)
    assert cut.rule == "control"
    assert (noise > cut.threshold).mean() <= 1e-3
    given = cut_log_odds(noise, given=-5.0, stated=0.0, null=noise)
    assert (given.rule, given.threshold) == ("given", -5.0)
    with pytest.raises(ValueError, match="at least two"):
        otsu(np.full(5, np.nan))


def test_smoothing_neither_uses_nor_fills_what_is_unknown() -> None:
    values = np.ones((9, 9, 9), np.float32)
    values[4:] = np.nan
    smoothed = smooth(values, 1.0)
    assert np.isnan(smoothed[4:]).all()
    np.testing.assert_allclose(smoothed[:4], 1.0, rtol=1e-5)


def test_parts_are_counted_measured_and_told_apart() -> None:
    mask = ball((6, 6, 6), 3.0) | ball((14, 14, 14), 2.0) | ball((0, 10, 18), 1.5)
    mask[10, 2, 2] = True
    found = find_precipitates(mask, GRID)
    assert len(found) == 3, "a single voxel is no precipitate"
    assert found.radii_nm[0] == pytest.approx(3.0, abs=0.2)
    np.testing.assert_allclose(found.centres_nm[:2], [[6, 6, 6], [14, 14, 14]], atol=0.1)
    assert found.at_edge.tolist() == [False, False, True]
    sizes = size_distribution(found, np.ones_like(mask), 1.0)
    assert sizes.mean_nm == pytest.approx(float(found.radii_nm[:2].mean()))
    assert sum(sizes.counts) == 2
    assert sizes.density_per_m3 == pytest.approx(2.5 / 8000e-27)
    assert len(find_precipitates(np.zeros_like(mask), GRID)) == 0


def test_precipitates_that_touch_are_told_apart_by_the_pass_between_them() -> None:
    at = np.stack(np.meshgrid(*(np.arange(20) + 0.5,) * 3, indexing="ij"), axis=-1)

    def dome(centre: tuple[float, float, float], radius: float) -> np.ndarray:
        return 1.0 - np.linalg.norm(at - np.array(centre), axis=-1) / radius

    two = np.maximum(dome((6, 10, 10), 4.5), dome((13, 10, 10), 3.5))
    assert len(find_precipitates(two > 0, GRID)) == 1
    found = find_precipitates(two > 0, GRID, height=two)
    assert len(found) == 2
    np.testing.assert_allclose(found.centres_nm, [[6, 10, 10], [13, 10, 10]], atol=0.4)
    np.testing.assert_array_equal(found.ordered, two > 0)
    rng = np.random.default_rng(0)
    one = dome((10, 10, 10), 6.0) + rng.normal(0, 0.02, (20, 20, 20))
    assert len(find_precipitates(one > 0.05, GRID, height=one - 0.05)) == 1, "noise divides nothing"


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0), density=st.floats(0.05, 0.6))
def test_splitting_keeps_the_mask_and_never_joins_what_doesnt_touch(seed: int, share: float, density: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 8, 9)) < density
    height = rng.random(mask.shape) + 0.01
    parts = split_parts(mask, height, pass_share=share)
    np.testing.assert_array_equal(parts >= 0, mask)
    labelled = ndimage.label(mask)
    assert isinstance(labelled, tuple)
    touching, _ = labelled
    pairs = np.unique(np.stack([parts[mask], touching[mask]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1], "a part lies in one connected region"
    together = split_parts(mask, height, pass_share=0.0)
    assert len(np.unique(together[mask])) == touching.max(initial=0)


def test_a_map_is_compared_with_the_truth() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, 20, (200_000, 3)).astype(np.float32)
    centres, radii = np.array([[6, 6, 6], [14, 14, 14]], np.float32), np.array([3.0, 2.0], np.float32)
    owner = np.full(len(positions), -1, np.int32)
    for n in range(2):
        owner[np.linalg.norm(positions - centres[n], axis=1) <= radii[n]] = n
    truth = VolumeTruth(owner, centres, radii)
    voxels = true_owner(positions, truth, GRID)
    known = np.ones(GRID.shape, bool)
    perfect = compare(find_precipitates(voxels >= 0, GRID), voxels, truth, known)
    assert perfect.f1 == 1.0
    assert perfect.smallest_found_nm == 2.0
    assert perfect.false_components == 0
    assert perfect.radius_error_nm == pytest.approx(0.0, abs=0.1)
    assert [(low, pairs) for low, pairs, _, _ in perfect.error_by_radius] == [(2.0, 1), (3.0, 1)]
    wrong = compare(find_precipitates((voxels == 0) | ball((15, 4, 4), 2.0), GRID), voxels, truth, known)
    assert wrong.f1 < 1.0
    assert wrong.smallest_found_nm == 3.0
    assert wrong.false_components == 1
    assert compare(find_precipitates(np.zeros_like(known), GRID), voxels, truth, known).f1 == 0.0


def test_species_are_named_as_the_network_knows_them() -> None:
    species = np.array([0, 0, 0, 1, 2, 2, UNRANGED], np.uint8)
    ions = LabelledIons(np.zeros((7, 3), np.float32), species, ("Ni", "Cr", "Al"))
    assert most_abundant(ions) == ("Ni", "Al")
    assert as_host_and_solute(ions, "Ni", "Al").species.tolist() == [0, 0, 0, UNRANGED, 1, 1, UNRANGED]
    with pytest.raises(ValueError, match="no ions of Li"):
        as_host_and_solute(ions, "Ni", "Li")
    with pytest.raises(ValueError, match="name two elements"):
        as_host_and_solute(ions, "Ni", "Ni")


def test_injected_solute_sits_on_every_second_plane_and_ions_stay_where_they_are() -> None:
    ions = on_planes()
    centre = np.array([7.0, 7.0, 7.0])
    changed = inject(
        ions, centre, 3.0, spacing_nm=0.1432, sigma_z_nm=0.02, solute_part=0.2, rng=np.random.default_rng(1)
    )
    np.testing.assert_array_equal(changed.positions_nm, ions.positions_nm)
    inside = np.linalg.norm(ions.positions_nm - centre, axis=1) <= 3.0
    np.testing.assert_array_equal(changed.species[~inside], ions.species[~inside])
    assert changed.species[inside].mean() == pytest.approx(0.2, abs=0.02)
    plane = np.round((ions.positions_nm[inside, 2] - 0.03) / 0.1432).astype(int)
    by_parity = [changed.species[inside][plane % 2 == parity].mean() for parity in (0, 1)]
    assert max(by_parity) == pytest.approx(0.4, abs=0.03)
    assert min(by_parity) < 0.01
    with pytest.raises(ValueError, match="can't hold 60%"):
        inject(ions, centre, 3.0, spacing_nm=0.1432, sigma_z_nm=0.02, solute_part=0.6, rng=np.random.default_rng(1))


def test_each_phase_has_its_own_zsdm_in_small_grids_of_all_their_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    ions = on_planes(20_000)
    grid = VoxelGrid.around(ions.positions_nm, 1.0)
    ordered = np.zeros(grid.shape, bool)
    ordered[3:6, 3:9, 3:9] = True
    settings = ScanSettings(Z_ONLY, 1.0, 1)
    whole = scan_sdm(ions, PAIRS, settings, grid=grid)
    found = phase_sdms(ions, grid, ordered, ~ordered)
    for one in found:
        mask = ordered if one.phase == "ordered" else ~ordered
        np.testing.assert_array_equal(one.counts, whole.maps[mask][:, PAIRS.index(one.pair)].sum(axis=(0, 2)))
    monkeypatch.setattr("braggwatch.models.apt.phase_sdm._MOST_VOXELS", 3 * grid.shape[1] * grid.shape[2])
    fewer = phase_sdms(ions, grid, ordered, ~ordered)
    for one, before in zip(fewer, found, strict=True):
        same = (one.counts == before.counts).all()
        assert same == (one.phase == "ordered"), "the slices with most ordered voxels are counted"


@given(sigma=st.floats(0.005, 0.06), ions=st.floats(1e3, 1e5))
def test_blur_is_read_from_the_height_of_the_planes_peak(sigma: float, ions: float) -> None:
    signal = ions * np.exp(-((2 * np.pi * sigma / 0.1432) ** 2))
    assert blur_from_signal(signal, ions, 0.1432) == pytest.approx(sigma, rel=1e-6)


def test_the_isoconcentration_baseline_finds_a_cluster() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, 20, (200_000, 3)).astype(np.float32)
    inside = np.linalg.norm(positions - 10, axis=1) <= 4.0
    solute = rng.random(len(positions)) < np.where(inside, 0.2, 0.03)
    ions = LabelledIons(positions, solute.astype(np.uint8), ("host", "solute"))
    part = concentration(ions, "solute", GRID)
    cuts = isoconcentration_cuts(part, 0.1)
    assert cuts["given"] == 0.1
    assert 0.05 < cuts["otsu"] < 0.17
    found = find_precipitates(part > cuts["otsu"], GRID)
    assert found.radii_nm[0] == pytest.approx(4.0, abs=0.5)
