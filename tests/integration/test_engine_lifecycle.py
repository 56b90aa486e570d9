"""The engine from end to end, embedded: real processes, real Runtime API, every way for a runtime to go wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import anyio
import pytest

from engine import Engine
from engine.errors import (
    DataDirectoryError,
    InvalidRequestContentException,
    RequestTooLargeException,
    ResourceNotFoundException,
    ServiceException,
    TooManyRequestsException,
)
from tests.support.functions import ECHO, bootstrap, python_function
from tests.support.sandboxes import MODES

pytest_plugins = ("tests.support.sandbox_fixtures",)


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(init_timeout_s=2.0, isolation=request.param) as running:
        yield running


def error_of(result) -> tuple[str, str]:
    assert result.function_error == "Unhandled"
    body = result.json()
    return body["errorType"], body["errorMessage"]


async def test_a_function_starts_cold_then_answers_warm_in_the_same_environment(engine, tmp_path):
    echo = await engine.create_function("echo", code=bootstrap(tmp_path / "echo"))
    first = await echo.invoke({"n": 1})
    second = await echo.invoke({"n": 2})
    assert (first.json(), second.json()) == ({"n": 1}, {"n": 2})
    assert first.cold
    assert not second.cold
    assert first.environment_id == second.environment_id
    assert first.request_id != second.request_id
    assert first.executed_version == "$LATEST"


async def test_the_log_tail_has_start_lines_end_and_report_with_its_tab(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            print("out 1", flush=True)
            print("err 2", file=sys.stderr, flush=True)
            sys.stdout.write("no newline"); sys.stdout.flush()
            print(flush=True)
            give(request_id, 1)
        """,
    )
    function = await engine.create_function("f", code=code)
    result = await function.invoke(tail=True)
    lines = result.log_tail.splitlines()
    assert lines[0] == f"START RequestId: {result.request_id} Version: $LATEST"
    assert lines[1:4] == ["out 1", "err 2", "no newline"]
    assert lines[4] == f"END RequestId: {result.request_id}"
    assert lines[5].startswith(f"REPORT RequestId: {result.request_id}\tDuration: ")
    assert "\tMemory Size: 128 MB\tMax Memory Used: " in lines[5]
    assert "\tInit Duration: " in lines[5]
    assert result.log_tail.endswith("\t\n")


async def test_a_timeout_answers_kills_the_tree_and_keeps_tmp_for_the_next_invocation(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        import subprocess
        mark = os.path.join(os.environ.get("TMPDIR", "/tmp"), "mark")
        while True:
            request_id, event, _ = take()
            if event == "hang":
                child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                open(mark, "w").write(str(child.pid))
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(1000)
            if not os.path.exists(mark):
                give(request_id, "no mark")
                continue
            try:
                state = open("/proc/%s/stat" % open(mark).read()).read().rpartition(")")[2].split()[0]
            except OSError:
                state = "gone"
            give(request_id, "gone" if state in "ZX" else state)
        """,
    )
    function = await engine.create_function("f", code=code, timeout_s=1)
    assert error_of(await function.invoke("hang")) == (
        "Sandbox.Timedout",
        f"RequestId: {engine.dispatcher.recent[-1].request_id} Error: Task timed out after 1.00 seconds",
    )
    assert (await function.invoke("look")).json() == "gone", "/tmp survives a reset, processes do not"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("take(); os._exit(0)", "Runtime exited without providing a reason"),
        ("take(); os._exit(7)", "Runtime exited with error: exit status 7"),
        ("take(); os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
    ],
)
async def test_a_crash_in_an_invocation_is_told_in_aws_words(engine, tmp_path, body, reason):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f", body))
    kind, message = error_of(await function.invoke())
    assert kind == "Runtime.ExitError"
    assert message.endswith(f"Error: {reason}")


async def test_a_crashed_environment_serves_again(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            if event == "crash":
                os._exit(1)
            give(request_id, os.getpid())
        """,
    )
    function = await engine.create_function("f", code=code)
    before = await function.invoke(1)
    await function.invoke("crash")
    after = await function.invoke(1)
    assert before.environment_id == after.environment_id
    assert before.json() != after.json()


