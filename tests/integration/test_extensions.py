"""External extensions in the life of an environment: one test per lifecycle diagram of AWS's, with real processes.

What is asserted is the environment's story and its log, in order. Where two processes run at the same time, each has an
order of its own. Nothing is asserted about how long anything took, but for budgets, which are what they bound.
"""

from __future__ import annotations

import json
import time

import anyio
import pytest

from engine import Engine
from engine.lifecycle.extending import Stage
from engine.lifecycle.states import Phase
from tests.support.extensions import GATE, LOYAL, extension
from tests.support.functions import ECHO, bootstrap, python_function
from tests.support.sandboxes import MODES
from tests.support.stories import environment_of, in_order, log, open_gate, printed, story, told

pytest_plugins = ("tests.support.sandbox_fixtures",)

SAYS_SIGTERM = """
def terminated(*_):
    print("SIGTERM", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, terminated)
"""
DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""


@pytest.fixture(params=MODES)
def isolation(request, anyio_backend, no_leaks) -> str:
    return request.param


def error_of(result) -> tuple[str, str]:
    assert result.function_error == "Unhandled"
    body = result.json()
    return body["errorType"], body["errorMessage"].removeprefix(f"RequestId: {result.request_id} Error: ")


# ---- the happy life ----------------------------------------------------------------------------------------------------


async def test_a_whole_life_with_an_extension(isolation, tmp_path):
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f", SAYS_SIGTERM + ECHO), layers=[extension(tmp_path / "layer", "one")]
        )
        assert [(await function.invoke(n, tail=True)).json() for n in (1, 2)] == [1, 2]
        environment = await environment_of(engine)
        assert [one["extensions"] for one in engine.dispatcher.listing()] == [{"one": "Ready"}]
    in_order(
        story(environment),
        "START: NEW -> INIT",
        "extension one started",
        "extension one registered for [INVOKE, SHUTDOWN]",
        "process started",
        "NEXT: INIT -> READY",
        "RETIRE: READY -> CLOSING",
        "SIGTERM to the runtime",
        "SHUTDOWN (spindown) to extension one",
        "extension one ended: exit status 0",
        "CLOSED: CLOSING -> CLOSED",
    )
    in_order(story(environment), "extension one registered", "extension one ready", "NEXT: INIT -> READY")
    in_order(
        log(environment),
        "INIT_START",
        "one registered",
        "EXTENSION\tName: one\tState: Ready\tEvents: [INVOKE, SHUTDOWN]",
        "START RequestId: ID",
        "one INVOKE",
        "END RequestId: ID",
        "REPORT RequestId: ID",
        "START RequestId: ID",
        "one INVOKE",
        "END RequestId: ID",
        "REPORT RequestId: ID",
        "SIGTERM",
        "one SHUTDOWN spindown",
    )


async def test_the_runtime_starts_when_all_external_extensions_have_registered(isolation, tmp_path):
    layer = extension(tmp_path / "layer", "fast")
    extension(layer, "slow", "gate('go')\n" + LOYAL)
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), layers=[layer])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(function.invoke)
            environment = await environment_of(engine)
            await told(environment, "extension fast ready")
            await told(environment, "extension slow started")
            assert environment.pid is None
            assert environment.phase is Phase.INIT
            open_gate(environment, "go")
    in_order(story(environment), "extension slow registered", "process started", "NEXT: INIT -> READY")


async def test_init_waits_for_the_first_next_of_an_extension_that_asks_for_nothing(isolation, tmp_path):
    layer = extension(tmp_path / "layer", "slow", "register()\ngate('go')\ntake()")
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), layers=[layer])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(function.invoke)
            environment = await environment_of(engine)
            with anyio.fail_after(20):
                while environment.extending is None or environment.extending.stage is not Stage.INIT_TAIL:
                    await anyio.sleep(0.002)
            assert environment.phase is Phase.INIT
            open_gate(environment, "go")
        assert (await function.invoke(1)).json() == 1, "and no invocation does"
    in_order(story(environment), "process started", "extension slow ready", "NEXT: INIT -> READY")


