"""A host under a virtual clock: thousands of functions, callers and environments that fail in every way we know of.

The scheduler under test is the real one; everything around it is made up, from one seed. After every event the world
compares the scheduler's cheap invariants with its own books (`_after`), and all of them every `check_every` events
and at the end: a full check costs as much as there are environments and pools, so after each of some million events
it would take hours. What the world keeps itself is checked at every step: who is answered, what runs where, memory
used, how long each waited, whose turn it was.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate
from math import inf
from typing import Any

from engine.scheduler import BUSY, READY, STARTING, InvariantViolation, Pool, Scheduler, SharedSlot, Slot
from engine.scheduler.story import RecordedScheduler

from .fairness import WatchedRoom
from .sharing import Sharing, Workers

MAX_START_S = 10.0
"""No environment takes longer to start: Lambda's init time limit."""


@dataclass(frozen=True)
class Plan:
    """What to simulate. Probabilities are per invocation or per launch."""

    seed: int = 1
    invocations: int = 50_000
    functions: int = 2_000
    memory_mb: int = 131_072
    account_concurrency: int = 1_000
    max_environments: int = 500
    keep_alive_s: float = 10.0
    wait_limit_s: float = 2.0
    patience_s: float = 0.005
    loads: tuple[float, ...] = (0.1, 0.4, 1.2, 0.05, 0.6)
    phase_s: float = 20.0
    p_burst: float = 0.0003
    p_crash: float = 0.01
    p_hangs: float = 0.004
    p_impatient: float = 0.03
    p_again: float = 0.3  # a caller that has its answer submits again at once
    p_lingers: float = 0.01  # a runtime that does something else between its answer and `next`
    p_dies_returning: float = 0.003
    p_init_fails: float = 0.02
    p_launch_fails: float = 0.01
    p_start_dies: float = 0.005
    p_idle_dies: float = 0.001
    p_shared: float = 0.3  # of functions: their environments take several invocations at a time
    updates_per_s: float = 1.0
    reserves_per_s: float = 0.2
    check_every: int = 2_000
    recorded: bool = False


@dataclass
class Report:
    """What happened. `outcomes` sum up to the invocations; `digest` stands for the whole story, effect by effect."""

    outcomes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    full_checks: int = 0
    virtual_s: float = 0.0
    launches: int = 0
    evictions: int = 0
    expirations: int = 0
    warm: int = 0
    waited: int = 0
    returned: int = 0
    impatient: int = 0
    longest_wait_s: float = 0.0
    late: int = 0
    updates: int = 0
    resubmitted: int = 0
    peak_memory_mb: int = 0
    peak_environments: int = 0
    peak_waiting_pools: int = 0
    promises: int = 0
    turns_passed: int = 0
    withdrawn: int = 0
    abandoned: int = 0
    peak_draining: int = 0
    digest: str = ""


class Function:
    """A made-up function: how often, how long, how large."""

    def __init__(self, number: int, dice: random.Random, p_shared: float) -> None:
        self.name = f"f{number}"
        self.weight = 1 / (number + 1) ** 1.1  # Zipf: the first function has about a sixth of all invocations
        self.memory_mb = dice.choices((128, 256, 512, 1024, 3008, 10_240), (50, 20, 15, 10, 4, 1))[0]
        self.median_s = min(dice.lognormvariate(-3.5, 1.2), 5.0)
        self.timeout_s = dice.choice((1.0, 3.0, 10.0, 60.0))
        self.init_s = dice.lognormvariate(-3.2, 1.0)
        self.capacity = dice.choice((1, 2, 4, 16, 64)) if dice.random() < p_shared else None
        self.pool: Pool[Invocation] | None = None


