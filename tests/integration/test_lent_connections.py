"""A connection goes to aiohttp for what is no Invoke, and comes back with the next Invoke; nothing is mistaken for one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import boto3
import pytest
from botocore.config import Config

from engine import Engine
from engine.invoke import aio
from engine.invoke.lent import LentConnection
from tests.support.functions import ECHO, bootstrap

pytest_plugins = ("tests.support.sandbox_fixtures",)

INVOKE = b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
HEALTH = b"GET /_lambent/health HTTP/1.1\r\nHost: x\r\n\r\n"
CREATE = b"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
async def address(anyio_backend, no_leaks, tmp_path):
    async with Engine() as engine:
        await engine.create_function("echo", code=bootstrap(tmp_path / "echo", ECHO))
        server = await engine.serve(port=0)
        yield server.url


@pytest.fixture
def taken_back(monkeypatch):
    """Counts the connections that came back."""
    count: list[int] = []
    original = LentConnection._take_back_now

    def counted(self: LentConnection, data: bytes) -> None:
        count.append(1)
        original(self, data)

    monkeypatch.setattr(LentConnection, "_take_back_now", counted)
    return count


class Peer:
    """A client that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"\r\ncontent-length: ")[2].split(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(size)

    async def ask(self, *pieces: bytes) -> tuple[int, bytes]:
        for piece in pieces:
            await self.send(piece)
            await asyncio.sleep(0)
        return await self.answer()

    async def read_by_the_server(self) -> None:
        """What was sent has been read: a request on another connection has been answered since."""
        host, port = self.writer.get_extra_info("peername")
        async with connected(f"http://{host}:{port}") as other:
            assert (await other.ask(HEALTH))[0] == 200


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Peer]:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_every_invoke_that_follows_something_else_takes_the_connection_back(address, taken_back, monkeypatch):
    monkeypatch.setattr(aio, "_body", None)  # Invoke on aiohttp would fail
    async with connected(address) as peer:
        for times in (1, 2, 3):
            assert await peer.ask(HEALTH) == (200, b'{"status":"ok"}')
            assert await peer.ask(HEALTH) == (200, b'{"status":"ok"}')
            assert await peer.ask(INVOKE + b"1") == (200, b"1")
            assert await peer.ask(INVOKE + b"2") == (200, b"2")
            assert len(taken_back) == times


async def test_after_a_large_request_in_pieces_too(address, taken_back):
    body = json.dumps({"FunctionName": "x" * 300_000}).encode()
    async with connected(address) as peer:
        await peer.send(CREATE % len(body))
        await peer.read_by_the_server()
        for at in range(0, len(body), 100_000):
            await peer.send(body[at : at + 100_000])
            await peer.read_by_the_server()
        assert (await peer.answer())[0] == 400
        assert await peer.ask(INVOKE + b"1") == (200, b"1")
        assert len(taken_back) == 1


async def test_boto3s_connection_comes_back(address, taken_back):
    def work() -> bytes:
        client = boto3.client(
            "lambda", endpoint_url=address, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x",
            config=Config(retries={"max_attempts": 0}, max_pool_connections=1),
        )  # fmt: skip
        try:
            client.get_function(FunctionName="echo")
            client.list_functions()
            return client.invoke(FunctionName="echo", Payload=b"1")["Payload"].read()
        finally:
            client.close()

    assert await asyncio.to_thread(work) == b"1"
    assert len(taken_back) == 1


async def test_a_body_that_goes_on_like_an_invoke_is_a_body(address, taken_back):
    body = INVOKE + b"1" + b" " * 100
    async with connected(address) as peer:
        await peer.send(CREATE % len(body))
        await peer.read_by_the_server()
        status, _ = await peer.ask(body)
        assert status == 400
        assert await peer.ask(HEALTH) == (200, b'{"status":"ok"}')
        assert not taken_back


async def test_a_head_that_goes_on_like_an_invoke_is_a_head(address, taken_back):
    async with connected(address) as peer:
        await peer.send(HEALTH[:-2] + b"X-Y: ")
        await peer.read_by_the_server()
        await peer.send(INVOKE[:-2])
        await peer.read_by_the_server()
        assert (await peer.ask(b"\r\n1"))[0] in {200, 400}  # a header "X-Y: POST ..." and a body
        assert not taken_back


async def test_an_invoke_behind_something_that_is_not_answered_waits_for_it(address, taken_back):
    async with connected(address) as peer:
        await peer.send(HEALTH + HEALTH + INVOKE + b"1")
        assert [(await peer.answer())[1] for _ in range(3)] == [b'{"status":"ok"}', b'{"status":"ok"}', b"1"]
        assert not taken_back


async def test_a_client_that_is_gone_is_gone_for_both(address, taken_back):
    async with connected(address) as peer:
        assert (await peer.ask(HEALTH))[0] == 200
    async with connected(address) as peer:
        assert (await peer.ask(HEALTH))[0] == 200
        await peer.send(INVOKE + b"1")
    async with connected(address) as peer:
        assert await peer.ask(INVOKE + b"1") == (200, b"1")
