"""Our Go runtime: what is its own (the rest: test_bootstrap_contract.py, test_bootstrap_wire.py, test_conform.py)."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import uvloop

from engine import Engine
from tests.support.clients import OUR_GO, go
from tests.support.scripted_runtime_api import ScriptedRuntimeApi


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    return OUR_GO.folder(tmp_path / "code")


def test_a_panic_is_reported_with_its_stack_and_ends_the_process(api, folder):
    with api.start([folder / "bootstrap"], cwd=folder) as runtime:
        posted = api.invoke(b'{"do": "panic"}', request_id="one")
        body = posted.json()
        assert posted.path.endswith("/invocation/one/error")
        assert posted.headers["lambda-runtime-function-error-type"] == "Function.PlainError"
        assert body["errorMessage"] == "assignment to entry in nil map"
        assert re.fullmatch(
            r"functions\.test/clients/event\.go:\d+ functions\.test/clients\.Obey", body["stackTrace"][0]
        )
        assert runtime.wait() == 1
        assert "bootstrap: the handler panicked: assignment to entry in nil map" in runtime.output()


def test_an_event_of_another_shape_is_the_functions_error(api, folder):
    with api.start([folder / "bootstrap"], cwd=folder):
        assert api.invoke(b'{"do": 1}').json()["errorType"] == "UnmarshalTypeError"
        assert api.invoke(b"no json").json()["errorType"] == "SyntaxError"
        assert api.invoke(b'{"do": "count"}').json() == 1


@pytest.mark.parametrize(("level", "count"), [("INFO", 1), ("WARN", 0)])
def test_the_json_log_format_has_the_request_id_and_honours_the_level(api, folder, level, count):
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level}
    with api.start([folder / "bootstrap"], cwd=folder, env=env) as runtime:
        api.invoke(b'{"do": "log"}', request_id="one")
        records = [json.loads(line) for line in runtime.lines() if line.startswith("{")]
    assert len(records) == count
    for record in records:
        assert record.pop("timestamp")
        assert record == {"level": "INFO", "message": "a line of log", "requestId": "one"}


async def test_the_example_runs_as_provided_and_as_go1x(tmp_path):
    (tmp_path / "code").mkdir()
    for name in ("bootstrap", "hello"):
        shutil.copy(go("bootstraps/go", "example"), tmp_path / "code" / name)
    async with Engine() as engine:
        for runtime, handler in (("provided.al2023", "any"), ("go1.x", "hello")):
            function = await engine.create_function(
                runtime.replace(".", "-"), code=tmp_path / "code", runtime=runtime, handler=handler, timeout_s=20
            )
            first = await function.invoke({"name": "you"}, tail=True)
            assert first.json() == {"hello": "you", "calls": 1}
            assert f"level=INFO message=greeting name=you requestId={first.request_id}\n" in first.log_tail
            assert (await function.invoke({})).json() == {"hello": "world", "calls": 2}


async def test_a_reader_is_streamed(folder):
    async with Engine() as engine:
        function = await engine.create_function("streams", code=folder, runtime="provided.al2023", timeout_s=20)
        result = await function.invoke({"do": "stream", "pieces": ["a", "é", "x" * 200_000]})
        assert result.payload == ("aé" + "x" * 200_000).encode()
