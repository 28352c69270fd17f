"""Networks by name and by their weights."""

from __future__ import annotations

import pytest
import torch

from braggwatch.models.networks.factory import make_network, network_from_weights, take_weights
from braggwatch.sim.errors import InputError


def test_a_wide_network_says_what_the_foveated_one_said_that_it_starts_from() -> None:
    torch.manual_seed(3)
    foveated, wide = make_network("foveated", 4).eval(), make_network("wide", 4).eval()
    take_weights(wide, foveated.state_dict())
    volumes = torch.rand(2, 64, 64, 64)
    for mine, theirs in zip(wide(volumes), foveated(volumes), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_what_a_wide_network_adds_can_be_learnt() -> None:
    torch.manual_seed(4)
    wide = make_network("wide", 3)
    take_weights(wide, make_network("foveated", 3).state_dict())
    volumes = torch.rand(2, 64, 64, 64)
    logits, _ = wide(volumes)
    logits.square().sum().backward()
    listens = wide.get_parameter("trunk.0.first.0.weight").grad
    assert listens is not None
    assert float(listens[:, 30:].abs().max()) > 0


@pytest.mark.parametrize("kind", ["foveated", "wide", "paper-half"])
def test_weights_tell_their_network(kind: str) -> None:
    from braggwatch.models.networks.factory import network_kind

    network = make_network(network_kind(kind), 3)
    again, found = network_from_weights(network.state_dict())
    assert found == kind
    assert again.state_dict().keys() == network.state_dict().keys()


def test_another_networks_weights_are_refused() -> None:
    with pytest.raises(InputError, match="another network"):
        take_weights(make_network("foveated", 3), make_network("wide", 3).state_dict())
    with pytest.raises(InputError, match="another network"):
        take_weights(make_network("wide", 3), make_network("paper-half", 3).state_dict())
