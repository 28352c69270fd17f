"""Networks that tell L1₂ from fcc in spatial distribution maps; all return (logits of fcc and L1₂, features)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from braggwatch.sim.apt.picture import LUMA, picture_weights
from braggwatch.sim.errors import InputError


class PaperSdmNet(nn.Module):
    """The network of Li et al., npj Comput. Mater. 7, 8 (2021): 1 666 881 parameters at four convolutions.

    Convolutions 3 x 3 of 16, 32, 64, 64 channels, each with ReLU and max-pool 2, dense 512, one output. Its sigmoid is
    the softmax over (0, output), so that two-class cross-entropy is their binary one. The weights begin as Keras draws
    them by default, which the publication doesn't state.

    Parameters
    ----------
    depth
        1 to 4 convolutions, for the paper's comparison of depths.
    """

    def __init__(self, depth: int = 4, edge: int = 150) -> None:
        super().__init__()
        if not 1 <= depth <= 4:
            raise InputError(f"the depth is 1 to 4, not {depth}")
        widths = (1, 16, 32, 64, 64)[: depth + 1]
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3) for before, after in pairwise(widths))
        for _ in range(depth):
            edge = (edge - 2) // 2
        self.dense = nn.Linear(widths[-1] * edge**2, 512)
        self.head = nn.Linear(512, 1)
        for layer in (*self.convolutions, self.dense, self.head):
            nn.init.xavier_uniform_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, 1, 150, 150) grey values, 0 to 1, to logits (B, 2) and features (B, 512)."""
        features = torch.relu(self.dense(self.feature_maps(x)[-1].flatten(1)))
        out = self.head(features)
        return torch.cat([torch.zeros_like(out), out], dim=1), features

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Return what each convolution makes of (B, 1, 150, 150) pictures: (B, channels, edge, edge), pooled."""
        found: list[Tensor] = []
        for convolution in self.convolutions:
            # the largest of four is cut off at 0 either way, and then it's a quarter of the work
            x = torch.relu(functional.max_pool2d(convolution(x), 2))
            found.append(x)
        return found


class DrawnSdmNet(nn.Module):
    """A `PaperSdmNet` with the drawing of the picture (`braggwatch.sim.apt.picture`) before it, in one graph.

    Its features are the means of the last convolution's maps.
    """

    def __init__(self, network: PaperSdmNet, bins: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        steps = LUMA.size - 1
        self._steps = steps
        self.register_buffer("luma", torch.from_numpy(LUMA[:-1].astype("float32")), persistent=False)
        self.register_buffer("rise", torch.from_numpy((LUMA[1:] - LUMA[:-1]).astype("float32")), persistent=False)
        self.register_buffer("down", torch.from_numpy(picture_weights(bins[0])), persistent=False)
        self.register_buffer("across", torch.from_numpy(picture_weights(bins[1]).T.copy()), persistent=False)

    def draw(self, counts: Tensor) -> Tensor:
        """From (B, 1, bins_z, bins_x) counts to (B, 1, 150, 150) grey values, 0 to 1."""
        place = counts / counts.amax(dim=(2, 3), keepdim=True).clamp_min(1e-12) * self._steps
        step = place.floor().clamp(0, self._steps - 1)
        at = step.long()
        luma, rise = self.get_buffer("luma")[at], self.get_buffer("rise")[at]
        return self.get_buffer("down") @ (luma + rise * (place - step)) @ self.get_buffer("across")

    def forward(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, 1, bins_z, bins_x) counts to logits (B, 2) and features (B, channels)."""
        maps = self.network.feature_maps(self.draw(counts))[-1]
        out = self.network.head(torch.relu(self.network.dense(maps.flatten(1))))
        return torch.cat([torch.zeros_like(out), out], dim=1), maps.mean(dim=(2, 3))


def standardise(counts: Tensor) -> Tensor:
    """Return (B, pairs, bins_z, bins_x) counts in units of their shot noise about each map's mean.

    What is left of the composition is the noise: the network judges structure, and how sure the counts let it be.
    """
    mean = counts.mean(dim=(2, 3), keepdim=True)
    return (counts - mean) / torch.sqrt(mean + 1.0)


@dataclass(frozen=True, slots=True)
class CentreVoxelConfig:
    """Widths of the centre-voxel network."""

    pairs: int = 3
    bins_x: int = 5
    width: int = 32
    features: int = 16
    dropout: float = 0.3


class CentreVoxelNet(nn.Module):
    """One-dimensional convolutions along dz over the maps of a cube, to tell whether its central voxel is L1₂.

    Pairs and lateral bins are channels: a tilt shifts a plane's peak from lateral bin to lateral bin.
    """

    def __init__(self, config: CentreVoxelConfig | None = None) -> None:
        super().__init__()
        c = CentreVoxelConfig() if config is None else config
        w = c.width
        self.first = nn.Conv1d(c.pairs * c.bins_x, w, 9, stride=2, padding=4)
        self.second = nn.Conv1d(w, w, 7, stride=2, padding=3)
        self.third = nn.Conv1d(w, w, 5, stride=2, padding=2)
        self.norms = nn.ModuleList(nn.GroupNorm(4, w) for _ in range(3))
        self.drop = nn.Dropout(c.dropout)
        self.dense = nn.Linear(w * 12, c.features)
        self.head = nn.Linear(c.features, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, pairs, 93, bins_x) standardised counts to logits (B, 2) and features (B, features)."""
        features = torch.tanh(self.dense(self.drop(self.feature_maps(x)[-1].flatten(1))))
        return self.head(features), features

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Return what each convolution makes of (B, pairs, 93, bins_x) standardised counts: (B, width, places)."""
        x = x.transpose(2, 3).flatten(1, 2)
        found: list[Tensor] = []
        for convolution, norm in zip((self.first, self.second, self.third), self.norms, strict=True):
            x = functional.silu(norm(convolution(x)))
            found.append(x)
        return found


class SdmEnsemble(nn.Module):
    """Members averaged in one graph, from raw counts; what they disagree by comes out with the features.

    Features are the members' margins (logit of L1₂ minus that of fcc), then each member's own features.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise InputError("an ensemble of none")
        self.members = nn.ModuleList(members)

    def forward(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, pairs, bins_z, bins_x) counts to mean logits (B, 2) and features (B, M + M * F)."""
        shown = standardise(counts)
        outputs = [member(shown) for member in self.members]
        logits = torch.stack([logits for logits, _ in outputs])
        margins = (logits[:, :, 1] - logits[:, :, 0]).transpose(0, 1)
        return logits.mean(dim=0), torch.cat([margins, *(features for _, features in outputs)], dim=1)
