"""Too many processes, processes that will not go, and processes of others."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from engine import Engine
from tests.hostile.kit import Attackers, Neighbour, alive, kind_of, name_of_ours, none_alive, until
from tests.support.leaks import gone

pytest_plugins = ("tests.support.sandbox_fixtures",)

RUN = """
def attack(event):
    done = subprocess.run(["./" + event[0], *event[1:]], capture_output=True, text=True)
    return [done.returncode, done.stdout]
"""
#: Starts a program, answers, and leaves it behind.
LEAVE = """
def attack(event):
    if event:
        subprocess.Popen(["./" + event[0], *event[1:]], stdout=-3, stderr=-3, start_new_session=True)
    return "here"
"""
HANG = """
def attack(event):
    if event:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["./" + event[0], *event[1:]], stdout=-3, stderr=-3)
        time.sleep(1000)
    return "again"
"""


async def test_a_fork_bomb_ends_at_the_limit_of_processes(
    attackers: Attackers, neighbour: Neighbour, with_programs: Path
) -> None:
    async with neighbour.watched():
        code, output = await attackers.run(
            RUN, ["forks", "count", name_of_ours()], package=with_programs, memory_mb=1769
        )
    children, errno = map(int, output.split())
    assert code == 0
    assert 500 < children < 1024
    assert os.strerror(errno) == os.strerror(11)  # EAGAIN


@pytest.mark.parametrize("how", ["storm", "churn"])
async def test_a_time_out_ends_a_tree_that_forks_faster_than_it_dies(
    attackers: Attackers, neighbour: Neighbour, with_programs: Path, how: str
) -> None:
    function = await attackers.make(HANG, package=with_programs, memory_mb=1024, timeout_s=1)
    await function.invoke(None)
    async with neighbour.watched():
        assert kind_of(await function.invoke(["forks", how, name_of_ours()])) == "Sandbox.Timedout"
        await until(lambda: none_alive(name_of_ours()), "the storm is over")
        assert (await function.invoke(None)).json() == "again"


async def test_a_storm_left_behind_by_an_invocation_ends_with_the_function(
    engine: Engine, attackers: Attackers, neighbour: Neighbour, with_programs: Path
) -> None:
    function = await attackers.make(LEAVE, package=with_programs, memory_mb=1024)
    async with neighbour.watched():
        assert (await function.invoke(["forks", "storm", name_of_ours()])).json() == "here"
        assert (await function.invoke(None)).json() == "here"
        await function.delete()
        await until(lambda: none_alive(name_of_ours()), "the storm is over")


async def test_kill_everybody_reaches_nobody_else(attackers: Attackers, neighbour: Neighbour) -> None:
    function = await attackers.make(
        """
        def attack(event):
            if event and not os.fork():
                os.kill(-1, signal.SIGKILL)
                os._exit(0)
            if event:
                time.sleep(15)
            return "again"
        """
    )
    async with neighbour.watched():
        result = await function.invoke("all")
        assert kind_of(result) == "Runtime.ExitError"
        assert result.json()["errorMessage"].endswith("signal: killed")
        assert (await function.invoke(None)).json() == "again"


async def test_processes_of_others_cannot_be_signalled_traced_or_read(
    engine: Engine, mode: str, attackers: Attackers, neighbour: Neighbour
) -> None:
    others = {"engine": os.getpid(), "neighbour": neighbour.pid, "host's first": 1}
    others |= {f"child {number}": one.pid for number, one in enumerate(psutil.Process().children())}
    if mode == "sandbox":
        del others["host's first"]  # it has a first process of its own: see below
    seen = await attackers.run(
        """
        def attack(others):
            class Vector(ctypes.Structure):
                _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
            room = ctypes.create_string_buffer(64)
            here, there = Vector(ctypes.addressof(room), 64), Vector(0x400000, 64)
            out = {}
            for name, pid in others.items():
                out[name] = {
                    "kill": tried(os.kill, pid, signal.SIGKILL),
                    "stop": tried(os.kill, pid, signal.SIGSTOP),
                    "look": tried(os.kill, pid, 0),
                    "pidfd": tried(lambda: signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL)),
                    "ptrace": called("ptrace", 16, pid, 0, 0),  # PTRACE_ATTACH
                    "seize": called("ptrace", 0x4206, pid, 0, 0),
                    "read": called("process_vm_readv", pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0),
                    "write": called("process_vm_writev", pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0),
                    "rlimit": tried(resource.prlimit, pid, resource.RLIMIT_NOFILE, (3, 3)),
                    "affinity": tried(os.sched_setaffinity, pid, {0}),
                    "nice": tried(os.setpriority, os.PRIO_PROCESS, pid, 19),
                    **{
                        entry: look(f"/proc/{pid}/{entry}")
                        for entry in ("environ", "mem", "maps", "fd", "root", "cwd", "exe", "task", "stat")
                        if mode == "sandbox" or entry not in ("task", "stat")
                    },
                }
            return out
        """.replace("def attack", f"mode = {mode!r}\n        def attack"),
        others,
    )
    refused = {"ESRCH", "EPERM", "ENOENT"} if mode == "sandbox" else {"EPERM", "EACCES", "ENOENT", "ESRCH"}
    wrong = {
        f"{what} of {name}": word for name, words in seen.items() for what, word in words.items() if word not in refused
    }
    assert wrong == {}
    if mode == "sandbox":
        assert {words["look"] for words in seen.values()} == {"ESRCH"}, "there are no such processes for it"


@pytest.mark.parametrize("mode", ["sandbox"])
async def test_the_first_process_of_the_sandbox_is_out_of_reach(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    """What would end it, enter it, or change the program that it is (CVE-2019-5736)."""
    seen = await attackers.run(
        """
        def attack(event):
            out = {f"signal {number}": tried(os.kill, 1, number) for number in (2, 9, 15, 19)}
            for name in ("root", "cwd", "exe", "fd", "ns", "mem", "environ", "map_files", "auxv", "stack"):
                out[name] = look("/proc/1/" + name)
            out["through root"] = look("/proc/1/root/etc")
            out["through cwd"] = look("/proc/1/cwd/..")
            out["fd 0"] = tried(os.open, "/proc/1/fd/0", os.O_RDONLY)
            out["fd 3"] = tried(os.open, "/proc/1/fd/3", os.O_RDWR)
            for name in ("exe", "mem", "oom_score_adj", "comm", "setgroups", "uid_map"):
                out["write " + name] = tried(os.open, "/proc/1/" + name, os.O_WRONLY)
            out["ptrace"] = called("ptrace", 16, 1, 0, 0)
            out["write own exe"] = tried(os.open, "/proc/self/exe", os.O_WRONLY)
            out["parents"] = [os.getppid(), sorted(int(n) for n in os.listdir("/proc") if n.isdigit())[:2]]
            return out
        """
    )
    assert seen.pop("parents") == [1, [1, 2]]
    assert seen.pop("write own exe") in {"EROFS", "ETXTBSY", "EACCES"}
    assert set(seen.values()) <= {"EACCES", "EPERM"}, seen


async def test_a_daemon_stands_still_between_invocations_and_ends_with_the_function(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    function = await attackers.make(
        """
        def attack(event):
            if event:
                if not os.fork():
                    os.setsid()
                    if not os.fork():
                        for fd in range(3): os.close(fd)
                        os.execv("/bin/sh", [event, "-c", "while :; do :; done"])
                    os._exit(0)
                os.wait()
            return "here"
        """
    )
    assert (await function.invoke(name_of_ours())).json() == "here"
    pids: list[int] = []

    async def appeared() -> bool:
        pids[:] = await alive(name_of_ours())
        return bool(pids)

    await until(appeared, "the daemon runs")
    found = psutil.Process(pids[0])
    phase = lambda: {one["function"]: one["phase"] for one in engine.dispatcher.listing()}["attacker"]  # noqa: E731
    await until(lambda: phase() == "FROZEN", "the environment is frozen")

    def still() -> bool:
        before = found.cpu_times()
        os.sched_yield()
        return found.status() != psutil.STATUS_RUNNING and found.cpu_times() == before

    await until(still, "the daemon has stopped")
    before = found.cpu_times()
    await neighbour.quiet(50)
    assert found.cpu_times() == before

    async def goes_on() -> bool:  # it has used up its share for a while, and one invocation is short
        assert (await function.invoke(None)).json() == "here"
        return found.cpu_times() != before

    await until(goes_on, "it goes on with the next invocations")
    await function.delete()
    await until(lambda: gone(found.pid), "it ends with the function")


async def test_a_child_that_keeps_stdout_open_holds_nobody_up(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    function = await attackers.make(
        """
        def attack(event):
            if event:
                subprocess.Popen([event, "1000"], executable="/bin/sleep", start_new_session=True)
                os._exit(7)
            return "again"
        """
    )
    result = await function.invoke(name_of_ours())
    assert result.json()["errorMessage"].endswith("exit status 7")
    assert (await function.invoke(None)).json() == "again"
    await until(lambda: none_alive(name_of_ours()), "it is ended with the runtime")


async def test_a_runtime_that_stops_itself_is_timed_out(attackers: Attackers, neighbour: Neighbour) -> None:
    function = await attackers.make(
        """
        def attack(event):
            if event:
                os.kill(os.getpid(), signal.SIGSTOP)
            return "again"
        """,
        timeout_s=1,
    )
    async with neighbour.watched():
        assert kind_of(await function.invoke("stop")) == "Sandbox.Timedout"
        assert (await function.invoke(None)).json() == "again"
