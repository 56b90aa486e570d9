"""Limits, freezing and killing by real cgroups: on this host as it is, and on its v1 half alone where it has one."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from engine.sandbox.cgroups import CgroupLimits, Cgroups, files, v2
from engine.sandbox.cgroups.layout import Found
from engine.sandbox.spawner import groups
from tests.support.cgroups import MB, NAME, PATIENCE, until

pytest_plugins = ("tests.support.cgroup_fixtures",)

TOUCH = """
block = bytearray(int(sys.argv[2]) << 20)
for at in range(0, len(block), 4096):
    block[at] = 1
print("done", flush=True)
sys.stdin.readline()
"""


class TestMemory:
    async def test_too_much_is_killed_and_told_to_the_event_loop(self, group, inside):
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        event = group.oom_event()
        assert not select.select([event], [], [], 0)[0], "no event before anything happened"
        assert (group.oom_kills(), group.acknowledge()) == (0, None)
        program = inside(group, TOUCH, "128")

        def readable() -> None:
            group.acknowledge()
            told.set()

        loop.add_reader(event, readable)
        try:
            program.go()
            await asyncio.wait_for(told.wait(), PATIENCE)
        finally:
            loop.remove_reader(event)
        assert program.end() == -signal.SIGKILL
        assert group.oom_kills() > 0, "counted by the time that the end is seen"
        assert 60 * MB < group.memory_peak() <= 64 * MB

        def quiet() -> bool:  # v2 may announce a change a second time, 10 ms later
            group.acknowledge()
            return not select.select([event], [], [], 0)[0]

        until(quiet, "acknowledged")

    def test_what_fits_lives_and_its_peak_is_told(self, group, inside):
        program = inside(group, TOUCH, "40").go()
        assert program.line() == "done"
        assert 40 * MB < group.memory_peak() < 50 * MB
        assert group.oom_kills() == 0

    def test_the_peak_begins_anew_with_the_next_generation(self, group, inside):
        assert inside(group, TOUCH, "40").go().line() == "done"
        assert group.kill() == []
        if not group.reset_peak():
            pytest.skip("this kernel cannot begin the peak anew (cgroup v2 before Linux 6.12)")
        assert inside(group, TOUCH, "10").go().line() == "done"
        assert 10 * MB < group.memory_peak() < 30 * MB

    def test_what_the_kernel_holds_for_a_process_counts(self, group, inside):
        fill = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
for _ in range(1900):
    _, end = os.pipe()
    os.set_blocking(end, False)
    os.write(end, bytes(65536))
"""
        assert inside(group, fill).go().end() == -signal.SIGKILL
        assert group.oom_kills() > 0

    def test_the_group_dies_together_or_is_ended_by_whoever_is_told(self, cgroups, group, inside):
        witness = inside(group, "time.sleep(100)").go()
        assert inside(group, TOUCH, "128").go().end() == -signal.SIGKILL
        assert select.select([group.oom_event()], [], [], PATIENCE)[0]
        if cgroups.layout.homes["memory"].version == 1:
            assert group.kill() == []
        assert witness.end() == -signal.SIGKILL

    def test_a_limit_can_be_raised_and_lowered(self, group, inside):
        group.set_limits(200 * MB, 20)
        assert inside(group, TOUCH, "100").go().line() == "done"
        assert group.kill() == []
        group.set_limits(32 * MB, 20)
        assert inside(group, TOUCH, "100").go().end() == -signal.SIGKILL

    def test_there_is_no_swap_on_top(self, group):
        values = {}
        for directory in group.directories:
            for name in ("memory.swap.max", "memory.memsw.limit_in_bytes", "memory.swappiness"):
                path = Path(directory, name)
                if path.exists():
                    values[name] = int(path.read_text())
        expected = {"memory.swap.max": 0, "memory.memsw.limit_in_bytes": 64 * MB, "memory.swappiness": 0}
        assert values
        assert values == {name: expected[name] for name in values}


SPIN = """
begin, used = time.perf_counter(), time.process_time()
while (now := time.perf_counter()) < begin + 1.2:
    pass
print((time.process_time() - used) / (now - begin), flush=True)
"""


class TestCpu:
    def test_a_spinner_gets_its_share(self, group, inside):
        group.set_cpu(0.25)
        share = float(inside(group, SPIN).go().line())
        # Not more than it may; less only when the machine is busy with other things.
        assert 0.15 < share < 0.25 * 1.1, share

    def test_the_share_can_be_lifted(self, group, inside):
        group.set_cpu(0.05)
        group.set_cpu(None)
        share = float(inside(group, SPIN.replace("1.2", "0.3")).go().line())
        assert share > 0.2, share

    def test_every_share_that_lambda_has_is_taken(self, group):
        for memory_mb in (10_240, 128, 1769, 64, 10, 3008, 128):
            group.set_cpu(memory_mb / 1769)

    def test_more_than_the_cgroup_above_has_means_all_that_it_has(self, cgroups, group, inside):
        if cgroups.layout.homes["cpu"].version != 1:
            pytest.skip("only v1 refuses a child more than its parent has")
        above = cgroups.layout.homes["cpu"].own + f"/lambent-{NAME}.above"
        found = Found({"cpu": structs.replace(cgroups.layout.homes["cpu"], own=above)}, None, {})
        Path(above).mkdir()
        try:
            files.put(above, "cpu.cfs_quota_us", 50_000)
            confined = Cgroups(found)
            confined.prepare(NAME)
            group = confined.create("one", CgroupLimits())
            group.set_cpu(2.0)
            share = float(inside(group, SPIN).go().line())
            assert share < 0.5 * 1.1, share
            group.set_cpu(0.25)
            confined.remove()
        finally:
            groups.end_and_remove([os.fsencode(above)])

    def test_weighs_in_proportion_and_less_than_the_engine(self, cgroups, group):
        if cgroups.layout.homes["cpu"].version != 1:
            pytest.skip("on v2 the engine has a group of its own beside that of its functions")
        shares = Path(next(path for path in group.directories if "/cpu" in path), "cpu.shares")
        assert shares.read_text() == "256\n"
        for memory_mb, weight in ((128, 19), (1769, 256), (10_240, 1482), (1, 2)):
            group.set_cpu(memory_mb / 1769)
            assert shares.read_text() == f"{weight}\n"

    def test_no_level_of_the_engines_is_above_it_where_the_cpu_has_a_hierarchy_of_its_own(self, cgroups, group):
        home = cgroups.layout.homes["cpu"]
        if home.version != 1 or not home.controllers <= {"cpu", "cpuacct"}:
            pytest.skip("only v1 has hierarchies for one controller")
        assert f"{home.own}/lambent-{NAME}.one" in group.directories


