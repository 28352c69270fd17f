"""Scans that should be rejected: not a single crystal's Bragg peak, or crystals with defects outside the classes.

Some kinds are used in training (outlier exposure, Hendrycks et al., ICLR 2019), others only in testing, so that the
rejection of unseen kinds is measured too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from typing_extensions import TypeIs

from braggwatch.sim.cxdp.crystal import build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.crystal.zoo import ZOO_KINDS, ZooKind, random_zoo_spec
from braggwatch.sim.cxdp.datasets import DatasetSpec, Preprocess, Sample, SampleInfo, ideal_intensity, scan_of
from braggwatch.sim.cxdp.diffraction_setup import DiffractionSetup, random_setup
from braggwatch.sim.cxdp.nuisance import NuisanceSpec, measure
from braggwatch.sim.cxdp.scattering import amplitude_at

AlienKind = Literal["noise", "speckle", "two_particles", "off_centre", "powder_ring", "empty", "close_particles"]
OutlierKind = AlienKind | ZooKind
OUTLIER_KINDS: tuple[AlienKind, ...] = get_args(AlienKind)
EXPOSED_KINDS: tuple[AlienKind, ...] = ("noise", "speckle", "two_particles", "off_centre")
EXPOSED_DEFECTS: tuple[ZooKind, ...] = tuple(kind for kind in ZOO_KINDS if kind != "shockley_pair")
"""Without the Shockley pair: a line with a split core is still that line, and any limit of splitting is arbitrary."""


def is_alien(kind: OutlierKind) -> TypeIs[AlienKind]:
    """Return whether a kind is not a single crystal's Bragg peak, rather than a crystal with another defect."""
    return kind in OUTLIER_KINDS


def make_outlier(spec: DatasetSpec, kind: OutlierKind, config: int, preprocess: Preprocess) -> Sample | str:
    """Make one outlier scan, or return the reason why the preprocessing already rejected it.

    A crystal with another defect is scanned as the specification says, an alien always with noise.

    Parameters
    ----------
    kind
        ``noise``: counts without a peak. ``speckle``: a random smooth pattern. ``two_particles``: a second crystal's
        peak 2.5 to 8 fringes away at 0.25 to 1 of the height. ``close_particles``: 0.5 to 2.5 fringes away at 0.1 to 1.
        ``off_centre``: a good pattern whose volume is
        displaced by 7 to 20 voxels. ``powder_ring``: a sheet of constant |Q|, grainy or smooth. ``empty``: a few
        background counts. For the others see `sim.crystal.zoo.random_zoo_spec`.
    """
    if not is_alien(kind):
        return _other_defect(spec, kind, config, preprocess)
    rng = np.random.default_rng((spec.seed, 77, OUTLIER_KINDS.index(kind), config))
    crystal_spec = random_crystal_spec(rng, "perfect", spec.population)
    peak_counts = float(np.exp(rng.uniform(*np.log(spec.peak_counts))))
    info = SampleInfo(config, kind, crystal_spec.element, crystal_spec.hkl, 0.0, -1.0, peak_counts, 0.0, 1.0)
    if kind in ("noise", "powder_ring", "empty"):
        return Sample(_volume(kind, peak_counts, rng), info)
    setup = random_setup(crystal_spec, rng)
    if kind == "speckle":
        rate = _speckle(setup, rng)
    else:
        crystal = build_crystal(crystal_spec)
        rate = ideal_intensity(setup, lambda q: amplitude_at(crystal, q, eps=1e-3), crystal.g_inv_nm)
    if kind == "two_particles":
        rate = rate + _second_particle(spec, rate, setup, rng, fringes=(2.5, 8.0), share=(0.25, 1.0))
    if kind == "close_particles":
        rate = rate + _second_particle(spec, rate, setup, rng, fringes=(0.5, 2.5), share=(0.1, 1.0))
    nuisance = NuisanceSpec(
        peak_counts=peak_counts,
        background=float(np.exp(rng.uniform(np.log(0.002), np.log(0.1)))),
        blur=(0.0, 0.0, 0.0),
        gap_rows=None,
        gap_cols=None,
        gain_spread=0.0,
        hot_pixels=0,
        aliens=0,
        alien_strength=0.0,
        missing_fraction=0.0,
    )
    counts, dead = measure(rate, nuisance, setup.fringe, rng)
    present = np.ones(len(counts), dtype=bool)
    volume, reason = preprocess(counts, setup.angles_deg, present, setup.geometry, dead, spec.fringe_period_voxels)
    if volume is None:
        return reason
    if kind == "off_centre":
        shift = rng.normal(size=3)
        shift *= rng.uniform(7, 20) / np.linalg.norm(shift)
        steps = [round(float(s)) for s in shift]
        volume = np.roll(volume, (steps[0], steps[1], steps[2]), axis=(0, 1, 2))
    return Sample(volume, info)


