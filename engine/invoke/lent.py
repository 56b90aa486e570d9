"""A connection while aiohttp has it, and how it is taken back.

Invoke through aiohttp takes twice as long as through `front`. boto3 sends all of a client's requests over one
connection, so most connections carry an Invoke after something else. Between two requests the connection can change
hands: aiohttp's protocol is told that its connection is lost, and is left without the transport that it would close.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from aiohttp import web


class LentConnection(asyncio.Protocol):
    """Stands between a transport and aiohttp's protocol for it, and looks at the first bytes of each request."""

    __slots__ = ("_borrower", "_mine", "_partial", "_slow", "_take_back", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        borrower: web.RequestHandler,
        mine: Callable[[bytes], object],
        take_back: Callable[[], asyncio.Protocol],
    ) -> None:
        """Lend it.

        Args:
            transport: of the connection.
            borrower: aiohttp's protocol, new.
            mine: true for data that begins with a request which the lender serves itself.
            take_back: makes the protocol that goes on then.
        """
        self._transport = transport
        self._borrower = borrower
        self._mine = mine
        self._take_back = take_back
        self._partial = False  # the head of a request has begun
        self._slow = False  # the client does not read
        borrower.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """For aiohttp, or the beginning of a request that is not."""
        borrower = self._borrower
        if self._mine(data) and self._idle():
            self._take_back_now(data)
            return
        borrower.data_received(data)
        # Private, as aiohttp does not tell. Without these names (a test would say so) it keeps its connections.
        self._partial = not (getattr(borrower, "_messages", None) or getattr(borrower, "_current_request", None))

    def _take_back_now(self, data: bytes) -> None:
        self._borrower.transport = None
        self._borrower.connection_lost(None)
        protocol = self._take_back()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)

    def _idle(self) -> bool:
        """Whether aiohttp has answered all that came, has read all of it, and waits for a new request's first byte."""
        waiter = cast("asyncio.Future[None] | None", getattr(self._borrower, "_waiter", None))
        if waiter is None or waiter.done():
            return False
        return not (self._partial or self._slow or self._transport.is_closing())

    def eof_received(self) -> None:
        """The client sends no more; the answer to what it has sent is not for it, then (so does aiohttp alone)."""
        self._borrower.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self._borrower.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._slow = True
        self._borrower.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._slow = False
        self._borrower.resume_writing()
