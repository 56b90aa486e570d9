"""The Rust runtimes: what is our library's own, and AWS's through the engine.

The rest of ours: test_bootstrap_contract.py, test_bootstrap_wire.py, test_conform.py.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import uvloop

from engine import Engine
from tests.support.clients import OUR_RUST, ROOT, rust
from tests.support.require import requires
from tests.support.scripted_runtime_api import ScriptedRuntimeApi
from tests.support.streaming import gate


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


@pytest.fixture
def code(tmp_path):
    return OUR_RUST.folder(tmp_path / "code")


def folder(name: str, path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    shutil.copy(rust(name), path / "bootstrap")
    return path


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_echo_answers_payloads_of_every_size_on_one_connection(tmp_path, chunked):
    with ScriptedRuntimeApi(chunked=chunked) as api, api.start([rust("echo")], cwd=tmp_path):
        for size in (0, 1, 4096, 16_384 - 300, 16_384, 65_536, 65_537, 6_000_000, 3):
            payload = (
                bytes(i % 251 for i in range(size % 1000)) * (size // max(size % 1000, 1))
                if size < 10_000
                else b"y" * size
            )
            response = api.invoke(payload, invocation_id="attempt")
            assert response.body == payload
            assert response.headers["lambda-runtime-invocation-id"] == "attempt"
    assert {request.connection for request in api.requests} == {0}


def test_echo_sends_no_attempt_id_when_it_was_given_none(api, tmp_path):
    with api.start([rust("echo")], cwd=tmp_path):
        assert "lambda-runtime-invocation-id" not in api.invoke().headers


@pytest.mark.parametrize(
    ("mode", "path", "body"),
    [
        ("sleep:1", "/response", b"1"),
        ("alloc:8", "/response", b"1"),
    ],
)
def test_echo_does_what_mode_asks(api, tmp_path, mode, path, body):
    with api.start([rust("echo")], cwd=tmp_path, env={"MODE": mode}):
        for _ in range(2):
            posted = api.invoke(b"1")
            assert posted.path.endswith(path)
            assert posted.body == body


def test_echo_can_fail_its_init_and_exit(api, tmp_path):
    with api.start([rust("echo")], cwd=tmp_path, env={"MODE": "init-error"}) as runtime:
        assert api.posted().json()["errorType"] == "Runtime.InitError"
        assert runtime.wait() == 1
    with api.start([rust("echo")], cwd=tmp_path, env={"MODE": "exit:3"}) as runtime:
        api.send()
        assert runtime.wait() == 3


@pytest.mark.parametrize(("do", "kind"), [("fail", "Failure"), ("panic", "Panic")])
def test_errors_and_panics_have_their_type_and_place_and_are_not_the_end(api, code, do, kind):
    with api.start([code / "bootstrap"], cwd=code) as runtime:
        posted = api.invoke(json.dumps({"do": do}).encode())
        assert posted.path.endswith("/error")
        assert posted.headers["lambda-runtime-function-error-type"] == f"Function.{kind}"
        body = posted.json()
        assert re.fullmatch(r"it (failed|panicked) é", body.pop("errorMessage"))
        (line,) = body.pop("stackTrace")
        assert (line.split(":")[0], body) == ("src/ours.rs", {"errorType": kind})
        stack = json.loads(posted.headers["lambda-runtime-function-xray-error-cause"])["exceptions"][0]["stack"]
        assert stack == [{"path": "src/ours.rs", "line": int(line.split(":")[1]), "label": ""}]
        assert api.invoke(b'{"do": "count"}').json() == 2
        assert "panicked at" not in runtime.output()  # told by the log record


def test_a_panic_while_it_starts_is_an_error_of_the_initialisation(api, code):
    with api.start([code / "bootstrap"], cwd=code, env={"_HANDLER": "panics"}) as runtime:
        posted = api.posted()
        assert posted.path == "/2018-06-01/runtime/init/error"
        assert (posted.json()["errorType"], posted.json()["errorMessage"]) == ("Panic", "it panicked é")
        assert runtime.wait() == 1


def test_without_a_runtime_api_it_says_so(api, code):
    with api.start([code / "bootstrap"], cwd=code, env={"AWS_LAMBDA_RUNTIME_API": ""}) as runtime:
        assert runtime.wait() == 1
        assert "bootstrap: AWS_LAMBDA_RUNTIME_API is not set" in runtime.output()


def test_an_event_that_is_no_json_is_the_functions_error(api, code):
    with api.start([code / "bootstrap"], cwd=code):
        body = api.invoke(b'{"do" "echo"}').json()
        assert (body["errorType"], body["errorMessage"]) == ("SyntaxError", "this is no JSON: no colon at byte 6")


def test_the_context_tells_of_tenant_identity_and_deadline(api, code):
    with api.start([code / "bootstrap"], cwd=code):
        headers = {"aws_tenant_id": "blue", "cognito_identity": '{"cognitoIdentityId":"é"}', "deadline_ms": "123"}
        told = api.invoke(b'{"do": "who"}', **headers).json()
        assert told == {"tenant": "blue", "identity": '{"cognitoIdentityId":"é"}', "deadline": 123}
        told = api.invoke(b'{"do": "who"}', deadline_ms="soon").json()
        assert (told["tenant"], told["identity"]) == (None, None)
        assert told["deadline"] > 1_700_000_000_000


STREAM = {"do": "stream", "pieces": ["one", "é" * 50_000, "", "two"]}
WHOLE = "one" + "é" * 50_000 + "two"


@pytest.mark.parametrize(
    ("end", "kind", "message"),
    [(None, None, None), ("fail", "Failure", "it failed é"), ("panic", "Panic", "it panicked é")],
)
def test_a_stream_has_its_error_in_trailers(api, code, end, kind, message):
    with api.start([code / "bootstrap"], cwd=code):
        posted = api.invoke(json.dumps({**STREAM, "end": end}).encode(), invocation_id="attempt")
        assert posted.path.endswith("/response")
        assert posted.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert posted.headers["content-type"] == "text/plain; charset=utf-8"
        assert posted.headers["lambda-runtime-invocation-id"] == "attempt"
        assert posted.body.decode() == WHOLE
        assert bool(posted.trailers) == bool(end)
        if end:
            assert posted.trailers["lambda-runtime-function-error-type"] == f"Function.{kind}"
            body = json.loads(base64.b64decode(posted.trailers["lambda-runtime-function-error-body"]))
            assert (body["errorType"], body["errorMessage"]) == (kind, message)
        assert api.invoke(b'{"do": "count"}').json() == 2


def test_a_stream_that_fails_before_its_first_piece_is_an_ordinary_error(api, code):
    with api.start([code / "bootstrap"], cwd=code):
        posted = api.invoke(b'{"do": "stream", "end": "fail"}')
        assert posted.path.endswith("/error")
        assert posted.json()["errorType"] == "Failure"
        assert api.invoke(b'{"do": "stream"}').body == b""


@pytest.mark.parametrize(("level", "count"), [(None, 1), ("DEBUG", 2), ("warn", 0), ("odd", 1)])
def test_the_json_log_format_has_the_request_id_and_honours_the_level(api, code, level, count):
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON"} | ({"AWS_LAMBDA_LOG_LEVEL": level} if level else {})
    with api.start([code / "bootstrap"], cwd=code, env=env) as runtime:
        api.invoke(b'{"do": "log"}', request_id="one", aws_tenant_id="blue")
        records = [json.loads(line) for line in runtime.lines() if line.startswith("{")]
        assert [record["level"] for record in records] == ["INFO", "DEBUG"][:count]
        for record in records[:1]:
            assert record.pop("timestamp")
            assert record == {"level": "INFO", "message": "a line of log", "requestId": "one", "tenantId": "blue"}


def test_a_log_record_has_members_of_its_own_in_both_formats(code):
    with ScriptedRuntimeApi() as api, api.start([code / "bootstrap"], cwd=code) as runtime:
        api.invoke(b'{"do": "log members"}', request_id="one")
        assert runtime.lines()[0].endswith('Z\tone\tWARN\trows of a table rows=3 table="b c"')
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
    with ScriptedRuntimeApi() as api, api.start([code / "bootstrap"], cwd=code, env=env) as runtime:
        api.invoke(b'{"do": "log members"}', request_id="one")
        record = json.loads(runtime.lines()[0])
        assert (record["message"], record["rows"], record["table"]) == ("rows of a table", 3, "b c")


def test_what_is_printed_without_the_end_of_its_line_is_out_before_the_answer(api, code):
    with api.start([code / "bootstrap"], cwd=code) as runtime:
        api.invoke(b'{"do": "unfinished"}')
        assert runtime.output() == "a line without an end"


def test_the_crates_own_tests_pass():
    requires("cargo")
    crate = ROOT / "bootstraps/rust/lambent"
    done = subprocess.run(
        ["cargo", "test", "--locked", "--quiet"], cwd=crate, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_echo_runs_on_the_engine(tmp_path):
    async with Engine() as engine:
        echo = await engine.create_function("echo", code=folder("echo", tmp_path / "f"), timeout_s=20)
        results = [await echo.invoke({"n": n}) for n in range(3)]
        assert [result.json()["n"] for result in results] == [0, 1, 2]
        assert [result.cold for result in results] == [True, False, False]
        event = json.dumps("x" * 6_000_000).encode()
        assert (await echo.invoke(event)).payload == event


async def test_its_errors_reach_the_caller(tmp_path):
    code = folder("echo", tmp_path / "f")
    async with Engine() as engine:
        for mode, kind in (
            ("error", "ModeError"),
            ("init-error", "Runtime.InitError"),
            ("exit:3", "Runtime.ExitError"),
        ):
            name = mode.replace(":", "-")
            function = await engine.create_function(name, code=code, timeout_s=20, environment={"MODE": mode})
            result = await function.invoke({})
            assert (result.function_error, result.json()["errorType"]) == ("Unhandled", kind)


async def test_a_response_is_streamed_as_it_is_written(code):
    async with Engine() as engine:
        function = await engine.create_function("streams", code=code, runtime="provided.al2023", timeout_s=20)
        async with gate() as closed:
            stream = function.invoke_stream({"do": "stream", "pieces": ["one", closed.port, "two"]})
            assert await anext(stream) == b"one"
            await closed.reached.wait()
            closed.release()
            assert b"".join([piece async for piece in stream]) == b"two"
        assert stream.content_type == "text/plain; charset=utf-8"


async def test_the_hello_example_greets_and_logs(tmp_path):
    async with Engine() as engine:
        function = await engine.create_function("hello", code=folder("hello", tmp_path / "f"), timeout_s=20)
        first = await function.invoke({"name": "you"}, tail=True)
        assert first.json() == {"hello": "you", "calls": 1}
        assert f'\t{first.request_id}\tINFO\tgreeting name="you" calls=1\n' in first.log_tail
        assert (await function.invoke({})).json() == {"hello": "world", "calls": 2}


async def test_aws_lambda_runtime_for_rust_runs_unchanged_on_the_engine(tmp_path):
    async with Engine() as engine:
        function = await engine.create_function("aws", code=folder("official", tmp_path / "f"), timeout_s=20)
        first = await function.invoke({"k": "é"}, tail=True)
        told = first.json()
        assert 0 < told.pop("remainingMs") <= 20_000
        assert told == {
            "echo": {"k": "é"},
            "requestId": first.request_id,
            "arn": "arn:aws:lambda:us-east-1:000000000000:function:aws",
            "memoryMb": 128,
        }
        assert first.request_id in first.log_tail.split("\n")[1]
        failed = await function.invoke({"fail": "on purpose"})
        assert failed.function_error == "Unhandled"
        assert failed.json()["errorMessage"] == "on purpose"
        large = {"k": "x" * 2_500_000}
        again = await function.invoke(large)
        assert again.json()["echo"] == large
        assert not again.cold


async def test_aws_lambda_runtime_for_rust_streams_unchanged_on_the_engine(tmp_path):
    async with Engine() as engine:
        function = await engine.create_function(
            "aws", code=folder("official", tmp_path / "f"), handler="stream", timeout_s=20
        )
        async with gate() as closed:
            stream = function.invoke_stream({"pieces": ["one", closed.port, "two"]})
            got = b""
            while b"one" not in got:
                got += await anext(stream)
            await closed.reached.wait()
            closed.release()
            got += b"".join([piece async for piece in stream])
        prelude, _, body = got.partition(bytes(8))
        assert json.loads(prelude)["statusCode"] == 200
        assert body == b"onetwo"
        assert stream.content_type == "application/vnd.awslambda.http-integration-response"
