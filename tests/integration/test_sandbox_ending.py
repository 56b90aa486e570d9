"""Ending things: trees that hide, folders that resist, an engine or a spawner that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import psutil
import pytest

from engine.errors import SandboxError
from engine.sandbox import Exit, ProcessProvider, users
from tests.support.leaks import eventually, gone, leak_check
from tests.support.sandboxes import LIMITS, run, shell

pytest_plugins = ("tests.support.sandbox_fixtures",)

REPOSITORY = Path(__file__).parents[2]

#: Each prints "ready" and the pids that must be gone after a kill.
HIDERS = {
    "child": "sleep 60 & echo $! ready; wait",
    "session": "setsid sh -c 'echo $$ ready; sleep 60' & wait",
    "daemon": "(setsid sh -c '(trap \"\" HUP TERM INT; echo $$ ready; sleep 60) &' &) ; sleep 60",
    "orphan-of-an-exited-runtime": "(setsid sh -c 'echo $$ ready; exec sleep 60' &); exit 0",
    "ignores-signals": "trap '' TERM INT HUP QUIT USR1; echo $$ ready; while :; do sleep 1; done",
    "without-environment": "(env -i setsid /bin/sh -c 'echo $$ ready; exec /bin/sleep 60' &); sleep 60",
    "closed-descriptors": "(setsid sh -c 'echo $$ ready; exec sleep 60 <&- >&- 2>&-' &); sleep 60",
    "stopped": "sh -c 'echo $$ ready; kill -STOP $$; sleep 60' & wait",
}  # fmt: skip


def descendants_alive(pids: set[int]) -> list[int]:
    return [pid for pid in pids if not gone(pid)]


@pytest.mark.parametrize("script", HIDERS.values(), ids=HIDERS.keys())
async def test_kill_ends_whatever_hides(provider: ProcessProvider, script: str) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    watched = await shell(sandbox, script)
    await watched.until(b"ready")
    below = {child.pid for child in psutil.Process(provider._spawner.pid).children(recursive=True)}
    named = {int(word) for word in watched.output.split() if word.isdigit()}
    assert named
    await sandbox.kill()
    assert descendants_alive(named) == []
    assert [pid for pid in descendants_alive(below) if _is_a_program(pid)] == []
    assert watched.exit.done()
    await watched.all()


def _is_a_program(pid: int) -> bool:
    """Not a blank, which is named after the spawner; one that is ending after its work has no name any more."""
    try:
        arguments = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return False
    return bool(arguments) and not any("spawner" in part or "lambent-native" in part for part in arguments)


async def test_kill_catches_a_program_that_forks_and_exits_for_ever(
    provider: ProcessProvider, open_folder: Path
) -> None:
    hop = open_folder / "hop"
    hop.write_text('#!/bin/sh\necho hop $$\nsetsid "$0" &\n')
    hop.chmod(0o755)
    sandbox = await provider.acquire("one", LIMITS)
    watched = await shell(sandbox, f"exec {hop}")
    await watched.until(b"hop")
    while watched.output.count(b"hop") < 5:
        watched.arrived.clear()
        await watched.arrived.wait()
    await sandbox.kill()
    with anyio.fail_after(10):
        await watched.ended.wait()  # nobody holds the pipe: nobody is left
    await watched.all()


async def test_kill_ends_many_daemons_while_they_are_being_made(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    script = "i=0; while [ $i -lt 150 ]; do (setsid sleep 60 &); i=$((i+1)); echo made $i; done; wait"
    watched = await shell(sandbox, script)
    await watched.until(b"made 40")
    await sandbox.kill()
    with anyio.fail_after(10):
        await watched.ended.wait()
    await watched.all()


async def test_kill_of_one_sandbox_leaves_its_neighbours_alone(provider: ProcessProvider) -> None:
    one, two = await provider.acquire("one", LIMITS), await provider.acquire("two", LIMITS)
    first, second = await shell(one, "echo ready; sleep 60"), await shell(two, "echo ready; cat; sleep 60")
    await first.until(b"ready")
    await second.until(b"ready")
    await one.kill()
    assert first.exit.done()
    assert not second.exit.done()
    assert two.pids == [second.process.pid]


async def test_kill_of_an_empty_sandbox_and_kills_at_the_same_time_are_fine(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    await sandbox.kill()
    watched = await shell(sandbox, "sleep 60")
    await asyncio.gather(sandbox.kill(), sandbox.kill(), sandbox.kill())
    assert (await watched.all())[0] == Exit(None, signal.SIGKILL)
    assert (await (await shell(sandbox, "exit 4")).all())[0] == Exit(4)


async def test_a_start_during_a_kill_waits_and_survives_it(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    await shell(sandbox, "sleep 60")
    killing = asyncio.create_task(sandbox.kill())
    await asyncio.sleep(0)
    watched = await shell(sandbox, "echo alive; sleep 60")
    assert killing.done()
    await watched.until(b"alive")
    assert not watched.exit.done()
    await killing


async def test_tmp_is_kept_over_kill_and_gone_after_close(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    folder = Path(sandbox.tmp_dir)
    await (await shell(sandbox, f"echo kept > {folder}/file")).all()
    await sandbox.kill()
    _, output = await (await shell(sandbox, f"cat {folder}/file")).all()
    assert output == b"kept\n"
    await sandbox.close()
    assert not folder.exists()


async def test_close_removes_a_hostile_folder_and_nothing_beside_it(
    provider: ProcessProvider, open_folder: Path
) -> None:
    outside = open_folder / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (outside / "precious").write_text("kept")
    sandbox = await provider.acquire("one", LIMITS)
    script = rf"""cd {sandbox.tmp_dir} || exit 1
        ln -s {outside} link; ln -s / root; ln -s nowhere dangling; ln {outside}/precious hard 2>/dev/null
        mkdir -p closed/inner/deeper; touch closed/file closed/inner/x; chmod 000 closed/inner/deeper closed/inner closed
        mkfifo pipe; touch -- '-rf' 'new
