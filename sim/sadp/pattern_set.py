"""Many patterns as columns: fast to draw from, small to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.model import PatternFacts, SpotPattern


class StructureFacts(BaseModel):
    """What a set of patterns says of one of its structures; fields as in ``model.PatternFacts``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    formula: str
    prototype: str
    space_group: int
    effective_group: str
    source: str


@dataclass(frozen=True, slots=True)
class PatternSet:
    """P patterns of S spots in all.

    Attributes
    ----------
    structures
        That the patterns are of.
    offsets
        (P + 1,) int64: the spots of pattern i are those from ``offsets[i]`` to ``offsets[i + 1]``, brightest first.
    g_inv_A, intensity, hkl
        (S, 2) float32 1/Å, (S,) float32, (S, 3) int16: as in ``SpotPattern``.
    structure
        (P,) int32, place in ``structures``.
    zone, class_label
        (P, 3) int8, (P,) int16.
    voltage_kV, camera_length_mm, inv_A_per_px, thickness_A, tilt_deg
        (P,) float32, ``tilt_deg`` (P, 2).
    dynamical
        (P,) bool.
    """

    structures: tuple[StructureFacts, ...]
    offsets: NDArray[np.int64]
    g_inv_A: NDArray[np.float32]
    intensity: NDArray[np.float32]
    hkl: NDArray[np.int16]
    structure: NDArray[np.int32]
    zone: NDArray[np.int8]
    class_label: NDArray[np.int16]
    voltage_kV: NDArray[np.float32]
    camera_length_mm: NDArray[np.float32]
    inv_A_per_px: NDArray[np.float32]
    thickness_A: NDArray[np.float32]
    tilt_deg: NDArray[np.float32]
    dynamical: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.structure)

    def pattern(self, index: int) -> SpotPattern:
        """Return the spots of one pattern."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return SpotPattern(
            self.g_inv_A[part].astype(np.float64),
            self.intensity[part].astype(np.float64),
            self.hkl[part].astype(np.int32),
        )

    def facts(self, index: int) -> PatternFacts:
        """Return the facts of one pattern."""
        of = self.structures[int(self.structure[index])]
        zone = self.zone[index]
        return PatternFacts(
            structure=of.id,
            prototype=of.prototype,
            space_group=of.space_group,
            effective_group=of.effective_group,
            zone=(int(zone[0]), int(zone[1]), int(zone[2])),
            class_label=int(self.class_label[index]),
            voltage_kV=float(self.voltage_kV[index]),
            camera_length_mm=float(self.camera_length_mm[index]),
            inv_A_per_px=float(self.inv_A_per_px[index]),
            thickness_A=float(self.thickness_A[index]),
            tilt_deg=(float(self.tilt_deg[index, 0]), float(self.tilt_deg[index, 1])),
            dynamical=bool(self.dynamical[index]),
        )

    def of_structures(self, identities: Sequence[str] | frozenset[str]) -> NDArray[np.int64]:
        """Return the numbers of the patterns of some structures."""
        wanted = np.array([one.id in set(identities) for one in self.structures], dtype=np.bool_)
        return np.flatnonzero(wanted[self.structure]) if len(wanted) else np.empty(0, dtype=np.int64)


def pack(structures: Sequence[StructureFacts], patterns: Sequence[tuple[SpotPattern, PatternFacts]]) -> PatternSet:
    """Make the columns.

    Raises
    ------
    InputError
        If a pattern's structure is not among ``structures``.
    """
    places = {one.id: i for i, one in enumerate(structures)}
    spots = [spots for spots, _ in patterns]
    facts = [one for _, one in patterns]
    try:
        structure = np.array([places[one.structure] for one in facts], dtype=np.int32)
    except KeyError as error:
        raise InputError(f"a pattern of {error}, which is not among the structures") from None
    return PatternSet(
        structures=tuple(structures),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in spots])]).astype(np.int64),
        g_inv_A=np.concatenate([np.empty((0, 2)), *(one.g_inv_A for one in spots)]).astype(np.float32),
        intensity=np.concatenate([np.empty(0), *(one.intensity for one in spots)]).astype(np.float32),
        hkl=np.concatenate([np.empty((0, 3)), *(one.hkl for one in spots)]).astype(np.int16),
        structure=structure,
        zone=np.array([one.zone for one in facts], dtype=np.int8).reshape(-1, 3),
        class_label=np.array([one.class_label for one in facts], dtype=np.int16),
        voltage_kV=np.array([one.voltage_kV for one in facts], dtype=np.float32),
        camera_length_mm=np.array([one.camera_length_mm for one in facts], dtype=np.float32),
        inv_A_per_px=np.array([one.inv_A_per_px for one in facts], dtype=np.float32),
        thickness_A=np.array([one.thickness_A for one in facts], dtype=np.float32),
        tilt_deg=np.array([one.tilt_deg for one in facts], dtype=np.float32).reshape(-1, 2),
        dynamical=np.array([one.dynamical for one in facts], dtype=np.bool_),
    )


def join(sets: Sequence[PatternSet]) -> PatternSet:
    """Put sets one after another; a structure that several have stays one structure.

    Raises
    ------
    InputError
        If there is none, or two sets say different things of one structure.
    """
    if not sets:
        raise InputError("no patterns")
    known: dict[str, StructureFacts] = {}
    for one in sets:
        for facts in one.structures:
            if known.setdefault(facts.id, facts) != facts:
                raise InputError(f"two different structures are called {facts.id}")
    place = {identity: i for i, identity in enumerate(known)}
    starts = np.concatenate([[0], np.cumsum([one.offsets[-1] for one in sets])])
    return PatternSet(
        structures=tuple(known.values()),
        offsets=np.concatenate([[0], *(one.offsets[1:] + at for one, at in zip(sets, starts, strict=False))]).astype(
            np.int64
        ),
        structure=np.concatenate(
            [np.array([place[of.id] for of in one.structures], dtype=np.int32)[one.structure] for one in sets]
        ),
        g_inv_A=np.concatenate([one.g_inv_A for one in sets]),
        intensity=np.concatenate([one.intensity for one in sets]),
        hkl=np.concatenate([one.hkl for one in sets]),
        zone=np.concatenate([one.zone for one in sets]),
        class_label=np.concatenate([one.class_label for one in sets]),
        voltage_kV=np.concatenate([one.voltage_kV for one in sets]),
        camera_length_mm=np.concatenate([one.camera_length_mm for one in sets]),
        inv_A_per_px=np.concatenate([one.inv_A_per_px for one in sets]),
        thickness_A=np.concatenate([one.thickness_A for one in sets]),
        tilt_deg=np.concatenate([one.tilt_deg for one in sets]),
        dynamical=np.concatenate([one.dynamical for one in sets]),
    )
