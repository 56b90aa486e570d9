"""Time, passed in: a monotonic clock in seconds for decisions, and wall-clock milliseconds for the wire.

State tables and the scheduler never read a clock; they take `now` (seconds, monotonic) as an argument. The shells read
it here, so that a test may put a :class:`VirtualClock` in its place.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a shell reads the time."""

    def now(self) -> float:
        """Monotonic time in seconds."""
        ...

    def epoch_ms(self) -> int:
        """Wall-clock time in milliseconds since the Unix epoch, as Lambda writes deadlines."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    now = staticmethod(time.monotonic)

    @staticmethod
    def epoch_ms() -> int:
        """Wall-clock milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000


class VirtualClock:
    """A clock that stands still until it is told to move. For tests and simulations."""

    __slots__ = ("_epoch", "_now")

    def __init__(self, now: float = 0.0, epoch: float = 1_700_000_000.0) -> None:
        self._now = now
        self._epoch = epoch - now

    def now(self) -> float:
        """The virtual time in seconds."""
        return self._now

    def epoch_ms(self) -> int:
        """The virtual wall clock in milliseconds."""
        return int((self._epoch + self._now) * 1000)

    def advance(self, seconds: float) -> float:
        """Move time forward and return the new `now`.

        Raises:
            ValueError: when `seconds` is negative; monotonic time does not run backwards.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} s: monotonic time does not run backwards")
        self._now += seconds
        return self._now


def timestamp(epoch_ms: int) -> str:
    """A wall-clock time as AWS writes most of them: ``2024-01-02T03:04:05.678+0000``."""
    when = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}+0000"
