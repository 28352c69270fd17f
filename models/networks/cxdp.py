"""Network for CXDPs: a foveated 3D residual network.

The vicinity of the Bragg peak decides (occlusion test of Lim et al., npj Comput. Mater. 2021), the facet streaks
further out tell the shape. So the volume is seen three times on 16³ grids: the centre at full resolution, more of it
at half and all of it at a quarter. A logarithm flattens the peak's own structure (a ring or two lobes differ from it
by a tenth), so that the two inner streams also see a power of the intensity.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        Channels of each of the three streams (16³).
    widths
        Channels of the trunk's stages at 16³, 8³ and 4³.
    blocks
        Residual blocks a stage.
    classes
        Number of classes.
    dropout
        Before the last layer.
    """

    stem: int = 10
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


_CONTRAST = 7.0


def _with_contrast(x: Tensor) -> Tensor:
    """Add a channel that rises as the intensity to the power 7 / ln(maximum): 1 for a peak of 1e3, 0.5 for 1e6."""
    return torch.cat([x, torch.exp(_CONTRAST * (x - 1.0))], dim=1)


class FoveatedNet(nn.Module):
    """(B, 64, 64, 64) normalised log intensity, axis 1 along Q → logits (B, classes), features (B, 2·widths[-1])."""

    def __init__(self, config: FoveatedConfig) -> None:
        super().__init__()
        self.config = config
        self.peak = _conv(2, config.stem, 1)
        self.fringes = _conv(2, config.stem, 2)
        self.streaks = _conv(1, config.stem, 2)
        stages: list[nn.Module] = []
        inputs = 3 * config.stem
        for index, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(count):
                stages.append(_Residual(inputs, width, 2 if index and not block else 1))
                inputs = width
        self.trunk = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * inputs, config.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and penultimate features."""
        trunk = self.trunk(functional.relu(torch.cat(self._streams(x.unsqueeze(1)), dim=1)))
        features = torch.cat([trunk.mean(dim=(2, 3, 4)), trunk.amax(dim=(2, 3, 4))], dim=1)
        return self.head(self.dropout(features)), features

    def _streams(self, x: Tensor) -> list[Tensor]:
        """Return what each field of view gives of (B, 1, 64, 64, 64), all (B, channels, 16, 16, 16)."""
        peak, fringes = self.peak(self._field(x, 24, 40)), self.fringes(self._field(x, 16, 48))
        return [peak, fringes, self.streaks(functional.avg_pool3d(x, 2))]

    def _field(self, x: Tensor, first: int, end: int) -> Tensor:
        """Return what a stream is shown of the voxels ``first`` to ``end - 1`` along each axis."""
        return _with_contrast(x[:, :, first:end, first:end, first:end])


_FAINT_CONTRAST = 4.14


def _with_faint_contrast(x: Tensor) -> Tensor:
    """Add a channel that rises as a smaller power of the intensity: fringes far from the peak stand out in it."""
    return torch.cat([x, torch.exp(_FAINT_CONTRAST * (x - 1.0))], dim=1)


class WideNet(FoveatedNet):
    """A foveated network that resolves the fringes of the whole volume too, not those around the peak alone.

    A line near the rim of a crystal barely changes the peak: it marks the fringes. `FoveatedNet` averages those beyond
    the inner 32³ voxels away (their period is 3.5 voxels, it looks at every fourth). Here a fourth stream sees
    patches of 4³ voxels, in twenty ways each. Input and outputs as there.

    Parameters
    ----------
    config
        As there; the fourth stream has twice as many channels as each of the others.
    """

    def __init__(self, config: FoveatedConfig) -> None:
        super().__init__(config)
        wide = 2 * config.stem
        self.outer = nn.Sequential(nn.Conv3d(2, wide, 4, stride=4, bias=False), nn.BatchNorm3d(wide))
        self.trunk[0] = _Residual(3 * config.stem + wide, config.widths[0], 1)

    def _streams(self, x: Tensor) -> list[Tensor]:
        return [*super()._streams(x), *self._patches(_with_faint_contrast(x))]

    def _patches(self, shown: Tensor) -> list[Tensor]:
        """Return the streams of 4³ patches of (B, 2, 64, 64, 64)."""
        return [self.outer(shown)]


_SIDE = 64


class PairedNet(WideNet):
    """A wide network that also sees each voxel beside the one opposite to it, across the peak.

    Without strain a crystal's pattern is its own mirror image through the peak, whatever its shape (the density is
    real, so that its Fourier transform at -q is the complex conjugate of that at q; Pfeifer et al., Nature 442, 63
    (2006)). A dislocation's phase breaks that in all fringes, wherever the line runs. Convolutions alone can't compare
    places that lie a volume apart. So the streams of the peak, of the fringes and a fifth one, of patches of 4³ voxels,
    are shown how much a voxel differs from its opposite. Input and outputs as in `WideNet`.

    Parameters
    ----------
    config
        As there; the fifth stream is as wide as the fourth.
    """

    def __init__(self, config: FoveatedConfig) -> None:
        super().__init__(config)
        self.peak = _conv(4, config.stem, 1)
        self.fringes = _conv(4, config.stem, 2)
        wide = 2 * config.stem
        self.pairs = nn.Sequential(nn.Conv3d(1, wide, 4, stride=4, bias=False), nn.BatchNorm3d(wide))
        self.trunk[0] = _Residual(3 * config.stem + 2 * wide, config.widths[0], 1)

    def _patches(self, shown: Tensor) -> list[Tensor]:
        # the first plane along an axis has no partner in the volume, and so no difference
        inner = shown[:, 1:, 1:, 1:, 1:]
        pairs = functional.pad((inner - inner.flip(2, 3, 4)).abs(), (1, 0, 1, 0, 1, 0))
        return [*super()._patches(shown), self.pairs(pairs)]

    def _field(self, x: Tensor, first: int, end: int) -> Tensor:
        here = super()._field(x, first, end)
        # voxel i along an axis lies opposite to 64 - i, about the peak at 32
        there = super()._field(x, _SIDE + 1 - end, _SIDE + 1 - first).flip(2, 3, 4)
        return torch.cat([here, (here - there).abs()], dim=1)


def network_class(weights: Mapping[str, object]) -> type[FoveatedNet]:
    """Tell a foveated network's class by the names of its weights: each kind has streams that the former lacks."""
    if "pairs.0.weight" in weights:
        return PairedNet
    return WideNet if "outer.0.weight" in weights else FoveatedNet


