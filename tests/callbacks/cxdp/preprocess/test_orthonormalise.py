"""The gather agrees with xrayutilities' gridder and with the truth, and says honestly what was not measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import PixelCorrections, pixel_gain, survey, valid_range
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import (
    CENTRE,
    CUBE,
    QGrid,
    basis_along,
    fit_index,
    gather,
    order_frames,
    subsamples,
    zoom,
)
from braggwatch.sim.geometry import Circle, RockingGeometry, rocking_map


def geometry(rows: int, columns: int, **changes: object) -> RockingGeometry:
    """Au 111 at 9 keV, both detector circles turned, so that no axis of the scan is orthogonal to another."""
    return RockingGeometry(
        energy_keV=9.0,
        sample_circles=(Circle(name="th", axis="y+", angle_deg=0.0, offset_deg=0.0),),
        scanned="th",
        detector_circles=(
            Circle(name="delta", axis="y+", angle_deg=32.0, offset_deg=0.0),
            Circle(name="gamma", axis="x-", angle_deg=12.0, offset_deg=0.0),
        ),
        distance_m=0.5,
        pixel_size_m=(55e-6, 55e-6),
        row_direction="y-",
        column_direction="x+",
        detector_tilt=None,
        direct_beam_px=(rows / 2, columns / 2),
        direct_beam_angles_deg=(0.0, 0.0),
        chip_shape=(1024, 1024),
        roi_origin=(0, 0),
        binning=(1, 1),
        frame_shape=(rows, columns),
        transposed=False,
        material="Au",
        lattice_parameter_A=4.0782,
        hkl=(1, 1, 1),
    ).model_copy(update=changes)


def fringes(q: NDArray[np.float64], grid: QGrid, period_voxels: float) -> NDArray[np.float64]:
    """A smooth fringed peak about the grid's centre: squared sines under a Gaussian."""
    u = (q - grid.centre_inv_A) @ grid.basis.T / grid.voxel_size_inv_A
    comb = np.cos(np.pi * u / period_voxels) ** 2
    return 1e4 * np.prod(comb, axis=-1) * np.exp(-np.sum(u**2, axis=-1) / (2 * 8.0**2))


def plain(frames: NDArray[np.generic]) -> PixelCorrections:
    low, high = valid_range(frames.dtype)
    n, rows, columns = frames.shape
    return PixelCorrections(
        gain=np.ones((rows, columns), dtype=np.float32),
        dark=np.zeros((0, 0), dtype=np.float32),
        frame_scale=np.ones(n),
        outlier_start=np.zeros(n + 1, dtype=np.int64),
        outlier_pixel=np.zeros(0, dtype=np.int64),
        valid_from=low,
        valid_below=high,
    )


