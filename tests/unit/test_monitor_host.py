"""What the monitor reads from real processes, with /proc and with psutil alone; and how its thread sleeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from engine.sandbox.monitor.alarms import PlainSleeper, make_sleeper
from engine.sandbox.monitor.host import Host
from engine.sandbox.monitor.portable import PortableHost
from tests.support.leaks import eventually

if sys.platform == "linux":
    from engine.sandbox.monitor.linux import LinuxHost

    KINDS = [LinuxHost, PortableHost]
else:
    KINDS = [PortableHost]

MIB = 1024 * 1024
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="CPU alarms and pidfds are Linux's")


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def host(request: pytest.FixtureRequest) -> Host:
    return request.param("session")


class Child:
    """A Python program that says when it has done what it was told, and then waits for its end."""

    def __init__(self, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import os, sys, time, threading\n{code}\nprint('ready', flush=True)\ninput()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self.pid = self._process.pid

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    child = Child(getattr(request, "param", ""))
    yield child
    child.end()


@pytest.mark.parametrize("child", ["x = bytearray(60_000_000)\nx[::4096] = b'y' * len(x[::4096])"], indirect=True)
def test_memory_is_what_the_process_has_touched(host: Host, child: Child) -> None:
    usage = host.usage(child.pid)
    assert usage is not None
    assert 60_000_000 <= usage.memory < 100 * MIB
    assert (usage.threads, usage.stopped) == (1, False)


@pytest.mark.parametrize(
    "child", ["import mmap\nm = mmap.mmap(-1, 50_000_000)\nm.write(b'x' * 50_000_000)"], indirect=True
)
def test_shared_memory_counts(host: Host, child: Child) -> None:
    usage = host.usage(child.pid)
    assert usage is not None
    assert usage.memory >= 50_000_000


@pytest.mark.parametrize(
    "child", ["for _ in range(5): threading.Thread(target=time.sleep, args=(99,), daemon=True).start()"], indirect=True
)
def test_threads_are_counted(host: Host, child: Child) -> None:
    usage = host.usage(child.pid)
    assert usage is not None
    assert usage.threads == 6


@pytest.mark.parametrize("child", ["while time.process_time() < 0.2: pass"], indirect=True)
def test_cpu_time_is_the_processes_own(host: Host, child: Child) -> None:
    seconds = host.cpu(child.pid)
    assert seconds is not None
    assert 0.15 <= seconds < 2.0


BURNS = "if not (pid := os.fork()):\n  while time.process_time() < 0.2: pass\n  os._exit(0)\nos.waitpid(pid, 0)"


@linux_only
@pytest.mark.parametrize("child", [BURNS], indirect=True)
def test_cpu_time_of_children_that_were_waited_for_is_told(host: Host, child: Child) -> None:
    seconds = host.children_cpu(child.pid)
    assert seconds is not None
    assert 0.15 <= seconds < 2.0


FORKS = "x = bytearray(80_000_000)\nx[::4096] = b'y' * len(x[::4096])\nif not os.fork():\n  time.sleep(99)\n"


@linux_only
@pytest.mark.parametrize("child", [FORKS], indirect=True)
def test_the_proportional_figure_divides_what_a_fork_shares(child: Child) -> None:
    host = LinuxHost("session")
    pids = [child.pid, *[other.pid for other in psutil.Process(child.pid).children()]]
    usages = [host.usage(pid) for pid in pids]
    shares = [host.proportional(pid) for pid in pids]
    assert len(pids) == 2
    assert sum(usage.memory for usage in usages if usage) > 160_000_000
    assert 80_000_000 < sum(share for share in shares if share) < 130_000_000
    os.kill(pids[1], signal.SIGKILL)


def test_a_listing_tells_who_is_there_and_recognises_them(host: Host, child: Child) -> None:
    assert host.changed()
    first, second = host.listing(), host.listing()
    assert child.pid in first
    assert first[child.pid] == second[child.pid] == host.identity(child.pid)
    assert host.owner(child.pid) == child.pid


@linux_only
def test_a_new_process_is_a_change_and_none_is_none() -> None:
    host = LinuxHost("session")
    host.changed()
    subprocess.run(["true"], check=True)
    assert host.changed()


@linux_only
def test_a_fork_is_looked_for_again_as_its_process_may_show_late(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.sandbox.monitor import linux

    now, last = [100.0], [b"0.1 0.1 0.1 1/99 7\n"]
    monkeypatch.setattr(linux, "_read", lambda _path: last[0])
    host = LinuxHost("session", clock=lambda: now[0])
    assert [host.changed() for _ in range(4)] == [True, True, False, False]
    now[0] += 0.1
    assert [host.changed() for _ in range(2)] == [True, False]
    now[0] += 10.0
    assert [host.changed() for _ in range(3)] == [True, True, False]
    last[0] = b"0.1 0.1 0.1 1/99 8\n"
    assert [host.changed() for _ in range(3)] == [True, True, False]
    now[0] += 1000.0
    assert [host.changed() for _ in range(4)] == [True, True, True, False]


def test_stop_is_seen_and_undone(host: Host, child: Child) -> None:
    identity = host.identity(child.pid)
    assert identity is not None
    assert host.signal(child.pid, identity, signal.SIGSTOP)
    eventually(lambda: (usage := host.usage(child.pid)) is not None and usage.stopped, "stopped")
    assert host.signal(child.pid, identity, signal.SIGCONT)
    eventually(lambda: (usage := host.usage(child.pid)) is not None and not usage.stopped, "running")


def test_another_process_under_the_same_pid_is_not_signalled(host: Host, child: Child) -> None:
    identity = host.identity(child.pid)
    assert identity is not None
    assert not host.signal(child.pid, identity + 1, signal.SIGKILL)
    assert host.usage(child.pid) is not None


def test_of_a_process_that_has_ended_nothing_is_known(host: Host) -> None:
    child = Child("")
    identity = host.identity(child.pid)
    child.end()
    assert identity is not None
    assert host.cpu(child.pid) is None
    assert host.usage(child.pid) is None
    assert host.children_cpu(child.pid) is None
    assert host.proportional(child.pid) is None
    assert host.identity(child.pid) is None
    assert host.owner(child.pid) is None
    assert not host.signal(child.pid, identity, signal.SIGKILL)


@pytest.mark.parametrize("mode", ["", "marker", "nonsense"])
def test_a_way_to_know_processes_that_a_host_has_not_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match="known by"):
        PortableHost(mode)


@pytest.mark.parametrize("make", [make_sleeper, PlainSleeper], ids=["best", "plain"])
def test_a_sleeper_wakes_when_told_and_at_its_time(make) -> None:
    sleeper = make()
    woken: list[set[int]] = []
    attached = threading.Event()

    def sleep() -> None:
        sleeper.attach()
        attached.set()
        woken.append(sleeper.wait(None))
        woken.append(sleeper.wait(0.01))

    thread = threading.Thread(target=sleep)
    thread.start()
    assert attached.wait(10)
    for _ in range(3):
        sleeper.wake()
    thread.join(10)
    assert not thread.is_alive()
    assert woken == [set(), set()]


@linux_only
def test_an_alarm_goes_off_when_the_process_has_consumed_its_time_and_not_before() -> None:
    sleeper = make_sleeper()
    results: list[object] = []

    def sleep() -> None:
        sleeper.attach()
        idle, busy = Child(""), Child("threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()")
        try:
            results.append(sleeper.arm(idle.pid, 0.02))
            results.append(sleeper.wait(0.1))
            results.append(sleeper.arm(busy.pid, 0.02))
            clock = (~busy.pid << 3) | 2
            before = time.clock_gettime(clock)
            results.append(sleeper.wait(20) == {busy.pid})
            results.append(time.clock_gettime(clock) - before >= 0.02)
        finally:
            idle.end()
            busy.end()
            sleeper.forget(idle.pid)
            sleeper.forget(busy.pid)
        results.append(sleeper.arm(idle.pid, 1.0))

    thread = threading.Thread(target=sleep)
    thread.start()
    thread.join(40)
    if not sleeper.alarms:
        pytest.skip("the kernel refuses timers on the CPU clocks of other processes")
    assert results == [True, set(), True, True, True, False]
