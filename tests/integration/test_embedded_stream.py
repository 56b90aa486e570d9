"""`Engine.invoke_stream`: a response in pieces for a program that embeds the engine."""

from __future__ import annotations

import asyncio
import json

import pytest

from engine import Engine
from engine.errors import FunctionFailedError, ResourceNotFoundException, TooManyRequestsException
from tests.support.streaming import gate, streamer

pytest_plugins = ("tests.support.sandbox_fixtures",)


@pytest.fixture
async def function(anyio_backend, no_leaks, tmp_path):
    async with Engine() as engine:
        yield await engine.create_function("f", code=streamer(tmp_path / "f"), timeout_s=20)


async def test_a_piece_is_there_before_the_next_is_written(function):
    async with gate() as closed, asyncio.timeout(20):
        stream = function.invoke_stream({"do": "stream", "pieces": ["one", closed.port, "two"], "type": "text/html"})
        assert await anext(stream) == b"one"
        assert stream.content_type == "text/html"
        assert stream.result is None
        await closed.reached.wait()
        closed.release()
        assert [piece async for piece in stream] == [b"two"]
    assert stream.result is not None
    assert stream.result.payload == b""
    assert stream.result.function_error is None
    assert stream.result.duration_ms > 0
    assert [piece async for piece in stream] == [], "an end stays an end"


async def test_an_answer_in_one_piece_and_its_log(function):
    stream = function.invoke_stream({"do": "whole", "value": [1]}, tail=True)
    assert [piece async for piece in stream] == [b"[1]"]
    assert stream.result.payload == b"[1]"
    assert "REPORT RequestId" in stream.result.log_tail


@pytest.mark.parametrize(("do", "pieces"), [("break", ["half"]), ("fail", [])])
async def test_a_failure_ends_the_loop_with_an_error(function, do, pieces):
    got = []
    with pytest.raises(FunctionFailedError, match="the function failed: ") as failed:
        async for piece in function.invoke_stream({"do": do, "pieces": pieces}):
            got.append(piece.decode())  # noqa: PERF401 - what came before the error counts
    assert got == pieces
    assert json.loads(failed.value.payload)["errorMessage"] in {"in the middle", "m"}


async def test_what_is_refused_is_an_aws_error(function):
    engine = function._engine
    with pytest.raises(ResourceNotFoundException):
        engine.invoke_stream("nope")
    await engine.registry.reserve("f", 0)
    with pytest.raises(TooManyRequestsException):
        await anext(function.invoke_stream(1))


async def test_a_program_that_does_not_take_holds_the_function_back_and_nothing_piles_up(function):
    engine, size = function._engine, 32 << 20
    stream = function.invoke_stream({"do": "flood", "bytes": size})
    first = await anext(stream)
    async with asyncio.timeout(20):
        while not stream.queue.held:
            await asyncio.sleep(0)
    for _ in range(100):  # whatever was on its way arrives
        await asyncio.sleep(0)
    assert stream.queue.size < 2 << 20
    assert len(first) + sum([len(piece) async for piece in stream]) == size
    assert engine.dispatcher.recent[-1].status == "success"


@pytest.mark.parametrize("way", ["break", "close", "with"])
async def test_leaving_early_lets_the_function_run_on(function, way):
    engine, size = function._engine, 16 << 20
    event = {"do": "flood", "bytes": size}
    if way == "break":
        async for _ in function.invoke_stream(event):
            break
    elif way == "close":
        stream = function.invoke_stream(event)
        await anext(stream)
        stream.close()
    else:
        async with function.invoke_stream(event) as stream:
            await anext(stream)
    async with asyncio.timeout(20):
        while engine.dispatcher.recent[-1].status != "success":
            await asyncio.sleep(0.01)
    assert engine.dispatcher.recent[-1].stream.size == size


async def test_a_taker_that_is_cancelled_may_take_again(function):
    async with gate() as closed, asyncio.timeout(20):
        stream = function.invoke_stream({"do": "stream", "pieces": [closed.port, "x"]})
        taking = asyncio.ensure_future(anext(stream))
        await closed.reached.wait()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        closed.release()
        assert await anext(stream) == b"x"


async def test_the_end_of_the_engine_ends_the_loop(function):
    engine = function._engine
    stream = function.invoke_stream({"do": "hang", "pieces": ["x"]})
    assert await anext(stream) == b"x"
    engine.dispatcher.stop()
    with pytest.raises(FunctionFailedError, match=r"Sandbox\.Failure"):
        await anext(stream)
