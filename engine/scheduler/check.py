"""The invariants of the scheduler, in prose and in code. Cost: everything there is; for tests and simulations.

All hold between any two calls into the scheduler (not from within an effect, where a decision is half carried out).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from .state import (
    BUSY,
    GONE,
    LOST,
    READY,
    RETIRING,
    STARTING,
    InvariantViolation,
    Limit,
    Pool,
    SharedPool,
    SharedSlot,
    Slot,
    Waiter,
)

if TYPE_CHECKING:
    from .places import Scheduler

Story = Callable[[object], str]


def check(scheduler: Scheduler[Any]) -> None:
    """Compare every index of the scheduler with every other.

    Raises:
        InvariantViolation: naming the rule, both values, the slot or pool, and its story if one was recorded.
    """
    checker = _Checker(scheduler)
    checker.environments()
    checker.idle_order()
    for pool in checker.every_pool:
        checker.pool(pool)
    checker.room()
    checker.waiters()
    checker.patience()
    checker.places()
    checker.concurrency()
    checker.nobody_is_forgotten()


def check_step(scheduler: Scheduler[Any], pool: Pool[Any]) -> None:
    """The part of :func:`check` that costs O(1): the host's totals, and one pool's counters against each other.

    For a simulation's every step, between full checks. It cannot see a slot in a wrong list.
    """
    room = scheduler._room
    if not (
        0 <= room.used_mb <= room.memory_mb
        and 0 <= room.environments <= room.max_environments
        and 0 <= room.leaving <= room.environments
        and room.spare_mb >= 0
        and room.spare >= 0
        and room.promised >= len(room.promises)
    ):
        _fail(scheduler, f"the host's totals: {describe_room(scheduler)}", pool)
    wanted = pool.wanted
    patient = len(pool.patient or ())
    if not (
        0 <= pool.late <= pool.coming
        and patient <= pool.returning <= pool.busy * pool.capacity
        and pool.late + patient <= pool.waiting
        and pool.busy >= 0
        and pool.busy + pool.starting <= pool.held
        and 0 <= pool.granted <= max(wanted, 0)
        and (pool.ring is None) == (wanted <= pool.granted)
        and pool.running + pool.waiting <= pool.limit.in_flight
        and pool.contending == (pool.held > 0 or pool.waiting > 0)
    ):
        _fail(scheduler, "the pool's counters", pool)
    if isinstance(pool, SharedPool):
        if pool.top is not None or pool.bottom is not None or (pool.open and pool.waiters):
            _fail(scheduler, "nobody waits while an environment of the pool is open", pool)
    elif (pool.top is None) != (pool.idle == 0) or (pool.top is not None and pool.waiters):
        _fail(scheduler, "nobody waits while an environment of the pool is ready", pool)


def describe_room(scheduler: Scheduler[Any]) -> str:
    """The host's totals in one line."""
    room = scheduler._room
    return (
        f"used {room.used_mb} of {room.memory_mb} MB by {room.environments} environments (at most"
        f" {room.max_environments}), of that leaving {room.leaving_mb} MB by {room.leaving}, promised"
        f" {room.promised_mb} MB to {room.promised}"
    )


def _fail(scheduler: Scheduler[Any], rule: str, subject: object) -> NoReturn:
    story = scheduler.story(subject)
    raise InvariantViolation(f"{rule}: {subject!r}" + (f"; its story:\n{story}" if story else ""))


