"""Invoke over HTTP: the fast path and aiohttp's, which must be indistinguishable."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
from contextlib import closing

import anyio.to_thread
import pytest

from engine import Engine
from engine.store.requests import SnapStart, TracingConfig, UpdateFunctionConfigurationRequest
from tests.support.functions import ECHO, bootstrap
from tests.support.lending import kept_by_aiohttp

PATH = "/2015-03-31/functions/echo/invocations"
VARYING = {"x-amzn-requestid", "x-amzn-trace-id", "date", "server", "x-amz-log-result"}


pytest_plugins = ("tests.support.sandbox_fixtures",)


@pytest.fixture
async def served(anyio_backend, no_leaks, tmp_path):
    async with Engine() as engine:
        await engine.create_function(
            "echo",
            code=bootstrap(
                tmp_path / "echo",
                """
                while True:
                    request_id, event, headers = take()
                    if event == "fail":
                        fail(request_id, {"errorType": "E", "errorMessage": "m"})
                    elif event == "headers":
                        give(request_id, headers)
                    else:
                        print("seen", flush=True)
                        give(request_id, event)
                """,
            ),
        )
        server = await engine.serve(port=0)
        yield engine, server.url.removeprefix("http://")


def ask(address: str, *requests: tuple[str, str, bytes, dict[str, str]], through_aiohttp: bool) -> list[tuple]:
    """Send requests on one connection; with `through_aiohttp` something else goes first, and aiohttp keeps it."""
    connection = http.client.HTTPConnection(address, timeout=20)
    out = []
    with kept_by_aiohttp(), closing(connection):
        if through_aiohttp:
            connection.request("GET", "/_lambent/health")
            assert connection.getresponse().read() == b'{"status":"ok"}'
        for method, path, body, headers in requests:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            out.append((reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()))
    return out


CASES = {
    "plain": ("POST", PATH, b'{"a":1}', {}),
    "empty": ("POST", PATH, b"", {}),
    "tail": ("POST", PATH, b"1", {"X-Amz-Log-Type": "Tail"}),
    "qualified": ("POST", PATH + "?Qualifier=%24LATEST", b"1", {}),
    "dry run": ("POST", PATH, b"1", {"X-Amz-Invocation-Type": "DryRun"}),
    "explicit type": ("POST", PATH, b"1", {"X-Amz-Invocation-Type": "RequestResponse"}),
    "function error": ("POST", PATH, b'"fail"', {}),
    "by arn": ("POST", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aecho/invocations", b"1", {}),
    "unknown function": ("POST", PATH.replace("echo", "nope"), b"1", {}),
    "unknown qualifier": ("POST", PATH + "?Qualifier=7", b"1", {}),
    "other region": ("POST", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A000000000000%3Afunction%3Aecho/invocations", b"1", {}),
    "wrong json": ("POST", PATH, b"{nonsense", {}),
    "wrong type": ("POST", PATH, b"1", {"X-Amz-Invocation-Type": "Whenever"}),
    "wrong log type": ("POST", PATH, b"1", {"X-Amz-Log-Type": "Head"}),
    "event type": ("POST", PATH, b"1", {"X-Amz-Invocation-Type": "Event"}),
    "wrong context": ("POST", PATH, b"1", {"X-Amz-Client-Context": "!!!"}),
    "tenant": ("POST", PATH, b"1", {"X-Amz-Tenant-Id": "t"}),
    "too large": ("POST", PATH, b'"' + b"x" * 6_291_556 + b'"', {}),
}  # fmt: skip


async def test_the_fast_path_and_aiohttp_answer_alike_in_every_case(served):
    _, address = served
    for name, request in CASES.items():
        fast = (await anyio.to_thread.run_sync(lambda request=request: ask(address, request, through_aiohttp=False)))[0]
        slow = (await anyio.to_thread.run_sync(lambda request=request: ask(address, request, through_aiohttp=True)))[0]
        assert fast[0] == slow[0], name
        assert fast[2] == slow[2], name
        keys = (set(fast[1]) | set(slow[1])) - {"date", "server"}
        if fast[0] == 204:
            keys -= {"content-length", "content-type"}
        assert {key: fast[1].get(key) for key in keys - VARYING} == {key: slow[1].get(key) for key in keys - VARYING}, (
            name
        )
        for key in keys & VARYING:
            assert key in fast[1], (name, key)
            assert key in slow[1], (name, key)


async def test_statuses_bodies_and_headers_are_awss(served):
    _, address = served

    def work() -> dict[str, tuple]:
        return {name: ask(address, request, through_aiohttp=False)[0] for name, request in CASES.items()}

    got = await anyio.to_thread.run_sync(work)
    assert got["plain"][0] == 200
    assert got["plain"][2] == b'{"a": 1}'
    assert got["plain"][1]["x-amz-executed-version"] == "$LATEST"
    assert got["plain"][1]["content-type"] == "application/json"
    assert "x-amz-function-error" not in got["plain"][1]
    assert got["empty"][2] == b"{}"
    tail = base64.b64decode(got["tail"][1]["x-amz-log-result"]).decode()
    assert tail.startswith(f"START RequestId: {got['tail'][1]['x-amzn-requestid']} Version: $LATEST\nseen\nEND ")
    assert got["dry run"][0] == 204
    assert got["function error"][1]["x-amz-function-error"] == "Unhandled"
    assert json.loads(got["function error"][2]) == {"errorType": "E", "errorMessage": "m"}
    refusals = {
        "unknown function": (404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope"),
        "unknown qualifier": (404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:echo:7"),
        "other region": (404, "ResourceNotFoundException", "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"),
        "wrong json": (400, "InvalidRequestContentException", "Could not parse request body into json: Could not parse payload into json: "),
        "wrong type": (400, "ValidationException", "1 validation error detected: Value 'Whenever' at 'invocationType'"),
        "wrong log type": (400, "ValidationException", "1 validation error detected: Value 'Head' at 'logType'"),
        "event type": (501, "NotImplementedException", "Invoke with InvocationType Event"),
        "wrong context": (400, "InvalidRequestContentException", "Client context must be"),
        "tenant": (400, "InvalidParameterValueException", "The function isn't configured with tenancy"),
        "too large": (413, "RequestTooLargeException", "Request must be smaller than 6291556 bytes"),
    }  # fmt: skip
    for name, (status, code, text) in refusals.items():
        body = json.loads(got[name][2])
        assert got[name][0] == status, name
        assert got[name][1]["x-amzn-errortype"] == code, name
        assert body.get("message", body.get("Message", "")).startswith(text), name


async def test_context_and_trace_reach_the_runtime(served):
    _, address = served
    context = base64.b64encode(b'{"custom":\n{"k":"v"}}').decode()
    headers = {"X-Amz-Client-Context": context, "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"}
    reply = (
        await anyio.to_thread.run_sync(
            lambda: ask(address, ("POST", PATH, b'"headers"', headers), through_aiohttp=False)
        )
    )[0]
    seen = json.loads(reply[2])
    assert json.loads(seen["lambda-runtime-client-context"]) == {"custom": {"k": "v"}}
    assert seen["lambda-runtime-trace-id"] == headers["X-Amzn-Trace-Id"]
    assert reply[1]["x-amzn-trace-id"] == headers["X-Amzn-Trace-Id"]
    assert seen["lambda-runtime-aws-request-id"] == reply[1]["x-amzn-requestid"]
    assert int(seen["lambda-runtime-deadline-ms"]) > 0
    assert seen["lambda-runtime-invoked-function-arn"] == "arn:aws:lambda:us-east-1:000000000000:function:echo"


async def test_an_active_function_is_a_part_of_the_trace_and_decides_whether_it_is_sampled(served):
    engine, address = served
    await engine.registry.update_configuration(
        UpdateFunctionConfigurationRequest(function_name="echo", tracing_config=TracingConfig(mode="Active"))
    )
    root = "Root=1-5759e988-bd862e3fe1be46a994272793"
    given = [{}, {"X-Amzn-Trace-Id": root}, {"X-Amzn-Trace-Id": f"{root};Parent=53995c3f42cd8ad8;Sampled=0"}]
    for through_aiohttp in (False, True):
        requests = [("POST", PATH, b'"headers"', headers) for headers in given]
        replies = await anyio.to_thread.run_sync(lambda: ask(address, *requests, through_aiohttp=through_aiohttp))  # noqa: B023
        traces = [json.loads(body)["lambda-runtime-trace-id"] for _, _, body in replies]
        assert traces == [headers["x-amzn-trace-id"] for _, headers, _ in replies]
        assert all(re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[01]", t) for t in traces)
        assert len({trace.split(";")[1] for trace in traces} | {"Parent=53995c3f42cd8ad8"}) == 4
        assert [trace.startswith(root) for trace in traces] == [False, True, True]
        assert traces[2].endswith("Sampled=0")


async def test_a_connection_may_change_from_invoke_to_the_control_plane_and_back(served):
    _, address = served
    invoke = ("POST", PATH, b"1", {})
    get = ("GET", "/2015-03-31/functions/echo", b"", {})
    replies = await anyio.to_thread.run_sync(
        lambda: ask(address, invoke, get, invoke, invoke, get, through_aiohttp=False)
    )
    assert [status for status, _, _ in replies] == [200] * 5
    assert replies[0][2] == replies[2][2] == b"1"
    assert json.loads(replies[1][2])["Configuration"]["FunctionName"] == "echo"


async def test_requests_in_one_packet_are_answered_in_order_whoever_serves_them(served):
    _, address = served
    host, port = address.split(":")
    invoke = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n" % PATH.encode()
    get = b"GET /_lambent/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def work(pieces: list[bytes]) -> bytes:
        with socket.create_connection((host, int(port)), timeout=20) as peer:
            for piece in pieces:
                peer.sendall(piece)
            received = b""
            while data := peer.recv(65536):
                received += data
            return received

    for pieces in (
        [invoke + b"1" + invoke + b"2" + get],
        [invoke + b"1", invoke[:20], invoke[20:] + b"2", get[:3], get[3:]],
    ):
        received = await anyio.to_thread.run_sync(work, pieces)
        assert received.count(b"HTTP/1.1 200 OK") == 3
        assert received.index(b"\r\n\r\n1") < received.index(b"\r\n\r\n2") < received.index(b'{"status":"ok"}')


async def test_garbage_is_refused_and_the_server_goes_on(served):
    _, address = served
    host, port = address.split(":")

    def garbage(data: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=20) as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            received = b""
            while piece := peer.recv(65536):
                received += piece
            return received

    for data in (
        b"\0\1\2\3\r\n\r\n",
        b"POST /2015-03-31/functions/echo/invocations HTTP/9.9\r\n\r\n",
        b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        assert b" 400 " in (await anyio.to_thread.run_sync(garbage, data)).split(b"\r\n")[0], data
    assert (await anyio.to_thread.run_sync(lambda: ask(address, ("POST", PATH, b"1", {}), through_aiohttp=False)))[0][
        0
    ] == 200


async def test_a_client_that_hangs_up_does_not_stop_the_function(served, tmp_path):
    engine, address = served
    host, port = address.split(":")
    await engine.create_function(
        "slow",
        code=bootstrap(
            tmp_path / "slow",
            """
            while True:
                request_id, event, _ = take()
                time.sleep(0.3)
                give(request_id, 1)
            """,
        ),
        timeout_s=20,
    )

    def hang_up() -> None:
        with socket.create_connection((host, int(port)), timeout=20) as peer:
            peer.sendall(
                b"POST /2015-03-31/functions/slow/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
            )

    await anyio.to_thread.run_sync(hang_up)
    with anyio.fail_after(20):
        while not engine.dispatcher.recent or engine.dispatcher.recent[-1].status != "success":
            await anyio.sleep(0.01)
    assert (await engine.invoke("slow", 1)).json() == 1


async def test_a_throttled_invocation_says_why_and_when_to_come_back(served):
    engine, address = served
    await engine.registry.reserve("echo", 0)
    status, headers, body = (
        await anyio.to_thread.run_sync(lambda: ask(address, ("POST", PATH, b"1", {}), through_aiohttp=False))
    )[0]
    assert status == 429
    assert headers["retry-after"] == "1"
    assert json.loads(body) == {
        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
        "Type": "User",
        "message": "Rate Exceeded.",
    }
    await engine.registry.reserve("echo", None)
    assert (await engine.invoke("echo", 5)).json() == 5


def test_the_echo_of_the_tests_is_what_it_says():
    assert "give(request_id, event)" in ECHO


@pytest.mark.parametrize("through_aiohttp", [False, True], ids=["fast", "aiohttp"])
async def test_a_version_is_invoked_by_its_number_once_it_is_ready(served, through_aiohttp):
    engine, address = served
    engine.registry.prepare_versions_with(lambda _version: None)
    await engine.registry.update_configuration(
        UpdateFunctionConfigurationRequest(
            function_name="echo", snap_start=SnapStart(apply_on="PublishedVersions"), description=str(through_aiohttp)
        )
    )
    version = (await engine.function("echo").publish()).version

    def invoke() -> tuple:
        (reply,) = ask(address, ("POST", f"{PATH}?Qualifier={version}", b"1", {}), through_aiohttp=through_aiohttp)
        return reply

    status, headers, body = await anyio.to_thread.run_sync(invoke)
    assert (status, headers["x-amzn-errortype"]) == (409, "SnapStartNotReadyException")
    assert json.loads(body) == {
        "Type": "User",
        "Message": "Lambda is initializing your function. It will be ready to invoke once your function state becomes "
        "ACTIVE.",
    }
    await engine.registry.version_ready("echo", version)
    status, headers, body = await anyio.to_thread.run_sync(invoke)
    assert (status, headers["x-amz-executed-version"], body) == (200, version, b"1")
    await engine.registry.delete("echo", version)
    status, headers, _ = await anyio.to_thread.run_sync(invoke)
    assert (status, headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
