"""One call from a volume in memory to a verdict, for scripts and notebooks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import SUMS_FILE
from braggwatch.models.bundling.registry import PRODUCTION, Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.verdict import Verdict

_KEPT_OPEN = 2
"""Bundles: somebody compares two; each holds a network in memory."""


def classify_volume(
    intensity: NDArray[np.generic], model: str | Path = PRODUCTION, *, registry: Path | None = None, threads: int = 2
) -> Verdict:
    """Judge one volume as the service would.

    The first call with a model opens it, which takes a fraction of a second; the models used last stay open. Many
    volumes, or another runtime, are better given to a `BundleClassifier` of your own.

    Parameters
    ----------
    intensity
        (64, 64, 64) finite, non-negative counts of any real dtype on an orthonormal grid: axis 0 along Q, the peak at
        voxel (32, 32, 32), the fringes with the period that the bundle's manifest states (3.5 voxels). This is what
        `preprocess_arrays` of `braggwatch.callbacks` makes of detector frames as ``ModelInput.intensity``.
    model
        A bundle's alias (``"production"``), id (``"cxdp-fcc/1.5.0"``) or folder.
    registry
        Folder of bundles; None for those that come with the package.
    threads
        CPU threads.

    Returns
    -------
    Verdict
        ``invalid`` with the reason for a volume that can't be judged; that is not raised.

    Raises
    ------
    RegistryError
        If no bundle goes by that name.
    BundleError
        If the bundle is incomplete, changed or of another task.
    RuntimeUnavailableError
        If nothing here can run it.
    """
    folder = Path(model)
    path = folder if folder.is_dir() else Registry(registry).resolve(str(model))
    sums = path / SUMS_FILE
    classifier = _opened(path.resolve(), threads, sums.read_bytes() if sums.is_file() else b"")
    return classifier.classify(_counts(np.asarray(intensity)))


def _counts(volume: NDArray[np.generic]) -> NDArray[np.float32]:
    if volume.dtype.kind not in "fiu":
        return cast("NDArray[np.float32]", volume)  # left as it is: the classifier's verdict says what it holds
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the verdict says
        return volume.astype(np.float32, copy=False)


@lru_cache(maxsize=_KEPT_OPEN)
def _opened(path: Path, threads: int, sums: bytes) -> BundleClassifier:  # noqa: ARG001 a changed bundle opens anew
    return BundleClassifier.load(path, threads=threads)
