"""A streamed response for whoever takes it with `await`: aiohttp's handler, and the embedding API."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from engine.lifecycle.streaming import ResponseStream, Step
from engine.model.invocation import Invocation

HIGH_WATER: Final = 65_536
"""Bytes that may wait to be taken before the runtime is held back."""

Ending = TypeVar("Ending")


class PieceQueue(ResponseStream, Generic[Ending]):
    """Keeps the few pieces that came and were not taken yet; one taker.

    Args:
        conclude: called with the invocation while its reply is delivered: what is to be remembered of its end.

    Attributes:
        ending: what `conclude` returned; None before the end.
    """

    __slots__ = ("_conclude", "_pieces", "_waiter", "_waiting", "ending")

    def __init__(self, conclude: Callable[[Invocation], Ending]) -> None:
        super().__init__()
        self.ending: Ending | None = None
        self._conclude: Callable[[Invocation], Ending] | None = conclude
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes
        self._waiter: asyncio.Future[None] | None = None

    async def opened(self) -> bool:
        """Wait until the response begins or the invocation ends. Returns whether it begins."""
        while self.step is Step.WAITING:
            await self._wait()
        return self.begun

    async def take(self) -> bytes:
        """The next piece; ``b""`` at the end."""
        while not self._pieces:
            if self.step is Step.ENDED:
                return b""
            await self._wait()
        data = self._pieces.popleft()
        self._waiting -= len(data)
        if self.held and self._waiting <= HIGH_WATER:
            self.quick()
        return data

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def gone(self) -> None:
        """Nobody takes any more: what waits is dropped."""
        super().gone()
        self._pieces.clear()
        self._waiting = 0

    def open(self, invocation: Invocation) -> None:
        """It begins."""
        self._wake()

    def send(self, data: bytes) -> None:
        """Keep it, and hold the runtime back when that is much."""
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > HIGH_WATER:
            self.slow()
        self._wake()

    def finish(self, invocation: Invocation) -> None:
        """It ended."""
        conclude, self._conclude = self._conclude, None
        assert conclude is not None
        self.ending = conclude(invocation)
        self._wake()
