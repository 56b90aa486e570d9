"""Many environments: who gets the next invocation.

The scheduler owns the question "which environment, and if none, then what?", and nothing else. It does no I/O, reads
no clock and never awaits; the service around it (the shell) tells it what happened and when, and it calls the shell
back through five :class:`Effects`. So a million invocations can be simulated in a minute with every rule checked, and
a warm invocation costs two plain calls that allocate nothing.

**The records.** A :class:`Pool` is one function revision; a :class:`Slot` is one environment of it. A slot is
STARTING, READY (idle), BUSY (exactly one invocation; for the other kind see `places`), RETIRING (told to end, its
memory not yet free), LOST (of no more use, and it would not end: its memory is promised to nobody) or GONE. The shell
keeps what it needs in ``pool.data`` and ``slot.environment``.

**An invocation comes** (`submit`). Over its function's limit, it is refused: a function with reserved concurrency has
its own limit, all others share what is left of the account's; waiting and running invocations count alike. Otherwise
the pool's most recently used ready environment gets it. None ready: it waits in the pool's queue, and the pool wants
one environment per waiter that none is starting or returning for. It goes to whichever environment of the pool is ready
first, the one launched on its behalf or one that comes back from another invocation.

**Returning.** A runtime answers first and asks for its next invocation a moment later, and a caller may be back with
another before that. So an environment that has `answered` is *returning*, and an invocation that finds none ready is
*patient*, as long as there are no more patient ones than returning environments: the pool wants none launched for it. A
cold start would cost a hundred times that wait. But patience is short, ``patience_s``, and each waiter's own: when it
is over, or the returning environment dies, the pool wants one launched as ever, and the waiter takes whichever is
first. So a runtime that answers and then lingers, or never comes back, holds nobody up for longer than that. The
patient are always the newest waiters of the pool: those that a launch is under way for are served before them.

**Several at a time.** Functions may have environments that take more than one invocation at once (AWS: Lambda Managed
Instances). What is said here holds for them, place by place; what is different, and why, is the prose of `places`.

**Room.** Every environment that is not GONE occupies its MemorySize of the host's budget. A pool that wants an
environment is *promised* room, and the launch is made when the room is free: at once on a host with room to spare;
else the least recently used idle environments are retired, and the shell says `gone` when their memory is back.

**Turns.** On a full host, pools that want room take turns, one environment each, in the order in which they came to
want it. Lean pools (holding no more than budget / contending pools) go before rich ones. Three rules keep it fair,
each in terms of *a turn*, a quarter of the wait limit:

- A rich pool whose environment comes back hands it over to a lean one, although it has waiters of its own, once the
  environment has served for a turn; sooner would cost a cold start for each invocation.
- A rich pool may not evict what was used within the last turn; a lean one may.
- A pool whose turn it is, and which does not fit, holds the others back, so that a large function is not starved by
  small ones; but only for a turn. Then whoever fits goes ahead, once around, and it queues up again.

**Waiting is bounded.** After ``wait_limit_s`` a waiter is refused, except when an environment is starting for it:
then it is *late*, and waits for that start to end (which the environment's own init time limit bounds). Late waiters
are always the first of their queue and never outnumber the STARTING environments; a start that comes to nothing takes
one late waiter with it. So the bound is the limit plus one start.

**Time.** ``keep_alive_s``, ``wait_limit_s`` and ``patience_s`` are the same for all, so the list of idle environments
is in order of expiry, the queue of waiters in order of deadline, and that of the patient too: three queues, no timers.
`advance` does what is due and answers when it wants to be called next; :meth:`Effects.wake` brings that forward. A busy
host is woken about once per keep-alive.

No decision does more work when there are more functions or environments; with 100,000 functions in random order a
warm one takes about twice its half microsecond, for the processor's caches (``benchmarks/scheduler.py``). Files:
``state`` the records; ``core`` the decisions; ``places`` those about environments that take several; ``room`` memory
and turns; ``concurrency`` limits; ``check`` every invariant, in words and code; ``stats``; ``story`` a scheduler that
remembers its last transitions, for tests.
"""

from __future__ import annotations

from .places import Scheduler
from .state import (
    BUSY,
    GONE,
    LOST,
    READY,
    RETIRING,
    STARTING,
    STATE_NAMES,
    Effects,
    IllegalTransition,
    InvariantViolation,
    Pool,
    Refusal,
    RetireReason,
    SharedPool,
    SharedSlot,
    Slot,
)
from .stats import PoolStats, SchedulerStats

__all__ = [
    "BUSY",
    "GONE",
    "LOST",
    "READY",
    "RETIRING",
    "STARTING",
    "STATE_NAMES",
    "Effects",
    "IllegalTransition",
    "InvariantViolation",
    "Pool",
    "PoolStats",
    "Refusal",
    "RetireReason",
    "Scheduler",
    "SchedulerStats",
    "SharedPool",
    "SharedSlot",
    "Slot",
]
