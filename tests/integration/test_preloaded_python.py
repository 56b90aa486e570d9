"""Python functions that are a fork of an interpreter: the same as executed ones, where it can be, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import psutil
import pytest

from engine import Engine
from engine.sandbox import Exit, ProcessSpec
from engine.sandbox.namespaces import view
from engine.sandbox.namespaces.zygotes import key_of
from tests.support import introspection, preloading
from tests.support.leaks import eventually, gone, leak_check
from tests.support.preloading import need_sandboxes, started_by, until_ready, warm_up
from tests.support.require import unavailable
from tests.support.sandboxes import LIMITS


@pytest.fixture(autouse=True)
def tight():
    """Every test leaves nothing behind."""
    need_sandboxes()
    with leak_check():
        yield


@pytest.fixture
async def engine(tight) -> AsyncIterator[Engine]:
    """In sandbox mode, about to preload."""
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        Path(folder).chmod(0o755)
        async with Engine(data_dir=Path(folder) / "data", isolation="sandbox", memory_mb=100_000) as engine:
            yield engine


async def deploy(engine: Engine, tmp_path: Path, name: str, source: str, files=None, **options):
    """A Python function; `files` lie beside its module."""
    code = tmp_path / name
    code.mkdir()
    for path, content in {"app.py": source, **(files or {})}.items():
        (code / path).parent.mkdir(exist_ok=True)
        (code / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return await engine.create_function(
        name, code=code, runtime=preloading.RUNTIME, handler="app.handler", memory_mb=256, timeout_s=20, **options
    )


async def told(engine: Engine, tmp_path: Path, name: str, source: str, **options):
    """What the first invocation of a new function returned, and how it was started."""
    result = await (await deploy(engine, tmp_path, name, source, **options)).invoke({})
    assert result.function_error is None, result.payload
    return result.json(), started_by(engine, result)


async def test_the_first_is_executed_and_the_next_ones_are_not(engine, tmp_path):
    await warm_up(engine, tmp_path)
    (first,) = engine.dispatcher.environments.values()
    assert first.started_by == "exec"
    seen = {(await told(engine, tmp_path, f"f{i}", "def handler(event, context): return 1"))[1] for i in range(6)}
    assert seen == {"preloaded"}


async def test_a_function_finds_the_same_process_either_way(engine, tmp_path):
    executed, how = await told(engine, tmp_path, "a", introspection.SOURCE)
    assert how == "exec"
    await until_ready(engine.provider)
    forked, how = await told(engine, tmp_path, "b", introspection.SOURCE)
    assert how == "preloaded"

    assert set(executed.pop("modules")) < set(forked.pop("modules"))
    assert set(executed.pop("importers")) <= set(forked.pop("importers"))
    assert set(executed.pop("files")) <= set(forked.pop("files"))
    # `logging` is there, so nothing has to wait for it to be imported.
    assert executed.pop("finders") == ["_LoggingHook", *forked.pop("finders")]
    private = (
        "_X_AMZN_TRACE_ID", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_RUNTIME_API",
    )  # fmt: skip
    for one in (executed, forked):
        shown = one["/proc environ"]
        one["/proc environ"] = [entry.partition("=")[0] if entry.startswith(private) else entry for entry in shown]
        assert all(one["environ"].pop(name) for name in private)
    if not _kernel_can_show_other_arguments():
        for one in (executed, forked):
            del one["/proc environ"], one["/proc cmdline"]
    assert set(executed) == set(forked)
    assert {key: forked[key] for key in executed if forked[key] != executed[key]} == {
        key: executed[key] for key in executed if forked[key] != executed[key]
    }


def _kernel_can_show_other_arguments() -> bool:
    return Path("/proc/self/timers").exists()  # both come with CONFIG_CHECKPOINT_RESTORE


@pytest.mark.parametrize(
    ("variables", "expression", "expected", "how"),
    [
        ({"PYTHONHASHSEED": "0"}, "hash('a')", None, "exec"),
        ({"PYTHONDONTWRITEBYTECODE": "1"}, "sys.flags.dont_write_bytecode", 1, "exec"),
        ({"MALLOC_ARENA_MAX": "1"}, "os.environ['MALLOC_ARENA_MAX']", "1", "exec"),
        ({"TZ": "Asia/Tokyo"}, "[time.timezone, time.localtime(0).tm_hour]", [-32400, 9], "preloaded"),
        ({"HOME": "/tmp/é"}, "[os.path.expanduser('~'), os.environb[b'HOME'].hex()]", ["/tmp/é", "2f746d702fc3a9"],
         "preloaded"),
        ({"EMPTY": ""}, "subprocess.run(['/bin/sh', '-c', 'echo \"[$EMPTY$EMPTY]\"'], capture_output=1, text=1).stdout",
         "[]\n", "preloaded"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)  # fmt: skip
async def test_settings_hold_and_those_an_interpreter_takes_at_its_start_take_an_execve(
    engine, tmp_path, variables, expression, expected, how
):
    await warm_up(engine, tmp_path)
    source = f"import os, subprocess, sys, time\ndef handler(event, context): return {expression}\n"
    answer, started = await told(engine, tmp_path, "f", source, environment=variables)
    assert started == how
    assert expected is None or answer == expected


async def test_another_locale_gets_a_zygote_of_its_own(engine, tmp_path):
    await warm_up(engine, tmp_path)
    source = "import locale\ndef handler(event, context): return locale.setlocale(locale.LC_CTYPE)\n"
    variables = {"LC_ALL": "C.UTF-8"}
    answer, how = await told(engine, tmp_path, "one", source, environment=variables)
    assert (answer, how) == ("C.UTF-8", "exec")
    await until_ready(engine.provider, zygotes=2)
    answer, how = await told(engine, tmp_path, "two", source, environment=variables)
    assert (answer, how) == ("C.UTF-8", "preloaded")


@pytest.mark.parametrize("name", ["json.py", "datetime/__init__.py", "base64.py"])
async def test_a_package_with_a_module_by_a_preloaded_name_gets_its_own(engine, tmp_path, name):
    await warm_up(engine, tmp_path)
    module = name.partition("/")[0].removesuffix(".py")
    source = f"import {module}\ndef handler(event, context): return {module}.mine\n"
    assert await told(engine, tmp_path, "f", source, files={name: "mine = 'mine'"}) == ("mine", "exec")


async def test_libraries_of_the_package_are_found_by_the_dynamic_loader(engine, tmp_path):
    found = next(Path("/usr/lib").rglob("libz.so.1*"), None) or next(Path("/lib").rglob("libz.so.1*"), None)
    if found is None:
        unavailable("needs libz")
    await warm_up(engine, tmp_path)
    files = {"lib/libmine.so": found.read_bytes()}
    source = """