class Scan:
    """A synthetic scan of the fringed peak, sampled ``fineness`` times finer than the voxel."""

    def __init__(self, angles: NDArray[np.float64], edge: int = 150, fineness: float = 2.0, period: float = 8.0):
        self.geometry = geometry(edge, edge)
        self.mapping = rocking_map(self.geometry)
        self.angles = angles
        self.period = period
        centre = self.mapping.q(float(np.median(angles)), edge / 2, edge / 2)
        pixel = np.linalg.norm(self.mapping.q(0.0, edge / 2 + 1, edge / 2) - self.mapping.q(0.0, edge / 2, edge / 2))
        self.grid = QGrid.around(centre, float(fineness * pixel))
        self.q = self.mapping.q(angles[:, None, None], np.arange(edge)[:, None], np.arange(edge))
        self.frames = fringes(self.q, self.grid, period).astype(np.float32)

    def gather(
        self, present: NDArray[np.bool_] | None = None, frames: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        cube = self.frames if frames is None else frames
        order = order_frames(self.angles, np.ones(len(self.angles), bool) if present is None else present)
        polynomial = fit_index(self.grid, self.mapping, float(np.median(self.angles)))
        return gather(cube, order, plain(cube), polynomial, subsamples(zoom(polynomial, order)))

    def truth(self) -> NDArray[np.float64]:
        """Mean over each voxel, from eight points."""
        axis = np.arange(2 * CUBE) / 2 - 0.25
        voxels = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        values = fringes(self.grid.q(voxels), self.grid, self.period)
        return values.reshape(CUBE, 2, CUBE, 2, CUBE, 2).mean(axis=(1, 3, 5))


def relative_l2(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def fine_scan() -> Scan:
    """Raw sampling 2.2 times finer than the voxel along rows and columns, 2 and more along the rocking."""
    return Scan(np.linspace(-0.7, 0.7, 140), edge=170, fineness=2.2)


def test_agrees_with_xrayutilities_within_one_percent(fine_scan: Scan) -> None:
    xu = pytest.importorskip("xrayutilities")
    scan = fine_scan
    u = (scan.q - scan.grid.centre_inv_A) @ scan.grid.basis.T / scan.grid.voxel_size_inv_A + CENTRE
    gridder = xu.FuzzyGridder3D(CUBE, CUBE, CUBE)
    gridder.KeepData(True)
    gridder.dataRange(0, CUBE - 1, 0, CUBE - 1, 0, CUBE - 1, fixed=True)
    spans = [float(np.abs(np.diff(u[..., a], axis=b)).max()) for a in range(3) for b in range(3)]
    width = [max(spans[3 * a : 3 * a + 3]) for a in range(3)]
    gridder(*(np.ascontiguousarray(u[..., a]).ravel() for a in range(3)), scan.frames.ravel(), width=width)
    mine, coverage = scan.gather()
    both = (coverage > 0.999) & (gridder.data > 0)
    assert both.mean() > 0.5
    assert relative_l2(mine[both], gridder.data[both]) < 0.01


def test_agrees_with_the_truth_where_sampling_is_fine(fine_scan: Scan) -> None:
    mine, coverage = fine_scan.gather()
    full = coverage > 0.999
    assert full.mean() > 0.6
    assert relative_l2(mine[full], fine_scan.truth()[full]) < 0.03


def test_polynomial_leaves_nothing_of_the_exact_map() -> None:
    for degrees in (1.0, 3.0):
        scan = Scan(np.linspace(-degrees / 2, degrees / 2, 60), edge=64, fineness=degrees)
        order = order_frames(scan.angles, np.ones(60, bool))
        residual = fit_index(scan.grid, scan.mapping, 0.0).residual
        step = float(np.diff(order.angles_deg).mean())
        assert residual[0] / step < 0.01
        assert residual[1:].max() < 0.01


def test_uneven_and_unsorted_angles_do_no_harm() -> None:
    rng = np.random.default_rng(3)
    even = np.linspace(-0.5, 0.5, 150)
    uneven = np.sort(even + rng.uniform(-0.4, 0.4, 150) * (even[1] - even[0]))
    rng.shuffle(uneven)
    reference = Scan(even)
    shuffled = Scan(uneven)
    shuffled.grid = reference.grid
    shuffled.frames = fringes(shuffled.q, shuffled.grid, shuffled.period).astype(np.float32)
    mine, coverage = shuffled.gather()
    other, other_coverage = reference.gather()
    full = (coverage > 0.999) & (other_coverage > 0.999)
    assert full.mean() > 0.5
    assert relative_l2(mine[full], other[full]) < 0.01


def test_one_missing_frame_is_bridged_at_half_coverage_and_two_are_a_gap() -> None:
    scan = Scan(np.linspace(-0.5, 0.5, 150))
    whole, coverage = scan.gather()
    present = np.ones(150, bool)
    present[80] = False
    bridged, half = scan.gather(present)
    covered = coverage > 0.999
    assert 0 < np.mean((half < 0.9) & covered) < 0.1
    assert relative_l2(bridged[covered], whole[covered]) < 0.02
    present[81:84] = False
    gapped, gap = scan.gather(present)
    assert np.any((gap == 0) & covered)
    assert np.all(gapped[gap == 0] == 0)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.float64])