async def test_the_caller_is_answered_before_the_extension_is_back_and_the_environment_is_busy_until_then(
    isolation, tmp_path
):
    late = """
    register("INVOKE")
    while True:
        take()
        gate("back")
        say("back")
    """
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f"), layers=[extension(tmp_path / "layer", "late", late)]
        )
        first = await function.invoke(1)
        environment = await environment_of(engine)
        with anyio.fail_after(20):
            while environment.extending is None or environment.extending.stage is not Stage.TAIL:
                await anyio.sleep(0.002)
        assert environment.phase is Phase.RESPONDED
        assert not any(line.startswith("END") for line in log(environment))
        second = await function.invoke(2)
        assert second.environment_id != first.environment_id
        open_gate(environment, "back")
        with anyio.fail_after(20):
            while environment.phase is not Phase.READY:
                await anyio.sleep(0.002)
        report = next(line for line in log(environment) if line.startswith("REPORT"))
        assert "Status" not in report
    in_order([line for line in log(environment) if "late" in line or "END" in line], "late back", "END RequestId: ID")


async def test_an_extension_is_told_what_the_function_is_and_sees_its_variables(isolation, tmp_path):
    curious = """
    status, told = register(features="accountId")
    told.update(env=dict(os.environ), cwd=os.getcwd())
    say(json.dumps(told))
    take()
    """
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f",
            code=bootstrap(tmp_path / "f", ECHO),
            layers=[extension(tmp_path / "layer", "curious", curious)],
            environment={"MINE": "yes"},
        )
        await function.invoke(tail=True)
        environment = await environment_of(engine)
        line = next(line for line in log(environment) if line.startswith("curious {"))
    told_of = json.loads(line.removeprefix("curious "))
    env = told_of.pop("env")
    assert told_of.pop("cwd")
    assert told_of.pop("handler")
    assert told_of == {"functionName": "f", "functionVersion": "$LATEST", "accountId": "000000000000"}
    assert env["MINE"] == "yes"
    assert env["AWS_LAMBDA_FUNCTION_NAME"] == "f"
    assert env["AWS_LAMBDA_RUNTIME_API"]
    assert env["AWS_ACCESS_KEY_ID"]
    assert not [key for key in env if key.startswith("_")]
    assert not env.keys() & {
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_STREAM_NAME",
    }


async def test_a_managed_runtime_follows_extensions_like_any_other(isolation, tmp_path):
    code = python_function(tmp_path / "f", "import os\ndef handler(event, context): return os.environ['_HANDLER']")
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=code, runtime="python3.12", handler="app.handler", layers=[extension(tmp_path / "layer", "one")]
        )
        assert (await function.invoke()).json() == "app.handler"
        environment = await environment_of(engine)
    in_order(story(environment), "extension one registered", "process started", "SHUTDOWN (spindown)", "CLOSED")


async def test_a_layer_can_turn_extensions_off(isolation, tmp_path):
    layer = extension(tmp_path / "layer", "one")
    (layer / "disable-extensions-jwigqn8j").touch()
    asks = """
    connection.request("POST", "/2020-01-01/extension/register", "{}", {"Lambda-Extension-Name": "inside"})
    reply = connection.getresponse()
    reply.read()
    while True:
        request_id, event, _ = take()
        give(request_id, reply.status)
    """
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f", asks), layers=[layer])
        assert (await function.invoke()).json() == 404
        environment = await environment_of(engine)
        assert not [text for text in story(environment) if "extension" in text]


