"""Streamed responses: how soon the first byte is there, and how fast the rest follows.

A Node.js function writes as much as it is told to. *First byte*: it writes one byte and ends, warm, one request after
the other; counted from when the request is sent until the first byte of the body is there. *Flow*: it writes many
megabytes as fast as it may, in pieces of 64 KiB.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from benchmarks.cold_start import Quantiles
from benchmarks.functions import Function, Missing, function
from benchmarks.load import LoadError
from benchmarks.plan import MB, Plan
from benchmarks.subjects import EngineSubject, Server
from benchmarks.warm import Say

STREAM = """
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  const piece = Buffer.alloc(Math.min(event, 65536));
  for (let left = event; left > 0; left -= piece.length) {
    if (!out.write(piece)) { await new Promise((done) => out.once('drain', done)); }
  }
  out.end();
});
"""
_PATH = "/2021-11-15/functions/stream/response-streaming-invocations"
_LAST = b"\r\n0\r\n\r\n"


class StreamRow(Struct):
    """One function in one mode.

    Attributes:
        first_byte: milliseconds.
        mb_per_second: MiB of payload per second, median of `flows`; 0.0 without any.
        flows: how often `megabytes` were streamed.
    """

    function: str
    isolation: str
    first_byte: Quantiles | None
    mb_per_second: float
    megabytes: int
    flows: int


def _ask(peer: socket.socket, buffer: bytearray, size: int) -> tuple[float, float]:
    """Seconds until the first byte of the body, and until its end."""
    body = str(size).encode()
    request = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    began = time.perf_counter()
    peer.sendall(request)
    data = b""
    while not data.partition(b"\r\n\r\n")[2]:
        more = peer.recv(65_536)
        if not more:
            raise LoadError("the engine closed the connection before the first byte")
        data += more
    first = time.perf_counter()
    if not data.startswith(b"HTTP/1.1 200 ") or b"ErrorCode" in data:
        raise LoadError(f"the engine answered {data[:200]!r}")
    view = memoryview(buffer)
    end = data[-len(_LAST) :]
    while end != _LAST:
        got = peer.recv_into(view)
        if not got:
            raise LoadError("the engine closed the connection in the middle of a stream")
        end = (end + bytes(view[max(0, got - len(_LAST)) : got]))[-len(_LAST) :]
    return first - began, time.perf_counter() - began


def _measure(server: Server, mode: str, name: str, plan: Plan) -> StreamRow:
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", server.port), 60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(20):
            _ask(peer, buffer, 1)
        first = [_ask(peer, buffer, 1)[0] * 1000 for _ in range(plan.streams)]
        flows = [plan.stream_megabytes / _ask(peer, buffer, plan.stream_megabytes * MB)[1] for _ in range(plan.turns)]
    return StreamRow(name, mode, Quantiles.of(first), statistics.median(flows), plan.stream_megabytes, len(flows))


def measure(modes: Sequence[str], plan: Plan, say: Say, show: Callable[[StreamRow], None]) -> list[StreamRow]:
    """The plan's streams, in each mode."""
    rows: list[StreamRow] = []
    try:
        node = function("node")
    except Missing as error:
        say(f"skipped: streaming: {error}")
        return rows
    one = Function("node", node.runtime, node.handler, {"app.js": STREAM.encode()})
    for mode in modes:
        try:
            with EngineSubject(mode).serve() as server:
                server.create(one, "stream", memory_mb=1769)
                row = _measure(server, mode, one.name, plan)
        except (LoadError, OSError) as error:
            say(f"failed: streaming in {mode} mode: {error}")
            continue
        rows.append(row)
        show(row)
    return rows
