"""Synthetic reconstructions: crystals, what is true of each ion, and the files that others read."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggwatch.sim.apt.alloys import SITES, Alloy, load_alloy
from braggwatch.sim.apt.files import read_truth, write_pos, write_rrng, write_truth
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.imaging import Imaging
from braggwatch.sim.apt.lattice import orientation, sites_in_box
from braggwatch.sim.apt.model import UNRANGED, IonCloud, LabelledIons, MassRange, VolumeTruth, label_ions
from braggwatch.sim.apt.precipitates import PrecipitateIndex, Precipitates, PrecipitateSpec, place_precipitates
from braggwatch.sim.apt.sdm import SdmWindow, zx_sdm
from braggwatch.sim.apt.volume import SimulatedVolume, VolumeSpec, load_volume_spec, simulate_volume

SHARP = Imaging(sigma_xy_nm=0.0, sigma_z_matrix_nm=0.0, sigma_z_ordered_nm=0.0, efficiency=1.0)
SIZE = (12.0, 11.0, 13.0)
ONE = Precipitates(np.array([[6.0, 5.5, 6.5]]), np.array([3.0]), np.array([2], dtype=np.uint8))


def spec(imaging: Imaging = SHARP, **fields: object) -> VolumeSpec:
    return VolumeSpec.model_validate({"size_nm": SIZE, "imaging": imaging, **fields})


def plane_spacing(pole: tuple[int, int, int]) -> float:
    volume = simulate_volume(spec(pole=pole, precipitates=PrecipitateSpec(volume_fraction=0)), 0)
    return float(np.diff(np.unique(np.round(volume.cloud.positions_nm[:, 2], 4))).max())


@pytest.mark.parametrize(
    ("pole", "spacing"),
    [((0, 1, 1), 0.405 / math.sqrt(8)), ((0, 0, 1), 0.405 / 2), ((1, 1, 1), 0.405 / math.sqrt(3))],
)
def test_the_planes_of_the_pole_lie_across_z(pole: tuple[int, int, int], spacing: float) -> None:
    assert plane_spacing(pole) == pytest.approx(spacing, abs=2e-4)


@settings(max_examples=30, deadline=None)
@given(
    pole=st.tuples(*[st.integers(-3, 3)] * 3).filter(any),
    azimuth=st.floats(-180, 180),
    tilt=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
)
def test_an_orientation_turns_the_pole_near_z_and_is_a_rotation(
    pole: tuple[int, int, int], azimuth: float, tilt: tuple[float, float]
) -> None:
    turn = orientation(pole, azimuth, tilt)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    direction = turn @ np.array(pole) / np.linalg.norm(pole)
    assert math.degrees(math.acos(min(direction[2], 1.0))) <= math.hypot(*tilt) + 1e-5


@settings(max_examples=10, deadline=None)
@given(
    pole=st.sampled_from([(0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 2, 3)]),
    shift=st.tuples(*[st.floats(-1, 1)] * 3),
    size=st.tuples(*[st.floats(0.7, 2.5)] * 3),
)
def test_the_sites_in_a_box_are_all_those_of_the_crystal_and_no_others(
    pole: tuple[int, int, int], shift: tuple[float, float, float], size: tuple[float, float, float]
) -> None:
    edges = orientation(pole, 11.0, (1.0, -2.0)) * 0.405
    low, high = np.array([0.1, -0.2, 0.3]), np.array([0.1, -0.2, 0.3]) + size
    found, site = sites_in_box(edges, np.array(shift), low, high)
    cells = np.stack(np.meshgrid(*[np.arange(-13, 14)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    every = ((cells + SITES).reshape(-1, 3) @ edges.T) + shift
    margin = np.minimum(every - low, high - every).min(axis=1)
    assert (margin > 1e-9).sum() <= len(found) <= (margin > -1e-9).sum()
    fractional = np.linalg.solve(edges, (found.astype(np.float64) - shift).T).T - SITES[site]
    np.testing.assert_allclose(fractional, np.rint(fractional), atol=1e-5)


def test_parts_of_a_box_have_the_sites_of_the_whole() -> None:
    edges = orientation((0, 1, 1), 7.0) * 0.405
    origin, low, high = np.full(3, 0.123), np.zeros(3), np.array([5.0, 4.0, 6.0])
    whole = len(sites_in_box(edges, origin, low, high)[0])
    cuts = [0.0, 1.3, 2.7, 6.0]
    parts = [len(sites_in_box(edges, origin, np.array([0, 0, a]), np.array([5, 4, b]))[0]) for a, b in pairwise(cuts)]
    assert sum(parts) == whole == pytest.approx(120 * 4 / 0.405**3, rel=0.01)


def test_solute_sits_on_one_site_of_the_cell_in_a_precipitate_and_anywhere_in_the_matrix() -> None:
    volume = simulate_volume(spec(tilt_deg=(3.0, 0.0)), 1, precipitates=ONE)
    ions = label_ions(volume.cloud, load_alloy("al-li").ranges())
    ordered = volume.truth.ordered
    inside = ((volume.cloud.positions_nm - ONE.centres_nm[0]) ** 2).sum(axis=1) <= 9.0 - 1e-4
    np.testing.assert_array_equal(ordered[inside], True)
    assert ordered.sum() == pytest.approx(4 / 3 * math.pi * 27 * 4 / 0.405**3, rel=0.02)
    li = ions.species == ions.index("Li")
    assert li[ordered].mean() == pytest.approx(0.20, abs=0.01)
    assert li[~ordered].mean() == pytest.approx(0.05, abs=0.005)
    nearest = SdmWindow(half_x_nm=0.35, half_y_nm=0.35, half_z_nm=0.35, bins_x=1, bins_z=1, ball_nm=0.35)
    of_phase = {
        name: zx_sdm(volume.cloud.positions_nm[o], nearest, centres=li[o], neighbours=li[o]).sum() / li[o].sum()
        for name, o in (("ordered", ordered), ("matrix", ~ordered))
    }
    # an atom has twelve nearest neighbours, at 0.286 nm: in order, solute atoms never are each other's
    assert of_phase["ordered"] == 0
    assert of_phase["matrix"] == pytest.approx(12 * 0.05, rel=0.15)


def test_order_shows_as_a_doubled_period_along_the_pole() -> None:
    imaging = SHARP.model_copy(update={"sigma_xy_nm": 0.3, "sigma_z_matrix_nm": 0.03, "sigma_z_ordered_nm": 0.03})
    volume = simulate_volume(spec(imaging), 2, precipitates=Precipitates(ONE.centres_nm, np.array([5.0]), ONE.variant))
    ions = label_ions(volume.cloud, load_alloy("al-li").ranges())
    spacing = 0.405 / math.sqrt(8)
    window = SdmWindow(half_x_nm=0.5, half_y_nm=0.5, half_z_nm=2.5 * spacing, bins_x=1, bins_z=5)
    ratio = {}
    for name, phase in (("ordered", volume.truth.ordered), ("matrix", ~volume.truth.ordered)):
        al = phase & (ions.species == ions.index("Al"))
        counts = zx_sdm(volume.cloud.positions_nm, window, centres=al, neighbours=al)[:, 0]
        ratio[name] = counts[[1, 3]].sum() / counts[[0, 4]].sum()
    expected = 0.6 / ((0.6**2 + 1) / 2)  # planes in turn hold 0.6 and 1 of their aluminium
    assert ratio["ordered"] / ratio["matrix"] == pytest.approx(expected, abs=0.03)


def test_the_same_seed_gives_the_same_ions_and_another_seed_others() -> None:
    small = spec(Imaging(background=0.1, displaced=0.1))
    first, again, other = (simulate_volume(small, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.cloud.positions_nm, again.cloud.positions_nm)
    np.testing.assert_array_equal(first.cloud.mass_to_charge_Da, again.cloud.mass_to_charge_Da)
    np.testing.assert_array_equal(first.truth.precipitate, again.truth.precipitate)
    assert len(first.cloud) != len(other.cloud)


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
def test_the_four_worlds_have_about_as_many_ions_as_asked_for(kind: str) -> None:
    world = load_volume_spec(kind).sized_for(120_000)  # type: ignore[arg-type]
    done: list[tuple[int, int]] = []
    volume = simulate_volume(world, 3, lambda *step: done.append(step))
    assert len(volume.cloud) == pytest.approx(120_000, rel=0.02)
    assert done[-1][0] == done[-1][1] == len(done)
    assert volume.truth.ordered.mean() == pytest.approx(0.12, abs=0.03)
    ions = label_ions(volume.cloud, world.resolved_alloy().ranges())
    solute = [
        float((ions.species[o] == ions.index("Li")).mean()) for o in (volume.truth.ordered, ~volume.truth.ordered)
    ]
    assert (abs(solute[0] - solute[1]) < 0.02) == (kind == "D")


def test_blur_is_that_asked_for_in_each_phase() -> None:
    sharp, blurred = (
        simulate_volume(spec(imaging), 4, precipitates=ONE)
        for imaging in (
            SHARP,
            SHARP.model_copy(update={"sigma_xy_nm": 0.4, "sigma_z_matrix_nm": 0.02, "sigma_z_ordered_nm": 0.05}),
        )
    )
    moved = blurred.cloud.positions_nm - sharp.cloud.positions_nm
    ordered = sharp.truth.ordered
    np.testing.assert_allclose(moved[:, :2].std(axis=0), 0.4, rtol=0.02)
    assert moved[ordered, 2].std() == pytest.approx(0.05, rel=0.05)
    assert moved[~ordered, 2].std() == pytest.approx(0.02, rel=0.02)


def test_curved_planes_and_depth_scale_move_ions_as_documented() -> None:
    sharp, curved = (
        simulate_volume(spec(imaging), 4, precipitates=ONE)
        for imaging in (SHARP, SHARP.model_copy(update={"curvature_radius_nm": 50.0, "depth_scale": 1.05}))
    )
    p = sharp.cloud.positions_nm.astype(np.float64)
    lifted = 1.05 * (p[:, 2] + ((p[:, 0] - 6.0) ** 2 + (p[:, 1] - 5.5) ** 2) / 100)
    np.testing.assert_allclose(curved.cloud.positions_nm[:, 2], lifted, atol=1e-4)
    np.testing.assert_array_equal(curved.cloud.positions_nm[:, :2], sharp.cloud.positions_nm[:, :2])
    assert curved.truth.centres_nm[0, 2] == pytest.approx(1.05 * 6.5, abs=1e-4)


def test_local_magnification_narrows_a_precipitate_and_leaves_what_is_far() -> None:
    sharp, narrow = (
        simulate_volume(spec(imaging), 4, precipitates=ONE)
        for imaging in (SHARP, SHARP.model_copy(update={"magnification": 0.8}))
    )
    ordered = sharp.truth.ordered
    middle = ONE.centres_nm[0]
    before, after = (v.cloud.positions_nm - middle for v in (sharp, narrow))
    np.testing.assert_allclose(after[ordered, :2], 0.8 * before[ordered, :2], atol=1e-5)
    np.testing.assert_array_equal(after[:, 2], before[:, 2])
    far = np.linalg.norm(before, axis=1) > 6.0
    np.testing.assert_array_equal(after[far], before[far])


def test_background_and_losses_are_in_the_proportion_asked_for() -> None:
    volume = simulate_volume(spec(Imaging(efficiency=0.4, background=0.2)), 7)
    ions = label_ions(volume.cloud, load_alloy("al-li").ranges())
    real = math.prod(SIZE) * load_alloy("al-li").sites_per_nm3 * 0.4
    assert len(volume.cloud) == pytest.approx(real / 0.8, rel=0.02)
    ranged_width = sum(r.high_Da - r.low_Da for r in load_alloy("al-li").ranges())
    unranged = (ions.species == UNRANGED).mean()
    assert unranged == pytest.approx(0.2 * (1 - ranged_width / 69.5), abs=0.01)


def test_a_varying_efficiency_keeps_its_mean_and_varies() -> None:
    size = (25.0, 25.0, 8.0)
    none = PrecipitateSpec(volume_fraction=0)
    imaging = Imaging(efficiency=0.5, efficiency_variation=0.6, efficiency_wavelength_nm=20.0)
    volume = simulate_volume(VolumeSpec(size_nm=size, imaging=imaging, precipitates=none), 8)
    assert len(volume.cloud) == pytest.approx(math.prod(size) * 4 / 0.405**3 * 0.5, rel=0.02)
    per_column = VoxelGrid((0, 0, 0), (5, 5, 1), 5.0).count(volume.cloud.positions_nm * [1, 1, 0])[:, :, 0]
    assert per_column[2, 2] < 0.6 * per_column.mean()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), fraction=st.floats(0.0, 0.12), radius=st.floats(1.2, 2.0), gap=st.floats(0.0, 0.5))
def test_precipitates_fill_the_part_asked_for_and_never_touch(
    seed: int, fraction: float, radius: float, gap: float
) -> None:
    wanted = PrecipitateSpec(volume_fraction=fraction, radius_nm=radius, radius_sd_nm=0.4, gap_nm=gap)
    placed = place_precipitates(wanted, (15, 14, 16), np.random.default_rng(seed))
    apart = np.linalg.norm(placed.centres_nm[:, None] - placed.centres_nm, axis=-1)
    touching = apart < placed.radii_nm[:, None] + placed.radii_nm + gap - 1e-9
    assert not touching[~np.eye(len(placed), dtype=bool)].any()
    assert ((placed.centres_nm >= placed.radii_nm[:, None] - 1e-9).all(axis=1)).all()
    largest = 4 / 3 * math.pi * 5.5**3
    assert (4 / 3 * math.pi * placed.radii_nm**3).sum() == pytest.approx(fraction * 3360, abs=largest)


def test_looking_up_a_precipitate_gives_what_distances_give() -> None:
    rng = np.random.default_rng(0)
    placed = place_precipitates(PrecipitateSpec(volume_fraction=0.2), (20, 16, 25), rng)
    points = (rng.random((3000, 3)) * [24, 20, 29] - 2).astype(np.float32)
    distance = np.linalg.norm(points[:, None] - placed.centres_nm, axis=-1)
    held = distance <= placed.radii_nm
    expected = np.where(held.any(axis=1), held.argmax(axis=1), -1)
    np.testing.assert_array_equal(PrecipitateIndex.of(placed, (20, 16, 25)).owner(points), expected)


def test_what_can_not_be_simulated_is_refused_with_the_reason() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="smaller volume fraction"):
        place_precipitates(PrecipitateSpec(volume_fraction=0.3, gap_nm=9.0), (20, 20, 20), rng)
    with pytest.raises(ValueError, match="doesn't fit"):
        place_precipitates(PrecipitateSpec(volume_fraction=0.3), (3.0, 40.0, 40.0), rng)
    with pytest.raises(ValueError, match="too small"):
        load_volume_spec("A").sized_for(100)
    with pytest.raises(ValueError, match="probabilities"):
        Alloy.model_validate({**load_alloy("al-li").model_dump(), "matrix": (0.9, 0.2)})
    with pytest.raises(ValueError, match="no direction"):
        orientation((0, 0, 0))


def test_every_alloy_of_the_table_has_ranges_apart_that_catch_its_ions() -> None:
    table = json.loads(files("braggwatch.sim.apt").joinpath("presets/alloys.json").read_text())
    for name in table:
        alloy = load_alloy(name)
        species = np.random.default_rng(0).integers(0, len(alloy.species), 20_000).astype(np.uint8)
        ratios = alloy.mass_to_charge(species, np.random.default_rng(1))
        cloud = IonCloud(np.zeros((species.size, 3), dtype=np.float32), ratios)
        found = label_ions(cloud, alloy.ranges())
        number = np.array([alloy.names.index(n) for n in found.names])
        caught = found.species != UNRANGED
        assert caught.mean() > 0.99
        assert (number[found.species[caught]] == species[caught]).mean() > 0.998


def test_ranging_labels_by_the_half_open_range_and_refuses_overlap() -> None:
    ratios = np.array([0.9, 1.0, 1.4999, 1.5, 1.9, 2.0, np.nan], dtype=np.float32)
    cloud = IonCloud(np.zeros((7, 3), dtype=np.float32), ratios)
    ranges = [MassRange(1.5, 2.0, "B"), MassRange(1.0, 1.5, "A")]
    found = label_ions(cloud, ranges)
    assert found.names == ("B", "A")
    assert found.species.tolist() == [UNRANGED, 1, 1, 0, 0, UNRANGED, UNRANGED]
    with pytest.raises(ValueError, match="overlap"):
        label_ions(cloud, [*ranges, MassRange(1.9, 3.0, "C")])
    with pytest.raises(ValueError, match="no ranges"):
        label_ions(cloud, [])
    with pytest.raises(ValueError, match="is empty"):
        MassRange(2.0, 1.0, "A")


def test_records_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="mass-to-charge"):
        IonCloud(np.zeros((3, 3), dtype=np.float32), np.zeros(2, dtype=np.float32))
    with pytest.raises(ValueError, match="shape"):
        LabelledIons(np.zeros((3, 2), dtype=np.float32), np.zeros(3, dtype=np.uint8), ("Al",))


@pytest.fixture(scope="module")
def small() -> SimulatedVolume:
    return simulate_volume(spec(Imaging()), 9)


def test_a_pos_file_has_four_big_endian_floats_an_ion(small: SimulatedVolume, tmp_path: Path) -> None:
    write_pos(tmp_path / "a.pos", small.cloud)
    read = np.fromfile(tmp_path / "a.pos", dtype=">f4").reshape(-1, 4)
    np.testing.assert_array_equal(read[:, :3], small.cloud.positions_nm)
    np.testing.assert_array_equal(read[:, 3], small.cloud.mass_to_charge_Da)


@pytest.mark.filterwarnings("ignore")
def test_others_read_our_pos_file(small: SimulatedVolume, tmp_path: Path) -> None:
    pytest.importorskip("ifes_apt_tc_data_modeling")
    from ifes_apt_tc_data_modeling.pos.pos_reader import ReadPosFileFormat

    write_pos(tmp_path / "a.pos", small.cloud)
    reader = ReadPosFileFormat(str(tmp_path / "a.pos"))
    positions, ratios = reader.get_reconstructed_positions(), reader.get_mass_to_charge_state_ratio()
    assert positions is not None
    assert ratios is not None
    np.testing.assert_array_equal(positions.magnitude, small.cloud.positions_nm)
    np.testing.assert_array_equal(np.ravel(ratios.magnitude), small.cloud.mass_to_charge_Da)


@pytest.mark.slow  # the reader looks each range up in a table of all isotopes
@pytest.mark.filterwarnings("ignore")
def test_others_read_our_rrng_file(tmp_path: Path) -> None:
    pytest.importorskip("ifes_apt_tc_data_modeling")
    from ifes_apt_tc_data_modeling.rrng.rrng_reader import ReadRrngFileFormat

    ranges = load_alloy("ni-al").ranges()
    write_rrng(tmp_path / "a.rrng", ranges)
    parsed = ReadRrngFileFormat(str(tmp_path / "a.rrng"))
    found = sorted(
        (float(low), float(high)) for ion in parsed.rrng["molecular_ions"] for low, high in ion.ranges.magnitude
    )
    np.testing.assert_allclose(found, [(r.low_Da, r.high_Da) for r in ranges], atol=1e-3)


def test_the_truth_comes_back_from_its_file_and_a_damaged_one_is_refused(
    small: SimulatedVolume, tmp_path: Path
) -> None:
    path = tmp_path / "truth.h5"
    write_truth(path, small.truth, spec(Imaging()), 9)
    truth, world, seed = read_truth(path)
    assert (world, seed) == (spec(Imaging()), 9)
    for name in VolumeTruth.__slots__:
        np.testing.assert_array_equal(getattr(truth, name), getattr(small.truth, name))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"truth\.h5"):
        read_truth(path)
    with h5py.File(path, "w") as file:
        file.attrs["schema"] = 99
    with pytest.raises(ValueError, match="schema"):
        read_truth(path)


def test_the_ordered_part_of_a_voxel_is_counted_from_its_ions() -> None:
    grid = VoxelGrid((0, 0, 0), (2, 1, 1), 1.0)
    positions = np.array([[0.1, 0.5, 0.5], [0.9, 0.2, 0.1], [-0.1, 0.5, 0.5], [0.5, 0.5, 0.99]], dtype=np.float32)
    fraction = grid.fraction(positions, np.array([True, False, True, False]))
    assert fraction[0, 0, 0] == pytest.approx(1 / 3)
    assert np.isnan(fraction[1, 0, 0])
