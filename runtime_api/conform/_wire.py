"""One runtime's connections, with every byte that it sent kept.

A judge must not be strict by accident or lenient by accident, so this is a server of its own, which shares nothing with
the one that is used in production: it reads any HTTP/1.x message that can be understood at all, writes down what is odd
about it (`Exchange.defects`), and sends exactly what a clause tells it to send, in the pieces that it asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Sequence
from typing import Final

__all__ = ["Broken", "Exchange", "Wire"]

_MAX_HEAD: Final = 2 << 20
_MAX_BODY: Final = 16 << 20
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/(\d\.\d)")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")


class Broken(Exception):
    """What came is not HTTP, or ended in the middle. The exchange has the bytes."""


class Exchange:
    """One request of the runtime, and the means to answer it.

    Attributes:
        connection: the number of the connection, from 0.
        head: request line and headers as they came, up to the blank line.
        method, target, version: of the request line, text.
        headers: name in lower case, value; in order, repeated ones too.
        body: what has come of the body so far, decoded from chunks.
        trailers: of a chunked body, once it is complete.
        framing: ``length``, ``chunked`` or ``none``.
        defects: what is odd about the message, in words.
        complete: whether the whole body is there.
        broken: why it will never be, or None.
    """

    def __init__(self, wire: Wire, connection: int, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.connection = connection
        self.head = head
        self.method = self.target = self.version = ""
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()
        self.trailers: dict[str, str] = {}
        self.framing = "none"
        self.defects: list[str] = []
        self.complete = False
        self.broken: str | None = None
        self.answered = asyncio.Event()
        self.continued = False
        self.keep = True
        self._wire = wire
        self._writer = writer
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.target} {len(self.body)} bytes on connection {self.connection}>"

    def header(self, name: str) -> str | None:
        """The value of a header, repeated ones joined; None when it is absent."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    def shown(self, limit: int = 800) -> str:
        """The request as it came, for a report: escaped where it is not printable, cut where it is long."""
        return show(self.head + b"\r\n\r\n" + bytes(self.body[:limit]), limit + 1200) + (
            f"… ({len(self.body)} bytes)" if len(self.body) > limit else ""
        )

    async def whole(self) -> bytes:
        """Wait for the end of the body. Raises `Broken`."""
        while not self.complete:
            await self.more(len(self.body))
        return bytes(self.body)

    async def more(self, than: int) -> int:
        """Wait for more than so many bytes of body, or its end. Returns how many there are. Raises `Broken`."""
        while len(self.body) <= than and not self.complete:
            if self.broken is not None:
                raise Broken(self.broken)
            self._changed.clear()
            await self._changed.wait()
        return len(self.body)

    def changed(self) -> None:
        """The wire read something."""
        self._changed.set()

    async def send(self, *pieces: bytes, close: bool = False, pause_s: float = 0.0) -> None:
        """Answer with these bytes, one write for each piece. `close`: and close the connection then.

        A runtime that is gone meanwhile is no error here; the clause looks at what comes, or does not, next.
        """
        self.keep = not close
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()
                if pause_s:
                    await asyncio.sleep(pause_s)
        self.answered.set()

    async def answer(
        self,
        status: int,
        body: bytes = b"",
        headers: Sequence[tuple[str, str]] = (),
        *,
        content_type: str = "application/json",
        close: bool = False,
    ) -> None:
        """Answer as the Runtime API does: a status line, headers, and a body with Content-Length, in one write."""
        fields = [*headers, ("Content-Type", content_type), ("Content-Length", str(len(body)))]
        if close:
            fields.append(("Connection", "close"))
        await self.send(render(status, fields) + body, close=close)

    async def accept(self) -> None:
        """202, as for every accepted post."""
        await self.answer(202, b'{"status":"OK"}\n')

    async def drop(self) -> None:
        """Close the connection without an answer."""
        self.keep = False
        self._writer.close()
        self.answered.set()


