"""Real cgroups, real processes: on this host as it is, and on its v1 half alone where it has one."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from engine.errors import SandboxError
from engine.sandbox.cgroups import Cgroup, CgroupLimits, Cgroups, files, v2
from engine.sandbox.cgroups.host import read_proc
from engine.sandbox.cgroups.layout import Found, find
from engine.sandbox.cgroups.placing import LEAF
from engine.sandbox.spawner import groups

MB = 1 << 20
NAME = f"test-{os.getpid()}"
PATIENCE = 20.0

#: Runs inside: one thread, so it may move itself in through `tasks`. Then it says so, and waits to be told to go on.
ENTER = """
import os, sys, time
for path in sys.argv[1].split("|"):
    with open(path, "w") as file:
        file.write("0")
print("in", flush=True)
sys.stdin.readline()
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.001)


def cgroup_directories() -> set[str]:
    """Every directory that we could have made, in any hierarchy."""
    found = find(read_proc("mountinfo"), read_proc("cgroup"))
    hierarchies = {*found.v1.values(), *([found.v2] if found.v2 else [])}
    return {
        path
        for hierarchy in hierarchies
        for path, _, _ in os.walk(hierarchy.mount)
        if f"lambent-{NAME}" in path or path.endswith(LEAF)
    }


def present(group: Cgroup) -> list[str]:
    return [path for path in group.directories if Path(path).is_dir()]


@pytest.fixture
def nothing_left() -> Iterator[None]:
    uvloop.new_event_loop().close()  # libuv makes a pipe for signals once per process, with the first loop
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    before = cgroup_directories()
    yield
    assert cgroup_directories() <= before
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


@pytest.fixture(params=["as it is", "v1 only"])
def host(request: pytest.FixtureRequest) -> Callable[[], Cgroups]:
    """How to get at the cgroups of this host; twice where v1 has all that is needed by itself."""
    if os.geteuid() != 0:
        pytest.skip("making cgroups needs root here")
    if request.param == "as it is":
        make = Cgroups.detect
    else:
        found = find(read_proc("mountinfo"), read_proc("cgroup"))
        if not found.v1.keys() >= {"memory", "cpu", "pids", "freezer"}:
            pytest.skip("this host has no cgroup v1 with memory, cpu, pids and freezer")

        def make() -> Cgroups:
            return Cgroups(Found(found.v1, None, {}))

    missing = {"memory", "cpu", "pids", "freezer"} - make().enforced
    if missing:
        pytest.skip(f"this host cannot enforce {', '.join(sorted(missing))}: {make().weaknesses()}")
    return make


@pytest.fixture
def cgroups(host: Callable[[], Cgroups], nothing_left: None) -> Iterator[Cgroups]:
    cgroups = host()
    cgroups.prepare(NAME)
    try:
        yield cgroups
    finally:
        cgroups.remove()


@pytest.fixture
def group(cgroups: Cgroups) -> Iterator[Cgroup]:
    group = cgroups.create("one", CgroupLimits(memory_bytes=64 * MB, pids=20))
    try:
        yield group
    finally:
        group.remove()


class Inside:
    """A Python program in a cgroup."""

    def __init__(self, group: Cgroup, code: str, *arguments: str) -> None:
        paths = [*group.tasks, *([f"{group.clone_into}/cgroup.procs"] if group.clone_into else [])]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", ENTER + code, "|".join(paths), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "in"

    def go(self) -> Inside:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return self

    def line(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], "it says nothing"
        return self.process.stdout.readline().strip()

    def end(self) -> int:
        return self.process.wait(PATIENCE)


