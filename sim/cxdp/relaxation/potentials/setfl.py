"""Read and write setfl files, the table format of LAMMPS' `eam/alloy`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.model import EamPotential
from braggwatch.sim.errors import BraggwatchError, InputError

COMMENT_LINES = 3
_SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am"
)
SYMBOLS = tuple(_SYMBOLS.split())


class PotentialFileError(BraggwatchError, ValueError):
    """A potential file that can't be used; the message names file and line."""


def read_setfl(path: Path | str, element: str | None = None) -> EamPotential:
    """Read one element's potential from a setfl file.

    Parameters
    ----------
    path
        The file; its name without '.eam.alloy' (or the last suffix) becomes the potential's name.
    element
        The element to read from a file of several (an alloy's cross terms aren't read); None: the file's only element.

    Raises
    ------
    PotentialFileError
        If the file is truncated, doesn't match the counts in its header, contains something other than finite numbers,
        lacks the element, or has several elements and none was chosen.
    OSError
        If the file can't be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PotentialFileError(f"{path.name}: not a text file ({error.reason} at byte {error.start})") from error
    return parse_setfl(text, path.name, element)


def parse_setfl(text: str, file_name: str, element: str | None = None) -> EamPotential:
    """Read one element's potential from the text of a setfl file; see `read_setfl`.

    Raises
    ------
    PotentialFileError
        As `read_setfl`.
    """
    lines = _Lines(text, file_name)
    comments = [lines.next("a comment").strip() for _ in range(COMMENT_LINES)]
    elements = _elements(lines)
    wanted = _choose(lines, elements, element)
    grid = _grid(lines)
    mass_u = lattice_parameter_A = 0.0
    embedding = density = np.empty(0)
    for name in elements:
        mass, lattice = _element_line(lines, name)
        block_embedding = lines.table(grid.embedding_points, f"embedding table of {name}")
        block_density = lines.table(grid.distance_points, f"density table of {name}")
        if name == wanted:
            mass_u, lattice_parameter_A, embedding, density = mass, lattice, block_embedding, block_density
    pair = np.empty(0)
    for row, first in enumerate(elements):
        for second in elements[: row + 1]:
            block = lines.table(grid.distance_points, f"pair table of {first}-{second}")
            if first == second == wanted:
                pair = block
    lines.expect_end()
    stem = file_name.removesuffix(".eam.alloy") if file_name.endswith(".eam.alloy") else Path(file_name).stem
    return EamPotential(
        name=stem if len(elements) == 1 else f"{stem}:{wanted}",
        element=wanted,
        mass_u=mass_u,
        lattice_parameter_A=lattice_parameter_A,
        cutoff_A=grid.cutoff_A,
        density_step=grid.density_step,
        distance_step_A=grid.distance_step_A,
        embedding_eV=embedding,
        density=density,
        pair_eV_A=pair,
        source="\n".join(line for line in comments if line),
    )


def write_setfl(potential: EamPotential, path: Path | str) -> None:
    """Write a potential as a setfl file that reads back exactly.

    The first three lines contain the source; the name is not stored, since the file's name provides it.

    Raises
    ------
    InputError
        If the tables are of unequal length, not finite, or the element isn't known.
    """
    if potential.element not in SYMBOLS:
        raise InputError(f"{potential.name}: {potential.element!r} is not a chemical symbol")
    if potential.density.shape != potential.pair_eV_A.shape:
        raise InputError(
            f"{potential.name}: density and pair tables have {potential.density.size} and {potential.pair_eV_A.size} "
            "values, but share one grid"
        )
    tables = (potential.embedding_eV, potential.density, potential.pair_eV_A)
    if not all(np.isfinite(table).all() for table in tables):
        raise InputError(f"{potential.name}: a table contains values that aren't finite")
    comments = [line for line in potential.source.splitlines() if line.strip()]
    comments = [*comments[: COMMENT_LINES - 1], " ".join(comments[COMMENT_LINES - 1 :])]
    comments += [""] * (COMMENT_LINES - len(comments))
    header = [
        *comments,
        f"1 {potential.element}",
        f"{potential.embedding_eV.size} {potential.density_step!r} {potential.density.size} "
        f"{potential.distance_step_A!r} {potential.cutoff_A!r}",
        f"{SYMBOLS.index(potential.element) + 1} {potential.mass_u!r} {potential.lattice_parameter_A!r} fcc",
    ]
    numbers = [repr(value) for table in tables for value in table.tolist()]
    Path(path).write_text("\n".join([*header, *numbers, ""]), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Grid:
    embedding_points: int
    density_step: float
    distance_points: int
    distance_step_A: float
    cutoff_A: float


class _Lines:
    """The file's lines, counted from 1, so that every error can name its line."""

    def __init__(self, text: str, file_name: str) -> None:
        self.lines = text.splitlines()
        self.file_name = file_name
        self.number = 0

    def error(self, what: str) -> PotentialFileError:
        return PotentialFileError(f"{self.file_name}, line {self.number}: {what}")

    def next(self, what: str) -> str:
        if self.number >= len(self.lines):
            raise self.error(f"the file ends here, but {what} should follow")
        self.number += 1
        return self.lines[self.number - 1]

    def table(self, size: int, what: str) -> NDArray[np.float64]:
        values: list[float] = []
        while len(values) < size:
            words = self.next(f"{size - len(values)} of {size} values of the {what}").split()
            if len(values) + len(words) > size:
                raise self.error(f"the {what} has more than the {size} values the header states")
            values += [self.number_from(word, f"the {what}") for word in words]
        return np.array(values, dtype=np.float64)

    def number_from(self, word: str, what: str) -> float:
        try:
            # Fortran writes the exponent of a double as D
            value = float(word.replace("D", "E").replace("d", "e").replace("_", "?"))
        except ValueError:
            raise self.error(f"{word!r} in {what} is not a number") from None
        if not np.isfinite(value):
            raise self.error(f"{word!r} in {what} is not finite")
        return value

    def count_from(self, word: str, what: str) -> int:
        if not (word.isascii() and word.isdigit() and len(word) < 10):
            raise self.error(f"{what} is {word!r}, not a whole number")
        return int(word)

    def positive_from(self, word: str, what: str) -> float:
        value = self.number_from(word, what)
        if value <= 0:
            raise self.error(f"{what} is {word}, not above zero")
        return value

    def expect_end(self) -> None:
        for line in self.lines[self.number :]:
            self.number += 1
            if line.strip():
                raise self.error("the file continues after the last table: the counts in its header are wrong")


