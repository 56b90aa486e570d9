"""What the protocol tests share: a transport that is not one, a host that remembers, a client that sends raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from runtime_api import BodySource, ConcurrentRuntimeServer, HttpConnection, Invocation, RuntimeFault, RuntimeServer

ROOT = "/2018-06-01/runtime"
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'


class FakeTransport(asyncio.Transport):
    """Keeps what is written. Nothing happens by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = self.aborted = self.eof = False
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "written after close()"
        self.written.append(bytes(data))

    def writelines(self, list_of_data) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    @property
    def sent(self) -> bytes:
        return b"".join(self.written)


class Recorder(HttpConnection):
    """Notes each request, and answers at once or when told."""

    __slots__ = ("aborts", "ends", "halves", "hold", "requests")

    max_body = 1000

    def __init__(self, *, hold: bool = False) -> None:
        super().__init__()
        self.requests: list[tuple[Any, ...]] = []
        self.aborts = self.ends = self.halves = 0
        self.hold = hold

    def request_received(self) -> None:
        self.requests.append((
            self.method, self.target, dict(self.headers), self.body, dict(self.trailers), self.keep_alive,
            self.body_overflow,
        ))  # fmt: skip
        if not self.hold:
            self.answer()

    def answer(self) -> None:
        self.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % (len(self.requests) % 10))

    def request_aborted(self) -> None:
        self.aborts += 1

    def half_closed(self) -> None:
        self.halves += 1

    def closed(self) -> None:
        self.ends += 1


class PieceRecorder(Recorder):
    """Has bodies in pieces when `wanted`, and says so after each that it has `enough`, if it has.

    `bodies` has the pieces of each request put together.
    """

    __slots__ = ("_seen", "asked", "bodies", "enough", "on_piece", "pieces", "wanted")

    takes_pieces = True

    def __init__(self, *, hold: bool = False, wanted: bool = True, enough: bool = False) -> None:
        super().__init__(hold=hold)
        self.pieces: list[bytes] = []
        self.bodies: list[bytes] = []
        self._seen = 0
        self.on_piece: Callable[[], None] | None = None
        self.wanted, self.enough, self.asked = wanted, enough, 0

    def body_begins(self) -> bool:
        self.asked += 1
        return self.wanted

    def body_piece(self, data: bytes) -> bool:
        assert data
        self.pieces.append(data)
        if self.on_piece is not None:
            self.on_piece()
        return not self.enough

    def request_received(self) -> None:
        self.bodies.append(b"".join(self.pieces[self._seen :]))
        self._seen = len(self.pieces)
        super().request_received()


def recorder(*, hold: bool = False) -> tuple[Recorder, FakeTransport]:
    connection, transport = Recorder(hold=hold), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


class Host:
    """An environment that does what the test says. `calls` is what it heard, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.on_next: Any = None
        self.streams = False  # whether streamed responses are wanted in pieces
        self.source: Any = None
        self.on_piece: Any = None
        self._heard = asyncio.Event()

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        self._heard.set()

    async def heard(self, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait until `count` calls were made in all."""
        async with asyncio.timeout(20):
            while len(self.calls) < count:
                self._heard.clear()
                await self._heard.wait()
        return self.calls

    def runtime_next(self) -> None:
        self._note("next")
        if self.on_next is not None:
            self.on_next()

    def runtime_left(self) -> None:
        self._note("left")

    def runtime_response(self, invocation: Invocation, body: bytes, content_type: bytes) -> None:
        self._note("response", invocation.request_id, body, content_type)

    def runtime_stream(self, invocation: Invocation, content_type: bytes, source: BodySource) -> bool:
        if self.streams:
            self._note("stream", invocation.request_id, content_type)
            self.source = source
        return self.streams

    def runtime_piece(self, invocation: Invocation, data: bytes) -> None:
        self._note("piece", invocation.request_id, data)
        if self.on_piece is not None:
            self.on_piece(data)

    def runtime_streamed(self, invocation: Invocation) -> None:
        self._note("streamed", invocation.request_id)

    def runtime_error(self, invocation: Invocation, body: bytes, error_type: str, xray_cause: bytes | None) -> None:
        self._note("error", invocation.request_id, body, error_type, xray_cause)

    def runtime_init_error(self, body: bytes, error_type: str) -> None:
        self._note("init_error", body, error_type)

    def runtime_fault(self, invocation: Invocation, fault: RuntimeFault) -> None:
        self._note("fault", invocation.request_id, fault.error_type, fault.message)

    def runtime_restore_next(self) -> None:
        self._note("restore_next")

    def runtime_restore_error(self, body: bytes, error_type: str) -> None:
        self._note("restore_error", body, error_type)