import ctypes
def handler(event, context):
    return ctypes.CDLL("libmine.so")._name, [l.split()[-1] for l in open("/proc/self/maps") if "libmine" in l][0]
"""
    answer, how = await told(engine, tmp_path, "f", source, files=files)
    assert (answer, how) == (["libmine.so", "/var/task/lib/libmine.so"], "preloaded")


async def test_chance_is_not_shared(engine, tmp_path):
    await warm_up(engine, tmp_path)
    source = "import random, uuid\ndef handler(event, context): return [random.random(), str(uuid.uuid4())]\n"
    answers = [(await told(engine, tmp_path, f"f{i}", source)) for i in range(3)]
    assert {how for _, how in answers} == {"preloaded"}
    assert len({tuple(answer) for answer, _ in answers}) == len({answer[0] for answer, _ in answers}) == 3


async def test_how_it_ended_is_told(engine, tmp_path):
    await warm_up(engine, tmp_path)
    source = "import os, sys\ndef handler(event, context): sys.exit(7) if event else os.kill(os.getpid(), 9)"
    function = await deploy(engine, tmp_path, "f", source)
    assert "exit status 7" in (await function.invoke(1)).payload.decode()
    assert "signal: killed" in (await function.invoke(0)).payload.decode()


async def test_a_sandbox_takes_one_after_the_other(engine, tmp_path):
    await warm_up(engine, tmp_path)
    (first,) = engine.dispatcher.environments.values()
    sandbox = await engine.provider.acquire("mine", LIMITS)
    spec = await first.deployment.process(sandbox, "stream")
    loop = asyncio.get_running_loop()
    for ended_by in ("signal", "kill", "close"):
        exit_: asyncio.Future[Exit] = loop.create_future()
        process = await sandbox.spawn(spec, exit_.set_result)
        assert process.preloaded
        assert sandbox.pids == [process.pid]
        if ended_by == "signal":
            process.signal(signal.SIGKILL)
        elif ended_by == "kill":
            await sandbox.kill()
        else:
            await sandbox.close()
        with anyio.fail_after(10):
            assert await exit_ == Exit(None, 9)
        os.close(process.output)


async def test_a_package_that_does_not_import_is_told_as_ever(engine, tmp_path):
    await warm_up(engine, tmp_path)
    result = await (await deploy(engine, tmp_path, "f", "import nowhere")).invoke({})
    assert json.loads(result.payload)["errorType"] == "Runtime.ImportModuleError"


async def test_memory_is_the_functions_own(engine, tmp_path):
    await warm_up(engine, tmp_path)
    source = "held = bytearray(60 << 20)\ndef handler(event, context):\n    return (b'x' * (event << 20))[:1].hex()"
    function = await deploy(engine, tmp_path, "f", source)
    assert (await function.invoke(1)).function_error is None
    (environment,) = (e for e in engine.dispatcher.environments.values() if e.deployment.function.name == "f")
    assert environment.started_by == "preloaded"
    assert 60 << 20 < environment.memory_peak() < 80 << 20
    assert "memory" in (await function.invoke(400)).payload.decode().lower()


def zygote_of(engine: Engine) -> psutil.Process:
    """The process of the only zygote."""
    ((_, zygote),) = engine.provider.zygotes._running.items()
    return psutil.Process(zygote.first.pid)


async def test_without_a_zygote_functions_are_executed_until_there_is_another(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.sandbox.namespaces.zygotes.RETRY_SECONDS", 0.5)
    await warm_up(engine, tmp_path)
    source = "def handler(event, context): return 1"
    function = await deploy(engine, tmp_path, "living", source)
    living = await function.invoke({})
    zygote_of(engine).kill()
    with anyio.fail_after(10):
        while engine.provider.zygotes._running:
            await anyio.sleep(0.005)
    assert (await function.invoke({})).environment_id == living.environment_id
    seen = []
    with anyio.fail_after(20):
        while seen[-1:] != ["preloaded"] or "exec" not in seen:
            seen.append((await told(engine, tmp_path, f"f{len(seen)}", source))[1])
            await anyio.sleep(0.05)


@pytest.mark.parametrize("victim", ["spawner", "first process", "waiting process"])
async def test_whoever_is_killed_the_next_function_starts(engine, tmp_path, victim):
    await warm_up(engine, tmp_path)
    if victim == "spawner":
        pids = [engine.provider._spawner.pid]
    elif victim == "first process":
        pids = [blank._first.pid for blank in engine.provider._blanks]
    else:
        pids = [blank.pid for one in engine.provider._blanks for _, blank in one._preloaded.values()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for number in range(4):
        answer, _ = await told(engine, tmp_path, f"f{number}", "def handler(event, context): return 1")
        assert answer == 1


async def test_a_stopped_engine_takes_its_zygote_along(tmp_path):
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        Path(folder).chmod(0o755)
        async with Engine(data_dir=Path(folder) / "data", isolation="sandbox") as engine:
            await warm_up(engine, tmp_path)
            pid = zygote_of(engine).pid
        assert await asyncio.to_thread(gone, pid)


ENGINE = """
import asyncio, pathlib, sys
from engine import Engine
from tests.support.preloading import warm_up
async def main():
    async with Engine(data_dir=pathlib.Path(sys.argv[1]) / "data", isolation="sandbox") as engine:
        await warm_up(engine, pathlib.Path(sys.argv[2]))
        zygotes = [zygote.first.pid for zygote in engine.provider.zygotes._running.values()]
        waiting = [b.pid for one in engine.provider._blanks for _, b in one._preloaded.values()]
        print(*zygotes, *waiting, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_killed_engine_leaves_no_zygote_and_none_of_its_forks(tmp_path):
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        Path(folder).chmod(0o755)
        root = Path(__file__).parents[2]
        arguments = [sys.executable, "-c", ENGINE, folder, str(tmp_path)]
        with subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE, text=True) as running:
            pids = [int(word) for word in running.stdout.readline().split()]
            assert len(pids) >= 2
            assert not any(gone(pid) for pid in pids)
            running.kill()
        for pid in pids:
            eventually(lambda pid=pid: gone(pid), f"process {pid} ends")
        groups = Path(folder, "data", "run", "cgroups").read_text().splitlines()
        eventually(lambda: not any(Path(group).exists() for group in groups), "its control groups go")


