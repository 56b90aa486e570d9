"""Streamed responses over real sockets: what facts §1.5 and §1.8 promise of them."""

from __future__ import annotations

import asyncio
import base64

import pytest

from runtime_api import MAX_STREAM, State
from tests.protocol.wire import ACCEPTED, ROOT, Endpoint, Wire, chunked, endpoint, request, until

NEXT = f"{ROOT}/invocation/next"
RESPONSE = f"{ROOT}/invocation/id-1/response"
STREAMING = {"Lambda_Runtime_Function_Response_Mode": "streaming"}
HEAD = request("POST", RESPONSE, None, Transfer_Encoding="chunked", Content_Type="text/x", **STREAMING)
ERROR = base64.b64encode(b'{"errorMessage":"x"}').decode()
FAILED = f"Lambda-Runtime-Function-Error-Type: Function.Broke\r\nLambda-Runtime-Function-Error-Body: {ERROR}\r\n"


def piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def running(api: Endpoint) -> Wire:
    api.host.streams = True
    return await api.running()


def forbidden(wanted: str) -> str:
    return f"from InvocationResponse to {wanted} failed"


async def test_pieces_go_on_as_they_come_and_the_end_is_accepted():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(HEAD)
        assert (await api.host.heard(2))[1:] == [("stream", "id-1", b"text/x")]
        assert api.server.machine.state is State.INVOCATION_RESPONSE
        for number, data in enumerate((b"one", b"two\r\n\r\n", b"three")):
            wire.send(piece(data))
            assert (await api.host.heard(3 + number))[-1] == ("piece", "id-1", data)
        wire.send(b"0\r\n\r\n")
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[5:] == [("streamed", "id-1")]
        assert api.server.machine.state is State.RESPONSE_SENT


async def test_a_stream_without_a_content_type_is_octets():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(chunked("POST", RESPONSE, [b"a"], **STREAMING))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[1] == ("stream", "id-1", b"application/octet-stream")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_http_integration_is_streamed_without_the_mode_header(framing):
    kind = "application/vnd.awslambda.http-integration-response"
    async with endpoint() as api:
        wire = await running(api)
        message = (
            request("POST", RESPONSE, b"ab", Content_Type=kind)
            if framing == "length"
            else chunked("POST", RESPONSE, [b"a", b"b"], Content_Type=kind)
        )
        wire.send(message)
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[1:] == [("stream", "id-1", kind.encode()), ("piece", "id-1", b"ab"), ("streamed", "id-1")]


async def test_other_responses_are_not_streamed():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(chunked("POST", RESPONSE, [b"a", b"b"], Content_Type="application/json", Trailer="X"))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[1:] == [("response", "id-1", b"ab", b"application/json")]


async def test_a_stream_that_its_caller_does_not_want_is_collected_and_not_known_by_sight_afterwards():
    kind = "application/vnd.awslambda.http-integration-response"
    async with endpoint() as api:
        wire = await api.client()
        for number in (1, 2):
            await api.running(wire, f"id-{number}")
            api.host.streams = number == 2
            path = f"{ROOT}/invocation/id-{number}/response"
            assert (await wire.ask("POST", path, b"ab", Content_Type=kind)).raw == ACCEPTED
        assert [call[0] for call in api.host.calls] == ["next", "response", "next", "stream", "piece", "streamed"]


async def test_trailers_end_a_stream_with_the_functions_error():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(chunked("POST", RESPONSE, [b"half"], FAILED, **STREAMING))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[2:] == [
            ("piece", "id-1", b"half"),
            ("error", "id-1", b'{"errorMessage":"x"}', "Function.Broke", None),
        ]
        await api.running(wire, "id-2")


@pytest.mark.parametrize(("trailers", "body"), [
    ("Lambda-Runtime-Function-Error-Type: Error\r\n", b'{"errorMessage":"","errorType":"Runtime.Unknown"}'),
    (
        "Lambda-Runtime-Function-Error-Type: Error\r\nLambda-Runtime-Function-Error-Body: !\r\n",
        b'{"errorMessage":"","errorType":"Runtime.Unknown"}',
    ),
])  # fmt: skip
async def test_an_error_without_a_readable_body_is_given_one(trailers, body):
    async with endpoint() as api:
        wire = await running(api)
        wire.send(chunked("POST", RESPONSE, [], trailers, **STREAMING))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[2:] == [("error", "id-1", body, "Runtime.Unknown", None)]


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", NEXT, "Ready"),
        ("POST", RESPONSE, "InvocationResponse"),
        ("POST", RESPONSE.replace("response", "error"), "InvocationErrorResponse"),
    ],
    ids=["next", "response", "error"],
)
async def test_nothing_else_is_legal_before_a_stream_is_complete(method, path, wanted):
    async with endpoint() as api:
        wire, other = await running(api), await api.client()
        wire.send(HEAD + piece(b"a"))
        await api.host.heard(3)
        reply = await other.ask(method, path, None if method == "GET" else b"x")
        assert reply.status == 403
        assert forbidden(wanted) in reply.body.decode()
        wire.send(piece(b"b") + b"0\r\n\r\n")
        assert (await wire.reply()).raw == ACCEPTED
        assert [call[0] for call in api.host.calls] == ["next", "stream", "piece", "piece", "streamed"]


async def test_a_second_stream_is_refused_while_the_first_runs_and_does_not_disturb_it():
    async with endpoint() as api:
        wire, other = await running(api), await api.client()
        wire.send(HEAD + piece(b"a"))
        await api.host.heard(3)
        other.send(chunked("POST", RESPONSE, [b"intruder"], **STREAMING))
        assert (await other.reply()).status == 403
        wire.send(b"0\r\n\r\n")
        assert (await wire.reply()).raw == ACCEPTED
        assert ("piece", "id-1", b"intruder") not in api.host.calls


