"""The Runtime API over real sockets: what facts §1.1 to §1.7 promise, clause by clause."""

from __future__ import annotations

import asyncio
import json

import botocore.credentials
import pytest

from runtime_api import CREDENTIALS_PATH, MAX_PAYLOAD, Credentials, State, TransitionRefused
from runtime_api._limits import MAX_CONNECTIONS
from tests.protocol.wire import ACCEPTED, ROOT, Wire, chunked, endpoint, invocation, request, until

NEXT = f"{ROOT}/invocation/next"
INVALID_ID = b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}'
TOO_LARGE = (
    b'{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}'
)


def answer(request_id: str = "id-1", kind: str = "response") -> str:
    return f"{ROOT}/invocation/{request_id}/{kind}"


def forbidden(state: str, wanted: str) -> bytes:
    message = f"State transition from {state} to {wanted} failed for runtime. Error: State transition is not allowed"
    return f'{{"errorMessage":"{message}","errorType":"InvalidStateTransition"}}'.encode()


# ---- next --------------------------------------------------------------------------------------------------------


async def test_next_waits_and_is_answered_with_the_event_and_its_headers():
    async with endpoint() as api:
        wire = await api.client()
        wire.send(request("GET", NEXT))
        assert await api.host.heard() == [("next",)]
        assert api.server.machine.state is State.READY
        api.server.deliver(
            invocation(
                "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                payload=b"\x00\xffany bytes",
                invocation_id="attempt-1",
                function_arn="arn:aws:lambda:us-east-1:000000000000:function:f:live",
                trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
                client_context='{"custom":{"k":"ü"}}',
                cognito_identity='{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
                tenant_id="blue",
            )
        )
        reply = await wire.reply()
        assert reply.status == 200
        assert reply.body == b"\x00\xffany bytes"
        assert reply.headers == {
            "Content-Type": "application/json",
            "Content-Length": "11",
            "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "Lambda-Runtime-Deadline-Ms": "1700000000000",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f:live",
            "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "Lambda-Runtime-Client-Context": '{"custom":{"k":"ü"}}',
            "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
            "Lambda-Runtime-Aws-Tenant-Id": "blue",
            "Lambda-Runtime-Invocation-Id": "attempt-1",
        }


async def test_next_has_no_empty_headers_but_always_a_content_type():
    async with endpoint() as api:
        wire = await api.client()
        wire.send(request("GET", NEXT))
        await api.host.heard()
        api.server.deliver(invocation("id-1", payload=b"", content_type=""))
        reply = await wire.reply()
        assert reply.headers == {
            "Content-Type": "application/json",
            "Content-Length": "0",
            "Lambda-Runtime-Aws-Request-Id": "id-1",
            "Lambda-Runtime-Deadline-Ms": "1700000000000",
        }


async def test_line_breaks_in_a_callers_values_do_not_become_headers():
    async with endpoint() as api:
        wire = await api.client()
        wire.send(request("GET", NEXT))
        await api.host.heard()
        evil = "a\r\nEvil: 1\n\x00b"
        api.server.deliver(invocation("id-1", client_context=evil, trace_id=evil, tenant_id=evil, function_arn=evil))
        reply = await wire.reply()
        assert "Evil" not in reply.headers
        assert reply.headers["Lambda-Runtime-Client-Context"] == "a  Evil: 1  b"
        assert reply.headers["Lambda-Runtime-Trace-Id"] == "a  Evil: 1  b"


async def test_next_while_running_returns_the_same_event_at_once():
    async with endpoint() as api:
        wire = await api.running(payload=b"one")
        again = await wire.ask("GET", NEXT)
        other = await (await api.client()).ask("GET", NEXT)
        assert again.raw == other.raw
        assert again.body == b"one"
        assert api.host.calls == [("next",)]
        assert api.server.machine.state is State.RUNNING
        assert (await wire.ask("POST", answer(), b"done")).raw == ACCEPTED


