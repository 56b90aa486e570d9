"""Sleeping until told, until a time, or (Linux) until a process has consumed so much CPU time.

On Linux the thread sleeps in sigtimedwait(2) for one real-time signal, which it alone receives: POSIX timers on the CPU
clocks of other processes send it (SIGEV_THREAD_ID), and so does `wake`. No descriptor is held. The C library is passed
by, because its timer ids are not the kernel's in older versions and the kernel's are what siginfo tells. Such a timer
goes off at the first tick (1 to 10 ms, CONFIG_HZ) at which the process runs and has consumed that much.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import threading
from typing import Protocol

if sys.platform == "linux":
    from .linux import process_clock

#: timer_create, timer_settime, timer_delete (asm/unistd_64.h, asm-generic/unistd.h).
_SYSTEM_CALLS = {"x86_64": (222, 223, 226), "aarch64": (107, 110, 111), "riscv64": (107, 110, 111)}
_SIGEV_THREAD_ID = 4
_SI_TIMER = -2
#: Signals taken per wait, so that a storm of them cannot hold the thread.
_MOST_AT_ONCE = 256
#: Each alarm holds a place among the pending signals of the engine's user (RLIMIT_SIGPENDING, usually some 10,000).
MOST_ALARMS = 4096


class Sleeper(Protocol):
    """How the monitor's thread sleeps. Everything but `wake` is for that thread only."""

    alarms: bool
    """Whether `arm` works here."""

    def attach(self) -> None:
        """Called once by the thread, first."""
        ...

    def wake(self) -> None:
        """End the wait, now or the next one. From any thread, between `attach` and the thread's end."""
        ...

    def wait(self, seconds: float | None) -> set[int]:
        """Sleep; the pids whose alarm went off."""
        ...

    def arm(self, pid: int, seconds: float) -> bool:
        """Wake when the process has consumed so much CPU time from now; replaces an earlier alarm of it."""
        ...

    def forget(self, pid: int) -> None:
        """The process has ended."""
        ...


def make_sleeper() -> Sleeper:
    """The best for this system."""
    if sys.platform == "linux" and platform.machine() in _SYSTEM_CALLS and sys.maxsize > 1 << 32:
        return AlarmSleeper()
    return PlainSleeper()


class PlainSleeper:
    """No alarms: a condition with a time limit."""

    alarms = False

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._told = False

    def attach(self) -> None:
        """Nothing to prepare."""

    def wake(self) -> None:
        """See `Sleeper.wake`."""
        with self._condition:
            self._told = True
            self._condition.notify()

    def wait(self, seconds: float | None) -> set[int]:
        """See `Sleeper.wait`."""
        with self._condition:
            if not self._told:
                self._condition.wait(seconds)
            self._told = False
        return set()

    def arm(self, pid: int, seconds: float) -> bool:
        """There are none."""
        return False

    def forget(self, pid: int) -> None:
        """There are none."""


if sys.platform == "linux":

    class AlarmSleeper:
        """With alarms on CPU clocks."""

        def __init__(self) -> None:
            self.alarms = True
            self._signal = signal.SIGRTMAX - 2
            self._create, self._set, self._delete = _SYSTEM_CALLS[platform.machine()]
            self._call = ctypes.CDLL(None, use_errno=True).syscall
            self._call.restype = ctypes.c_long
            self._thread = 0
            self._native = 0
            self._timers: dict[int, int] = {}
            self._pids: dict[int, int] = {}
            self._told = False

        def attach(self) -> None:
            """Block the signal in this thread, and try an alarm: a system call filter may forbid them."""
            signal.pthread_sigmask(signal.SIG_BLOCK, {self._signal})
            self._native = threading.get_native_id()
            self._thread = threading.get_ident()
            self.alarms = self.arm(os.getpid(), 3600.0)
            self.forget(os.getpid())

        def wake(self) -> None:
            """See `Sleeper.wake`. One signal is enough for any number of calls before the thread wakes."""
            if not self._told:
                self._told = True
                try:
                    signal.pthread_kill(self._thread, self._signal)
                except OSError:  # no room for a pending signal (RLIMIT_SIGPENDING): the next call tries again
                    self._told = False

        def wait(self, seconds: float | None) -> set[int]:
            """See `Sleeper.wait`."""
            fired: set[int] = set()
            signals = (self._signal,)
            info = signal.sigwaitinfo(signals) if seconds is None else signal.sigtimedwait(signals, max(0.0, seconds))
            self._told = False  # before the rest is taken: who tells us now has us awake again
            for _ in range(_MOST_AT_ONCE):
                if info is None:
                    break
                if info.si_code == _SI_TIMER:  # si_pid and the timer's id are the same place of the union
                    pid = self._pids.get(info.si_pid)
                    if pid is not None:
                        fired.add(pid)
                info = signal.sigtimedwait(signals, 0)
            return fired

        def arm(self, pid: int, seconds: float) -> bool:
            """See `Sleeper.arm`. False when the process has ended or the kernel refuses (RLIMIT_SIGPENDING)."""
            timer = self._timers.get(pid)
            if timer is None:
                if len(self._timers) >= MOST_ALARMS:
                    return False
                event = _Event(pid, self._signal, _SIGEV_THREAD_ID, self._native)
                number = ctypes.c_int()
                if self._call(self._create, process_clock(pid), ctypes.byref(event), ctypes.byref(number)):
                    return False
                timer = self._timers[pid] = number.value
                self._pids[timer] = pid
            whole = int(seconds)
            when = _TimerValue(0, 0, whole, max(1, int((seconds - whole) * 1e9)))
            return int(self._call(self._set, timer, 0, ctypes.byref(when), None)) == 0

        def forget(self, pid: int) -> None:
            """See `Sleeper.forget`."""
            timer = self._timers.pop(pid, None)
            if timer is not None:
                self._pids.pop(timer, None)
                self._call(self._delete, timer)

    class _Event(ctypes.Structure):
        """struct sigevent (asm-generic/siginfo.h), 64 bytes."""

        _fields_ = (
            ("value", ctypes.c_void_p),
            ("signal", ctypes.c_int),
            ("notify", ctypes.c_int),
            ("thread", ctypes.c_int),
            ("rest", ctypes.c_char * 44),
        )

    class _TimerValue(ctypes.Structure):
        """struct itimerspec."""

        _fields_ = (
            ("again_seconds", ctypes.c_long),
            ("again_nanoseconds", ctypes.c_long),
            ("seconds", ctypes.c_long),
            ("nanoseconds", ctypes.c_long),
        )
