"""Which numbers of a growing sequence have not come, however they are ordered."""

from __future__ import annotations

from dataclasses import dataclass

# A forged number must not count as a loss of that length.
_LARGEST_JUMP = 1_000_000


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers ``start`` to ``stop - 1``, missing since a time in seconds."""

    start: int
    stop: int
    since: float

    @property
    def length(self) -> int:
        """How many numbers are missing."""
        return self.stop - self.start


class SequenceGaps:
    """Follows numbers that begin at 1, kept as gaps so that a long loss takes no more memory than a short one."""

    def __init__(self) -> None:
        self.highest = 0
        self._gaps: list[Gap] = []

    def see(self, start: int, stop: int, now: float) -> bool:
        """Take the numbers ``start`` to ``stop - 1``; return True where they leave out some not seen before.

        Empty ranges, numbers below 1 and absurdly far jumps say nothing.
        """
        if not 0 < start < stop or stop - 1 > self.highest + _LARGEST_JUMP:
            return False
        jumped = start > self.highest + 1
        if jumped:
            self._gaps.append(Gap(self.highest + 1, start, now))
        if start <= self.highest and self._gaps:
            self._gaps = [part for gap in self._gaps for part in _without(gap, start, stop)]
        self.highest = max(self.highest, stop - 1)
        return jumped

    def promise(self, count: int, now: float) -> None:
        """Take it that the numbers 1 to ``count`` exist."""
        if self.highest < count <= self.highest + _LARGEST_JUMP:
            self._gaps.append(Gap(self.highest + 1, count + 1, now))
            self.highest = count

    def overdue(self, now: float, grace_s: float) -> list[Gap]:
        """Return the gaps that have been open for ``grace_s`` seconds, once each."""
        over = [gap for gap in self._gaps if now - gap.since >= grace_s]
        if over:
            self._gaps = [gap for gap in self._gaps if now - gap.since < grace_s]
        return over


def _without(gap: Gap, start: int, stop: int) -> list[Gap]:
    """Return what is left of a gap when the numbers ``start`` to ``stop - 1`` come."""
    parts = (Gap(gap.start, min(gap.stop, start), gap.since), Gap(max(gap.start, stop), gap.stop, gap.since))
    return [part for part in parts if part.length > 0]
