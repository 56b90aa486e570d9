"""Our Node.js runtime by the wire: what it decides itself (the rest is compared with aws-lambda-ric, byte for byte)."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

import bootstraps
from tests.support.require import requires
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

UP = (
    "'../up.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names."
)
ECHO = "exports.handler = async (event) => event;"


@pytest.fixture(scope="module")
def command() -> list[str]:
    requires("node")
    found = bootstraps.command("nodejs20.x")
    assert found is not None
    return found


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


def write(folder: Path, files: dict[str, str] | str) -> Path:
    for name, source in ({"app.js": files} if isinstance(files, str) else files).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return folder


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        ({"app.mjs": "export const handler = async () => import.meta.url.slice(-7);"}, "app.handler"),
        ({"app.js": "export const handler = async () => 'app.mjs';", "package.json": '{"type": "module"}'}, "app.handler"),
        ({"app.cjs": "exports.handler = async () => 'app.mjs';"}, "app.handler"),
        ({"deep/er/app.js": "exports.handler = async () => 'app.mjs';"}, "deep/er/app.handler"),
        ({"node_modules/pkg/index.js": "exports.handler = async () => 'app.mjs';"}, "pkg.handler"),
        ({"app.mjs": "await new Promise((go) => setTimeout(go, 5)); export const handler = async () => 'app.mjs';"}, "app.handler"),
    ],
    ids=["mjs", "type-module", "cjs", "folder", "package", "top-level-await"],
)  # fmt: skip
def test_handlers_in_commonjs_and_es_modules_are_found(api, tmp_path, command, files, handler):
    with api.start(command, cwd=write(tmp_path, files), env={"_HANDLER": handler}):
        assert api.invoke().json() == "app.mjs"


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("nodot", "Bad handler"),
        ("../up.handler", UP),
    ],
)  # fmt: skip
def test_a_handler_name_that_cannot_be_is_an_init_error(api, tmp_path, command, handler, message):
    with api.start(command, cwd=tmp_path, env={"_HANDLER": handler}) as runtime:
        error = api.posted()
        assert error.path == "/2018-06-01/runtime/init/error"
        assert error.headers["lambda-runtime-function-error-type"] == "Runtime.MalformedHandlerName"
        assert (error.json()["errorType"], error.json()["errorMessage"]) == ("Runtime.MalformedHandlerName", message)
        assert runtime.wait() == 129


def test_the_attempt_id_is_echoed_on_responses_and_errors(api, tmp_path, command):
    source = "exports.handler = async (event) => { if (event) throw new Error('x'); };"
    with api.start(command, cwd=write(tmp_path, source)):
        assert api.invoke(b"0", invocation_id="a-1").headers["lambda-runtime-invocation-id"] == "a-1"
        assert api.invoke(b"1", invocation_id="a-2").headers["lambda-runtime-invocation-id"] == "a-2"
        assert "lambda-runtime-invocation-id" not in api.invoke(b"0").headers
    assert {request.connection for request in api.requests} == {0}


@pytest.mark.parametrize("options", [{"chunked": True}, {"close": True}], ids=["chunked", "connection-close"])
def test_other_servers_ways_of_speaking_http_are_understood(tmp_path, command, options):
    with ScriptedRuntimeApi(**options) as api, api.start(command, cwd=write(tmp_path, ECHO)):
        for size in (10, 1_000_000, 10):
            assert api.invoke(json.dumps("x" * size).encode()).json() == "x" * size


@pytest.mark.parametrize(("status", "goes_on"), [(413, True), (403, False)])
def test_a_refused_response_ends_the_runtime_unless_it_was_only_too_large(tmp_path, command, status, goes_on):
    write(tmp_path, ECHO)
    with ScriptedRuntimeApi(answers={"/response": status}) as api, api.start(command, cwd=tmp_path) as runtime:
        api.invoke(b"1", request_id="rid")
        if goes_on:
            assert api.invoke(b"2").body == b"2"
        else:
            assert runtime.wait() == 1
            assert f"the Runtime API refused the result of rid: {status}" in runtime.output()


def test_an_error_thrown_while_waiting_for_work_is_reported_on_a_connection_of_its_own(api, tmp_path, command):
    source = "exports.handler = async () => { setTimeout(() => { throw new Error('between'); }, 50); return 1; };"
    with api.start(command, cwd=write(tmp_path, source)) as runtime:
        assert api.invoke(request_id="one").body == b"1"
        late = api.posted()
        assert (late.path, late.json()["errorMessage"]) == ("/2018-06-01/runtime/invocation/one/error", "between")
        assert late.connection == 1
        assert runtime.wait() == 129


def test_the_telemetry_descriptor_gets_framed_records(api, tmp_path, command):
    read, write_end = os.pipe()
    try:
        env = {"_LAMBDA_TELEMETRY_LOG_FD": str(write_end)}
        source = "exports.handler = async () => { console.warn('one\\ntwo'); };"
        with api.start(command, cwd=write(tmp_path, source), env=env, fds=[write_end]) as runtime:
            api.invoke(request_id="rid")
            data = os.read(read, 65536)
            assert runtime.output() == ""
    finally:
        os.close(read)
        os.close(write_end)
    assert data[:4].hex() == "a55a0013"
    assert int.from_bytes(data[4:8], "big") == len(data) - 16
    assert data.endswith(b"\trid\tWARN\tone\ntwo\n")


def test_it_leaves_when_the_runtime_api_has_gone(tmp_path, command):
    write(tmp_path, ECHO)
    with ScriptedRuntimeApi() as api, api.start(command, cwd=tmp_path) as runtime:
        api.invoke()
        closing = threading.Thread(target=api.__exit__, args=(None, None, None))
        closing.start()
        assert runtime.wait() == 1
        closing.join()
        assert "the Runtime API gave no invocation" in runtime.output()
