"""What counts as a frame: not contradicted by its neighbours.

A detector, a file writer or a beam now and then delivers what is no measurement: a blank frame, the last one again, a
saturated one, one whose counter began again at zero, one of which rows were lost, or frames behind an attenuator that
no signal states. A few of them at the peak are enough for a wrong class. They are told from the frames alone, by what
can't come from a crystal, and count as missing. A dark minimum of a split peak can: its counts fall and rise over
several frames, and its image is another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.run.region import brightest_block, centred_region
from braggwatch.callbacks.cxdp.run.scaled_frames import faintest_block
from braggwatch.callbacks.cxdp.run.volume import usable_counts
from braggwatch.callbacks.cxdp.run.wrapped_counters import wrapped_frames

FaultKind = Literal["blank", "repeated", "saturated", "partly lost", "attenuated", "wrapped"]

_FEWEST = 8
# The zone: frames with this fraction of the brightest one's counts, and so many on either side; then so many at most.
_BRIGHT = 0.1
_BESIDE = 8
_MOST = 48
_WINDOW_PX = 49
# So many frames on either side are the neighbours: of up to three faulty frames each has a good one there.
_REACH = 3
# Counting noise never makes two images equal that have so many counts, nor five pixels equal at the largest count.
_SURE_COUNTS = 100.0
_CLIPPED_PX = 5
_CLIPPED_BELOW = 0.8
_FLAT_SHARE = 0.25
_FLAT_COUNTS = 20.0
# A pixel is bright where both sides have so many counts, and so much of the largest one.
_EXPECTED_COUNTS = 20.0
_EXPECTED_SHARE = 0.01
_FEWEST_BRIGHT_PX = 8
_LOST_SHARE = 0.25
_KEPT = 0.2
_BLANK = 1e-3
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class FrameFault:
    """Frames that are no measurement, and what they look like.

    Attributes
    ----------
    frames
        Their indices in the scan, ascending.
    factor
        Of attenuated frames: counts over what the neighbours predict; None for other kinds.
    """

    kind: FaultKind
    frames: tuple[int, ...]
    factor: float | None = None

    @property
    def in_words(self) -> str:
        """What an operator is told; frames are counted from 1."""
        name, one = _named(self.frames), len(self.frames) == 1
        match self.kind:
            case "blank":
                return f"{name} {'is' if one else 'are'} blank between bright neighbours"
            case "repeated":
                return f"{name} {'repeats' if one else 'repeat'} the frame before, count for count"
            case "saturated":
                return f"{name} {'is' if one else 'are'} saturated where the neighbours are not"
            case "partly lost":
                return f"part of {name} is blank where the neighbours are bright"
            case "wrapped":
                return f"{name} {'holds' if one else 'hold'} counts that began again at zero: the counter is too small"
            case "attenuated":
                return (
                    f"{name} {'holds' if one else 'hold'} {self.factor or 0.0:.2g} times the counts that the "
                    "neighbours on both sides predict: an attenuator, or a lost beam, that no signal states (the "
                    "preset's transmission_field, monitor_field)"
                )


def find_faults(
    frames: NDArray[np.generic],
    present: NDArray[np.bool_],
    angles_deg: NDArray[np.float64],
    totals: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> tuple[FrameFault, ...]:
    """Return the frames of a scan that their neighbours contradict.

    Only frames about the Bragg peak are looked at, in a window of 49 x 49 pixels: what else is wrong changes no class.

    Parameters
    ----------
    frames
        (N, R, C) raw counts in scan order.
    present
        (N,) frames to look at.
    angles_deg
        (N,) readbacks of the scanned circle.
    totals
        (N,) usable counts of each frame.
    scale
        (N,) normalisation by monitor and transmission (`frame_normalisation`).
    """
    usable = np.flatnonzero(present & np.isfinite(angles_deg))
    if usable.size < _FEWEST or min(frames.shape[1:]) < 2:
        return ()
    flat = _flat(frames, totals, usable)
    usable = np.setdiff1d(usable, flat)
    if usable.size < _FEWEST:
        return ()
    zone = _zone(frames, usable, angles_deg, totals, scale)
    places = wrapped_frames(zone.counts.reshape(len(zone.index), *zone.window) * zone.photon)
    found: dict[FaultKind, list[int]] = {"saturated": flat, "wrapped": zone.index[places].tolist()}
    zone = zone.without(places)
    for kind, test in _TESTS:
        places = [i for i in range(len(zone.index)) if test(zone, i)]
        found.setdefault(kind, []).extend(int(i) for i in zone.index[places])
        zone = zone.without(places)
    faults = [FrameFault(kind, tuple(run)) for kind, indices in found.items() for run in _runs(indices)]
    for _ in range(_ROUNDS):
        if len(zone.index) < _FEWEST:
            break
        # Without what each pixel always has: background, and hot or dead pixels.
        signal = zone.counts - zone.counts.min(axis=0)
        noise = (signal.sum(axis=1) + 1.0) * zone.scale[:, 0] ** 2
        block = faintest_block(zone.positions, signal * zone.scale, noise)
        if block is None:
            break
        places = range(block.first, block.last + 1)
        faults.append(FrameFault("attenuated", tuple(sorted(zone.index[list(places)].tolist())), block.factor))
        zone = zone.without(places)
    return tuple(sorted(faults, key=lambda fault: fault.frames))


@dataclass(slots=True)
class _Zone:
    """The frames about the peak in order of angle, in a window about the peak.

    Attributes
    ----------
    index
        (n,) their place in the scan.
    positions
        (n,) their angle, in steps of the scan.
    totals
        (n,) usable counts of the whole frames.
    counts
        (n, pixels) those of the window, in photons or what comes nearest.
    largest
        The largest of them.
    scale
        (n, 1) normalisation by monitor and transmission.
    window
        Rows and columns of it.
    photon
        Raw counts of what ``counts`` has as one.
    """

    index: NDArray[np.intp]
    positions: NDArray[np.float64]
    totals: NDArray[np.float64]
    counts: NDArray[np.float64]
    scale: NDArray[np.float64]
    window: tuple[int, int]
    photon: float
    largest: float = field(init=False)

    def __post_init__(self) -> None:
        self.largest = float(self.counts.max(initial=0.0))

    def without(self, places: Iterable[int]) -> _Zone:
        """Return the others."""
        kept = np.setdiff1d(np.arange(len(self.index)), np.fromiter(places, np.intp))
        if kept.size == self.index.size:
            return self
        return replace(
            self,
            index=self.index[kept],
            positions=self.positions[kept],
            totals=self.totals[kept],
            counts=self.counts[kept],
            scale=self.scale[kept],
        )

    def expected(self, place: int, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Return the lesser of the largest values before and after, along the first axis; None at an end."""
        before, after = values[max(place - _REACH, 0) : place], values[place + 1 : place + 1 + _REACH]
        return np.minimum(before.max(axis=0), after.max(axis=0)) if len(before) and len(after) else None


