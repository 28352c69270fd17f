"""What makes a bundle one for electron diffraction patterns: the space groups behind its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from braggwatch.models.bundling.tasks import SPACE_GROUP_TASK, Task
from braggwatch.models.sadp.groups import GroupTable

if TYPE_CHECKING:
    from braggwatch.models.bundling.manifest import Manifest


class _Said(BaseModel):
    """The fields of ``model.json`` that are this task's own, at their places."""

    model_config = ConfigDict(frozen=True)

    groups: GroupTable | None


def group_table(manifest: Manifest) -> GroupTable | None:
    """Return the space groups behind a bundle's classes; None where it states none."""
    return _Said.model_validate(manifest.model_dump(mode="json", include={"groups"})).groups


TASK = Task(SPACE_GROUP_TASK, "electron diffraction patterns", check=_Said.model_validate)
