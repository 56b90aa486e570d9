"""Any events in any order, with effects that may call back at once: the scheduler's books stay straight."""

from __future__ import annotations

from math import inf
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from engine.scheduler import BUSY, GONE, LOST, READY, RETIRING, STARTING, Pool, SharedSlot, Slot
from engine.scheduler.story import RecordedScheduler

FUNCTIONS = ("a", "b", "c", "d")
SIZES = (1, 1, 2, 3, 7, 11)
CAPACITIES = (None, None, 1, 2, 5)
"""Of environments: the ordinary kind twice, then such as take several invocations at a time."""
BUDGET = 10


RARELY = st.sampled_from([False, False, False, True])
"""Trouble: environments must live to see some of what there is."""
MOST_CHANGES = 8
"""Of functions and reservations, in one example; hypothesis would do little else."""


class Invocation:
    def __init__(self, number: int, pool: Pool[Any]) -> None:
        self.number = number
        self.pool = pool
        self.submitted = 0.0
        self.where = "new"

    def __repr__(self) -> str:
        return f"#{self.number} ({self.where})"

    def move(self, *, to: str, expect: set[str]) -> None:
        assert self.where in expect, f"{self!r} cannot become {to}"
        self.where = to


class Workers:
    """What the world knows of a slot that takes several invocations at a time."""

    def __init__(self) -> None:
        self.asking = 0
        self.running: list[Invocation] = []


class World:
    """What the effects do to the world; some happen at once, re-entrantly, as a host that refuses on the spot does."""

    def __init__(self, launch_fails_at_once: bool, gone_at_once: bool) -> None:
        self.launch_fails_at_once = launch_fails_at_once
        self.gone_at_once = gone_at_once
        self.scheduler: RecordedScheduler[Invocation]
        self.now = 0.0
        self.wake_at = inf
        self.slots: list[Slot[Invocation]] = []
        self.running: dict[Slot[Invocation], Invocation] = {}
        self.workers: dict[Slot[Invocation], Workers] = {}

    def start(self, slot: Slot[Invocation], invocation: Invocation) -> None:
        assert slot.state == BUSY
        assert slot.pool is invocation.pool
        if isinstance(slot, SharedSlot):
            workers = self.workers[slot]
            assert workers.asking, "an invocation was given to an environment none of whose workers asks for one"
            workers.asking -= 1
            assert not slot.draining, "an environment that drains was given an invocation"
            invocation.move(to="running", expect={"new", "waiting"})
            workers.running.append(invocation)
            assert len(workers.running) <= slot.pool.capacity
            return
        assert slot not in self.running, "an environment was given a second invocation"
        assert slot.environment == "ready", "an invocation was given to an environment that is not ready"
        invocation.move(to="running", expect={"new", "waiting"})
        self.running[slot] = invocation

    def launch(self, slot: Slot[Invocation]) -> None:
        assert slot.state == STARTING
        self.slots.append(slot)
        assert sum(s.pool.memory_mb for s in self.slots) <= BUDGET, "the memory budget is exceeded"
        slot.environment = "starting"
        assert not slot.pool.open, "launched, though an environment has a free place"
        if isinstance(slot, SharedSlot):
            self.workers[slot] = Workers()
        if self.launch_fails_at_once:
            self.fail_launch(slot)

    def retire(self, slot: Slot[Invocation], reason: str) -> None:
        assert slot.state == RETIRING
        assert slot not in self.running, f"an environment with an invocation was retired ({reason})"
        assert slot not in self.workers or not self.workers[slot].running, f"retired ({reason}) with an invocation"
        self.workers.pop(slot, None)
        slot.environment = "retiring"
        if self.gone_at_once:
            self.bury(slot)

    def refuse(self, invocation: Invocation, reason: str) -> None:
        assert reason.endswith("ConcurrentInvocationLimitExceeded")
        invocation.move(to="refused", expect={"new", "waiting"})

    def wake(self, at: float) -> None:
        assert at < self.wake_at
        self.wake_at = at

    def bury(self, slot: Slot[Invocation]) -> None:
        self.slots.remove(slot)
        if slot in self.running:
            self.end(slot, "failed")
        self.end_all(slot)
        self.scheduler.gone(self.now, slot)

    def end_all(self, slot: Slot[Invocation]) -> None:
        """The environment is of no more use; what ran on it has failed."""
        workers = self.workers.pop(slot, None)
        for invocation in workers.running if workers else ():
            invocation.move(to="failed", expect={"running"})

    def end(self, slot: Slot[Invocation], how: str) -> None:
        """The environment is through with its invocation; if it had answered, that is how it remains."""
        invocation = self.running.pop(slot)
        if not slot.answered:
            invocation.move(to=how, expect={"running"})

    def fail_launch(self, slot: Slot[Invocation]) -> None:
        self.slots.remove(slot)
        self.end_all(slot)
        for failed in self.scheduler.launch_failed(self.now, slot):
            failed.move(to="failed", expect={"new", "waiting"})


