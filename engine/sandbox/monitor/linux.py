"""The monitor's view of Linux: CPU clocks by system call, the rest from /proc, signals through pidfds.

Facts: proc_pid_status(5), proc_pid_stat(5), proc_loadavg(5), clock_getcpuclockid(3), pidfd_send_signal(2),
Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from .host import Usage

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_MARKER_LIMIT = b"Max realtime timeout"
_GONE = b"ZX"
#: After so many seconds without a further fork, look once more for what the last one has made.
_AGAIN = (0.0, 0.05, 0.5, 2.0)


class LinuxHost:
    """See `engine.sandbox.monitor.host.Host`."""

    def __init__(self, mode: str, clock: Callable[[], float] = time.monotonic) -> None:
        if mode not in {"user", "marker", "session"}:
            raise ValueError(f"a sandbox cannot be known by {mode!r}")
        self._mode = mode
        self._us = os.getuid()
        self._last_pid = b""
        self._again: list[float] = []
        self._clock = clock

    def cpu(self, pid: int) -> float | None:
        """The process's own clock: CPUCLOCK_SCHED of the thread group (MAKE_PROCESS_CPUCLOCK, linux/posix-timers.h)."""
        try:
            return time.clock_gettime(process_clock(pid))
        except OSError:
            return None

    def children_cpu(self, pid: int) -> float | None:
        """Fields cutime and cstime of /proc/<pid>/stat, whole ticks."""
        try:
            text = _read(f"/proc/{pid}/stat")
        except OSError:
            return None
        fields = text[text.rfind(b")") + 2 :].split(None, 15)
        return (int(fields[13]) + int(fields[14])) * _TICK if len(fields) > 14 else None

    def usage(self, pid: int) -> Usage | None:
        """RssAnon + RssShmem + VmSwap of /proc/<pid>/status. 15 µs; smaps_rollup takes 3 to 20 times that."""
        try:
            text = _read(f"/proc/{pid}/status")
        except OSError:
            return None
        state = text.partition(b"\nState:\t")[2][:1]
        if state in _GONE or not state:
            return None
        memory = _field(text, b"\nRssAnon:") + _field(text, b"\nRssShmem:") + _field(text, b"\nVmSwap:")
        return Usage(memory * 1024, max(1, _field(text, b"\nThreads:")), state in b"Tt")

    def proportional(self, pid: int) -> int | None:
        """Pss_Anon + Pss_Shmem + SwapPss of /proc/<pid>/smaps_rollup; None where we may not look."""
        try:
            text = _read(f"/proc/{pid}/smaps_rollup")
        except OSError:
            return None
        if b"\nPss_Anon:" not in text:  # before Linux 5.14
            return None
        return (_field(text, b"\nPss_Anon:") + _field(text, b"\nPss_Shmem:") + _field(text, b"\nSwapPss:")) * 1024

    def changed(self) -> bool:
        """The last field of /proc/loadavg is the pid that was given out last (threads too).

        fork gives out the pid a moment before it shows the process, and may lose its processor in between. So a change
        is one the next time too, and some while later.
        """
        now = self._clock()
        try:
            last = _read("/proc/loadavg").rsplit(None, 1)[-1]
        except (OSError, IndexError):
            return True
        if last != self._last_pid:
            self._last_pid = last
            self._again = [now + pause for pause in reversed(_AGAIN)]
            return True
        if self._again and now >= self._again[-1]:
            self._again.pop()
            return True
        return False

    def listing(self) -> dict[int, int]:
        """The inode of each /proc/<pid>: numbers are never given out again, and a new process gets a new one."""
        with os.scandir("/proc") as entries:
            return {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}

    def identity(self, pid: int) -> int | None:
        """The inode of /proc/<pid>."""
        try:
            return os.stat(f"/proc/{pid}").st_ino  # noqa: PTH116 - on the way of every signal
        except OSError:
            return None

    def owner(self, pid: int) -> int | None:
        """By real user id, by the value of the marker limit, or by session."""
        try:
            if self._mode == "session":
                return os.getsid(pid)
            user = _field(_read(f"/proc/{pid}/status"), b"\nUid:")
            if self._mode == "user":
                return user
            if user != self._us:
                return None
            value = _read(f"/proc/{pid}/limits").partition(_MARKER_LIMIT)[2].split(None, 1)[0]
        except (OSError, IndexError):
            return None
        return int(value) if value.isdigit() else None

    def signal(self, pid: int, identity: int, signum: int) -> bool:
        """Through a pidfd, so that the process that was looked at is the one that is signalled."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if self.identity(pid) != identity:
                return False
            signal.pidfd_send_signal(descriptor, signum)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def process_clock(pid: int) -> int:
    """The clock id of a process's CPU time."""
    return (~pid << 3) | 2


def _field(text: bytes, name: bytes) -> int:
    """The first number after `name`, 0 when it is not there (a kernel thread, a kernel without swap)."""
    words = text.partition(name)[2][:40].split(None, 1)
    return int(words[0]) if words else 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 16384)
    finally:
        os.close(descriptor)