async def test_exit_before_next_is_retried_inside_the_invocation_and_then_told(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f", "os._exit(3)"))
    kind, message = error_of(await function.invoke())
    assert kind == "Runtime.ExitError"
    assert message.endswith("Runtime exited with error: exit status 3")
    reports = [record.message for record in engine.log("f").records() if record.message.startswith("INIT_REPORT")]
    assert "\tPhase: init\tStatus: error\tError Type: Runtime.ExitError" in reports[0]
    assert "\tPhase: invoke\t" in reports[1]


async def test_an_init_error_is_forwarded_byte_for_byte(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f", """call("POST", "/init/error", b'{"errorType": "My.Error",  "x": 1}'); os._exit(1)"""
    )
    function = await engine.create_function("f", code=code)
    result = await function.invoke()
    assert result.function_error == "Unhandled"
    assert result.payload == b'{"errorType": "My.Error",  "x": 1}'


async def test_a_runtime_that_never_calls_next_times_out_twice(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f", "time.sleep(1000)"), timeout_s=1)
    kind, message = error_of(await function.invoke())
    assert kind == "Sandbox.Timedout"
    assert message.endswith("Task timed out after 1.00 seconds")


async def test_a_missing_bootstrap_is_an_invalid_entrypoint(engine, tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "other").write_text("x")
    function = await engine.create_function("f", code=tmp_path / "f")
    kind, message = error_of(await function.invoke())
    assert kind == "Runtime.InvalidEntrypoint"
    assert "Couldn't find valid bootstrap(s)" in message


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"#!/bin/sh\nexit 0\n", 0o644, "permission denied"),
        (b"\x7fELF\x02\x01\x01" + b"\0" * 120, 0o755, "exec format error"),
        (b"#!/no/such/interpreter\n", 0o755, "no such file or directory"),
    ],
)
async def test_a_bootstrap_that_cannot_be_executed_says_why(engine, tmp_path, content, mode, reason):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "bootstrap").write_bytes(content)
    (folder / "bootstrap").chmod(mode)
    function = await engine.create_function("f", code=folder)
    kind, message = error_of(await function.invoke())
    assert kind == "Runtime.InvalidEntrypoint"
    assert "fork/exec" in message
    assert message.lower().endswith(reason)


async def test_a_wrong_id_is_refused_and_the_right_one_still_counts(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            wrong = give("0" * 36, "wrong")[0]
            give(request_id, wrong)
        """,
    )
    function = await engine.create_function("f", code=code)
    assert (await function.invoke()).json() == 400


async def test_a_second_answer_is_refused_and_the_first_stands(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        second = None
        while True:
            request_id, event, _ = take()
            give(request_id, second)
            second = give(request_id, "again")[0]
        """,
    )
    function = await engine.create_function("f", code=code)
    assert (await function.invoke()).json() is None
    assert (await function.invoke()).json() == 403


async def test_garbage_instead_of_http_ends_as_a_crash_of_the_runtime(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        take()
        host, port = api.split(":")
        stray = socket.create_connection((host, int(port)))
        stray.sendall(bytes(range(256)) * 100)
        assert b" 400 " in stray.recv(4096)
        os._exit(5)
        """,
    )
    function = await engine.create_function("f", code=code)
    assert error_of(await function.invoke())[1].endswith("exit status 5")


async def test_a_response_cut_off_by_death_is_truncated_not_delivered(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        request_id, event, _ = take()
        connection.putrequest("POST", f"{BASE}/invocation/{request_id}/response")
        connection.putheader("Content-Length", "1000")
        connection.endheaders()
        connection.send(b'"half of it')
        os._exit(1)
        """,
    )
    function = await engine.create_function("f", code=code)
    kind, _ = error_of(await function.invoke())
    assert kind in {"Runtime.TruncatedResponse", "Runtime.ExitError"}


async def test_payloads_of_six_megabytes_pass_both_ways_and_more_is_refused(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            status, _, body = give(request_id, event if isinstance(event, str) else "x" * event)
            print(status, body, flush=True)
        """,
    )
    function = await engine.create_function("f", code=code, timeout_s=20, memory_mb=1024)
    big = "y" * (6_291_556 - 2)
    assert (await function.invoke(big)).json() == big
    with pytest.raises(RequestTooLargeException):
        await function.invoke(big + "y")
    result = await function.invoke(6_291_555, tail=True)
    assert error_of(result) == (
        "Function.ResponseSizeTooLarge",
        "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    )
    assert "413 b'" in result.log_tail
    assert (await function.invoke("still alive")).json() == "still alive"


async def test_wrong_json_and_unknown_functions_are_refused_in_aws_words(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f"))
    with pytest.raises(InvalidRequestContentException, match="Could not parse request body into json"):
        await function.invoke(b"{nonsense")
    with pytest.raises(ResourceNotFoundException, match="Function not found: arn:aws:lambda:us-east-1:0"):
        await engine.invoke("missing")


async def test_two_hundred_concurrent_first_invocations_are_all_answered_once(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), timeout_s=30)
    answers: list[int] = []

    async def one(number: int) -> None:
        try:
            answers.append((await function.invoke(number)).json())
        except TooManyRequestsException:
            answers.append(number)  # a full host throttles; it never loses

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(one, number)
    assert sorted(answers) == list(range(200))


async def test_an_update_is_live_on_the_next_invocation_and_lets_a_running_one_finish(engine, tmp_path):
    slow = bootstrap(
        tmp_path / "one",
        """
        while True:
            request_id, event, _ = take()
            time.sleep(event)
            give(request_id, "old")
        """,
    )
    new = bootstrap(tmp_path / "two", ECHO)
    function = await engine.create_function("f", code=slow)
    await function.invoke(0)
    running: list[str] = []

    async def run() -> None:
        running.append((await function.invoke(0.5)).json())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not any(entry["phase"] == "INVOKE" for entry in engine.dispatcher.listing()):
            await anyio.sleep(0.001)  # while it still waits, the new code would run it
        await function.update_code(new)
        assert (await function.invoke("new")).json() == "new"
    assert running == ["old"]


async def test_a_saved_file_is_live_on_the_next_invocation(engine, tmp_path):
    folder = python_function(tmp_path / "live", "def handler(event, context):\n    return 1\n")
    function = await engine.create_function(
        "live", code=folder, runtime="python3.11", handler="app.handler", watch=True
    )
    assert (await function.invoke()).json() == 1
    for value in (22, 333):
        python_function(folder, f"def handler(event, context):\n    return {value}\n")
        assert (await function.invoke()).json() == value


async def test_functions_see_lambdas_variables_and_nothing_of_ours(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_ENGINE", "x")
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            give(request_id, dict(os.environ, CWD=os.getcwd()))
        """,
    )
    function = await engine.create_function("f", code=code, environment={"MINE": "1"}, memory_mb=256)
    seen = (await function.invoke()).json()
    assert "SECRET_OF_THE_ENGINE" not in seen
    assert "AWS_EXECUTION_ENV" not in seen  # absent for provided.*
    assert seen["CWD"] == seen["LAMBDA_TASK_ROOT"]
    expected = {
        "MINE": "1",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "us-east-1",
        "_HANDLER": "bootstrap",
        "TZ": ":UTC",
    }
    assert {key: seen.get(key) for key in expected} == expected
    assert seen["AWS_LAMBDA_RUNTIME_API"].startswith("127.")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give functions users of their own")
async def test_as_root_functions_run_as_other_users_who_cannot_read_the_store(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            try:
                found = open(event).read()
            except OSError as error:
                found = error.__class__.__name__
            give(request_id, [os.getuid(), found])
        """,
    )
    function = await engine.create_function("f", code=code)
    database = Path(engine.data_dir) / "lambent.db"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    uid, found = (await function.invoke(str(database))).json()
    assert uid != 0
    assert found == {"process": "PermissionError", "sandbox": "FileNotFoundError"}[engine.provider.mode]


async def test_leaving_the_engine_ends_every_process_and_removes_every_file(tmp_path):
    async with Engine() as engine:
        data = Path(engine.data_dir)
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f"))
        await function.invoke(1)
        pids = [entry["pid"] for entry in engine.dispatcher.listing()]
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not data.exists()


async def test_deleting_a_function_ends_its_environments(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f"))
    await function.invoke(1)
    await function.delete()
    with pytest.raises(ResourceNotFoundException):
        await function.invoke(1)
    with anyio.fail_after(10):
        while engine.dispatcher.environments:
            await anyio.sleep(0.01)


async def test_a_caller_who_is_back_before_the_runtime_does_not_cost_a_second_environment(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f"))
    engine.dispatcher.scheduler.patience_s = engine.dispatcher.scheduler.wait_limit_s  # however busy this machine is
    environments = {(await function.invoke(number)).environment_id for number in range(50)}
    assert len(environments) == 1
    assert engine.dispatcher.scheduler.launches == 1


async def test_a_runtime_that_answers_and_does_not_come_back_is_not_waited_for(engine, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            give(request_id, event)
            if event == "linger":
                time.sleep(1000)
        """,
    )
    function = await engine.create_function("f", code=code, timeout_s=60)
    first = await function.invoke("linger")
    with anyio.fail_after(30):
        second = await function.invoke("go on")
    assert second.json() == "go on"
    assert first.environment_id != second.environment_id
    assert {entry["phase"] for entry in engine.dispatcher.listing()} >= {"RESPONDED"}


async def test_an_ending_environment_says_nothing_in_the_log(engine, tmp_path):
    code = python_function(tmp_path / "f", "def handler(event, context):\n    return 1\n")
    function = await engine.create_function("f", code=code, runtime="python3.11", handler="app.handler")
    await function.invoke()
    log = engine.log("f")
    await function.delete()
    with anyio.fail_after(10):
        while engine.dispatcher.environments:
            await anyio.sleep(0.01)
    assert "Traceback" not in "\n".join(record.message for record in log.records())


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match="file/data cannot be made: Not a directory"):
        async with Engine(data_dir=tmp_path / "file" / "data"):
            pass


async def test_a_host_that_cannot_make_an_environment_fails_the_invocation_and_recovers(engine, tmp_path, monkeypatch):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f"))
    acquire = engine.provider.acquire

    async def refuse(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(engine.provider, "acquire", refuse)
    with pytest.raises(ServiceException, match=r"could not be created: .*Too many open files"):
        await function.invoke(1)
    monkeypatch.setattr(engine.provider, "acquire", acquire)
    assert (await function.invoke(2)).json() == 2
