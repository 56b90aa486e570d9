"""Frozen and thawed, ended by a limit, quarantined: real processes, in sandboxes that refuse when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import psutil
import pytest

from engine import Engine
from engine.errors import SandboxError
from engine.lifecycle import core, states
from engine.lifecycle.environment import Environment
from engine.sandbox import Exit, ProcessSpec
from engine.sandbox.blanks import Answer
from engine.sandbox.spawner import wire
from tests.support.functions import bootstrap

pytest_plugins = ("tests.support.sandbox_fixtures",)

LINGER_MS = 20.0
PATIENCE_S = 15.0

WHO = """
while True:
    request_id, event, _ = take()
    give(request_id, os.getpid())
"""


class Sandbox:
    """A real sandbox; each verb is counted, and may be made to fail or to wait.

    Attributes:
        calls: the verbs called, in order.
        before: what a verb does first: it may raise or wait.
        cause: what is said to have caused the next exits.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        self.cause: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def initialized(self) -> None:
        self.calls.append("initialized")
        self.inner.initialized()

    async def spawn(self, spec: ProcessSpec, on_exit: Callable[[Exit], None]) -> Any:
        self.calls.append("spawn")
        return await self.inner.spawn(spec, lambda how: on_exit(Exit(how.code, how.signal, self.cause)))

    async def freeze(self) -> None:
        await self._do("freeze")

    async def thaw(self) -> None:
        await self._do("thaw")

    async def kill(self) -> None:
        await self._do("kill")

    async def close(self) -> None:
        await self._do("close")

    async def _do(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self.before:
            await self.before[verb]()
        await getattr(self.inner, verb)()

    def refuse(self, verb: str, times: int = 10**9) -> None:
        """From now on, so often."""
        left = times

        async def refusing() -> None:
            nonlocal left
            if left:
                left -= 1
                raise SandboxError(f"cannot {verb}: pids 7 and 8 are in the way")

        self.before[verb] = refusing


class Watched:
    """An engine whose sandboxes are `Sandbox`es."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sandboxes: list[Sandbox] = []
        provider: Any = engine.provider
        acquire = provider.acquire

        async def watched(*arguments: Any) -> Sandbox:
            sandbox = Sandbox(await acquire(*arguments))
            self.sandboxes.append(sandbox)
            return sandbox

        provider.acquire = watched

    @property
    def environment(self) -> Environment:
        """The only one."""
        (environment,) = self.engine.dispatcher.environments.values()
        return environment

    def story(self) -> list[str]:
        return [text for _, text in self.environment.transitions()]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
            await asyncio.sleep(0.002)

    async def frozen(self) -> None:
        await self.until(lambda: self.story()[-1:] == ["frozen"], "frozen")
        assert self.environment.phase is states.Phase.FROZEN

    def last_report(self, function: str) -> str:
        return next(
            record.message
            for record in reversed(self.engine.log(function).records())
            if record.message.startswith("REPORT")
        )


@pytest.fixture
async def watched(anyio_backend, no_leaks):
    with anyio.fail_after(60):
        async with Engine(init_timeout_s=5.0, freeze_after_ms=LINGER_MS, isolation="process") as engine:
            yield Watched(engine)


def status(pid: int) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status()
    return "gone"


async def test_an_idle_environment_stands_still_and_runs_again_for_the_next_invocation(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke(1)).json()
    await watched.frozen()
    # The signal has been sent; a process stops when the kernel next comes to run it.
    await watched.until(lambda: status(pid) == psutil.STATUS_STOPPED, "stopped")
    (shown,) = watched.engine.dispatcher.listing()
    assert shown["phase"] == "FROZEN"
    assert shown["max_memory_bytes"] > 0, "its peak can be read while it is frozen"
    assert (await function.invoke(2)).json() == pid
    assert watched.story().count("thawed") == 1
    await watched.frozen()
    assert watched.sandboxes[0].calls == ["spawn", "initialized", "freeze", "thaw", "freeze"]


async def test_a_background_thread_does_not_run_between_invocations(watched, tmp_path):
    code = bootstrap(
        tmp_path / "f",
        """
        import threading
        count = 0
        def work():
            global count
            while True:
                count += 1
                time.sleep(0.001)
        threading.Thread(target=work, daemon=True).start()
        while True:
            request_id, event, _ = take()
            give(request_id, [count, time.monotonic()])
        """,
    )
    function = await watched.engine.create_function("f", code=code)
    await function.invoke()
    await watched.frozen()
    ran, at = (await function.invoke()).json()
    await watched.frozen()
    await asyncio.sleep(0.5)  # the time in which it would have counted to about 500
    ran_after, later = (await function.invoke()).json()
    assert later - at > 0.5
    assert ran_after - ran < 250, "it ran for the linger, not for the rest"


async def test_invocations_back_to_back_are_never_frozen(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    await function.invoke()
    longest, before = 0.0, time.monotonic()
    for _ in range(300):
        await function.invoke()
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    if longest < LINGER_MS / 1000:  # on a machine that paused for longer, a freeze is as it should be
        assert "freeze" not in watched.sandboxes[0].calls


async def test_an_invocation_that_comes_while_it_is_being_frozen_waits_and_is_served(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke()).json()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        begun.set()
        await go_on.wait()

    sandbox = watched.sandboxes[0]
    sandbox.before["freeze"] = slowly
    await begun.wait()
    waiting = asyncio.ensure_future(function.invoke())
    await watched.until(lambda: watched.environment.phase is states.Phase.THAWING, "thawing")
    assert not waiting.done()
    del sandbox.before["freeze"]
    go_on.set()
    assert (await waiting).json() == pid
    assert sandbox.calls[:4] == ["spawn", "initialized", "freeze", "thaw"]


async def test_a_slow_thaw_does_not_take_from_the_functions_own_time(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO), timeout_s=1)
    await function.invoke()
    await watched.frozen()
    watched.sandboxes[0].before["thaw"] = lambda: asyncio.sleep(1.2)
    result = await function.invoke(tail=True)
    assert result.function_error is None
    assert result.duration_ms < 1000
    assert result.total_ms > 1200


async def test_a_host_that_will_not_freeze_is_noted_and_nothing_else_happens(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke()).json()
    watched.sandboxes[0].refuse("freeze")
    await watched.until(lambda: any("FREEZE_REFUSED" in line for line in watched.story()), "refused")
    assert any(line.startswith("not frozen: cannot freeze") for line in watched.story())
    assert (await function.invoke()).json() == pid


async def test_a_host_that_will_not_thaw_fails_the_invocation_and_the_next_one_gets_another_environment(
    watched, tmp_path
):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke()).json()
    await watched.frozen()
    watched.sandboxes[0].refuse("thaw")
    failed = await function.invoke()
    assert failed.json()["errorType"] == "Sandbox.Failure"
    assert "pids 7 and 8" in failed.json()["errorMessage"]
    assert (await function.invoke()).json() != pid
    await watched.until(lambda: status(pid) == "gone", "the frozen process is ended")


async def test_a_process_that_is_killed_while_frozen_takes_its_environment_with_it(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke()).json()
    await watched.frozen()
    os.kill(pid, signal.SIGKILL)
    await watched.until(lambda: not watched.engine.dispatcher.environments, "the environment is gone")
    assert (await function.invoke()).json() != pid


@pytest.mark.parametrize("moment", ["frozen", "freezing", "thawing"])
async def test_a_function_can_be_deleted_and_the_engine_stopped_while_it_is(moment, watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke()).json()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        begun.set()
        await go_on.wait()

    sandbox, waiting = watched.sandboxes[0], None
    if moment == "freezing":
        sandbox.before["freeze"] = slowly
        await begun.wait()
    else:
        await watched.frozen()
    if moment == "thawing":
        sandbox.before["thaw"] = slowly
        waiting = asyncio.ensure_future(function.invoke())
        await begun.wait()
        watched.engine.dispatcher.stop()
        assert (await waiting).json()["errorType"] == "Sandbox.Failure"
    else:
        watched.engine.dispatcher.stop()
    go_on.set()
    await watched.engine.dispatcher.gone()
    assert status(pid) == "gone"


async def test_the_engine_drains_while_an_environment_is_frozen(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    await function.invoke()
    await watched.frozen()
    with anyio.fail_after(5):
        assert await watched.engine.drain(5.0) == 0


async def test_init_is_told_to_the_sandbox_each_time_before_the_first_event(watched, tmp_path):
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
    function = await watched.engine.create_function("f", code=code)
    await function.invoke()
    sandbox = watched.sandboxes[0]
    assert sandbox.calls[:2] == ["spawn", "initialized"]
    await function.invoke("crash")
    await watched.until(lambda: watched.environment.phase is states.Phase.BROKEN, "reset")
    await function.invoke()
    after_the_crash = sandbox.calls[sandbox.calls.index("kill") :]
    assert [call for call in after_the_crash if call not in {"freeze", "thaw"}] == ["kill", "spawn", "initialized"]


CRASH = """
take()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("cause", "error_type", "said"),
    [
        ("memory", "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"),
        ("processes", "Lambent.TooManyProcesses", "more than 1024 processes and threads"),
        ("storage", "Lambent.StorageExceeded", "more than 512 MB in /tmp"),
    ],
)
async def test_an_end_by_a_limit_is_told_and_reported_as_such(watched, tmp_path, cause, error_type, said):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", CRASH), memory_mb=192)
    watched.engine.provider.acquire = with_cause(watched.engine.provider.acquire, cause)
    result = await function.invoke(tail=True)
    assert result.json()["errorType"] == error_type
    assert said in result.json()["errorMessage"]
    report = result.log_tail.splitlines()[-1]
    assert report.endswith(f"Status: error\tError Type: {error_type}")
    assert ("\tMax Memory Used: 192 MB\t" in report) == (cause == "memory")


