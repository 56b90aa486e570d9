"""`process` mode holds its limits: real processes that take too much, and ones that do not."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import psutil
import pytest

from engine.sandbox import Exit, ProcessProvider, SandboxLimits
from engine.sandbox.process_sandbox import ProcessSandbox
from tests.support.functions import PYTHON
from tests.support.leaks import gone, threads_of_ours
from tests.support.sandboxes import Run, run, shell

pytest_plugins = ("tests.support.sandbox_fixtures",)

MIB = 1024 * 1024
OVER_MEMORY = Exit(None, 9, "memory")

#: Takes memory for ever, 4 MiB at a time, touching each page; waits for a moment so that a test is kind to the machine.
TAKES_MEMORY = """
import mmap, time
def take():
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        for page in range(0, 4 << 20, 4096): kept[-1][page] = 1
        if len(kept) > 500: time.sleep(99)
"""
IN_ROOT = "take()"
IN_CHILD = """
import os
if not os.fork(): take()
os.wait(); time.sleep(99)
"""
IN_DAEMON = """
import os
if not os.fork():
    os.setsid()
    if not os.fork():
        print("daemon", os.getpid(), flush=True)
        take()
    os._exit(0)
os.wait(); time.sleep(99)
"""
IN_MANY = """
import os
for _ in range(8):
    if not os.fork():
        kept = bytearray(30 << 20)
        for page in range(0, 30 << 20, 4096): kept[page] = 1
        time.sleep(99)
time.sleep(99)
"""
IN_SHARED_MEMORY = """
shared = mmap.mmap(-1, 1 << 30)
for page in range(0, 1 << 30, 4096): shared[page] = 1
time.sleep(99)
"""
SPINS = "while True: pass"
SPINS_TWICE = "import threading, os\nif not os.fork():\n  while True: pass\nwhile True: pass"


def limits(
    memory_mb: int = 128, *, cpu_share: float = 100.0, processes: int = 1024, storage_mb: int = 512
) -> SandboxLimits:
    return SandboxLimits(memory_mb=memory_mb, cpu_share=cpu_share, processes=processes, ephemeral_storage_mb=storage_mb)


async def python(sandbox: ProcessSandbox, code: str) -> Run:
    return await run(sandbox, PYTHON, "-I", "-S", "-c", code)


async def end(watched: Run) -> Exit:
    """Wait for the exit and all output of a process that may have left its pipe to others."""
    with anyio.fail_after(30):
        how = await watched.exit
        await watched.ended.wait()
    return how


@pytest.fixture
async def victim(provider: ProcessProvider) -> AsyncIterator[Run]:
    """A neighbour within its limits, which must still be there after the test."""
    sandbox = await provider.acquire("victim", limits())
    watched = await shell(sandbox, "echo here; while :; do sleep 0.05; done")
    await watched.until(b"here")
    sandbox.initialized()
    yield watched
    assert not watched.exit.done()
    assert not watched.ended.is_set()


@pytest.mark.parametrize(
    "where",
    [IN_ROOT, IN_CHILD, IN_DAEMON, IN_MANY, IN_SHARED_MEMORY],
    ids=["root", "child", "daemonised-grandchild", "many-children", "shared-memory"],
)
async def test_a_tree_over_its_memory_is_killed_as_one_and_says_why(
    provider: ProcessProvider, victim: Run, where: str
) -> None:
    sandbox = await provider.acquire("one", limits(128))
    watched = await python(sandbox, TAKES_MEMORY + where)
    assert await end(watched) == OVER_MEMORY
    peak = sandbox.memory_peak()
    assert peak is not None
    assert 128 * MIB < peak < 512 * MIB
    await sandbox.kill()
    named = [int(word) for word in watched.output.split() if word.isdigit()]
    assert [pid for pid in named if not gone(pid)] == []


async def test_below_the_limit_nothing_happens_and_memory_shared_by_fork_counts_once(
    provider: ProcessProvider,
) -> None:
    """Four processes with the same 60 MiB each: 240 by their resident sets, 60 in truth."""
    code = """
import os, time
kept = bytearray(60 << 20)
for page in range(0, 60 << 20, 4096): kept[page] = 1
for number in range(3):
    if not os.fork(): break
