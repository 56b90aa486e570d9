"""Sandboxes of namespaces and control groups, one at a time: what is inside, what holds, what is left."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import anyio
import psutil
import pytest

from engine.errors import SandboxError
from engine.sandbox import Exit, NamespaceProvider, ProcessSpec, SandboxLimits, SpawnFailed
from tests.support.leaks import gone
from tests.support.sandboxes import LIMITS, Run, shell

pytest_plugins = ("tests.support.namespace_fixtures",)


async def ran(sandbox, script: str, **options) -> str:
    """The output of a shell script that has to succeed."""
    how, output = await (await shell(sandbox, script, **options)).all()
    assert how == Exit(0), output.decode()
    return output.decode()


async def test_the_view_has_the_systems_programs_and_nothing_else_of_the_host(
    namespace_provider: NamespaceProvider,
) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    listing = (await ran(sandbox, "ls -A /; ls -A /home /work /root /run /sys /boot 2>&1 || true")).split()
    assert {"usr", "etc", "dev", "proc", "tmp", "var", "opt", "bin", "lib"} <= set(listing)
    assert not {"home", "work", "boot", "sys", "run", "mnt", "media", "srv"} & set(listing[: listing.index("var") + 1])
    assert "shadow" not in await ran(sandbox, "ls /etc")
    assert await ran(sandbox, "cat /var/runtime/marker") == "here\n"
    assert (await ran(sandbox, "ls /dev")).split() == [
        "fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero",
    ]  # fmt: skip


async def test_everything_but_tmp_is_read_only(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    script = "for d in / /usr /etc /var /var/task /opt /var/runtime /dev /root; do touch $d/x 2>/dev/null && echo $d; done; true"
    assert await ran(sandbox, script) == ""
    assert await ran(sandbox, "echo kept > /tmp/x; cat /tmp/x") == "kept\n"


async def test_the_user_is_the_sandboxs_own_without_any_capability(namespace_provider: NamespaceProvider) -> None:
    first, second = await namespace_provider.acquire("one", LIMITS), await namespace_provider.acquire("two", LIMITS)
    users = {await ran(sandbox, "id -u; id -un") for sandbox in (first, second)}
    assert len(users) == (1 if namespace_provider.rootless else 2), "without root, all are the engine's user, mapped"
    assert all("sbx_user1051" in user for user in users)
    status = await ran(first, "cat /proc/self/status")
    lines = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("Cap", "NoNew", "Seccomp:")))
    assert {name: value for name, value in lines.items() if name.startswith("Cap")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000"
    )
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")


async def test_only_the_sandboxs_own_processes_are_seen(namespace_provider: NamespaceProvider) -> None:
    other = await namespace_provider.acquire("other", LIMITS)
    running = await shell(other, "echo ready; sleep 60")
    await running.until(b"ready")
    sandbox = await namespace_provider.acquire("one", LIMITS)
    seen = (await ran(sandbox, "ls /proc | grep -E '^[0-9]+$' | wc -l")).strip()
    assert int(seen) <= 5
    await other.kill()
    assert (await running.all())[0] == Exit(None, signal.SIGKILL)


async def test_the_code_is_shown_at_its_place(namespace_provider: NamespaceProvider, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir(mode=0o755)
    (code / "app").write_text("hello\n")
    sandbox = await namespace_provider.acquire("one", LIMITS)
    loop = asyncio.get_running_loop()
    exit_: asyncio.Future[Exit] = loop.create_future()
    spec = ProcessSpec(argv=["/bin/cat", "app"], env={}, cwd="/var/task", folders={"/var/task": str(code)})
    watched = Run(await sandbox.spawn(spec, exit_.set_result), exit_)
    loop.add_reader(watched.process.output, watched._readable)
    assert await watched.all() == (Exit(0), b"hello\n")
    with pytest.raises(ValueError, match="nothing can be shown at /etc"):
        other = await namespace_provider.acquire("two", LIMITS)
        await other.spawn(ProcessSpec(argv=["/bin/true"], env={}, cwd="/", folders={"/etc": str(code)}), print)


async def test_what_cannot_be_executed_says_why_and_the_sandbox_lives_on(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    with pytest.raises(SpawnFailed, match="fork/exec /nothing: no such file or directory"):
        await sandbox.spawn(ProcessSpec(argv=["/nothing"], env={}, cwd="/"), print)
    with pytest.raises(SandboxError, match="entering /nowhere"):
        await sandbox.spawn(ProcessSpec(argv=["/bin/true"], env={}, cwd="/nowhere"), print)
    with pytest.raises(SandboxError, match="NUL"):
        await sandbox.spawn(ProcessSpec(argv=["/bin/true", "a\0b"], env={}, cwd="/"), print)
    big = {f"NAME_{number}": "x" * 1000 for number in range(90)}
    assert await ran(sandbox, "env | grep -c ^NAME_", env=big) == "90\n"
    with pytest.raises(SpawnFailed, match="argument list too long"):
        await sandbox.spawn(ProcessSpec(argv=["/bin/true", "x" * 200_000], env={}, cwd="/"), print)


async def test_tmp_survives_a_kill_and_processes_do_not(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "echo mark > /tmp/mark; (setsid sleep 99 &) ; trap '' TERM; echo ready; sleep 98")
    await watched.until(b"ready")
    await sandbox.kill()
    assert watched.exit.result() == Exit(None, signal.SIGKILL), "the exit has been told when kill returns"
    assert await ran(sandbox, "cat /tmp/mark; ls /proc | grep -cE '^[0-9]+$'") == "mark\n4\n"


async def test_memory_is_limited_and_running_out_of_it_ends_everything(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    eat = "python3 -c \"b=bytearray(); \nwhile True: b += b'x' * (1 << 20)\""
    watched = await shell(sandbox, f"sleep 97 & {eat} & echo started; wait")
    how, _ = await watched.all()
    assert how == Exit(None, signal.SIGKILL, "memory")
    peak = sandbox.memory_peak()
    assert peak is not None
    assert 100 << 20 < peak <= 128 << 20
    await sandbox.kill()
    assert await ran(sandbox, "echo again") == "again\n"


async def test_another_kill_is_not_taken_for_want_of_memory(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    assert (await (await shell(sandbox, "kill -9 $$")).all())[0] == Exit(None, signal.SIGKILL)


async def test_tmp_is_full_at_its_size(namespace_provider: NamespaceProvider) -> None:
    if namespace_provider.disks is None:
        pytest.skip("there are no disks of a hard size here")
    sandbox = await namespace_provider.acquire("one", SandboxLimits(memory_mb=256, ephemeral_storage_mb=64))
    output = await ran(
        sandbox, "df -m --output=avail /tmp | tail -1; head -c 80m /dev/zero > /tmp/big; wc -c < /tmp/big"
    )
    available, written = map(int, output.split()[:1] + output.split()[-1:])
    assert 64 <= available <= 66
    assert 63 << 20 <= written <= 66 << 20
    assert "No space left on device" in output


async def test_processes_are_limited(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", SandboxLimits(memory_mb=256, processes=20))
    watched = await shell(sandbox, "for i in $(seq 40); do sleep 96 & done; echo made")
    with anyio.fail_after(20):
        assert await watched.exit != Exit(0)
    await sandbox.kill()
    _, output = await watched.all()
    assert b"fork" in output


async def test_a_frozen_sandbox_stands_still_and_can_be_killed(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "while :; do echo x; done")
    await watched.until(b"x")
    await sandbox.freeze()
    process = psutil.Process(watched.process.pid)
    with anyio.fail_after(10):
        while not sandbox.cgroup.is_frozen:
            await asyncio.sleep(0.001)
    before = process.cpu_times()
    await asyncio.sleep(0.05)
    assert process.cpu_times() == before
    await sandbox.thaw()
    length = len(watched.output)
    with anyio.fail_after(10):
        while len(watched.output) <= length:
            await asyncio.sleep(0.001)
    await sandbox.freeze()
    await sandbox.kill()
    assert (await watched.all())[0] == Exit(None, signal.SIGKILL)


async def test_a_frozen_sandbox_can_be_closed(namespace_provider: NamespaceProvider) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "echo ready; sleep 95")
    await watched.until(b"ready")
    await sandbox.freeze()
    await sandbox.close()
    assert (await watched.all())[0] == Exit(None, signal.SIGKILL)
    assert gone(watched.process.pid)
    await sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.spawn(ProcessSpec(argv=["/bin/true"], env={}, cwd="/"), print)


async def test_when_its_first_process_is_killed_the_next_spawn_makes_the_sandbox_anew(
    namespace_provider: NamespaceProvider,
) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "echo ready; sleep 94")
    await watched.until(b"ready")
    assert sandbox._first is not None
    os.kill(sandbox._first.pid, signal.SIGKILL)
    assert (await watched.all())[0] == Exit(None, signal.SIGKILL)
    assert await ran(sandbox, "echo again; id -un") == "again\nsbx_user1051\n"


async def test_when_the_spawner_is_killed_sandboxes_end_and_can_be_used_again(
    namespace_provider: NamespaceProvider,
) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    watched = await shell(sandbox, "echo ready; sleep 93")
    await watched.until(b"ready")
    assert namespace_provider._spawner is not None
    assert namespace_provider._spawner.pid is not None
    os.kill(namespace_provider._spawner.pid, signal.SIGKILL)
    assert (await watched.all())[0] == Exit(None, signal.SIGKILL)
    assert await ran(sandbox, "echo again") == "again\n"
    other = await namespace_provider.acquire("two", LIMITS)
    assert await ran(other, "echo new") == "new\n"


async def test_many_are_made_at_once(namespace_provider: NamespaceProvider) -> None:
    sandboxes = await asyncio.gather(*(namespace_provider.acquire(f"sandbox-{number}", LIMITS) for number in range(30)))
    outputs = await asyncio.gather(*(ran(sandbox, "id -u") for sandbox in sandboxes))
    assert len(outputs) == 30
    assert len(set(outputs)) == (1 if namespace_provider.rootless else 30)
    await asyncio.gather(*(sandbox.close() for sandbox in sandboxes))
    assert namespace_provider.sandboxes == {}


async def test_the_network_is_the_hosts_or_loopback_alone(namespace_provider: NamespaceProvider, network: str) -> None:
    sandbox = await namespace_provider.acquire("one", LIMITS)
    interfaces = await ran(sandbox, "cat /proc/net/dev")
    names = {line.split(":")[0].strip() for line in interfaces.splitlines()[2:]}
    if network == "own":
        assert names == {"lo"}
        assert sandbox.api_address == "127.0.0.1:9001"
    else:
        assert names == {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
