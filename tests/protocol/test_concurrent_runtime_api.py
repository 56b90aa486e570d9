"""The Runtime API with several invocations in flight, over real sockets: facts §12, clause by clause."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime_api import MAX_PAYLOAD, ConcurrentRuntimeServer, Invocation
from runtime_api._limits import MAX_ERROR_BODY
from tests.protocol.wire import ACCEPTED, ROOT, Endpoint, Wire, chunked, endpoint, invocation, request, until

NEXT = f"{ROOT}/invocation/next"
INVALID_ID = b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}'
TIMED_OUT = b'{"errorMessage":"Invoke timeout","errorType":"InvokeTimeout"}'


def answer(request_id: str, kind: str = "response") -> str:
    return f"{ROOT}/invocation/{request_id}/{kind}"


def server(api: Endpoint) -> ConcurrentRuntimeServer:
    assert isinstance(api.server, ConcurrentRuntimeServer)
    return api.server


async def polling(api: Endpoint, count: int) -> list[Wire]:
    """Workers that wait, in this order."""
    wires = []
    for _ in range(count):
        wire = await api.client()
        heard = len(api.host.calls)
        wire.send(request("GET", NEXT))
        await api.host.heard(heard + 1)
        wires.append(wire)
    return wires


async def given(api: Endpoint, *ids: str, **fields: Any) -> dict[str, Wire]:
    """Workers that were each given an invocation."""
    wires = await polling(api, len(ids))
    for request_id in ids:
        api.server.deliver(invocation(request_id, **fields))
    for wire, request_id in zip(wires, ids, strict=True):
        assert (await wire.reply()).headers["Lambda-Runtime-Aws-Request-Id"] == request_id
    return dict(zip(ids, wires, strict=True))


# ---- next --------------------------------------------------------------------------------------------------------


async def test_each_poll_is_given_an_invocation_of_its_own_in_the_order_in_which_they_came():
    async with endpoint(capacity=3) as api:
        first, second, third = await polling(api, 3)
        assert server(api).waiting == 3
        api.server.deliver(invocation("a", payload=b"1"))
        api.server.deliver(invocation("b", payload=b"2"))
        assert (await first.reply()).body == b"1"
        assert (await second.reply()).body == b"2"
        assert server(api).waiting == 1
        api.server.deliver(invocation("c", payload=b"3"))
        assert (await third.reply()).body == b"3"
        assert set(server(api).flight) == {b"a", b"b", b"c"}


async def test_a_worker_that_asks_again_without_having_answered_waits_for_another_invocation():
    async with endpoint(capacity=2) as api:
        wire = (await given(api, "a"))["a"]
        wire.send(request("GET", NEXT))
        await api.host.heard(2)
        api.server.deliver(invocation("b"))
        assert (await wire.reply()).headers["Lambda-Runtime-Aws-Request-Id"] == "b"
        assert (await wire.ask("POST", answer("b"), b"2")).raw == ACCEPTED
        assert (await wire.ask("POST", answer("a"), b"1")).raw == ACCEPTED


async def test_nothing_is_delivered_where_nobody_waits():
    async with endpoint(capacity=2) as api:
        with pytest.raises(RuntimeError, match="0 in flight, 0 waiting"):
            api.server.deliver(invocation("a"))
        await given(api, "a")
        await polling(api, 1)
        with pytest.raises(RuntimeError, match="1 in flight, 1 waiting"):
            api.server.deliver(invocation("a"))


@pytest.mark.parametrize("way", ["close", "reset", "half"])
async def test_a_poll_that_is_gone_is_told_and_given_nothing(way: str):
    async with endpoint(capacity=2) as api:
        dead, alive = await polling(api, 2)
        if way == "half":
            dead.writer.write_eof()
        elif way == "reset":
            dead.reset()
        else:
            await dead.close()
        await until(lambda: ("left",) in api.host.calls)
        assert server(api).waiting == 1
        api.server.deliver(invocation("a"))
        assert (await alive.reply()).status == 200
        if way == "half":
            assert await dead.end() == b""
        assert api.host.calls.count(("left",)) == 1


async def test_more_than_twice_as_many_polls_are_refused():
    async with endpoint(capacity=2) as api:
        await polling(api, 4)
        reply = await (await api.client()).ask("GET", NEXT)
        assert reply.status == 500
        assert server(api).waiting == 4


async def test_a_host_that_delivers_within_next_answers_that_poll():
    async with endpoint(capacity=2) as api:
        ids = iter("ab")
        api.host.on_next = lambda: api.server.deliver(invocation(next(ids)))
        for expected in "ab":
            reply = await (await api.client()).ask("GET", NEXT)
            assert reply.headers["Lambda-Runtime-Aws-Request-Id"] == expected


# ---- answers -----------------------------------------------------------------------------------------------------


async def test_answers_are_matched_by_id_in_any_order_and_on_any_connection():
    async with endpoint(capacity=3) as api:
        wires = await given(api, "a", "b", "c")
        stranger = await api.client()
        assert (await wires["c"].ask("POST", answer("c"), b"3")).raw == ACCEPTED
        assert (await stranger.ask("POST", answer("a"), b"1", Content_Type="text/plain")).raw == ACCEPTED
        assert (await wires["a"].ask("POST", answer("b", "error"), b"2")).raw == ACCEPTED
        assert api.host.calls[3:] == [
            ("response", "c", b"3", b""),
            ("response", "a", b"1", b"text/plain"),
            ("error", "b", b"2", "Runtime.Unknown", None),
        ]
        assert not server(api).flight


@pytest.mark.parametrize("kind", ["response", "error"])
async def test_an_id_that_is_unknown_or_answered_already_is_400(kind: str):
    async with endpoint(capacity=2) as api:
        wire = (await given(api, "a"))["a"]
        reply = await wire.ask("POST", answer("unknown", kind), b"1")
        assert (reply.status, reply.body) == (400, INVALID_ID)
        assert (await wire.ask("POST", answer("a"), b"1")).raw == ACCEPTED
        reply = await wire.ask("POST", answer("a", kind), b"1")
        assert (reply.status, reply.body) == (400, INVALID_ID)
        assert [call[0] for call in api.host.calls] == ["next", "response"]


async def test_an_answer_to_another_attempt_is_400():
    async with endpoint(capacity=2) as api:
        wire = (await given(api, "a", invocation_id="attempt-2"))["a"]
        reply = await wire.ask("POST", answer("a"), b"1", Lambda_Runtime_Invocation_Id="attempt-1")
        assert (reply.status, reply.body) == (400, INVALID_ID)
        reply = await wire.ask("POST", answer("a"), b"1", Lambda_Runtime_Invocation_Id="attempt-2")
        assert reply.raw == ACCEPTED


@pytest.mark.parametrize("kind", ["response", "error"])
async def test_the_late_answer_to_an_invocation_that_timed_out_is_410_once_and_400_from_then_on(kind: str):
    async with endpoint(capacity=2) as api:
        wires = await given(api, "a", "b")
        server(api).expire(server(api).flight[b"a"])
        reply = await wires["a"].ask("POST", answer("a", kind), b"1")
        assert (reply.status, reply.body) == (410, TIMED_OUT)
        reply = await wires["a"].ask("POST", answer("a", kind), b"1")
        assert (reply.status, reply.body) == (400, INVALID_ID)
        assert (await wires["b"].ask("POST", answer("b"), b"2")).raw == ACCEPTED
        assert [call[0] for call in api.host.calls] == ["next", "next", "response"]


async def test_the_last_thousand_that_timed_out_are_remembered():
    async with endpoint(capacity=1) as api:
        wire = await api.client()
        for number in range(1001):
            await api.running(wire, f"id-{number}")
            server(api).expire(server(api).flight[b"id-%d" % number])
        assert (await wire.ask("POST", answer("id-0"), b"1")).status == 400
        assert (await wire.ask("POST", answer("id-1"), b"1")).status == 410
        assert (await wire.ask("POST", answer("id-1000"), b"1")).status == 410


async def test_an_answer_that_is_coming_in_when_its_time_is_over_is_late():
    async with endpoint(capacity=1) as api:
        wire = (await given(api, "a"))["a"]
        body = b"x" * 100_000
        message = request("POST", answer("a"), body)
        wire.send(message[:50_000])
        await wire.writer.drain()
        await asyncio.sleep(0)
        server(api).expire(server(api).flight[b"a"])
        wire.send(message[50_000:])
        assert (await wire.reply()).status == 410


async def test_an_id_that_times_out_may_come_again_as_another_attempt():
    async with endpoint(capacity=1) as api:
        wire = (await given(api, "a", invocation_id="1"))["a"]
        first = server(api).flight[b"a"]
        server(api).expire(first)
        await api.running(wire, "a", invocation_id="2")
        server(api).expire(first)
        assert b"a" in server(api).flight, "the first is over already"
        assert (await wire.ask("POST", answer("a"), b"1", Lambda_Runtime_Invocation_Id="1")).status == 400
        assert (await wire.ask("POST", answer("a"), b"1", Lambda_Runtime_Invocation_Id="2")).raw == ACCEPTED


async def test_an_id_may_be_encoded():
    async with endpoint(capacity=1) as api:
        wire = (await given(api, "a b"))["a b"]
        assert (await wire.ask("POST", answer("a%20b"), b"1")).raw == ACCEPTED


async def test_an_oversize_response_is_413_and_ends_that_invocation_alone():
    async with endpoint(capacity=2) as api:
        wires = await given(api, "a", "b")
        assert (await wires["a"].ask("POST", answer("a"), b"x" * (MAX_PAYLOAD + 1))).status == 413
        assert api.host.calls[-1][:3] == ("fault", "a", "Function.ResponseSizeTooLarge")
        assert (await wires["b"].ask("POST", answer("b"), b"x" * MAX_PAYLOAD)).raw == ACCEPTED


async def test_the_body_of_an_error_is_bounded_by_one_mebibyte():
    async with endpoint(capacity=2) as api:
        wires = await given(api, "a", "b")
        assert (await wires["a"].ask("POST", answer("a", "error"), b"x" * MAX_ERROR_BODY)).raw == ACCEPTED
        reply = await wires["b"].ask("POST", answer("b", "error"), b"x" * (MAX_ERROR_BODY + 1))
        assert reply.status == 413
        assert b"RequestEntityTooLarge" in reply.body
        assert api.host.calls[-1][:3] == ("fault", "b", "Function.ResponseSizeTooLarge")


async def test_an_unknown_response_mode_ends_that_invocation_with_400():
    async with endpoint(capacity=2) as api:
        wires = await given(api, "a", "b")
        reply = await wires["a"].ask("POST", answer("a"), b"1", Lambda_Runtime_Function_Response_Mode="odd")
        assert reply.status == 400
        assert api.host.calls[-1][:3] == ("fault", "a", "Runtime.InvalidResponseModeHeader")
        assert set(server(api).flight) == {b"b"}


@pytest.mark.parametrize("encoding", ["length", "chunked"])
async def test_a_response_that_breaks_off_ends_that_invocation_alone(encoding: str):
    async with endpoint(capacity=2) as api:
        wires = await given(api, "a", "b")
        if encoding == "length":
            message = request("POST", answer("a"), b"x" * 100)
        else:
            message = chunked("POST", answer("a"), [b"x" * 100])
        wires["a"].send(message[:-20])
        await wires["a"].writer.drain()
        await wires["a"].close()
        await api.host.heard(3)
        assert api.host.calls[2][:3] == ("fault", "a", "Runtime.TruncatedResponse")
        assert (await wires["b"].ask("POST", answer("b"), b"2")).raw == ACCEPTED


async def test_a_chunked_response_with_error_trailers_is_an_error():
    async with endpoint(capacity=1) as api:
        wire = (await given(api, "a"))["a"]
        trailers = "Lambda-Runtime-Function-Error-Type: Function.Broke\r\nLambda-Runtime-Function-Error-Body: e30=\r\n"
        wire.send(chunked("POST", answer("a"), [b"part"], trailers, Lambda_Runtime_Function_Response_Mode="streaming"))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[-1] == ("error", "a", b"{}", "Function.Broke", None)


async def test_the_usual_loop_is_known_by_sight_and_means_the_same():
    async with endpoint(capacity=2) as api:
        wires = await polling(api, 2)
        for number in range(20):
            for name, wire in zip("ab", wires, strict=True):
                request_id = f"{name}-{number}"
                api.server.deliver(invocation(request_id, invocation_id=f"attempt-{request_id}"))
                reply = await wire.reply()
                assert reply.headers["Lambda-Runtime-Aws-Request-Id"] == request_id
            for name, wire in zip("ab", wires, strict=True):
                request_id = f"{name}-{number}"
                body = request_id.encode() * (1 if number % 2 else 20_000)
                message = request(
                    "POST", answer(request_id), body, Lambda_Runtime_Invocation_Id=f"attempt-{request_id}"
                )
                if number % 3:
                    wire.send(message)
                else:  # head and body apart, as curl sends them
                    wire.send(message[: -len(body)])
                    await wire.writer.drain()
                    await asyncio.sleep(0.001)
                    wire.send(body)
                assert (await wire.reply()).raw == ACCEPTED
                assert api.host.calls[-1][:3] == ("response", request_id, body)
                heard = len(api.host.calls)
                wire.send(request("GET", NEXT))
                await api.host.heard(heard + 1)


async def test_a_known_head_of_an_invocation_that_timed_out_is_410():
    async with endpoint(capacity=1) as api:
        wire = await api.client()
        for number, status in enumerate([202, 202, 410]):
            await api.running(wire, f"id-{number}")
            if status == 410:
                server(api).expire(server(api).flight[b"id-%d" % number])
            assert (await wire.ask("POST", answer(f"id-{number}"), b"1")).status == status


# ---- init --------------------------------------------------------------------------------------------------------


async def test_init_is_over_with_the_first_poll_and_the_init_error_of_another_worker_is_403():
    async with endpoint(capacity=2) as api:
        await polling(api, 1)
        reply = await (await api.client()).ask("POST", f"{ROOT}/init/error", b"{}")
        assert reply.status == 403
        assert b"State transition from Ready to InitError failed for runtime" in reply.body
        assert api.host.calls == [("next",)]


async def test_the_first_init_error_counts_and_all_else_is_403():
    async with endpoint(capacity=2) as api:
        wire = await api.client()
        reply = await wire.ask(
            "POST", f"{ROOT}/init/error", b'{"e":1}', Lambda_Runtime_Function_Error_Type="Runtime.ImportModuleError"
        )
        assert reply.raw == ACCEPTED
        assert (await wire.ask("POST", f"{ROOT}/init/error", b"{}")).status == 403
        assert (await wire.ask("GET", NEXT)).status == 403
        assert api.host.calls == [("init_error", b'{"e":1}', "Runtime.ImportModuleError")]


async def test_the_body_of_an_init_error_is_bounded():
    async with endpoint(capacity=2) as api:
        wire = await api.client()
        assert (await wire.ask("POST", f"{ROOT}/init/error", b"x" * (MAX_ERROR_BODY + 1))).status == 413
        assert api.host.calls[0][0] == "init_error"
        assert len(api.host.calls[0][1]) < 1000


# ---- the rest ----------------------------------------------------------------------------------------------------


async def test_a_host_that_raises_is_reported_and_the_runtime_told_500():
    async with endpoint(capacity=1) as api:
        wire = (await given(api, "a"))["a"]

        def fails(subject: Invocation, body: bytes, content_type: bytes) -> None:
            raise ZeroDivisionError

        api.host.runtime_response = fails  # type: ignore[method-assign]
        assert (await wire.ask("POST", answer("a"), b"1")).status == 500
        assert [type(problem["exception"]) for problem in api.problems] == [ZeroDivisionError]
        api.problems.clear()


async def test_ping_and_unknown_paths_are_as_ever():
    async with endpoint(capacity=1) as api:
        wire = await api.client()
        assert (await wire.ask("GET", "/2018-06-01/ping")).body == b"pong"
        assert (await wire.ask("GET", f"{ROOT}/nothing")).status == 404
        assert (await wire.ask("GET", f"{ROOT}/restore/next")).status == 404


async def test_connections_are_bounded_by_the_capacity():
    async with endpoint(capacity=1) as api:
        wires = [await api.client() for _ in range(66)]
        assert (await wires[-1].ask("GET", "/2018-06-01/ping")).status == 200
        one_more = await api.client()
        assert await one_more.end() == b""


async def test_it_is_not_reset():
    async with endpoint(capacity=1) as api:
        with pytest.raises(RuntimeError, match="replaced"):
            api.server.reset()
