"""Real processes in real sandboxes: what they are given, what is told of them, and what they are not given."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
from pathlib import Path

import anyio
import pytest

from engine.errors import SandboxError
from engine.sandbox import Exit, ProcessProvider, ProcessSpec, SandboxLimits, SpawnFailed
from engine.sandbox.spawner.wire import LOG_FD
from tests.support.sandboxes import LIMITS, run, shell

pytest_plugins = ("tests.support.sandbox_fixtures",)


@pytest.mark.parametrize("code", [0, 1, 2, 127, 255])
async def test_an_exit_code_is_told(provider: ProcessProvider, code: int) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    how, _ = await (await shell(sandbox, f"exit {code}")).all()
    assert how == Exit(code)
    assert how.describe() == f"exit status {code}"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV])
async def test_a_deadly_signal_is_told(provider: ProcessProvider, signum: int) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    how, _ = await (await shell(sandbox, f"kill -{int(signum)} $$")).all()
    assert how == Exit(None, signum)


async def test_a_signal_reaches_the_process_and_an_ended_one_ignores_it(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    await watched.until(b"ready")
    watched.process.signal(signal.SIGTERM)
    how, _ = await watched.all()
    assert how == Exit(7)
    watched.process.signal(signal.SIGKILL)


async def test_the_environment_is_exactly_what_was_given(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    env = {"A": "1", "EMPTY": "", "WITH_EQUALS": "a=b=c", "TEXT": "grüße\nzwei", "RAW": os.fsdecode(b"\xff\xfe")}
    _, output = await (await run(sandbox, "/usr/bin/env", "-0", env=env)).all()
    assert sorted(output.split(b"\0")[:-1]) == sorted(os.fsencode(f"{name}={value}") for name, value in env.items())


async def test_an_environment_and_arguments_beyond_a_socket_buffer_arrive(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    env = {f"VARIABLE_{number}": "x" * 100_000 for number in range(5)}
    argv = [
        "/bin/sh",
        "-c",
        'echo ${#VARIABLE_0} ${#VARIABLE_4} $# ${#1} "$3"',
        "sh",
        "y" * 100_000,
        "z" * 90_000,
        "end",
    ]
    how, output = await (await run(sandbox, *argv, env=env)).all()
    assert (how, output) == (Exit(0), b"100000 100000 3 100000 end\n")


async def test_arguments_beyond_the_systems_limit_are_refused_with_its_error(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    with pytest.raises(SpawnFailed) as caught:
        await run(sandbox, "/bin/true", "x" * 300_000)
    assert caught.value.errno == errno.E2BIG


@pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}])
async def test_an_impossible_environment_is_refused_before_anything_starts(provider: ProcessProvider, env) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    with pytest.raises(SandboxError):
        await run(sandbox, "/bin/true", env=env)
    assert sandbox.pids == []


async def test_the_working_directory_is_the_given_one(provider: ProcessProvider, open_folder: Path) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    _, output = await (await shell(sandbox, "pwd -P", cwd=str(open_folder))).all()
    assert output.decode().strip() == str(open_folder.resolve())


async def test_a_missing_working_directory_is_the_hosts_error_and_named(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    with pytest.raises(SandboxError, match=r"/nowhere.*No such file"):
        await run(sandbox, "/bin/true", cwd="/nowhere")


async def test_a_missing_program_fails_as_exec_does(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    with pytest.raises(SpawnFailed) as caught:
        await run(sandbox, "/var/task/bootstrap")
    assert str(caught.value) == "fork/exec /var/task/bootstrap: no such file or directory"
    assert caught.value.errno == errno.ENOENT


def _file(folder: Path, name: str, content: bytes, mode: int) -> str:
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("content", "mode", "number", "words", "note"),
    [
        (b"#!/bin/sh\n", 0o644, errno.EACCES, "permission denied", "mode 0644"),
        (b"garbage\x00\x01\x02", 0o755, errno.ENOEXEC, "exec format error", "garb"),
        (b"", 0o755, errno.ENOEXEC, "exec format error", "b''"),
        (b"#!/no/such/interpreter -x\n", 0o755, errno.ENOENT, "no such file or directory", "/no/such/interpreter"),
    ],
    ids=["not-executable", "garbage", "empty", "no-interpreter"],
)
async def test_a_program_that_cannot_be_executed_fails_with_the_reason(
    provider: ProcessProvider, open_folder: Path, content: bytes, mode: int, number: int, words: str, note: str
) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    path = _file(open_folder, "bootstrap", content, mode)
    with pytest.raises(SpawnFailed) as caught:
        await run(sandbox, path)
    assert (caught.value.errno, caught.value.strerror) == (number, words)
    assert note in "".join(caught.value.__notes__)
    assert sandbox.pids == []


async def test_a_program_for_another_machine_fails_as_exec_does(provider: ProcessProvider, open_folder: Path) -> None:
    header = bytearray(Path("/bin/true").read_bytes()[:4096])
    header[18:20] = (0xFFFE).to_bytes(2, "little")  # e_machine
    sandbox = await provider.acquire("one", LIMITS)
    with pytest.raises(SpawnFailed) as caught:
        await run(sandbox, _file(open_folder, "bootstrap", bytes(header), 0o755))
    assert caught.value.errno == errno.ENOEXEC


async def test_a_failed_start_leaves_the_sandbox_usable(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    for _ in range(10):
        with pytest.raises(SpawnFailed):
            await run(sandbox, "/no/such/program")
    how, output = await (await shell(sandbox, "echo fine")).all()
    assert (how, output) == (Exit(0), b"fine\n")


async def test_nothing_of_the_engine_is_open_in_the_process(provider: ProcessProvider) -> None:
    others = [await provider.acquire(f"other-{number}", LIMITS) for number in range(5)]
    running = [await shell(other, "echo ready; read nothing_comes; sleep 60") for other in others[:2]]
    sandbox = await provider.acquire("one", LIMITS)
    _, output = await (await run(sandbox, "/bin/ls", "-l", "/proc/self/fd")).all()
    links = dict(line.split()[-3::2] for line in output.decode().splitlines() if "->" in line)
    assert links.pop("0") == "/dev/null"
    assert links.pop("1") == links.pop("2") == links.pop(str(LOG_FD))
    assert [what.rpartition("/")[2] for what in links.values()] == ["fd"]  # what ls itself has open
    assert running


async def test_stdout_and_stderr_keep_the_order_in_which_the_program_wrote(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    script = "i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
    _, output = await (await shell(sandbox, script)).all()
    assert output.decode().splitlines() == [f"{stream} {number}" for number in range(200) for stream in ("out", "err")]


async def test_large_output_arrives_whole_after_the_process_has_ended(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    how, output = await (await shell(sandbox, "head -c 5000000 /dev/zero")).all()
    assert how == Exit(0)
    assert len(output) == 5_000_000


async def test_limits_signals_and_session_are_as_in_lambda(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", SandboxLimits(memory_mb=128, open_files=777, processes=99))
    script = "cat /proc/self/limits /proc/self/status; umask; echo session $(cut -d' ' -f6 /proc/$$/stat) $$"
    _, output = await (await shell(sandbox, script)).all()
    text = output.decode()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines() if line.startswith("Max ")}
    assert limits["Max open files"] == ["777", "777"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max stack size"][0] == str(8 * 1024 * 1024)
    assert limits["Max locked memory"] == ["65536", "65536"]
    if sandbox.user is not None:
        assert limits["Max processes"] == ["99", "99"]
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert int(status["SigBlk"], 16) == 0
    # The C library keeps signals 32 and 33 for itself: what a distant ancestor ignored there cannot be undone.
    assert int(status["SigIgn"], 16) & ~(0b11 << 31) == 0
    assert "\n0022\n" in text
    session, shell_pid = text.split("session ")[1].split()
    assert session == shell_pid


async def test_with_users_of_their_own_functions_are_nobody(provider: ProcessProvider, open_folder: Path) -> None:
    secret = open_folder / "secret"
    secret.mkdir(mode=0o700)
    (secret / "file").write_text("secret")
    first, second = await provider.acquire("one", LIMITS), await provider.acquire("two", LIMITS)
    if first.user is None or second.user is None:
        assert any(line.startswith("user: ") for line in provider.weaknesses())
        return
    script = (
        f"id -u; id -g; id -G; cat {secret}/file; ls {second.tmp_dir}; cat /proc/1/environ; grep Cap /proc/$$/status"
    )
    _, output = await (await shell(first, script)).all()
    text = output.decode()
    assert text.splitlines()[:3] == [str(first.user)] * 3
    assert text.count("ermission denied") == 3
    capabilities = [int(line.split()[1], 16) for line in text.splitlines() if line.startswith(("CapPrm", "CapEff"))]
    assert capabilities == [0, 0]
    assert first.user != second.user


async def test_a_process_sees_its_paths_and_can_write_to_its_tmp(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    paths = sandbox.paths("/some/code")
    assert (paths.task_root, paths.runtime_dir, paths.tmp) == ("/some/code", "/var/runtime", sandbox.tmp_dir)
    how, _ = await (await shell(sandbox, "echo hello > $TMPDIR/file", env={"TMPDIR": paths.tmp})).all()
    assert how == Exit(0)
    assert (Path(sandbox.tmp_dir) / "file").read_text() == "hello\n"
    assert stat.S_IMODE(Path(sandbox.tmp_dir).stat().st_mode) == 0o700


async def test_the_endpoint_is_the_sandboxes_own_and_reachable_from_inside(provider: ProcessProvider) -> None:
    one, two = await provider.acquire("one", LIMITS), await provider.acquire("two", LIMITS)
    assert one.api_address != two.api_address
    assert one.listener.getblocking() is False
    reader, writer = await asyncio.open_connection(*one.api_address.split(":"))
    accepted, peer = await asyncio.get_running_loop().sock_accept(one.listener)
    assert peer == writer.get_extra_info("sockname")
    accepted.close()
    writer.close()
    await writer.wait_closed()
    assert reader


async def test_the_exit_is_told_once_and_after_spawn_has_returned(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    for _ in range(30):
        told: list[Exit] = []
        event = asyncio.Event()

        def on_exit(how: Exit, told: list[Exit] = told, event: asyncio.Event = event) -> None:
            told.append(how)
            event.set()

        process = await sandbox.spawn(ProcessSpec(argv=["/bin/true"], env={}, cwd="/"), on_exit)
        assert told == []
        os.close(process.output)
        with anyio.fail_after(10):
            await event.wait()
        assert told == [Exit(0)]
    await sandbox.kill()


async def test_peak_memory_is_unknown_before_and_known_after_a_process(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    assert sandbox.memory_peak() is None
    watched = await shell(
        sandbox, "x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo ${#x}; read nothing_comes; sleep 60"
    )
    await watched.until(b"30000000")
    peak = sandbox.memory_peak()
    assert peak is not None
    assert 30_000_000 < peak < 300_000_000
    await sandbox.kill()
    after = sandbox.memory_peak()
    assert after is not None
    assert after >= peak


async def test_a_hundred_sandboxes_at_once(provider: ProcessProvider) -> None:
    async def one(number: int) -> tuple[Exit, bytes]:
        sandbox = await provider.acquire(f"sandbox-{number}", LIMITS)
        result = await (await shell(sandbox, f"echo {number} $TMPDIR", env={"TMPDIR": sandbox.tmp_dir})).all()
        if number % 2:
            await sandbox.close()
        return result

    results = await asyncio.gather(*(one(number) for number in range(100)))
    assert [how for how, _ in results] == [Exit(0)] * 100
    assert [int(output.split()[0]) for _, output in results] == list(range(100))
    assert len({output.split()[1] for _, output in results}) == 100
    assert len(provider.sandboxes) == 50


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 129, "nul\0"])
async def test_a_sandbox_id_that_could_be_a_path_is_refused(provider: ProcessProvider, name: str) -> None:
    with pytest.raises(SandboxError):
        await provider.acquire(name, LIMITS)


async def test_an_id_is_unique_among_the_open_sandboxes(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    with pytest.raises(SandboxError, match="already"):
        await provider.acquire("one", LIMITS)
    await sandbox.close()
    await provider.acquire("one", LIMITS)


async def test_a_closed_sandbox_starts_nothing_and_closes_again(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    await sandbox.close()
    await sandbox.close()
    await sandbox.kill()
    with pytest.raises(SandboxError, match="closed"):
        await run(sandbox, "/bin/true")


async def test_a_cancelled_start_leaves_no_process(provider: ProcessProvider) -> None:
    sandbox = await provider.acquire("one", LIMITS)
    for turns in range(8):
        task = asyncio.create_task(run(sandbox, "/bin/sleep", "60"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            watched = task.result()
            watched.process.signal(signal.SIGKILL)
            await watched.all()
    await sandbox.kill()
    assert sandbox.pids == []
