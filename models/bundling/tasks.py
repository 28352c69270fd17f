"""The tasks that bundles are for, by the word in ``model.json``, and what each lets its bundles say.

A task is one line here and a ``TASK`` in a module of its own. The module is imported when the first bundle of the task
is read: reading a manifest is all it takes to load any bundle, and what reads manifests imports no task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from pydantic import JsonValue

if TYPE_CHECKING:
    from torch import nn

    from braggwatch.models.bundling.bundle import Bundle

DEFECT_TASK = "cxdp-defect"
"""Perfect, screw or edge from one Bragg peak: what the live service takes as ``production``."""
SPACE_GROUP_TASK = "sadp-space-group"
"""Space groups of cubic crystals from zone-axis patterns."""
ORDER_TASK = "apt-order"
"""Order of an alloy from the spatial distribution maps of an atom probe reconstruction."""

TASK_MODULES = {
    DEFECT_TASK: "braggwatch.models.cxdp.task",
    SPACE_GROUP_TASK: "braggwatch.models.sadp.task",
    ORDER_TASK: "braggwatch.models.apt.order_bundle",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What one task's bundles may say and how its networks are rebuilt.

    Attributes
    ----------
    name
        The word in ``model.json``.
    purpose
        What its bundles are for, to end a sentence: "no bundle for ...".
    check
        Given the whole of a ``model.json``, raises ValueError (pydantic's ValidationError is one) where what it says in
        this task's own fields isn't sound; what it returns is of no interest.
    fields
        Names of fields of ``model.json`` that only this task has; `check` finds them in ``manifest.model_extra``.
    torch_network
        From a bundle to its network in PyTorch, counts to (logits, features), on the CPU and ready to judge; raises
        ValueError or OSError where the weights can't be read. None: it can't be rebuilt without what trained it.
    """

    name: str
    purpose: str
    check: Callable[[Mapping[str, JsonValue]], object]
    fields: frozenset[str] = frozenset()
    torch_network: Callable[[Bundle], nn.Module] | None = None


def task_named(name: str) -> Task | None:
    """Return a task by its word; None for one that isn't known here, whose bundles can still be listed and verified."""
    module = TASK_MODULES.get(name)
    if module is None:
        return None
    task = import_module(module).TASK
    if not isinstance(task, Task) or task.name != name:
        raise TypeError(f"{module}.TASK is not the task '{name}'")
    return task