@pytest.fixture
def inside() -> Iterator[Callable[..., Inside]]:
    """Start a program in a cgroup; ended with the test."""
    started: list[Inside] = []

    def start(group: Cgroup, code: str = "", *arguments: str) -> Inside:
        started.append(Inside(group, code, *arguments))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.process.wait(PATIENCE)
        for pipe in (program.process.stdin, program.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


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
        assert group.oom_kills() == 1, "counted by the time that the end is seen"
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
        assert group.oom_kills() == 1

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
        above = Path(next(path for path in group.directories if "/cpu" in path)).parent
        files.put(str(above), "cpu.cfs_quota_us", 50_000)
        group.set_cpu(2.0)
        share = float(inside(group, SPIN).go().line())
        assert share < 0.5 * 1.1, share
        group.set_cpu(0.25)


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
        assert inside(group, "print(os.fork() and 'forks', flush=True)").go().line() == "forks"

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


class TestLeaving:
    def test_remove_ends_what_runs_and_leaves_no_directory(self, cgroups, inside):
        group = cgroups.create("two", CgroupLimits(pids=5))
        assert present(group) == group.directories
        program = inside(group, "time.sleep(100)").go()
        group.remove()
        assert program.end() == -signal.SIGKILL
        assert present(group) == []
        group.remove()
        assert (group.memory_peak(), group.oom_kills(), group.pids(), group.kill()) == (None, 0, [], [])
        with pytest.raises(SandboxError, match="cannot freeze cgroup two"):
            group.freeze()

    def test_a_dead_engines_leftovers_go_with_all_that_runs_in_them(self, host, nothing_left, inside):
        dead = host()
        dead.prepare(NAME)
        group = dead.create("one", CgroupLimits(memory_bytes=64 * MB))
        program = inside(group, "time.sleep(100)").go()
        group.freeze()
        group.close()
        next_engine = host()
        assert sorted(next_engine.sweep(NAME)) == sorted(dead.directories)
        assert program.end() == -signal.SIGKILL
        assert next_engine.sweep(NAME) == []
        next_engine.prepare(NAME)
        next_engine.remove()

    def test_leftovers_under_another_cgroup_are_found_by_what_was_written_down(self, cgroups):
        elsewhere = Path(cgroups.directories[0]).parent / "lambent-elsewhere"
        left = elsewhere / f"lambent-{NAME}"
        (left / "one").mkdir(parents=True)
        try:
            assert str(left) in cgroups.sweep(NAME, [str(left), "/etc", str(elsewhere), f"/tmp/lambent-{NAME}"])
            assert not left.exists()
        finally:
            for path in (left / "one", left, elsewhere):
                if path.exists():
                    path.rmdir()

    def test_a_name_in_use_is_an_error_and_its_owner_stays(self, cgroups, group):
        with pytest.raises(SandboxError, match=r"cannot make cgroup one .*File exists"):
            cgroups.create("one", CgroupLimits())
        assert present(group) == group.directories

    def test_what_the_kernel_refuses_leaves_nothing(self, cgroups):
        with pytest.raises(SandboxError, match=r"cannot set pids.max to -3 \(.*/two/pids.max\): Invalid argument"):
            cgroups.create("two", CgroupLimits(pids=-3))
        assert not [path for path in cgroup_directories() if path.endswith("/two")]

    @pytest.mark.parametrize("name", ["", "a/b", "..", "a.b", "x" * 65])
    def test_only_plain_names_are_taken(self, cgroups, name):
        with pytest.raises(SandboxError, match="cannot name"):
            cgroups.create(name, CgroupLimits())
        with pytest.raises(SandboxError, match="cannot name"):
            cgroups.sweep(name)

    def test_the_spawners_helper_needs_only_the_directories_and_the_standard_library(self, cgroups, inside):
        group = cgroups.create("two", CgroupLimits())
        program = inside(group, "time.sleep(100)").go()
        group.freeze()
        group.close()
        code = Path(groups.__file__).read_text()
        code += (
            "\nimport sys\nbefore = set(sys.modules)\nend_and_remove([os.fsencode(path) for path in sys.argv[1:]])\n"
        )
        code += "print(sorted(set(sys.modules) & {'pathlib', 'contextlib', 'subprocess', 'engine'}))"
        run = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, *group.directories, f"{group.directories[0]}/gone"],
            capture_output=True, text=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
        assert run.stdout == "[]\n"
        assert program.end() == -signal.SIGKILL
        assert present(group) == []


class TestDetection:
    def test_as_root_nothing_is_weak_here(self, cgroups):
        assert cgroups.enforced == {"memory", "cpu", "pids", "freezer"}
        assert [line for line in cgroups.weaknesses() if not line.startswith(("memory peak:", "swap:"))] == []

    def test_without_privileges_there_are_weaknesses_instead_of_errors(self, nothing_left):
        if os.geteuid() != 0:
            pytest.skip("giving up root needs to have it")
        answer, say = os.pipe()
        pid = os.fork()
        if pid == 0:  # pragma: no cover - another process
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                cgroups = Cgroups.detect()
                cgroups.prepare(NAME)
                group = cgroups.create("one", CgroupLimits(memory_bytes=MB, pids=1, cores=0.1))
                lines = [*cgroups.weaknesses(), str((group.directories, group.memory_peak(), sorted(cgroups.enforced)))]
                cgroups.remove()
            except BaseException as error:  # noqa: BLE001
                lines = [repr(error)]
            os.write(say, "\n".join(lines).encode())
            os._exit(0)
        os.close(say)
        with os.fdopen(answer) as file:
            lines = file.read().splitlines()
        os.waitpid(pid, 0)
        assert [line.partition(":")[0] for line in lines[:4]] == ["memory", "cpu", "processes", "freeze"], lines
        assert lines[4] == "([], None, [])"
        for line in lines[:4]:
            assert "this user may not make cgroups in /" in line

    def test_a_host_that_tells_nothing_has_weaknesses_only(self, monkeypatch, nothing_left):
        def absent(name):
            raise SandboxError(f"cannot read /proc/self/{name}")

        monkeypatch.setattr("engine.sandbox.cgroups.host.read_proc", absent)
        cgroups = Cgroups.detect()
        assert cgroups.enforced == set()
        assert len(cgroups.weaknesses()) == 4
        assert all("cannot read /proc/self/mountinfo" in line for line in cgroups.weaknesses())


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
