"""The Extensions API over real sockets: what facts §2.2 to §2.4 promise, clause by clause."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from runtime_api import ExtensionsApi, ExtensionState, FunctionMetadata, render
from tests.protocol.wire import ACCEPTED, ROOT, Endpoint, Host, Reply, Wire, endpoint, invocation, request, until

BASE = "/2020-01-01/extension"
NEXT = f"{BASE}/event/next"
NEXT_OF_RUNTIME = f"{ROOT}/invocation/next"
JUNK = "not-a-uuid"


class ExtendedHost(Host):
    """A host whose environment may have extensions."""

    extensions_enabled = True

    def function_metadata(self) -> FunctionMetadata:
        return FunctionMetadata(name="f", version="$LATEST", handler="app.handler", account_id="123456789012")

    def extension_registered(self, extension) -> None:
        self._note("registered", extension.name, extension.events)

    def extension_ready(self, extension) -> None:
        self._note("ready", extension.name)

    def extension_failed(self, extension) -> None:
        self._note("failed", extension.name, extension.state.aws_name, extension.error_type)

    def telemetry_subscribe(self, extension, api_version: str, body: bytes) -> tuple[int, bytes]:
        self._note("subscribe", extension.name, api_version, body)
        return 200, b'"OK"'


def extended() -> Any:
    return endpoint(host=ExtendedHost())


def expecting(api: Endpoint, *names: str) -> ExtensionsApi:
    """External extensions with these names have been started."""
    api.server.extensions = extensions = ExtensionsApi()
    for name in names:
        extensions.known.expect(name)
    return extensions


async def register(wire: Wire, name: str, *events: str) -> str:
    """Register; returns the identifier."""
    reply = await wire.ask(
        "POST", f"{BASE}/register", json.dumps({"events": events}).encode(), Lambda_Extension_Name=name
    )
    assert reply.status == 200, reply.body
    return reply.headers["Lambda-Extension-Identifier"]


async def parked(api: Endpoint, name: str, *events: str) -> tuple[Wire, str]:
    """An extension that waits at `event/next`."""
    wire = await api.client()
    identifier = await register(wire, name, *events)
    calls = len(api.host.calls)
    wire.send(request("GET", NEXT, None, Lambda_Extension_Identifier=identifier))
    await api.host.heard(calls + 1)
    return wire, identifier


def refused(reply: Reply) -> tuple[int, str, str]:
    body = json.loads(reply.body)
    assert list(body) == ["errorMessage", "errorType"]
    assert reply.headers["Content-Type"] == "application/json"
    return reply.status, body["errorType"], body["errorMessage"]


# ---- register --------------------------------------------------------------------------------------------------------


async def test_register_answers_with_an_identifier_and_what_the_function_is():
    async with extended() as api:
        expecting(api, "one")
        wire = await api.client()
        reply = await wire.ask(
            "POST", f"{BASE}/register", b'{"events":["INVOKE","SHUTDOWN"]}', Lambda_Extension_Name="one"
        )
        assert reply.status == 200
        assert (
            str(uuid.UUID(reply.headers["Lambda-Extension-Identifier"])) == reply.headers["Lambda-Extension-Identifier"]
        )
        assert json.loads(reply.body) == {"functionName": "f", "functionVersion": "$LATEST", "handler": "app.handler"}
        assert api.host.calls == [("registered", "one", ("INVOKE", "SHUTDOWN"))]


@pytest.mark.parametrize(
    ("features", "told"), [("accountId", True), ("other, accountId", True), ("accountid", False), ("", False)]
)
async def test_the_account_id_is_told_to_who_accepts_it(features, told):
    async with extended() as api:
        wire = await api.client()
        reply = await wire.ask(
            "POST", f"{BASE}/register", b"{}", Lambda_Extension_Name="in", Lambda_Extension_Accept_Feature=features
        )
        assert json.loads(reply.body).get("accountId") == ("123456789012" if told else None)


@pytest.mark.parametrize(
    "body", [b"{}", b"null", b'{"events":null}', b'{"Events":[],"more":1}', b'{"configurationKeys":[]}']
)
async def test_an_extension_may_ask_for_nothing(body):
    async with extended() as api:
        wire = await api.client()
        assert (await wire.ask("POST", f"{BASE}/register", body, Lambda_Extension_Name="in")).status == 200
        assert api.host.calls == [("registered", "in", ())]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b"<", "invalid character '<' looking for beginning of value"),
        (b"[]", "json: cannot unmarshal array into Go value of type handler.RegisterRequest"),
        (b'{"events":"INVOKE"}', "json: cannot unmarshal string into Go struct field .events of type []core.Event"),
        (b'{"events":[1]}', "json: cannot unmarshal number into Go struct field .events of type core.Event"),
        (b'{"configurationKeys":["k"]}', "configurationKeys are deprecated; use environment variables instead"),
    ],
)
async def test_a_registration_that_cannot_be_read_is_refused(body, message):
    async with extended() as api:
        wire = await api.client()
        reply = await wire.ask("POST", f"{BASE}/register", body, Lambda_Extension_Name="in")
        assert refused(reply) == (403, "InvalidRequestFormat", message)
        assert not api.host.calls


async def test_the_name_is_asked_for_before_the_body_is_read():
    async with extended() as api:
        wire = await api.client()
        reply = await wire.ask("POST", f"{BASE}/register", b"<")
        assert refused(reply) == (403, "Extension.InvalidExtensionName", "Empty extension name")


async def test_bodies_are_bounded():
    async with extended() as api:
        wire = await api.client()
        body = b'{"events":[' + b" " * 300_000 + b"]}"
        assert (await wire.ask("POST", f"{BASE}/register", body, Lambda_Extension_Name="in")).status == 413
        assert not api.host.calls


async def test_internal_extensions_register_until_the_runtime_asks_for_its_first_event():
    async with extended() as api:
        wire, runtime = await api.client(), await api.client()
        await register(wire, "early", "INVOKE")
        runtime.send(request("GET", NEXT_OF_RUNTIME))
        await api.host.heard(2)
        reply = await wire.ask("POST", f"{BASE}/register", b"{}", Lambda_Extension_Name="late")
        assert refused(reply) == (403, "Extension.RegistrationClosed", "Extension registration closed already")


async def test_internal_extensions_are_not_told_of_the_end():
    async with extended() as api:
        wire = await api.client()
        reply = await wire.ask("POST", f"{BASE}/register", b'{"events":["SHUTDOWN"]}', Lambda_Extension_Name="in")
        assert refused(reply) == (
            403, "Extension.InvalidEventType", "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
        )  # fmt: skip


# ---- event/next --------------------------------------------------------------------------------------------------------


async def test_those_who_asked_for_invoke_are_told_of_it_and_not_of_its_payload():
    async with extended() as api:
        told, _ = await parked(api, "told", "INVOKE")
        quiet, _ = await parked(api, "quiet")
        extensions = api.server.extensions
        assert extensions is not None
        extensions.invoke(
            invocation("id-1", payload=b"secret", function_arn="arn:f", trace_id="Root=1-2;Parent=3;Sampled=1")
        )
        reply = await told.reply()
        assert reply.status == 200
        uuid.UUID(reply.headers["Lambda-Extension-Event-Identifier"])
        assert json.loads(reply.body) == {
            "eventType": "INVOKE",
            "deadlineMs": 1_700_000_000_000,
            "requestId": "id-1",
            "invokedFunctionArn": "arn:f",
            "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1-2;Parent=3;Sampled=1"},
        }
        assert b"secret" not in reply.raw
        assert extensions.known.busy()
        assert quiet.reader.at_eof() is False
        assert {one.name: one.state for one in extensions.known} == {
            "told": ExtensionState.RUNNING, "quiet": ExtensionState.READY,
        }  # fmt: skip


async def test_without_a_trace_there_is_no_tracing():
    async with extended() as api:
        told, _ = await parked(api, "told", "INVOKE")
        api.server.extensions.invoke(invocation())
        assert "tracing" not in json.loads((await told.reply()).body)


async def test_a_second_poll_beside_one_that_waits_is_refused():
    async with extended() as api:
        _, identifier = await parked(api, "told", "INVOKE")
        second = await api.client()
        reply = await second.ask("GET", NEXT, None, Lambda_Extension_Identifier=identifier)
        assert refused(reply) == (
            403,
            "Extension.InvalidExtensionState",
            (
                f"State transition from Ready to Ready failed for extension {identifier}. "
                "Error: State transition is not allowed"
            ),
        )


async def test_who_gave_up_waiting_may_ask_again_and_has_not_been_back():
    async with extended() as api:
        wire, identifier = await parked(api, "told", "INVOKE")
        heard = len(api.host.calls)
        await wire.close()
        await until(lambda: api.server.connections() == 0)
        again = await api.client()
        again.send(request("GET", NEXT, None, Lambda_Extension_Identifier=identifier))
        await until(lambda: all(poll.receiving for poll in api.server.extensions._polls.values()))
        api.server.extensions.invoke(invocation())
        assert (await again.reply()).status == 200
        assert len(api.host.calls) == heard


async def test_an_event_for_who_gave_up_waiting_is_kept_until_it_asks():
    async with extended() as api:
        wire, identifier = await parked(api, "told", "INVOKE")
        heard = len(api.host.calls)
        await wire.close()
        await until(lambda: api.server.connections() == 0)
        api.server.extensions.invoke(invocation("kept"))
        assert api.server.extensions.known.busy()
        again = await api.client()
        reply = await again.ask("GET", NEXT, None, Lambda_Extension_Identifier=identifier)
        assert json.loads(reply.body)["requestId"] == "kept"
        assert len(api.host.calls) == heard, "it has not come back from an event that it had not seen"
        assert api.server.extensions.known.busy()


async def test_shutdown_is_told_at_once_to_who_waits_and_once():
    async with extended() as api:
        extensions = expecting(api, "one")
        wire, identifier = await parked(api, "one", "INVOKE", "SHUTDOWN")
        extensions.shutdown(extensions.known.named("one"), "spindown", 1_700_000_002_000)
        assert json.loads((await wire.reply()).body) == {
            "eventType": "SHUTDOWN", "deadlineMs": 1_700_000_002_000, "shutdownReason": "spindown",
        }  # fmt: skip
        heard = len(api.host.calls)
        wire.send(request("GET", NEXT, None, Lambda_Extension_Identifier=identifier))
        await api.host.heard(heard + 1)
        assert extensions.known.named("one").state is ExtensionState.READY, "it waits for ever"


async def test_shutdown_is_told_to_who_is_busy_when_it_asks():
    async with extended() as api:
        extensions = expecting(api, "one")
        wire, identifier = await parked(api, "one", "INVOKE", "SHUTDOWN")
        extensions.invoke(invocation())
        await wire.reply()
        extensions.shutdown(extensions.known.named("one"), "timeout", 1)
        reply = await wire.ask("GET", NEXT, None, Lambda_Extension_Identifier=identifier)
        assert json.loads(reply.body)["shutdownReason"] == "timeout"


# ---- init/error and exit/error -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "state"), [("init/error", "InitError"), ("exit/error", "ExitError")])
async def test_an_error_is_accepted_and_the_first_one_counts(path, state):
    async with extended() as api:
        wire = await api.client()
        identifier = await register(wire, "in")
        for error_type in ("Extension.First", "Extension.Second"):
            reply = await wire.ask(
                "POST", f"{BASE}/{path}", b'{"errorMessage":"x"}',
                Lambda_Extension_Identifier=identifier, Lambda_Extension_Function_Error_Type=error_type,
            )  # fmt: skip
            assert reply.raw == ACCEPTED
        assert api.host.calls[1:] == [("failed", "in", state, "Extension.First")]
        reply = await wire.ask("GET", NEXT, None, Lambda_Extension_Identifier=identifier)
        assert refused(reply) == (
            403,
            "Extension.InvalidExtensionState",
            (
                f"State transition from {state} to Ready failed for extension {identifier}. "
                "Error: State transition is not allowed"
            ),
        )


async def test_after_its_first_event_an_extension_cannot_fail_to_initialise_any_more():
    async with extended() as api:
        wire, identifier = await parked(api, "told", "INVOKE")
        api.server.extensions.invoke(invocation())
        await wire.reply()
        reply = await wire.ask(
            "POST", f"{BASE}/init/error", b"{}",
            Lambda_Extension_Identifier=identifier, Lambda_Extension_Function_Error_Type="Extension.X",
        )  # fmt: skip
        assert refused(reply)[2] == (
            f"State transition from Running to InitError failed for extension {identifier}. "
            "Error: State transition is not allowed"
        )


@pytest.mark.parametrize("path", ["init/error", "exit/error"])
async def test_an_error_needs_its_type(path):
    async with extended() as api:
        wire = await api.client()
        identifier = await register(wire, "in")
        reply = await wire.ask("POST", f"{BASE}/{path}", b"{}", Lambda_Extension_Identifier=identifier)
        assert refused(reply) == (
            403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found",
        )  # fmt: skip


# ---- identifiers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("somebody", [False, True], ids=["nobody registered", "somebody registered"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "event/next"), ("POST", "init/error"), ("POST", "exit/error")]
)  # fmt: skip
async def test_the_identifier_is_looked_at_first(somebody, method, path):
    async with extended() as api:
        wire = await api.client()
        if somebody:
            await register(wire, "in")
        body = None if method == "GET" else b"{}"
        assert refused(await wire.ask(method, f"{BASE}/{path}", body)) == (
            403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header",
        )  # fmt: skip
        assert refused(await wire.ask(method, f"{BASE}/{path}", body, Lambda_Extension_Identifier=JUNK)) == (
            403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier",
        )  # fmt: skip
        other = str(uuid.uuid4())
        headers = {"Lambda_Extension_Identifier": other, "Lambda_Extension_Function_Error_Type": "Extension.X"}
        message = f"Unknown extension {other}" if method == "GET" else "Unknown Lambda-Extension-Identifier"
        reply = await wire.ask(method, f"{BASE}/{path}", body, **headers)
        assert refused(reply) == (403, "Extension.UnknownExtensionIdentifier", message)


async def test_a_reset_forgets_who_had_registered():
    async with extended() as api:
        wire = await api.client()
        identifier = await register(wire, "in")
        api.server.reset()
        wire = await api.client()
        reply = await wire.ask("GET", NEXT, None, Lambda_Extension_Identifier=identifier)
        assert refused(reply)[1] == "Extension.UnknownExtensionIdentifier"


# ---- other hosts, other methods ----------------------------------------------------------------------------------------


async def test_where_extensions_are_turned_off_there_are_no_routes():
    async with extended() as api:
        api.host.extensions_enabled = False
        wire = await api.client()
        reply = await wire.ask("POST", f"{BASE}/register", b"{}", Lambda_Extension_Name="in")
        assert reply.raw == render(404, b"")


async def test_a_host_without_extensions_has_no_routes():
    async with endpoint() as api:
        wire = await api.client()
        assert (await wire.ask("POST", f"{BASE}/register", b"{}", Lambda_Extension_Name="in")).status == 404


async def test_another_method_is_refused():
    async with extended() as api:
        wire = await api.client()
        assert (await wire.ask("GET", f"{BASE}/register")).status == 405


@pytest.mark.parametrize(
    ("path", "version"), [("/2022-07-01/telemetry", "2022-07-01"), ("/2020-08-15/logs", "2020-08-15")]
)
async def test_subscriptions_are_the_hosts_business_once_the_subscriber_is_known(path, version):
    async with extended() as api:
        wire = await api.client()
        assert refused(await wire.ask("PUT", path, b"{}"))[1] == "Extension.MissingExtensionIdentifier"
        identifier = await register(wire, "in")
        reply = await wire.ask("PUT", path, b'{"types":[]}', Lambda_Extension_Identifier=identifier)
        assert (reply.status, reply.body) == (200, b'"OK"')
        assert api.host.calls[-1] == ("subscribe", "in", version, b'{"types":[]}')
