"""Which processes there are of each watched sandbox: found, read, stopped, continued and killed. For one thread.

A process is known by its pid and an identity that tells it from the next one with that pid (`Host.identity`). Those
that the engine started are told (`add`); those that they made are found by listing all processes, once for all
sandboxes, and asking of each new one whose it is.
"""

from __future__ import annotations

import signal
import time

from .alarms import Sleeper
from .host import Host
from .pace import REST, REST_DEAR
from .watch import Member, Watch


class Census:
    """All processes of all watched sandboxes.

    Args:
        host: the system.
        sleeper: whose alarms are to be forgotten with their processes.
        sessions: sandboxes are known by the sessions of the processes that the engine started.
    """

    def __init__(self, host: Host, sleeper: Sleeper, *, sessions: bool) -> None:
        self.by_pid: dict[int, Watch] = {}
        self._host = host
        self._sleeper = sleeper
        self._sessions = sessions
        self._by_key: dict[int, Watch] = {}
        self._seen: dict[int, int] = {}

    def begin(self) -> None:
        """What is there before any sandbox is belongs to none."""
        self._seen = self._host.listing()

    def end(self) -> None:
        """Forget everything."""
        for pid in list(self.by_pid):
            self._sleeper.forget(pid)

    def register(self, watch: Watch) -> None:
        """Processes with its key are this sandbox's."""
        self._by_key[watch.key] = watch

    def clear(self, watch: Watch) -> None:
        """All its processes have ended."""
        for pid in list(watch.members):
            self._forget(watch, pid)
        if self._sessions:
            for key in [key for key, other in self._by_key.items() if other is watch]:
                del self._by_key[key]

    def remove(self, watch: Watch) -> None:
        """It is closed."""
        self.clear(watch)
        if self._by_key.get(watch.key) is watch:
            del self._by_key[watch.key]

    def add(self, watch: Watch, pid: int) -> bool:
        """A process that the engine started; False when it has ended already."""
        own, identity = self._host.cpu(pid), self._host.identity(pid)
        if own is None or identity is None:
            return False
        if self._sessions:
            self._by_key[pid] = watch
        watch.members[pid] = Member(identity)
        watch.meter.join(pid, own, self._host.children_cpu(pid) or 0.0)
        watch.new_member()
        self.by_pid[pid] = watch
        self._seen[pid] = identity
        return True

    def find(self) -> set[Watch] | None:
        """Look for processes that sandboxes have made: those that have new ones; None when there was no fork at all."""
        if not self._host.changed():
            return None
        listing = self._host.listing()
        seen = self._seen
        # Not a difference of the two sets of items: its thousands of tuples would set the garbage collector going.
        new = [pid for pid, identity in listing.items() if seen.get(pid) != identity]
        found = {self._identify(pid, listing[pid]) for pid in new}
        self._seen = listing
        return {watch for watch in found if watch is not None}

    def _identify(self, pid: int, identity: int) -> Watch | None:
        key = self._host.owner(pid)
        watch = self._by_key.get(key) if key is not None else None
        known = self.by_pid.get(pid)
        if watch is not None and known is watch:  # the kernel had forgotten the inode, and made another
            watch.members[pid].identity = identity
            if pid in watch.halted:
                watch.halted[pid] = identity
            return None
        if known is not None:
            self._forget(known, pid)
        if watch is None:
            return None
        watch.members[pid] = Member(identity)
        watch.meter.born(pid)
        watch.new_member()
        self.by_pid[pid] = watch
        return watch

    def _forget(self, watch: Watch, pid: int) -> None:
        watch.members.pop(pid, None)
        watch.halted.pop(pid, None)
        if self.by_pid.pop(pid, None) is not None:
            self._sleeper.forget(pid)

    def read_children(self, watch: Watch) -> None:
        """Charge what ended unseen, and was waited for."""
        watch.ran = False
        clocks = {}
        for pid in watch.members:
            seconds = self._host.children_cpu(pid)
            if seconds is not None:
                clocks[pid] = seconds
        watch.meter.children(clocks)

    def consumption(self, watch: Watch) -> float:
        """CPU seconds of the tree since the last time; processes that have ended are forgotten."""
        cpu, meter = self._host.cpu, watch.meter
        for pid in list(watch.members):
            seconds = cpu(pid)
            meter.own(pid, seconds)
            if seconds is None:
                self._forget(watch, pid)
        return meter.take()

    def memory(self, watch: Watch) -> str | None:
        """Read memory and threads of the tree; the limit that is exceeded, or None."""
        then = time.thread_time()
        figures: dict[int, int] = {}
        threads = 0
        for pid, member in watch.members.items():
            usage = self._host.usage(pid)
            if usage is not None:
                figures[pid] = usage.memory
                threads += usage.threads
                if pid not in watch.halted and not watch.frozen:
                    member.stopped = usage.stopped
        used, dear = watch.sum_up(list(figures.values()))
        if dear:
            shares = ((self._host.proportional(pid), figure) for pid, figure in figures.items())
            used = sum(figure if share is None else share for share, figure in shares)
        rest = (REST_DEAR if dear else REST) * (time.thread_time() - then) if len(figures) > 1 else 0.0
        return watch.saw_memory(used, threads, len(figures), time.monotonic() + rest)

    def halt(self, watch: Watch) -> None:
        """SIGSTOP to every process that is not stopped by us or by itself."""
        for pid, member in watch.members.items():
            if pid in watch.halted or member.stopped:
                continue
            if self._host.signal(pid, member.identity, signal.SIGSTOP):
                watch.halted[pid] = member.identity

    def go_on(self, watch: Watch, *, thawed: bool = False) -> None:
        """SIGCONT to those that were halted; should the engine freeze the sandbox meanwhile, they are stopped again.

        After a thaw, to all: a SIGSTOP of ours may have come after the engine's order that continued them.
        """
        if thawed:
            watch.halted = {pid: member.identity for pid, member in watch.members.items() if not member.stopped}
        while True:
            frozen = watch.frozen
            for pid, identity in watch.halted.items():
                self._host.signal(pid, identity, signal.SIGSTOP if frozen else signal.SIGCONT)
            if watch.frozen == frozen:
                break
        watch.halted.clear()

    def kill(self, watch: Watch) -> None:
        """SIGKILL to all that are known."""
        for pid, member in watch.members.items():
            self._host.signal(pid, member.identity, signal.SIGKILL)
