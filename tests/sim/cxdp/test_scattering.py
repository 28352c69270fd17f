"""The fast transforms agree with the exact sum, and the patterns look as dislocation theory says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models.cxdp.symmetry import symmetry_batch
from braggwatch.sim.cxdp.crystal import (
    NO_STRAIN,
    Crystal,
    CrystalSpec,
    LineSpec,
    StraightLineSpec,
    build_crystal,
    random_crystal_spec,
)
from braggwatch.sim.cxdp.scattering import amplitude_at, amplitude_factorised, amplitude_on_grid
from support.shapes import free_shape

SHAPE = (24, 20, 16)


def relative_l2(a: NDArray[np.inexact], b: NDArray[np.inexact]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module", params=["perfect", "screw", "edge", "mixed"])
def strained(request: pytest.FixtureRequest) -> Crystal:
    return build_crystal(random_crystal_spec(np.random.default_rng(11), request.param))


def skewed_basis(crystal: Crystal) -> NDArray[np.float64]:
    skew = np.array([[1.0, 0.2, 0.0], [0.0, 0.9, 0.3], [0.1, 0.0, 1.1]])
    return skew / (3.5 * crystal.spec.size_nm)


def test_type_1_nufft_equals_the_exact_factorised_sum_on_a_skewed_grid(strained: Crystal) -> None:
    basis = skewed_basis(strained)
    exact = amplitude_factorised(strained, basis, SHAPE)
    assert relative_l2(amplitude_on_grid(strained, basis, SHAPE), exact) < 1e-5


@pytest.mark.parametrize(("eps", "limit"), [(1e-8, 1e-7), (1e-4, 2e-4), (1e-3, 5e-3)])
def test_type_3_nufft_equals_the_exact_sum_at_its_stated_accuracy(strained: Crystal, eps: float, limit: float) -> None:
    basis = skewed_basis(strained)
    index = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij"), axis=-1)
    exact = amplitude_factorised(strained, basis, SHAPE)
    assert relative_l2(amplitude_at(strained, index @ basis, eps=eps), exact) < limit


def peak_ratio(character_deg: float, hkl: tuple[int, int, int]) -> float:
    free = free_shape(1.09, 1.18)
    line = LineSpec(burgers=(1, -1, 0), plane=0, character_deg=character_deg, offset=(0.0, 0.0))

    def peak(with_line: LineSpec | None) -> float:
        spec = CrystalSpec(
            element="Pt",
            size_nm=15,
            points_across=20,
            shape=free,
            line=with_line,
            strain=NO_STRAIN,
            hkl=hkl,
            seed=1,
        )
        pattern = amplitude_on_grid(build_crystal(spec), np.eye(3) / (4 * 15), (32, 32, 32))
        return float((np.abs(pattern) ** 2).max())

    return peak(line) / peak(None)


def test_peak_falls_with_g_dot_b_as_the_reference_figures_say() -> None:
    # relaxed Pt: 0.35 (screw) and 0.40 to 0.48 (edge) at g·b = 1, 0.21 to 0.25 at g·b = 2; unrelaxed lines are near
    assert peak_ratio(0.0, (2, 0, 0)) == pytest.approx(0.35, abs=0.12)
    assert peak_ratio(90.0, (2, 0, 0)) == pytest.approx(0.42, abs=0.12)
    assert peak_ratio(0.0, (2, -2, 0)) == pytest.approx(0.22, abs=0.12)


def test_a_screw_line_with_g_dot_b_zero_leaves_the_peak_alone() -> None:
    assert peak_ratio(0.0, (1, 1, 1)) == pytest.approx(1.0, abs=0.01)


def test_a_screw_line_makes_a_ring_with_a_dark_centre() -> None:
    line = LineSpec(burgers=(1, -1, 0), plane=0, character_deg=0.0, offset=(0.0, 0.0))
    spec = random_crystal_spec(np.random.default_rng(1), "perfect").model_copy(
        update={"line": line, "strain": NO_STRAIN, "hkl": (2, 0, 0), "size_nm": 300.0}
    )
    crystal = build_crystal(spec)
    along = np.asarray(line.burgers) / np.sqrt(2)
    across = np.linalg.svd(along[None])[2][1:]
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.cos(angle)[:, None] * across[0] + np.sin(angle)[:, None] * across[1]
    ring = np.abs(amplitude_at(crystal, circle * 0.75 / 300.0)) ** 2
    centre = np.abs(amplitude_at(crystal, np.zeros((1, 3)))) ** 2
    assert ring.mean() > 3 * centre[0]


@pytest.mark.parametrize("character_deg", [0.0, 90.0])
def test_a_line_of_the_other_sign_is_one_of_the_mirror_images_that_keep_q(character_deg: float) -> None:
    """The crystal is cut by a substrate and the line off its centre: nothing but the sign makes it symmetric."""
    line = LineSpec(burgers=(1, 1, 0), plane=0, character_deg=character_deg, offset=(0.1, 0.15))
    cut = {"facet_jitter": 0.1, "interface": (1, 1, 1), "height_fraction": 0.7}
    shape = free_shape(1.09, 1.18).model_copy(update=cut)

    def pattern(*defects: StraightLineSpec) -> NDArray[np.float64]:
        spec = CrystalSpec(
            element="Pt",
            size_nm=300,
            points_across=20,
            shape=shape,
            line=None,
            strain=NO_STRAIN,
            hkl=(1, 1, 1),
            seed=1,
            defects=defects,
        )
        return np.abs(amplitude_on_grid(build_crystal(spec), np.eye(3) / (3.5 * 300), (33, 33, 33))) ** 2

    one, other = (pattern(StraightLineSpec(line=line, opposite=opposite)) for opposite in (False, True))
    assert relative_l2(one, other) > 0.3
    assert min(relative_l2(image, other) for image in symmetry_batch(one, 2)) < 0.03
    reversed_line = line.model_copy(update={"burgers": (-1, -1, 0), "offset": (0.1, -0.15)})
    assert relative_l2(pattern(StraightLineSpec(line=reversed_line)), one) < 2e-3  # its cut lies on the other side
