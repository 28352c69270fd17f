"""What makes a bundle one for defects in crystals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue

from braggwatch.models.bundling.tasks import DEFECT_TASK, Task

if TYPE_CHECKING:
    from torch import nn

    from braggwatch.models.bundling.bundle import Bundle


def torch_network(bundle: Bundle) -> nn.Module:
    """Build the network of the bundle's classes from its weights.

    Raises
    ------
    ValueError
        If the weights are of no network known here.
    OSError
        If they can't be read.
    """
    from safetensors.torch import load

    from braggwatch.models.bundling.bundle import WEIGHTS_FILE
    from braggwatch.models.networks.factory import NamedClasses, network_from_weights

    network, _ = network_from_weights(load((bundle.path / WEIGHTS_FILE).read_bytes()))
    return NamedClasses(network.eval(), len(bundle.manifest.classes))


def _nothing_of_its_own(_said: Mapping[str, JsonValue]) -> None:
    """Accept every manifest: this task says nothing beyond what every bundle does."""


TASK = Task(DEFECT_TASK, "defects in crystals", check=_nothing_of_its_own, torch_network=torch_network)
