"""Many patterns stored as columns: fast to sample, compact to store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.model import PatternFacts, SpotPattern


class StructureFacts(BaseModel):
    """Facts of one of a set's structures; fields as in ``model.PatternFacts``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    formula: str
    prototype: str
    space_group: int
    effective_group: str
    source: str


@dataclass(frozen=True, slots=True)
class PatternSet:
    """P patterns with S spots in total.

    Attributes
    ----------
    structures
        Structures of the patterns.
    offsets
        (P + 1,) int64: the spots of pattern i are those from ``offsets[i]`` to ``offsets[i + 1]``, brightest first.
    g_inv_A, intensity, hkl
        (S, 2) float32 1/Å, (S,) float32, (S, 3) int16: as in ``SpotPattern``.
    structure
        (P,) int32, index into ``structures``.
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
        structure = self.structures[int(self.structure[index])]
        zone = self.zone[index]
        return PatternFacts(
            structure=structure.id,
            prototype=structure.prototype,
            space_group=structure.space_group,
            effective_group=structure.effective_group,
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
        selected = np.array([structure.id in set(identities) for structure in self.structures], dtype=np.bool_)
        return np.flatnonzero(selected[self.structure]) if len(selected) else np.empty(0, dtype=np.int64)


def pack(structures: Sequence[StructureFacts], patterns: Sequence[tuple[SpotPattern, PatternFacts]]) -> PatternSet:
    """Pack patterns into columns.

    Raises
    ------
    InputError
        If a pattern's structure is not among ``structures``.
    """
    index = {structure.id: i for i, structure in enumerate(structures)}
    spots = [spots for spots, _ in patterns]
    facts = [facts for _, facts in patterns]
    try:
        structure = np.array([index[f.structure] for f in facts], dtype=np.int32)
    except KeyError as error:
        raise InputError(f"a pattern's structure, {error}, is not among the structures") from None
    return PatternSet(
        structures=tuple(structures),
        offsets=np.concatenate([[0], np.cumsum([len(s) for s in spots])]).astype(np.int64),
        g_inv_A=np.concatenate([np.empty((0, 2)), *(s.g_inv_A for s in spots)]).astype(np.float32),
        intensity=np.concatenate([np.empty(0), *(s.intensity for s in spots)]).astype(np.float32),
        hkl=np.concatenate([np.empty((0, 3)), *(s.hkl for s in spots)]).astype(np.int16),
        structure=structure,
        zone=np.array([f.zone for f in facts], dtype=np.int8).reshape(-1, 3),
        class_label=np.array([f.class_label for f in facts], dtype=np.int16),
        voltage_kV=np.array([f.voltage_kV for f in facts], dtype=np.float32),
        camera_length_mm=np.array([f.camera_length_mm for f in facts], dtype=np.float32),
        inv_A_per_px=np.array([f.inv_A_per_px for f in facts], dtype=np.float32),
        thickness_A=np.array([f.thickness_A for f in facts], dtype=np.float32),
        tilt_deg=np.array([f.tilt_deg for f in facts], dtype=np.float32).reshape(-1, 2),
        dynamical=np.array([f.dynamical for f in facts], dtype=np.bool_),
    )


def join(sets: Sequence[PatternSet]) -> PatternSet:
    """Concatenate sets; a structure in several sets is stored once.

    Raises
    ------
    InputError
        If there are no sets, or two sets have different facts for the same structure.
    """
    if not sets:
        raise InputError("no patterns")
    by_id: dict[str, StructureFacts] = {}
    for patterns in sets:
        for facts in patterns.structures:
            if by_id.setdefault(facts.id, facts) != facts:
                raise InputError(f"two different structures are called {facts.id}")
    index = {identity: i for i, identity in enumerate(by_id)}
    starts = np.concatenate([[0], np.cumsum([s.offsets[-1] for s in sets])])
    return PatternSet(
        structures=tuple(by_id.values()),
        offsets=np.concatenate([[0], *(s.offsets[1:] + at for s, at in zip(sets, starts, strict=False))]).astype(
            np.int64
        ),
        structure=np.concatenate(
            [np.array([index[facts.id] for facts in s.structures], dtype=np.int32)[s.structure] for s in sets]
        ),
        g_inv_A=np.concatenate([s.g_inv_A for s in sets]),
        intensity=np.concatenate([s.intensity for s in sets]),
        hkl=np.concatenate([s.hkl for s in sets]),
        zone=np.concatenate([s.zone for s in sets]),
        class_label=np.concatenate([s.class_label for s in sets]),
        voltage_kV=np.concatenate([s.voltage_kV for s in sets]),
        camera_length_mm=np.concatenate([s.camera_length_mm for s in sets]),
        inv_A_per_px=np.concatenate([s.inv_A_per_px for s in sets]),
        thickness_A=np.concatenate([s.thickness_A for s in sets]),
        tilt_deg=np.concatenate([s.tilt_deg for s in sets]),
        dynamical=np.concatenate([s.dynamical for s in sets]),
    )