end = time.monotonic() + 0.4
while time.monotonic() < end: pass
print("done", flush=True)
time.sleep(99)
"""
    sandbox = await provider.acquire("one", limits(128))
    watched = await python(sandbox, code)
    with anyio.fail_after(20):
        while watched.output.count(b"done") < 4:
            watched.arrived.clear()
            await watched.arrived.wait()
    assert not watched.exit.done()
    peak = sandbox.memory_peak()
    assert peak is not None
    assert 60 * MIB < peak < 128 * MIB


async def test_the_next_tree_in_the_sandbox_starts_anew(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(128))
    for _ in range(3):
        watched = await python(sandbox, TAKES_MEMORY + IN_ROOT)
        assert await end(watched) == OVER_MEMORY
        how, output = await (await shell(sandbox, "echo fine")).all()  # without a kill by anybody in between
        assert (how, output) == (Exit(0), b"fine\n")
    after = sandbox.memory_peak()
    assert after is not None
    assert after < 64 * MIB


async def test_a_process_that_is_killed_by_others_was_not_over_any_limit(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(128))
    watched = await shell(sandbox, "kill -9 $$")
    assert await end(watched) == Exit(None, 9)


def consumed(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        total += times.user + times.system
    return total


async def granted(pids: list[int], seconds: float = 1.5) -> float:
    """CPU time in relation to the time that passed."""
    before, then = consumed(pids), time.monotonic()
    await asyncio.sleep(seconds)
    return (consumed(pids) - before) / (time.monotonic() - then)


@pytest.mark.parametrize("code", [SPINS, SPINS_TWICE], ids=["one-process", "two-processes"])
@pytest.mark.parametrize("share", [0.1, 0.3])
async def test_a_spinner_gets_about_its_share(provider: ProcessProvider, code: str, share: float) -> None:
    sandbox = await provider.acquire("one", limits(cpu_share=share))
    watched = await python(sandbox, f"print('on', flush=True)\n{code}")
    await watched.until(b"on")
    sandbox.initialized()
    await asyncio.sleep(0.3)
    parent = psutil.Process(watched.process.pid)
    pids = [parent.pid, *[child.pid for child in parent.children()]]
    assert share * 0.5 < await granted(pids) < share * 1.5
    await sandbox.kill()


async def test_init_has_all_the_cpu_it_wants(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(cpu_share=0.05))
    watched = await python(sandbox, f"print('on', flush=True)\n{SPINS}")
    await watched.until(b"on")
    assert await granted([watched.process.pid], 0.5) > 0.15
    await sandbox.kill()
    watched = await python(sandbox, f"print('on', flush=True)\n{SPINS}")  # so has the one after a reset
    await watched.until(b"on")
    sandbox.initialized()
    assert await granted([watched.process.pid], 0.5) < 0.15
    await sandbox.kill()
    watched = await python(sandbox, f"print('on', flush=True)\n{SPINS}")
    await watched.until(b"on")
    assert await granted([watched.process.pid], 0.5) > 0.15
    await sandbox.kill()


def _stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


async def test_a_process_within_its_share_is_never_stopped(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(cpu_share=0.5))
    code = """
import signal, time
told = []
signal.signal(signal.SIGCONT, lambda *_: told.append(1))
for _ in range(60):
    end = time.process_time() + 0.002
    while time.process_time() < end: pass
    time.sleep(0.02)
print("continued", len(told), flush=True)
"""
    watched = await python(sandbox, code)
    sandbox.initialized()
    _, output = await watched.all()
    assert output == b"continued 0\n"


async def test_a_frozen_spinner_stays_frozen_and_a_thawed_one_keeps_to_its_share(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(cpu_share=0.3))
    watched = await python(sandbox, f"print('on', flush=True)\n{SPINS}")
    await watched.until(b"on")
    sandbox.initialized()
    pid = watched.process.pid
    for _ in range(8):  # at whatever point of the cycle
        await asyncio.sleep(0.03)
        await sandbox.freeze()
        await asyncio.sleep(0.03)
        before = consumed([pid])
        await asyncio.sleep(0.15)
        assert _stopped(pid)
        assert consumed([pid]) == before
        await sandbox.thaw()
    await asyncio.sleep(0.2)
    assert 0.1 < await granted([pid]) < 0.45
    await sandbox.kill()


async def test_a_process_that_stops_itself_is_not_continued(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(cpu_share=0.3))
    code = f"""
