"""What cgroup v1 offers for one cgroup (Documentation/admin-guide/cgroup-v1, Documentation/scheduler/sched-bwc.rst)."""

from __future__ import annotations

import contextlib
import errno
import os

from engine.errors import SandboxError

from . import files
from .limits import PERIOD_US, WEIGHT_OF_A_CORE, bandwidth, weight

_UNLIMITED = -1


class Memory:
    """The memory controller: ``memory.limit_in_bytes``, the same with swap, and an eventfd for out of memory.

    Kernel memory (stacks, page tables, pipes, sockets) is charged with the rest, always, since Linux 4.5; only the
    buffers of TCP are counted apart, and get the same limit. v1 cannot let the group die together: the kernel kills one
    process, and whoever waits for `oom_event` ends the others. Holds two descriptors: the peak and the eventfd.
    """

    peak_resets = True

    def __init__(self, directory: str) -> None:
        """Open what is held, and register for the event. Raises OSError."""
        self._directory = directory
        self._limit: int | None = None
        self._with_swap = os.path.exists(f"{directory}/memory.memsw.limit_in_bytes")  # noqa: PTH110
        self._event = -1
        self._peak = files.hold(f"{directory}/memory.max_usage_in_bytes", os.O_RDWR)
        try:
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            control = files.hold(f"{directory}/memory.oom_control", os.O_RDONLY)
            try:
                files.write(f"{directory}/cgroup.event_control", f"{self._event} {control}")
            finally:
                os.close(control)  # the kernel holds the cgroup; the registration ends with the eventfd
        except BaseException:
            self.close()
            raise

    def limit(self, memory_bytes: int | None) -> None:
        """Set the limit. Refused (EBUSY) when more is in use and cannot be reclaimed."""
        new = _UNLIMITED if memory_bytes is None else memory_bytes
        steps = ["memory.limit_in_bytes"]
        if self._with_swap:
            # The limit with swap may never be below the one without.
            growing = self._limit is not None and (memory_bytes is None or memory_bytes > self._limit)
            steps.insert(0 if growing else 1, "memory.memsw.limit_in_bytes")
        for step in steps:
            files.put(self._directory, step, new)
        self._limit = memory_bytes
        with contextlib.suppress(
            OSError
        ):  # announced to go away; a kernel without it counts these buffers with v2 only
            files.write(f"{self._directory}/memory.kmem.tcp.limit_in_bytes", new)

    def no_swap(self) -> None:
        """Nothing is swapped out. With swap accounting the second limit leaves no room for swap anyway."""
        files.put(self._directory, "memory.swappiness", 0)

    def peak(self) -> int | None:
        """Bytes at the peak since the last reset."""
        return int(files.again(self._peak))

    def reset_peak(self) -> bool:
        """Begin the peak anew, from what is in use now."""
        os.pwrite(self._peak, b"0", 0)
        return True

    def oom_kills(self) -> int:
        """How many processes have been killed for want of memory."""
        return files.counter(files.read(f"{self._directory}/memory.oom_control"), "oom_kill")

    def oom_event(self) -> int:
        """A descriptor that is readable after memory ran out."""
        return self._event

    def acknowledge(self) -> None:
        """Make it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._event, 8)

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in (self._event, self._peak):
            if descriptor >= 0:
                os.close(descriptor)
        self._event = self._peak = -1


class Cpu:
    """The cpu controller: ``cpu.cfs_quota_us`` in each ``cpu.cfs_period_us``, and ``cpu.shares``."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._period = 0
        self._weight = 0
        self._weigh(WEIGHT_OF_A_CORE)

    def share(self, cores: float | None) -> None:
        """So many cores from now on; None: no limit of its own."""
        if cores is None:
            files.put(self._directory, "cpu.cfs_quota_us", _UNLIMITED)
            return
        self._weigh(weight(cores))
        quota, period = bandwidth(cores)
        if period != self._period:
            if self._period or period != PERIOD_US:
                # Between the two writes the old quota would stand beside the new period.
                files.put(self._directory, "cpu.cfs_quota_us", _UNLIMITED)
            files.put(self._directory, "cpu.cfs_period_us", period)
            self._period = period
        try:
            files.write(f"{self._directory}/cpu.cfs_quota_us", quota)
        except OSError as error:
            # v1 refuses a child more than its parent has. Without a quota of its own it has what the parent has.
            if error.errno != errno.EINVAL:
                raise files.refused(f"set cpu.cfs_quota_us to {quota}", self._directory, error) from error
            files.put(self._directory, "cpu.cfs_quota_us", _UNLIMITED)

    def _weigh(self, value: int) -> None:
        if value != self._weight:
            files.put(self._directory, "cpu.shares", value)
            self._weight = value


class Freezer:
    """The v1 freezer: ``freezer.state``. It cannot kill, and what it froze does not die before it is thawed."""

    kills_at_once = False

    def __init__(self, directory: str) -> None:
        """Open what is held. Raises OSError."""
        self._directory = directory
        self._state = files.hold(f"{directory}/freezer.state", os.O_RDWR)

    def freeze(self) -> None:
        """Ask all processes to stop."""
        os.pwrite(self._state, b"FROZEN", 0)

    def thaw(self) -> None:
        """Let them run."""
        os.pwrite(self._state, b"THAWED", 0)

    def frozen(self) -> bool:
        """Whether all have stopped; asking is what moves FREEZING on to FROZEN."""
        return files.again(self._state).strip() == b"FROZEN"

    def kill(self) -> None:
        """Not offered: see `kills_at_once`."""
        raise SandboxError("the v1 freezer cannot kill; end the processes one by one")

    def close(self) -> None:
        """Give the descriptor back."""
        if self._state >= 0:
            os.close(self._state)
            self._state = -1