def test_every_dtype_gives_the_same_cube(dtype: type) -> None:
    scan = Scan(np.linspace(-0.3, 0.3, 60), edge=80)
    counts = np.rint(scan.frames)
    expected, _ = scan.gather(frames=counts.astype(np.float32))
    mine, _ = scan.gather(frames=counts.astype(dtype))
    assert np.allclose(mine, expected, rtol=1e-5)


def test_transposed_frames_give_the_same_cube() -> None:
    scan = Scan(np.linspace(-0.3, 0.3, 60), edge=80)
    expected, coverage = scan.gather()
    turned = Scan(scan.angles, edge=80)
    turned.mapping = rocking_map(turned.geometry.model_copy(update={"transposed": True}))
    mine, _ = turned.gather(frames=np.ascontiguousarray(scan.frames.swapaxes(1, 2)))
    covered = coverage > 0.3
    assert np.allclose(mine[covered], expected[covered], rtol=1e-4, atol=1e-2)


def test_masked_pixels_lower_the_coverage_and_carry_no_weight() -> None:
    scan = Scan(np.linspace(-0.3, 0.3, 60), edge=80)
    frames = scan.frames.copy()
    frames[:, 40:43, :] = 1e6
    mask = np.zeros((80, 80))
    mask[40:43] = 1
    corrections, _ = survey(
        frames,
        np.ones(60, bool),
        pixel_gain((80, 80), mask, None),
        np.zeros((0, 0), np.float32),
        np.ones(60),
        None,
        1e9,
        1e9,
    )
    order = order_frames(scan.angles, np.ones(60, bool))
    polynomial = fit_index(scan.grid, scan.mapping, 0.0)
    cube, coverage = gather(frames, order, corrections, polynomial, (2, 2, 2))
    _, before = scan.gather()
    assert cube.max() < 1.2e4
    assert np.any((coverage < 0.2) & (before > 0.999))


def test_what_was_not_scanned_is_not_covered() -> None:
    scan = Scan(np.linspace(-0.1, 0.1, 30))
    _, coverage = scan.gather()
    assert 0.02 < coverage.mean() < 0.5


directions = st.tuples(*[st.floats(-3, 3) for _ in range(3)]).filter(lambda v: np.linalg.norm(v) > 0.1)


@given(directions)
def test_basis_is_right_handed_with_axis_0_along_q(direction: tuple[float, float, float]) -> None:
    q = np.asarray(direction)
    basis = basis_along(q)
    assert np.allclose(basis @ basis.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(basis) == pytest.approx(1.0)
    assert basis[0] @ q == pytest.approx(np.linalg.norm(q))


def test_basis_where_q_is_vertical() -> None:
    assert np.allclose(basis_along(np.array([0.0, 2.0, 0.0]))[0], [0, 1, 0])


@settings(max_examples=50)
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=30, unique=True).filter(lambda v: max(v) - min(v) > 0.01),
    st.data(),
)
def test_trust_counts_the_missing_frames_between_neighbours(angles: list[float], data: st.DataObject) -> None:
    values = np.asarray(angles)
    present = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    present[[int(values.argmin()), int(values.argmax())]] = True
    order = order_frames(values, present)
    assert np.all(np.diff(order.angles_deg) >= 0)
    assert set(order.frames) == set(np.flatnonzero(present))
    assert order.trust.shape == (present.sum() - 1,)
    assert set(order.trust) <= {0.0, 0.5, 1.0}
    if present.all():
        assert np.all(order.trust == 1.0)


def test_a_circle_that_did_not_move_is_refused() -> None:
    with pytest.raises(ValueError, match="did not move"):
        order_frames(np.zeros(5), np.ones(5, bool))