async def test_polls_that_wait_together_are_all_given_the_event():
    async with endpoint() as api:
        one, two = await api.client(), await api.client()
        one.send(request("GET", NEXT))
        await api.host.heard()
        two.send(request("GET", NEXT) + request("GET", NEXT))
        assert (await (await api.client()).ask("GET", "/2018-06-01/ping")).body == b"pong"
        await until(lambda: len(api.server._polls) == 2)
        api.server.deliver(invocation())
        replies = [await one.reply(), await two.reply(), await two.reply()]
        assert {reply.raw for reply in replies} == {replies[0].raw}
        assert api.host.calls == [("next",)]


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_an_invocation_for_a_poll_that_died_is_had_by_the_next_poll(ending):
    async with endpoint() as api:
        wire = await api.client()
        wire.send(request("GET", NEXT))
        await api.host.heard()
        wire.reset() if ending == "reset" else wire.writer.close()
        await until(lambda: not api.server.connections())
        api.server.deliver(invocation("id-1", payload=b"patience"))
        reply = await (await api.client()).ask("GET", NEXT)
        assert reply.body == b"patience"


async def test_a_half_closed_poll_is_still_answered():
    async with endpoint() as api:
        wire = await api.client()
        wire.send(request("GET", NEXT))
        await api.host.heard()
        wire.writer.write_eof()
        await until(lambda: not api.server.connections())
        api.server.deliver(invocation())
        assert (await wire.reply()).status == 200
        assert await wire.end() == b""


async def test_half_closed_polls_do_not_pile_up():
    async with endpoint() as api:
        for _ in range(5):
            wire = await api.client()
            wire.send(request("GET", NEXT))
            wire.writer.write_eof()
            await until(lambda: api.server._polls and not api.server._polls[-1].receiving)
            assert len(api.server._polls) == 1
        assert len(api.server._open) <= 2


async def test_endless_polls_are_bounded():
    async with endpoint() as api:
        wires = [await api.client() for _ in range(70)]
        for wire in wires:
            wire.send(request("GET", NEXT))
        assert await wires[0].end() == b""
        await until(lambda: len(api.server._open) == 64)
        api.server.deliver(invocation())
        assert (await wires[-1].reply()).status == 200


async def test_connections_beyond_the_limit_are_closed_and_the_others_are_served():
    async with endpoint() as api:
        wires = [await api.client() for _ in range(MAX_CONNECTIONS)]
        await until(lambda: len(api.server._open) == MAX_CONNECTIONS)
        late = await api.client()
        assert await late.end() == b""
        wires[0].send(request("GET", "/2018-06-01/ping"))
        assert (await wires[0].reply()).body == b"pong"


async def test_a_connection_that_is_not_admitted_is_closed_without_a_word():
    async with endpoint() as api:
        asked = []

        def refuse(connection) -> bool:
            asked.append(connection.getpeername())
            return False

        api.server.admit = refuse
        wire = await api.client()
        wire.send(request("GET", NEXT))
        assert await wire.end() == b""
        assert asked == [wire.writer.get_extra_info("sockname")]
        assert not api.server._open
        assert api.host.calls == []


async def test_deliver_is_refused_unless_the_runtime_is_ready():
    async with endpoint() as api:
        with pytest.raises(TransitionRefused, match="from Started to Running"):
            api.server.deliver(invocation())
        await api.running()
        with pytest.raises(TransitionRefused, match="from Running to Running"):
            api.server.deliver(invocation("id-2"))
        assert api.server.current.request_id == "id-1"


async def test_a_host_may_deliver_from_within_runtime_next():
    async with endpoint() as api:
        numbers = iter(range(1, 4))
        api.host.on_next = lambda: api.server.deliver(invocation(f"id-{next(numbers)}"))
        wire = await api.client()
        for number in (1, 2, 3):
            reply = await wire.ask("GET", NEXT)
            assert reply.headers["Lambda-Runtime-Aws-Request-Id"] == f"id-{number}"
            assert (await wire.ask("POST", answer(f"id-{number}"), b"%d" % number)).raw == ACCEPTED
        assert [call for call in api.host.calls if call[0] == "response"] == [
            ("response", f"id-{n}", b"%d" % n, b"") for n in (1, 2, 3)
        ]