def render(status: int, fields: Sequence[tuple[str, str]]) -> bytes:
    """A response's head."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode()


_REASONS: Final = {
    200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 410: "Gone", 413: "Content Too Large",
    500: "Internal Server Error",
}  # fmt: skip


class Wire:
    """The listening side. Requests come out of `requests`, in the order in which their heads were complete."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[Exchange] = asyncio.Queue()
        self.connections = 0
        """How many connections there have been."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self, listener: socket.socket) -> None:
        """Serve on a bound, listening socket, which stays the caller's."""
        own = listener.dup()
        own.setblocking(False)
        self._server = await asyncio.start_server(self._accepted, sock=own, limit=_MAX_HEAD)

    async def close(self) -> None:
        """Drop every connection and stop."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:  # it was on its way when we stopped
            writer.transport.abort()
            return
        number = self.connections
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # not by itself: it may be cancelled before it begins

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while await self._exchange(reader, writer, number):
            pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """One request and its answer. False when there will be no further one."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
        except asyncio.IncompleteReadError as rest:
            if rest.partial.strip():
                self._unreadable(Exchange(self, number, writer, rest.partial), "the request ended in its head")
            return False
        except asyncio.LimitOverrunError:
            self._unreadable(Exchange(self, number, writer, b""), f"the head has more than {_MAX_HEAD} bytes")
            return False
        except ConnectionError:
            return False
        exchange = Exchange(self, number, writer, head)
        if not _parse_head(exchange):
            self._unreadable(exchange, "the request line is not that of HTTP/1.1")
            return False
        self.requests.put_nowait(exchange)
        if (exchange.header("expect") or "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            await _read_body(reader, exchange)
            exchange.complete = True
        except (asyncio.IncompleteReadError, ConnectionError):
            exchange.broken = "the connection was closed in the middle of the body"
        except (ValueError, asyncio.LimitOverrunError) as error:
            exchange.broken = f"the body's framing is broken: {error}"
        exchange.changed()
        await exchange.answered.wait()
        return exchange.keep and exchange.broken is None

    def _unreadable(self, exchange: Exchange, why: str) -> None:
        exchange.broken = why
        exchange.defects.append(why)
        self.requests.put_nowait(exchange)


def _parse_head(exchange: Exchange) -> bool:
    first, *lines = exchange.head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        return False
    exchange.method, exchange.target, exchange.version = (part.decode("latin-1") for part in match.groups())
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            exchange.defects.append(f"this is not a header line: {show(line, 200)}")
            continue
        exchange.headers.append((field[1].decode("latin-1").lower(), field[2].decode("utf-8", "replace")))
    names = [name for name, _ in exchange.headers]
    if exchange.version == "1.1" and names.count("host") != 1:
        exchange.defects.append(f"an HTTP/1.1 request has exactly one Host header, this one {names.count('host')}")
    if "content-length" in names and "transfer-encoding" in names:
        exchange.defects.append("Content-Length and Transfer-Encoding exclude each other")
    if names.count("content-length") > 1:
        exchange.defects.append("Content-Length is repeated")
    if "chunked" in (exchange.header("transfer-encoding") or "").lower():
        exchange.framing = "chunked"
    elif "content-length" in names:
        exchange.framing = "length"
    return True


async def _read_body(reader: asyncio.StreamReader, exchange: Exchange) -> None:
    if exchange.framing == "length":
        text = exchange.header("content-length") or ""
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"Content-Length: {text}")
        left = int(text)
        while left:
            piece = await reader.read(min(left, 65536))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            _take(exchange, piece)
    elif exchange.framing == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            while size:
                piece = await reader.read(min(size, 65536))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", size)
                size -= len(piece)
                _take(exchange, piece)
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError("a chunk does not end where its size says")
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line[:-2].partition(b":")
            exchange.trailers[name.decode("latin-1").lower()] = value.strip().decode("utf-8", "replace")


def _take(exchange: Exchange, piece: bytes) -> None:
    if len(exchange.body) < _MAX_BODY:
        exchange.body += piece
    exchange.changed()


def show(data: bytes, limit: int) -> str:
    """Bytes for a report: text as text, line ends as line ends, everything else escaped."""
    text = data[:limit].decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    out = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return out if len(data) <= limit else out + "…"
