"""Hide a part of the pattern, ask again: what an answer rests on, with nothing but the runtime that gave it.

Occlusion sensitivity: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2;
used on coherent diffraction patterns by Lim et al., npj Computational Materials 7, 115 (2021).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.cxdp.explain.checked_counts import checked_counts
from braggwatch.models.explain.explanation import Explanation, ExplanationError
from braggwatch.models.runtimes.base import Runtime
from braggwatch.sim.errors import BraggwatchError

Cells = Literal[8, 16]
Fill = Literal["radial", "zero"]

_BATCH = 8
_SLABS = 16
_SMALLEST = 1e-7


class ExplanationStopped(BraggwatchError, RuntimeError):  # noqa: N818 the name says what happened
    """The caller asked for an end before the map was done."""


@dataclass(frozen=True, slots=True)
class Occlusion:
    """What hiding blocks and slabs of one model input does to one class.

    Probabilities are the bundle's calibrated ones on the volume itself, without mirror images; log-odds are their
    logit, which still tells parts apart where the probability is within rounding of one.

    Attributes
    ----------
    label, probability
        The class and its probability with nothing hidden.
    drop, log_odds_drop
        (n, n, n) float32, n = 8 or 16: by how much hiding that cubic block lowers probability and log-odds; axes of
        the model input. Negative where the class becomes more likely.
    slab_drop, slab_log_odds_drop
        (3, 16) float32: the same for slabs across each axis, a sixteenth of the volume thick.
    fill
        What took the place of what was hidden.
    evaluations, seconds
        What it cost: volumes run, wall time.
    """

    label: str
    probability: float
    drop: NDArray[np.float32]
    log_odds_drop: NDArray[np.float32]
    slab_drop: NDArray[np.float32]
    slab_log_odds_drop: NDArray[np.float32]
    fill: Fill
    evaluations: int
    seconds: float

    def explanation(self) -> Explanation:
        """Return the block map as the form that all methods share."""
        return Explanation(
            method="occlusion",
            label=self.label,
            probability=self.probability,
            importance=self.log_odds_drop,
            largest_drop=float(self.drop.max()),
            evaluations=self.evaluations,
            seconds=self.seconds,
        )


def occlude(
    runtime: Runtime,
    classes: Sequence[str],
    counts: NDArray[np.floating],
    *,
    shape: tuple[int, int, int] = (64, 64, 64),
    label: str | None = None,
    cells: Cells = 8,
    fill: Fill = "zero",
    stop: Callable[[], bool] = lambda: False,
) -> Occlusion:
    """Hide each block and each slab of a model input in turn.

    Parameters
    ----------
    runtime
        Runs the bundle's graph; ``1 + cells³ + 48`` volumes in batches of eight.
    classes
        Names of the network's outputs.
    counts
        (n, n, n) raw counts, the peak at voxel n // 2 of each axis.
    shape
        What the model takes.
    label
        The class to explain; None: the most probable.
    cells
        Blocks along an edge. 16 costs eight times as much as 8.
    fill
        ``zero``: nothing; says what the answer depends on, also where it rests on there being no defect. ``radial``:
        the logarithmic mean of the whole volume at the same distance from the centre, so that what is hidden loses
        its structure and keeps its place in the envelope; says which structure speaks for the class.
    stop
        Asked before every batch.

    Raises
    ------
    ExplanationError
        If the volume or the label can't be used.
    ExplanationStopped
        Once ``stop`` says so.
    InferenceError
        If the runtime fails.
    """
    began = time.perf_counter()
    volume = checked_counts(counts, shape)
    if label is not None and label not in classes:
        raise ExplanationError(f"the model has no class {label!r}, only {', '.join(classes)}")
    if any(size % cells or size % _SLABS for size in shape):
        raise ExplanationError(f"a volume of {shape} can't be cut into {cells} blocks and {_SLABS} slabs along an edge")
    filler = radial_mean(volume) if fill == "radial" else np.zeros_like(volume)
    whole = runtime.run(volume[None]).probabilities[0].astype(np.float64)
    target = int(whole.argmax()) if label is None else list(classes).index(label)

    blocks = [_block(shape, cells, place) for place in product(range(cells), repeat=3)]
    slabs = [_slab(shape, axis, place) for axis in range(3) for place in range(_SLABS)]
    left = _probabilities(runtime, volume, filler, blocks + slabs, target, stop)
    before = float(whole[target])
    drop = before - left
    log_odds_drop = _log_odds(np.array([before])) - _log_odds(left)
    split = len(blocks)
    return Occlusion(
        label=classes[target],
        probability=before,
        drop=drop[:split].reshape(cells, cells, cells).astype(np.float32),
        log_odds_drop=log_odds_drop[:split].reshape(cells, cells, cells).astype(np.float32),
        slab_drop=drop[split:].reshape(3, _SLABS).astype(np.float32),
        slab_log_odds_drop=log_odds_drop[split:].reshape(3, _SLABS).astype(np.float32),
        fill=fill,
        evaluations=1 + len(left),
        seconds=time.perf_counter() - began,
    )


def radial_mean(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a volume in which each voxel has the mean over its shell about the centre, taken of log(1 + counts).

    Parameters
    ----------
    volume
        (n, n, n) counts; the centre is voxel n // 2. Shells are one voxel thick.
    """
    offsets = [np.arange(size) - size // 2 for size in volume.shape]
    squared = offsets[0][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[2][None, None, :] ** 2
    shell = np.rint(np.sqrt(squared)).astype(np.intp)
    sums = np.bincount(shell.ravel(), weights=np.log1p(volume).ravel())
    means = sums / np.maximum(np.bincount(shell.ravel()), 1)
    return np.expm1(means)[shell].astype(np.float32)


_Region = tuple[slice, slice, slice]


def _block(shape: tuple[int, int, int], cells: int, place: tuple[int, ...]) -> _Region:
    first, second, third = (
        slice(at * size // cells, (at + 1) * size // cells) for at, size in zip(place, shape, strict=True)
    )
    return first, second, third


def _slab(shape: tuple[int, int, int], axis: int, place: int) -> _Region:
    thickness = shape[axis] // _SLABS
    cut = slice(place * thickness, (place + 1) * thickness)
    everything = slice(None)
    return (
        cut if axis == 0 else everything,
        cut if axis == 1 else everything,
        cut if axis == 2 else everything,
    )


def _probabilities(
    runtime: Runtime,
    volume: NDArray[np.float32],
    filler: NDArray[np.float32],
    regions: Sequence[_Region],
    target: int,
    stop: Callable[[], bool],
) -> NDArray[np.float64]:
    """Return the class's probability with each region hidden."""
    found = np.empty(len(regions), dtype=np.float64)
    for first in range(0, len(regions), _BATCH):
        if stop():
            raise ExplanationStopped("stopped before the map was done")
        part = regions[first : first + _BATCH]
        batch = np.repeat(volume[None], len(part), axis=0)
        for hidden, region in zip(batch, part, strict=True):
            hidden[region] = filler[region]
        found[first : first + len(part)] = runtime.run(batch).probabilities[:, target]
    return found


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    # float32 probabilities: nearer to 0 or 1 than this they are rounding.
    bounded = probability.clip(_SMALLEST, 1.0 - _SMALLEST)
    return np.log(bounded) - np.log1p(-bounded)
