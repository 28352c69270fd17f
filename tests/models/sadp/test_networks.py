"""Networks for diffraction patterns: published sizes, torchvision's names, and a map network that any CPU runs."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from braggwatch.models.networks.sadp import RESNET_KINDS, LatticeMapNet, ResNet, ResNetKind, load_pretrained


@pytest.mark.parametrize(
    ("kind", "millions"),
    [("resnet18", 11.2), ("resnet34", 21.3), ("resnet50", 23.6), ("resnet101", 42.6), ("resnet152", 58.3)],
)
def test_the_residual_networks_have_their_published_sizes(kind: ResNetKind, millions: float) -> None:
    # Ra et al. 2021, table 3, for 60 classes (their 58.5 M for the largest is 0.3 % more)
    with torch.device("meta"):
        network = ResNet(kind, 60)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_parameter_names_are_torchvisions() -> None:
    with torch.device("meta"):
        small, large = set(ResNet("resnet18", 60).state_dict()), set(ResNet("resnet50", 60).state_dict())
    assert len(small) == 122
    assert len(large) == 320
    assert {"conv1.weight", "bn1.running_var", "layer1.1.bn2.weight", "layer2.0.downsample.1.running_mean"} <= small
    assert "layer1.0.downsample.0.weight" not in small
    assert {"layer1.0.downsample.0.weight", "layer3.5.conv3.weight", "fc.bias"} <= large
    assert len(RESNET_KINDS) == 5


def test_pretrained_weights_fill_all_but_another_last_layer() -> None:
    torch.manual_seed(0)
    pretrained, network = ResNet("resnet18", 1000, width=8), ResNet("resnet18", 5, width=8)
    assert load_pretrained(network, pretrained.state_dict()) == ("fc.weight", "fc.bias")
    inner = "layer3.0.conv1.weight"
    assert torch.equal(network.get_parameter(inner), pretrained.get_parameter(inner))
    assert load_pretrained(ResNet("resnet18", 1000, width=8), pretrained.state_dict()) == ()
    with pytest.raises(ValueError, match="another network"):
        load_pretrained(ResNet("resnet34", 5, width=8), pretrained.state_dict())
    logits, features = network.eval()(torch.rand(2, 64, 64))
    assert logits.shape == (2, 5)
    assert features.shape == (2, 64)


def test_the_map_network_is_small_and_exports() -> None:
    pytest.importorskip("onnxscript", reason="needs the train extra")
    from braggwatch.models.bundling.export import export_onnx

    network = LatticeMapNet(57).eval()
    assert sum(p.numel() for p in network.parameters()) < 600_000
    logits, features = network(torch.rand(4, 3, 9, 17))
    assert logits.shape == (4, 57)
    assert features.shape == (4, 128)
    # the exporter compares ONNX Runtime with torch itself
    assert len(export_onnx(network, 1.0, (3, 9, 17), normalisation="network")) < 2_600_000


def test_a_map_network_of_several_lattices_leaves_empty_ones_out_and_exports() -> None:
    pytest.importorskip("onnxscript", reason="needs the train extra")
    from braggwatch.models.bundling.export import export_onnx

    network = LatticeMapNet(57, 64, channels=5, frames=3).eval()
    maps = torch.rand(4, 3, 5, 9, 17)
    maps[:, 1] = 0.0
    logits, features = network(maps.flatten(1, 2))
    assert logits.shape == (4, 57)
    assert features.shape == (4, 128)
    # their order says nothing
    torch.testing.assert_close(network(maps[:, [2, 0, 1]].flatten(1, 2))[0], logits)
    # and learning sees what judging sees
    network.train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    torch.testing.assert_close(network(maps.flatten(1, 2))[0], logits)
    export_onnx(network.eval(), 1.0, (15, 9, 17), normalisation="network")