async def test_a_stream_for_another_id_is_refused_when_it_is_whole():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(chunked("POST", RESPONSE.replace("id-1", "id-2"), [b"a"], **STREAMING))
        reply = await wire.reply()
        assert (reply.status, b"InvalidRequestID" in reply.body) == (400, True)
        assert api.host.calls == [("next",)]


@pytest.mark.parametrize("ending", ["half-close", "close", "reset", "garbage"])
async def test_a_stream_that_breaks_off_is_a_fault_once_and_the_runtime_may_go_on(ending):
    async with endpoint() as api:
        wire = await running(api)
        wire.send(HEAD + piece(b"a"))
        await api.host.heard(3)
        if ending == "half-close":
            wire.writer.write_eof()
            assert b"TruncatedHTTPRequest" in (await wire.reply()).body
        elif ending == "garbage":
            wire.send(b"no chunk\r\n")
            assert (await wire.reply()).status == 400
        elif ending == "reset":
            wire.reset()
        else:
            wire.writer.close()
        await api.host.heard(4)
        assert api.host.calls[3:] == [("fault", "id-1", "Runtime.TruncatedResponse", "")]
        await api.running(None, "id-2")


async def test_a_reset_ends_a_stream_without_a_word_to_the_host():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(HEAD + piece(b"a"))
        await api.host.heard(3)
        api.server.reset()
        assert await wire.end() == b""
        assert [call[0] for call in api.host.calls] == ["next", "stream", "piece"]
        assert api.server.machine.state is State.STARTED


async def test_while_a_stream_is_paused_the_runtime_cannot_go_on_writing():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(HEAD + piece(b"a"))
        await api.host.heard(3)
        source = api.host.source
        source.pause()
        block, sent = piece(b"x" * 65536), 0
        wire.writer.transport.set_write_buffer_limits(high=0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                while True:
                    wire.send(block)
                    sent += 65536
                    await asyncio.wait_for(wire.writer.drain(), 0.5)
        received = sum(len(call[2]) for call in api.host.calls if call[0] == "piece") - 1
        assert received < sent, "the rest waits in the kernel and in the runtime"
        assert received <= 1 << 18, "one read at most"
        source.resume()
        wire.send(b"0\r\n\r\n")
        assert (await wire.reply()).raw == ACCEPTED
        assert sum(len(call[2]) for call in api.host.calls if call[0] == "piece") - 1 == sent


async def test_the_source_of_a_stream_that_is_over_pauses_nothing():
    async with endpoint() as api:
        wire = await running(api)
        wire.send(chunked("POST", RESPONSE, [b"a"], **STREAMING))
        await wire.reply()
        over = api.host.source
        await api.running(wire, "id-2")
        wire.send(HEAD.replace(b"id-1", b"id-2") + piece(b"b"))
        await api.host.heard(7)
        over.pause()
        wire.send(piece(b"c"))
        assert (await api.host.heard(8))[-1] == ("piece", "id-2", b"c")


async def test_a_stream_ends_at_its_limit_and_the_runtime_hears_of_it():
    async with endpoint() as api:
        assert api.server.max_stream == MAX_STREAM == 200 << 20
        api.server.max_stream = 1000
        wire = await running(api)
        wire.send(HEAD + piece(b"x" * 999) + piece(b"y" * 10) + piece(b"z" * 10) + b"0\r\n\r\n")
        reply = await wire.reply()
        assert reply.status == 413
        assert reply.body == (
            b'{"errorMessage":"Exceeded maximum allowed payload size (1000 bytes).",'
            b'"errorType":"RequestEntityTooLarge"}'
        )
        pieces = b"".join(call[2] for call in api.host.calls if call[0] == "piece")
        assert pieces == b"x" * 999 + b"y"
        assert api.host.calls[-1][:3] == ("fault", "id-1", "Function.ResponseSizeTooLarge")
        assert api.host.calls[-1][3].endswith("size exceeded maximum allowed payload size (1000 bytes).")
        await api.running(wire, "id-2")


async def test_a_stream_far_past_its_limit_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr("runtime_api._streamed.MAX_STRAY_BODY", 1000)
    async with endpoint() as api:
        api.server.max_stream = 1000
        wire = await running(api)
        wire.send(HEAD + piece(b"x" * 3000))
        reply = await wire.reply()
        assert (reply.status, reply.headers["Connection"]) == (413, "close")
        assert await wire.end() == b""
        assert [call[0] for call in api.host.calls] == ["next", "stream", "piece", "fault"]


async def test_a_host_that_raises_does_not_end_the_connection():
    async with endpoint() as api:
        wire = await running(api)

        def fail(_: bytes) -> None:
            raise ValueError("a bug of the host")

        api.host.on_piece = fail
        wire.send(chunked("POST", RESPONSE, [b"a"], **STREAMING))
        assert (await wire.reply()).raw == ACCEPTED
        assert [str(problem["exception"]) for problem in api.problems] == ["a bug of the host"]
        api.problems.clear()


async def test_many_streams_on_one_connection():
    async with endpoint() as api:
        wire = await api.client()
        api.host.streams = True
        for number in range(20):
            await api.running(wire, f"id-{number}")
            path = f"{ROOT}/invocation/id-{number}/response"
            if number % 3 == 2:
                assert (await wire.ask("POST", path, b"whole")).raw == ACCEPTED
            else:
                wire.send(chunked("POST", path, [b"%d" % number], **STREAMING))
                assert (await wire.reply()).raw == ACCEPTED
        await until(lambda: api.server.connections() == 1)
        assert [call[0] for call in api.host.calls].count("streamed") == 14
