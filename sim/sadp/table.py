"""The cubic structures shipped with the project."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter

from braggwatch.sim.sadp.cif import group_operations
from braggwatch.sim.sadp.structure import CrystalStructure, Site, StructureError, expand

SETTINGS = {213: "P 41 3 2", 221: "P m -3 m", 225: "F m -3 m", 227: "F d -3 m:2", 229: "I m -3 m"}
"""Hermann-Mauguin names with the origin that the table's coordinates refer to."""

_SiteRow = tuple[str, str, float, float, float] | tuple[str, str, float, float, float, float]


class TabulatedStructure(BaseModel):
    """One row of the table.

    Attributes
    ----------
    prototype
        Space group and the Wyckoff letters of each element, e.g. ``225:a_c`` for CaF2 and Li2O alike.
    a_A
        Lattice parameter, Å.
    sites
        Element, Wyckoff letter, x, y, z, and the occupancy if below 1.
    source
        Source of the data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    formula: str
    space_group: int
    prototype: str
    a_A: float
    sites: tuple[_SiteRow, ...]
    source: str

    def build(self) -> CrystalStructure:
        """Return the structure with all atoms of the cell; needs gemmi for the symmetry."""
        sites = [
            Site(row[0], (row[2], row[3], row[4]), row[5] if len(row) == 6 else 1.0, wyckoff=row[1])
            for row in self.sites
        ]
        return expand(
            self.id,
            sites,
            np.eye(3) * self.a_A,
            group_operations(SETTINGS[self.space_group]),
            prototype=self.prototype,
            space_group=self.space_group,
            source=self.source,
        )


@cache
def structures() -> tuple[TabulatedStructure, ...]:
    """Return the table: at least 50 structures of each of 213, 221, 225, 227 and 229, sorted by group and prototype."""
    text = files("braggwatch.sim.sadp").joinpath("structures/cubic.json").read_text(encoding="utf-8")
    table = TypeAdapter(dict[str, object]).validate_json(text)
    return TypeAdapter(tuple[TabulatedStructure, ...]).validate_python(table["structures"])


def structure_named(identity: str) -> TabulatedStructure:
    """Return one structure of the table.

    Raises
    ------
    StructureError
        If there is no structure with that id.
    """
    for row in structures():
        if row.id == identity:
            return row
    near = [row.id for row in structures() if row.formula in identity or identity in row.id]
    hint = f"; similar: {', '.join(near[:5])}" if near else ""
    raise StructureError(f"no structure {identity!r} in the table{hint}")
