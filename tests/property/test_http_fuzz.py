"""Bytes of every kind against the HTTP connection and the Runtime API.

Three properties. How a stream is cut, and whether heads are recognised by sight or parsed, changes nothing. Whatever
comes in, no exception comes out and the state stays one of the table's. And over real sockets, after any abuse of the
server, a good client is served.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime_api import TRANSITIONS, Event, Invocation, RuntimeServer, State
from runtime_api.server import RuntimeConnection
from tests.protocol.wire import (
    ACCEPTED,
    ROOT,
    FakeTransport,
    Host,
    PieceRecorder,
    Recorder,
    chunked,
    endpoint,
    invocation,
    recorder,
    request,
    until,
)

NEXT_PATH = f"{ROOT}/invocation/next"

# What official clients put on the wire (recorded, ids shortened), each as the answer to invocation "id-1".
CLIENTS: dict[str, bytes] = {
    "python next": (
        b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: 127.0.0.1:42619\r\nAccept: */*\r\n"
        b"User-Agent: aws-lambda-python/3.11.7-4.2.2\r\n\r\n"
    ),
    "python response": (
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: 127.0.0.1:42619\r\nAccept: */*\r\n"
        b"content-type: application/json\r\nUser-Agent: aws-lambda-python/3.11.7-4.2.2\r\n"
        b'lambda-runtime-invocation-id: at-1\r\ncontent-length: 8\r\n\r\n{"a": 1}'
    ),
    "python error": (
        b"POST /2018-06-01/runtime/invocation/id-1/error HTTP/1.1\r\nHost: 127.0.0.1:42619\r\nAccept: */*\r\n"
        b"content-type: application/json\r\nUser-Agent: aws-lambda-python/3.11.7-4.2.2\r\n"
        b'lambda-runtime-function-xray-error-cause: {"working_directory":"/t","exceptions":[],"paths":["p"]}\r\n'
        b'lambda-runtime-invocation-id: at-1\r\ncontent-length: 20\r\n\r\n{"errorMessage":"x"}'
    ),
    "go response": (
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n"
        b"User-Agent: aws-lambda-go/go1.22\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
        b"Trailer: Lambda-Runtime-Function-Error-Body,Lambda-Runtime-Function-Error-Type\r\n"
        b'Accept-Encoding: gzip\r\n\r\n8\r\n{"a": 1}\r\n0\r\n\r\n'
    ),
    "go failing late": (
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n"
        b"User-Agent: aws-lambda-go/go1.22\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: Lambda-Runtime-Function-Error-Body,Lambda-Runtime-Function-Error-Type\r\n\r\n"
        b"3\r\n{\r\n\r\n0\r\nLambda-Runtime-Function-Error-Body: e30=\r\n"
        b"Lambda-Runtime-Function-Error-Type: Function.Late\r\n\r\n"
    ),
    "dotnet streaming": (
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n"
        b"Content-Type: application/octet-stream\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
        b"5\r\nhello\r\n1\r\n\n\r\n0\r\n\r\n"
    ),
    "dotnet error": (
        b"POST /2018-06-01/runtime/invocation/id-1/error HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n"
        b"Lambda-Runtime-Function-Error-Type: Function.Oops\r\nLambda-Runtime-Invocation-Id: at-1\r\n"
        b'Content-Type: application/vnd.aws.lambda.error+json\r\nContent-Length: 20\r\n\r\n{"errorMessage":"x"}'
    ),
    "ruby response": (
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nContent-Type: application/json\r\n"
        b"User-Agent: aws-lambda-ruby/3.3.0-2.1.0\r\nAccept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n"
        b'Accept: */*\r\nConnection: close\r\nHost: 127.0.0.1:9001\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    ),
    "rust response": (
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nuser-agent: aws-lambda-rust/0.13.0\r\n"
        b'host: 127.0.0.1:9001\r\ncontent-length: 8\r\n\r\n{"a": 1}'
    ),
    "cause in the body": (
        b"POST /2018-06-01/runtime/invocation/id-1/error HTTP/1.1\r\nHost: h\r\n"
        b"Content-Type: application/vnd.aws.lambda.error.cause+json\r\nContent-Length: 55\r\n\r\n"
        b'{"errorMessage":"x","errorCause":{"message":"because"}}'
    ),
    "curl with Expect": (
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
        b'Content-Length: 8\r\n\r\n{"a": 1}'
    ),
    "init error": (
        b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nAccept-Encoding: identity\r\nContent-Length: 2\r\n"
        b"Host: h\r\nLambda-Runtime-Function-Error-Type: Runtime.ImportModuleError\r\n\r\n{}"
    ),
    "ping": b"GET /2018-06-01/ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "bare post": b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
}

BROKEN_PIECES = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"\xff" * 9, b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n", b"ffffffffffffffffff\r\n", b"HTTP/1.1", b" ", b":", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n", b"Connection: close\r\n", b"id-2", b"%69", b"-1", b"99999999999999999999",
]  # fmt: skip

quick = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """One or more recorded requests with bytes changed, cut out, doubled, or strange pieces put in."""
    message = b"".join(draw(st.lists(st.sampled_from(sorted(CLIENTS.values())), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(message)))
        to = min(len(message), at + draw(st.integers(0, 12)))
        how = draw(st.sampled_from(["change", "cut", "double", "insert", "end"]))
        if how == "change" and at < len(message):
            message = message[:at] + bytes([draw(st.integers(0, 255))]) + message[at + 1 :]
        elif how == "cut":
            message = message[:at] + message[to:]
        elif how == "double":
            message = message[:to] + message[at:]
        elif how == "insert":
            message = message[:at] + draw(st.sampled_from(BROKEN_PIECES)) + message[at:]
        elif how == "end":
            message = message[:at]
    return message


def cut(data: bytes, seed: int) -> list[bytes]:
    """`data` in pieces, as a network might deliver it."""
    dice, pieces, at = random.Random(seed), [], 0
    while at < len(data):
        size = dice.choice([1, 2, 3, 7, 50, 1000, len(data)])
        pieces.append(data[at : at + size])
        at += size
    return pieces


header_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
bodies = st.one_of(st.binary(max_size=40), st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"x" * 999, b"x" * 1001]))


@st.composite
def valid_stream(draw: st.DrawFn) -> bytes:
    """Well-formed requests back to back, many of them with equal heads."""
    kinds = draw(
        st.lists(
            st.tuples(st.sampled_from(["get", "length", "chunked", "blank"]), header_text, bodies),
            min_size=1,
            max_size=3,
        )
    )
    stream = b""
    for kind, text, body in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=8)):
        if kind == "get":
            stream += request("GET", "/g", X=text)
        elif kind == "length":
            stream += request("POST", "/p", body, X=text)
        elif kind == "chunked":
            half = len(body) // 2
            stream += chunked("POST", "/c", [part for part in (body[:half], body[half:]) if part], f"T: {text}\r\n")
        else:
            stream += b"\r\n"
    return stream


def feed(pieces: list[bytes], *, hold: bool = False, parse_all: bool = False) -> Recorder:
    connection, _ = recorder(hold=hold)
    for piece in pieces:
        if parse_all:
            connection._memo_size = -1
        connection.data_received(piece)
        while hold and connection.waiting:
            connection.answer()
    return connection


@quick
@given(valid_stream(), st.integers())
def test_however_a_stream_is_cut_the_requests_are_the_same(stream, seed):
    whole = feed([stream]).requests
    pieces = cut(stream, seed)
    assert feed(pieces).requests == whole
    assert feed(pieces, hold=True).requests == whole
    assert feed(pieces, parse_all=True).requests == whole


@quick
@given(valid_stream(), st.integers(), st.booleans(), st.booleans())
def test_pieces_make_up_the_body_however_a_stream_is_cut(stream, seed, pause, hold):
    whole = feed([stream]).requests
    connection, transport = PieceRecorder(hold=hold), FakeTransport()
    connection.connection_made(transport)
    if pause:
        connection.on_piece = connection.pause_body
    for part in cut(stream, seed):
        connection.data_received(part)
        while hold and connection.waiting:
            connection.answer()
        connection.resume_body()
        assert transport.reading
    assert [(*one[:3], *one[4:6]) for one in connection.requests] == [(*one[:3], *one[4:6]) for one in whole]
    for one, body in zip(whole, connection.bodies, strict=True):
        assert one[3] == (body if len(body) <= connection.max_body else b"")


async def quietly(work: Any) -> None:
    """Run `work` on a loop that must have nothing to complain of."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    await work
    await asyncio.sleep(0)
    assert not problems, problems


