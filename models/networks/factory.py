"""Networks by name, and back from their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor, nn

from braggwatch.models.networks.cxdp import (
    FoveatedConfig,
    FoveatedNet,
    PairedNet,
    PaperNet,
    WideNet,
    network_class,
    widened,
)
from braggwatch.sim.errors import InputError

NetworkKind = Literal["paired", "wide", "foveated", "paper", "paper-half"]
_FOVEATED: Mapping[NetworkKind, type[FoveatedNet]] = {"foveated": FoveatedNet, "wide": WideNet, "paired": PairedNet}
_PAPER_WIDTHS: Mapping[NetworkKind, int] = {"paper": 32, "paper-half": 16}
NETWORK_KINDS: tuple[NetworkKind, ...] = get_args(NetworkKind)


def network_kind(word: str) -> NetworkKind:
    """Return the word as a kind of network.

    Raises
    ------
    InputError
        If there is no such network.
    """
    for kind in NETWORK_KINDS:
        if kind == word:
            return kind
    raise InputError(f"there is no network {word!r}: choose one of {', '.join(NETWORK_KINDS)}")


def make_network(kind: NetworkKind, classes: int) -> nn.Module:
    """Return an untrained network with as many outputs."""
    if kind in _PAPER_WIDTHS:
        return PaperNet(classes, _PAPER_WIDTHS[kind])
    return _FOVEATED[kind](FoveatedConfig(classes=classes))


def take_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Start a network from these weights: its own kind's, or those of one with fewer streams ('foveated', 'wide').

    Raises
    ------
    InputError
        If they belong to another network.
    """
    try:
        if isinstance(network, FoveatedNet) and issubclass(type(network), network_class(weights)):
            weights = widened(weights, network)
        network.load_state_dict(dict(weights))
    except (KeyError, RuntimeError) as error:
        raise InputError(f"these weights belong to another network: {str(error).splitlines()[0]}") from error


def network_from_weights(weights: Mapping[str, Tensor]) -> tuple[nn.Module, NetworkKind]:
    """Return a network with these weights, and which one it is: their names and shapes tell.

    Raises
    ------
    InputError
        If they are of no network known here.
    """
    if "head.weight" not in weights:
        raise InputError("these weights are of no network known here: they lack head.weight")
    kind = _kind_of(weights)
    network = make_network(kind, len(weights["head.weight"]))
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"these weights are not of the {kind} network: {str(error).splitlines()[0]}") from error
    return network, kind


def _kind_of(weights: Mapping[str, Tensor]) -> NetworkKind:
    first = weights.get("convolutions.0.weight")
    if first is not None:
        return "paper-half" if len(first) == _PAPER_WIDTHS["paper-half"] else "paper"
    found = network_class(weights)
    return next(kind for kind, one in _FOVEATED.items() if one is found)


class NamedClasses(nn.Module):
    """A trained network without its outlier output: that one shaped the features and has done its work."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the first classes, and features."""
        logits, features = self.network(x)
        return logits[:, : self.classes], features