line' ; mkdir '1~' ; touch '1~/2~' '2~'
        mkdir -p sticky; chmod 1777 sticky; touch sticky/x; chmod 0 sticky/x sticky
        mkdir() {{ command mkdir -p d/d/d/d; }}; i=0
        while [ $i -lt 300 ]; do mkdir && cd d/d/d/d || break; i=$((i+1)); done
        chmod 500 .; cd {sandbox.tmp_dir}; chmod 000 .; echo done"""
    how, output = await (await shell(sandbox, script)).all()
    assert (how, output[-5:]) == (Exit(0), b"done\n")
    await sandbox.close()
    assert not Path(sandbox.tmp_dir).exists()
    assert (outside / "precious").read_text() == "kept"


async def test_a_frozen_tree_does_nothing_until_it_is_thawed(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "(setsid sh -c 'while :; do sleep 0.005; echo tick; done' &); sleep 60")
    await watched.until(b"tick")
    await sandbox.freeze()
    with anyio.fail_after(10):
        while {psutil.Process(pid).status() for pid in sandbox.pids} != {psutil.STATUS_STOPPED}:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # what was in the pipe arrives
    before = len(watched.output)
    await asyncio.sleep(0.1)
    assert len(watched.output) == before
    await sandbox.thaw()
    watched.arrived.clear()
    with anyio.fail_after(10):
        await watched.arrived.wait()
    await sandbox.freeze()
    await sandbox.kill()
    assert (await watched.all())[0] == Exit(None, signal.SIGKILL)


async def test_a_killed_spawner_is_told_as_exits_and_replaced(provider: ProcessProvider) -> None:
    one, two = await provider.acquire("one", LIMITS), await provider.acquire("two", LIMITS)
    first = await shell(one, "echo ready; sleep 60")
    second = await shell(two, "(setsid sh -c 'echo $$ ready; sleep 60' &); sleep 60")
    await first.until(b"ready")
    await second.until(b"ready")
    daemon = int(second.output.split()[0])
    old = provider._spawner.pid
    os.kill(old, signal.SIGKILL)
    assert await asyncio.wait_for(first.exit, 10) == Exit(None, signal.SIGKILL)
    assert await asyncio.wait_for(second.exit, 10) == Exit(None, signal.SIGKILL)
    await two.kill()
    assert gone(daemon)
    assert provider._spawner.pid != old
    assert (await (await shell(one, f"touch {one.tmp_dir}/file; exit 5")).all())[0] == Exit(5)
    await provider.acquire("three", LIMITS)
    await one.close()
    await two.close()
    await first.all()
    await second.all()


async def test_a_spawner_killed_in_the_middle_of_starts_loses_none_of_them(provider: ProcessProvider) -> None:
    async def one(number: int) -> str:
        sandbox = await provider.acquire(f"sandbox-{number}", LIMITS)
        how, _ = await (await shell(sandbox, "exit 3")).all()
        return how.describe()

    tasks = [asyncio.create_task(one(number)) for number in range(40)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    os.kill(provider._spawner.pid, signal.SIGKILL)
    with anyio.fail_after(30):
        results = await asyncio.gather(*tasks)
    assert set(results) <= {"exit status 3", "signal: killed"}, results
    sandbox = await provider.acquire("afterwards", LIMITS)
    assert (await (await shell(sandbox, "exit 6")).all())[0] == Exit(6)


async def test_dead_blanks_are_replaced(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    for _ in range(3):
        for pid in provider._spawner._programs.pids:
            with contextlib.suppress(ProcessLookupError):  # the news of the last round's may be on the way
                os.kill(pid, signal.SIGKILL)
        how, _ = await (await shell(sandbox, "exit 8")).all()
        assert how in {Exit(8), Exit(None, signal.SIGKILL)}
    await sandbox.kill()


@pytest.mark.usefixtures("no_leaks", "user_mode")
async def test_stop_ends_running_sandboxes(open_folder: Path) -> None:
    provider = ProcessProvider(open_folder / "run")
    await provider.start()
    runs = []
    for number in range(5):
        sandbox = await provider.acquire(f"sandbox-{number}", LIMITS)
        runs.append(await shell(sandbox, f"(setsid sleep 60 &); touch {sandbox.tmp_dir}/x; echo ready; sleep 60"))
    for watched in runs:
        await watched.until(b"ready")
    await provider.stop()
    for watched in runs:
        assert (await watched.all())[0] == Exit(None, signal.SIGKILL)
    assert list((open_folder / "run" / "tmp").iterdir()) == []
    with pytest.raises(SandboxError, match="not running"):
        await provider.acquire("late", LIMITS)


async def test_two_engines_share_neither_directory_nor_users(
    provider: ProcessProvider, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.sandbox.rundir._LOCK_SECONDS", 0.1)
    with pytest.raises(SandboxError, match="in use by another engine"):
        await ProcessProvider(open_folder / "run").start()
    other = ProcessProvider(open_folder / "other")
    await other.start()
    try:
        theirs, ours = await other.acquire("one", LIMITS), await provider.acquire("one", LIMITS)
        assert theirs.group != ours.group
        watched = await shell(ours, "echo ready; sleep 60")
        await watched.until(b"ready")
        await theirs.kill()
    finally:
        await other.stop()
    assert not watched.exit.done()


@pytest.mark.usefixtures("no_leaks")
async def test_a_directory_that_sandboxes_cannot_reach_is_refused_by_name(open_folder: Path) -> None:
    if await asyncio.to_thread(users.why_not) is not None:
        pytest.skip("sandboxes have no users of their own here")
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SandboxError, match=str(closed)):
        await ProcessProvider(closed / "run").start()
    provider = ProcessProvider(open_folder / "run")
    await provider.start()
    try:
        assert await asyncio.to_thread(provider.reachable, str(closed / "code")) == str(closed)
        assert await asyncio.to_thread(provider.reachable, str(open_folder)) is None
        sandbox = await provider.acquire("one", LIMITS)
        with pytest.raises(SandboxError, match=rf"may not pass {closed}"):
            await run(sandbox, "/bin/true", cwd=str(closed))
    finally:
        await provider.stop()


ENGINE = """
import asyncio, json, os, sys
from pathlib import Path
from engine.sandbox import ProcessProvider, ProcessSpec, SandboxLimits, users