def _elements(lines: _Lines) -> list[str]:
    words = lines.next("the number of elements").split()
    if not words:
        raise lines.error("the number of elements and their symbols are missing")
    count = lines.count_from(words[0], "the number of elements")
    elements = words[1:]
    if count < 1 or count != len(elements):
        raise lines.error(f"{count} elements are stated, but {len(elements)} symbols follow")
    if len(set(elements)) != count:
        raise lines.error(f"an element is listed twice: {' '.join(elements)}")
    return elements


def _choose(lines: _Lines, elements: list[str], element: str | None) -> str:
    if element is None:
        if len(elements) > 1:
            raise lines.error(f"the file contains {', '.join(elements)}: choose one element")
        return elements[0]
    if element not in elements:
        raise lines.error(f"the file has no {element}, only {', '.join(elements)}")
    return element


def _grid(lines: _Lines) -> _Grid:
    words = lines.next("the sizes and steps of the tables").split()
    if len(words) != 5:
        raise lines.error(f"five values (N_rho, step, N_r, step, cutoff) are needed, found {len(words)}")
    grid = _Grid(
        embedding_points=lines.count_from(words[0], "the size of the embedding table"),
        density_step=lines.positive_from(words[1], "the step of the embedding table"),
        distance_points=lines.count_from(words[2], "the size of the distance tables"),
        distance_step_A=lines.positive_from(words[3], "the step of the distance tables"),
        cutoff_A=lines.positive_from(words[4], "the cutoff"),
    )
    # LAMMPS takes derivatives over five points
    if min(grid.embedding_points, grid.distance_points) < 5:
        raise lines.error("a table has fewer than 5 values")
    if grid.cutoff_A > grid.distance_points * grid.distance_step_A * (1 + 1e-9):
        reach = grid.distance_points * grid.distance_step_A
        raise lines.error(f"the cutoff of {grid.cutoff_A} Å is beyond the end of the tables at {reach:.6g} Å")
    return grid


def _element_line(lines: _Lines, element: str) -> tuple[float, float]:
    words = lines.next(f"the line of {element}").split()
    if len(words) < 3:
        raise lines.error(f"atomic number, mass and lattice parameter of {element} are needed, found {words}")
    mass = lines.positive_from(words[1], f"the mass of {element}")
    return mass, lines.positive_from(words[2], f"the lattice parameter of {element}")
