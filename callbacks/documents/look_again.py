"""Looks again, while no documents come, for what a run that has stopped still waits for: no thread is needed for it.

A detector's file is often closed after the run: plans unstage last. In a RunEngine nobody would look then until the
next run begins, and a plan that waits for the verdict would wait in vain. The RunEngine's own event loop is asked to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class LookAgain:
    """Calls a function in the running event loop, every so often, as long as it says that it waits for something.

    Without a running loop, as in the service, it does nothing: there another calls `expire` once a second.

    Parameters
    ----------
    look
        Looks, and returns whether to look again.
    every_s
        Time between two looks, seconds.
    """

    def __init__(self, look: Callable[[], bool], every_s: float) -> None:
        self._look = look
        self._every_s = max(every_s, 0.05)
        self._loop: asyncio.AbstractEventLoop | None = None
        # Taken by whoever looks: popping from a deque is atomic.
        self._token = deque([None])

    def while_waiting(self, waits: bool) -> None:
        """Begin to look every so often, if something is waited for and it isn't done already."""
        if not waits:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop is not self._loop:
            self._loop = loop
            loop.call_later(self._every_s, self._tick)

    @contextmanager
    def alone(self) -> Generator[bool]:
        """Yield whether nobody else is looking, in another thread; as long as it lasts, nobody else may."""
        try:
            self._token.pop()
        except IndexError:
            yield False
            return
        try:
            yield True
        finally:
            self._token.append(None)

    def _tick(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None:
            return
        waits = False
        try:
            waits = self._look()
        except Exception:
            logger.exception("what a run waits for could not be looked for")
        if waits and self._loop is None:
            self._loop = loop
            loop.call_later(self._every_s, self._tick)
