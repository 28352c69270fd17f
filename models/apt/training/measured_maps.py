"""Measured maps with a label of the user's, to be learnt from beside simulated ones (the publication's case 2).

Either an HDF5 file of the dataset ``maps``, (N, bins_z, bins_x) or (N, 1, bins_z, bins_x) counts, and the dataset
``ordered``, (N,) labels 0 or 1; or a folder of the folders ``fcc`` and ``l12`` (one may be absent) of maps, a file
each: ``.npy``, or numbers in rows as ``.csv`` or ``.txt``. Rows are dz, columns dx, from -0.7 to 0.7 nm both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.unlocked_hdf5 import open_unlocked

SEVENFOLD = 7
_FOLDERS = ("fcc", "l12")
_LEAST_BINS = 10
_LARGEST_TURN_DEG = 1.0
_LEAST_KEPT = 0.5


class MeasuredMapsError(BraggwatchError, ValueError):
    """Measured maps can't be read; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class MeasuredMaps:
    """Labelled maps, of any numbers of bins.

    Attributes
    ----------
    maps
        N arrays (bins_z, bins_x) float32, counts, not negative.
    labels
        (N,) int64: 0 disordered, 1 L1₂.
    """

    maps: tuple[NDArray[np.float32], ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.maps)


def read_measured_maps(path: Path) -> MeasuredMaps:
    """Read labelled maps from an HDF5 file or a folder.

    Raises
    ------
    MeasuredMapsError
        If there are none, or one is damaged, empty, negative, not finite, or has fewer than 10 bins a side.
    FileNotFoundError
        If there is nothing under that path.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder of measured maps")
    named = list(_of_folder(path)) if path.is_dir() else _of_hdf5(path)
    if not named:
        raise MeasuredMapsError(
            f"{path} holds no maps: .npy, .csv or .txt files are looked for in its folders fcc and l12"
        )
    for name, one, _ in named:
        if one.ndim != 2 or min(one.shape) < _LEAST_BINS:
            raise MeasuredMapsError(f"{name}: a map of at least {_LEAST_BINS} x {_LEAST_BINS} bins, not of {one.shape}")
        if not np.isfinite(one).all() or one.min() < 0 or one.max() <= 0:
            raise MeasuredMapsError(f"{name}: counts must be finite, not negative, and not all zero")
    return MeasuredMaps(tuple(one for _, one, _ in named), np.array([label for _, _, label in named], dtype=np.int64))


def sevenfold(one: NDArray[np.float32], seed: int) -> list[NDArray[np.float32]]:
    """Make seven maps of one: itself, its mirror image along x, and five more, each mirrored or not, turned, thinned.

    The publication made 84 of 12 pictures and doesn't say how. Turns are the simulation's, up to 1°; of the counts a
    part, drawn between a half and all, is kept by chance.
    """
    rng = np.random.default_rng(seed)
    made = [one, np.ascontiguousarray(one[:, ::-1])]
    while len(made) < SEVENFOLD:
        turned = _turned(made[int(rng.integers(2))], float(rng.uniform(-_LARGEST_TURN_DEG, _LARGEST_TURN_DEG)))
        made.append(rng.binomial(np.rint(turned).astype(np.int64), rng.uniform(_LEAST_KEPT, 1.0)).astype(np.float32))
    return made


def _turned(one: NDArray[np.float32], angle_deg: float) -> NDArray[np.float32]:
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # the window is as wide as high, whatever the bins
    size = np.diag([float(n) for n in one.shape])
    matrix = size @ turn @ np.linalg.inv(size)
    middle = (np.array(one.shape) - 1) / 2
    found = affine_transform(one, matrix, middle - matrix @ middle, order=1, mode="nearest")  # pyright: ignore[reportArgumentType]  # a vector is what it takes
    return np.clip(found, 0, None).astype(np.float32)


def _of_hdf5(path: Path) -> list[tuple[str, NDArray[np.float32], int]]:
    try:
        with open_unlocked(path) as file:
            maps = np.asarray(file["maps"], dtype=np.float32)
            labels = np.asarray(file["ordered"], dtype=np.float32)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise MeasuredMapsError(
            f"{path}: no HDF5 file of 'maps' and 'ordered': {' '.join(str(error).split())}"
        ) from error
    if maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps[:, 0]
    if maps.ndim != 3 or labels.shape != maps.shape[:1] or not np.isin(labels, (0, 1)).all():
        raise MeasuredMapsError(
            f"{path}: 'maps' must be (N, bins_z, bins_x) and 'ordered' N labels 0 or 1, not {maps.shape} and "
            f"{labels.shape}"
        )
    return [(f"{path}, map {n}", one, int(label)) for n, (one, label) in enumerate(zip(maps, labels, strict=True))]


def _of_folder(path: Path) -> list[tuple[str, NDArray[np.float32], int]]:
    found: list[tuple[str, NDArray[np.float32], int]] = []
    for label, name in enumerate(_FOLDERS):
        for file in sorted((path / name).glob("*")):
            if file.suffix not in {".npy", ".csv", ".txt"}:
                continue
            try:
                if file.suffix == ".npy":
                    one = np.load(file, allow_pickle=False)
                else:
                    one = np.loadtxt(file, delimiter="," if file.suffix == ".csv" else None, ndmin=2)
                found.append((str(file), np.asarray(one, dtype=np.float32), label))
            except (OSError, ValueError, EOFError, UserWarning) as error:
                raise MeasuredMapsError(f"{file} can't be read as a map: {' '.join(str(error).split())}") from error
    return found