def with_cause(acquire: Callable[..., Awaitable[Sandbox]], cause: str) -> Callable[..., Awaitable[Sandbox]]:
    async def acquiring(*arguments: Any) -> Sandbox:
        sandbox = await acquire(*arguments)
        sandbox.cause = cause
        return sandbox

    return acquiring


async def test_a_timeout_is_told_on_time_although_the_kill_takes_long_and_reported_as_aws_does(watched, tmp_path):
    function = await watched.engine.create_function(
        "f", code=bootstrap(tmp_path / "f", "take()\ntime.sleep(1000)"), timeout_s=1
    )
    go_on = asyncio.Event()

    async def slowly() -> None:
        await go_on.wait()

    acquire = watched.engine.provider.acquire

    async def acquiring(*arguments: Any) -> Sandbox:
        sandbox = await acquire(*arguments)
        sandbox.before["kill"] = slowly
        return sandbox

    watched.engine.provider.acquire = acquiring
    result = await function.invoke()
    told = time.monotonic()
    assert result.json()["errorType"] == "Sandbox.Timedout"
    assert watched.environment.phase is states.Phase.RESETTING, "the kill is still going on"
    began = watched.engine.dispatcher.recent[-1].started
    assert 0 <= told - began - 1.0 < 0.25  # about 1 ms on a machine that has nothing else to do
    report = watched.last_report("f")
    assert "\tDuration: 1000.00 ms\t" in report
    assert report.endswith("\tStatus: timeout")
    go_on.set()