async def abuse(pieces: list[bytes], ending: str, kind: type[Recorder]) -> None:
    connection, transport = kind(), FakeTransport()
    connection.connection_made(transport)
    for piece in pieces:
        if not transport.closing:
            connection.data_received(piece)
    if ending == "eof":
        keep = connection.eof_received()
        assert keep is (connection._state in {4, 5})
    assert connection.aborts <= 1
    connection.connection_lost(None)
    assert connection.ends == 1
    assert connection.aborts <= 1
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")  # nothing may come of it
    assert transport.sent.count(b"HTTP/1.1 4") <= 1


@quick
@given(
    st.one_of(mutated(), st.binary(max_size=300), valid_stream()),
    st.integers(),
    st.sampled_from(["eof", "lost"]),
    st.sampled_from([Recorder, PieceRecorder]),
)
def test_no_exception_leaves_the_connection_whatever_comes_in(data, seed, ending, kind):
    asyncio.run(quietly(abuse(cut(data, seed), ending, kind)))


class Slow(RuntimeServer):
    """Parses everything."""

    __slots__ = ()

    def learn_next(self, head: bytes) -> None:
        pass

    def learn_answer(self, head: bytes, content_type: bytes) -> None:
        pass


class Run:
    """One environment under a script: what the host heard and the runtime was told."""

    def __init__(self, kind: type[RuntimeServer]) -> None:
        self.host = Host()
        self.server = kind(self.host)
        self.connections: list[tuple[RuntimeConnection, FakeTransport]] = []
        self.count = 0

    def connection(self, index: int) -> tuple[RuntimeConnection, FakeTransport]:
        while len(self.connections) <= index or self.connections[index][1].closing:
            connection, transport = RuntimeConnection(self.server), FakeTransport()
            connection.connection_made(transport)
            if len(self.connections) > index:
                self.connections[index] = (connection, transport)
            else:
                self.connections.append((connection, transport))
        return self.connections[index]

    def step(self, op: str, index: int, body: bytes, seed: int) -> bytes:
        connection, transport = self.connection(index)
        self.host.streams = seed % 4 != 0
        if op == "deliver":
            if self.server.machine.may(Event.DELIVER):
                self.count += 1
                self.server.deliver(
                    Invocation(f"id-{self.count}", deadline_ms=1, payload=body, invocation_id=f"at-{self.count}")
                )
        elif op == "close":
            transport.close()
            connection.connection_lost(None)
        else:
            echo = {"Lambda_Runtime_Invocation_Id": f"at-{self.count}"} if seed % 3 == 0 else {}
            path = f"{ROOT}/invocation/id-{self.count - (seed % 7 == 0)}"
            message = {
                "next": lambda: request("GET", NEXT_PATH),
                "response": lambda: request("POST", f"{path}/response", body, Content_Type="a/b", **echo),
                "error": lambda: request("POST", f"{path}/error", body),
                "go": lambda: chunked("POST", f"{path}/response", [body] if body else []),
                "stream": lambda: chunked(
                    "POST",
                    f"{path}/response",
                    [body, body] if body else [],
                    "Lambda-Runtime-Function-Error-Type: E\r\n" if seed % 5 == 0 else "",
                    Lambda_Runtime_Function_Response_Mode="streaming",
                ),
                "half": lambda: chunked(
                    "POST", f"{path}/response", [body or b"-"], Lambda_Runtime_Function_Response_Mode="streaming"
                )[:-5],
                "apart": lambda: request("POST", f"{path}/response", body, Content_Type="a/b", **echo),
                "ping": lambda: request("GET", "/2018-06-01/ping"),
            }[op]()
            pieces = [message] if seed % 2 else cut(message, seed)
            if op == "apart":
                at = message.index(b"\r\n\r\n") + 4
                pieces = [message[:at], message[at:]]
            for piece in pieces:
                if piece:
                    connection.data_received(piece)
        return transport.sent


steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("next", "next", "deliver", "deliver", "response", "response", "apart", "error", "go", "stream"),
                *("half", "ping", "close"),
            ]
        ),
        st.integers(0, 1),
        st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 99, b"x" * 100, b"\r\n\r\n"])),
        st.integers(0, 100),
    ),
    max_size=40,
)


@quick
@given(steps)
def test_recognising_heads_by_sight_changes_nothing(script):
    async def compare() -> None:
        fast, slow = Run(RuntimeServer), Run(Slow)
        for op, index, body, seed in script:
            assert fast.step(op, index, body, seed) == slow.step(op, index, body, seed)
            assert fast.server.machine.state is slow.server.machine.state
            assert fast.host.calls == slow.host.calls

    asyncio.run(quietly(compare()))


LEADS_TO_NEXT = {State.STARTED, State.READY, State.RUNNING, State.RESPONSE_SENT, State.RESTORING}


async def abuse_a_server(data: bytes, seed: int, state: str) -> None:
    async with endpoint() as api:
        api.host.streams = seed % 2 == 0
        if state != "Started":
            wire = await api.running(invocation_id="at-1")
            if state == "Sent":
                assert (await wire.ask("POST", f"{ROOT}/invocation/id-1/response", b"x")).raw == ACCEPTED
        bad = await api.client()
        for piece in cut(data, seed):
            bad.send(piece)
            if seed % 3 == 0:
                await asyncio.sleep(0)
        if seed % 2:
            bad.writer.write_eof()
        good = await api.client()
        assert (await good.ask("GET", "/2018-06-01/ping")).body == b"pong"
        if seed % 5 == 0:
            bad.reset()
        else:
            bad.writer.close()
        others = 1 + (state != "Started")
        await until(lambda: api.server.connections() == others)  # all that it sent has been seen
        machine = api.server.machine
        assert machine.state in TRANSITIONS
        ends = [call for call in api.host.calls if call[0] not in {"next", "stream", "piece"}]
        assert len(ends) <= 1 + (state == "Sent")
        if machine.state not in LEADS_TO_NEXT:
            assert machine.state is State.INIT_ERROR
            api.server.reset()
            good = await api.client()
        if machine.state is State.RUNNING:  # whatever came, it was no answer
            assert (await good.ask("POST", f"{ROOT}/invocation/id-1/response", b"x")).status in {202, 403}
        good.send(request("GET", NEXT_PATH))
        await until(lambda: machine.state is State.READY)
        api.server.deliver(invocation("after"))
        assert (await good.reply()).headers["Lambda-Runtime-Aws-Request-Id"] == "after"
        assert (await good.ask("POST", f"{ROOT}/invocation/after/response", b"well")).raw == ACCEPTED
        assert api.host.calls[-1][:3] == ("response", "after", b"well")


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@settings(quick, max_examples=100)
@given(
    data=st.one_of(mutated(), mutated(), st.binary(max_size=200)),
    seed=st.integers(0, 1000),
    state=st.sampled_from(["Started", "Running", "Sent"]),
)
def test_after_any_abuse_a_good_client_is_served(loop_factory, data, seed, state):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(abuse_a_server(data, seed, state))


@pytest.mark.parametrize("name", CLIENTS)
async def test_each_recorded_request_is_understood(name):
    async with endpoint() as api:
        wire = await api.client()
        if name not in {"init error", "python next"}:
            await api.running(wire, invocation_id="at-1")
        wire.send(CLIENTS[name])
        if name == "python next":
            await api.host.heard()
            api.server.deliver(invocation())
        reply = await wire.reply()
        assert reply.status in {200, 202}
