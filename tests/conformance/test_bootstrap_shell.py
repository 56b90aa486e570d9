"""The shell runtime: by the wire, and through the engine."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import uvloop

import bootstraps
from engine import Engine
from tests.support.require import requires
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

SHELL = bootstraps.path("shell")
FUNCTION = """
calls=0
count() { calls=$((calls + 1)); echo "$calls"; }
echo_stdin() { cat; }
echo_argument() { printf %s "$1"; }
fails() { LAMBDA_ERROR="no \\"$1\\""; return 3; }
fails_silently() { return 4; }
ids() { printf '["%s", "%s", "%s", "%s"]' "$LAMBDA_REQUEST_ID" "$LAMBDA_DEADLINE_MS" "$LAMBDA_FUNCTION_ARN" "$_X_AMZN_TRACE_ID"; }
logs() { echo "to the log" >&2; echo null; }
leaves() { exit 9; }
"""


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture(autouse=True)
def needs_curl():
    requires("curl")


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


@pytest.fixture
def start(api, tmp_path):
    (tmp_path / "function.sh").write_text(FUNCTION)
    (tmp_path / "work").mkdir()
    env = {"TMPDIR": str(tmp_path / "work")}
    return lambda handler: api.start([SHELL / "bootstrap"], cwd=tmp_path, env={**env, "_HANDLER": handler})


def test_variables_stay_from_one_invocation_to_the_next(api, start):
    with start("function.count"):
        assert [api.invoke().body for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]


@pytest.mark.parametrize("handler", ["function.echo_stdin", "function.echo_argument"])
def test_an_event_of_five_megabytes_goes_in_and_out(api, start, handler):
    event = json.dumps("é-x" * 1_250_000, ensure_ascii=False).encode()
    with start(handler):
        assert api.invoke(event).body == event
        assert api.invoke(b'"small"').body == b'"small"'


def test_standard_input_has_every_byte(api, start):
    with start("function.echo_stdin"):
        assert api.invoke(b"\x00\xff\n\n").body == b"\x00\xff\n\n"


def test_a_status_other_than_0_is_an_error_with_the_functions_own_words(api, start):
    with start("function.fails") as runtime:
        error = api.invoke(b"a\\b\n\x01c", request_id="rid", invocation_id="attempt")
        assert error.path == "/2018-06-01/runtime/invocation/rid/error"
        assert error.headers["lambda-runtime-invocation-id"] == "attempt"
        assert error.json() == {"errorMessage": 'no "a\\b c"', "errorType": "FunctionError", "stackTrace": []}
        assert runtime.output() == '[ERROR] FunctionError: no "a\\b\n\x01c"\n'


def test_an_error_without_words_names_the_status(api, start):
    with start("function.fails_silently"):
        assert api.invoke().json()["errorMessage"] == "function.fails_silently returned status 4"


def test_ids_deadline_arn_and_trace_are_in_variables(api, start):
    with start("function.ids"):
        assert api.invoke(request_id="rid", deadline_ms="123", trace_id="Root=1").json() == [
            "rid", "123", "arn:aws:lambda:us-east-1:000000000000:function:fn", "Root=1",
        ]  # fmt: skip


def test_exit_ends_the_process_and_leaves_no_files(api, start, tmp_path):
    with start("function.leaves") as runtime:
        api.send()
        assert runtime.wait() == 9
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("nodot", "Runtime.MalformedHandlerName", "Bad handler 'nodot': it has the form file.function"),
        ("absent.count", "Runtime.ImportModuleError", "There is no absent.sh in "),
        ("function.absent", "Runtime.HandlerNotFound", "Function 'absent' missing in function.sh"),
        ("broken.f", "Runtime.UserCodeSyntaxError", "Syntax error in broken.sh: "),
    ],
)
def test_a_handler_that_does_not_resolve_is_an_init_error(api, start, tmp_path, handler, kind, message):
    (tmp_path / "broken.sh").write_text("f() {")
    with start(handler) as runtime:
        error = api.posted()
        assert error.path == "/2018-06-01/runtime/init/error"
        assert error.headers["lambda-runtime-function-error-type"] == kind
        assert error.json()["errorType"] == kind
        assert error.json()["errorMessage"].startswith(message)
        assert runtime.wait() == 1


@pytest.mark.parametrize(("status", "goes_on"), [(413, True), (403, False)])
def test_a_refused_response_ends_the_runtime_unless_it_was_only_too_large(tmp_path, status, goes_on):
    (tmp_path / "function.sh").write_text(FUNCTION)
    with (
        ScriptedRuntimeApi(answers={"/response": status}) as api,
        api.start([SHELL / "bootstrap"], cwd=tmp_path, env={"_HANDLER": "function.count"}) as runtime,
    ):
        api.invoke()
        if goes_on:
            assert api.invoke().body == b"2\n"
        else:
            assert runtime.wait() == 1
            assert f"the Runtime API refused the result: {status}" in runtime.output()


def test_the_example_carries_the_bootstrap_as_it_is():
    example = SHELL / "example/bootstrap"
    assert example.read_bytes() == (SHELL / "bootstrap").read_bytes()
    assert os.access(example, os.X_OK)


async def test_the_example_runs_on_the_engine(tmp_path):
    async with Engine() as engine:
        function = await engine.create_function(
            "hello", code=SHELL / "example", handler="function.handler", timeout_s=20
        )
        first = await function.invoke({"name": "you"}, tail=True)
        assert first.json() == {"hello": "you", "calls": 1}
        assert f"call 1 of {first.request_id}\n" in first.log_tail
        assert (await function.invoke({})).json() == {"hello": "world", "calls": 2}


async def test_errors_and_large_events_pass_through_the_engine(tmp_path):
    shutil.copy(SHELL / "bootstrap", tmp_path)
    (tmp_path / "function.sh").write_text(FUNCTION)
    code = Path(tmp_path)
    async with Engine() as engine:
        echo = await engine.create_function("echo", code=code, handler="function.echo_stdin", timeout_s=20)
        event = json.dumps("x" * 5_000_000).encode()
        assert (await echo.invoke(event)).payload == event
        fails = await engine.create_function("fails", code=code, handler="function.fails", timeout_s=20)
        result = await fails.invoke(b"7")
        assert result.function_error == "Unhandled"
        assert result.json() == {"errorMessage": 'no "7"', "errorType": "FunctionError", "stackTrace": []}
        broken = await engine.create_function("broken", code=code, handler="function.absent", timeout_s=20)
        assert (await broken.invoke()).json()["errorType"] == "Runtime.HandlerNotFound"