def widened(weights: Mapping[str, Tensor], wide: FoveatedNet) -> dict[str, Tensor]:
    """Return weights of a network with fewer streams as those of one that says the same until it has learnt more.

    Parameters
    ----------
    weights
        Of a network of the same configuration.
    wide
        Its own weights stay in the streams that the other doesn't have, which nothing listens to yet.
    """
    result = {name: value.clone() for name, value in wide.state_dict().items()}
    for name, value in weights.items():
        if result[name].shape == value.shape:
            result[name] = value.clone()
        else:
            result[name] = torch.zeros_like(result[name])
            result[name][:, : value.shape[1]] = value
    return result


_PAPER_CONTRAST = 4.14
"""Times ln(maximum)⁻¹: the power of the intensity that the published network is shown, 0.3 for a peak of 1e6."""


class PaperNet(nn.Module):
    """The network of Lim et al.: five 3³ convolutions, ReLU, pooling, two dense layers, dropout 0.2 everywhere.

    It is shown a power of the intensity over its maximum, not the logarithm: after as many steps it is right in 95 % of
    held-out clean patterns where it is in 83 % with the logarithm (docs/explanation/training-regimes.md).

    Parameters
    ----------
    classes
        Number of classes.
    width
        Channels of the first convolution; the following ones have twice, four, eight and eight times as many.
    convolutional_dropout
        After each convolution; the dense layers have 0.2.
    """

    def __init__(self, classes: int = 3, width: int = 32, convolutional_dropout: float = 0.2) -> None:
        super().__init__()
        channels = (1, width, 2 * width, 4 * width, 8 * width, 8 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            # the maximum first: ReLU commutes with it, and has an eighth as much to do
            layers += [
                nn.Conv3d(inputs, outputs, 3, padding=1),
                nn.MaxPool3d(2),
                nn.ReLU(),
                nn.Dropout(convolutional_dropout),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(8 * width * 8, 128), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(128, classes)
        for layer in (*self.convolutions, *self.dense):
            if isinstance(layer, nn.Conv3d | nn.Linear):
                # without normalisation a signal that shrinks at each of six layers takes long to come through
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        # a quarter less CPU time a training step
        self.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and penultimate features."""
        shown = torch.exp(_PAPER_CONTRAST * (x.unsqueeze(1) - 1.0))
        features = self.dense(self.convolutions(shown).flatten(1))
        return self.head(features), features
