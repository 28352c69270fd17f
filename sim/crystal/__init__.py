"""Crystals: shapes, dislocations and displacement fields."""

from braggwatch.sim.crystal.build import Crystal, CrystalSpec, build_crystal
from braggwatch.sim.crystal.defects import Contrast, DefectSpec, StraightLineSpec
from braggwatch.sim.crystal.dislocations import LineSpec
from braggwatch.sim.crystal.fcc import BURGERS, METALS, Metal, form_factor, g_dot_b, slip_planes
from braggwatch.sim.crystal.loops import LoopSpec
from braggwatch.sim.crystal.planar import FaultSpec, ShockleyPairSpec, ShockleySpec, TwinSpec
from braggwatch.sim.crystal.population import PopulationSpec, random_crystal_spec
from braggwatch.sim.crystal.shapes import Polyhedron, ShapeSpec
from braggwatch.sim.crystal.strain import NO_STRAIN, StrainSpec

__all__ = [
    "BURGERS",
    "METALS",
    "NO_STRAIN",
    "Contrast",
    "Crystal",
    "CrystalSpec",
    "DefectSpec",
    "FaultSpec",
    "LineSpec",
    "LoopSpec",
    "Metal",
    "Polyhedron",
    "PopulationSpec",
    "ShapeSpec",
    "ShockleyPairSpec",
    "ShockleySpec",
    "StraightLineSpec",
    "StrainSpec",
    "TwinSpec",
    "build_crystal",
    "form_factor",
    "g_dot_b",
    "random_crystal_spec",
    "slip_planes",
]
