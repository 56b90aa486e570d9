"""How a connection reads the body of a request: whole, or in pieces as they come.

`http.HttpConnection` derives from `BodyReader`; the two are one object, cut in two files. By default a body is
collected, up to `max_body`, and handed out with its request. A subclass that `takes_pieces` is asked once per request,
when the head is complete (`body_begins`), whether it would rather have the body as it arrives. Then:

* `body_piece` is called with what each read brought, decoded from chunks. No size is too large; counting is the
  subclass's business, and it ends a body that is too long by returning False.
* `request_received` is called at the end, as for every request, with an empty `body` and the trailers.
* `pause_body` stops reading from the socket, so that the kernel, and in the end the sender's `write`, wait. What was
  read already is still passed on: at most one read, 256 KiB.

Bodies with a Content-Length are counted here and never shown to the parser. Chunked ones are fed to it up to each CRLF
CRLF, as the last chunk ends in one, so that what comes behind the body is not parsed with it.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from httptools import HttpParserError, HttpRequestParser

from ._held import Held
from ._limits import MAX_HEAD, MAX_PAYLOAD, MAX_STRAY_BODY
from ._pieces import collect

__all__ = ["BodyReader"]

# Where the connection is. Plain ints: compared on every read and every answer.
IDLE = 0  # between messages
HEAD = 1  # part of a head has come
LENGTH = 2  # in a body with Content-Length
CHUNKED = 3  # in a chunked body
BUSY = 4  # a request was handed out and waits for respond()
BLOCKED = 5  # answered, but the peer does not read
CLOSED = 6  # nothing more will be read or written

BLANK_LINE: Final = b"\r\n\r\n"
_LARGE: Final = 64 << 10


class BodyReader:
    """The part of an `HttpConnection` that reads bodies."""

    __slots__ = (
        "_chunks", "_complete", "_eof", "_held", "_need", "_parser", "_pieces", "_reading", "_seam", "_size",
        "_special", "_state", "_stray", "_unread", "_wire", "body", "body_overflow", "keep_alive", "transport",
    )  # fmt: skip

    MAX_HEAD: ClassVar[int] = MAX_HEAD
    """Bytes of request line and headers, and of a chunked body's trailers; more is answered 431."""
    MAX_DISCARD: ClassVar[int] = MAX_STRAY_BODY
    """Bytes of an oversized body that are read and thrown away."""
    max_body: ClassVar[int] = MAX_PAYLOAD
    """Bytes of a request body that are kept."""
    takes_pieces: ClassVar[bool] = False
    """Whether `body_begins` is asked at all."""

    transport: asyncio.Transport
    body: bytes
    keep_alive: bool
    body_overflow: int
    _parser: HttpRequestParser | None
    _state: int
    _special: bool
    _unread: bool
    _eof: bool
    _reading: bool
    _complete: bool
    _need: int  # bytes of a Content-Length body still to come
    _size: int  # body bytes so far
    _wire: int  # bytes of a chunked body as sent, framing included
    _stray: int  # of these, since the last body byte: chunk extensions and trailers
    _seam: bytes  # the last three bytes of the chunked body so far
    _chunks: list[bytes | bytearray]
    _held: Held | None  # the account of unfinished messages; those in pieces have no part in it
    _pieces: bool  # this body goes to body_piece

    # ---- for subclasses ------------------------------------------------------------------------------------------

    def request_received(self) -> None:
        """One whole request is in the attributes. Call `respond` exactly once, now or later, on the loop."""
        raise NotImplementedError

    def request_aborted(self) -> None:
        """The connection ended, or its framing broke, in the middle of a request's body. Head attributes are set."""

    def body_begins(self) -> bool:
        """The head of a request with a body is in the attributes. Return True to have the body in pieces.

        After a False, an equal head on this connection may be taken for one that is answered False again.
        """
        return False

    def body_piece(self, data: bytes) -> bool:
        """The next bytes of a body in pieces; never empty.

        Return False to read no more of it: `request_received` is called next, and the connection closes after the
        answer.
        """
        raise NotImplementedError

    def pause_body(self) -> None:
        """Read no more of a body in pieces until `resume_body`. In any other state this does nothing."""
        if self._pieces and self._reading and not self._eof and self._state in {LENGTH, CHUNKED}:
            self._reading = False
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Read on."""
        if self._pieces and not self._reading and self._state in {LENGTH, CHUNKED}:
            self._reading = True
            self.transport.resume_reading()

    # ---- httptools callbacks -------------------------------------------------------------------------------------

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of a chunked body (bodies with Content-Length do not pass through the parser)."""
        self._stray = -1
        self._size += len(data)
        if self._size > self.max_body and not self._pieces:
            self.body_overflow = self._size
            self._chunks.clear()
            self._let_go()
        else:
            collect(self._chunks, data)
            if not self._pieces:
                self._keep(len(data))

    def on_message_complete(self) -> None:
        """httptools: the message is whole."""
        self._complete = True

    # ---- reading -------------------------------------------------------------------------------------------------

    def _feed_length(self, data: bytes, pos: int) -> int:
        """Take a body with Content-Length, as far as it came; return the position reached."""
        piece = data[pos : pos + self._need]
        self._need -= len(piece)
        if not self._need:
            if not self.body_overflow:
                self._chunks.append(piece)
            self._hand_out()
        elif self._pieces:
            self._chunks.append(piece)
            self._flush_pieces()
        elif not self.body_overflow:
            collect(self._chunks, piece)
            self._keep(len(piece))
        return pos + len(piece)

    def _feed_chunked(self, data: bytes, pos: int) -> int:
        """Feed the parser up to where the message may end; return the position reached."""
        seam = self._seam
        straddle = (seam + data[pos : pos + 3]).find(BLANK_LINE) if seam else -1
        if straddle >= 0:
            stop = pos + straddle + 4 - len(seam)
        else:
            stop = data.find(BLANK_LINE, pos) + 4
            if stop < 4:
                stop = len(data)
        piece = data[pos:stop]
        parser = self._parser
        assert parser is not None
        try:
            parser.feed_data(piece)
        except HttpParserError as error:
            self.request_aborted()
            self._refuse_parse(error)
            return stop
        self._wire += len(piece)
        self._seam = (seam + piece)[-3:]
        if self._complete:
            self._hand_out()
            return stop
        if self._wire > self.MAX_DISCARD and not self._pieces:
            self.body_overflow = max(self._size, self.max_body + 1)
            self._give_up()
            self.request_received()
            return stop
        self._stray = 0 if self._stray < 0 else self._stray + len(piece)
        if self._stray > self.MAX_HEAD:
            self.request_aborted()
            self._refuse(431, "RequestHeaderFieldsTooLarge", f"Trailers exceed {self.MAX_HEAD} bytes")
        elif self._pieces and stop == len(data):  # what one read brought is passed on as one
            self._flush_pieces()
        return stop

    def _hand_out(self) -> None:
        chunks = self._chunks
        if self._pieces:
            if chunks:
                self.body_piece(self._taken())
            self._pieces = False
            if self._state == CLOSED:  # by what it was passed on to
                return
            if not self._reading:
                self._reading = True
                self.transport.resume_reading()
            self.body = b""
        else:
            self.body = b"" if self.body_overflow else self._taken()
            self._let_go()
        if len(self.body) > _LARGE or (self._state == CHUNKED and self._wire > _LARGE):
            self._special = True
        self._state = BUSY
        self.request_received()

    def _flush_pieces(self) -> None:
        if self._chunks and not self.body_piece(self._taken()) and self._state != CLOSED:
            self._pieces = False
            self._give_up()
            self.request_received()

    def _taken(self) -> bytes:
        chunks = self._chunks
        data = b"".join(chunks)
        chunks.clear()
        return data

    def _give_up(self) -> None:
        """The rest of this body will not be read: hand the request out as too large, and close after the answer."""
        self._chunks.clear()
        self._let_go()
        self.keep_alive = False
        self._special = self._unread = True
        self._state = BUSY

    # ---- the account of unfinished messages ----------------------------------------------------------------------

    def _keep(self, size: int) -> None:
        if self._held is not None:
            self._held.keep(self, size)

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.let_go(self)

    def wait(self) -> None:
        """See `_held.Holder`."""
        if self._reading and not self._eof:
            self._reading = False
            self.transport.pause_reading()

    def go_on(self) -> None:
        """See `_held.Holder`."""
        if not self._reading and not self._eof and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    def _refuse(self, status: int, error_type: str, message: str) -> None:
        raise NotImplementedError

    def _refuse_parse(self, error: HttpParserError) -> None:
        raise NotImplementedError