# ---- response ----------------------------------------------------------------------------------------------------


async def test_a_response_is_accepted_with_exactly_202_and_reaches_the_host():
    async with endpoint() as api:
        wire = await api.running()
        assert (await wire.ask("POST", answer(), b'{"ok":1}', Content_Type="text/html")).raw == ACCEPTED
        assert api.host.calls[1:] == [("response", "id-1", b'{"ok":1}', b"text/html")]
        assert api.server.machine.state is State.RESPONSE_SENT


async def test_bodies_chunked_with_trailers_are_accepted_as_go_sends_them():
    async with endpoint() as api:
        wire = await api.running()
        trailer = "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
        wire.send(chunked("POST", answer(), [b'{"a":', b"1}"], Content_Type="application/json", Trailer=trailer))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[1:] == [("response", "id-1", b'{"a":1}', b"application/json")]


async def test_a_failure_in_the_trailers_is_an_error():
    async with endpoint() as api:
        wire = await api.running()
        trailers = (
            "Lambda-Runtime-Function-Error-Type: Function.Broke\r\n"
            "Lambda-Runtime-Function-Error-Body: eyJlcnJvck1lc3NhZ2UiOiJ4In0=\r\n"
        )
        wire.send(chunked("POST", answer(), [b"half"], trailers, Lambda_Runtime_Function_Response_Mode="streaming"))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[1:] == [("error", "id-1", b'{"errorMessage":"x"}', "Function.Broke", None)]


async def test_streaming_is_accepted_and_buffered():
    async with endpoint() as api:
        wire = await api.running()
        wire.send(chunked("POST", answer(), [b"a", b"b"], Lambda_Runtime_Function_Response_Mode="streaming"))
        assert (await wire.reply()).raw == ACCEPTED
        assert api.host.calls[1:] == [("response", "id-1", b"ab", b"")]


async def test_an_unknown_response_mode_fails_the_invocation():
    async with endpoint() as api:
        wire = await api.running()
        reply = await wire.ask("POST", answer(), b"x", Lambda_Runtime_Function_Response_Mode="quick")
        assert reply.status == 400
        assert reply.body == (
            b'{"errorMessage":"Invalid function response mode","errorType":"InvalidFunctionResponseMode"}'
        )
        assert api.host.calls[1:] == [("fault", "id-1", "Runtime.InvalidResponseModeHeader", "")]
        await api.running(wire, "id-2")


@pytest.mark.parametrize("kind", ["response", "error"])
@pytest.mark.parametrize("request_id", ["id-2", "", "ID-1", "id-1%20", "next"])
async def test_a_wrong_id_is_refused_before_the_state_is_asked(kind, request_id):
    async with endpoint() as api:
        wire = await api.client()
        for prepare in (None, "id-1"):
            if prepare is not None:
                await api.running(wire, prepare)
            reply = await wire.ask("POST", answer(request_id, kind), b"x")
            assert (reply.status, reply.body) == (400, INVALID_ID)
        assert api.server.machine.state is State.RUNNING
        assert (await wire.ask("POST", answer(), b"x")).status == 202
        assert (await wire.ask("POST", answer(request_id, kind), b"x")).body == INVALID_ID


async def test_an_encoded_id_is_decoded():
    async with endpoint() as api:
        wire = await api.running()
        assert (await wire.ask("POST", answer("id%2D1"), b"x")).raw == ACCEPTED


@pytest.mark.parametrize("kind", ["response", "error"])
async def test_a_second_answer_is_refused_and_an_old_id_is_unknown_after_the_next_event(kind):
    async with endpoint() as api:
        wire = await api.running()
        assert (await wire.ask("POST", answer(), b"x")).status == 202
        reply = await wire.ask("POST", answer(kind=kind), b"y")
        wanted = {"response": "InvocationResponse", "error": "InvocationErrorResponse"}[kind]
        assert (reply.status, reply.body) == (403, forbidden("RuntimeResponseSentState", wanted))
        wire.send(request("GET", NEXT))
        await api.host.heard(3)
        reply = await (await api.client()).ask("POST", answer(kind=kind), b"y")
        assert (reply.status, reply.body) == (403, forbidden("Ready", wanted))
        api.server.deliver(invocation("id-2"))
        await wire.reply()
        reply = await wire.ask("POST", answer("id-1", kind), b"y")
        assert (reply.status, reply.body) == (400, INVALID_ID)
        assert [call[0] for call in api.host.calls] == ["next", "response", "next"]


