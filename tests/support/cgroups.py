"""Programs in cgroups, for tests, and which cgroups of ours there are. The fixtures: cgroup_fixtures."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.sandbox.cgroups import Cgroup
from engine.sandbox.cgroups.host import read_proc
from engine.sandbox.cgroups.layout import find
from engine.sandbox.cgroups.placing import LEAF

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