class _Checker:
    def __init__(self, scheduler: Scheduler[Any]) -> None:
        self.scheduler = scheduler
        self.every_slot = list(scheduler._slots)
        self.every_pool: dict[Pool[Any], None] = dict.fromkeys(
            chain(scheduler.pools(), (slot.pool for slot in self.every_slot))
        )
        self.in_state: Counter[tuple[Pool[Any], int]] = Counter((slot.pool, slot.state) for slot in self.every_slot)
        self.returning: Counter[Pool[Any]] = Counter()
        for slot in self.every_slot:
            self.returning[slot.pool] += slot.returning if isinstance(slot, SharedSlot) else slot.answered

    def equal(self, rule: str, got: object, expected: object, subject: object) -> None:
        if got != expected:
            _fail(self.scheduler, f"{rule}: is {got!r}, should be {expected!r}", subject)

    def true(self, rule: str, holds: bool, subject: object) -> None:
        if not holds:
            _fail(self.scheduler, rule, subject)

    def environments(self) -> None:
        """Every environment on the books is alive, has been ready if it is READY or BUSY, and answers while BUSY."""
        for slot in self.every_slot:
            self.true("a slot on the books is not GONE", slot.state in {STARTING, READY, BUSY, RETIRING, LOST}, slot)
            used = slot.state not in {STARTING, LOST}  # a lost one may never have come so far
            self.true("an environment in use has once become ready", not used or slot.since >= 0, slot)
            self.true("only a BUSY environment has answered", slot.state == BUSY or not slot.answered, slot)
            if not isinstance(slot, SharedSlot):
                self.equal("its invocation is expected", slot.expected, int(slot.state == STARTING), slot)

    def idle_order(self) -> None:
        """The list of idle environments holds the READY ones, each once, in the order in which they became ready.

        Hence its first is both the least recently used one and the first to expire, and no timer per environment is
        needed.
        """
        sentinel = self.scheduler._idle
        seen: set[Slot[Any]] = set()
        slot, before = sentinel.newer, sentinel
        while slot is not sentinel:
            self.true("a slot in the idle list is READY", slot.state == READY, slot)
            self.true("a slot is in the idle list once", slot not in seen, slot)
            self.true("the idle list's links agree", slot.older is before, slot)
            self.true(
                "idle environments are in order", before is sentinel or before.ready_since <= slot.ready_since, slot
            )
            seen.add(slot)
            slot, before = slot.newer, slot
        self.true("the idle list closes", sentinel.older is before, sentinel)
        self.equal("the idle list is complete", seen, {s for s in self.every_slot if s.state == READY}, sentinel)

    def pool(self, pool: Pool[Any]) -> None:
        """A pool's stack is its READY environments; its counters count its environments; who waits has none ready.

        (Those that take several invocations at a time are in no stack: see `places`.)
        """
        stack: list[Slot[Any]] = []
        slot, above = pool.top, None
        while slot is not None:
            self.true("a slot on the stack is READY and of this pool", slot.state == READY and slot.pool is pool, slot)
            self.true("the stack's links agree", slot.above is above, slot)
            stack.append(slot)
            slot, above = slot.below, slot
        self.true("the stack has its bottom", pool.bottom is above, pool)
        count = self.in_state
        shared = isinstance(pool, SharedPool)
        self.equal("READY environments on the stack", len(stack), 0 if shared else count[pool, READY], pool)
        self.equal("starting", pool.starting, count[pool, STARTING], pool)
        self.equal("busy", pool.busy, count[pool, BUSY], pool)
        self.equal("returning", pool.returning, self.returning[pool], pool)
        self.equal("held", pool.held, pool.starting + pool.busy + count[pool, READY], pool)
        self.true("nobody waits while an environment of the pool is ready", not (pool.waiters and stack), pool)
        self.true("a closed pool has no idle environment", pool.closed is None or not count[pool, READY], pool)
        self.true("nobody waits in a closed pool", pool.closed is None or not pool.waiters, pool)
        check_step(self.scheduler, pool)

    def room(self) -> None:
        """Used memory is that of every environment not GONE, within the budget; promises are covered by what leaves."""
        room = self.scheduler._room
        leaving = [slot for slot in self.every_slot if slot.state == RETIRING]
        at = describe_room(self.scheduler)
        self.equal("memory used", room.used_mb, sum(slot.pool.memory_mb for slot in self.every_slot), at)
        self.equal("environments", room.environments, len(self.every_slot), at)
        self.equal("memory leaving", room.leaving_mb, sum(slot.pool.memory_mb for slot in leaving), at)
        self.equal("environments leaving", room.leaving, len(leaving), at)
        self.equal("promised", room.promised, sum(pool.granted for pool in self.every_pool), at)
        self.equal("memory promised", room.promised_mb, sum(p.granted * p.memory_mb for p in self.every_pool), at)
        self.equal("pools with promises", set(room.promises), {p for p in self.every_pool if p.granted}, at)
        self.equal("contenders", room.contenders, sum(p.contending for p in self.every_pool), at)
        for ring in (room.lean, room.rich):
            self.equal("a ring", set(ring), {p for p in self.every_pool if p.ring is ring}, at)
        for pool in room.rich:
            self.true("a pool that holds nothing is lean", pool.held + pool.granted > 0, pool)

    def waiters(self) -> None:
        """Each waiter is in its pool's queue, and in the queue of deadlines unless late.

        Both are in order; the late ones are the first of their pool, and for each of them an environment is starting.
        Hence an invocation waits at most `wait_limit_s`, and if an environment is starting for it then, at most until
        that start is over.
        """
        in_pools = set()
        for pool in self.every_pool:
            before = -1.0
            for position, (key, waiter) in enumerate((pool.waiters or {}).items()):
                self.true("a waiter is filed under its invocation", key == id(waiter.invocation), pool)
                self.true("a waiter knows its pool", waiter.pool is pool, pool)
                self.true("a pool's waiters are in order", before <= waiter.deadline, pool)
                self.equal("the first waiters are the late ones", waiter.late, position < pool.late, pool)
                before = waiter.deadline
                if not waiter.late:
                    in_pools.add(waiter)
        deadlines = list(self.scheduler._deadlines.values())
        self.equal("the queue of deadlines is complete", set(deadlines), in_pools, "deadlines")
        self.true("deadlines are in order", deadlines == sorted(deadlines, key=lambda w: w.deadline), "deadlines")

    def patience(self) -> None:
        """The patient waiters are the last of their pool, at most one for each environment that is returning.

        All of them are in the queue of patience, which is in order. Hence nobody waits longer than `patience_s` for
        environments that have answered but do not come back.
        """
        patient: set[Waiter[Any]] = set()
        for pool in self.every_pool:
            trusting = list((pool.patient or {}).items())
            last = list((pool.waiters or {}).items())[pool.waiting - len(trusting) :]
            self.equal("the last waiters are the patient ones", trusting, last, pool)
            patient.update(waiter for _, waiter in trusting)
        queue = list(self.scheduler._patience.values())
        self.equal("the queue of patience is complete", set(queue), patient, "patience")
        self.true("patience ends in order", queue == sorted(queue, key=lambda w: w.patient_until), "patience")
        due = self.scheduler._wake_at
        if queue:
            self.true("the end of patience is watched", due <= queue[0].patient_until, queue[0].pool)

    def places(self) -> None:
        """The places of an environment that takes several invocations at a time add up to its capacity, at most.

        READY is one with nothing running and nothing returning, BUSY any other; its pool's totals are theirs. Open are
        those with a free place, which are not draining, of a pool that is not closed. Places are expected until a time
        that is watched. Nothing drains while no lean pool wants room.
        """
        expecting: set[SharedSlot[Any]] = set()
        draining: set[SharedSlot[Any]] = set()
        for pool in self.every_pool:
            if not isinstance(pool, SharedPool):
                continue
            mine = [s for s in self.every_slot if s.pool is pool and isinstance(s, SharedSlot)]
            held = [slot for slot in mine if slot.state in {STARTING, READY, BUSY}]
            self.equal("slots of a pool", set(pool.slots), set(held), pool)
            self.equal("running", pool.taken, sum(slot.running for slot in mine), pool)
            self.equal("expected", pool.expected, sum(slot.expected for slot in mine), pool)
            for slot in mine:
                counts = (slot.places, slot.running, slot.returning, slot.expected)
                used = slot.running + slot.returning > 0
                self.true("a slot knows its pool", slot.home is pool and not slot.answered, slot)
                self.true("no count of places is negative", min(counts) >= 0, slot)
                self.true("its places are no more than its capacity", sum(counts) <= pool.capacity, slot)
                known = any(counts[:3]) or (slot.expected and slot.state != STARTING)
                self.true("only one in use has places", slot.state in {READY, BUSY} or not known, slot)
                starting = slot.state != STARTING or slot.expected == pool.capacity
                self.true("all places of one that starts are expected", starting, slot)
                self.true("a BUSY one has something on it", slot.state != BUSY or used, slot)
                self.true("a READY one has nothing on it", slot.state != READY or not used, slot)
                is_open = slot.places > 0 and not slot.draining and pool.closed is None
                self.equal("an open slot has a free place", slot in pool.open, is_open, slot)
                self.true("what drains has something on it", slot.state == BUSY or not slot.draining, slot)
                if slot.expected and slot.state != STARTING:
                    expecting.add(slot)
                if slot.draining:
                    draining.add(slot)
        queue = list(self.scheduler._expecting)
        self.equal("the queue of expected places is complete", set(queue), expecting, "expected")
        self.true("it is in order", queue == sorted(queue, key=lambda s: s.expected_until), "expected")
        if queue:
            self.true("its end is watched", self.scheduler._wake_at <= queue[0].expected_until, queue[0])
        self.equal("those that drain", set(self.scheduler._draining), draining, "draining")
        self.true("they drain for somebody", not draining or bool(self.scheduler._room.lean), list(draining)[:1])

    def concurrency(self) -> None:
        """Each accepted invocation, until it is answered, counts under the one limit of its function."""
        concurrency = self.scheduler._concurrency
        expected: Counter[Limit] = Counter()
        reserved = 0
        for function in concurrency.functions.values():
            expected[function.limit] += function.in_flight
            reserved += function.reserved or 0
            own = function.limit is not concurrency.unreserved
            self.equal("a reserved function has its own limit", own, function.reserved is not None, function.name)
            if own:
                self.equal("its in flight", function.limit.in_flight, expected[function.limit], function.name)
            for pool in function.pools:
                self.true("a pool has its function's limit", pool.limit is function.limit, pool)
        unreserved = concurrency.unreserved
        self.equal("unreserved in flight", unreserved.in_flight, expected[unreserved], "account")
        self.equal("unreserved ceiling", unreserved.ceiling, max(0, concurrency.account - reserved), "account")

    def nobody_is_forgotten(self) -> None:
        """Nobody waits for room that is there, and the next event will look up those that wait for some that is not."""
        scheduler, room = self.scheduler, self.scheduler._room
        self.true("no promise can be kept that is not", room.launchable() is None, describe_room(scheduler))
        first = next((pool for pool in room.lean if not room.is_rich(pool)), None) or next(
            chain(room.rich, room.lean), None
        )
        self.true("`ready` looks up when somebody waits for room", scheduler._alert or not room.pending, first)
        if first is not None:
            fits = first.memory_mb <= room.spare_mb and room.spare >= 1
            self.true("the pool whose turn it is does not fit", not fits, first)
        watched = scheduler._idle_watched or scheduler._alert
        self.true("idle environments are watched", watched, "idle")
        self.true("not within a decision", not scheduler._serving, "serving")
        self.true("the sentinel is never in use", scheduler._idle.state != GONE, scheduler._idle)
