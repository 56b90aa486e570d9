"""Cgroups of this host for tests, programs that run in them, and a check that nothing is left of either.

``pytest_plugins = ("tests.support.cgroup_fixtures",)``. The tests run twice where v1 has all that is needed by itself:
on the host as it is, and as if it had no v2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from engine.sandbox.cgroups import Cgroup, CgroupLimits, Cgroups
from engine.sandbox.cgroups.host import read_proc
from engine.sandbox.cgroups.layout import Found, find
from tests.support.cgroups import MB, NAME, PATIENCE, Inside, cgroup_directories


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