async def test_what_will_not_die_is_quarantined_told_and_tried_until_it_is_gone(watched, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(core, "RETRY_FIRST_S", 0.02)
    code = bootstrap(
        tmp_path / "f",
        """
        while True:
            request_id, event, _ = take()
            if event == "hang":
                time.sleep(1000)
            give(request_id, os.getpid())
        """,
    )
    function = await watched.engine.create_function("f", code=code, timeout_s=1)
    scheduler = watched.engine.dispatcher.scheduler
    pid = (await function.invoke()).json()
    sandbox, environment = watched.sandboxes[0], watched.environment
    sandbox.refuse("kill")
    sandbox.refuse("close")
    with caplog.at_level(logging.ERROR, "lambent"):
        assert (await function.invoke("hang")).json()["errorType"] == "Sandbox.Timedout"
        await watched.until(lambda: environment.tries >= 3, "tried three times")
    assert "pids 7 and 8 are in the way" in caplog.text
    assert environment.id in caplog.text
    (shown,) = watched.engine.dispatcher.listing()
    assert shown["phase"] in {"QUARANTINED", "CLOSING"}
    assert "pids 7 and 8" in shown["trouble"]
    assert scheduler.stats().lost == 1
    assert scheduler.stats().memory_used_mb == 128, "its memory is not given to others"
    scheduler.check()

    assert (await function.invoke()).json() != pid
    assert scheduler.stats().memory_used_mb == 256

    del sandbox.before["close"]
    await watched.until(lambda: environment.phase is states.Phase.CLOSED, "gone")
    assert scheduler.stats().lost == 0
    assert scheduler.stats().memory_used_mb == 128
    scheduler.check()


async def test_a_quarantined_environment_does_not_use_up_its_functions_concurrency(watched, tmp_path):
    function = await watched.engine.create_function(
        "f", code=bootstrap(tmp_path / "f", "while True:\n    r, e, _ = take()\n    e and time.sleep(9)\n    give(r, 1)"),
        timeout_s=1,
    )  # fmt: skip
    watched.engine.dispatcher.scheduler.reserve("f", 1)
    await function.invoke()
    watched.sandboxes[0].refuse("kill")
    watched.sandboxes[0].refuse("close", 3)
    await function.invoke("hang")
    assert watched.environment.phase is not states.Phase.BROKEN
    await watched.until(lambda: watched.engine.dispatcher.scheduler.stats().lost == 1, "lost")
    assert (await function.invoke()).json() == 1


async def test_an_engine_stops_although_something_will_not_die(anyio_backend, no_leaks, tmp_path):
    with anyio.fail_after(30):
        async with Engine(freeze_after_ms=LINGER_MS, isolation="process") as engine:
            watched = Watched(engine)
            function = await engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
            await function.invoke()
            watched.sandboxes[0].refuse("close")


async def test_no_invocation_goes_to_an_environment_that_died_idle_and_is_being_closed(watched, tmp_path):
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke()).json()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        begun.set()
        await go_on.wait()

    watched.sandboxes[0].before["close"] = slowly
    await watched.frozen()
    os.kill(pid, signal.SIGKILL)
    await begun.wait()
    assert (await function.invoke()).json() != pid
    go_on.set()