def test_which_commands_and_settings_can_be_preloaded():
    command = ["/usr/bin/python3.11", "-S", "-u", "-X", "utf8", "-c", "import bootstrap;bootstrap.main()"]

    def spec(*argv, **env):
        return ProcessSpec(argv=argv or (*command, f"{view.RUNTIME}/python"), env=env, cwd="/var/task")

    key = key_of(spec(LANG="C", HOME="/", TZ="UTC", PYTHONPATH="/x"))
    assert key is not None
    assert dict(key.env) == {"LANG": "C", "PYTHONPATH": "/x"}
    assert key == key_of(spec(PYTHONPATH="/x", LANG="C", OTHER="1"))
    assert key != key_of(spec(PYTHONPATH="/y", LANG="C"))
    assert key_of(spec(LD_PRELOAD="x.so")) is None
    assert key_of(spec(PYTHONSTARTUP="x")) is None
    assert key_of(spec(*command, "/var/task")) is None
    assert key_of(spec("/var/task/bootstrap")) is None
    assert key_of(spec("/var/task/wrapper", *command, f"{view.RUNTIME}/python")) is None
    assert key_of(spec("/opt/python", *command[1:], f"{view.RUNTIME}/python")) is None


def test_a_zygotes_view_leaves_the_hosts_own_names_alone():
    host = view.Host(links={}, folders=("/usr",), etc=frozenset(), devices=("null",))
    plan = view.zygote(host, "/r", "/runtimes", {"/var/lambent": "/x"}, ["/var/task/lib", "/lib64"], None)
    assert not {"proc", "hostname", "loopback"} & set(plan)
    assert plan[-4:] == ["pivot", "seal", "/", "detach"]
    assert "/var/task/lib" in plan
    assert "/lib64" not in plan
