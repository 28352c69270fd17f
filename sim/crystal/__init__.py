"""Crystals: shapes, dislocations and displacement fields."""

from .build import Crystal, CrystalSpec, build_crystal
from .dislocations import LineSpec
from .fcc import BURGERS, METALS, Metal, form_factor, g_dot_b, slip_planes
from .population import PopulationSpec, random_crystal_spec
from .shapes import Polyhedron, ShapeSpec
from .strain import NO_STRAIN, StrainSpec

__all__ = [
    "BURGERS",
    "METALS",
    "NO_STRAIN",
    "Crystal",
    "CrystalSpec",
    "LineSpec",
    "Metal",
    "Polyhedron",
    "PopulationSpec",
    "ShapeSpec",
    "StrainSpec",
    "build_crystal",
    "form_factor",
    "g_dot_b",
    "random_crystal_spec",
    "slip_planes",
]
