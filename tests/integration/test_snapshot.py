"""SnapStart from a snapshot: Init ran once, and each environment is a copy of what it left, in a sandbox of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from engine import Engine
from engine.errors import AwsError, SnapStartException
from engine.sandbox.api import Image
from engine.store.requests import SnapStart, UpdateFunctionConfigurationRequest
from tests.support.functions import python_function
from tests.support.leaks import leak_check
from tests.support.preloading import need_sandboxes

BASE = """
import os, random, secrets, ssl, tempfile, time, uuid
from snapshot_restore_py import register_after_restore
made = {"token": os.urandom(8).hex(), "pid": os.getpid(), "data": bytes(range(256)) * 20000}
hooks, calls = [], []
register_after_restore(hooks.append, "after")
def told():
    calls.append(1)
    return {
        "token": made["token"], "init_pid": made["pid"], "pid": os.getpid(), "uid": os.getuid(), "calls": len(calls),
        "data": made["data"] == bytes(range(256)) * 20000, "hooks": hooks, "now": time.time(), "since": time.monotonic(),
        "unique": [random.random(), str(uuid.uuid4()), secrets.token_hex(8), ssl.RAND_bytes(8).hex(),
                   os.path.basename(tempfile.mktemp())],
        "groups": open("/proc/self/cgroup").read(), "tmp": os.listdir("/tmp"),
        "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
    }
"""
HANDLER = """
def handler(event, context):
    if event.get("write"):
        open("/tmp/mine", "w").write("x")
    time.sleep(event.get("sleep", 0))
    return {**told(), "stream": [context.log_stream_name, os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]]}
"""


@pytest.fixture(autouse=True)
def tight():
    """Every test leaves nothing behind."""
    need_sandboxes()
    with leak_check():
        yield


@pytest.fixture
async def engine(tight) -> AsyncIterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        Path(folder).chmod(0o755)
        async with Engine(data_dir=Path(folder) / "data", isolation="sandbox", freeze_after_ms=0) as running:
            yield running


async def publish(engine: Engine, tmp_path: Path, source: str, *, memory_mb: int = 256) -> None:
    """A function f of this source, and version 1 of it, which is Active."""
    code = tmp_path / "f"
    if not code.exists():
        python_function(code, source)
    await engine.create_function(
        "f", code=code, runtime="python3.11", handler="app.handler", memory_mb=memory_mb, timeout_s=10
    )
    await engine.registry.update_configuration(
        UpdateFunctionConfigurationRequest(function_name="f", snap_start=SnapStart(apply_on="PublishedVersions"))
    )
    await engine.function("f").publish()
    await until(lambda: engine.registry.get("f", "1").state != "Pending")
    assert engine.registry.get("f", "1").state == "Active", engine.registry.get("f", "1").state_reason


async def until(condition) -> None:
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)


def deployment(engine: Engine):
    pool = engine.dispatcher.pool("f", "1")
    assert pool is not None
    return pool.data


def starts(engine: Engine) -> list[str | None]:
    return [environment.started_by for environment in engine.dispatcher.environments.values()]


async def at_once(engine: Engine, count: int = 2, **event: object) -> list[dict]:
    """As many invocations at the same time, each in an environment of its own."""
    results = await asyncio.gather(*(engine.invoke("f:1", {"sleep": 0.3, **event}) for _ in range(count)))
    return [result.json() for result in results]


async def test_init_ran_once_and_each_environment_is_a_copy_in_a_sandbox_of_its_own(engine, tmp_path):
    await publish(engine, tmp_path, BASE + HANDLER)
    one, two = await at_once(engine, write=True)
    assert starts(engine) == ["restored", "restored"]
    assert one["token"] == two["token"], "made by the one Init that there was"
    assert (one["data"], two["data"]) == (True, True)
    assert [one["hooks"], two["hooks"]] == [["after"]] * 2
    assert [one["calls"], two["calls"]] == [1, 1], "what one changes the other does not see"
    assert one["uid"] != two["uid"]
    assert one["groups"] != two["groups"]
    assert one["init_pid"] == two["init_pid"] not in {one["pid"], two["pid"]}
    assert one["tmp"] == two["tmp"] == ["mine"]
    assert one["stream"][0] == one["stream"][1] != two["stream"][0]
    assert one["descriptors"] == ["0", "1", "2", "3", "4", "5"], "3 is the Runtime API's, 4 is this look, 5 is 1"
    lines = [record.message.partition(" ")[0] for record in engine.log("f").records()]
    assert lines.count("INIT_START") == 1, "when it was published"
    assert lines.count("RESTORE_REPORT") == 2
    (again,) = await at_once(engine, 1)
    assert (again["calls"], again["hooks"]) == (2, ["after"]), "warm"


async def test_copies_are_unique_where_they_must_be_and_know_the_time(engine, tmp_path):
    await publish(engine, tmp_path, BASE + HANDLER)
    copies = await at_once(engine, 3)
    for values in zip(*(copy["unique"] for copy in copies), strict=True):
        assert len(set(values)) == 3, values
    assert all(abs(copy["now"] - copies[0]["now"]) < 5 for copy in copies)
    assert all(abs(copy["since"] - copies[0]["since"]) < 5 for copy in copies)


async def test_the_memory_limit_of_a_copy_is_its_own(engine, tmp_path):
    source = BASE + HANDLER.replace("time.sleep(", "big = bytearray(event.get('mb', 0) << 20)\n    time.sleep(")
    await publish(engine, tmp_path, source)
    quiet, greedy = await asyncio.gather(
        engine.invoke("f:1", {"sleep": 1}), engine.invoke("f:1", {"sleep": 1, "mb": 400}), return_exceptions=True
    )
    assert quiet.function_error is None
    assert quiet.json()["data"]
    assert greedy.function_error == "Unhandled"
    assert b"signal: killed" in greedy.payload


async def test_the_function_has_no_more_rights_as_a_copy(engine, tmp_path):
    source = (
        BASE
        + """
