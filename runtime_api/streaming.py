"""A connection whose answers may go out in pieces: the other half of streaming (`_body` is the first).

An answer of unknown length is sent with the chunked transfer coding. A client of HTTP/1.0 does not know that one: it is
sent the body as it is, and the end of the connection is the end of the body.
"""

from __future__ import annotations

from ._body import BUSY, CLOSED
from .http import HttpConnection

__all__ = ["StreamingConnection", "chunk"]

LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of the chunked transfer coding; nothing at all when it is empty, as that would be the end."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class StreamingConnection(HttpConnection):
    """An `HttpConnection` that can also answer in pieces: `begin_answer`, `answer_piece` …, `end_answer`.

    Each is one write, so that what is written is on its way before the call returns. On a connection that is gone
    meanwhile they do nothing. Whether the peer keeps up shows in `pause_writing` and `resume_writing`.
    """

    __slots__ = ("_framed",)

    def __init__(self) -> None:
        super().__init__()
        self._framed = True

    def begin_answer(self, head: bytes, data: bytes = b"") -> None:
        """Send the head of an answer whose body follows, and the first piece of the body.

        Args:
            head: status line and headers, each ended by CRLF, without the blank line and without any framing header.
            data: the beginning of the body; may be empty.

        Raises:
            RuntimeError: no request is waiting for a response.
        """
        if self._state == CLOSED:
            return
        if self._state != BUSY:
            raise RuntimeError(f"begin_answer() without a request: {head[:64]!r} has nobody to go to")
        self._framed = not self._http10
        if self._framed:
            close = b"" if self.keep_alive else b"Connection: close\r\n"
            self.transport.write(b"%bTransfer-Encoding: chunked\r\n%b\r\n%b" % (head, close, chunk(data)))
        else:
            self.keep_alive = False
            self.transport.write(b"%bConnection: close\r\n\r\n%b" % (head, data))

    def answer_piece(self, data: bytes) -> None:
        """Send more of the body."""
        if self._state == BUSY:
            self.transport.write(chunk(data) if self._framed else data)

    def end_answer(self, data: bytes = b"") -> None:
        """Send the last piece of the body, and take up the next request."""
        if self._state == BUSY:
            self.transport.write(chunk(data) + LAST_CHUNK if self._framed else data)
            self._answered()
