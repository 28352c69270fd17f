"""Networks for electron diffraction patterns.

`LatticeMapNet` sees intensities on the indices of the pattern's own lattice and is small enough for any CPU. The
residual networks of He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (CVPR 2016), which Ra et
al., RSC Adv. 11, 38307 (2021) trained on pictures, carry torchvision's parameter names, so that its weights fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from braggwatch.sim.errors import InputError

ResNetKind = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
RESNET_KINDS: tuple[ResNetKind, ...] = get_args(ResNetKind)

_PARTS = 8
"""Of the hidden vector, each of which weighs the lattices by itself."""

_BLOCKS: Mapping[str, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}


class _Residual(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.dropout(functional.relu(self.first(self.norm(x)))))


class LatticeMapNet(nn.Module):
    """(B, frames x channels, 9, 17) lattice maps → logits (B, classes), features (B, features).

    The indices mean the same in every map, so each place has weights of its own; nothing is shared by convolution. Maps
    of several lattices pass the same layers, and what each of them is worth is weighed per part of the hidden vector;
    one that isn't there is left out.

    Parameters
    ----------
    channels, frames
        Of each lattice's map; lattices of one pattern.
    """

    def __init__(
        self,
        classes: int,
        width: int = 288,
        blocks: int = 2,
        features: int = 128,
        dropout: float = 0.1,
        *,
        channels: int = 3,
        frames: int = 1,
    ) -> None:
        super().__init__()
        self._frames = frames
        self.stem = nn.Linear(channels * 9 * 17, width)
        self.blocks = nn.Sequential(*(_Residual(width, dropout) for _ in range(blocks)))
        self.worth = nn.Linear(width, _PARTS) if frames > 1 else None
        self.together = _Residual(width, dropout) if frames > 1 else None
        self.norm = nn.LayerNorm(width)
        self.neck = nn.Linear(width, features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and penultimate features."""
        features = functional.relu(self.neck(self.norm(self._hidden(x))))
        return self.head(self.dropout(features)), features

    def _hidden(self, x: Tensor) -> Tensor:
        if self.worth is None or self.together is None:
            return self.blocks(self.stem(x.flatten(1)))
        maps = x.reshape(-1, self._frames, x.shape[1] // self._frames * x.shape[2] * x.shape[3])
        empty = maps.abs().amax(dim=2, keepdim=True) == 0
        if self.training:
            # four of five patterns show one lattice: the others' places need no work, but a graph has a fixed shape
            there = ~empty.squeeze(2)
            known = self.blocks(self.stem(maps[there]))
            each = known.new_zeros(*maps.shape[:2], known.shape[1])
            each[there] = known
        else:
            each = self.blocks(self.stem(maps))
        worth = torch.softmax(self.worth(each).masked_fill(empty, -1e4), dim=1)
        parts = each.reshape(-1, self._frames, _PARTS, each.shape[2] // _PARTS)
        return self.together((worth.unsqueeze(3) * parts).sum(dim=1).flatten(1))


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


class _BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _convolution(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + _skip(self.downsample, x))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _convolution(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _convolution(planes, 4 * planes, 1)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = _shortcut(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(self.bn3(self.conv3(out)) + _skip(self.downsample, x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


def _skip(downsample: nn.Sequential | None, x: Tensor) -> Tensor:
    return x if downsample is None else downsample(x)


class ResNet(nn.Module):
    """(B, H, W) or (B, 1, H, W) pictures from 0 to 1 → logits (B, classes), features (B, F).

    Parameters
    ----------
    kind
        Which of the five.
    classes
        Number of outputs.
    width
        Channels of the first stage: 64 as published; 16 trains on a CPU.
    """

    def __init__(self, kind: ResNetKind, classes: int, width: int = 64) -> None:
        super().__init__()
        block = _BasicBlock if kind in ("resnet18", "resnet34") else _Bottleneck
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        stages: list[nn.Sequential] = []
        for stage, count in enumerate(_BLOCKS[kind]):
            planes = width << stage
            layers: list[nn.Module] = []
            for number in range(count):
                layers.append(block(inputs, planes, 2 if stage and not number else 1))
                inputs = planes * block.expansion
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and pooled features; the one channel is shown to all three inputs."""
        x = x.reshape(-1, 1, *x.shape[-2:]).expand(-1, 3, -1, -1)
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        features = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3))
        return self.fc(features), features


def load_pretrained(network: ResNet, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Take over torchvision's weights; the last layer too, where it has as many outputs.

    Returns
    -------
    tuple
        Names of the parameters that were left as they were.

    Raises
    ------
    InputError
        If they are of another network.
    """
    own = network.state_dict()
    last = {"fc.weight", "fc.bias"}
    fits = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    lacking = tuple(name for name in own if name not in fits and not name.endswith("num_batches_tracked"))
    if not set(lacking) <= last:
        raise InputError(f"these weights are of another network: {len(lacking)} parameters differ, {lacking[0]} first")
    with torch.no_grad():
        network.load_state_dict({**own, **fits})
    return lacking
