"""One cgroup: the directories of one environment in each hierarchy, as one thing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from engine.errors import SandboxError
from engine.sandbox.spawner import groups

from . import files, v1, v2
from .layout import Layout
from .limits import CgroupLimits


class Cgroup:
    """The processes of one environment and their limits. Made by `Cgroups.create`.

    What an operation costs, and how to get a process in: see the package.

    Attributes:
        name: its name under the engine's subtree.
        directories: absolute paths of all directories, to end and remove it by (`spawner.groups.end_and_remove`).
        clone_into: its v2 directory, to begin life in: ``clone3`` with CLONE_INTO_CGROUP (Linux 5.7) takes a descriptor
            of it. None when there is no v2.
        tasks: the v1 files into which a process with one thread writes ``0`` to move itself in.
        joins: what must be written to instead of both of these by whoever cannot do so: ``cgroup.procs`` of each.
    """

    def __init__(self, name: str, layout: Layout, homes: Mapping[str, str]) -> None:
        """Take possession of directories that are there.

        Args:
            name: for messages.
            layout: which controller is on which version.
            homes: the directory of this cgroup for each controller that is enforced, and ``freezer``.

        Raises:
            OSError: a file in them cannot be opened.
        """
        self.name = name
        self.directories = list(dict.fromkeys(homes.values()))
        self._raw = [os.fsencode(directory) for directory in self.directories]
        unified = [homes[key] for key in homes if layout.homes[key].version == 2]
        self.clone_into = unified[0] if unified else None
        self.tasks = [f"{directory}/tasks" for directory in self.directories if directory != self.clone_into]
        self.joins = [f"{directory}/cgroup.procs" for directory in self.directories]
        self._pids = homes.get("pids")
        self._pids_limit: int | None = None
        self._memory: v1.Memory | v2.Memory | None = None
        self._cpu: v1.Cpu | v2.Cpu | None = None
        self._freezer: v1.Freezer | v2.Freezer | None = None
        try:
            if "memory" in homes:
                memory = v2.Memory if layout.homes["memory"].version == 2 else v1.Memory
                self._memory = memory(homes["memory"])
            if "cpu" in homes:
                cpu = v2.Cpu if layout.homes["cpu"].version == 2 else v1.Cpu
                self._cpu = cpu(homes["cpu"])
            if "freezer" in homes:
                freezer = v2.Freezer if layout.homes["freezer"].version == 2 else v1.Freezer
                self._freezer = freezer(homes["freezer"])
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Cgroup {self.name} {' '.join(self.directories)}>"

    # Limits. What is not enforced on this host is silently not: `Cgroups.weaknesses` has said so.

    def apply(self, limits: CgroupLimits) -> None:
        """Set everything, on a new cgroup. Blocking. Raises SandboxError."""
        if self._memory is not None:
            self._memory.no_swap()
        self.set_limits(limits.memory_bytes, limits.pids)
        if limits.cores is not None:
            self.set_cpu(limits.cores)

    def set_limits(self, memory_bytes: int | None, pids: int | None) -> None:
        """Set the limits of memory and of processes; None is no limit.

        Blocking: less memory than is in use makes the kernel reclaim. About 0.1 ms per file otherwise.

        Raises:
            SandboxError: the kernel refused; on v1 also when more memory is in use than that.
        """
        if self._memory is not None:
            self._memory.limit(memory_bytes)
        self._pids_limit = pids
        if self._pids is not None:
            files.put(self._pids, "pids.max", "max" if pids is None else pids)

    def set_cpu(self, cores: float | None) -> None:
        """Set the share of the CPU; None is no limit. Cheap.

        Raises:
            SandboxError: the kernel refused.
        """
        if self._cpu is not None:
            self._cpu.share(cores)

    # What happened inside.

    def memory_peak(self) -> int | None:
        """Bytes at the peak since `reset_peak` (or, where the kernel cannot do that, ever); None: unknown. Cheap."""
        with contextlib.suppress(OSError):
            return self._memory.peak() if self._memory is not None else None
        return None

    def reset_peak(self) -> bool:
        """Begin the peak anew, for a new generation of processes. False when the kernel cannot (v2 before 6.12)."""
        with contextlib.suppress(OSError):
            return self._memory is not None and self._memory.reset_peak()
        return False

    def oom_kills(self) -> int:
        """How many processes were killed for want of memory since the cgroup was made. Cheap.

        The kernel counts before it kills, so whoever has seen a process end sees it counted here. Whether there were
        any is what it is good for: when a group dies together, Linux 6.1 counts the first process twice.
        """
        with contextlib.suppress(OSError):
            return self._memory.oom_kills() if self._memory is not None else 0
        return 0

    def oom_event(self) -> int | None:
        """A descriptor for ``loop.add_reader``: readable when memory ran out; ours, closed by `close`. Cheap.

        Then call `acknowledge` and look at `oom_kills`: v1 announces before it kills, v2 announces other events of the
        memory controller too, and the removal of a cgroup counts as an event. On v1 only one process has been killed:
        end the others (`kill`).
        """
        return self._memory.oom_event() if self._memory is not None else None

    def acknowledge(self) -> None:
        """Make `oom_event` unreadable until the next event. Cheap."""
        with contextlib.suppress(OSError):
            if self._memory is not None:
                self._memory.acknowledge()

    def fork_refusals(self) -> int:
        """How often a fork failed since there were as many processes as may be. Cheap (not held open)."""
        with contextlib.suppress(OSError):
            return files.counter(files.read(f"{self._pids}/pids.events"), "max") if self._pids is not None else 0
        return 0

    # Stopping and ending.

    def freeze(self) -> None:
        """Ask the kernel to stop every process. Cheap; `is_frozen` says when it is done (microseconds).

        Raises:
            SandboxError: the kernel refused, or there is no freezer.
        """
        try:
            self._stopper("freeze").freeze()
        except OSError as error:
            raise files.refused(f"freeze cgroup {self.name}", self.directories[0], error) from error

    def thaw(self) -> None:
        """Let the processes run again; they do when this returns. Cheap.

        Raises:
            SandboxError: the kernel refused, or there is no freezer.
        """
        try:
            self._stopper("thaw").thaw()
        except OSError as error:
            raise files.refused(f"thaw cgroup {self.name}", self.directories[0], error) from error

    @property
    def is_frozen(self) -> bool:
        """Whether every process has stopped. Cheap."""
        with contextlib.suppress(OSError):
            return self._freezer is not None and self._freezer.frozen()
        return False

    @property
    def kills_at_once(self) -> bool:
        """Whether `kill` is one act of the kernel that no fork escapes (v2, Linux 5.14)."""
        return self._freezer is not None and self._freezer.kills_at_once

    def kill(self, seconds: float = 10.0) -> list[int]:
        """SIGKILL to every process, frozen or not, until none is left. Blocking: use a thread.

        The cgroup can be used again afterwards, but where it `kills_at_once`, not by CLONE_INTO_CGROUP: Linux 6.18
        kills each process that is born into a cgroup which was once killed (seen with 6.18.44).

        Returns:
            The processes that have not died after `seconds`; 0 stands for one outside of our pid namespace.
        """
        forks_stopped = not self.kills_at_once and self._pids is not None
        with contextlib.suppress(SandboxError):  # it is gone: nobody is in it
            if forks_stopped:
                files.put(str(self._pids), "pids.max", 0)
        left = groups.end(self._raw, seconds)
        with contextlib.suppress(OSError):
            if self._freezer is not None:
                self._freezer.thaw()
        with contextlib.suppress(SandboxError):
            if forks_stopped and not left:
                files.put(str(self._pids), "pids.max", "max" if self._pids_limit is None else self._pids_limit)
        return left

    def kill_now(self) -> None:
        """SIGKILL to every process, without waiting for any. Where not `kills_at_once`, a fork may escape: see `kill`.

        Raises:
            SandboxError: the kernel refused.
        """
        try:
            if self._freezer is not None and self._freezer.kills_at_once:
                self._freezer.kill()
            else:
                groups.end(self._raw, 0)
        except OSError as error:
            raise files.refused(f"kill cgroup {self.name}", self.directories[0], error) from error

    def pids(self) -> list[int]:
        """The living processes, numbered as in our own pid namespace. Blocking (slow with very many)."""
        return sorted(groups.members(self._raw))

    def empty(self) -> bool:
        """Whether no process is left; zombies do not count. Blocking like `pids`."""
        return not groups.members(self._raw)

    def join(self, pid: int) -> None:
        """Move a process with all its threads in. Blocking, and slow (above): for tests and tools.

        Raises:
            SandboxError: the kernel refused.
        """
        for path in self.joins:
            try:
                files.write(path, pid)
            except OSError as error:
                raise files.refused(f"move process {pid} into cgroup {self.name}", path, error) from error

    def remove(self, seconds: float = 10.0) -> None:
        """End what is in it, remove all directories, give back the descriptors. Blocking. Idempotent.

        Raises:
            SandboxError: what could not be ended or removed; `directories` can be tried again.
        """
        self.close()
        try:
            groups.end_and_remove(self._raw, seconds)
        except OSError as error:
            raise SandboxError(f"cannot remove cgroup {self.name}: {error.strerror}") from error

    def close(self) -> None:
        """Give back the descriptors only; the cgroup stays. Idempotent. Take `oom_event` off the loop before."""
        for part in (self._memory, self._freezer):
            if part is not None:
                part.close()
        self._memory = self._freezer = None

    def _stopper(self, what: str) -> v1.Freezer | v2.Freezer:
        if self._freezer is None:
            raise SandboxError(f"cannot {what} cgroup {self.name}: it is closed, or this host has no freezer for us")
        return self._freezer


def make(name: str, layout: Layout, homes: Mapping[str, str], limits: CgroupLimits) -> Cgroup:
    """Make the directories, take possession and set the limits; nothing is left when that fails. Blocking.

    Raises:
        SandboxError: with what the kernel refused.
    """
    made: list[str] = []
    group: Cgroup | None = None
    try:
        for directory in dict.fromkeys(homes.values()):
            try:
                Path(directory).mkdir(mode=0o755)
            except OSError as error:
                raise files.refused(f"make cgroup {name}", directory, error) from error
            made.append(directory)
        try:
            group = Cgroup(name, layout, homes)
        except OSError as error:
            raise files.refused(f"open cgroup {name}", str(error.filename), error) from error
        group.apply(limits)
    except BaseException:
        if group is not None:
            group.close()
        for directory in made:
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
        raise
    return group