async def test_a_runtime_that_is_faster_than_its_runtime_api_is_heard(watched, tmp_path, monkeypatch):
    """It connects, complains and exits before we serve its socket: the kernel keeps what it said."""
    code = bootstrap(
        tmp_path / "f",
        """
        call("POST", "/init/error", b'{"errorType":"Runtime.Mine"}') if os.path.exists("/nonexistent") else None
        raw = socket.create_connection(api.split(":"))
        body = b'{"errorType":"Mine"}'
        raw.sendall(b"POST " + BASE.encode() + b"/init/error HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        os._exit(1)
        """,
    )
    serve = Environment._listen

    async def late(self: Environment, sandbox: Any) -> str | None:
        await watched.until(lambda: self._pending_exit is not None, "the process has ended")
        return await serve(self, sandbox)

    monkeypatch.setattr(Environment, "_listen", late)
    function = await watched.engine.create_function("f", code=code)
    result = await function.invoke()
    assert result.payload == b'{"errorType":"Mine"}'


async def test_a_sandbox_that_would_not_close_is_closed_by_the_next_try(watched, tmp_path, monkeypatch):
    """Not a sandbox that only says so: the spawner's own work fails once, then is done."""
    monkeypatch.setattr(core, "RETRY_FIRST_S", 0.02)
    function = await watched.engine.create_function("f", code=bootstrap(tmp_path / "f", WHO))
    pid = (await function.invoke()).json()
    await watched.frozen()
    provider: Any = watched.engine.provider
    environment, work, failures = watched.environment, provider.work, 2

    async def failing(kind: int, strings: list[bytes]) -> None:
        nonlocal failures
        if kind == wire.CLOSE and failures:
            failures -= 1
            raise Answer(errno.EBUSY, wire.STEP_TREE, f"pid {pid}")
        await work(kind, strings)

    monkeypatch.setattr(provider, "work", failing)
    watched.engine.dispatcher.remove("f", "$LATEST")
    await watched.until(lambda: environment.phase is states.Phase.CLOSED, "gone")
    assert failures == 0
    assert f"pid {pid}" in (environment.stuck or "")
    assert status(pid) == "gone"
    assert not provider.sandboxes
