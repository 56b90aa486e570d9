"""What an embedded invocation gives that is taken in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from engine.errors import AwsError, FunctionFailedError
from engine.invoke.pieces import PieceQueue
from engine.invoke.result import InvocationResult, result_of
from engine.model.invocation import Invocation


class InvocationStream(AsyncIterator[bytes]):
    """The response of one invocation, as the function writes it: bytes, in pieces of any size. Iterate it once.

    The function is held back while nobody takes what it wrote. Leaving the loop early lets it run on, unheard; so does
    dropping the object. A function that answers in one piece gives one piece.

    Attributes:
        queue: where the response arrives; the engine's side of it.
    """

    __slots__ = ("_result", "queue")

    def __init__(self) -> None:
        self.queue: PieceQueue[InvocationResult | AwsError] = PieceQueue(_concluded)
        self._result: InvocationResult | None = None

    @property
    def content_type(self) -> str:
        """The content type that the function gave; "" before the first piece."""
        return self.queue.content_type.decode("latin-1")

    @property
    def result(self) -> InvocationResult | None:
        """How it ended; None before the end. Its `payload` is empty when the response was streamed."""
        return self._result

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            StopAsyncIteration: the response is complete.
            FunctionFailedError: the function failed, before or after its first byte.
            AwsError: the invocation was refused or throttled.
        """
        if self._result is not None:
            raise StopAsyncIteration
        piece = await self.queue.take()
        if piece:
            return piece
        ending = self.queue.ending
        assert ending is not None
        if isinstance(ending, AwsError):
            raise ending
        self._result = ending
        if ending.function_error is not None:
            raise FunctionFailedError(ending.payload)
        if ending.payload:
            return ending.payload
        raise StopAsyncIteration

    def close(self) -> None:
        """Take no more: the function is not held back any longer, and what it still writes is dropped. Idempotent."""
        self.queue.gone()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        """Dropped, perhaps by a `break`: nobody can take any more."""
        self.close()


def _concluded(invocation: Invocation) -> InvocationResult | AwsError:
    return invocation.error if invocation.error is not None else result_of(invocation)
