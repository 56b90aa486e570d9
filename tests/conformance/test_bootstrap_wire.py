"""Our other runtimes by the wire: what each of them has to do whatever its language (Python's and Node's own tests: there)."""

from __future__ import annotations

import json
import threading

import pytest

from tests.support.clients import OUR_DOTNET, OUR_DOTNET_CORE, OUR_GO, OUR_JAVA, OUR_RUBY, OUR_RUST
from tests.support.families import FAMILIES
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

CLIENTS = [OUR_RUBY, OUR_JAVA, OUR_DOTNET, OUR_DOTNET_CORE, OUR_GO, OUR_RUST]


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request):
    return request.param


@pytest.fixture
def start(client, tmp_path):
    """Starts the client's function against a scripted Runtime API."""
    folder = client.folder(tmp_path / "code")
    command = client.command(folder)

    def run(api: ScriptedRuntimeApi, **env: str):
        return api.start(command, cwd=folder, env={"_HANDLER": client.handler, **env})

    return run


def event(do: str, **more: object) -> bytes:
    return json.dumps({"do": do, **more}).encode()


@pytest.mark.parametrize("options", [{}, {"chunked": True}, {"close": True}], ids=["length", "chunked", "close"])
def test_every_way_of_speaking_http_is_understood(start, options):
    with ScriptedRuntimeApi(**options) as api, start(api):
        for size in (0, 1, 4_000, 16_384, 65_536, 1_000_000, 3):
            answer = api.invoke(event("echo", value="é" * size))
            assert answer.json() == "é" * size
            assert answer.headers["content-type"] == "application/json"
    if not options.get("close"):
        assert {request.connection for request in api.requests} == {0}


def test_the_attempt_id_is_echoed_on_responses_and_errors(start):
    with ScriptedRuntimeApi() as api, start(api):
        response = api.invoke(event("count"), request_id="rid", invocation_id="a-1")
        assert response.path == "/2018-06-01/runtime/invocation/rid/response"
        assert response.headers["lambda-runtime-invocation-id"] == "a-1"
        error = api.invoke(event("fail"), request_id="second", invocation_id="a-2")
        assert error.path == "/2018-06-01/runtime/invocation/second/error"
        assert error.headers["lambda-runtime-invocation-id"] == "a-2"
        assert "lambda-runtime-invocation-id" not in api.invoke(event("count")).headers


def test_the_trace_id_reaches_the_handler_and_goes_with_its_invocation(start):
    """By the process's environment, in Rust by the context alone."""
    with ScriptedRuntimeApi() as api, start(api):
        assert api.invoke(event("trace"), trace_id="Root=1-a;Sampled=1").json() == "Root=1-a;Sampled=1"
        assert api.invoke(event("trace"), trace_id="Root=1-b;Sampled=0").json() == "Root=1-b;Sampled=0"
        assert not api.invoke(event("trace"), trace_id=None).json()


def test_an_errors_cause_for_x_ray_is_json_in_a_header(client, start):
    with ScriptedRuntimeApi() as api, start(api):
        headers = api.invoke(event("fail")).headers
        cause = headers.get("lambda-runtime-function-xray-error-cause")
        if cause is None:
            assert FAMILIES[client.family].trace is None  # without a stack there is no cause to show
            return
        cause.encode("ascii")
        (exception,) = json.loads(cause)["exceptions"]
        assert exception["message"] == "it failed é"
        assert exception["stack"]


@pytest.mark.parametrize(("status", "goes_on"), [(413, True), (403, False)])
def test_a_refused_response_ends_the_runtime_unless_it_was_only_too_large(start, status, goes_on):
    with ScriptedRuntimeApi(answers={"/response": status}) as api, start(api) as runtime:
        api.invoke(event("count"), request_id="rid")
        if goes_on:
            assert api.invoke(event("count")).json() == 2
        else:
            assert runtime.wait() == 1
            assert f"the Runtime API refused the result of rid: {status}" in runtime.output()


def test_a_failed_init_is_posted_and_ends_the_process(client, start, tmp_path):
    folder = client.folder(tmp_path / "broken", client.broken or None)
    env = {"_HANDLER": client.broken_handler or client.handler}
    with ScriptedRuntimeApi() as api, api.start(client.command(folder), cwd=folder, env=env) as runtime:
        posted = api.posted()
        assert posted.path == "/2018-06-01/runtime/init/error"
        assert posted.headers["content-type"] == "application/json"
        assert posted.headers["lambda-runtime-function-error-type"]
        assert posted.json()["errorType"] == FAMILIES[client.family].init[0]
        assert runtime.wait() != 0


def test_it_leaves_when_the_runtime_api_has_gone(start):
    with ScriptedRuntimeApi() as api, start(api) as runtime:
        api.invoke(event("count"))
        closing = threading.Thread(target=api.__exit__, args=(None, None, None))
        closing.start()
        assert runtime.wait() == 1
        closing.join()
        assert "bootstrap: the Runtime API" in runtime.output()