if sys.argv[2] == "shared-user":
    users.why_not = lambda: "the test wants it so"

async def main():
    provider = ProcessProvider(Path(sys.argv[1]))
    await provider.start()
    pids = []
    for number in range(3):
        sandbox = await provider.acquire(f"sandbox-{number}", SandboxLimits(memory_mb=128))
        script = f"(setsid sh -c 'echo $$; exec sleep 300' &); touch {sandbox.tmp_dir}/file; exec sleep 300"
        process = await sandbox.spawn(
            ProcessSpec(argv=["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, cwd="/"), lambda how: None)
        os.set_blocking(process.output, True)
        pids += [process.pid, int(await asyncio.to_thread(os.read, process.output, 100))]
    spawner = provider._spawner.pid
    print(json.dumps({"pids": pids, "spawner": spawner, "address": sandbox.api_address}), flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""


def start_engine(folder: Path, user_mode: str) -> tuple[subprocess.Popen[bytes], dict]:
    """A small engine with three sandboxes, each with a process and a daemon."""
    program = subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(folder), user_mode], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    timer = threading.Timer(40, program.kill)
    timer.start()
    line = program.stdout.readline()
    timer.cancel()
    assert line, "the engine did not start"
    return program, json.loads(line)


def test_a_killed_engine_leaves_nothing(open_folder: Path, user_mode: str) -> None:
    with leak_check():
        program, said = start_engine(open_folder / "run", user_mode)
        program.kill()
        program.wait()
        program.stdout.close()
        eventually(lambda: all(gone(pid) for pid in [*said["pids"], said["spawner"]]), "all processes gone")
        assert list((open_folder / "run" / "tmp").iterdir()) == []


def test_what_a_killed_engine_and_spawner_left_is_removed_at_the_next_start(open_folder: Path, user_mode: str) -> None:
    with leak_check():
        program, said = start_engine(open_folder / "run", user_mode)
        program.send_signal(signal.SIGSTOP)  # neither may notice that the other is gone
        os.kill(said["spawner"], signal.SIGKILL)
        program.kill()
        program.wait()
        program.stdout.close()
        eventually(lambda: gone(said["spawner"]), "the spawner gone")
        eventually(lambda: all(gone(pid) for pid in said["pids"][0::2]), "its own children dead with it")
        daemons = said["pids"][1::2]
        assert not any(gone(pid) for pid in daemons), "there is nothing to find"
        assert list((open_folder / "run" / "tmp").iterdir())

        async def next_engine() -> None:
            provider = ProcessProvider(open_folder / "run")
            await provider.start()
            # At once, unless another engine on this machine has claimed the user ids just now: then it ends them.
            await asyncio.to_thread(eventually, lambda: all(gone(pid) for pid in daemons), "the daemons gone")
            assert len(list((open_folder / "run" / "tmp").iterdir())) == len(provider._spares)
            await provider.stop()

        asyncio.run(next_engine())
        assert list((open_folder / "run" / "tmp").iterdir()) == []


async def test_an_idle_spawner_does_not_wake_up(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "echo ready; sleep 60")
    await watched.until(b"ready")

    def wakeups() -> int:
        status = psutil.Process(provider._spawner.pid).num_ctx_switches()
        return status.voluntary

    with anyio.fail_after(20):
        while True:
            before = wakeups()
            await asyncio.sleep(0.5)
            if wakeups() == before:
                break
