"""Read diffraction pictures from files (tif, png, mrc, dm3, dm4, mib, hdf5), with their scale if the file has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from braggwatch.services.sadp.sources.mib_file import MibError, read_mib
from braggwatch.sim.errors import BraggwatchError, MissingPackageError
from braggwatch.sim.unlocked_hdf5 import open_unlocked

SUFFIXES = (".tif", ".tiff", ".png", ".mrc", ".dm3", ".dm4", ".mib", ".h5", ".hdf5", ".nxs")
"""Suffixes of the supported formats."""


class PictureFileError(BraggwatchError, ValueError):
    """The file contains no diffraction picture; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a file.

    Attributes
    ----------
    name
        File name, with the picture's number if the file has several.
    pixels
        (H, W), in the file's dtype.
    inv_A_per_px
        Scale, 1/Å per pixel, if the file gives it in reciprocal length.
    """

    name: str
    pixels: NDArray[np.generic]
    inv_A_per_px: float | None = None


def find_pictures(path: Path) -> tuple[Path, ...]:
    """Return a file, or the picture files of a folder sorted by name.

    Raises
    ------
    PictureFileError
        If there are none.
    FileNotFoundError
        If there is no such path.
    """
    if path.is_dir():
        found = tuple(sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()))
        if not found:
            raise PictureFileError(f"{path} contains no pictures: {', '.join(SUFFIXES)} are supported")
        return found
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    return (path,)


def read_pictures(path: Path, dataset: str | None = None) -> Iterator[Picture]:
    """Read the pictures of one file.

    Parameters
    ----------
    dataset
        HDF5: dataset of the pictures; None: the only one with two or three axes.

    Raises
    ------
    PictureFileError
        If the file can't be read or contains no picture.
    MissingPackageError
        If the package for its format isn't installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise PictureFileError(f"{path.name}: {suffix or 'no suffix'} is not supported, only {', '.join(SUFFIXES)}")
    try:
        if suffix in {".tif", ".tiff"}:
            array, scale = np.asarray(tifffile.imread(path)), None
        elif suffix == ".png":
            array, scale = _png(path), None
        elif suffix == ".mrc":
            array, scale = _mrc(path), None
        elif suffix in {".dm3", ".dm4"}:
            array, scale = _dm(path)
        elif suffix == ".mib":
            array, scale = read_mib(path).frames, None
        else:
            array, scale = _hdf5(path, dataset), None
    except (
        MibError,
        tifffile.TiffFileError,
        OSError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        SyntaxError,
    ) as error:
        if isinstance(error, (FileNotFoundError, PictureFileError)):
            raise
        raise PictureFileError(f"{path.name} can't be read: {error}") from error
    yield from _frames(path, array, scale)


def _frames(path: Path, array: NDArray[np.generic], scale: float | None) -> Iterator[Picture]:
    if array.ndim == 3 and array.shape[-1] in {3, 4} and array.dtype == np.uint8:
        # colour screenshot: mean of the channels, without transparency
        array = array[..., :3].mean(axis=-1)
    if array.ndim == 2:
        yield Picture(path.name, array, scale)
    elif array.ndim == 3 and len(array):
        for number, frame in enumerate(array):
            yield Picture(f"{path.name}#{number}", frame, scale)
    else:
        raise PictureFileError(
            f"{path.name} contains an array of shape {array.shape}, not a picture or stack of pictures"
        )


def _png(path: Path) -> NDArray[np.generic]:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("PNG files need pillow: install braggwatch[sadp]") from error
    with Image.open(path) as image:
        return np.asarray(image.convert("L") if image.mode in {"P", "1", "LA"} else image)


def _mrc(path: Path) -> NDArray[np.generic]:
    try:
        import mrcfile
    except ImportError as error:
        raise MissingPackageError("MRC files need mrcfile: install braggwatch[sadp]") from error
    with mrcfile.open(path, mode="r") as file:
        if file.data is None:
            raise PictureFileError(f"{path.name} contains no data")
        # rows of an MRC image are numbered upwards
        return np.asarray(file.data)[..., ::-1, :].copy()


def _dm(path: Path) -> tuple[NDArray[np.generic], float | None]:
    try:
        from ncempy.io.dm import dmReader
    except ImportError as error:
        raise MissingPackageError("DM files need ncempy: install braggwatch[sadp]") from error
    content = dmReader(str(path))
    unit, size = str(content["pixelUnit"][-1]), float(content["pixelSize"][-1])
    factor = {"1/nm": 0.1, "1/A": 1.0, "1/Å": 1.0}.get(unit)
    scale = size * factor if factor is not None and size > 0 else None
    return np.asarray(content["data"]), scale


def _hdf5(path: Path, dataset: str | None) -> NDArray[np.generic]:
    with open_unlocked(path) as file:
        if dataset is not None:
            found = file.get(dataset)
            if not isinstance(found, h5py.Dataset):
                raise PictureFileError(f"{path.name} has no dataset {dataset}")
            return np.asarray(found[()])
        pictures: list[str] = []

        def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim in {2, 3} and min(item.shape[-2:]) >= 16:
                pictures.append(name)

        file.visititems(note)
        if len(pictures) != 1:
            what = "no picture" if not pictures else f"several: {', '.join(pictures[:5])}"
            raise PictureFileError(f"{path.name} contains {what}: choose one with --dataset")
        found = file[pictures[0]]
        if not isinstance(found, h5py.Dataset):
            raise PictureFileError(f"{path.name}: {pictures[0]} is not a dataset")
        return np.asarray(found[()])
