"""boto3's `invoke_with_response_stream`, unmodified, against the server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anyio
import anyio.to_thread
import pytest

from engine import Engine
from tests.support.control_plane import client
from tests.support.streaming import gate, streamer

pytest_plugins = ("tests.support.sandbox_fixtures",)


@pytest.fixture
async def boto(anyio_backend, no_leaks, tmp_path):
    async with Engine() as engine:
        await engine.create_function("f", code=streamer(tmp_path / "f"), timeout_s=20)
        server = await engine.serve(port=0)
        made = client(server.url)
        yield made
        made.close()


def ask(boto: Any, event: object, **members: Any) -> dict[str, Any]:
    return boto.invoke_with_response_stream(FunctionName="f", Payload=json.dumps(event).encode(), **members)


async def test_events_come_as_they_are_written(boto):
    def first(port: int) -> tuple[dict[str, Any], Iterator[Any]]:
        answer = ask(boto, {"do": "stream", "pieces": ["one", port, "two"]})
        events = iter(answer["EventStream"])
        assert next(events) == {"PayloadChunk": {"Payload": b"one"}}
        return answer, events

    async with gate() as closed:
        answer, events = await anyio.to_thread.run_sync(first, closed.port)
        await closed.reached.wait()
        closed.release()
        rest = await anyio.to_thread.run_sync(list, events)
        answer["EventStream"].close()
    assert rest == [{"PayloadChunk": {"Payload": b"two"}}, {"InvokeComplete": {}}]
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"


async def test_each_way_to_end_reaches_the_client(boto):
    def work() -> None:
        def events(event: object, **members: Any) -> list[dict[str, Any]]:
            with closing(ask(boto, event, **members)["EventStream"]) as stream:
                return list(stream)

        assert events({"do": "whole", "value": [1]}) == [{"PayloadChunk": {"Payload": b"[1]"}}, {"InvokeComplete": {}}]
        chunk, end = events({"do": "break", "pieces": ["half"]})
        assert chunk == {"PayloadChunk": {"Payload": b"half"}}
        assert end["InvokeComplete"]["ErrorCode"] == "Unhandled"
        assert json.loads(end["InvokeComplete"]["ErrorDetails"])["errorMessage"] == "in the middle"
        _, end = events({"do": "stream", "pieces": ["x"]}, LogType="Tail")
        assert b"REPORT RequestId" in base64.b64decode(end["InvokeComplete"]["LogResult"])
        dry = ask(boto, 1, InvocationType="DryRun")
        assert dry["StatusCode"] == 204
        assert list(dry["EventStream"]) == []
        with pytest.raises(boto.exceptions.ResourceNotFoundException):
            boto.invoke_with_response_stream(FunctionName="nope")
        with boto.invoke(FunctionName="f", Payload=b'{"do":"whole","value":2}')["Payload"] as payload:
            assert payload.read() == b"2"
        boto.get_function(FunctionName="f")
        assert events({"do": "stream", "pieces": ["x"]})[0] == {"PayloadChunk": {"Payload": b"x"}}

    await anyio.to_thread.run_sync(work)
