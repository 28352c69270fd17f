"""Network for CXDPs: a foveated 3D residual network.

The vicinity of the Bragg peak decides (occlusion test of Lim et al., npj Comput. Mater. 2021), the facet streaks
further out tell the shape. So the centre is seen at full resolution and the whole volume at half of it; both streams
meet in one residual trunk. A quarter of the work of a network that sees all 64³ at full resolution.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class FoveatedConfig:
    """Widths and depths.

    Attributes
    ----------
    stem
        Channels of each of the two streams after their stride-2 stem (16³).
    widths
        Channels of the trunk's stages at 16³, 8³ and 4³.
    blocks
        Residual blocks a stage.
    classes
        Number of classes.
    dropout
        Before the last layer.
    """

    stem: int = 12
    widths: tuple[int, int, int] = (24, 48, 96)
    blocks: tuple[int, int, int] = (1, 2, 2)
    classes: int = 3
    dropout: float = 0.2

    def to_dict(self) -> dict[str, object]:
        """Plain values for a manifest."""
        return asdict(self)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm3d(outputs))


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride)
        self.second = _conv(outputs, outputs)
        self.skip = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(
                nn.AvgPool3d(stride) if stride > 1 else nn.Identity(),
                nn.Conv3d(inputs, outputs, 1, bias=False),
                nn.BatchNorm3d(outputs),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.skip(x))


class FoveatedNet(nn.Module):
    """(B, 64, 64, 64) normalised log intensity, axis 1 along Q → logits (B, classes), features (B, 2·widths[-1])."""

    def __init__(self, config: FoveatedConfig) -> None:
        super().__init__()
        self.config = config
        self.fovea = _conv(1, config.stem, 2)
        self.context = _conv(1, config.stem, 2)
        stages: list[nn.Module] = []
        inputs = 2 * config.stem
        for index, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(count):
                stages.append(_Residual(inputs, width, 2 if index and not block else 1))
                inputs = width
        self.trunk = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * inputs, config.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and penultimate features."""
        x = x.unsqueeze(1)
        centre = x[:, :, 16:48, 16:48, 16:48]
        whole = functional.avg_pool3d(x, 2)
        merged = functional.relu(torch.cat([self.fovea(centre), self.context(whole)], dim=1))
        trunk = self.trunk(merged)
        features = torch.cat([trunk.mean(dim=(2, 3, 4)), trunk.amax(dim=(2, 3, 4))], dim=1)
        return self.head(self.dropout(features)), features


class PaperNet(nn.Module):
    """The network of Lim et al.: five 3³ convolutions, ReLU, pooling, two dense layers, dropout 0.2 everywhere."""

    def __init__(self, classes: int = 3, width: int = 32) -> None:
        super().__init__()
        channels = (1, width, 2 * width, 4 * width, 8 * width, 8 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv3d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Dropout(0.2)]
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(8 * width * 8, 128), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and penultimate features."""
        features = self.dense(self.convolutions(x.unsqueeze(1)).flatten(1))
        return self.head(features), features