def invocation(request_id: str = "id-1", **fields: Any) -> Invocation:
    return Invocation(request_id, **{"deadline_ms": 1_700_000_000_000, "payload": b'{"n":1}', **fields})


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


class Reply:
    """One HTTP response. `head` and `body` are the bytes; `headers` has the names as written."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head, self.body = head, body
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = dict(line.split(": ", 1) for line in lines[1:] if line)

    @property
    def raw(self) -> bytes:
        return self.head + self.body


class Wire:
    """A client that sends bytes as they are given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data if isinstance(data, bytes) else data.encode())

    async def reply(self) -> Reply:
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = Reply(head, b"").headers.get("Content-Length", "0")
            return Reply(head, await self.reader.readexactly(int(length)))

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request with Content-Length. Header names are keywords, with ``_`` for ``-``."""
        self.send(request(method, path, body, **headers))
        return await self.reply()

    async def end(self) -> bytes:
        """All that still comes until the server closes."""
        async with asyncio.timeout(20):
            return await self.reader.read()

    def reset(self) -> None:
        """End with RST rather than FIN, like a process that is killed with unread input."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def chunked(method: str, path: str, chunks: list[bytes], trailers: str = "", **headers: str) -> bytes:
    head = request(method, path, None, Transfer_Encoding="chunked", **headers)
    return head + b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n" + trailers.encode() + b"\r\n"


class Endpoint:
    """A Runtime API on a loopback port, its host, and clients of it."""

    def __init__(self, server: RuntimeServer, host: Host, sock: socket.socket) -> None:
        self.server, self.host, self.sock = server, host, sock
        self.address = "{}:{}".format(*sock.getsockname())
        self.problems: list[dict[str, Any]] = []
        self._clients: list[Wire] = []

    async def client(self, limit: int = 1 << 25) -> Wire:
        wire = Wire(*await asyncio.open_connection(*self.sock.getsockname(), limit=limit))
        self._clients.append(wire)
        return wire

    async def running(self, wire: Wire | None = None, request_id: str = "id-1", **fields: Any) -> Wire:
        """A client that was just handed an invocation."""
        wire = wire or await self.client()
        calls = len(self.host.calls)
        wire.send(request("GET", f"{ROOT}/invocation/next"))
        await self.host.heard(calls + 1)
        self.server.deliver(invocation(request_id, **fields))
        assert (await wire.reply()).status == 200
        return wire


@contextlib.asynccontextmanager
async def endpoint(
    *, restore: bool = False, host: Host | None = None, capacity: int | None = None
) -> AsyncIterator[Endpoint]:
    """Serve on a loopback port; afterwards assert that no exception reached the loop and nothing is left open."""
    host = host or Host()
    server = RuntimeServer(host, restore=restore) if capacity is None else ConcurrentRuntimeServer(host, capacity)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        here = Endpoint(server, host, sock)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: here.problems.append(context))
        try:
            await server.listen(sock)
            yield here
        finally:
            for wire in here._clients:
                await wire.close()
            await server.close()
            assert server.connections() == 0
        assert not here.problems, here.problems
