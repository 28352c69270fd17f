"""What makes a bundle one for the order of atom probe data: the maps it takes, and the rule of its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, model_validator

from braggwatch.models.apt.order_rule import OrderRule
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.bundling.tasks import ORDER_TASK, Task

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle
    from braggwatch.models.bundling.manifest import Manifest


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True)

    shape: tuple[int, int, int]
    sdm: SdmInput | None

    @model_validator(mode="after")
    def _maps_are_the_input(self) -> Self:
        if self.sdm is not None and self.sdm.shape != self.shape:
            raise ValueError(f"maps of shape {self.sdm.shape} are no input of shape {self.shape}")
        return self


class _Said(BaseModel):
    """The fields of ``model.json`` that are this task's own, at their places."""

    model_config = ConfigDict(frozen=True)

    input: _Input
    order_rule: OrderRule | None

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        return cls.model_validate(manifest.model_dump(mode="json", include={"input", "order_rule"}))


def sdm_input_of(bundle: Bundle) -> SdmInput:
    """Return how a bundle's maps are counted.

    Raises
    ------
    BundleError
        If it is of another task, or takes no spatial distribution maps.
    """
    from braggwatch.models.bundling.bundle import BundleError

    bundle.require_task(ORDER_TASK)
    sdm = sdm_input(bundle.manifest)
    if sdm is None:
        raise BundleError(
            f"{bundle.manifest.id} takes no spatial distribution maps: choose a bundle of 'braggwatch apt train'"
        )
    return sdm


def sdm_input(manifest: Manifest) -> SdmInput | None:
    """Return how the maps are counted that a bundle takes; None where it doesn't say."""
    return _Said.of(manifest).input.sdm


def order_rule(manifest: Manifest) -> OrderRule | None:
    """Return how a bundle's map of scores is cut into ordered and not; None where it doesn't say."""
    return _Said.of(manifest).order_rule


TASK = Task(ORDER_TASK, "the order of atom probe data", check=_Said.model_validate)
