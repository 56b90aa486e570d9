"""Environments with several invocations in flight, embedded: real processes, real Runtime API."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from engine import Engine
from engine.function import Function
from engine.invoke.result import InvocationResult
from engine.lifecycle.states import Phase
from tests.support.extensions import extension
from tests.support.functions import bootstrap, python_function
from tests.support.sandboxes import MODES
from tests.support.stories import environment_of, in_order, log, open_gate, story, told

pytest_plugins = ("tests.support.sandbox_fixtures",)

#: A runtime of AWS_LAMBDA_MAX_CONCURRENCY threads. "hold" answers when a "release" has come, "told" with the statuses of
#: the answers of all that was held.
THREADS = """
import threading

local = threading.local()
released = threading.Event()
statuses = []

def call(method, path, body=None, headers=None):
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection(api)
    local.connection.request(method, BASE + path, body, headers or {})
    reply = local.connection.getresponse()
    return reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), reply.read()

def handle(request_id, event):
    do = event["do"] if isinstance(event, dict) else event
    if do == "hold":
        print("holding", request_id, flush=True)
        released.wait()
        statuses.append(give(request_id, os.getpid())[0])
    elif do == "release":
        released.set()
        give(request_id, os.getpid())
    elif do == "told":
        give(request_id, statuses)
    elif do == "fail":
        fail(request_id, {"errorType": "Odd", "errorMessage": "it failed"})
    elif do == "crash":
        os._exit(3)
    else:
        give(request_id, event)

def serve():
    while True:
        request_id, event, _ = take()
        handle(request_id, event)

for _ in range(int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]) - 1):
    threading.Thread(target=serve, daemon=True).start()
serve()
"""


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(isolation=request.param) as running:
        yield running


def events_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The platform's events among the lines of a log, which is JSON here."""
    return [json.loads(line) for line in lines if line.startswith('{"time"')]


class Held:
    """Invocations in a task group of their own, whose results come later."""

    def __init__(self, engine: Engine, function: Function) -> None:
        self._engine = engine
        self._function = function
        self._tasks = anyio.create_task_group()
        self.results: list[InvocationResult] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc_info) -> bool | None:
        return await self._tasks.__aexit__(*exc_info)

    async def hold(self, many: int) -> None:
        """Invoke so many, and wait until the function has them all."""
        for _ in range(many):
            self._tasks.start_soon(self._one)
        log = self._engine.log(self._function.name)
        while sum(record.message.startswith("holding") for record in log.records()) < many:
            await anyio.sleep(0.005)

    async def _one(self) -> None:
        self.results.append(await self._function.invoke({"do": "hold"}, tail=True))


async def make(engine: Engine, folder: Path, many: int, **options) -> Function:
    return await engine.create_function("f", code=bootstrap(folder, THREADS), max_concurrency=many, **options)


def error_of(result: InvocationResult) -> str:
    assert result.function_error == "Unhandled"
    return result.json()["errorType"]


async def test_several_are_in_flight_in_one_environment_and_ps_shows_how_many(engine, tmp_path):
    function = await make(engine, tmp_path / "f", 3)
    async with Held(engine, function) as held:
        await held.hold(2)
        (listed,) = engine.dispatcher.listing()
        assert (listed["in_flight"], listed["capacity"], listed["phase"]) == (2, 3, "READY")
        assert listed["request_id"] is not None
        free = await function.invoke("release")
    assert {one.environment_id for one in (*held.results, free)} == {listed["id"]}
    assert {one.json() for one in (*held.results, free)} == {held.results[0].json()}, "one process"
    assert sum(one.cold for one in (*held.results, free)) == 1
    (listed,) = engine.dispatcher.listing()
    assert (listed["in_flight"], listed["invocations"], listed["request_id"]) == (0, 3, None)


async def test_what_finds_no_place_gets_another_environment(engine, tmp_path):
    function = await make(engine, tmp_path / "f", 2)
    async with Held(engine, function) as held:
        await held.hold(3)
        assert sorted(one["in_flight"] for one in engine.dispatcher.listing()) == [1, 2]
        first = await function.invoke("release")  # the fullest first: that of one, which has a place
        full = next(one for one in engine.dispatcher.listing() if one["in_flight"] == 2)
        assert first.environment_id != full["id"]
        second = await function.invoke(1)
        assert second.environment_id == first.environment_id
        os.kill(full["pid"], signal.SIGKILL)  # no place is left on it to be released by
    assert sorted(one.function_error is None for one in held.results) == [False, False, True]