@pytest.mark.parametrize("kind", ["response", "error"])
async def test_the_attempt_id_must_match_when_it_is_sent(kind):
    async with endpoint() as api:
        wire = await api.running(invocation_id="attempt-2")
        reply = await wire.ask("POST", answer(kind=kind), b"x", Lambda_Runtime_Invocation_Id="attempt-1")
        assert (reply.status, reply.body) == (400, INVALID_ID)
        assert api.server.machine.state is State.RUNNING
        reply = await wire.ask("POST", answer(kind=kind), b"x", Lambda_Runtime_Invocation_Id="attempt-2")
        assert reply.raw == ACCEPTED


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_payloads_of_the_largest_size_pass_both_ways(framing):
    async with endpoint() as api:
        big = bytes(range(256)) * (MAX_PAYLOAD // 256) + b"x" * (MAX_PAYLOAD % 256)
        wire = await api.client()
        for number in ("1", "2"):
            wire.send(request("GET", NEXT))
            await api.host.heard(len(api.host.calls) + 1)
            api.server.deliver(invocation(number, payload=big))
            reply = await wire.reply()
            assert reply.body == big
            if framing == "length":
                wire.send(request("POST", answer(number), big))
            else:
                wire.send(chunked("POST", answer(number), [big[i : i + 65536] for i in range(0, len(big), 65536)]))
            assert (await wire.reply()).raw == ACCEPTED
            assert api.host.calls[-1] == ("response", number, big, b"")


@pytest.mark.parametrize("kind", ["response", "error"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_one_byte_more_is_answered_413_and_the_runtime_goes_on(framing, kind):
    async with endpoint() as api:
        wire = await api.running()
        big = b"x" * (MAX_PAYLOAD + 1)
        wire.send(
            request("POST", answer(kind=kind), big)
            if framing == "length"
            else chunked("POST", answer(kind=kind), [big[:100_000], big[100_000:]])
        )
        reply = await wire.reply()
        assert reply.head == (
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: 109\r\n\r\n"
        )
        assert reply.body == TOO_LARGE
        message = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        assert api.host.calls[1:] == [("fault", "id-1", "Function.ResponseSizeTooLarge", message)]
        assert (await wire.ask("POST", answer(), b"again")).status == 403
        await api.running(wire, "id-2")
        assert (await wire.ask("POST", answer("id-2"), b"x")).raw == ACCEPTED


async def test_a_too_large_answer_with_a_wrong_id_or_in_a_wrong_state_is_no_fault():
    async with endpoint() as api:
        wire = await api.running()
        big = b"x" * (MAX_PAYLOAD + 1)
        assert (await wire.ask("POST", answer("id-2"), big)).body == INVALID_ID
        assert (await wire.ask("POST", answer(), b"x")).status == 202
        assert (await wire.ask("POST", answer(), big)).status == 403
        assert [call[0] for call in api.host.calls] == ["next", "response"]


async def test_answers_whose_head_is_written_before_the_body_are_recognised_as_curl_sends_them():
    async with endpoint() as api:
        wire = await api.client()
        for number in range(5):
            await api.running(wire, f"id-{number}", invocation_id=f"a-{number}")
            (connection,) = api.server._open
            body = b"x" * (10**number)
            message = request("POST", answer(f"id-{number}"), body, Lambda_Runtime_Invocation_Id=f"a-{number}")
            wire.send(message[: -len(body)])
            await until(lambda: connection._need == len(body))  # noqa: B023 - awaited before they change
            assert (connection._answer_to is not None) == (number > 0)
            wire.send(body)
            assert (await wire.reply()).raw == ACCEPTED
            assert api.host.calls[-1] == ("response", f"id-{number}", body, b"")


async def test_a_body_that_comes_after_its_invocation_ended_is_refused():
    async with endpoint() as api:
        slow = await api.running()
        await slow.ask("POST", answer(), b"learnt")
        await api.running(slow, "id-2")
        message = request("POST", answer("id-2"), b"too late")
        slow.send(message[:-8])
        await until(lambda: any(connection._answer_to for connection in api.server._open))
        other = await api.client()
        assert (await other.ask("POST", answer("id-2"), b"in time")).raw == ACCEPTED
        await api.running(other, "id-3")
        slow.send(b"too late")
        reply = await slow.reply()
        assert (reply.status, reply.body) == (400, INVALID_ID)
        slow.send(message.replace(b"id-2", b"id-3")[:-8])
        await until(lambda: any(connection._answer_to for connection in api.server._open))
        slow.send(b"too")
        slow.writer.write_eof()
        assert b"TruncatedHTTPRequest" in await slow.end()
        assert api.host.calls[-1] == ("fault", "id-3", "Runtime.TruncatedResponse", "")


# ---- bodies that break off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["half-close", "close", "reset", "garbage"])
@pytest.mark.parametrize("kind", ["response", "error"])
async def test_an_answer_that_breaks_off_fails_the_invocation(ending, kind):
    async with endpoint() as api:
        wire = await api.running()
        wire.send(chunked("POST", answer(kind=kind), [b"abc"])[:-7])
        if ending == "half-close":
            wire.writer.write_eof()
        elif ending == "close":
            wire.writer.close()
        elif ending == "reset":
            wire.reset()
        else:
            wire.send(b"this is no chunk")
        assert (await api.host.heard(2))[1] == ("fault", "id-1", "Runtime.TruncatedResponse", "")
        assert api.server.machine.state is State.RESPONSE_SENT
        if ending == "half-close":
            reply = await wire.reply()
            assert reply.status == 400
            assert reply.body == (
                b'{"errorMessage":"HTTP request detected as truncated","errorType":"TruncatedHTTPRequest"}'
            )
        await api.running(None, "id-2")


async def test_a_broken_off_body_that_is_no_current_answer_is_nothing():
    async with endpoint() as api:
        await api.running()
        for path in (answer("id-2"), f"{ROOT}/init/error", "/elsewhere"):
            other = await api.client()
            other.send(request("POST", path, b"abc")[:-1])
            other.writer.write_eof()
            assert (await other.reply()).status == 400
        assert api.host.calls == [("next",)]
        assert api.server.machine.state is State.RUNNING


# ---- error -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "scrubbed"),
    [
        ("Runtime.ExitError", "Runtime.ExitError"),
        ("Function.MyError", "Function.MyError"),
        ("Function.my_error", "Function.Unknown"),
        ("Function.", "Function.Unknown"),
        ("Runtime.Ok\u00e4", "Runtime.Unknown"),
        ("unhandled", "Runtime.Unknown"),
        ("Extension.Crash", "Runtime.Unknown"),
        (None, "Runtime.Unknown"),
    ],
)
async def test_an_error_reaches_the_host_byte_for_byte_with_its_type_scrubbed(sent, scrubbed):
    async with endpoint() as api:
        wire = await api.running()
        headers = {} if sent is None else {"Lambda-Runtime-Function-Error-Type": sent}
        assert (await wire.ask("POST", answer(kind="error"), b"{not even json", **headers)).raw == ACCEPTED
        assert api.host.calls[1:] == [("error", "id-1", b"{not even json", scrubbed, None)]


async def test_the_xray_cause_comes_along_when_it_is_one():
    async with endpoint() as api:
        cause = '{"working_directory":"/var/task","exceptions":[{"type":"E","message":"m","stack":[]}],"paths":[]}'
        for number, text in enumerate((cause, "not json", "{}", "[1]")):
            wire = await api.running(None, f"id-{number}")
            path = answer(f"id-{number}", "error")
            await wire.ask("POST", path, b"{}", Lambda_Runtime_Function_XRay_Error_Cause=text)
        causes = [call[4] for call in api.host.calls if call[0] == "error"]
        assert json.loads(causes[0])["exceptions"][0]["type"] == "E"
        assert causes[1:] == [None, None, None]


async def test_the_cause_in_an_error_body_is_stripped():
    async with endpoint() as api:
        wire = await api.running()
        body = {
            "errorMessage": "m", "errorType": "T", "stackTrace": ["a"], "other": 1,
            "errorCause": {"message": "why", "paths": ["p"]},
        }  # fmt: skip
        await wire.ask(
            "POST", answer(kind="error"), json.dumps(body).encode(),
            Content_Type="application/vnd.aws.lambda.error.cause+json",
        )  # fmt: skip
        _, _, seen, _, cause = api.host.calls[1]
        assert json.loads(seen) == {"errorMessage": "m", "errorType": "T", "stackTrace": ["a"]}
        assert json.loads(cause)["message"] == "why"


# ---- init/error and restore ----------------------------------------------------------------------------------------


async def test_init_error_is_accepted_once_and_only_before_the_first_next():
    async with endpoint() as api:
        wire = await api.client()
        body = b'{"errorMessage":"m","errorType":"Runtime.ImportModuleError"}'
        headers = {"Lambda-Runtime-Function-Error-Type": "Runtime.ImportModuleError"}
        path = f"{ROOT}/init/error"
        assert (await wire.ask("POST", path, body, **headers)).raw == ACCEPTED
        assert api.host.calls == [("init_error", body, "Runtime.ImportModuleError")]
        reply = await wire.ask("POST", path, body)
        assert (reply.status, reply.body) == (403, forbidden("InitError", "InitError"))
        reply = await wire.ask("GET", NEXT)
        assert (reply.status, reply.body) == (403, forbidden("InitError", "Ready"))
        api.server.reset()
        wire = await api.running()
        reply = await wire.ask("POST", path, body)
        assert (reply.status, reply.body) == (403, forbidden("Running", "InitError"))


async def test_an_init_error_too_large_is_an_init_error_all_the_same():
    async with endpoint() as api:
        wire = await api.client()
        reply = await wire.ask("POST", f"{ROOT}/init/error", b"x" * (MAX_PAYLOAD + 1))
        assert (reply.status, reply.body) == (413, TOO_LARGE)
        assert api.host.calls[0][2] == "Function.ResponseSizeTooLarge"


async def test_restore_routes_exist_only_where_they_are_mounted():
    async with endpoint() as api:
        wire = await api.client()
        assert (await wire.ask("GET", f"{ROOT}/restore/next")).status == 404
        assert (await wire.ask("POST", f"{ROOT}/restore/error", b"{}")).status == 404


@pytest.mark.parametrize("path", ["restore/error", "init/error"])
async def test_restore_parks_resumes_and_may_fail(path):
    async with endpoint(restore=True) as api:
        wire = await api.client()
        reply = await wire.ask("POST", f"{ROOT}/restore/error", b"{}")
        assert (reply.status, reply.body) == (403, forbidden("Started", "RuntimeRestoreErrorState"))
        wire.send(request("GET", f"{ROOT}/restore/next"))
        assert await api.host.heard() == [("restore_next",)]
        other = await api.client()
        reply = await other.ask("GET", f"{ROOT}/restore/next")
        assert (reply.status, reply.body) == (403, forbidden("RestoreReady", "Ready"))
        api.server.restored()
        reply = await wire.reply()
        assert (reply.status, reply.body) == (200, b"")
        assert (await wire.ask("POST", f"{ROOT}/{path}", b"{}")).raw == ACCEPTED
        assert api.host.calls[1:] == [("restore_error", b"{}", "Runtime.Unknown")]


async def test_credentials_are_for_the_holder_of_the_token():
    credentials = Credentials("key", "secret", "session", lifetime_s=3600)
    async with endpoint(restore=True) as api:
        wire = await api.client()
        assert (await wire.ask("GET", CREDENTIALS_PATH)).status == 404
        api.server.credentials = credentials
        assert (await wire.ask("GET", CREDENTIALS_PATH)).status == 404
        reply = await wire.ask("GET", CREDENTIALS_PATH, Authorization=f"{credentials.token}x")
        assert (reply.status, reply.body) == (404, b"cannot get credentials for the provided token\n")
        assert (await wire.ask("POST", CREDENTIALS_PATH, b"", Authorization=credentials.token)).status == 405
        # As AWS's SDKs for Python fetch them.
        provider = botocore.credentials.ContainerProvider({
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{api.address}{CREDENTIALS_PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": credentials.token,
        })  # fmt: skip
        fetched = await asyncio.to_thread(lambda: provider.load().get_frozen_credentials())
        assert (fetched.access_key, fetched.secret_key, fetched.token) == ("key", "secret", "session")
    async with endpoint() as api:
        api.server.credentials = credentials
        reply = await (await api.client()).ask("GET", CREDENTIALS_PATH, Authorization=credentials.token)
        assert reply.status == 404, "without SnapStart there is no such path"


async def test_after_restore_the_runtime_polls():
    async with endpoint(restore=True) as api:
        wire = await api.client()
        wire.send(request("GET", f"{ROOT}/restore/next"))
        await api.host.heard()
        api.server.restored()
        await wire.reply()
        await api.running(wire)


# ---- the rest of the surface ---------------------------------------------------------------------------------------


async def test_ping_pongs():
    async with endpoint() as api:
        reply = await (await api.client()).ask("GET", "/2018-06-01/ping")
        assert (reply.status, reply.body) == (200, b"pong")


@pytest.mark.parametrize(
    "path",
    ["/", "/2018-06-01", "/2018-06-01/runtime/invocation", f"{NEXT}/", "/2015-03-31/functions", "*", f"{ROOT}/x" * 30],
)
async def test_unknown_paths_are_404(path):
    async with endpoint() as api:
        reply = await (await api.client()).ask("GET", path)
        assert reply.status == 404
        assert json.loads(reply.body)["errorType"] == "NotFound"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", NEXT, "GET"),
        ("GET", answer(), "POST"),
        ("PUT", answer(kind="error"), "POST"),
        ("GET", f"{ROOT}/init/error", "POST"),
        ("POST", "/2018-06-01/ping", "GET"),
    ],
)
async def test_wrong_methods_are_405_naming_the_right_one(method, path, allowed):
    async with endpoint() as api:
        wire = await api.client()
        wire.send(request(method, path))
        reply = await wire.reply()
        assert reply.status == 405
        assert reply.headers["Allow"] == allowed
        assert api.host.calls == []


async def test_a_refused_head_request_has_no_body_in_its_answer():
    async with endpoint() as api:
        wire = await api.client()
        for path, status in ((NEXT, b"405"), ("/nowhere", b"404")):
            wire.send(request("HEAD", path) + request("GET", "/2018-06-01/ping"))
            assert status in await wire.reader.readuntil(b"\r\n\r\n")
            assert (await wire.reply()).body == b"pong"


async def test_a_query_string_is_ignored():
    async with endpoint() as api:
        assert (await (await api.client()).ask("GET", "/2018-06-01/ping?x=/y")).body == b"pong"


async def test_pipelined_requests_are_answered_in_order_behind_a_parked_poll():
    async with endpoint() as api:
        wire = await api.client()
        ping = request("GET", "/2018-06-01/ping")
        wire.send(request("GET", NEXT) + ping + request("POST", answer(), b"early") + ping * 50)
        await api.host.heard()
        api.server.deliver(invocation())
        assert (await wire.reply()).body == b'{"n":1}'
        assert (await wire.reply()).body == b"pong"
        assert (await wire.reply()).raw == ACCEPTED
        for _ in range(50):
            assert (await wire.reply()).body == b"pong"


async def test_a_reader_that_does_not_read_costs_a_bounded_buffer():
    async with endpoint() as api:
        size, asked = 1 << 20, 60
        wire = await api.running(payload=b"x" * size)
        wire.writer.transport.pause_reading()
        wire.send(request("GET", NEXT) * asked)
        (connection,) = api.server._open
        await until(lambda: connection._write_paused)
        other = await api.client()
        for _ in range(20):  # the loop goes on meanwhile
            assert (await other.ask("GET", "/2018-06-01/ping")).body == b"pong"
            assert connection.transport.get_write_buffer_size() < 2 * size
        wire.writer.transport.resume_reading()
        for _ in range(asked):
            assert len((await wire.reply()).body) == size


async def test_a_host_that_raises_costs_a_500_and_a_report_not_the_server():
    async with endpoint() as api:
        wire = await api.running()

        def broken(*_):
            raise ValueError("a bug of the host")

        api.host.runtime_response = broken
        reply = await wire.ask("POST", answer(), b"x")
        assert reply.status == 500
        assert reply.body == b'{"errorMessage":"Internal Server Error","errorType":"InternalServerError"}'
        (problem,) = api.problems
        assert "a bug of the host" in str(problem["exception"])
        api.problems.clear()
        await api.running(wire, "id-2")


# ---- the life of the endpoint --------------------------------------------------------------------------------------


async def test_reset_forgets_the_old_process_whatever_it_still_sends():
    async with endpoint() as api:
        old = await api.running()
        parked = await api.client()
        late = await api.client()
        late.send(request("POST", answer(), b"a late answer")[:-3])
        await asyncio.sleep(0)
        api.server.reset()
        assert api.server.machine.state is State.STARTED
        assert api.server.current is None
        for wire in (old, parked, late):
            wire.send(b"ver" + request("GET", NEXT))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await wire.reply()
        assert api.host.calls == [("next",)]
        await api.running(None, "id-2")


async def test_reset_drops_connections_that_were_not_accepted_yet():
    async with endpoint() as api:
        import socket

        stale = [socket.create_connection(api.sock.getsockname()) for _ in range(3)]
        for sock in stale:
            sock.sendall(request("POST", f"{ROOT}/init/error", b"{}"))
        assert api.server.connections() == 1  # those not accepted count as one
        api.server.reset()
        assert api.server.connections() == 0
        assert (await (await api.client()).ask("GET", "/2018-06-01/ping")).body == b"pong"
        assert api.host.calls == []
        for sock in stale:
            sock.close()


async def test_idle_is_told_when_the_last_connection_has_ended():
    async with endpoint() as api:
        idle = asyncio.Event()
        api.server.on_idle = idle.set
        one = await api.running()
        two = await api.client()
        await two.ask("GET", "/2018-06-01/ping")
        assert api.server.connections() == 2
        await two.close()
        await until(lambda: api.server.connections() == 1)
        assert not idle.is_set()
        one.send(request("POST", answer(), b"last words"))
        one.writer.close()
        async with asyncio.timeout(10):
            await idle.wait()
        assert api.server.connections() == 0
        assert api.host.calls[-1] == ("response", "id-1", b"last words", b"")


async def test_close_is_idempotent_and_leaves_the_callers_socket_alone():
    async with endpoint() as api:
        wire = await api.running()
        with pytest.raises(RuntimeError, match="listening already"):
            await api.server.listen(api.sock)
        await api.server.close()
        await api.server.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await wire.ask("GET", NEXT)
        assert api.sock.fileno() >= 0
        await api.server.listen(api.sock)
        assert (await (await api.client()).ask("GET", "/2018-06-01/ping")).body == b"pong"


async def test_an_endpoint_on_a_unix_socket_serves_too(tmp_path):
    import socket

    from runtime_api import RuntimeServer
    from tests.protocol.wire import Host

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "api"))
        sock.listen()
        server = RuntimeServer(Host())
        await server.listen(sock)
        wire = Wire(*await asyncio.open_unix_connection(str(tmp_path / "api")))
        assert (await wire.ask("GET", "/2018-06-01/ping")).body == b"pong"
        await wire.close()
        await server.close()
