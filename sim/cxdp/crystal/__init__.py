"""Crystals: shapes, dislocations and displacement fields.

Used by data set making, relaxation and the simulated beamline; general crystallography is in `sim.crystallography`.
"""

from braggwatch.sim.crystallography.fcc import BURGERS, METALS, Metal, form_factor, g_dot_b, slip_planes
from braggwatch.sim.cxdp.crystal.build import Crystal, CrystalSpec, build_crystal
from braggwatch.sim.cxdp.crystal.defects import Contrast, DefectSpec, StraightLineSpec
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec
from braggwatch.sim.cxdp.crystal.loops import LoopSpec
from braggwatch.sim.cxdp.crystal.planar import FaultSpec, ShockleyPairSpec, ShockleySpec, TwinSpec
from braggwatch.sim.cxdp.crystal.population import PopulationSpec, random_crystal_spec
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron, ShapeSpec
from braggwatch.sim.cxdp.crystal.strain import NO_STRAIN, StrainSpec

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
