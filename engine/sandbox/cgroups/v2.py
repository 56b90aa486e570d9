"""What cgroup v2 offers for one cgroup (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import contextlib
import os
import select

from . import files
from .limits import PERIOD_US, bandwidth


class Memory:
    """The memory controller: ``memory.max`` for all, no swap, and the group dies together.

    Holds three descriptors: the peak (whose reset, since Linux 6.12, is the descriptor's own), the events, and an epoll
    that makes a change of the events look like something to read: kernfs files announce changes as EPOLLPRI, which
    event loops do not ask for; an epoll is itself readable when anything it watches is due. (An inotify watch would do
    too, but a user may have only 128 inotify descriptors.)
    """

    def __init__(self, directory: str) -> None:
        """Open what is held. Raises OSError."""
        self._directory = directory
        self.peak_resets = False
        self._peak = -1
        self._epoll: select.epoll | None = None
        self._events = files.hold(f"{directory}/memory.events", os.O_RDONLY)
        try:
            self._epoll = watch(self._events)
            self._open_peak()
        except BaseException:
            self.close()
            raise

    def _open_peak(self) -> None:
        path = f"{self._directory}/memory.peak"
        try:
            self._peak = files.hold(path, os.O_RDWR)
            self.peak_resets = True
        except OSError:  # before 6.12 it can only be read, before 5.19 there is none
            with contextlib.suppress(FileNotFoundError):
                self._peak = files.hold(path, os.O_RDONLY)

    def limit(self, memory_bytes: int | None) -> None:
        """Set the limit. Below what is in use the kernel reclaims, then kills, before this returns."""
        files.put(self._directory, "memory.max", "max" if memory_bytes is None else memory_bytes)

    def no_swap(self) -> None:
        """No swap, and one out of memory ends all. ``memory.high`` stays unset: it would slow down, not end."""
        with contextlib.suppress(FileNotFoundError):  # kernels without swap accounting
            files.write(f"{self._directory}/memory.swap.max", 0)
        files.put(self._directory, "memory.oom.group", 1)

    def peak(self) -> int | None:
        """Bytes at the peak, since the reset if the kernel can; None when it does not know."""
        return int(files.again(self._peak)) if self._peak >= 0 else None

    def reset_peak(self) -> bool:
        """Begin the peak anew, from what is in use now. False when the kernel cannot."""
        if self.peak_resets:
            os.pwrite(self._peak, b"0", 0)
        return self.peak_resets

    def oom_kills(self) -> int:
        """How many processes have been killed for want of memory."""
        return files.counter(files.again(self._events), "oom_kill")

    def oom_event(self) -> int:
        """A descriptor that is readable after a change of the events."""
        assert self._epoll is not None
        return self._epoll.fileno()

    def acknowledge(self) -> None:
        """Reading the events makes the descriptor unreadable again."""
        files.again(self._events)

    def close(self) -> None:
        """Give the descriptors back."""
        if self._epoll is not None:
            self._epoll.close()
        for descriptor in (self._events, self._peak):
            if descriptor >= 0:
                os.close(descriptor)
        self._events = self._peak = -1
        self._epoll = None


def watch(events: int) -> select.epoll:
    """An epoll that becomes readable when the kernel announces a change of this held kernfs file. Raises OSError."""
    files.again(events)  # a file that was never read counts as changed
    epoll = select.epoll()
    try:
        epoll.register(events, select.EPOLLPRI)
    except BaseException:
        epoll.close()
        raise
    return epoll


class Cpu:
    """The cpu controller: ``cpu.max``."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def share(self, cores: float | None) -> None:
        """So many cores from now on; None: no limit."""
        quota, period = ("max", PERIOD_US) if cores is None else bandwidth(cores)
        files.put(self._directory, "cpu.max", f"{quota} {period}")


class Freezer:
    """``cgroup.freeze`` (Linux 5.2) and ``cgroup.kill`` (5.14); no controller is needed. Holds one descriptor."""

    def __init__(self, directory: str) -> None:
        """Open what is held. Raises OSError."""
        self._directory = directory
        self._freeze = files.hold(f"{directory}/cgroup.freeze", os.O_RDWR)
        self.kills_at_once = os.path.exists(f"{directory}/cgroup.kill")  # noqa: PTH110

    def freeze(self) -> None:
        """Ask all processes to stop; they do within microseconds, unless in an uninterruptible sleep."""
        os.pwrite(self._freeze, b"1", 0)

    def thaw(self) -> None:
        """Let them run."""
        os.pwrite(self._freeze, b"0", 0)

    def frozen(self) -> bool:
        """Whether all have stopped."""
        return bool(files.counter(files.read(f"{self._directory}/cgroup.events"), "frozen"))

    def kill(self) -> None:
        """SIGKILL to all, frozen ones too; a fork under way does not slip through."""
        files.write(f"{self._directory}/cgroup.kill", 1)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._freeze >= 0:
            os.close(self._freeze)
            self._freeze = -1
