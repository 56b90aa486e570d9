"""The monitor's view of any Unix, through psutil. Ten times dearer than `linux`, and without proportional figures."""

from __future__ import annotations

import os

import psutil

from .host import Usage

_GONE = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
_Ended = (psutil.Error, OSError)


class PortableHost:
    """See `engine.sandbox.monitor.host.Host`."""

    def __init__(self, mode: str) -> None:
        if mode not in {"user", "session"}:
            raise ValueError(f"a sandbox cannot be known by {mode!r} on this system")
        self._mode = mode

    def cpu(self, pid: int) -> float | None:
        """User and system time."""
        try:
            times = psutil.Process(pid).cpu_times()
        except _Ended:
            return None
        return times.user + times.system

    def children_cpu(self, pid: int) -> float | None:
        """Where the system tells it; nought elsewhere."""
        try:
            times = psutil.Process(pid).cpu_times()
        except _Ended:
            return None
        return float(getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0))

    def usage(self, pid: int) -> Usage | None:
        """The resident set: pages of files and libraries are in it, so it errs against the function."""
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                status = process.status()
                if status in _GONE:
                    return None
                return Usage(process.memory_info().rss, process.num_threads(), status == psutil.STATUS_STOPPED)
        except _Ended:
            return None

    def proportional(self, pid: int) -> int | None:
        """Not to be had."""
        return None

    def changed(self) -> bool:
        """Unknown."""
        return True

    def listing(self) -> dict[int, int]:
        """The time of creation, in microseconds, of each process that we may look at."""
        found = {}
        for process in psutil.process_iter():
            try:
                found[process.pid] = int(process.create_time() * 1e6)
            except _Ended:
                continue
        return found

    def identity(self, pid: int) -> int | None:
        """The time of creation."""
        try:
            return int(psutil.Process(pid).create_time() * 1e6)
        except _Ended:
            return None

    def owner(self, pid: int) -> int | None:
        """By real user id or by session."""
        try:
            return int(psutil.Process(pid).uids().real) if self._mode == "user" else os.getsid(pid)
        except _Ended:
            return None

    def signal(self, pid: int, identity: int, signum: int) -> bool:
        """Look, then signal: between the two the pid could in principle be given out again."""
        if self.identity(pid) != identity:
            return False
        try:
            os.kill(pid, signum)
        except OSError:
            return False
        return True
