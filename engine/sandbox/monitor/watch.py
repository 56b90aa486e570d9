"""One sandbox as the monitor knows it, and what follows from a reading. Nothing here reads or signals anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from engine.sandbox.api import SandboxLimits

from .duty import DutyCycle
from .meter import CpuMeter
from .pace import SHORTEST, STORAGE_RATE, next_sample_in, next_walk_in
from .storage import Measure

_MIB = 1024 * 1024
#: A tree that kept at least this share of a core busy is looked at by the clock; one below by its CPU time.
BUSY = 0.5
#: A tree that has run is looked at again after so many seconds, until nothing of it is unseen; without alarms, always.
IDLE_LOOK = 0.25
#: No alarm is set beyond so much CPU time: some things take less of it than the rates of `pace` say (fallocate(2)).
_MOST_CPU = 0.05
#: What is due within this is due now: a clock that ticks with the tree's CPU is always a little behind the wall's.
_SOON = SHORTEST / 2
#: Where CPU time is told in ticks, a tree counts as running for so many seconds after it was last seen to.
_TICKS = 0.05


@dataclass(slots=True)
class Member:
    """A process of the tree: its identity (`Host.identity`), and whether it has stopped by itself."""

    identity: int
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """When to look again: after `clock` seconds, and when the tree has consumed `cpu` seconds; None: not so."""

    clock: float | None
    cpu: float | None


class Watch:
    """The state of one watched sandbox. The event loop writes `frozen`, `closed` and `epoch`; the thread all the rest.

    Attributes:
        epoch: counts the trees of this sandbox: a verdict on an earlier one must not hit the next.
        frozen: it may not run, by the engine's order; the thread neither stops nor continues it.
        peak: the most memory that the tree was seen to have, bytes.
        verdict: the last tree that the monitor killed, by its epoch, and why.
    """

    def __init__(
        self,
        key: int,
        limits: SandboxLimits,
        tmp_dir: str,
        on_over: Callable[[int, str], None],
        *,
        count_processes: bool,
        cores: int,
    ) -> None:
        self.key = key
        self.limits = limits
        self.on_over = on_over
        self.measure = Measure(tmp_dir)
        self.verdict: tuple[int, str] | None = None
        self.epoch = 0
        self.frozen = False
        self.closed = False
        self.peak = 0
        self.members: dict[int, Member] = {}
        self.meter = CpuMeter()
        self.duty: DutyCycle | None = None
        self.halted: dict[int, int] = {}
        """Processes that the duty cycle has stopped: pid and identity."""
        self.due = math.inf
        self.looked = 0.0
        self.ran = False
        """Whether it consumed CPU since its children's clocks were read."""
        self.threads = 1
        self.memory = 0
        self.walking = False
        self._count_processes = count_processes
        self._cores = cores
        self._memory_limit = limits.memory_mb * _MIB
        self._storage_limit = limits.ephemeral_storage_mb * _MIB
        self._storage_allowed = self._storage_limit
        self._memory_left = 0.0
        self._storage_left = self._storage_limit / STORAGE_RATE
        self._since_memory = 0.0
        self._since_storage = 0.0
        self._memory_rest = 0.0
        self._storage_rest = 0.0
        self._ran_at = 0.0

    @property
    def cause(self) -> str | None:
        """Why the monitor killed the tree that is there now; None when it did not."""
        verdict = self.verdict
        return verdict[1] if verdict is not None and verdict[0] == self.epoch else None

    def begin(self, now: float) -> None:
        """A new tree starts in the sandbox."""
        self.members.clear()
        self.halted.clear()
        self.meter = CpuMeter()
        self.duty = None
        self.looked = self._ran_at = now
        self.threads = 1
        self.memory = 0
        self._memory_left = 0.0
        self._memory_rest = 0.0
        self._storage_allowed = max(self._storage_limit, self.measure.used)

    def consumed(self, seconds: float) -> None:
        """The tree has used CPU time: that much nearer to whatever limit."""
        self._memory_left -= seconds
        self._storage_left -= seconds
        self._since_memory += seconds
        self._since_storage += seconds
        if seconds > 0:
            self.ran = True

    def memory_due(self, now: float, consumed: float) -> bool:
        """Whether to look at its memory: it may be near the limit, or it has come to rest since the last look."""
        return now >= self._memory_rest and (self._memory_left <= _SOON or (consumed <= 0 < self._since_memory))

    def storage_due(self, now: float, consumed: float) -> bool:
        """Whether to walk its /tmp, likewise."""
        due = self._storage_left <= _SOON or (consumed <= 0 < self._since_storage)
        return due and not self.walking and now >= self._storage_rest

    def walks(self) -> None:
        """Its /tmp is being walked."""
        self.walking = True
        self._since_storage = 0.0

    def new_member(self) -> None:
        """It has a process whose memory was not counted yet."""
        self._memory_left = self._memory_rest = 0.0

    def sum_up(self, figures: list[int]) -> tuple[int, bool]:
        """The memory of the tree from that of its processes, and whether it decides nothing, as they may share it.

        Not more than the limit together: the sum, an upper bound. More in one process alone: that, a lower bound.
        """
        used, largest = sum(figures), max(figures, default=0)
        if used <= self._memory_limit:
            return used, False
        return largest, largest <= self._memory_limit

    def saw_memory(self, used: int, threads: int, processes: int, rest_until: float = 0.0) -> str | None:
        """Take in the memory and threads of the tree.

        Args:
            used: bytes.
            threads: of all processes.
            processes: how many there are.
            rest_until: no look before this time, as this one was dear.

        Returns:
            The limit that is exceeded, or None.
        """
        grown = (used - self.memory) / self._since_memory if self._since_memory > 0 else 0.0
        self.memory = used
        self.threads = max(1, threads)
        self.peak = max(self.peak, used)
        self._since_memory = 0.0
        self._memory_left = next_sample_in(used, self._memory_limit, grown)
        self._memory_rest = rest_until
        if used > self._memory_limit:
            return "memory"
        if self._count_processes and max(threads, processes) > self.limits.processes:
            return "processes"
        return None

    def too_many(self) -> bool:
        """Whether there are more processes than allowed, threads not counted."""
        return self._count_processes and len(self.members) > self.limits.processes

    @property
    def overfull(self) -> bool:
        """Whether /tmp was over its limit when it was walked last."""
        return self.measure.used > self._storage_limit

    def found_storage(self, used: int) -> None:
        """Take in the size of /tmp as a new tree found it: it may stay so, but not grow."""
        self.walking = False
        self._storage_allowed = max(self._storage_limit, used)

    def saw_storage(self, used: int, rest_until: float = 0.0) -> str | None:
        """Take in the size of /tmp; the limit that is exceeded, or None."""
        self.walking = False
        self._storage_left = next_walk_in(used, self._storage_limit)
        self._storage_rest = rest_until
        if used > self._storage_allowed:
            return "storage"
        self._storage_allowed = max(self._storage_limit, used)
        return None

    @property
    def parallel(self) -> float:
        """How many cores it could keep busy."""
        return float(min(self._cores, max(self.threads, len(self.members))))

    def plan(self, now: float, consumed: float, elapsed: float, *, alarms: bool) -> tuple[bool, Plan]:
        """Whether the tree is to be stopped for a while, and when to look again."""
        parallel = self.parallel
        if consumed > 0 or (self.duty is not None and self.duty.stopped):
            self._ran_at = now
        memory, storage = max(0.0, self._memory_left), max(0.0, self._storage_left)
        rest = self._memory_rest - now if self._memory_left <= _SOON else 0.0
        clock = max(memory / parallel, rest)
        cpu = memory if rest <= 0 else math.inf
        if not self.walking:
            clock = min(clock, max(storage / parallel, self._storage_rest - now))
            cpu = min(cpu, storage)
        busy = consumed >= BUSY * elapsed > 0
        if self.duty is not None and self.duty.share < parallel:
            busy = busy or self.duty.stopped
            step = self.duty.step(now, consumed, parallel)
            if step.stop:
                return True, Plan(step.look_in, None)
            clock = min(clock, step.look_in)
            cpu = min(cpu, step.cpu)
        clock = max(SHORTEST / 2, clock)
        if busy:
            return False, Plan(clock, None)
        if not alarms:
            return False, Plan(IDLE_LOOK if now - self._ran_at > _TICKS else min(clock, IDLE_LOOK), None)
        seen = consumed <= 0 and self._since_memory <= 0 and self._since_storage <= 0
        return False, Plan(None if seen else rest if rest > 0 else IDLE_LOOK, min(cpu, _MOST_CPU))
