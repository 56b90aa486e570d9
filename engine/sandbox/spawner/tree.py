"""Ending all processes of a sandbox, whatever they did: setsid, double fork, signals ignored, forking without end.

Two ways, by what marks the processes of the sandbox:

**By user** (the engine is root, so each sandbox has a user id of its own). ``kill(-1)`` signals every process that the
caller may signal, in one walk under the kernel's task list lock: a fork either finished before, then the child is on
the list, or it sees the pending signal and fails. Nothing slips through, no /proc is read, and the cost does not grow
with what else runs. The caller is a blank that makes itself the right sender::

    real user   K  the sandbox's second id, which no process of it ever has
    effective   N  the sandbox's user: the permission to signal exactly those processes
    saved       0  to become root again for removing files

A process of the sandbox cannot signal or trace the caller in turn: the kernel compares with the target's real and saved
ids, which are K and 0.

**By marker** (the engine is not root: all sandboxes share its user). A limit that no ordinary program uses,
RLIMIT_RTTIME (CPU time without a blocking call under real-time scheduling), is set to a number of the sandbox's own. It
is inherited by fork and kept over exec, setsid and a cleared environment, an unprivileged process can only lower it,
and /proc/<pid>/limits shows it. A visible environment variable would do less and be seen by user code. (A program that
is out to hide could lower the limit; but one that runs as the engine's own user could just as well kill the engine,
which the mode's weaknesses say.) All are stopped first, until a scan finds nothing new, then killed, until a scan finds
none.
"""

from __future__ import annotations

import os
import time

from . import system

_SIGKILL, _SIGSTOP = 9, 19

#: Bits of a marker that number the sandbox; the bits above are the engine's own, drawn at random at its start.
MARKER_SANDBOX_BITS = 24
_DEAD = {b"Z", b"X"}
#: How often /proc is listed within one look around, should processes on this machine never stop appearing.
_LISTINGS = 1000
_LIMIT_NAME = b"Max realtime timeout"


class Group:
    """Which processes are meant: those of a user, or those with a marker.

    `user` and `sender` are N and K above. `mask` says which bits of the marker must match.
    """

    __slots__ = ("marker", "mask", "sender", "user")

    def __init__(self, *, user: int = 0, sender: int = 0, marker: int = 0, mask: int = -1) -> None:
        self.user = user
        self.sender = sender
        self.marker = marker
        self.mask = mask

    @classmethod
    def parse(cls, text: bytes) -> Group:
        """Read what `engine.sandbox.process` wrote: ``user:N:K`` or ``marker:M:MASK``."""
        kind, first, second = text.split(b":")
        if kind == b"user":
            return cls(user=int(first), sender=int(second))
        return cls(marker=int(first), mask=int(second))

    def pids(self) -> list[int]:
        """The living processes of the group, by looking at every process there is. Zombies are dead.

        Looks again until a listing shows no process that was not looked at: what ended between being listed and being
        looked at may have forked just before. None is missed, not even a program that forks and exits for ever.
        """
        found: list[int] = []
        seen: set[str] = set()
        for _ in range(_LISTINGS):
            fresh = [name for name in os.listdir("/proc") if name.isdigit() and name not in seen]  # noqa: PTH208
            if not fresh:
                break
            seen.update(fresh)
            for name in fresh:
                try:
                    state, ours = self._look(name)
                except (OSError, IndexError):  # it has ended
                    continue
                if ours and state not in _DEAD:
                    found.append(int(name))
        return found

    def _look(self, name: str) -> tuple[bytes, bool]:
        status = _read(f"/proc/{name}/status")
        state = status.partition(b"\nState:")[2].split(None, 1)[0]
        if self.user:
            return state, self.user == _real_user(status)
        value = _read(f"/proc/{name}/limits").partition(_LIMIT_NAME)[2].split(None, 1)[0]
        return state, value.isdigit() and int(value) & self.mask == self.marker & self.mask


def kill(group: Group, seconds: float) -> list[int]:
    """End every process of the group and wait until none is left. Returns the pids that remain after `seconds`."""
    deadline = time.monotonic() + seconds
    return _kill_user(group, deadline) if group.user else _kill_marked(group, deadline)


def send(group: Group, signum: int) -> None:
    """Send one signal to every process of the group."""
    if group.user:
        with _Sender(group):
            _signal_all(signum)
        return
    seen: set[int] = set()
    while fresh := [pid for pid in group.pids() if pid not in seen]:
        for pid in fresh:
            signal_one(pid, signum)
        seen.update(fresh)


class _Sender:
    """A stretch of code in which kill(-1) reaches exactly the processes of one user."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def __enter__(self) -> None:
        group = self._group
        os.setgroups([])
        os.setresuid(group.sender, group.user, 0)
        # SAFETY: kill(-1) from a process that may signal others would end the whole machine. The kernel drops the
        # effective capabilities with the effective root id, unless securebits forbid it: so look, each time.
        if (
            group.user < 1000
            or group.sender < 1000
            or os.getresuid() != (group.sender, group.user, 0)
            or system.effective_capabilities() != 0
        ):
            raise PermissionError(1, f"kill(-1) as user {group.user} would not be confined to that user; refused")

    def __exit__(self, *_: object) -> None:
        os.seteuid(0)
        os.setresuid(0, 0, 0)


def _signal_all(signum: int) -> None:
    """kill(-1). Linux answers 0 or an error regardless of whether the caller was allowed to signal anyone."""
    try:  # noqa: SIM105 - contextlib is large
        os.kill(-1, signum)
    except (ProcessLookupError, PermissionError):
        pass


def _user_has_processes(user: int) -> bool:
    """Whether any process (zombies too) has this real user id: one walk in the kernel, no /proc."""
    try:
        os.getpriority(os.PRIO_USER, user)
    except ProcessLookupError:
        return False
    return True


def _kill_user(group: Group, deadline: float) -> list[int]:
    pause = 0.0002
    with _Sender(group):
        while _user_has_processes(group.user):
            _signal_all(_SIGKILL)
            time.sleep(pause)
            if pause > 0.005:
                # A zombie counts as long as nobody reaps it: look whether more than those are left.
                left = group.pids()
                if not left:
                    break
                if time.monotonic() > deadline:
                    return left
            pause = min(pause * 2, 0.02)
    return []


def _kill_marked(group: Group, deadline: float) -> list[int]:
    send(group, _SIGSTOP)
    pause = 0.0002
    while left := group.pids():
        if time.monotonic() > deadline:
            return left
        for pid in left:
            signal_one(pid, _SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return []


def users_between(low: int, high: int) -> set[int]:
    """User ids in ``range(low, high)`` that living processes have."""
    users: set[int] = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is large
        if name.isdigit():
            try:
                status = _read(f"/proc/{name}/status")
            except OSError:
                continue
            if status.partition(b"\nState:")[2].split(None, 1)[0] not in _DEAD:
                user = _real_user(status)
                if low <= user < high:
                    users.add(user)
    return users


def _real_user(status: bytes) -> int:
    """The real user id in a /proc/<pid>/status. Not the effective one: a sender has that of the processes it ends."""
    return int(status.partition(b"\nUid:")[2].split(None, 1)[0])


def signal_one(pid: int, signum: int) -> None:
    """Send a signal to one process; nothing when it has ended."""
    try:  # noqa: SIM105 - contextlib is large
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        pass


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