def _other_defect(spec: DatasetSpec, kind: ZooKind, config: int, preprocess: Preprocess) -> Sample | str:
    rng = np.random.default_rng((spec.seed, 78, ZOO_KINDS.index(kind), config))
    crystal = build_crystal(random_zoo_spec(rng, kind, spec.population))
    sample = scan_of(spec, crystal, preprocess, rng, config=config)
    return sample if isinstance(sample, str) else Sample(sample.intensity, replace(sample.info, label=kind))


def _second_particle(
    spec: DatasetSpec,
    rate: NDArray[np.float32],
    setup: DiffractionSetup,
    rng: np.random.Generator,
    *,
    fringes: tuple[float, float],
    share: tuple[float, float],
) -> NDArray[np.float32]:
    other_spec = random_crystal_spec(rng, "perfect", spec.population)
    # own shape and strain, but the first crystal's size and reflection, so that both peaks lie in one box
    other_spec = other_spec.model_copy(
        update={"element": setup.geometry.material, "hkl": setup.geometry.hkl, "size_nm": _size_nm(setup)}
    )
    other = build_crystal(other_spec)
    second = ideal_intensity(setup, lambda q: amplitude_at(other, q, eps=1e-3), other.g_inv_nm)
    second *= np.float32(rate.max() / second.max() * rng.uniform(*share))
    direction = rng.normal(size=3)
    shift = direction / np.linalg.norm(direction) * rng.uniform(*fringes) * np.asarray(setup.fringe)
    moved = np.zeros_like(second)
    source: list[slice] = []
    target: list[slice] = []
    for step, size in zip(np.round(shift).astype(int).tolist(), second.shape, strict=True):
        source.append(slice(max(0, -step), size - max(0, step)))
        target.append(slice(max(0, step), size - max(0, -step)))
    moved[tuple(target)] = second[tuple(source)]
    return moved


def _size_nm(setup: DiffractionSetup) -> float:
    wavelength_nm = 1.2398419843 / setup.geometry.energy_keV
    return setup.geometry.distance_m * wavelength_nm / (setup.fringe[1] * setup.geometry.pixel_size_m[1])


def _speckle(setup: DiffractionSetup, rng: np.random.Generator) -> NDArray[np.float32]:
    shape = (len(setup.angles_deg), *setup.geometry.frame_shape)
    sigma = tuple(float(f * rng.uniform(0.3, 1.5)) for f in setup.fringe)
    field = gaussian_filter(rng.normal(size=shape).astype(np.float32), sigma)
    return np.exp(field / field.std() * rng.uniform(0.5, 2.5)).astype(np.float32)


def _volume(kind: OutlierKind, peak_counts: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Make counts on the model's grid: in detector frames the live preprocessing rejects nearly all of these."""
    shape = (64, 64, 64)
    if kind == "empty":
        return rng.poisson(np.exp(rng.uniform(np.log(1e-3), np.log(0.3))), shape).astype(np.float32)
    if kind == "noise":
        level = np.exp(rng.uniform(np.log(0.3), np.log(1e3)))
        return rng.poisson(level * rng.gamma(rng.uniform(0.3, 5.0), size=shape)).astype(np.float32)
    along, across, third = np.meshgrid(*(np.arange(n) - 32.0 for n in shape), indexing="ij")
    curvature = rng.uniform(-0.004, 0.004)
    sheet = along - rng.uniform(-4, 4) - curvature * (across**2 + third**2)
    ring = np.exp(-0.5 * (sheet / rng.uniform(0.8, 4.0)) ** 2)
    grain = gaussian_filter(rng.normal(size=shape), rng.uniform(1.0, 5.0))
    rate = ring * np.exp(grain / grain.std() * rng.uniform(0.0, 1.0))
    return rng.poisson(rate / rate.max() * peak_counts + 0.02).astype(np.float32)
