"""Networks by name and by their weights."""

from __future__ import annotations

import pytest
import torch

from braggwatch.models.networks.factory import NetworkKind, make_network, network_from_weights, take_weights
from braggwatch.sim.errors import InputError

STARTS = [("foveated", "wide"), ("foveated", "paired"), ("wide", "paired")]


@pytest.mark.parametrize(("start", "larger"), STARTS)
def test_a_larger_network_says_what_the_one_said_that_it_starts_from(start: NetworkKind, larger: NetworkKind) -> None:
    torch.manual_seed(3)
    first, second = make_network(start, 4).eval(), make_network(larger, 4).eval()
    take_weights(second, first.state_dict())
    volumes = torch.rand(2, 64, 64, 64)
    for mine, theirs in zip(second(volumes), first(volumes), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("start", "larger"), STARTS)
def test_what_a_larger_network_adds_can_be_learnt(start: NetworkKind, larger: NetworkKind) -> None:
    torch.manual_seed(4)
    first, second = make_network(start, 3), make_network(larger, 3)
    take_weights(second, first.state_dict())
    logits, _ = second(torch.rand(2, 64, 64, 64))
    logits.square().sum().backward()
    listens = second.get_parameter("trunk.0.first.0.weight").grad
    assert listens is not None
    known = first.get_parameter("trunk.0.first.0.weight").shape[1]
    assert float(listens[:, known:].abs().max()) > 0


def test_a_paired_network_hears_of_voxels_that_differ_from_their_opposites() -> None:
    # mirrored through voxel 32, a volume that is its own mirror image stays what it is
    torch.manual_seed(5)
    half = torch.rand(1, 64, 64, 64)
    mirrored = torch.roll(half.flip(1, 2, 3), (1, 1, 1), (1, 2, 3))
    heard: list[torch.Tensor] = []
    network = make_network("paired", 3).eval()
    network.get_submodule("pairs.0").register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    network(torch.maximum(half, mirrored))
    network(half)
    even, uneven = heard
    assert float(even.abs().max()) == 0.0
    assert float(uneven.abs().mean()) > 0.1


@pytest.mark.parametrize("kind", ["foveated", "wide", "paired", "paper-half"])
def test_weights_tell_their_network(kind: NetworkKind) -> None:
    network = make_network(kind, 3)
    again, found = network_from_weights(network.state_dict())
    assert found == kind
    assert again.state_dict().keys() == network.state_dict().keys()


def test_another_networks_weights_are_refused() -> None:
    with pytest.raises(InputError, match="another network"):
        take_weights(make_network("foveated", 3), make_network("wide", 3).state_dict())
    with pytest.raises(InputError, match="another network"):
        take_weights(make_network("wide", 3), make_network("paired", 3).state_dict())
    with pytest.raises(InputError, match="another network"):
        take_weights(make_network("wide", 3), make_network("paper-half", 3).state_dict())
