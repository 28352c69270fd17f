"""Spot lists as pictures for a network of images, spoilt anew at each showing.

Published training (Ra et al., RSC Adv. 11, 38307, 2021) varies camera length, turns by 0 to 30° and cuts 224 of 256
pixels at random: `PAPER`. Measured pictures have any turn, may be mirrored, and have a halo, noise and beam stops.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.sim.sadp.render import draw_gaussians

DRAWN_PX = 256
"""Side of the whole picture, half of which is one in the spots' positions."""


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """How pictures are drawn and spoilt; each figure is a largest one, drawn evenly from none to it.

    Attributes
    ----------
    size_px
        Side of what is cut out.
    exponent
        Of the intensities: 1 as measured, 0.25 shows weak spots, too.
    zoom
        The camera length is between one and this times the simulated one.
    turn_deg
        Of the picture.
    mirrored_share
        Of the pictures.
    offset_px
        Of the cut from the middle, along either axis.
    spot_sigma_px
        Narrowest and widest spots, standard deviation.
    halo, grain
        Height of a halo about the direct beam, and standard deviation of noise, of the brightest spot's height.
    stop_share
        Of the pictures with a beam stop.
    """

    size_px: int = 224
    exponent: float = 0.25
    zoom: float = 1.3
    turn_deg: float = 360.0
    mirrored_share: float = 0.5
    offset_px: float = 16.0
    spot_sigma_px: tuple[float, float] = (1.3, 2.5)
    halo: float = 0.3
    grain: float = 0.02
    stop_share: float = 0.2

    def to_array(self) -> NDArray[np.float64]:
        """(11,) float64 in the order of the fields."""
        values = astuple(self)
        return np.array([*values[:6], *values[6], *values[7:]], dtype=np.float64)


PAPER = PictureSettings(
    exponent=1.0, turn_deg=30.0, mirrored_share=0.0, spot_sigma_px=(1.5, 1.5), halo=0.0, grain=0.0, stop_share=0.0
)
"""As published; their pictures are 8-bit with the brightest spot at the top, and so are these."""


def undisturbed_pictures(settings: PictureSettings) -> PictureSettings:
    """Return the same style without any variation: the middle of the picture as simulated."""
    low, high = settings.spot_sigma_px
    middle = 0.5 * (low + high)
    return PictureSettings(settings.size_px, settings.exponent, 1.0, 0.0, 0.0, 0.0, (middle, middle), 0.0, 0.0, 0.0)


def drawn_pictures(
    spots: NDArray[np.floating], seeds: NDArray[np.int64], settings: PictureSettings
) -> NDArray[np.float32]:
    """Draw spot lists.

    Parameters
    ----------
    spots
        (B, S, 3): x, y in units of half the whole picture's side, relative intensity; unused rows have intensity 0.
    seeds
        (B,) of each picture's own random numbers.

    Returns
    -------
    NDArray
        (B, size_px, size_px) float32 from 0 to 1 in steps of 1/255.
    """
    pictures = np.zeros((len(spots), settings.size_px, settings.size_px), dtype=np.float32)
    _draw_all(np.ascontiguousarray(spots, dtype=np.float64), seeds, settings.to_array(), pictures)
    return np.round(np.clip(pictures, 0.0, 1.0) * 255.0) / np.float32(255.0)


class PicturePresentation:
    """Pictures of spot lists, for `braggwatch.models.learning.training.train`."""

    def __init__(self, settings: PictureSettings | None = None) -> None:
        self._settings = PictureSettings() if settings is None else settings

    def to_learn(self, samples: Tensor, clean: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
        """Return pictures (B, H, W), spoilt."""
        del clean, config
        return self._drawn(samples, self._settings, generator)

    def to_judge(self, samples: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return spoilt pictures with a generator, else undisturbed ones."""
        del clean
        if generator is None:
            return self._drawn(samples, undisturbed_pictures(self._settings), torch.Generator().manual_seed(0))
        return self._drawn(samples, self._settings, generator)

    def _drawn(self, samples: Tensor, settings: PictureSettings, generator: torch.Generator) -> Tensor:
        seeds = torch.randint(0, 2**31, (len(samples),), generator=generator, device=generator.device)
        pictures = drawn_pictures(samples.cpu().numpy(), seeds.cpu().numpy(), settings)
        return torch.from_numpy(pictures).to(samples.device)


@njit(cache=True, nogil=True)
def _draw_all(
    spots: NDArray[np.float64], seeds: NDArray[np.int64], settings: NDArray[np.float64], pictures: NDArray[np.float32]
) -> None:
    for i in range(len(spots)):
        np.random.seed(seeds[i] % 4294967295)  # noqa: NPY002 - numba knows this generator alone
        _draw_one(spots[i], settings, pictures[i])


@njit(cache=True, nogil=True)
def _draw_one(spots: NDArray[np.float64], settings: NDArray[np.float64], picture: NDArray[np.float32]) -> None:
    side = len(picture)
    exponent, zoom = settings[1], 1.0 + np.random.random() * (settings[2] - 1.0)  # noqa: NPY002
    turn = np.radians(settings[3]) * np.random.random()  # noqa: NPY002
    flip = -1.0 if np.random.random() < settings[4] else 1.0  # noqa: NPY002
    middle = 0.5 * (side - 1)
    x0 = middle + settings[5] * (2.0 * np.random.random() - 1.0)  # noqa: NPY002
    y0 = middle + settings[5] * (2.0 * np.random.random() - 1.0)  # noqa: NPY002
    sigma = settings[6] + np.random.random() * (settings[7] - settings[6])  # noqa: NPY002
    halo, reach = settings[8] * np.random.random(), 10.0 + 20.0 * np.random.random()  # noqa: NPY002
    grain = settings[9] * np.random.random()  # noqa: NPY002
    stopped, stop_turn = np.random.random() < settings[10], 2.0 * np.pi * np.random.random()  # noqa: NPY002
    stop_half = 2.0 + 4.0 * np.random.random()  # noqa: NPY002
    count = 0
    while count < len(spots) and spots[count, 2] > 0:
        count += 1
    points = np.empty((count, 2))
    scale = zoom * DRAWN_PX / 2.0
    for n in range(count):
        x, y = flip * scale * spots[n, 0], scale * spots[n, 1]
        points[n, 0] = x0 + np.cos(turn) * x - np.sin(turn) * y
        points[n, 1] = y0 + np.sin(turn) * x + np.cos(turn) * y
    draw_gaussians(picture, points, spots[:count, 2] ** exponent, sigma)
    along, across = np.cos(stop_turn), np.sin(stop_turn)
    for row in range(side):
        for column in range(side):
            x, y = column - x0, row - y0
            value = picture[row, column]
            if halo > 0:
                value += halo * np.exp(-np.sqrt(x * x + y * y) / reach)
            if grain > 0:
                value += grain * np.random.standard_normal()  # noqa: NPY002
            if stopped and x * along + y * across > 0 and abs(y * along - x * across) < stop_half:
                value = 0.0
            picture[row, column] = value
