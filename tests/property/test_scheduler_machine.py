"""Any events in any order, with effects that may call back at once: the scheduler's books stay straight."""

from __future__ import annotations

from math import inf
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from engine.scheduler import BUSY, GONE, LOST, READY, RETIRING, STARTING, Pool, Slot
from engine.scheduler.story import RecordedScheduler

FUNCTIONS = ("a", "b", "c", "d")
SIZES = (1, 1, 2, 3, 7, 11)
BUDGET = 10


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

    def start(self, slot: Slot[Invocation], invocation: Invocation) -> None:
        assert slot.state == BUSY
        assert slot.pool is invocation.pool
        assert slot not in self.running, "an environment was given a second invocation"
        assert slot.environment == "ready", "an invocation was given to an environment that is not ready"
        invocation.move(to="running", expect={"new", "waiting"})
        self.running[slot] = invocation

    def launch(self, slot: Slot[Invocation]) -> None:
        assert slot.state == STARTING
        self.slots.append(slot)
        assert sum(s.pool.memory_mb for s in self.slots) <= BUDGET, "the memory budget is exceeded"
        slot.environment = "starting"
        if self.launch_fails_at_once:
            self.fail_launch(slot)

    def retire(self, slot: Slot[Invocation], reason: str) -> None:
        assert slot.state == RETIRING
        assert slot not in self.running, f"an environment with an invocation was retired ({reason})"
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
        self.scheduler.gone(self.now, slot)

    def end(self, slot: Slot[Invocation], how: str) -> None:
        """The environment is through with its invocation; if it had answered, that is how it remains."""
        invocation = self.running.pop(slot)
        if not slot.answered:
            invocation.move(to=how, expect={"running"})

    def fail_launch(self, slot: Slot[Invocation]) -> None:
        self.slots.remove(slot)
        failed = self.scheduler.launch_failed(self.now, slot)
        if failed is not None:
            failed.move(to="failed", expect={"new", "waiting"})


class SchedulerMachine(RuleBasedStateMachine):
    pools = Bundle("pools")
    invocations = Bundle("invocations")

    @initialize(
        launch_fails_at_once=st.integers(0, 9).map(lambda n: n == 0),
        gone_at_once=st.booleans(),
        keep_alive_s=st.sampled_from([0.0, 1.0, 5.0, inf]),
        wait_limit_s=st.sampled_from([0.0, 2.0]),
        patience_s=st.sampled_from([0.0, 0.05, 0.05, 0.5, 9.0]),
        max_environments=st.sampled_from([None, None, 1, 4]),
        account=st.sampled_from([3, 1000]),
    )
    def begin(
        self,
        *,
        launch_fails_at_once: bool,
        gone_at_once: bool,
        keep_alive_s: float,
        wait_limit_s: float,
        patience_s: float,
        max_environments: int | None,
        account: int,
    ) -> None:
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

    # -- the world's moves

    @rule(target=pools, function=st.sampled_from(FUNCTIONS), memory_mb=st.sampled_from(SIZES))
    def open(self, function: str, memory_mb: int) -> Any:
        return self.scheduler.open_pool(function, memory_mb)

    @rule(target=invocations, pool=pools, count=st.integers(1, 4))
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
        was_ready = invocation.pool.idle
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

    @rule(data=st.data(), broken=st.booleans())
    def becomes_ready(self, data: st.DataObject, broken: bool) -> None:
        slots = [s for s in self.world.slots if s.state in {STARTING, BUSY}]
        if slots:
            slot = data.draw(st.sampled_from(slots), label="slot")
            slot.environment = "ready"
            if slot in self.world.running:
                self.world.end(slot, "answered")
            self.scheduler.ready(self.world.now, slot, broken=broken)

    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        if self.world.slots:
            self.world.bury(data.draw(st.sampled_from(self.world.slots), label="slot"))

    @rule(data=st.data())
    def is_lost(self, data: st.DataObject) -> None:
        """It takes no invocation any more, and its memory is not free; `ends` may come later."""
        slots = [s for s in self.world.slots if s.state != LOST]
        if slots:
            slot = data.draw(st.sampled_from(slots), label="slot")
            slot.environment = "lost"
            invocation = self.world.running.pop(slot, None)
            if invocation is not None and not slot.answered:
                invocation.move(to="failed", expect={"running"})
            self.scheduler.lost(self.world.now, slot)

    @rule(data=st.data())
    def fails_to_launch(self, data: st.DataObject) -> None:
        slots = [s for s in self.world.slots if s.state == STARTING]
        if slots:
            self.world.fail_launch(data.draw(st.sampled_from(slots), label="slot"))

    @rule(invocation=invocations)
    def caller_hangs_up(self, invocation: Invocation) -> None:
        withdrawn = self.scheduler.withdraw(self.world.now, invocation.pool, invocation)
        assert withdrawn == (invocation.where == "waiting")
        if withdrawn:
            invocation.where = "withdrawn"

    @rule(old=pools, update=st.booleans(), memory_mb=st.sampled_from(SIZES))
    def close(self, old: Pool[Invocation], update: bool, memory_mb: int) -> None:
        waiting = [i for i in self.everything if i.where == "waiting" and i.pool is old]
        orphans = self.scheduler.close_pool(self.world.now, old)
        assert orphans == waiting
        new = self.scheduler.open_pool(old.function, memory_mb) if update else None
        for orphan in orphans:
            if new is None:
                orphan.where = "failed"
            else:
                orphan.pool = new
                orphan.where = "new"
                self._submit(orphan)

    @rule(function=st.sampled_from(FUNCTIONS), limit=st.sampled_from([None, 0, 1, 3]))
    def reserve(self, function: str, limit: int | None) -> None:
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

    @precondition(lambda self: len(self.everything) > 30)
    @rule()
    def engine_stops(self) -> None:
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
        assert {s for s in world.slots if s.state == BUSY} == set(world.running)
        waiting = [i for i in self.everything if i.where == "waiting"]
        assert len(waiting) == self.scheduler.stats().waiting
        assert not any(i.where == "new" for i in self.everything)
        for invocation in waiting:
            overdue = world.now > invocation.submitted + self.scheduler.wait_limit_s
            assert not overdue or invocation.pool.starting, f"{invocation!r} waits too long"
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
        for slot in self.world.slots:
            if slot.state == READY:
                assert slot.ready_since + self.scheduler.keep_alive_s >= self.world.wake_at


SchedulerMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSchedulerMachine = SchedulerMachine.TestCase