import os, signal
if not (pid := os.fork()):
    print("child", os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    print("continued", flush=True)
{SPINS}
"""
    watched = await python(sandbox, code)
    await watched.until(b"child")
    sandbox.initialized()
    child = int(watched.output.split()[1])
    await asyncio.sleep(0.8)
    assert _stopped(child)
    assert b"continued" not in watched.output
    await sandbox.kill()


async def test_idle_sandboxes_cost_nothing(provider: ProcessProvider) -> None:
    sandboxes = [await provider.acquire(f"idle-{number}", limits(cpu_share=0.1)) for number in range(10)]
    for sandbox in sandboxes:
        watched = await python(sandbox, "print('on', flush=True); import time; time.sleep(99)")
        await watched.until(b"on")
        sandbox.initialized()
    await asyncio.sleep(0.5)
    looks, wakes = provider.monitor.looks, provider.monitor.wakes
    await asyncio.sleep(1.0)
    if sys.platform == "linux":
        assert provider.monitor.looks == looks
    assert provider.monitor.wakes - wakes <= 20  # whether there are new processes, ten times a second
    for sandbox in sandboxes:
        await sandbox.freeze()
    await asyncio.sleep(0.3)
    wakes = provider.monitor.wakes
    await asyncio.sleep(1.0)
    assert provider.monitor.wakes == wakes


async def test_more_processes_than_allowed_are_not_to_be_had(provider: ProcessProvider, victim: Run) -> None:
    """With a user of its own the kernel refuses them (RLIMIT_NPROC); without, the tree is killed for it."""
    sandbox = await provider.acquire("one", limits(512, processes=40))
    code = """
import os, time
try:
    for _ in range(300):
        if not os.fork(): time.sleep(99)
except OSError as error:
    print("refused", error.errno, flush=True)
    os.kill(os.getpid(), 9)
time.sleep(99)
"""
    watched = await python(sandbox, code)
    with anyio.fail_after(30):
        how = await watched.exit
    if sandbox.user is not None:
        assert (how, bytes(watched.output)) == (Exit(None, 9), b"refused 11\n")
    else:
        assert how == Exit(None, 9, "processes")
    await sandbox.kill()
    await watched.all()


async def test_threads_are_counted_as_processes(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(512, processes=40))
    code = """
import os, threading, time
try:
    for _ in range(100): threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
except RuntimeError as error:
    print("refused", flush=True)
    os.kill(os.getpid(), 9)
end = time.monotonic() + 20
while time.monotonic() < end: pass
"""
    watched = await python(sandbox, code)
    how = await end(watched)
    assert how == (Exit(None, 9) if sandbox.user is not None else Exit(None, 9, "processes"))


FILLS = """
import os, sys, time
def fill(size, count):
    for number in range(count):
        with open(f"{sys.argv[1]}/file{number}", "wb") as file:
            for _ in range(size): file.write(bytes(1 << 20))
    end = time.monotonic() + 20
    while time.monotonic() < end: pass
"""


async def test_a_tmp_over_its_size_ends_the_tree_and_may_be_emptied_by_the_next(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(512, storage_mb=16))
    watched = await run(sandbox, PYTHON, "-I", "-S", "-c", FILLS + "fill(4, 8)", sandbox.tmp_dir)
    assert await end(watched) == Exit(None, 9, "storage")
    code = """
import os, sys, time
end = time.monotonic() + 0.5
while time.monotonic() < end: pass
for name in os.listdir(sys.argv[1]): os.unlink(f"{sys.argv[1]}/{name}")
print("emptied", flush=True)
"""
    how, output = await (await run(sandbox, PYTHON, "-I", "-S", "-c", code, sandbox.tmp_dir)).all()
    assert (how, output) == (Exit(0), b"emptied\n")
    watched = await run(sandbox, PYTHON, "-I", "-S", "-c", FILLS + "fill(4, 8)", sandbox.tmp_dir)
    assert await end(watched) == Exit(None, 9, "storage")


async def test_many_empty_files_are_not_free(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(512, storage_mb=8))
    watched = await run(sandbox, PYTHON, "-I", "-S", "-c", FILLS + "fill(0, 4000)", sandbox.tmp_dir)
    assert await end(watched) == Exit(None, 9, "storage")


async def test_a_single_file_cannot_be_larger_than_tmp(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", limits(512, storage_mb=4))
    code = """
import sys
try:
    with open(f"{sys.argv[1]}/file", "wb") as file: file.truncate(5 << 20)
except OSError as error:
    print(error.errno, flush=True)
"""
    how, output = await (await run(sandbox, PYTHON, "-I", "-S", "-c", code, sandbox.tmp_dir)).all()
    assert (how, output) == (Exit(0), b"27\n")  # EFBIG; Python ignores SIGXFSZ
    how, _ = await (await shell(sandbox, f"exec head -c 5000000 /dev/zero > {sandbox.tmp_dir}/other")).all()
    assert how in {Exit(None, int(signal.SIGXFSZ), "storage"), Exit(1)}


async def test_a_program_that_forks_and_exits_for_ever_is_held_too(
    provider: ProcessProvider, open_folder: Path, victim: Run
) -> None:
    """No process of it lives long, and each has taken a little more than the one before."""
    code = """
import os, time
kept = []
while True:
    kept.append(bytearray(8 << 20))
    for page in range(0, 8 << 20, 4096): kept[-1][page] = 1
    if len(kept) > 200: time.sleep(99)
    if os.fork(): os._exit(0)
    os.setsid()
"""
    sandbox = await provider.acquire("one", limits(128))
    watched = await python(sandbox, f"import os, time\nif not os.fork():\n  exec({code!r})\ntime.sleep(99)")
    assert await end(watched) == OVER_MEMORY
    await sandbox.kill()


async def test_the_monitor_ends_with_its_engine(open_folder: Path, no_leaks: None, user_mode: str) -> None:
    before = threads_of_ours()
    provider = ProcessProvider(open_folder / "run")
    await provider.start()
    assert {thread.name for thread in threads_of_ours() - before} == {"lambent-monitor", "lambent-storage"}
    sandbox = await provider.acquire("one", limits(cpu_share=0.1))
    watched = await python(sandbox, SPINS)
    sandbox.initialized()
    await asyncio.sleep(0.2)
    await provider.stop()
    assert watched.exit.done()
    await watched.all()
    assert threads_of_ours() <= before
    assert gone(watched.process.pid)
