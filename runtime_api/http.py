"""An HTTP/1.1 server connection without ceremony: bytes in, one request at a time, bytes out.

This is what the hot path of a function engine runs on, so it does no more than its promises need: no task, no future,
no closure per request; a subclass gets a call when a request is whole and calls `respond` when it has the answer, now
or later. Parsing is httptools' (llhttp, strict). Three decisions shape the file:

*One message at a time.* The parser is fed exactly one message and the rest of what arrived waits as raw bytes until the
answer is out, so pipelined requests come in order, cost nothing while they wait, and are bounded by bytes: past
`MAX_PIPELINE` the socket is not read and the kernel pushes back. To know where a message ends without parsing it twice,
heads are cut at the blank line (collected first when they come in pieces), bodies with a Content-Length are counted
and never shown to the parser, and chunked bodies are fed up to each CRLF CRLF, as the last chunk ends in one.

*The last head is remembered.* A keep-alive client that calls in a loop sends the same head over and over. When what
arrives is, byte for byte, the head of the request before, alone or with its whole body, then the method, target and
headers already stand in the attributes, and the parser is not asked. The comparison is a memcmp, and it is exact: the
parser is a function of the bytes, and the connection was between messages both times.

*Unfinished messages are accounted for.* Where many connections belong to one untrusted peer, `held` is what bounds the
bytes kept of messages that are not whole (`_held.py`). And a message that was answered leaves nothing large behind on
its connection.

*Reading stops when the peer does.* While the transport's write buffer is over its high-water mark no further request is
taken up, so a client that sends without reading cannot make the server buffer answers without bound.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import ClassVar, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from ._body import BLANK_LINE, BLOCKED, BUSY, CHUNKED, CLOSED, HEAD, IDLE, LENGTH, BodyReader
from ._errors import error_body
from ._held import Held
from ._pieces import PartialHead
from ._response import CONTINUE, render

__all__ = ["BLANK_LINE", "BUSY", "CLOSED", "IDLE", "LENGTH", "HttpConnection", "render"]

_UPGRADE_LINE: Final = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*", re.IGNORECASE)
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 1 << 20
_LARGE: Final = 64 << 10
_EMPTY: dict[bytes, bytes] = {}


class _TooManyHeaders(Exception):
    pass


class HttpConnection(BodyReader, asyncio.Protocol):
    """The server side of one HTTP/1.1 (or 1.0) connection. Subclass it and override `request_received`.

    When `request_received` is called, one whole request is in the attributes, and stays there until `respond`:

    Attributes:
        transport: the asyncio transport, set once connected.
        method: ``b"GET"``, as sent.
        target: the request target, as sent: path and query, not decoded.
        headers: lower-case names to values; repeated headers joined by ``b", "``. Do not change it: an identical next
            request is given the same dict.
        body: the whole body, decoded from chunks; ``b""`` when there was none.
        trailers: the trailer fields of a chunked body, as `headers`.
        keep_alive: False when the connection is to close after the answer.
        body_overflow: 0, or, when the body was over `max_body`, its size as far as known. The body was then read and
            thrown away, up to `MAX_DISCARD`, so that the answer can be sent on a connection in order; beyond that the
            connection closes after the answer.

    Args:
        held: the account of unfinished messages that this connection shares with others of the same peer.
    """

    __slots__ = (
        "_count", "_fields", "_http10", "_linger", "_linger_read", "_memo", "_memo_size", "_partial", "_proceeding",
        "_tail", "_tail_pos", "_tail_size", "_write_paused", "headers", "method", "target",
        "trailers",
    )  # fmt: skip

    MAX_HEADERS: ClassVar[int] = 256
    """Header lines of one request (and its trailers); more is answered 431."""
    MAX_PIPELINE: ClassVar[int] = 64 << 10
    """Bytes that may wait behind an unanswered request before the socket is no longer read."""
    MAX_MEMO: ClassVar[int] = 16 << 10
    """A head that is longer is not remembered, and gone when its request is answered."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    trailers: dict[bytes, bytes]

    def __init__(self, held: Held | None = None) -> None:
        self._held = held
        self.method = self.target = self.body = b""
        self.headers = self.trailers = self._fields = _EMPTY
        self.keep_alive = True
        self.body_overflow = 0
        self._state = IDLE
        self._parser = None
        self._memo = b""  # the head of the request in the attributes, if an identical one may skip the parser
        self._memo_size = -1  # that head's length and its body's; -1: no such head
        self._special = False  # respond() has more to think of than one write
        self._eof = False  # the peer has sent all it will send
        self._write_paused = False
        self._reading = True
        self._http10 = False
        self._unread = False  # the request's body was not read to its end: close carefully
        self._complete = False
        self._count = 0  # header lines so far
        self._need = self._size = self._wire = self._stray = 0
        self._seam = b""
        self._chunks = []
        self._pieces = False
        self._partial: PartialHead | None = None
        self._tail: list[bytes] = []  # what came behind the request being answered
        self._tail_pos = 0
        self._tail_size = 0
        self._proceeding = False
        self._linger: asyncio.TimerHandle | None = None
        self._linger_read = 0

    # ---- for subclasses ------------------------------------------------------------------------------------------

    def half_closed(self) -> None:
        """The peer has sent all it will send, and a request still waits for its answer, which may still be sent."""

    def closed(self) -> None:
        """The connection is gone. Called once."""

    def refusal(self, status: int, error_type: str, message: str) -> bytes:
        """The whole response to a request that was not well-formed HTTP; override it for another error shape."""
        return render(status, error_body(error_type, message))

    def respond(self, data: bytes) -> None:
        """Send `data`, a complete response with Content-Length, in one write, and take up the next request.

        On a connection that is gone meanwhile this does nothing.

        Raises:
            RuntimeError: no request is waiting for a response.
        """
        if self._special or self._state != BUSY:
            self._respond_special(data)
            return
        self._state = IDLE
        self.transport.write(data)

    def respond_parts(self, head: bytes, body: bytes) -> None:
        """`respond(head + body)` without copying a large body."""
        if self._special or self._state != BUSY or len(body) < 65536:
            self.respond(head + body)
            return
        self._state = IDLE
        self.transport.writelines((head, body))

    def abort(self) -> None:
        """Drop the connection at once; bytes of it that already arrived are never looked at."""
        if self._state != CLOSED:
            self._state = CLOSED
            self._special = True
            self.transport.abort()

    def detach(self) -> bytes:
        """Give the transport up to another protocol: nothing more is read or written here.

        Returns what came behind the request in the attributes and was not taken up yet.
        """
        rest = b"".join(self._tail)[self._tail_pos :] if self._tail else b""
        self._tail = []
        self._state = CLOSED
        self._special = True
        self._parser = None  # connection_lost will not come here
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()
        return rest

    @property
    def between(self) -> bool:
        """Whether the connection is between two messages: none begun, none waiting for its answer."""
        return self._state == IDLE

    @property
    def waiting(self) -> bool:
        """Whether a request was handed out and is not answered."""
        return self._state == BUSY

    @property
    def receiving(self) -> bool:
        """Whether bytes may still come in on this connection."""
        return not self._eof and self._state != CLOSED

    # ---- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport; switch Nagle's algorithm off (a delayed ACK would cost a peer 44 ms)."""
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        state = self._state
        if state == IDLE:
            size = self._memo_size
            if len(data) == size and data.startswith(self._memo):
                self.body = data[len(self._memo) :]
                self._state = BUSY
                self.request_received()
            elif size > 0 and data == self._memo:  # curl, and so AWS's C++ core, writes head and body apart
                self._need = size - len(data)
                self._state = LENGTH
            else:
                self._consume(data, 0)
        elif state < BUSY:
            self._consume(data, 0)
        elif state != CLOSED:
            self._stash(data, 0)
        elif self._linger is not None:
            self._linger_read += len(data)
            if self._linger_read > _LINGER_BYTES:
                self.transport.abort()

    def eof_received(self) -> bool:
        """The peer closed its sending side; whoever waits for an answer is still given it."""
        state = self._state
        self._eof = self._special = True
        if state == CLOSED:
            return False
        if state >= BUSY:
            self.half_closed()
            return self._state != CLOSED
        self._end_of_input()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        state, self._state = self._state, CLOSED
        self._special = True
        self._parser = None  # it holds methods of ours: break the cycle
        self._partial = None
        self._tail.clear()
        self._chunks.clear()
        self._let_go()
        self._memo_size = -1
        if self._linger is not None:
            self._linger.cancel()
        if state in {LENGTH, CHUNKED}:
            self.request_aborted()
        self.closed()

    def pause_writing(self) -> None:
        """The peer does not read: no further request is taken up."""
        self._write_paused = self._special = True
        if self._state == IDLE:
            self._state = BLOCKED

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._write_paused = False
        if self._state == BLOCKED:
            self._state = IDLE
            self._special = self._eof
            self._proceed()

    # ---- httptools callbacks; only what is needed is defined, each costs time -------------------------------------

    def on_url(self, url: bytes) -> None:
        """httptools: (a piece of) the request target."""
        self.target = self.target + url if self.target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header, or, after the body, a trailer field."""
        fields = self._fields
        name = name.lower()
        self._count += 1
        if self._count > self.MAX_HEADERS:
            raise _TooManyHeaders  # joining repeated fields is quadratic in their number
        if name in fields:
            fields[name] = fields[name] + b", " + value
        else:
            fields[name] = value

    def on_headers_complete(self) -> None:
        """httptools: asked now, as the parser forgets the flags when a message is complete."""
        parser = self._parser
        assert parser is not None
        self.keep_alive = parser.should_keep_alive()

    # ---- reading -------------------------------------------------------------------------------------------------

    def _consume(self, data: bytes, pos: int) -> None:
        """Take messages out of `data` from `pos` on, until it is used up or a request waits for its answer."""
        end = len(data)
        while pos < end:
            state = self._state
            if state == IDLE:
                if data[pos] == 13:  # RFC 9112 2.2: empty lines before a request are ignored
                    while data.startswith(b"\r\n", pos):
                        pos += 2
                stop = data.find(BLANK_LINE, pos) + 4
                if stop < 4:
                    if pos < end:
                        self._start_partial(data[pos:])
                    return
                head = data[pos:stop]
                pos = stop
                self._begin(head, more=pos < end)
                if self._state == LENGTH and end - pos >= self._need and not self._pieces:
                    stop = pos + self._need
                    if not self.body_overflow:
                        self.body = data[pos:stop]
                    pos = stop
                    self._state = BUSY
                if self._state == BUSY:
                    self.request_received()
            elif state == HEAD:
                partial = self._partial
                assert partial is not None
                piece = data[pos:] if pos else data
                whole = partial.add(piece)
                if whole is None:
                    self._check_partial(piece)
                    return
                self._partial = None
                self._let_go()
                self._state = IDLE
                data, pos, end = whole, 0, len(whole)
            elif state == LENGTH:
                pos = self._feed_length(data, pos)
            elif state == CHUNKED:
                pos = self._feed_chunked(data, pos)
            else:
                if state != CLOSED:
                    self._stash(data, pos)
                return

    def _begin(self, head: bytes, *, more: bool) -> None:
        """Parse a complete head. Leaves the state LENGTH, CHUNKED, BUSY (no body: hand it out) or CLOSED (refused)."""
        if len(head) > self.MAX_HEAD:
            self._refuse(431, "RequestHeaderFieldsTooLarge", f"Request line and headers exceed {self.MAX_HEAD} bytes")
            return
        self.target = self.body = b""
        self.trailers = _EMPTY
        self.headers = headers = self._fields = {}
        self.body_overflow = self._count = self._size = 0
        self._complete = self._http10 = False
        parser = self._parser
        if parser is None:
            parser = self._parser = HttpRequestParser(self)
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            # "Upgrade: h2c" (Java's HttpClient sends it) may be ignored, RFC 9110 7.8; llhttp would skip the body.
            self._parser = None
            stripped = _UPGRADE_LINE.sub(b"", head)
            if len(stripped) == len(head):
                self._refuse(400, "InvalidRequest", "CONNECT is not supported")
            else:
                self._begin(stripped, more=more)
                self._memo_size = -1
            return
        except HttpParserError as error:
            self._refuse_parse(error)
            return
        self.method = parser.get_method()
        self._memo_size = -1
        if len(head) > self.MAX_MEMO:
            self._special = True
        if not self.keep_alive or b"connection" in headers:
            version = parser.get_http_version()
            self._http10 = version == "1.0"
            if version not in {"1.0", "1.1"}:
                self._refuse(400, "InvalidRequest", f"HTTP/{version} is not supported")
                return
            if not self.keep_alive or self._http10:
                self._special = True
        plain = self.keep_alive and not self._http10 and b"expect" not in headers
        length = headers.get(b"content-length")
        if length is not None:
            # llhttp vouches for one value of digits, and for no Transfer-Encoding beside it.
            self._need = need = int(length)
            if plain and need <= self.max_body and len(head) <= self.MAX_MEMO:
                self._memo = head
                self._memo_size = len(head) + need
            if not need:
                self._state = BUSY
                return
            self._parser = None  # it waits for a body it will not see; a new one costs less than feeding it
            self._state = LENGTH
            self._chunks.clear()
            if self.takes_pieces and self.body_begins():
                self._pieces = True
                self._memo_size = -1
            elif need > self.max_body:
                self.body_overflow = need
        elif self._complete:
            if plain and len(head) <= self.MAX_MEMO:
                self._memo = head
                self._memo_size = len(head)
            self._state = BUSY
            return
        elif b"transfer-encoding" not in headers:
            self._refuse(400, "InvalidRequest", "Not an HTTP/1.1 request")  # "PRI * HTTP/2.0"
            return
        elif headers[b"transfer-encoding"].lower() != b"chunked" or self._http10:
            self._refuse(501, "NotImplemented", "Only the chunked transfer coding of HTTP/1.1 is supported")
            return
        else:
            self._state = CHUNKED
            self._chunks.clear()
            self._wire = self._stray = 0
            self._seam = b""
            self.trailers = self._fields = {}
            self._pieces = self.takes_pieces and self.body_begins()
        if headers.get(b"expect", b"").lower() == b"100-continue" and not more and not self._http10:
            if self.body_overflow:
                self._give_up()  # never invited, so whether the body follows cannot be known: answer and close
                return
            self.transport.write(CONTINUE)
        if self.body_overflow > self.MAX_DISCARD:
            self._give_up()

    def _start_partial(self, data: bytes) -> None:
        self._memo_size = -1
        self._state = HEAD
        self._partial = PartialHead(data)
        self._check_partial(data)

    def _check_partial(self, data: bytes) -> None:
        """Refuse garbage when it comes, not when (if ever) its blank line does."""
        partial = self._partial
        assert partial is not None
        if partial.size > self.MAX_HEAD:
            self._refuse(431, "RequestHeaderFieldsTooLarge", f"Request line and headers exceed {self.MAX_HEAD} bytes")
            return
        self._keep(len(data))
        try:
            partial.check(data)
        except HttpParserError as error:
            self._refuse_parse(error)

    def forget(self) -> None:
        """Let go of the request in the attributes: it has been answered, or may wait for long."""
        self.target = self.body = b""
        self.headers = self.trailers = self._fields = _EMPTY
        self._memo_size = -1

    # ---- waiting input -------------------------------------------------------------------------------------------

    def _stash(self, data: bytes, pos: int) -> None:
        """Keep what came behind the request being answered, and stop reading when it is much."""
        if not self._tail:
            self._tail_pos = pos
        self._tail.append(data)
        self._tail_size += len(data) - pos
        self._special = True
        if self._reading and not self._eof and self._tail_size > self.MAX_PIPELINE:
            self._reading = False
            self.transport.pause_reading()

    def _proceed(self) -> None:
        """After an answer: take up what waited, then end if the peer had ended."""
        if self._proceeding:
            return  # an answer given from within the loop below, which goes on by itself
        if self._tail:
            self._proceeding = True
            tail, pos = self._tail, self._tail_pos
            self._tail = []
            self._tail_size = 0
            if not self._reading and not self._eof and not self.transport.is_closing():
                self._reading = True
                self.transport.resume_reading()
            try:
                self._consume(tail[0] if len(tail) == 1 else b"".join(tail), pos)
            finally:
                self._proceeding = False
        if self._eof and self._state < BUSY:
            self._end_of_input()

    def _end_of_input(self) -> None:
        """The peer ended between messages, or in the middle of one."""
        if self._state in {LENGTH, CHUNKED}:
            self.request_aborted()
            self._refuse(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
        elif self._state == HEAD:
            self._refuse(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
        elif self._state != CLOSED:
            self._state = CLOSED
            self.transport.close()

    # ---- writing and ending --------------------------------------------------------------------------------------

    def _respond_special(self, data: bytes) -> None:
        if self._state == CLOSED:
            return
        if self._state != BUSY:
            raise RuntimeError(f"respond() without a request: {data[:64]!r} has nobody to go to")
        if self._http10 or not self.keep_alive:
            field = b"\r\nConnection: keep-alive" if self.keep_alive else b"\r\nConnection: close"
            end_of_head = data.index(BLANK_LINE)
            data = b"".join((data[:end_of_head], field, data[end_of_head:]))
        self.transport.write(data)
        self._answered()

    def _answered(self) -> None:
        """A whole answer was written, off the fast path: what comes next?"""
        if self._memo_size < 0 or len(self.body) > _LARGE:
            self.forget()
        if not self.keep_alive:
            self._end(careful=self._unread)
        elif self._write_paused:
            self._state = BLOCKED
        else:
            self._state = IDLE
            self._special = self._eof
            self._proceed()

    def _refuse_parse(self, error: HttpParserError) -> None:
        if isinstance(error.__context__, _TooManyHeaders):
            self._refuse(431, "RequestHeaderFieldsTooLarge", f"More than {self.MAX_HEADERS} header fields")
        else:
            self._refuse(400, "InvalidRequest", f"Malformed HTTP request: {error}")

    def _refuse(self, status: int, error_type: str, message: str) -> None:
        """Answer what is not a request, and close: where the next message would begin is unknown."""
        if self._state == CLOSED:
            return
        response = self.refusal(status, error_type, message)
        end_of_head = response.index(BLANK_LINE)
        self.transport.write(response[:end_of_head] + b"\r\nConnection: close" + response[end_of_head:])
        self._end(careful=True)

    def _end(self, *, careful: bool) -> None:
        """Close after what is written has been sent.

        Closing a socket with unread input resets the connection, and the reset may overtake the answer. Where more
        input is likely (`careful`), only the sending side is closed, and input is thrown away for a moment first.
        """
        self._state = CLOSED
        self._special = True
        self._tail.clear()
        self._chunks.clear()
        self._partial = None
        self._let_go()
        transport = self.transport
        if not careful or self._eof or transport.is_closing() or not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        if not self._reading:
            self._reading = True
            transport.resume_reading()
        self._linger = asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)
