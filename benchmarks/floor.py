"""The floor: what three HTTP messages cost on this machine with no engine behind them.

One warm invocation is invoke, `next` and `response`. This process carries those messages on the same ground as the
engine does (`asyncio.Protocol`, httptools, uvloop; Python) and does nothing else: no function, no state table, no
limits, no logs, no deadline. What an engine built on this ground can reach is therefore at most this, and every
throughput figure in `benchmarks/` is printed as a ratio to it, measured in the same minute.

It is honest HTTP: requests are parsed by httptools, headers are collected, Content-Length and keep-alive are respected.
It is not a server for anything else: no pipelining, no back-pressure, no bounds.

Run alone: ``python -m benchmarks.floor --environments 4`` prints one JSON line with the port of invoke and the ports of
the Runtime API endpoints, one per environment, and serves until standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from functools import partial

import httptools
import uvloop

NEXT_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Lambda-Runtime-Aws-Request-Id: %032d\r\n"
    b"Lambda-Runtime-Deadline-Ms: %d\r\n"
    b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:floor\r\n"
    b"Content-Length: %d\r\n\r\n"
)
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
ANSWER_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
TIMEOUT_MS = 3000


class Message(asyncio.Protocol):
    """One connection: collects a request, then calls `received`."""

    __slots__ = ("body", "headers", "parser", "target", "transport")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: uvloop has set TCP_NODELAY already."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of a request."""
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """httptools: the request target."""
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header."""
        self.headers[name.lower()] = value

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body."""
        self.body.append(data)

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        body, self.body = self.body, []
        self.received(body)
        self.headers.clear()

    def received(self, body: list[bytes]) -> None:
        """What to do with a whole request; the body is in pieces as they were read."""
        raise NotImplementedError

    def send(self, head: bytes, body: list[bytes]) -> None:
        """Sends a message: a small one in one buffer, a large one without copying it."""
        if len(body) == 1:
            self.transport.write(head + body[0])
        else:
            self.transport.writelines((head, *body))


class Floor:
    """Who waits for whom."""

    __slots__ = ("count", "parked", "waiting")

    def __init__(self) -> None:
        self.parked: list[Runtime] = []
        self.waiting: deque[tuple[Invoker, list[bytes]]] = deque()
        self.count = 0


class Invoker(Message):
    """A client's connection."""

    __slots__ = ("floor",)

    def __init__(self, floor: Floor) -> None:
        super().__init__()
        self.floor = floor

    def received(self, body: list[bytes]) -> None:
        """Hands the payload to the runtime that parked last, or lets it wait."""
        if self.floor.parked:
            self.floor.parked.pop().deliver(self, body)
        else:
            self.floor.waiting.append((self, body))


class Runtime(Message):
    """A bootstrap's connection."""

    __slots__ = ("client", "floor")

    def __init__(self, floor: Floor) -> None:
        super().__init__()
        self.floor = floor
        self.client: Invoker | None = None

    def deliver(self, client: Invoker, payload: list[bytes]) -> None:
        """Answers the parked `next`."""
        self.client = client
        self.floor.count += 1
        deadline = int(time.time() * 1000) + TIMEOUT_MS
        self.send(NEXT_HEAD % (self.floor.count, deadline, sum(map(len, payload))), payload)

    def received(self, body: list[bytes]) -> None:
        """`next` parks or takes the oldest waiting invocation; `response` goes to the client."""
        if self.target.endswith(b"/next"):
            if self.floor.waiting:
                self.deliver(*self.floor.waiting.popleft())
            else:
                self.floor.parked.append(self)
        elif self.client is not None:
            client, self.client = self.client, None
            client.send(ANSWER_HEAD % sum(map(len, body)), body)
            self.transport.write(ACCEPTED)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the bootstrap is gone."""
        if self in self.floor.parked:
            self.floor.parked.remove(self)


async def serve(environments: int) -> None:
    """Serves until standard input ends."""
    loop = asyncio.get_running_loop()
    floor = Floor()
    invoke = await loop.create_server(partial(Invoker, floor), "127.0.0.1", 0, backlog=1024)
    runtimes = [await loop.create_server(partial(Runtime, floor), "127.0.0.1", 0) for _ in range(environments)]
    ports = [server.sockets[0].getsockname()[1] for server in (invoke, *runtimes)]
    print(json.dumps({"invoke": ports[0], "runtime_api": ports[1:]}), flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floor", description="The floor, until standard input ends."
    )
    parser.add_argument("--environments", type=int, default=1, help="Runtime API endpoints to open (default: 1)")
    uvloop.run(serve(parser.parse_args().environments))


if __name__ == "__main__":
    main()