import ctypes
def status():
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in open("/proc/self/status")}
def handler(event, context):
    refused = []
    for path in ("/proc/1/mem", "/proc/1/root", "/proc/1/fd"):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            refused.append(path)
    libc = ctypes.CDLL(None, use_errno=True)
    return [status(), refused, libc.ptrace(16, 1, 0, 0), sorted(p for p in os.listdir("/proc") if p.isdigit())]
"""
    )
    await publish(engine, tmp_path, source)
    status, refused, traced, processes = (await engine.invoke("f:1")).json()
    assert starts(engine) == ["restored"]
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"]) == ("1", "2", "")
    assert refused == ["/proc/1/mem", "/proc/1/root", "/proc/1/fd"]
    assert traced == -1
    assert len(processes) == 2, "itself and the first process of its sandbox"


async def test_with_a_network_of_its_own_a_copy_finds_its_runtime_api(tight, tmp_path):
    async with Engine(isolation="sandbox", network="own") as engine:
        await publish(engine, tmp_path, BASE + HANDLER)
        one, two = await at_once(engine)
        assert starts(engine) == ["restored", "restored"]
        assert one["token"] == two["token"]
        await anyio.sleep(0.1)  # frozen meanwhile
        (again,) = await at_once(engine, 1)
        assert again["calls"] == 2


async def test_connections_are_dead_and_files_are_open_where_they_were(engine, tmp_path):
    source = (
        BASE
        + """
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
listener.close()
file = open(__file__)
first = file.readline(), file.readline()
def handler(event, context):
    try:
        got = client.recv(1).decode()
    except OSError as error:
        got = type(error).__name__
    return [got, file.readline() == open(__file__).readlines()[2], first == tuple(open(__file__).readlines()[:2])]
"""
    )
    await publish(engine, tmp_path, source)
    got, third, before = (await engine.invoke("f:1")).json()
    assert starts(engine) == ["restored"], deployment(engine).image_refused
    assert got in {"", "OSError", "ConnectionResetError", "BrokenPipeError"}
    assert (third, before) == (True, True)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "2 threads"),
        ("import subprocess\nchild = subprocess.Popen(['/bin/sleep', '60'])", "other processes"),
        ("import socket\nsock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "not a TCP connection"),
        ("import socket\nsock = socket.create_server(('127.0.0.1', 0))", "not a TCP connection"),
        ("file = open('/dev/null', 'w')", "is open: /dev/null"),
        ("open('/tmp/x', 'w').close()", "there are files in its /tmp: x"),
        ("import ctypes\nctypes.CDLL(None).semget(0, 1, 0o1600)", "System V objects"),
        ("os.mkdir('/tmp/x')\nos.chdir('/tmp/x')\nos.rmdir('/tmp/x')", "its working directory is gone"),
        ("import select\npoll = select.epoll()", "anon_inode:[eventpoll]"),
        ("import mmap\nshared = mmap.mmap(-1, 4096)", "it shares memory"),
        ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 60)", "it has timers"),
        ("import ctypes\nctypes.CDLL(None).prctl(22, 2, filter())", "a filter of system calls of its own"),
    ],
    ids=[
        "thread",
        "child",
        "datagrams",
        "listener",
        "written-file",
        "tmp",
        "semaphore",
        "gone",
        "epoll",
        "shared-memory",
        "timer",
        "filter",
    ],
)
async def test_what_cannot_be_written_down_is_initialised_and_the_reason_is_told(engine, tmp_path, source, reason):
    helper = """
def filter():
    import ctypes
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    allow = ctypes.create_string_buffer((6).to_bytes(2, "little") + b"\\0\\0" + (0x7FFF0000).to_bytes(4, "little"))
    keep.append(allow)
    program = ctypes.create_string_buffer((1).to_bytes(8, "little") + ctypes.addressof(allow).to_bytes(8, "little"))
    keep.append(program)
    return ctypes.c_void_p(ctypes.addressof(program))