# ---- Init that fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "reason", "line"),
    [
        ("sys.exit(3)", "Extension.Crash", "exit status 3", "State: Started\tEvents: []"),
        ("register('INVOKE'); sys.exit(0)", "Extension.Crash", "exit code 0", "State: Registered\tEvents: [INVOKE]"),
        (
            "register(); fail('init', 'Extension.NoConfig'); sys.exit(1)",
            "Extension.InitError",
            "exit status 1",
            "State: InitError\tEvents: []\tError Type: Extension.NoConfig",
        ),
        (
            "register(); fail('exit', 'Extension.Bye'); os.kill(os.getpid(), 9)",
            "Extension.ExitError",
            "signal: killed",
            "State: ExitError\tEvents: []\tError Type: Extension.Bye",
        ),
    ],
    ids=["crash before register", "exit 0 after register", "init error", "exit error"],
)
async def test_an_extension_that_fails_in_init_fails_it_and_the_next_one_is_told(
    isolation, tmp_path, body, kind, reason, line
):
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f"), layers=[extension(tmp_path / "layer", "one", body)]
        )
        assert error_of(await function.invoke()) == (kind, reason)
        environment = await environment_of(engine)
    in_order(
        story(environment),
        "START: NEW -> INIT",
        "extension one ended",
        "EXIT: INIT -> RESETTING",
        "KILLED: RESETTING -> BROKEN",
        "BEGIN: BROKEN -> REINIT",
        "extension one ended",
        "EXIT: REINIT -> RESETTING",
    )
    report = f"Status: error\tError Type: {kind}"
    lines = [text for text in log(environment) if text.startswith(("EXTENSION", "INIT_REPORT", "REPORT"))]
    in_order(
        lines, f"EXTENSION\tName: one\t{line}", "INIT_REPORT", f"EXTENSION\tName: one\t{line}", "INIT_REPORT", "REPORT"
    )
    assert all(text.endswith(report) for text in lines if "REPORT" in text), lines


async def test_what_cannot_be_executed_is_a_launch_error(isolation, tmp_path):
    layer = extension(tmp_path / "layer", "one")
    (layer / "extensions" / "two").write_text("no program")
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), layers=[layer])
        kind, message = error_of(await function.invoke())
        environment = await environment_of(engine)
    assert kind == "Extension.LaunchError"
    assert message.startswith("fork/exec /")
    assert message.endswith("/extensions/two: permission denied")
    in_order(
        log(environment),
        "EXTENSION\tName: one\tState: Started\tEvents: []",
        "EXTENSION\tName: two\tState: LaunchError\tEvents: []\tError Type: PermissionDenied",
        "INIT_REPORT",
    )
    assert not [text for text in story(environment) if text.startswith("process started")]


async def test_more_than_ten_extensions_are_too_many(isolation, tmp_path):
    for number in range(11):
        layer = extension(tmp_path / "layer", f"x{number:02}")
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), layers=[layer])
        assert error_of(await function.invoke()) == ("Extension.LaunchError", "Extension limit (10) reached")
        environment = await environment_of(engine)
    line = "EXTENSION\tName: x10\tState: LaunchError\tEvents: []\tError Type: TooManyExtensions"
    assert line in log(environment)
    assert not [text for text in story(environment) if "started" in text]


async def test_an_extension_that_never_registers_is_an_init_timeout_then_a_timeout(isolation, tmp_path):
    layer = extension(tmp_path / "layer", "mute", "time.sleep(1000)")
    async with Engine(isolation=isolation, init_timeout_s=0.2) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), layers=[layer], timeout_s=1)
        assert error_of(await function.invoke()) == ("Sandbox.Timedout", "Task timed out after 1.00 seconds")
        environment = await environment_of(engine)
    in_order(
        story(environment),
        "extension mute started",
        "DEADLINE: INIT -> RESETTING",
        "SIGKILL to extension mute",
        "KILLED: RESETTING -> BROKEN",
        "BEGIN: BROKEN -> REINIT",
        "extension mute started",
        "DEADLINE: REINIT -> RESETTING",
    )
    in_order(log(environment), "EXTENSION\tName: mute\tState: Started", "INIT_REPORT Init Duration: ")
    assert not [text for text in story(environment) if text.startswith("process started")]


