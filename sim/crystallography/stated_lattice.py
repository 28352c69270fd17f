"""Which lattice a crystal has, from what is stated of it: its lattice by name, its space group or its material.

Structures of the elements and compounds at room temperature: C. Kittel, Introduction to Solid State Physics, 8th ed.
(2005), chapter 1, table 3; R. W. G. Wyckoff, Crystal Structures, 2nd ed. (1963-65). What a small crystal, an alloy or
a film has instead must be stated.
"""

from __future__ import annotations

from dataclasses import dataclass

from braggwatch.sim.crystallography.lattices import LATTICES, LatticeName, System, lattice_named

MATERIALS: dict[str, LatticeName] = {
    **dict.fromkeys(("Al", "Ag", "Au", "Pt", "Cu", "Ni", "Pd", "Pb", "Ir", "Rh"), "fcc"),
    **dict.fromkeys(("W", "Fe", "Mo", "Ta", "Nb", "V", "Cr"), "bcc"),
    **dict.fromkeys(("Si", "Ge", "diamond", "C(diamond)"), "diamond"),
    **dict.fromkeys(("NaCl", "MgO", "PbS"), "rocksalt"),
    # BaTiO3 is cubic above 120 °C; below, this is the pseudocubic cell.
    **dict.fromkeys(("SrTiO3", "BaTiO3"), "perovskite"),
    # LNMO (LiNi0.5Mn1.5O4) with disordered Ni and Mn; ordered, in P4_332, its lattice is primitive.
    **dict.fromkeys(("MgAl2O4", "Fe3O4", "LiMn2O4", "LiNi0.5Mn1.5O4", "LNMO"), "spinel"),
    **dict.fromkeys(("Mg", "Ti", "Zn", "Co", "Zr"), "hcp"),
    **dict.fromkeys(("ZnO", "GaN", "AlN"), "wurtzite"),
}
"""Lattice by formula or symbol, as written."""

_GROUPS: dict[int, tuple[str, tuple[LatticeName, ...]]] = {
    186: ("P63mc", ("wurtzite",)),
    194: ("P63/mmc", ("hcp",)),
    221: ("Pm-3m", ("perovskite",)),
    225: ("Fm-3m", ("fcc", "rocksalt")),
    227: ("Fd-3m", ("diamond", "spinel")),
    229: ("Im-3m", ("bcc",)),
}
_LEFT_OPEN = {221: "a perovskite, CsCl or a simple cubic crystal, whose Burgers vectors differ"}
_BY_SYMBOL = {symbol.casefold(): number for number, (symbol, _) in _GROUPS.items()}

ASK = "state lattice in the preset"
"""What to do where the lattice isn't known."""


@dataclass(frozen=True, slots=True)
class StatedLattice:
    """What is known of a crystal's lattice.

    Attributes
    ----------
    names
        The lattices that it may be, all with the same Burgers vectors; empty if unknown.
    origin
        What says so: ``lattice``, ``space_group``, ``material`` or ``start:FIELD``; None if nothing is stated.
    problem
        Why it is unknown; None if it is known.
    """

    names: tuple[LatticeName, ...]
    origin: str | None
    problem: str | None = None

    @property
    def system(self) -> System | None:
        """Its lattice system; None if unknown."""
        return LATTICES[self.names[0]].system if self.names else None

    @property
    def words(self) -> str:
        """Its name, e.g. ``bcc`` or ``fcc or rocksalt``; ``an unknown lattice``."""
        return " or ".join(self.names) or "an unknown lattice"


def stated_lattice(
    lattice: LatticeName | None = None, space_group: int | str | None = None, material: str | None = None
) -> StatedLattice:
    """Find the lattice from what is stated: the lattice, else the space group, else the material.

    Where a space group leaves several lattices, the material picks one of them. Nothing is assumed.

    Parameters
    ----------
    space_group
        Number or Hermann-Mauguin symbol, e.g. ``229`` or ``"Im-3m"``.
    material
        As in `MATERIALS`.
    """
    if lattice is not None:
        return StatedLattice((lattice,), "lattice")
    of_material = None if material is None else MATERIALS.get(material.strip())
    if space_group is not None:
        number = group_number(space_group)
        _, names = _GROUPS.get(number or 0, ("", ()))
        if of_material in names:
            return StatedLattice((of_material,), "space_group")
        if number in _LEFT_OPEN:
            return _unknown(f"space group {space_group} may be {_LEFT_OPEN[number]}", "space_group")
        if not names:
            return _unknown(f"space group {space_group} doesn't tell it", "space_group")
        return StatedLattice(names, "space_group")
    if of_material is not None:
        return StatedLattice((of_material,), "material")
    if material is not None:
        return _unknown(f"no structure is tabulated for material {material!r}", "material")
    return _unknown("neither lattice, space_group nor material is stated", None)


def group_number(space_group: int | str) -> int | None:
    """Return a space group's number; None for a symbol other than those that tell a lattice, and beyond 1 to 230."""
    if isinstance(space_group, str):
        symbol = "".join(space_group.split()).replace("_", "").split(":", maxsplit=1)[0].casefold()
        if not symbol.isdecimal():
            return _BY_SYMBOL.get(symbol)
        space_group = int(symbol)
    return space_group if 1 <= space_group <= 230 else None


def contradiction(lattice: LatticeName, space_group: int | str) -> str | None:
    """Say that a lattice doesn't occur in a space group; None if it may."""
    number = group_number(space_group)
    if number not in _GROUPS or number in _LEFT_OPEN or lattice in _GROUPS[number][1]:
        return None
    symbol, names = _GROUPS[number]
    return f"lattice {lattice!r} contradicts space group {number} ({symbol}), which is {' or '.join(names)}"


def lattice_by_name(name: str, origin: str) -> StatedLattice:
    """Return what a lattice's name tells; unknown, with the names that there are, for another word."""
    try:
        return StatedLattice((lattice_named(name).name,), origin)
    except LookupError as error:
        return StatedLattice((), origin, str(error))


def _unknown(why: str, origin: str | None) -> StatedLattice:
    return StatedLattice((), origin, f"the crystal's lattice isn't known, as {why}: {ASK}")


UNSTATED = stated_lattice()
"""Nothing is stated of the crystal."""
