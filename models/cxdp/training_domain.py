"""Whether a bundle was trained for a crystal: by its lattice and by the family of the reflection."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from braggwatch.models.bundling.manifest import Manifest, ValidDomain
from braggwatch.models.valid_text import SoundText
from braggwatch.sim.crystallography.lattices import lattice_named
from braggwatch.sim.crystallography.miller import Miller, indices
from braggwatch.sim.crystallography.stated_lattice import MATERIALS, StatedLattice


class TrainedFor(BaseModel):
    """Whether the model was trained for a run's lattice and reflection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: Literal["yes", "no", "unknown"]
    statement: SoundText = Field(description="The answer in words, for an operator.")


def trained_lattices(domain: ValidDomain) -> tuple[str, ...]:
    """Return the lattices that a bundle was trained for; empty if it doesn't tell.

    A bundle without the field ``lattices`` was trained for those of its ``elements``: fcc for Ag, Al, Au and Pt. If one
    of these has no tabulated structure, it doesn't tell.
    """
    if domain.lattices:
        return domain.lattices
    found = {MATERIALS.get(element) for element in domain.elements}
    return tuple(sorted(name for name in found if name is not None)) if None not in found else ()


def trained_for(manifest: Manifest, lattice: StatedLattice, hkl: Miller | None) -> TrainedFor:
    """Tell whether a bundle was trained for a crystal's lattice and reflection.

    Parameters
    ----------
    lattice
        What is known of the crystal's.
    hkl
        The reflection; None if unknown.
    """
    domain, model = manifest.valid_domain, manifest.id
    lattices = trained_lattices(domain)
    doubts: list[str] = []
    if not lattices:
        doubts.append(f"{model} doesn't say for which lattices")
    elif not lattice.names:
        doubts.append(lattice.problem or "the crystal's lattice isn't known")
    elif not set(lattice.names) & set(lattices):
        return TrainedFor(
            answer="no", statement=f"the crystal is {lattice.words}, {model} was trained for {_listed(lattices)} alone"
        )
    elif not set(lattice.names) <= set(lattices):
        doubts.append(f"the crystal is {lattice.words}, {model} was trained for {_listed(lattices)}")
    # Where the bundle says nothing of lattices, any may be meant.
    names = [name for name in lattice.names if not lattices or name in lattices]
    families = {name: lattice_named(name).family_name(hkl) for name in names if hkl is not None}
    if hkl is None:
        doubts.append("the reflection isn't known")
    elif not domain.reflections:
        doubts.append(f"{model} doesn't say for which reflections")
    elif families and not any({one, f"{one} of {name}"} & set(domain.reflections) for name, one in families.items()):
        missing = "; ".join(dict.fromkeys(f"{one} of {name}" for name, one in families.items()))
        return TrainedFor(
            answer="no",
            statement=f"the reflection {indices(hkl)} is {missing}, {model} was trained for "
            f"{_listed(domain.reflections)} alone",
        )
    if doubts:
        return TrainedFor(
            answer="unknown", statement=f"not known whether {model} was trained for this: {'; '.join(doubts)}"
        )
    (name, one), *_ = families.items()
    return TrainedFor(answer="yes", statement=f"{model} was trained for {one} of {name}")


def _listed(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
