"""InvokeWithResponseStream over HTTP, on the fast path and on aiohttp's, from a function to its caller."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.invoke.eventstream import Decoder, Frame
from runtime_api import MAX_STREAM
from tests.support.lending import kept_by_aiohttp
from tests.support.streaming import gate, streamer

PATH = "/2021-11-15/functions/f/response-streaming-invocations"

pytest_plugins = ("tests.support.sandbox_fixtures",)


@pytest.fixture
async def served(anyio_backend, no_leaks, tmp_path):
    async with Engine() as engine:
        await engine.create_function("f", code=streamer(tmp_path / "f"), timeout_s=20)
        server = await engine.serve(port=0)
        yield engine, server.url.removeprefix("http://")


@pytest.fixture(params=["fast path", "aiohttp"])
def way(request) -> str:
    return request.param


@pytest.fixture
async def connect(served, way):
    """Makes callers, and closes them."""
    _, address = served
    async with AsyncExitStack() as stack:
        stack.enter_context(kept_by_aiohttp())

        async def one() -> Caller:
            caller = await Caller.connect(address, way)
            stack.push_async_callback(caller.close)
            return caller

        yield one


class Caller:
    """One connection to the server, read as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def connect(cls, address: str, way: str) -> Caller:
        host, port = address.split(":")
        caller = cls(*await asyncio.open_connection(host, int(port)))
        if way == "aiohttp":
            caller.writer.write(b"GET /_lambent/health HTTP/1.1\r\nHost: x\r\n\r\n")
            await caller.head()
            await caller.reader.readexactly(int(caller.headers["content-length"]))
        return caller

    def ask(self, event: object, path: str = PATH, **headers: str) -> None:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def head(self) -> None:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, a chunk of the transfer coding at a time."""
        if "content-length" in self.headers:
            yield await self.reader.readexactly(int(self.headers["content-length"]))
            return
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    async def frames(self) -> AsyncIterator[Frame]:
        decoder = Decoder()
        async for piece in self.pieces():
            for frame in decoder.feed(piece):
                yield frame
        assert not decoder.rest

    async def answer(self) -> tuple[bytes, dict[str, Any]]:
        """All chunks as one, and what InvokeComplete says."""
        await self.head()
        assert self.status == 200, await anext(self.pieces())
        frames = [frame async for frame in self.frames()]
        kinds = [frame.headers[":event-type"] for frame in frames]
        assert kinds == ["PayloadChunk"] * (len(kinds) - 1) + ["InvokeComplete"]
        return b"".join(frame.payload for frame in frames[:-1]), json.loads(frames[-1].payload)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def test_the_first_piece_is_there_before_the_second_is_written(connect):
    caller = await connect()
    async with gate() as closed, asyncio.timeout(20):
        caller.ask({"do": "stream", "pieces": ["first", closed.port, "second"]})
        await caller.head()
        assert caller.status == 200
        frames = caller.frames()
        frame = await anext(frames)
        assert frame == (
            {":event-type": "PayloadChunk", ":content-type": "application/octet-stream", ":message-type": "event"},
            b"first",
        )
        await closed.reached.wait()
        closed.release()
        assert (await anext(frames)).payload == b"second"
        last = await anext(frames)
        assert last.headers[":event-type"] == "InvokeComplete"
        assert last.headers[":content-type"] == "application/json"
        assert last.payload == b"{}"
        assert [frame async for frame in frames] == []


async def test_heads_tell_what_awss_tell(connect):
    caller = await connect()
    caller.ask({"do": "stream", "pieces": ["x"], "type": "text/html"})
    assert await caller.answer() == (b"x", {})
    assert caller.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert caller.headers["x-amz-executed-version"] == "$LATEST"
    assert caller.headers["x-amzn-remapped-content-type"] == "text/html"
    assert caller.headers["transfer-encoding"] == "chunked"
    assert len(caller.headers["x-amzn-requestid"]) == 36
    assert caller.headers["x-amzn-trace-id"].startswith("Root=1-")


async def test_one_connection_serves_many_and_mixes_with_invoke(connect):
    caller = await connect()
    for number in range(3):
        caller.ask({"do": "stream", "pieces": [str(number), "é" * 70_000]})
        assert await caller.answer() == (str(number).encode() + "é".encode() * 70_000, {})
        caller.ask({"do": "whole", "value": number}, PATH)
        assert await caller.answer() == (b"%d" % number, {})
        caller.ask({"do": "whole", "value": number}, "/2015-03-31/functions/f/invocations")
        await caller.head()
        assert await anext(caller.pieces()) == b"%d" % number


async def test_a_streaming_function_that_is_invoked_plainly_answers_as_a_whole(connect):
    caller = await connect()
    caller.ask({"do": "stream", "pieces": ["a", "b"]}, "/2015-03-31/functions/f/invocations")
    await caller.head()
    assert (caller.status, caller.headers["content-length"]) == (200, "2")
    assert await anext(caller.pieces()) == b"ab"
    caller.ask({"do": "break", "pieces": ["a", "b"]}, "/2015-03-31/functions/f/invocations")
    await caller.head()
    assert caller.headers["x-amz-function-error"] == "Unhandled"
    assert json.loads(await anext(caller.pieces())) == {"errorType": "Function.Broke", "errorMessage": "in the middle"}


BROKE = {"errorType": "Function.Broke", "errorMessage": "in the middle"}


@pytest.mark.parametrize(
    ("event", "sent", "error"),
    [
        ({"do": "break", "pieces": ["half"]}, b"half", BROKE),
        ({"do": "break", "pieces": []}, b"", BROKE),
        ({"do": "fail"}, b"", {"errorType": "E", "errorMessage": "m"}),
        (
            {"do": "truncate", "pieces": ["half"]},
            b"half",
            {"errorType": "Runtime.TruncatedResponse", "errorMessage": "RequestId: {id} Error: "},
        ),
        (
            {"do": "die", "pieces": ["half"]},
            b"half",
            {
                "errorType": "Runtime.ExitError",
                "errorMessage": "RequestId: {id} Error: Runtime exited with error: exit status 3",
            },
        ),
    ],
    ids=["trailers", "trailers only", "error", "truncated", "exit"],
)
async def test_a_failure_is_told_behind_what_came_before_it(connect, event, sent, error):
    caller = await connect()
    caller.ask(event)
    got, complete = await caller.answer()
    assert got == sent
    assert complete["ErrorCode"] == "Unhandled"
    expected = {name: text.format(id=caller.headers["x-amzn-requestid"]) for name, text in error.items()}
    assert json.loads(complete["ErrorDetails"]) == expected
    caller.ask({"do": "stream", "pieces": ["alive"]})
    assert await caller.answer() == (b"alive", {})


async def test_a_time_limit_in_the_middle_ends_the_stream_with_its_words(served, connect, tmp_path):
    engine, _ = served
    await engine.create_function("slow", code=streamer(tmp_path / "slow"), timeout_s=1)
    caller = await connect()
    caller.ask({"do": "hang", "pieces": ["half"]}, PATH.replace("/f/", "/slow/"))
    got, complete = await caller.answer()
    assert got == b"half"
    assert json.loads(complete["ErrorDetails"])["errorType"] == "Sandbox.Timedout"
    assert json.loads(complete["ErrorDetails"])["errorMessage"].endswith("Task timed out after 1.00 seconds")


@pytest.mark.parametrize(("do", "kind"), [("flood", "Sandbox.Timedout"), ("flood and die", "Runtime.ExitError")])
async def test_a_function_that_ends_while_it_is_held_back_is_told_of_when_its_caller_reads_again(
    served, connect, tmp_path, do, kind
):
    engine, _ = served
    await engine.create_function("held", code=streamer(tmp_path / "held"), timeout_s=1)
    caller = await connect()
    caller.ask({"do": do, "bytes": 64 << 20}, PATH.replace("/f/", "/held/"))
    await caller.head()
    async with asyncio.timeout(20):
        while not engine.dispatcher.recent[-1].status:
            await asyncio.sleep(0.01)
    assert engine.dispatcher.recent[-1].error_type == kind
    frames = [frame async for frame in caller.frames()]
    assert sum(len(frame.payload) for frame in frames[:-1]) == engine.dispatcher.recent[-1].stream.size < 64 << 20
    assert json.loads(json.loads(frames[-1].payload)["ErrorDetails"])["errorType"] == kind


async def test_the_log_comes_with_the_last_frame(connect):
    caller = await connect()
    caller.ask({"do": "stream", "pieces": ["x"]}, X_Amz_Log_Type="Tail")
    got, complete = await caller.answer()
    assert got == b"x"
    log = base64.b64decode(complete.pop("LogResult")).decode()
    assert complete == {}
    assert log.startswith("START RequestId: ")
    assert "\nstatus 202\n" in log
    assert "\nREPORT RequestId: " in log


REFUSED = {
    "kind": ({"X_Amz_Invocation_Type": "Event"}, PATH, b"1", 400, "ValidationException"),
    "json": ({}, PATH, b"{no", 400, "InvalidRequestContentException"),
    "name": ({}, PATH.replace("/f/", "/g/"), b"1", 404, "ResourceNotFoundException"),
    "large": ({}, PATH, b'"' + b"x" * 6_291_556 + b'"', 413, "RequestTooLargeException"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_begin_is_refused_as_by_invoke(connect, case):
    headers, path, body, status, code = REFUSED[case]
    caller = await connect()
    caller.ask(body, path, **headers)
    await caller.head()
    assert (caller.status, caller.headers["x-amzn-errortype"]) == (status, code)
    refusal = json.loads(await anext(caller.pieces()))
    if case == "kind":
        assert refusal["message"].endswith("[RequestResponse, DryRun]")


async def test_a_dry_run_and_a_throttle_answer_without_a_stream(served, connect):
    engine, _ = served
    caller = await connect()
    caller.ask(b"1", X_Amz_Invocation_Type="DryRun")
    await caller.head()
    assert caller.status == 204
    await engine.registry.reserve("f", 0)
    caller.ask({"do": "stream"})
    await caller.head()
    assert (caller.status, caller.headers["x-amzn-errortype"]) == (429, "TooManyRequestsException")
    assert json.loads(await anext(caller.pieces()))["message"] == "Rate Exceeded."


async def test_a_caller_who_does_not_read_holds_the_function_back(served, connect):
    engine, _ = served
    caller = await connect()
    size = 64 << 20
    caller.ask({"do": "flood", "bytes": size})
    await caller.head()
    async with asyncio.timeout(20):
        while not engine.dispatcher.recent[-1].stream.held:
            await asyncio.sleep(0)
    stream = engine.dispatcher.recent[-1].stream
    assert stream.size < size / 2, "the rest is not even written by the function"
    received = 0
    async for frame in caller.frames():
        received += len(frame.payload) if frame.headers[":event-type"] == "PayloadChunk" else 0
    assert received == size == stream.size
    assert not stream.held


async def test_a_response_of_200_mib_takes_no_memory_and_a_longer_one_ends_there(served, connect):
    engine, _ = served
    await engine.invoke("f", {"do": "whole", "value": 1})
    caller = await connect()
    before = peak_memory(reset=True)
    caller.ask({"do": "flood", "bytes": MAX_STREAM + 65536}, X_Amz_Log_Type="Tail")
    await caller.head()
    received, complete = 0, {}
    async for frame in caller.frames():
        if frame.headers[":event-type"] == "PayloadChunk":
            received += len(frame.payload)
        else:
            complete = json.loads(frame.payload)
    assert received == MAX_STREAM
    assert json.loads(complete["ErrorDetails"]) == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (209715200 bytes).",
    }
    assert "\nstatus 413\n" in base64.b64decode(complete["LogResult"]).decode()
    assert peak_memory() - before < 24 << 20
    caller.ask({"do": "stream", "pieces": ["alive"]})
    assert await caller.answer() == (b"alive", {})


def peak_memory(*, reset: bool = False) -> int:
    """This process's peak in bytes, since it was last reset."""
    if reset:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
    return next(
        int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )


async def test_a_caller_who_hangs_up_does_not_stop_the_function(served, connect):
    engine, _ = served
    caller = await connect()
    async with gate() as closed:
        caller.ask({"do": "flood", "bytes": 16 << 20, "pieces": ["x", closed.port]})
        await caller.head()
        await closed.reached.wait()
        caller.writer.transport.abort()
    async with asyncio.timeout(20):
        while engine.dispatcher.recent[-1].status != "success":
            await asyncio.sleep(0.01)
    assert engine.dispatcher.recent[-1].stream.size == 1 + (16 << 20)


async def test_requests_behind_a_stream_are_answered_after_it(connect):
    caller = await connect()
    async with gate() as closed:
        caller.ask({"do": "stream", "pieces": ["x", closed.port, "y"]})
        caller.ask({"do": "whole", "value": 2})
        await closed.reached.wait()
    assert await caller.answer() == (b"xy", {})
    assert await caller.answer() == (b"2", {})
