"""Random crystals with defects other than one straight perfect dislocation, which the shipped classes do not cover."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from braggwatch.sim.crystallography.fcc import BURGERS, Miller, family
from braggwatch.sim.cxdp.crystal.build import CrystalSpec
from braggwatch.sim.cxdp.crystal.defects import DefectSpec, StraightLineSpec, contrast
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec
from braggwatch.sim.cxdp.crystal.loops import LoopSpec
from braggwatch.sim.cxdp.crystal.planar import FaultSpec, ShockleyPairSpec, ShockleySpec, TwinSpec
from braggwatch.sim.cxdp.crystal.population import DEFAULT_POPULATION, PopulationSpec, random_crystal_spec
from braggwatch.sim.errors import InputError

ZooKind = Literal[
    "shockley_pair",
    "shockley",
    "stacking_fault",
    "twin",
    "prismatic_loop",
    "frank_loop",
    "dipole",
    "same_sign_pair",
]
ZOO_KINDS: tuple[ZooKind, ...] = get_args(ZooKind)


def random_zoo_spec(
    rng: np.random.Generator,
    kind: ZooKind,
    population: PopulationSpec = DEFAULT_POPULATION,
    *,
    hkl: Miller | None = None,
    visible: bool = True,
) -> CrystalSpec:
    """Draw one crystal of a kind; everything but the defect is drawn as for perfect crystals of the population.

    Parameters
    ----------
    rng
        Generator of every draw.
    kind
        ``shockley_pair``: a split screw or edge line, partials 0.06 to 0.4 particle sizes apart. ``shockley``: a
        single partial with its fault. ``stacking_fault``: through the whole crystal. ``twin``: a lamella 0.05 to
        0.35 sizes thick. ``prismatic_loop``, ``frank_loop``: hexagons of radius 0.08 to 0.3, of vacancies or
        interstitials. ``dipole``, ``same_sign_pair``: two parallel lines of one plane family, 0.15 to 0.5 sizes
        apart, opposite or like. Lengths are in particle sizes: faults this wide are rarer in large particles
        than here, and a pair much narrower than a fringe of the highest visible order looks like its perfect line.
    population
        Shapes, sizes, strain, reflections.
    hkl
        The reflection; None: drawn from the population.
    visible
        Whether the defect must be visible or invisible, by `defects.contrast`.

    Raises
    ------
    InputError
        If no defect of this kind has the required visibility at the reflection.
    """
    base = random_crystal_spec(rng, "perfect", population, hkl=hkl)
    for _ in range(1000):
        defects = _draw(rng, kind, population)
        if any(contrast(base.hkl, defect).visible for defect in defects) == visible:
            if isinstance(defects[0], StraightLineSpec):
                return base.model_copy(update={"line": defects[0].line, "defects": defects[1:]})
            return base.model_copy(update={"defects": defects})
    raise InputError(f"no {kind} is {'visible' if visible else 'invisible'} at {base.hkl}")


def _draw(rng: np.random.Generator, kind: ZooKind, population: PopulationSpec) -> tuple[DefectSpec, ...]:
    plane = _member(rng, (1, 1, 1))
    shift: Literal[0, 1, 2] = (0, 1, 2)[int(rng.integers(3))]
    reach = population.max_line_offset
    if kind == "shockley_pair":
        return (ShockleyPairSpec(line=_line(rng, reach / 2), separation=float(rng.uniform(0.06, 0.4))),)
    if kind == "shockley":
        angle = float(rng.uniform(0, 360))
        return (ShockleySpec(plane=plane, shift=shift, angle_deg=angle, offset=_offset(rng, reach)),)
    if kind == "stacking_fault":
        return (FaultSpec(plane=plane, shift=shift, offset=float(rng.uniform(-reach, reach))),)
    if kind == "twin":
        thickness = float(rng.uniform(0.05, 0.35))
        return (TwinSpec(plane=plane, shift=shift, offset=float(rng.uniform(-reach, reach)), thickness=thickness),)
    if kind in ("prismatic_loop", "frank_loop"):
        centre = rng.normal(size=3)
        centre *= reach * rng.random() ** (1 / 3) / np.linalg.norm(centre)
        return (
            LoopSpec(
                burgers=plane if kind == "frank_loop" else _member(rng, (1, 1, 0)),
                interstitial=bool(rng.random() < 0.5),
                radius=float(rng.uniform(0.08, 0.3)),
                centre=(float(centre[0]), float(centre[1]), float(centre[2])),
            ),
        )
    middle, half = _line(rng, reach / 2), float(rng.uniform(0.15, 0.5)) / 2
    angle = float(rng.uniform(0, 2 * np.pi))
    step = (half * float(np.cos(angle)), half * float(np.sin(angle)))
    first, second = (
        middle.model_copy(update={"offset": (middle.offset[0] + sign * step[0], middle.offset[1] + sign * step[1])})
        for sign in (1, -1)
    )
    return StraightLineSpec(line=first), StraightLineSpec(line=second, opposite=kind == "dipole")


def _member(rng: np.random.Generator, hkl: Miller) -> Miller:
    members = family(hkl)
    return members[int(rng.integers(len(members)))]


def _offset(rng: np.random.Generator, reach: float) -> tuple[float, float]:
    radius, angle = reach * float(np.sqrt(rng.random())), float(rng.uniform(0, 2 * np.pi))
    return radius * float(np.cos(angle)), radius * float(np.sin(angle))


def _line(rng: np.random.Generator, reach: float) -> LineSpec:
    return LineSpec(
        burgers=BURGERS[int(rng.integers(len(BURGERS)))],
        plane=1 if rng.random() < 0.5 else 0,
        character_deg=0.0 if rng.random() < 0.5 else 90.0,
        offset=_offset(rng, reach),
    )