def _flat(frames: NDArray[np.generic], totals: NDArray[np.float64], usable: NDArray[np.intp]) -> list[int]:
    """Return the brightest frames, as long as a large part of them has one and the same count."""
    flat: list[int] = []
    for index in usable[np.argsort(-totals[usable])]:
        counts = usable_counts(frames[index], None)
        largest = counts.max()
        if largest < _FLAT_COUNTS or np.count_nonzero(counts == largest) < _FLAT_SHARE * counts.size:
            break
        flat.append(int(index))
    return flat


def _zone(
    frames: NDArray[np.generic],
    usable: NDArray[np.intp],
    angles_deg: NDArray[np.float64],
    totals: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> _Zone:
    ordered = usable[np.argsort(angles_deg[usable], kind="stable")]
    corrected = totals[ordered] * scale[ordered]
    corrected = corrected - corrected.min()
    bright = np.flatnonzero(corrected >= _BRIGHT * corrected.max())
    first, stop = max(int(bright[0]) - _BESIDE, 0), min(int(bright[-1]) + _BESIDE + 1, ordered.size)
    top = int(np.argmax(corrected))
    if stop - first > _MOST:
        first, stop = max(top - _MOST // 2, first), min(top + _MOST // 2 + 1, stop)
    # Against the darkest frame: constant counts of gaps and hot pixels are no peak.
    darkest = usable_counts(frames[ordered[int(np.argmin(corrected))]], None).astype(np.float64)
    lit = np.maximum(usable_counts(frames[ordered[top]], None).astype(np.float64) - darkest, 0.0)
    shape = (frames.shape[1], frames.shape[2])
    window = centred_region(brightest_block(lit, None)[0], (_WINDOW_PX, _WINDOW_PX), shape)
    index = ordered[first:stop]
    counts = usable_counts(window.cut(frames)[index], None).reshape(index.size, -1).astype(np.float64)
    # Some detectors count a photon as a hundred.
    photon = max(float(np.min(counts, where=counts > 0, initial=np.inf)), 1.0)
    step = float(np.median(np.diff(angles_deg[ordered])))
    places = (angles_deg[index] - angles_deg[index[0]]) / step if step > 0 else np.arange(index.size, dtype=np.float64)
    photon = photon if np.isfinite(photon) else 1.0
    counts /= photon
    return _Zone(index, places, totals[index], counts, scale[index, None], window.shape, photon)


def _is_repeated(zone: _Zone, place: int) -> bool:
    """Tell whether a frame equals the one taken before."""
    earlier = [i for i in (place - 1, place + 1) if 0 <= i < len(zone.index) and zone.index[i] < zone.index[place]]
    return any(
        zone.totals[i] == zone.totals[place]
        and np.array_equal(zone.counts[i], zone.counts[place])
        and float((zone.counts[i] - zone.counts.min(axis=0)).sum()) >= _SURE_COUNTS
        for i in earlier
    )


def _is_blank(zone: _Zone, place: int) -> bool:
    expected = zone.expected(place, zone.totals)
    return expected is not None and bool(expected >= _SURE_COUNTS and zone.totals[place] <= _BLANK * expected)


def _is_partly_lost(zone: _Zone, place: int) -> bool:
    """Tell whether bright pixels have no count where the others of the frame have their share of counts."""
    expected = zone.expected(place, zone.counts)
    if expected is None:
        return False
    bright = expected > max(_EXPECTED_COUNTS, _EXPECTED_SHARE * zone.largest)
    there = zone.counts[place][bright] / expected[bright]
    lost = there == 0.0
    if there.size < _FEWEST_BRIGHT_PX or lost.all() or lost.mean() < _LOST_SHARE:
        return False
    return bool(np.median(there[~lost]) >= _KEPT)


def _is_clipped(zone: _Zone, place: int) -> bool:
    """Tell whether several pixels end at one count, which pixels of other frames exceed."""
    largest = zone.counts[place].max()
    if largest < _SURE_COUNTS or largest > _CLIPPED_BELOW * zone.largest:
        return False
    return int(np.count_nonzero(zone.counts[place] == largest)) >= _CLIPPED_PX


_TESTS: tuple[tuple[FaultKind, Callable[[_Zone, int], bool]], ...] = (
    ("repeated", _is_repeated),
    ("blank", _is_blank),
    ("partly lost", _is_partly_lost),
    ("saturated", _is_clipped),
)


def _runs(indices: Iterable[int]) -> list[list[int]]:
    """Return the indices in ascending runs without a gap."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _named(frames: tuple[int, ...]) -> str:
    if len(frames) == 1:
        return f"frame {frames[0] + 1}"
    return f"frames {frames[0] + 1} {'and' if len(frames) == 2 else 'to'} {frames[-1] + 1}"
