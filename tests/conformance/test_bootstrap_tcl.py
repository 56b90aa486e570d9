"""The Tcl runtime: by the wire, and through the engine (every clause: test_conform.py)."""

from __future__ import annotations

import json

import pytest
import uvloop

import bootstraps
from engine import Engine
from tests.support.require import requires
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

TCL = bootstraps.path("tcl")
FUNCTION = r"""
set calls 0
proc count {event context} {incr ::calls}
proc back {event context} {return $event}
proc member {event context} {json::quote [dict get [json::decode $event] a]}
proc items {event context} {json::array [lmap one [json::decode $event] {json::quote $one}]}
proc fails {event context} {throw {NOT_FOUND key} "no \"é\" here"}
proc divides {event context} {expr {1 / 0}}
proc logs {event context} {puts "a printed line é"; return null}
proc leaves {event context} {exit 9}
proc told {event context} {
    json::array [lmap name {requestId arn deadlineMs traceId client identity} {json::quote [dict get $context $name]}]
}
"""


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture(autouse=True)
def needs_tcl():
    requires("tclsh", because="tcl")


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


@pytest.fixture
def start(api, tmp_path):
    (tmp_path / "function.tcl").write_text(FUNCTION)
    return lambda name: api.start([TCL / "bootstrap"], cwd=tmp_path, env={"_HANDLER": f"function.{name}"})


@pytest.mark.parametrize("options", [{}, {"chunked": True}, {"close": True}], ids=["length", "chunked", "close"])
def test_events_of_every_size_go_in_and_out(tmp_path, options):
    (tmp_path / "function.tcl").write_text(FUNCTION)
    env = {"_HANDLER": "function.back"}
    with ScriptedRuntimeApi(**options) as api, api.start([TCL / "bootstrap"], cwd=tmp_path, env=env):
        for size in (0, 1, 4_000, 65_536, 1_000_000, 3):
            value = "é€" * size
            assert api.invoke(json.dumps(value, ensure_ascii=False).encode()).json() == value
    if not options.get("close"):
        assert {request.connection for request in api.requests} == {0}


def test_variables_stay_from_one_invocation_to_the_next(api, start):
    with start("count"):
        assert [api.invoke().body for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("value", ["", "é", '"\\/\b\n\t', "$x [exit] {", "\x00\x1f\x7f", "a" * 100_000, "{}"])
def test_texts_are_decoded_and_quoted(api, start, value):
    with start("member"):
        for ascii_only in (True, False):
            event = json.dumps({"b": [1, {"c": [], "d": {}}, None], "a": value}, ensure_ascii=ascii_only)
            assert api.invoke(event.encode()).json() == value


@pytest.mark.parametrize(
    "event", ["", "[", "{", '{"a"}', '{"a":}', "[1,]", "[1 2]", '"open', "[1] 2", "{]", "]", '{"a":1,}', "[,1]", "#"]
)
def test_what_is_no_json_is_the_functions_error(api, start, event):
    with start("items"):
        assert api.invoke(event.encode()).json()["errorType"] == "JSON"
        assert api.invoke(b'["x", -1.5e3, true, null]').json() == ["x", "-1.5e3", "true", "null"]


def test_an_error_has_its_code_message_and_stack(api, start):
    with start("fails") as runtime:
        error = api.invoke(request_id="rid", invocation_id="attempt")
        assert error.path == "/2018-06-01/runtime/invocation/rid/error"
        assert error.headers["lambda-runtime-invocation-id"] == "attempt"
        body = error.json()
        assert (body["errorMessage"], body["errorType"]) == ('no "é" here', "NOT_FOUND")
        assert body["stackTrace"][-1].startswith('"$handler ')
        assert runtime.output() == '[ERROR] NOT_FOUND: no "é" here\n'


def test_tcls_own_errors_have_tcls_own_codes(api, start):
    with start("divides"):
        body = api.invoke().json()
        assert (body["errorMessage"], body["errorType"]) == ("divide by zero", "ARITH")


def test_ids_deadline_arn_trace_and_client_context_are_told(api, start):
    with start("told"):
        given = api.invoke(request_id="rid", deadline_ms="123", trace_id="Root=1", client_context='{"k": "é"}')
        arn = "arn:aws:lambda:us-east-1:000000000000:function:fn"
        assert given.json() == ["rid", arn, "123", "Root=1", '{"k": "é"}', ""]
        assert api.invoke(request_id="two", deadline_ms="4", trace_id=None).json() == ["two", arn, "4", "", "", ""]


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("nodot", "Runtime.MalformedHandlerName", "Bad handler 'nodot': it has the form file.procedure"),
        ("absent.count", "Runtime.ImportModuleError", "There is no "),
        ("function.absent", "Runtime.HandlerNotFound", "There is no procedure absent in "),
        ("broken.f", "TclError", "missing close-brace"),
    ],
)
def test_a_handler_that_does_not_resolve_is_an_init_error(api, tmp_path, handler, kind, message):
    (tmp_path / "function.tcl").write_text(FUNCTION)
    (tmp_path / "broken.tcl").write_text("proc f {event context} {")
    with api.start([TCL / "bootstrap"], cwd=tmp_path, env={"_HANDLER": handler}) as runtime:
        error = api.posted()
        assert error.path == "/2018-06-01/runtime/init/error"
        assert error.json()["errorType"] == kind
        assert error.json()["errorMessage"].startswith(message)
        assert runtime.wait() == 1


@pytest.mark.parametrize("folder", ["example", "conform"])
def test_the_functions_here_carry_the_bootstrap_as_it_is(folder):
    assert (TCL / folder / "bootstrap").read_bytes() == (TCL / "bootstrap").read_bytes()
    assert (TCL / folder / "bootstrap").stat().st_mode & 0o111


async def test_the_example_runs_on_the_engine():
    async with Engine() as engine:
        function = await engine.create_function("hello", code=TCL / "example", handler="function.handler", timeout_s=20)
        first = await function.invoke({"name": "you"}, tail=True)
        assert first.json() == {"hello": "you", "calls": 1}
        assert f"call 1 of {first.request_id}\n" in first.log_tail
        assert (await function.invoke({})).json() == {"hello": "world", "calls": 2}


async def test_errors_ends_and_large_events_pass_through_the_engine(tmp_path):
    (tmp_path / "bootstrap").write_bytes((TCL / "bootstrap").read_bytes())
    (tmp_path / "bootstrap").chmod(0o755)
    (tmp_path / "function.tcl").write_text(FUNCTION)
    async with Engine() as engine:

        async def create(name: str):
            return await engine.create_function(name, code=tmp_path, handler=f"function.{name}", timeout_s=20)

        event = json.dumps("x" * 6_000_000).encode()
        assert (await (await create("back")).invoke(event)).payload == event
        failed = await (await create("fails")).invoke({})
        assert (failed.function_error, failed.json()["errorType"]) == ("Unhandled", "NOT_FOUND")
        assert "\na printed line é\n" in (await (await create("logs")).invoke({}, tail=True)).log_tail
        assert (await (await create("leaves")).invoke({})).json()["errorType"] == "Runtime.ExitError"
        assert (await (await create("absent")).invoke({})).json()["errorType"] == "Runtime.HandlerNotFound"
