"""A mapping that forgets its oldest entries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Bounded(OrderedDict[Key, Value]):
    """Holds so many entries, and where asked so many bytes of values: what is set is the newest, the oldest go.

    `move_to_end` makes an entry the newest that was only read.

    Parameters
    ----------
    entries
        Most entries held. None: any.
    most_bytes
        Most bytes of all values together; the newest stays though, however large. None: any.
    size_of
        Bytes of one value; needed with ``most_bytes``.

    Raises
    ------
    ValueError
        If ``most_bytes`` comes without ``size_of``, or a limit is negative.
    """

    def __init__(
        self,
        entries: int | None = None,
        *,
        most_bytes: int | None = None,
        size_of: Callable[[Value], int] | None = None,
    ) -> None:
        super().__init__()
        if (most_bytes is None) != (size_of is None):
            raise ValueError("a limit in bytes needs a way to measure values, and the other way round")
        if min(entries or 0, most_bytes or 0) < 0:
            raise ValueError("a limit can't be negative")
        self._entries = entries
        self._most_bytes = most_bytes
        self._size_of = size_of

    def __setitem__(self, key: Key, value: Value) -> None:
        """Hold a value as the newest."""
        self.put(key, value)

    def put(self, key: Key, value: Value) -> list[tuple[Key, Value]]:
        """Hold a value as the newest; return what had to go for it, oldest first."""
        super().__setitem__(key, value)
        self.move_to_end(key)
        forgotten: list[tuple[Key, Value]] = []
        while self._entries is not None and len(self) > self._entries:
            forgotten.append(self.popitem(last=False))
        if self._size_of is not None and self._most_bytes is not None:
            held = sum(map(self._size_of, self.values()))
            while held > self._most_bytes and len(self) > 1:
                forgotten.append(self.popitem(last=False))
                held -= self._size_of(forgotten[-1][1])
        return forgotten