async def test_a_runtime_that_fails_in_init_takes_its_extensions_with_it(isolation, tmp_path):
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f", "sys.exit(5)"), layers=[extension(tmp_path / "layer", "one")]
        )
        assert error_of(await function.invoke()) == ("Runtime.ExitError", "Runtime exited with error: exit status 5")
        environment = await environment_of(engine)
    in_order(
        story(environment),
        "process ended: exit status 5",
        "EXIT: INIT -> RESETTING",
        "SHUTDOWN (failure) to extension one",
        "extension one ended: exit status 0",
        "KILLED: RESETTING -> BROKEN",
        "BEGIN: BROKEN -> REINIT",
    )
    in_order(log(environment), "one registered", "one SHUTDOWN failure", "one registered", "one SHUTDOWN failure")


# ---- invocations that fail ---------------------------------------------------------------------------------------------


async def test_a_timeout_of_the_runtime(isolation, tmp_path):
    hangs = SAYS_SIGTERM + "take()\ntime.sleep(1000)"
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f", hangs), layers=[extension(tmp_path / "layer", "one")], timeout_s=1
        )
        assert error_of(await function.invoke()) == ("Sandbox.Timedout", "Task timed out after 1.00 seconds")
        environment = await environment_of(engine)
        await told(environment, "KILLED")
    in_order(
        story(environment),
        "NEXT: INIT -> READY",
        "DEADLINE: INVOKE -> RESETTING",
        "SIGTERM to the runtime",
        "SHUTDOWN (timeout) to extension one",
        "extension one ended: exit status 0",
        "KILLED: RESETTING -> BROKEN",
        "RETIRE: BROKEN -> CLOSING",
    )
    in_order(log(environment), "START", "one INVOKE", "REPORT", "SIGTERM", "one SHUTDOWN timeout")


async def test_an_extension_that_overruns_is_a_timeout_and_the_function_lives_on(isolation, tmp_path):
    hangs = """
    register("INVOKE", "SHUTDOWN")
    while True:
        event = take()
        say(event["eventType"], event.get("shutdownReason", ""))
        if event["eventType"] == "SHUTDOWN":
            sys.exit(0)
        gate("never")
    """
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f"), layers=[extension(tmp_path / "layer", "one", hangs)], timeout_s=1
        )
        assert (await function.invoke(1)).json() == 1, "the runtime was in time"
        environment = await environment_of(engine)
        await told(environment, "KILLED")
        open_gate(environment, "never")
        again = await function.invoke(2)
        assert (again.json(), again.environment_id) == (2, environment.id)
    in_order(
        story(environment),
        "DEADLINE: RESPONDED -> RESETTING",
        "SIGTERM to the runtime",
        "SHUTDOWN (timeout) to extension one",
        "extensions did not end in time",
        "KILLED: RESETTING -> BROKEN",
        "BEGIN: BROKEN -> REINIT",
        "extension one started",
        "process started",
        "NEXT: REINIT -> INVOKE",
    )
    reports = [line for line in log(environment) if line.startswith("REPORT")]
    assert reports[0].endswith("Status: timeout")
    assert "Status" not in reports[1]
    assert len([line for line in log(environment) if line.startswith("EXTENSION")]) == 2


async def test_a_crash_of_the_runtime(isolation, tmp_path):
    crashes = "take()\nos._exit(7)"
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f", crashes), layers=[extension(tmp_path / "layer", "one")]
        )
        assert error_of(await function.invoke()) == ("Runtime.ExitError", "Runtime exited with error: exit status 7")
        environment = await environment_of(engine)
        await told(environment, "KILLED")
    in_order(
        story(environment),
        "process ended: exit status 7",
        "EXIT: INVOKE -> RESETTING",
        "SHUTDOWN (failure) to extension one",
        "extension one ended: exit status 0",
        "KILLED: RESETTING -> BROKEN",
    )
    in_order(log(environment), "START", "one INVOKE", "REPORT", "one SHUTDOWN failure")


