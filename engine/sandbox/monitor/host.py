"""What the monitor reads from a system and does to its processes: the seam between Linux and all others.

Nothing here raises for a process that has ended: it answers None, or False.
"""

from __future__ import annotations

import sys
from typing import NamedTuple, Protocol


class Usage(NamedTuple):
    """What one process has now.

    `memory`: bytes that are its own: anonymous and shared-memory pages, in memory or swapped out. Pages of files are
    not counted: the kernel can drop them, and all functions share those of the runtime. Pages shared with other
    processes of the tree are in the figure of each: a sum is an upper bound for the tree, each figure a lower bound.
    `stopped`: whether it is stopped by a signal or a debugger.
    """

    memory: int
    threads: int
    stopped: bool


class Host(Protocol):
    """One system. Used by the monitor's thread only."""

    def cpu(self, pid: int) -> float | None:
        """CPU seconds that the process has consumed; None when it has ended."""
        ...

    def children_cpu(self, pid: int) -> float | None:
        """CPU seconds of the children that it has waited for, and of theirs; None when it has ended."""
        ...

    def usage(self, pid: int) -> Usage | None:
        """Memory and threads; None when it has ended or is a zombie."""
        ...

    def proportional(self, pid: int) -> int | None:
        """Like `Usage.memory` with shared pages divided among their users, so that sums are exact. Dear."""
        ...

    def changed(self) -> bool:
        """Whether there may be new processes since the last call."""
        ...

    def listing(self) -> dict[int, int]:
        """All processes: an identity for each pid, which differs when the pid is given out again."""
        ...

    def identity(self, pid: int) -> int | None:
        """The identity of one process, comparable with those of `listing`."""
        ...

    def owner(self, pid: int) -> int | None:
        """The key of the sandbox that the process belongs to, should it belong to one (see `Monitor.watch`)."""
        ...

    def signal(self, pid: int, identity: int, signum: int) -> bool:
        """Signal the process if it is still the one with this identity."""
        ...


def make_host(mode: str) -> Host:
    """The host for this system.

    Args:
        mode: what is the key of a sandbox: ``user``, its user id; ``marker``, its RTTIME limit (Linux, see
            `engine.sandbox.spawner.tree`); ``session``, the pid of the process that leads the session.
    """
    if sys.platform == "linux":
        from .linux import LinuxHost

        return LinuxHost(mode)
    from .portable import PortableHost

    return PortableHost(mode)