keep = []
"""
    await publish(engine, tmp_path, BASE + helper + source + HANDLER)
    assert deployment(engine).image is None
    assert reason in (deployment(engine).image_refused or "")
    assert (await engine.invoke("f:1", {})).json()["data"]
    (environment,) = engine.dispatcher.environments.values()
    assert environment.started_by != "restored"
    assert f"no snapshot: {deployment(engine).image_refused}" in environment.story()


async def test_memory_is_copied_where_the_package_has_machine_code(engine, tmp_path):
    """Its allocator may take for granted that memory which it gave back is zero."""
    code = python_function(
        tmp_path / "f",
        BASE
        + """
import ctypes
library = ctypes.CDLL(os.path.join(os.environ["LAMBDA_TASK_ROOT"], "libz.so.1"))
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
block = libc.mmap(None, 1 << 20, 3, 0x22, -1, 0)
ctypes.memset(block, 7, 1 << 20)
def handler(event, context):
    before = ctypes.string_at(block + 65536, 1)[0]
    libc.madvise(ctypes.c_void_p(block), 1 << 20, 4)
    return [before, ctypes.string_at(block + 65536, 1)[0], "/image" in open("/proc/self/maps").read()]
""",
    )
    shutil.copy(next(Path("/usr/lib").glob("*/libz.so.1")), code / "libz.so.1")
    await publish(engine, tmp_path, "")
    assert (await engine.invoke("f:1")).json()[:2] == [7, 0]
    assert starts(engine) == ["restored"]


async def test_a_copy_that_dies_is_not_made_again_and_its_caller_hears_nothing_of_it(engine, tmp_path):
    source = (
        BASE
        + """
stream = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
def die_as_a_copy():
    if os.environ["AWS_LAMBDA_LOG_STREAM_NAME"] != stream:
        os.kill(os.getpid(), 11)
register_after_restore(die_as_a_copy)
"""
    )
    await publish(engine, tmp_path, source + HANDLER)
    image = deployment(engine).image
    assert (await engine.invoke("f:1", {})).json()["data"]
    assert image.fd == -1
    assert deployment(engine).images_dropped == 1
    assert "a copy of it ended before it was ready" in deployment(engine).image_refused


async def test_a_hook_that_fails_in_a_copy_is_the_callers_to_hear_and_the_image_stays(engine, tmp_path):
    await publish(engine, tmp_path, BASE + "register_after_restore(int, 'x')" + HANDLER)
    with pytest.raises(SnapStartException, match="afterRestore"):
        await engine.invoke("f:1", {})
    assert deployment(engine).image is not None


async def test_an_engine_that_starts_makes_the_image_when_it_is_first_missed(tight, tmp_path):
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        Path(folder).chmod(0o755)
        async with Engine(data_dir=Path(folder) / "data", isolation="sandbox") as engine:
            await publish(engine, tmp_path, BASE + HANDLER)
        async with Engine(data_dir=Path(folder) / "data", isolation="sandbox") as engine:
            assert deployment(engine).image is None
            await engine.invoke("f:1", {})
            await until(lambda: deployment(engine).image is not None)
            await until(lambda: not engine.preparations.running)
            await at_once(engine)
            assert "restored" in starts(engine)


async def test_the_image_goes_with_its_version(engine, tmp_path):
    await publish(engine, tmp_path, BASE + HANDLER)
    image = deployment(engine).image
    await engine.registry.delete("f")
    await until(lambda: image.fd == -1)


@pytest.mark.parametrize("seed", range(6))
async def test_an_image_that_lies_harms_nobody_else(engine, tmp_path, seed):
    """The tables, registers and mappings in it may be anything: its environment ends, or Init runs, or it works."""
    await publish(engine, tmp_path, BASE + HANDLER)
    revision = deployment(engine)
    chance = random.Random(seed)
    with tempfile.TemporaryFile() as file:
        for offset in range(0, 40 << 20, 1 << 20):
            os.pwrite(file.fileno(), os.pread(revision.image.fd, 1 << 20, offset), offset)
        for _ in range(3 * seed):  # counts, registers, signals, descriptors, areas: the head is dense up to there
            os.pwrite(file.fileno(), chance.randbytes(chance.choice((1, 4, 8))), chance.randrange(8, 20_000))
        if not seed:
            os.pwrite(file.fileno(), b"no image", 0)
        revision.let_image_go()
        revision.image = Image(os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY))
    with contextlib.suppress(AwsError):
        await engine.invoke("f:1", {})
    if not seed:
        assert starts(engine)[-1] != "restored"
        assert "this is no image" in (revision.image_refused or "")
    revision.let_image_go()
    assert (await engine.invoke("f", {})).json()["data"], "the engine and its other environments are as well as ever"