@pytest.mark.parametrize(
    ("end", "kind"), [("", "Extension.Crash"), ("fail('exit', 'Extension.Full')", "Extension.ExitError")]
)
async def test_a_crash_of_an_extension_in_an_invocation(isolation, tmp_path, end, kind):
    crashes = f"""
    register("INVOKE")
    take()
    {end}
    os._exit(4)
    """
    layer = extension(tmp_path / "layer", "bad", crashes)
    extension(layer, "good")
    waits = SAYS_SIGTERM + GATE + "take()\ngate('never')"
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f", waits), layers=[layer])
        assert error_of(await function.invoke()) == (kind, "exit status 4")
        environment = await environment_of(engine)
        await told(environment, "KILLED")
    in_order(
        story(environment),
        "extension bad ended: exit status 4",
        "EXIT: INVOKE -> RESETTING",
        "SIGTERM to the runtime",
        "SHUTDOWN (failure) to extension good",
        "extension good ended: exit status 0",
        "KILLED: RESETTING -> BROKEN",
    )
    in_order(log(environment), "START", "REPORT", "SIGTERM", "good SHUTDOWN failure")
    assert next(line for line in log(environment) if line.startswith("REPORT")).endswith(f"Error Type: {kind}")


async def test_a_crash_of_an_extension_after_the_answer_leaves_the_answer_as_it_is(isolation, tmp_path):
    crashes = """
    register("INVOKE")
    take()
    gate("crash")
    os._exit(4)
    """
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f"), layers=[extension(tmp_path / "layer", "bad", crashes)]
        )
        assert (await function.invoke(1)).json() == 1
        environment = await environment_of(engine)
        open_gate(environment, "crash")
        await told(environment, "KILLED")
    in_order(story(environment), "extension bad ended", "EXIT: RESPONDED -> RESETTING", "KILLED")
    report = next(line for line in log(environment) if line.startswith("REPORT"))
    assert report.endswith("Status: error\tError Type: Extension.Crash")


async def test_a_crash_of_an_extension_between_invocations_ends_the_environment(isolation, tmp_path):
    crashes = """
    import threading
    def end():
        gate("crash")
        os._exit(4)
    threading.Thread(target=end).start()
    register("INVOKE")
    while True:
        take()
    """
    async with Engine(isolation=isolation, freeze_after_ms=None) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f"), layers=[extension(tmp_path / "layer", "bad", crashes)]
        )
        await function.invoke(1, tail=True)
        environment = await environment_of(engine)
        open_gate(environment, "crash")
        await told(environment, "CLOSED")
        assert (await function.invoke(2)).json() == 2
    in_order(story(environment), "extension bad ended", "EXIT: READY -> CLOSING", "SIGTERM to the runtime", "CLOSED")


# ---- the end -----------------------------------------------------------------------------------------------------------


async def life(engine: Engine, tmp_path, runtime: str, layers=()):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f", runtime), layers=layers)
    await function.invoke(1, tail=True)
    return await environment_of(engine)


async def test_without_extensions_the_runtime_is_killed_without_a_word(isolation, tmp_path):
    async with Engine(isolation=isolation) as engine:
        environment = await life(engine, tmp_path, SAYS_SIGTERM + ECHO)
        assert environment.extending is None
    assert "SIGTERM" not in log(environment)
    assert not [text for text in story(environment) if "SIG" in text]


INSIDE = """
import threading
extension = http.client.HTTPConnection(api)
def inside(method, path, body=None, **headers):
    extension.request(method, "/2020-01-01/extension/" + path, body, headers)
    reply = extension.getresponse()
    return reply, reply.read()
reply, _ = inside("POST", "register", '{"events": []}', **{"Lambda-Extension-Name": "inside"})
me = reply.getheader("Lambda-Extension-Identifier")
threading.Thread(target=inside, args=("GET", "event/next"), kwargs={"Lambda-Extension-Identifier": me}, daemon=True).start()
"""
"""As the runtimes of Go and Rust do to be sent SIGTERM: an internal extension that asks for nothing, parked for good."""


