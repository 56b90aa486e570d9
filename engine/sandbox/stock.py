"""Blanks of one kind: some at hand, some on order, and who waits for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from engine.errors import SandboxError

from .blanks import Blank

#: Blanks on order at a time, so that a burst does not become a storm of idle processes.
_MOST_ORDERED = 16


class Stock:
    """Blanks of one kind.

    Args:
        size: how many are kept ready. A burst larger than this costs the making of each, one after the other.
        order: asks the spawner for so many more; False when there is no spawner.
    """

    __slots__ = ("_blanks", "_order", "_ordered", "_size", "_takers")

    def __init__(self, size: int, order: Callable[[int], bool]) -> None:
        self._size = size
        self._order = order
        self._blanks: deque[Blank] = deque()
        self._ordered = 0
        self._takers: deque[asyncio.Future[Blank]] = deque()

    @property
    def pids(self) -> list[int]:
        """The processes at hand."""
        return [blank.pid for blank in self._blanks]

    async def take(self) -> Blank:
        """One at hand, or the next that is made.

        Raises:
            SandboxError: the host would not make it, or the spawner ended.
        """
        if self._blanks:
            return self._blanks.popleft()
        taker: asyncio.Future[Blank] = asyncio.get_running_loop().create_future()
        self._takers.append(taker)
        self.replenish()
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled() and taker.exception() is None:
                self._blanks.append(taker.result())
            elif taker in self._takers:
                self._takers.remove(taker)
            raise

    def replenish(self) -> None:
        """Order what is missing."""
        missing = self._size + len(self._takers) - len(self._blanks) - self._ordered
        missing = min(missing, _MOST_ORDERED - self._ordered)
        if missing > 0 and self._order(missing):
            self._ordered += missing

    def arrived(self, blank: Blank) -> None:
        """One that was ordered."""
        self._ordered -= 1
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(blank)
                break
        else:
            self._blanks.append(blank)
        if self._takers:
            self.replenish()

    def refused(self, error: SandboxError) -> None:
        """One that was ordered could not be made: whoever waits longest is told."""
        self._ordered -= 1
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_exception(error)
                return

    def ended(self, pid: int) -> None:
        """A process has ended; if it was one at hand, it is no more."""
        for blank in self._blanks:
            if blank.pid == pid:
                self._blanks.remove(blank)
                blank.discard()  # the next to take one orders more: at once here could go on for ever
                return

    def clear(self, error: SandboxError) -> None:
        """The spawner is gone, and every blank with it."""
        while self._blanks:
            self._blanks.popleft().discard()
        self._ordered = 0
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_exception(error)