class SchedulerMachine(RuleBasedStateMachine):
    pools = Bundle("pools")
    invocations = Bundle("invocations")

    @initialize(
        target=pools,
        sizes=st.lists(st.tuples(st.sampled_from(SIZES), st.sampled_from(CAPACITIES)), min_size=4, max_size=4),
        launch_fails_at_once=st.sampled_from([False] * 7 + [True]),
        gone_at_once=st.booleans(),
        keep_alive_s=st.sampled_from([0.0, 1.0, 5.0, inf]),
        wait_limit_s=st.sampled_from([2.0, 2.0, 0.0]),
        patience_s=st.sampled_from([0.0, 0.05, 0.05, 0.5, 9.0]),
        max_environments=st.sampled_from([None, None, 1, 4]),
        account=st.sampled_from([1000, 1000, 3]),
    )
    def begin(
        self,
        *,
        sizes: list[tuple[int, int | None]],
        launch_fails_at_once: bool,
        gone_at_once: bool,
        keep_alive_s: float,
        wait_limit_s: float,
        patience_s: float,
        max_environments: int | None,
        account: int,
    ) -> Any:
        self.world = world = World(launch_fails_at_once, gone_at_once)
        self.scheduler = world.scheduler = RecordedScheduler(
            world,
            memory_mb=BUDGET,
            account_concurrency=account,
            keep_alive_s=keep_alive_s,
            wait_limit_s=wait_limit_s,
            patience_s=patience_s,
            max_environments=max_environments,
        )
        self.max_environments = max_environments or 10**9
        self.everything: list[Invocation] = []
        self.changes = 0
        made = [self.scheduler.open_pool(name, *kind) for name, kind in zip(FUNCTIONS, sizes, strict=True)]
        return multiple(*made)

    # -- the world's moves

    @rule(target=invocations, pool=pools, count=st.sampled_from([1, 2, 3, 4, 8]))
    def submit(self, pool: Pool[Invocation], count: int) -> Any:
        made = []
        for _ in range(0 if pool.closed else count):
            invocation = Invocation(len(self.everything), pool)
            self.everything.append(invocation)
            made.append(invocation)
            self._submit(invocation)
        return multiple(*made)

    def _submit(self, invocation: Invocation) -> None:
        invocation.submitted = self.world.now
        was_ready = invocation.pool.idle if invocation.pool.open is None else len(invocation.pool.open)
        limit = invocation.pool.limit
        admitted = limit.in_flight < limit.ceiling
        self.scheduler.submit(self.world.now, invocation.pool, invocation)
        if not admitted:
            assert invocation.where == "refused"
        elif was_ready:
            assert invocation.where == "running", "an environment was ready, and the invocation not started"
        elif invocation.pool.memory_mb > BUDGET:
            assert invocation.where == "refused"
        elif invocation.where == "new":
            invocation.where = "waiting"

    @precondition(lambda self: any(not s.answered for s in self.world.running))
    @rule(data=st.data(), again=st.integers(0, 2), twice=st.booleans())
    def answers(self, data: st.DataObject, again: int, twice: bool) -> None:
        """A runtime answers, and its caller, or others too, may be back before it is."""
        slots = [s for s in self.world.running if not s.answered]
        if slots:
            slot = data.draw(st.sampled_from(slots), label="slot")
            pool = slot.pool
            self.world.running[slot].move(to="answered", expect={"running"})
            starting, wanted = pool.starting, pool.wanted
            trusted = pool.returning + pool.starting - pool.waiting
            for _ in range(1 + twice):
                self.scheduler.answered(self.world.now, slot)
            self.submit(pool, again)
            if self.scheduler.patience_s and wanted <= 0 and again <= trusted + 1:
                assert pool.starting <= starting, "launched, though one was about to be back"

    @precondition(
        lambda self: any(not isinstance(s, SharedSlot) and s.state in {STARTING, BUSY} for s in self.world.slots)
    )
    @rule(data=st.data(), broken=st.booleans())
    def becomes_ready(self, data: st.DataObject, broken: bool) -> None:
        slots = [s for s in self.world.slots if s.state in {STARTING, BUSY} and not isinstance(s, SharedSlot)]
        if slots:
            slot = data.draw(st.sampled_from(slots), label="slot")
            slot.environment = "ready"
            if slot in self.world.running:
                self.world.end(slot, "answered")
            self.scheduler.ready(self.world.now, slot, broken=broken)

    @precondition(lambda self: self.world.workers)
    @rule(data=st.data(), asking=st.integers(1, 6))
    def workers_ask(self, data: st.DataObject, asking: int) -> None:
        """For the first time, again, or after all: nobody can tell which worker it is."""
        for _ in range(asking):
            slots = [
                slot
                for slot, workers in self.world.workers.items()
                if workers.asking + len(workers.running) < slot.pool.capacity
            ]
            if slots:
                slot = data.draw(st.sampled_from(slots), label="slot")
                assert isinstance(slot, SharedSlot)
                self.world.workers[slot].asking += 1
                self.scheduler.place_free(self.world.now, slot)

    @precondition(lambda self: any(w.running for w in self.world.workers.values()))
    @rule(data=st.data(), in_time=st.sampled_from([True, True, False]), again=st.integers(0, 3))
    def a_worker_answers(self, data: st.DataObject, in_time: bool, again: int) -> None:
        """Or its invocation times out; callers may be back at once."""
        slots = [slot for slot, workers in self.world.workers.items() if workers.running]
        if slots:
            slot = data.draw(st.sampled_from(slots), label="slot")
            assert isinstance(slot, SharedSlot)
            pool = slot.home
            running = self.world.workers[slot].running
            invocation = running.pop(data.draw(st.integers(0, len(running) - 1), label="which"))
            invocation.move(to="answered", expect={"running"})
            starting, wanted = pool.starting, pool.wanted
            room = pool.returning + pool.expected - pool.waiting + sum(one.places for one in pool.open)
            self.scheduler.place_answered(self.world.now, slot, in_time)
            self.submit(pool, again)
            if in_time and self.scheduler.patience_s and wanted <= 0 and again <= room + 1:
                assert pool.starting <= starting, "launched, though a place was about to be free"

    @precondition(lambda self: any(w.asking for w in self.world.workers.values()))
    @rule(data=st.data())
    def a_worker_goes(self, data: st.DataObject) -> None:
        slots = [slot for slot, workers in self.world.workers.items() if workers.asking]
        if slots:
            slot = data.draw(st.sampled_from(slots), label="slot")
            assert isinstance(slot, SharedSlot)
            self.world.workers[slot].asking -= 1
            self.scheduler.place_withdrawn(self.world.now, slot)

    @precondition(lambda self: any(isinstance(s, SharedSlot) and s.returning for s in self.world.workers))
    @rule(data=st.data())
    def a_worker_stays_away(self, data: st.DataObject) -> None:
        slots = [slot for slot in self.world.workers if isinstance(slot, SharedSlot) and slot.returning]
        if slots:
            self.scheduler.place_abandoned(self.world.now, data.draw(st.sampled_from(slots), label="slot"))

    @precondition(lambda self: self.world.slots)
    @rule(data=st.data(), really=RARELY)
    def ends(self, data: st.DataObject, really: bool) -> None:
        if really:
            self.world.bury(data.draw(st.sampled_from(self.world.slots), label="slot"))

    @precondition(lambda self: self.world.slots)
    @rule(data=st.data(), really=RARELY)
    def is_lost(self, data: st.DataObject, really: bool) -> None:
        """It takes no invocation any more, and its memory is not free; `ends` may come later."""
        slots = [s for s in self.world.slots if s.state != LOST]
        if slots and really:
            slot = data.draw(st.sampled_from(slots), label="slot")
            slot.environment = "lost"
            invocation = self.world.running.pop(slot, None)
            if invocation is not None and not slot.answered:
                invocation.move(to="failed", expect={"running"})
            self.world.end_all(slot)
            self.scheduler.lost(self.world.now, slot)

    @precondition(lambda self: any(s.state == STARTING for s in self.world.slots))
    @rule(data=st.data(), really=RARELY)
    def fails_to_launch(self, data: st.DataObject, really: bool) -> None:
        slots = [s for s in self.world.slots if s.state == STARTING]
        if slots and really:
            self.world.fail_launch(data.draw(st.sampled_from(slots), label="slot"))

    @precondition(lambda self: any(s.state == STARTING for s in self.world.slots))
    @rule(data=st.data(), really=RARELY)
    def fails_to_initialise(self, data: st.DataObject, really: bool) -> None:
        slots = [s for s in self.world.slots if s.state == STARTING]
        if slots and really:
            slot = data.draw(st.sampled_from(slots), label="slot")
            slot.environment = "lost"
            waiting = slot.pool.waiting
            self.world.end_all(slot)
            failed = self.scheduler.init_failed(self.world.now, slot)
            assert len(failed) == min(waiting, slot.pool.capacity)
            for invocation in failed:
                invocation.move(to="failed", expect={"waiting"})

    @rule(invocation=invocations)
    def caller_hangs_up(self, invocation: Invocation) -> None:
        withdrawn = self.scheduler.withdraw(self.world.now, invocation.pool, invocation)
        assert withdrawn == (invocation.where == "waiting")
        if withdrawn:
            invocation.where = "withdrawn"

    @precondition(lambda self: self.changes < MOST_CHANGES)
    @rule(
        target=pools,
        old=consumes(pools),
        update=st.booleans(),
        memory_mb=st.sampled_from(SIZES),
        capacity=st.sampled_from(CAPACITIES),
    )
    def close(self, old: Pool[Invocation], update: bool, memory_mb: int, capacity: int | None) -> Any:
        """A function is updated, or deleted and made again: who waited goes to the new one, or is told so."""
        self.changes += 1
        waiting = [i for i in self.everything if i.where == "waiting" and i.pool is old]
        orphans = self.scheduler.close_pool(self.world.now, old)
        assert orphans == waiting
        new = self.scheduler.open_pool(old.function, memory_mb, capacity)
        for orphan in orphans:
            if update:
                orphan.pool = new
                orphan.where = "new"
                self._submit(orphan)
            else:
                orphan.where = "failed"
        return new

    @precondition(lambda self: self.changes < MOST_CHANGES)
    @rule(function=st.sampled_from(FUNCTIONS), limit=st.sampled_from([None, 3, 1, 0]))
    def reserve(self, function: str, limit: int | None) -> None:
        self.changes += 1
        self.scheduler.reserve(function, limit)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.6, 2.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        """As in the shell: `advance` is called when the scheduler asked for it, and only then."""
        world, end, rounds = self.world, self.world.now + seconds, 0
        while world.wake_at <= end:
            world.now = max(world.now, world.wake_at)
            world.wake_at = inf
            due = self.scheduler.advance(world.now)
            assert due is None or due > world.now, "a wake-up that asks for itself again at once: a busy loop"
            world.wake_at = inf if due is None else due
            self.scheduler.check()
            rounds += 1
            assert rounds < 1000
        world.now = end

    @precondition(lambda self: len(self.everything) > 60)
    @rule(really=RARELY)
    def engine_stops(self, really: bool) -> None:
        if not really:
            return
        for orphan in self.scheduler.shutdown():
            orphan.move(to="failed", expect={"waiting"})
        assert not any(slot.state == READY for slot in self.world.slots)

    # -- what must hold after each

    @invariant()
    def books_are_straight(self) -> None:
        if hasattr(self, "scheduler"):
            self.scheduler.check()

    @invariant()
    def the_world_agrees(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        world = self.world
        assert all(slot.state != GONE for slot in world.slots)
        assert len(world.slots) <= self.max_environments
        shared = {s for s in world.slots if isinstance(s, SharedSlot)}
        assert {s for s in world.slots if s.state == BUSY} - shared == set(world.running)
        for slot in shared:
            workers = world.workers.get(slot) or Workers()
            assert (slot.places, slot.running) == (workers.asking, len(workers.running))
        waiting = [i for i in self.everything if i.where == "waiting"]
        assert len(waiting) == self.scheduler.stats().waiting
        assert not any(i.where == "new" for i in self.everything)
        for invocation in waiting:
            overdue = world.now > invocation.submitted + self.scheduler.wait_limit_s
            assert not overdue or invocation.pool.coming, f"{invocation!r} waits too long"
            trusting = id(invocation) in (invocation.pool.patient or ())
            impatient = world.now > invocation.submitted + self.scheduler.patience_s
            assert not (trusting and impatient), f"{invocation!r} is held for too long"

    @invariant()
    def every_due_time_is_announced(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        for waiter in self.scheduler._deadlines.values():
            assert waiter.deadline >= self.world.wake_at
        for waiter in self.scheduler._patience.values():
            assert waiter.patient_until >= self.world.wake_at
        for slot in self.scheduler._expecting:
            assert slot.expected_until >= self.world.wake_at
        for slot in self.world.slots:
            if slot.state == READY:
                assert slot.ready_since + self.scheduler.keep_alive_s >= self.world.wake_at


SchedulerMachine.TestCase.settings = settings(
    max_examples=250, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSchedulerMachine = SchedulerMachine.TestCase