async def test_with_an_internal_extension_the_runtime_is_sent_sigterm(isolation, tmp_path):
    async with Engine(isolation=isolation) as engine:
        environment = await life(engine, tmp_path, SAYS_SIGTERM + INSIDE + ECHO)
    in_order(story(environment), "extension inside registered for []", "RETIRE", "SIGTERM to the runtime", "CLOSED")
    assert not [text for text in story(environment) if "SIGKILL" in text]
    in_order(log(environment), "EXTENSION\tName: inside\tState: Ready\tEvents: []", "START", "END", "SIGTERM")


async def test_with_an_internal_extension_a_runtime_that_does_not_hear_has_half_a_second(isolation, tmp_path):
    async with Engine(isolation=isolation) as engine:
        environment = await life(engine, tmp_path, DEAF + INSIDE + ECHO)
        began = time.monotonic()
    assert time.monotonic() - began >= 0.5
    in_order(story(environment), "SIGTERM to the runtime", "SIGKILL to the runtime", "CLOSED")


async def test_with_external_extensions_all_have_two_seconds_and_those_who_asked_are_told(isolation, tmp_path):
    layer = extension(tmp_path / "layer", "deaf", 'register("SHUTDOWN")\nsay(take()["shutdownReason"])\ngate("never")')
    extension(layer, "loyal", 'register("SHUTDOWN")\nsay(take()["shutdownReason"])')
    extension(layer, "unasked", 'register("INVOKE")\nwhile True: take()')
    async with Engine(isolation=isolation) as engine:
        environment = await life(engine, tmp_path, DEAF + ECHO, [layer])
        began = time.monotonic()
    assert time.monotonic() - began >= 2.0
    in_order(
        story(environment),
        "SIGTERM to the runtime",
        "SIGKILL to the runtime",
        "SHUTDOWN (spindown) to extension deaf",
        "SHUTDOWN (spindown) to extension loyal",
        "SIGKILL to extension unasked",
        "extensions did not end in time",
        "CLOSED",
    )
    in_order(story(environment), "SHUTDOWN (spindown) to extension loyal", "extension loyal ended: exit status 0")
    assert {"deaf spindown", "loyal spindown"} <= set(log(environment))


async def test_a_frozen_environment_is_thawed_to_hear_of_its_end(isolation, tmp_path):
    async with Engine(isolation=isolation, freeze_after_ms=1) as engine:
        environment = await life(engine, tmp_path, SAYS_SIGTERM + ECHO, [extension(tmp_path / "layer", "one")])
        await told(environment, "frozen")
    in_order(story(environment), "frozen", "RETIRE: FROZEN -> CLOSING", "SIGTERM to the runtime", "SHUTDOWN (spindown)")
    in_order(log(environment), "END", "SIGTERM", "one SHUTDOWN spindown")


async def test_what_an_extension_prints_at_the_end_of_an_invocation_is_in_its_log(isolation, tmp_path):
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f"), layers=[extension(tmp_path / "layer", "one")]
        )
        lines = (await function.invoke(tail=True)).log_tail.splitlines()
        assert lines[1] == "one INVOKE "
        environment = await environment_of(engine)
        await printed(environment, "one INVOKE ")


# ---- limits, which all processes of an environment have together -------------------------------------------------------


async def test_memory_that_an_extension_takes_is_the_functions(isolation, tmp_path):
    greedy = """
    register("INVOKE")
    take()
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)))
    """
    waits = GATE + "take()\ngate('never')"
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "f", code=bootstrap(tmp_path / "f", waits), layers=[extension(tmp_path / "layer", "greedy", greedy)],
            timeout_s=30,
        )  # fmt: skip
        kind, reason = error_of(await function.invoke())
    assert (kind, reason) == ("Runtime.OutOfMemory", "Runtime exited with error: signal: killed")


async def test_processes_that_an_extension_left_end_with_the_environment(isolation, tmp_path):
    forks = """
    import subprocess
    register("INVOKE", "SHUTDOWN")
    take()
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    take()
    """
    async with Engine(isolation=isolation) as engine:  # and `no_leaks` looks for it afterwards
        environment = await life(engine, tmp_path, ECHO, [extension(tmp_path / "layer", "one", forks)])
    in_order(story(environment), "extension one ended: exit status 0", "CLOSED")