async def test_one_that_times_out_fails_alone_and_its_worker_is_told_410_and_goes_on(engine, tmp_path):
    function = await make(engine, tmp_path / "f", 2, timeout_s=1)
    async with Held(engine, function) as held:
        await held.hold(1)
        while not held.results:
            assert (await function.invoke([1])).json() == [1], "the other place serves all the while"
            await anyio.sleep(0.05)
    (late,) = held.results
    assert late.json() == {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 1.00 seconds"}
    report = events_of(late.log_tail.splitlines())[-1]["record"]
    assert (report["status"], report["metrics"]["durationMs"]) == ("timeout", 1000.0)
    assert (await function.invoke("release")).environment_id == late.environment_id
    while not (statuses := (await function.invoke("told")).json()):
        await anyio.sleep(0.005)
    assert statuses == [410]
    (listed,) = engine.dispatcher.listing()
    assert listed["id"] == late.environment_id


async def test_an_error_is_told_of_one_and_the_others_go_on(engine, tmp_path):
    function = await make(engine, tmp_path / "f", 2)
    async with Held(engine, function) as held:
        await held.hold(1)
        failed = await function.invoke("fail")
        await function.invoke("release")
    assert failed.json() == {"errorType": "Odd", "errorMessage": "it failed"}
    assert held.results[0].function_error is None
    assert failed.environment_id == held.results[0].environment_id


async def test_the_end_of_the_runtime_fails_all_in_flight_and_the_next_has_a_new_environment(engine, tmp_path):
    function = await make(engine, tmp_path / "f", 3)
    async with Held(engine, function) as held:
        await held.hold(2)
        crashed = await function.invoke("crash")
    for one in (*held.results, crashed):
        assert error_of(one) == "Runtime.ExitError"
        assert (
            one.json()["errorMessage"] == f"RequestId: {one.request_id} Error: Runtime exited with error: exit status 3"
        )
    after = await function.invoke(5)
    assert after.json() == 5
    assert after.environment_id != crashed.environment_id


async def test_a_worker_that_dies_below_the_runtime_leaves_the_others(engine, tmp_path):
    """Processes of our Python runtime: nobody knows which had what, so its invocation goes on to its time limit."""
    code = python_function(
        tmp_path / "f",
        """
        import os
        def handler(event, context):
            if event == "die":
                os._exit(1)
            return os.getpid()
        """,
    )
    function = await engine.create_function(
        "f", code=code, runtime="python3.11", handler="app.handler", max_concurrency=2, timeout_s=1
    )
    died = await function.invoke("die")
    assert error_of(died) == "Sandbox.Timedout"
    others = [await function.invoke(1) for _ in range(3)]
    assert {one.environment_id for one in others} == {died.environment_id}
    assert len({one.json() for one in others}) == 1


async def test_an_init_that_fails_is_told_to_all_that_waited_for_it(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        call("POST", "/init/error", b'{"errorType":"Function.BadInit"}', {"Lambda-Runtime-Function-Error-Type": "Function.BadInit"})
        """,
    )
    function = await engine.create_function("f", code=code, max_concurrency=2)
    results: list[InvocationResult] = []

    async def one() -> None:
        results.append(await function.invoke(1))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(one)
    assert [error_of(result) for result in results] == ["Function.BadInit", "Function.BadInit"]
    assert len({result.environment_id for result in results}) == 1
    said = events_of(record.message for record in engine.log("f").records())
    (report,) = [event["record"] for event in said if event["type"] == "platform.initReport"]
    assert (report["phase"], report["status"], report["errorType"]) == ("init", "error", "Function.BadInit")


async def test_a_runtime_that_asks_for_one_at_a_time_is_given_one(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), max_concurrency=3)
    results: list[InvocationResult] = []

    async def one(number: int) -> None:
        results.append(await function.invoke(number))

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(one, number)
    assert sorted(result.json() for result in results) == [0, 1, 2, 3, 4, 5]


async def test_lines_belong_to_the_invocation_whose_request_id_they_carry(engine, tmp_path):
    function = await make(engine, tmp_path / "f", 3)
    async with Held(engine, function) as held:
        await held.hold(2)
        await function.invoke("release")
    for result in held.results:
        lines = result.log_tail.splitlines()
        assert lines[1:-1] == [f"holding {result.request_id}"]
        events = events_of(lines)
        assert [event["type"] for event in events] == ["platform.start", "platform.report"]
        assert {event["record"]["requestId"] for event in events} == {result.request_id}
    tagged = {record.request_id: record.message for record in engine.log("f").records() if "holding" in record.message}
    assert tagged == {one.request_id: f"holding {one.request_id}" for one in held.results}


async def test_an_update_lets_what_is_in_flight_finish_on_the_old_code(engine, tmp_path):
    function = await make(engine, tmp_path / "f", 2)
    async with Held(engine, function) as held:
        await held.hold(1)
        (old,) = engine.dispatcher.environments
        await function.update_code(bootstrap(tmp_path / "new"))
        new = await function.invoke("echo")
        assert new.environment_id != old
        assert not held.results
        environment = engine.dispatcher.environments[old]
        assert len(environment.in_flight()) == 1
        os.kill(environment.pid, signal.SIGKILL)  # nothing can release it any more
    assert held.results[0].environment_id == old


async def test_the_function_sees_how_many_and_how_it_was_initialised(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        import resource
        names = ["AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_FORMAT"]
        while True:
            request_id, event, _ = take()
            give(request_id, [*map(os.environ.get, names), resource.getrlimit(resource.RLIMIT_NOFILE)[0]])
        """,
    )
    function = await engine.create_function("f", code=code, max_concurrency=7)
    assert (await function.invoke()).json() == ["7", "lambda-managed-instances", "JSON", 4096]


EXTENSION = """
for events in (("INVOKE", "SHUTDOWN"), ("SHUTDOWN",)):
    status, body = register(*events)
    say(status, body.get("errorType"), body.get("errorMessage"))
gate("go")
event = take()
say(event["eventType"], event["shutdownReason"])
"""


async def test_init_waits_for_extensions_which_are_told_of_the_end_and_of_no_invocation(engine, tmp_path):
    layer = extension(tmp_path / "layer", "one", EXTENSION)
    function = await make(engine, tmp_path / "f", 3, layers=[layer], timeout_s=20)
    results: list[InvocationResult] = []

    async def one(number: int) -> None:
        results.append(await function.invoke([number]))

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(one, number)
        environment = await environment_of(engine)
        await told(environment, "process started")
        while environment.server.waiting < 3:
            await anyio.sleep(0.002)
        assert environment.phase is Phase.INIT
        open_gate(environment, "go")
    assert sorted(result.json() for result in results) == [[0], [1], [2]]
    assert {result.environment_id for result in results} == {environment.id}
    await function.delete()
    await told(environment, "CLOSED")
    in_order(
        story(environment),
        "extension one started",
        "extension one registered for [SHUTDOWN]",
        "process started",
        "extension one ready",
        "NEXT: INIT -> READY",
        "RETIRE: READY -> CLOSING",
        "SIGTERM to the runtime",
        "SHUTDOWN (spindown) to extension one",
        "extension one ended: exit status 0",
    )
    in_order(
        log(environment),
        "one 403 Extension.InvalidEventType INVOKE: ErrorInvalidEventType",
        "one 200 None None",
        '{"type":"platform.extension","record":{"name":"one","state":"Ready","events":["SHUTDOWN"]}}',
        "one SHUTDOWN spindown",
    )


async def test_the_end_of_an_extension_fails_all_that_is_in_flight(engine, tmp_path):
    layer = extension(
        tmp_path / "layer",
        "one",
        """
        register("SHUTDOWN")
        import threading
        threading.Thread(target=take, daemon=True).start()
        gate("go")
        os._exit(3)
        """,
    )
    function = await make(engine, tmp_path / "f", 2, layers=[layer], timeout_s=20)
    async with Held(engine, function) as held:
        await held.hold(2)
        environment = await environment_of(engine)
        open_gate(environment, "go")
    for result in held.results:
        assert error_of(result) == "Extension.Crash"
        assert result.json()["errorMessage"] == f"RequestId: {result.request_id} Error: exit status 3"


async def test_an_extension_that_does_not_come_up_fails_init_for_all(engine, tmp_path):
    layer = extension(tmp_path / "layer", "one", "sys.exit(1)")
    function = await make(engine, tmp_path / "f", 2, layers=[layer], timeout_s=20)
    result = await function.invoke(1)
    assert error_of(result) == "Extension.Crash"


async def test_an_extension_inside_the_runtime_may_register_for_nothing(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        def extension(method, path, body=None, headers=None):
            connection.request(method, "/2020-01-01/extension" + path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), json.loads(reply.read() or "null")

        name = {"Lambda-Extension-Name": "inner"}
        refused = extension("POST", "/register", b'{"events":["INVOKE"]}', name)
        registered = extension("POST", "/register", b'{"events":[]}', name)
        import threading
        other = http.client.HTTPConnection(api)
        identifier = {"Lambda-Extension-Identifier": registered[1]["lambda-extension-identifier"]}
        threading.Thread(
            target=lambda: other.request("GET", "/2020-01-01/extension/event/next", None, identifier), daemon=True
        ).start()
        while True:
            request_id, event, _ = take()
            give(request_id, [refused[0], refused[2], registered[0]])
        """,
    )
    function = await engine.create_function("f", code=code, max_concurrency=2, timeout_s=20)
    message = {"errorType": "Extension.InvalidEventType", "errorMessage": "No events allowed for internal extensions"}
    assert (await function.invoke(1)).json() == [403, message, 200]