class Invocation:
    """One invocation. `where`: new, waiting, running, then once and for all one of the outcomes."""

    __slots__ = ("function", "number", "pool", "submitted", "where")

    def __init__(self, number: int, function: Function) -> None:
        self.number = number
        self.function = function
        self.pool: Pool[Invocation] | None = None
        self.submitted = 0.0
        self.where = "new"

    def __repr__(self) -> str:
        return f"<Invocation {self.number} of {self.function.name}, {self.where}>"


class Environment:
    """What the world knows of a slot."""

    __slots__ = ("alive", "broken", "invocation", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.alive = True
        self.broken = False
        self.invocation: Invocation | None = None


class World:
    """The shell, the host, the functions and their callers, in one. ``World(plan).run()`` is the whole story."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.dice = dice = random.Random(plan.seed)
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[..., Pool[Invocation] | None], tuple[Any, ...]]] = []
        self.serial = 0
        self.timer_at = inf
        self.report = Report()
        self.digest = hashlib.blake2b(digest_size=16)
        make = RecordedScheduler if plan.recorded else Scheduler
        self.scheduler: Scheduler[Invocation] = make(
            self,
            memory_mb=plan.memory_mb,
            account_concurrency=plan.account_concurrency,
            keep_alive_s=plan.keep_alive_s,
            wait_limit_s=plan.wait_limit_s,
            patience_s=plan.patience_s,
            max_environments=plan.max_environments,
        )
        self.room = WatchedRoom(plan.memory_mb, plan.max_environments)
        self.scheduler._room = self.room
        self.functions = [Function(number, dice, plan.p_shared) for number in range(plan.functions)]
        self.weights = list(accumulate(f.weight for f in self.functions))
        mb_s = sum(f.weight * f.memory_mb * f.median_s * 1.3 for f in self.functions) / self.weights[-1]
        self.rate_at_full = plan.memory_mb / mb_s
        self.used_mb = 0
        self.environments = 0
        self.submitted = 0
        self.sharing = Sharing(self)
        self.open = 0  # invocations without an outcome

    # -- the clock

    def run(self) -> Report:
        """Play until every invocation has its outcome and the host is empty again."""
        plan, heap = self.plan, self.heap
        for function in self.functions[20 : 20 + plan.functions // 20]:
            self.scheduler.reserve(function.name, self.dice.choice((1, 2, 5)))
        self.after(0.0, self.arrive)
        self.after(1.0, self.update)
        self.after(1.0, self.change_reservation)
        report, check_every = self.report, plan.check_every
        while heap:
            at, _, event, arguments = heappop(heap)
            self.now = at
            touched = event(*arguments)
            self._after(touched)
            report.events += 1
            if report.events % check_every == 0:
                self.check()
        self.finish()
        return report

    def after(self, seconds: float, event: Callable[..., Pool[Invocation] | None], *arguments: Any) -> None:
        self.serial += 1
        heappush(self.heap, (self.now + seconds, self.serial, event, arguments))

    def tell(self, what: str) -> None:
        self.digest.update(f"{self.now!r} {what}\n".encode())

    def violation(self, rule: str, subject: object = "the host") -> InvariantViolation:
        told = self.scheduler.story(subject)
        hint = told or "replay it with --story to see the transitions"
        return InvariantViolation(f"seed {self.plan.seed}, at {self.now!r} s: {rule}: {subject!r}\n{hint}")

    # -- the callers

    def arrive(self) -> None:
        plan, dice = self.plan, self.dice
        function = self.functions[bisect(self.weights, dice.random() * self.weights[-1])]
        count = dice.randrange(10, 250) if dice.random() < plan.p_burst else 1
        for _ in range(min(count, plan.invocations - self.submitted)):
            invocation = self.call(function)
            if dice.random() < plan.p_impatient:
                self.after(dice.expovariate(2.0), self.hang_up, invocation)
        if self.submitted < plan.invocations:
            load = plan.loads[int(self.now / plan.phase_s) % len(plan.loads)]
            self.after(dice.expovariate(self.rate_at_full * load), self.arrive)

    def call(self, function: Function) -> Invocation:
        invocation = Invocation(self.submitted, function)
        self.submitted += 1
        self.open += 1
        self.submit(invocation)
        return invocation

    def submit(self, invocation: Invocation) -> None:
        function = invocation.function
        if function.pool is None:
            function.pool = self.scheduler.open_pool(function.name, function.memory_mb, function.capacity)
        pool = invocation.pool = function.pool
        invocation.submitted = self.now
        idle = pool.idle if pool.open is None else len(pool.open)
        starting = pool.starting
        coming = pool.returning + pool.coming if self.scheduler.patience_s and pool.wanted <= 0 else 0
        self.scheduler.submit(self.now, pool, invocation)
        if invocation.where == "new":
            if idle:
                raise self.violation(f"{invocation!r} was not started though an environment was ready", pool)
            if pool.starting > starting and pool.waiting <= coming:
                raise self.violation(f"launched for {invocation!r} though {coming} places are coming", pool)
            invocation.where = "waiting"
        self._after(pool)

    def hang_up(self, invocation: Invocation) -> Pool[Invocation] | None:
        pool = invocation.pool
        assert pool is not None
        withdrawn = self.scheduler.withdraw(self.now, pool, invocation)
        if withdrawn != (invocation.where == "waiting"):
            raise self.violation(f"withdraw answered {withdrawn} for {invocation!r}", pool)
        if withdrawn:
            self.outcome(invocation, "withdrawn")
        return pool

    def outcome(self, invocation: Invocation, outcome: str) -> None:
        if invocation.where not in {"new", "waiting", "running"}:
            raise self.violation(f"{invocation!r} was answered twice, now with {outcome}", invocation.pool)
        invocation.where = outcome
        self.report.outcomes[outcome] += 1
        self.open -= 1

    # -- the owner

    def update(self) -> Pool[Invocation] | None:
        """A function is updated (waiters go to its new revision) or deleted (they are told so)."""
        dice = self.dice
        function = self.functions[bisect(self.weights, dice.random() * self.weights[-1])]
        old = function.pool
        if old is not None:
            self.report.updates += 1
            orphans = self.scheduler.close_pool(self.now, old)
            self._after(old)
            function.pool = None
            if dice.random() < 0.2:
                function.memory_mb = dice.choice((128, 256, 512, 1024))
            if dice.random() < 0.1:
                function.capacity = dice.choice((None, 1, 4, 16))
            deleted = dice.random() < 0.1
            for orphan in orphans:
                if orphan.where != "waiting":
                    raise self.violation(f"{orphan!r} was returned as waiting", old)
                if deleted:
                    self.outcome(orphan, "function deleted")
                else:
                    orphan.where = "new"
                    self.report.resubmitted += 1
                    self.submit(orphan)
        if self.open or self.submitted < self.plan.invocations:
            self.after(dice.expovariate(self.plan.updates_per_s), self.update)
        return old

    def change_reservation(self) -> None:
        dice = self.dice
        function = self.functions[dice.randrange(5, len(self.functions) // 10)]
        self.scheduler.reserve(function.name, dice.choice((None, 0, 1, 3, 10)))
        if self.open or self.submitted < self.plan.invocations:
            self.after(dice.expovariate(self.plan.reserves_per_s), self.change_reservation)

    # -- effects

    def start(self, slot: Slot[Invocation], invocation: Invocation) -> None:
        if slot.pool is not invocation.pool:
            raise self.violation(f"{invocation!r} was given to an environment of another pool", slot)
        if invocation.where == "new":
            self.report.warm += 1
        elif invocation.where == "waiting":
            self.report.waited += 1
            self._waited(invocation)
            self._gave_way(slot)
        else:
            raise self.violation(f"{invocation!r} was started twice", slot)
        invocation.where = "running"
        self.tell(f"start {slot.environment.number} {invocation.number}")
        if isinstance(slot, SharedSlot):
            self.sharing.start(slot, invocation)
            return
        environment: Environment = slot.environment
        if environment.invocation is not None:
            raise self.violation(
                f"{invocation!r} was given to an environment that has {environment.invocation!r}", slot
            )
        if not environment.alive or slot.state != BUSY:
            raise self.violation(f"{invocation!r} was given to an environment that cannot take it", slot)
        environment.invocation = invocation
        dice, plan, function = self.dice, self.plan, invocation.function
        init = self._init_time(function) if environment.broken else 0.0
        environment.broken = False
        chance = dice.random()
        takes = dice.lognormvariate(0.0, 0.7) * function.median_s
        if chance < plan.p_crash:
            self.after(init + takes * dice.random(), self.crash, slot, invocation)
        elif chance < plan.p_crash + plan.p_hangs or takes > function.timeout_s:
            self.after(init + function.timeout_s, self.time_out, slot, invocation)
        else:
            self.after(init + takes, self.respond, slot, invocation)

    def launch(self, slot: Slot[Invocation]) -> None:
        self.report.launches += 1
        self.environments += 1
        self.used_mb += slot.pool.memory_mb
        if self.used_mb > self.plan.memory_mb or self.environments > self.plan.max_environments:
            raise self.violation(f"{self.used_mb} MB in {self.environments} environments exceed the budget", slot)
        self.report.peak_memory_mb = max(self.report.peak_memory_mb, self.used_mb)
        self.report.peak_environments = max(self.report.peak_environments, self.environments)
        kind = Workers if isinstance(slot, SharedSlot) else Environment
        slot.environment = kind(self.report.launches)
        self.tell(f"launch {slot.pool.function}")
        dice, plan = self.dice, self.plan
        chance = dice.random()
        if chance < plan.p_launch_fails / 4:
            self.launch_fails(slot)  # on the spot
        elif chance < plan.p_launch_fails:
            self.after(dice.expovariate(100.0), self.launch_fails, slot)
        elif chance < plan.p_launch_fails + plan.p_start_dies:
            self.after(dice.expovariate(10.0), self.die, slot)
        elif isinstance(slot, SharedSlot):
            self.sharing.launch(slot)
        else:
            function = self.functions[int(slot.pool.function[1:])]
            self.after(self._init_time(function), self.started, slot, dice.random() < plan.p_init_fails)

    def retire(self, slot: Slot[Invocation], reason: str) -> None:
        runs = slot.environment.running if isinstance(slot, SharedSlot) else slot.environment.invocation
        if runs:
            raise self.violation(f"an environment with {runs!r} was retired ({reason})", slot)
        self.tell(f"retire {slot.environment.number} {reason}")
        self.report.expirations += reason == "keep-alive"
        self.report.evictions += reason == "evicted"
        chance = self.dice.random()
        if chance < 0.05:
            self.die(slot)  # on the spot
        else:
            self.after(2.0 if chance > 0.99 else self.dice.lognormvariate(-5.5, 1.0), self.die, slot)

    def refuse(self, invocation: Invocation, reason: str) -> None:
        self.tell(f"refuse {invocation.number} {reason}")
        kind = "reserved" if reason.startswith("Reserved") else "account"
        if invocation.where == "waiting":
            self._waited(invocation)
            if self.now < invocation.submitted + self.plan.wait_limit_s:
                raise self.violation(f"{invocation!r} was refused before its time", invocation.pool)
            kind = "waited in vain"
        self.outcome(invocation, f"throttled: {kind}")

    def wake(self, at: float) -> None:
        if at >= self.timer_at:
            raise self.violation(f"wake({at!r}) is no earlier than what was asked for, {self.timer_at!r}")
        self.timer_at = at
        self.after(at - self.now, self.timer, at)

    # -- the host

    def timer(self, at: float) -> None:
        if at == self.timer_at:
            self.timer_at = inf
            due = self.scheduler.advance(max(self.now, at))
            if due is not None:
                if due <= self.now:
                    raise self.violation(f"advance asks to be called again at once, at {due!r}")
                self.timer_at = due
                self.after(due - self.now, self.timer, due)

    def started(self, slot: Slot[Invocation], broken: bool) -> Pool[Invocation] | None:
        if slot.state == STARTING:
            self._back(slot, broken)
        return slot.pool

    def respond(self, slot: Slot[Invocation], invocation: Invocation) -> Pool[Invocation] | None:
        """The answer; the caller may be back before the environment is, which takes a moment longer, or dies."""
        if slot.environment.invocation is invocation:
            dice, plan = self.dice, self.plan
            self.scheduler.answered(self.now, slot)
            self.outcome(invocation, "answered")
            chance = dice.random()
            gap = dice.uniform(0.0, 0.5) if chance < plan.p_lingers else 1e-4 * dice.lognormvariate(0.0, 1.0)
            self.after(gap, self.die if chance > 1 - plan.p_dies_returning else self.returned, slot, invocation)
            if dice.random() < plan.p_again and self.submitted < plan.invocations:
                again = self.call(invocation.function)
                self.after(plan.patience_s + 1e-9, self.has_been_patient, again)
        return slot.pool

    def returned(self, slot: Slot[Invocation], invocation: Invocation) -> Pool[Invocation] | None:
        if slot.environment.invocation is invocation:
            self.report.returned += 1
            self._back(slot, False)
        return slot.pool

    def has_been_patient(self, invocation: Invocation) -> None:
        """Who still waits now trusts nobody any more: one environment each is starting, or there is no room for it."""
        pool = invocation.pool
        assert pool is not None
        if invocation.where == "waiting" and invocation.submitted + self.plan.patience_s < self.now:
            self.report.impatient += 1
            wants = pool.ring is not None or pool.granted
            if not pool.coming and not wants:
                raise self.violation(f"{invocation!r} is held for longer than {self.plan.patience_s} s", pool)

    def crash(self, slot: Slot[Invocation], invocation: Invocation) -> Pool[Invocation] | None:
        """The runtime exits: mostly the sandbox is reset and comes back, sometimes it is lost as a whole."""
        if slot.environment.invocation is invocation:
            self.outcome(invocation, "crashed")
            if self.dice.random() < 0.3:
                self.die(slot)
            else:
                self._back(slot, True)
        return slot.pool

    def time_out(self, slot: Slot[Invocation], invocation: Invocation) -> Pool[Invocation] | None:
        if slot.environment.invocation is invocation:
            self.outcome(invocation, "timed out")
            self.after(0.005, self.killed, slot, invocation)
        return slot.pool

    def killed(self, slot: Slot[Invocation], invocation: Invocation) -> Pool[Invocation] | None:
        if slot.environment.invocation is invocation:
            self._back(slot, True)
        return slot.pool

    def idle_death(self, slot: Slot[Invocation]) -> Pool[Invocation] | None:
        if slot.environment.alive and slot.state == READY:
            self.die(slot)
        return slot.pool

    def die(self, slot: Slot[Invocation], _: Invocation | None = None) -> Pool[Invocation] | None:
        """The environment is gone. Told once, in whatever state it is: other events of it come too late."""
        if isinstance(slot, SharedSlot):
            return self.sharing.die(slot)
        environment: Environment = slot.environment
        if environment.alive:
            self._release(slot)
            invocation = environment.invocation
            environment.invocation = None
            if invocation is not None and invocation.where == "running":
                self.outcome(invocation, "crashed")
            self.scheduler.gone(self.now, slot)
        return slot.pool

    def launch_fails(self, slot: Slot[Invocation]) -> Pool[Invocation] | None:
        if slot.environment.alive and slot.state == STARTING:
            self._release(slot)
            for failed in self.scheduler.launch_failed(self.now, slot):
                self.outcome(failed, "launch failed")
        return slot.pool

    def _release(self, slot: Slot[Invocation]) -> None:
        slot.environment.alive = False
        self.environments -= 1
        self.used_mb -= slot.pool.memory_mb

    def _back(self, slot: Slot[Invocation], broken: bool) -> None:
        environment: Environment = slot.environment
        environment.invocation = None
        environment.broken = broken
        self.scheduler.ready(self.now, slot, broken)
        if self.dice.random() < self.plan.p_idle_dies:
            self.after(self.dice.expovariate(1.0), self.idle_death, slot)

    def _init_time(self, function: Function) -> float:
        return min(function.init_s * self.dice.lognormvariate(0.0, 0.5), MAX_START_S)

    # -- what must hold

    def _waited(self, invocation: Invocation) -> None:
        waited = self.now - invocation.submitted
        self.report.longest_wait_s = max(self.report.longest_wait_s, waited)
        if waited > self.plan.wait_limit_s + 1e-9:
            self.report.late += 1
            if waited > self.plan.wait_limit_s + MAX_START_S + 1e-9:
                raise self.violation(f"{invocation!r} waited {waited} s", invocation.pool)

    def _gave_way(self, slot: Slot[Invocation]) -> None:
        """A rich pool must not go on with an old environment while a lean pool waits for room."""
        room = self.room
        if room.lean and room.is_rich(slot.pool) and self.now > slot.since + self.scheduler.turn_s:
            first = next(iter(room.lean))
            enough = isinstance(slot, SharedSlot) and len(self.scheduler._draining) >= len(room.lean)
            if not room.is_rich(first) and not enough:
                raise self.violation(f"the environment should have been given up for {first!r}", slot)

    def _after(self, touched: Pool[Invocation] | None) -> None:
        """After every step: the cheap invariants, and that the scheduler's totals are the world's."""
        room = self.room
        if touched is not None:
            self.scheduler.check_step(touched)
        if room.used_mb != self.used_mb or room.environments != self.environments:
            raise self.violation(f"the scheduler counts {room.used_mb} MB, {room.environments}: not {self.used_mb} MB")
        self.report.peak_draining = max(self.report.peak_draining, len(self.scheduler._draining))
        waiting_pools = len(room.lean) + len(room.rich)
        self.report.peak_waiting_pools = max(self.report.peak_waiting_pools, waiting_pools)

    def check(self) -> None:
        """Every invariant, and that the world agrees on how many invocations are neither waiting nor running."""
        self.report.full_checks += 1
        self.scheduler.check()
        stats = self.scheduler.stats()
        told = sum(
            slot.environment.invocation is not None
            and slot.environment.invocation.where != "running"
            and not slot.answered
            for slot in self.scheduler._slots
            if not isinstance(slot, SharedSlot)
        )  # timed out, and being killed
        if stats.waiting + stats.running - told != self.open:
            raise self.violation(f"{self.open} invocations have no outcome, but the scheduler knows of {stats}")

    def finish(self) -> None:
        """Nobody was lost: every invocation has its outcome, nothing is left on the host or on the books."""
        self.check()
        report, scheduler = self.report, self.scheduler
        if sum(report.outcomes.values()) != self.plan.invocations or self.open:
            raise self.violation(f"{self.plan.invocations} invocations, but outcomes {report.outcomes}")
        left = scheduler.stats()
        if left.environments or left.memory_used_mb or left.waiting or scheduler._concurrency.unreserved.in_flight:
            raise self.violation(f"something is left over: {left}")
        if (report.launches, report.evictions) != (scheduler.launches, scheduler.evictions):
            raise self.violation(f"launches or evictions miscounted: {left}")
        report.promises = self.room.promises_made + self.room.backfills
        report.turns_passed = self.room.turns_passed
        report.virtual_s = self.now
        report.digest = self.digest.hexdigest()
