"""The Rust runtimes: ours without dependencies by the wire, and both, ours and AWS's, through the engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import uvloop

from engine import Engine
from tests.support.clients import rust
from tests.support.scripted_runtime_api import ScriptedRuntimeApi
from tests.support.streaming import gate


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


def folder(name: str, path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    shutil.copy(rust(name), path / "bootstrap")
    return path


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_minimal_echoes_payloads_of_every_size_on_one_connection(tmp_path, chunked):
    with ScriptedRuntimeApi(chunked=chunked) as api, api.start([rust("minimal")], cwd=tmp_path):
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


def test_minimal_sends_no_attempt_id_when_it_was_given_none(api, tmp_path):
    with api.start([rust("minimal")], cwd=tmp_path):
        assert "lambda-runtime-invocation-id" not in api.invoke().headers


@pytest.mark.parametrize(
    ("mode", "path", "body"),
    [
        ("sleep:1", "/response", b"1"),
        ("alloc:8", "/response", b"1"),
        ("error", "/error", b'{"errorMessage":"asked for by MODE","errorType":"ModeError","stackTrace":[]}'),
    ],
)
def test_minimal_does_what_mode_asks(api, tmp_path, mode, path, body):
    with api.start([rust("minimal")], cwd=tmp_path, env={"MODE": mode}):
        for _ in range(2):
            posted = api.invoke(b"1")
            assert posted.path.endswith(path)
            assert posted.body == body


def test_minimal_can_fail_its_init_and_exit(api, tmp_path):
    with api.start([rust("minimal")], cwd=tmp_path, env={"MODE": "init-error"}) as runtime:
        assert api.posted().json()["errorType"] == "Runtime.InitError"
        assert runtime.wait() == 1
    with api.start([rust("minimal")], cwd=tmp_path, env={"MODE": "exit:3"}) as runtime:
        api.send()
        assert runtime.wait() == 3


@pytest.mark.parametrize(("status", "goes_on"), [(413, True), (403, False)])
def test_minimal_goes_on_after_a_413_only(tmp_path, status, goes_on):
    with (
        ScriptedRuntimeApi(answers={"/response": status}) as api,
        api.start([rust("minimal")], cwd=tmp_path) as runtime,
    ):
        api.invoke(b"1")
        if goes_on:
            assert api.invoke(b"2").body == b"2"
        else:
            assert runtime.wait() == 1
            assert f"response: {status}" in runtime.output()


async def test_minimal_runs_on_the_engine(tmp_path):
    async with Engine() as engine:
        echo = await engine.create_function("echo", code=folder("minimal", tmp_path / "f"), timeout_s=20)
        results = [await echo.invoke({"n": n}) for n in range(3)]
        assert [result.json()["n"] for result in results] == [0, 1, 2]
        assert [result.cold for result in results] == [True, False, False]
        event = json.dumps("x" * 6_000_000).encode()
        assert (await echo.invoke(event)).payload == event


async def test_minimals_errors_reach_the_caller(tmp_path):
    code = folder("minimal", tmp_path / "f")
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
