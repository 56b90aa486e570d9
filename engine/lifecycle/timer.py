"""The one timer of an environment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import ceil


class DeadlineTimer:
    """Calls `fire` at a deadline, instead of any earlier wish. Deadlines are seconds of `time.monotonic`."""

    __slots__ = ("_fire", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._loop = loop
        self._fire = fire
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, deadline: float) -> None:
        """(Re-)set it, to the next whole millisecond.

        uvloop counts in milliseconds, rounds, and counts from when the loop last woke up: a timer for 0.4 ms would fire
        at once and be set again, over and over, until the 0.4 ms are over.
        """
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(ceil(max(0.0, deadline - time.monotonic()) * 1000) / 1000, self._fired)

    def disarm(self) -> None:
        """Do not fire."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fired(self) -> None:
        self._handle = None
        self._fire()
