"""Which space group shows which class of patterns along which zone: what turns classes into space groups."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from braggwatch.sim.errors import InputError

Zone = tuple[int, int, int]


class ZoneMember(BaseModel):
    """One effective group along one zone, and the class that its patterns are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_index: int = Field(ge=0)
    group: str = Field(description="Effective group: a space group, 227 with a letter.")
    zone: Zone


class GroupTable(BaseModel):
    """All members of all classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: tuple[str, ...] = Field(description="Space groups, in the order of every array of groups.")
    members: tuple[ZoneMember, ...]

    @model_validator(mode="after")
    def _members_are_of_the_groups(self) -> Self:
        for member in self.members:
            if member.group[:3] not in self.groups:
                raise ValueError(f"{member.group} is none of the groups {self.groups}")
        return self

    @property
    def zones(self) -> tuple[Zone, ...]:
        """The zones, in the order in which they first occur."""
        return tuple(dict.fromkeys(member.zone for member in self.members))

    def group_given_class(self, classes: int) -> NDArray[np.float64]:
        """Return P(group | class), (classes, G): even over the groups that show a class, and over all where none does.

        That is the table of Ra et al., RSC Adv. 11, 38307 (2021): [001] alone leaves 25 % to each of four groups.
        """
        table = np.zeros((classes, len(self.groups)))
        for member in self.members:
            table[member.class_index, self.groups.index(member.group[:3])] = 1.0
        table[table.sum(axis=1) == 0] = 1.0
        return table / table.sum(axis=1, keepdims=True)

    def class_given_group(self, zone: Zone, classes: int) -> NDArray[np.float64]:
        """Return P(class | group) along a zone, (G, classes): even over a group's effective groups.

        Raises
        ------
        InputError
            If a group has no entry for the zone.
        """
        table = np.zeros((len(self.groups), classes))
        for member in self.members:
            if member.zone == zone:
                table[self.groups.index(member.group[:3]), member.class_index] += 1.0
        total = table.sum(axis=1, keepdims=True)
        if (total == 0).any():
            raise InputError(f"zone {list(zone)} is not in the table for every group")
        return table / total


def computed_table() -> tuple[GroupTable, tuple[str, ...]]:
    """Compute the table from the groups' symmetry, and the names of the classes."""
    from braggwatch.sim.sadp.labels import classes
    from braggwatch.sim.sadp.model import SPACE_GROUPS

    found = classes()
    members = tuple(
        ZoneMember(class_index=one.number, group=group, zone=zone) for one in found for group, zone in one.members
    )
    return GroupTable(groups=tuple(str(number) for number in SPACE_GROUPS), members=members), tuple(
        one.name for one in found
    )