class TestProcesses:
    def test_no_more_than_so_many(self, group, inside):
        fork = """
import errno
count = 1
try:
    while True:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
        count += 1
except OSError as error:
    assert error.errno == errno.EAGAIN
print(count, flush=True)
time.sleep(100)
"""
        assert inside(group, fork).go().line() == "20"
        assert group.fork_refusals() == 1
        assert len(group.pids()) == 20

    def test_a_fork_bomb_is_ended(self, group, inside):
        bomb = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        os._exit(0) if os.getpid() % 3 else None
"""
        group.set_limits(64 * MB, 200)
        program = inside(group, bomb).go()
        until(lambda: len(group.pids()) > 100, "the bomb goes off")
        assert group.kill() == []
        assert group.empty()
        assert program.end() in {0, -signal.SIGKILL}
        assert inside(group, "os.fork() and print('forks', flush=True)").go().line() == "forks"

    def test_what_would_not_die_is_named(self, group, monkeypatch):
        monkeypatch.setattr("engine.sandbox.spawner.groups.members", lambda _: {4_000_000})
        assert group.kill(seconds=0.01) == [4_000_000]


COUNT = """
import mmap
file = os.open(sys.argv[2], os.O_RDWR)
shared = mmap.mmap(file, 8)
count = 0
while True:
    count += 1
    shared[:] = count.to_bytes(8, "little")
"""


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Callable[[str], tuple[str, Callable[[], int]]]]:
    """Memory shared with a counting program: the path of its file, and how to read it."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> tuple[str, Callable[[], int]]:
            path = tmp_path / name
            path.write_bytes(bytes(8))
            with path.open("r+b") as file:
                shared = stack.enter_context(mmap.mmap(file.fileno(), 8))
            return str(path), lambda: int.from_bytes(shared[:], "little")

        yield make


def advances(counter: Callable[[], int], by: int) -> None:
    begin = counter()
    until(lambda: counter() >= begin + by, f"it counts on by {by}")


class TestFreezing:
    def test_nothing_runs_between_freeze_and_thaw(self, cgroups, group, inside, counters):
        path, count = counters("inside")
        other_path, other_count = counters("beside")
        inside(group, COUNT, path).go()
        beside = cgroups.create("two", CgroupLimits())
        try:
            inside(beside, COUNT, other_path).go()
            until(lambda: count() > 0, "it counts")
            assert not group.is_frozen
            for _ in range(3):
                group.freeze()
                group.freeze()
                until(lambda: group.is_frozen, "it is frozen")
                frozen_at = count()
                advances(other_count, 50_000)
                assert count() == frozen_at
                group.thaw()
                group.thaw()
                advances(count, 1)
                assert not group.is_frozen
        finally:
            beside.remove()

    def test_the_frozen_can_be_killed_and_the_next_generation_runs(self, group, inside):
        program = inside(group, "time.sleep(100)").go()
        group.freeze()
        until(lambda: group.is_frozen, "it is frozen")
        assert group.kill() == []
        assert program.end() == -signal.SIGKILL
        assert inside(group, "print('runs', flush=True)").go().line() == "runs"

    async def test_cheap_operations_may_be_called_on_the_event_loop(self, group):
        """The guard against blocking calls (conftest) watches."""
        group.freeze()
        group.thaw()
        group.set_cpu(0.5)
        group.reset_peak()
        assert group.memory_peak() is not None
        assert (group.oom_kills(), group.fork_refusals(), group.is_frozen) == (0, 0, False)
        assert group.oom_event() is not None
        group.acknowledge()


async def test_a_change_of_a_v2_file_is_something_to_read_for_the_event_loop(cgroups, group, inside):
    """What v2 announces memory events with, on any v2 hierarchy: here with whether anybody is inside."""
    if group.clone_into is None:
        pytest.skip("there is no cgroup v2 here")
    events = os.open(f"{group.clone_into}/cgroup.events", os.O_RDONLY | os.O_NONBLOCK)
    epoll = v2.watch(events)
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(epoll.fileno(), told.set)
    try:
        for populated in (1, 0, 1):
            if populated:
                program = inside(group)
            else:
                program.go()
            async with asyncio.timeout(PATIENCE):
                while files.counter(files.again(events), "populated") != populated:
                    told.clear()
                    await told.wait()
    finally:
        loop.remove_reader(epoll.fileno())
        epoll.close()
        os.close(events)
