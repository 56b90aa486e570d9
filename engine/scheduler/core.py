"""The scheduler's decisions. No I/O, no clock, no logging: time is an argument, effects are calls.

`submit` with a ready environment, `answered`, and `ready` without waiters are the hot path: they touch counters and
list links only, allocate nothing, and make one call into the shell. Everything else is a cold start, or trouble, and is
written for reading: it changes the books, calls :meth:`Room.settle <engine.scheduler.room.Room.settle>`, then serves
whoever waits.

Effects are calls rather than a returned list of commands, because that measured cheaper: on CPython 3.11 the warm path
costs about 1.4 times as much when `start` comes back in a list, even if "nothing" is a shared empty tuple
(``python -m benchmarks.scheduler``; runs on a noisy machine gave 1.1 to 1.8).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Generic

from .concurrency import Concurrency
from .room import Room
from .state import (
    BUSY,
    GONE,
    LOST,
    READY,
    RETIRING,
    STARTING,
    STATE_NAMES,
    Effects,
    I,
    IllegalTransition,
    Limit,
    Pool,
    RetireReason,
    SharedSlot,
    Slot,
    Waiter,
)

if TYPE_CHECKING:
    from engine.model.initialization import InitializationType


class Core(ABC, Generic[I]):
    """Who gets the next invocation, of environments that take one at a time. See the package's prose for the rules.

    `places.Scheduler` adds those that take several. The two meet in a few places of the cold path, where a pool's
    `open` says which kind it is of.

    Every method takes `now`, monotonic seconds, which must not run backwards from call to call (`submit` is lenient).

    Attributes:
        launches, evictions, expirations: environments launched; retired for room; retired for idleness.
        throttles: invocations refused, for whatever reason.
    """

    __slots__ = (
        "_alert",
        "_concurrency",
        "_deadlines",
        "_draining",
        "_effects",
        "_expecting",
        "_idle",
        "_idle_watched",
        "_patience",
        "_room",
        "_serving",
        "_slots",
        "_start",
        "_turn_at",
        "_turn_of",
        "_wake_at",
        "evictions",
        "expirations",
        "keep_alive_s",
        "launches",
        "patience_s",
        "throttles",
        "turn_s",
        "wait_limit_s",
    )

    def __init__(
        self,
        effects: Effects[I],
        *,
        memory_mb: int,
        account_concurrency: int = 1000,
        keep_alive_s: float = 600.0,
        wait_limit_s: float = 2.0,
        max_environments: int | None = None,
        patience_s: float = 0.02,
    ) -> None:
        """Make a scheduler for one host.

        Args:
            effects: what carries the decisions out.
            memory_mb: the host's budget, in MB, for the sum of MemorySize of all environments.
            account_concurrency: invocations in flight at once, over all functions.
            keep_alive_s: an environment idle for so long is retired; ``math.inf`` for never.
            wait_limit_s: an invocation waits at most so long for room, then is refused.
            max_environments: most environments at once, None for as many as memory permits.
            patience_s: an invocation trusts at most so long that an environment which has answered comes back, then
                one is launched for it; 0 for not at all. More than `wait_limit_s` is as good as `wait_limit_s`.

        Raises:
            ValueError: a limit that makes no sense; the message names it.
        """
        if keep_alive_s < 0 or wait_limit_s < 0 or patience_s < 0:
            raise ValueError(
                f"keep_alive_s ({keep_alive_s}), wait_limit_s ({wait_limit_s}) and patience_s ({patience_s}) are"
                " seconds and must not be negative"
            )
        self._effects = effects
        self._start = effects.start
        self._room: Room[I] = Room(memory_mb, max_environments)
        self._concurrency: Concurrency[I] = Concurrency(account_concurrency)
        self.keep_alive_s = keep_alive_s
        self.wait_limit_s = wait_limit_s
        self.patience_s = min(patience_s, wait_limit_s)
        self.turn_s = wait_limit_s / 4
        # The sentinel of the circular list of READY slots: `newer` is the least recently used one, `older` the most.
        self._idle: Slot[I] = Slot(Pool("", 0, Limit(0, "ConcurrentInvocationLimitExceeded")))
        self._deadlines: OrderedDict[int, Waiter[I]] = OrderedDict()  # waiters that are not late, soonest first
        self._patience: OrderedDict[int, Waiter[I]] = OrderedDict()  # patient waiters of all pools, soonest first
        self._slots: dict[Slot[I], None] = {}  # every environment that is not GONE
        self._serving = False
        self._wake_at = inf
        self._idle_watched = False  # a wake-up is asked for that comes no later than the first idle expiry
        self._alert = True  # `ready` must look up: somebody wants room, or idle environments are unwatched
        self._turn_of: Pool[I] | None = None  # the pool that holds the others back, and until when
        self._turn_at = inf
        self.launches = self.evictions = self.expirations = self.throttles = 0
        # Of environments that take several invocations at a time (see `places`):
        self._expecting: OrderedDict[SharedSlot[I], None] = OrderedDict()  # in order of `expected_until`
        self._draining: dict[SharedSlot[I], None] = {}

    # ------------------------------------------------------------------------------------------------ the hot path

    def submit(self, now: float, pool: Pool[I], invocation: I) -> None:
        """Accept or refuse an invocation: `start` it, let it wait (and perhaps `launch`), or `refuse` it.

        `now` may be when the invocation was received, a little before: its wait counts from then, as far as the order
        of waiters permits.

        Raises:
            IllegalTransition: the pool is closed, or the invocation is waiting already.
        """
        limit = pool.limit
        in_flight = limit.in_flight
        if in_flight >= limit.ceiling:
            self.throttles += 1
            self._effects.refuse(invocation, limit.reason)
            return
        slot = pool.top
        if slot is None:
            self._wait(now, pool, invocation)
            return
        limit.in_flight = in_flight + 1
        pool.busy += 1
        pool.top = below = slot.below
        if below is None:
            pool.bottom = None
        else:
            below.above = None
        older = slot.older
        newer = slot.newer
        older.newer = newer
        newer.older = older
        slot.state = BUSY
        self._start(slot, invocation)

    def answered(self, now: float, slot: Slot[I]) -> None:
        """The runtime has posted its response or error: the environment is returning, and `ready` will follow soon.

        To be told before the caller is, who may submit again at once. Telling it twice is as good as once.

        Raises:
            IllegalTransition: the slot is not BUSY.
        """
        if slot.answered:
            return
        if slot.state != BUSY:
            raise IllegalTransition(f"answered for {slot!r}: only a BUSY environment has something to answer")
        slot.answered = True
        pool = slot.pool
        pool.returning += 1
        pool.limit.in_flight -= 1  # its caller may come again at once, and must not find the limit reached by itself

    def ready(self, now: float, slot: Slot[I], broken: bool = False) -> None:
        """An environment finished its init, or its invocation is over and it is back: idle, or on to the next waiter.

        Args:
            now: seconds.
            slot: STARTING or BUSY.
            broken: it needs a re-init inside its next invocation; healthy ones are preferred.

        Raises:
            IllegalTransition: the slot is in another state.
        """
        pool = slot.pool
        if slot.state == BUSY:
            pool.busy -= 1
            if slot.answered:
                slot.answered = False
                pool.returning -= 1
            else:
                pool.limit.in_flight -= 1
        else:
            self._started(now, slot)
        if broken or pool.waiters or pool.closed:
            self._ready_otherwise(now, slot, broken)
            return
        slot.state = READY
        slot.ready_since = now
        slot.above = None
        slot.below = below = pool.top
        if below is None:
            pool.bottom = slot
        else:
            below.above = slot
        pool.top = slot
        slot.newer = idle = self._idle
        slot.older = newest = idle.older
        newest.newer = slot
        idle.older = slot
        if self._alert:
            self._look_up(now)

    # ------------------------------------------------------------------------------------------------ pools and limits

    def open_pool(
        self,
        function: str,
        memory_mb: int,
        capacity: int | None = None,
        initialization: InitializationType = "on-demand",
    ) -> Pool[I]:
        """Make the pool of one function revision.

        Args:
            function: its name.
            memory_mb: what each of its environments takes.
            capacity: how many invocations each takes at a time, told place by place (see `places`); None for the
                ordinary kind, which takes one and tells by `answered` and `ready`.
            initialization: how its environments are initialised, which each of its slots says.

        Raises:
            ValueError: `memory_mb` or `capacity` is not positive.
        """
        if memory_mb <= 0:
            raise ValueError(f"memory_mb of a pool of {function!r} must be positive, not {memory_mb}")
        if capacity is not None and capacity <= 0:
            raise ValueError(f"capacity of a pool of {function!r} must be positive, not {capacity}")
        record = self._concurrency.function(function)
        pool = self._new_pool(function, memory_mb, record.limit, capacity)
        pool.initialization = initialization
        record.pools[pool] = None
        return pool

    def _new_pool(self, function: str, memory_mb: int, limit: Limit, capacity: int | None) -> Pool[I]:
        return Pool(function, memory_mb, limit)

    def close_pool(self, now: float, pool: Pool[I]) -> list[I]:
        """The revision is superseded or deleted: idle environments retire now, busy and starting ones when done.

        Returns:
            The invocations that waited, oldest first. The scheduler has forgotten them; submit them to the new pool
            (their wait starts anew) or answer them.
        """
        orphans = self._close(pool, "stale")
        self._serve(now)
        return orphans

    def shutdown(self) -> list[I]:
        """Close every pool, for "shutdown"; returns all invocations that waited. Busy environments finish first."""
        return [orphan for pool in list(self.pools()) for orphan in self._close(pool, "shutdown")]

    def reserve(self, function: str, limit: int | None) -> None:
        """Set the function's reserved concurrency: 0 throttles all of it, None lifts the reservation.

        What is in flight is left alone, and counts under the new limit. Raises ValueError when negative.
        """
        self._concurrency.reserve(function, limit)

    def pools(self) -> Iterator[Pool[I]]:
        """Every pool that is open or still has environments, functions in order of appearance."""
        for function in self._concurrency.functions.values():
            yield from function.pools

    # ------------------------------------------------------------------------------------------------ events

    def withdraw(self, now: float, pool: Pool[I], invocation: I) -> bool:
        """The caller hung up: True when the invocation still waited and is now forgotten, False when it has started."""
        waiter = pool.waiters.get(id(invocation)) if pool.waiters else None
        if waiter is None:
            return False
        self._leave(waiter)
        self._room.settle(pool)
        self._serve(now)
        return True

    def gone(self, now: float, slot: Slot[I]) -> None:
        """The environment has ended, for whatever reason, and its memory is free. An invocation on it is the shell's.

        Its pool's waiters remain and get another environment, except that a late one, which this environment was
        starting for, is refused.

        Raises:
            IllegalTransition: it was gone already.
        """
        coming = slot.expected
        self._bury(slot)
        self._bereaved(now, slot.pool, coming)

    def lost(self, now: float, slot: Slot[I]) -> None:
        """No invocation may come to this environment any more, and it is not known when its memory will be free.

        Until `gone` it keeps its memory, and nobody is promised that. What else becomes of the pool's waiters, and of
        an invocation on it, is as with `gone`.

        Raises:
            IllegalTransition: it was lost or gone already.
        """
        coming = slot.expected
        self._lose(slot)
        self._bereaved(now, slot.pool, coming)

    def launch_failed(self, now: float, slot: Slot[I]) -> list[I]:
        """The host could not make this STARTING environment: `gone`, and the shell is to fail the oldest waiters.

        As many as the environment would have taken. So each failure costs an invocation, and a function that cannot
        start does not relaunch for ever.

        Returns:
            The invocations, forgotten by the scheduler; none when nobody waits any more.

        Raises:
            IllegalTransition: the slot is not STARTING.
        """
        coming = self._failing(slot, "launch_failed")
        self._bury(slot)
        return self._failed(now, slot.pool, coming)

    def init_failed(self, now: float, slot: Slot[I]) -> list[I]:
        """This STARTING environment did not initialise and never will: `lost`, otherwise as `launch_failed`."""
        coming = self._failing(slot, "init_failed")
        self._lose(slot)
        return self._failed(now, slot.pool, coming)

    def advance(self, now: float) -> float | None:
        """Do what is due: end patience, refuse waiters past their limit, retire what is too long idle, pass the turn.

        Returns:
            When to be called next (seconds), None for not at all. :meth:`Effects.wake` may bring that forward.
        """
        self._wake_at = -inf  # what is wanted below is in the answer: no calls to effects.wake
        self._end_patience(now)
        deadlines = self._deadlines
        while deadlines:
            waiter = next(iter(deadlines.values()))
            if waiter.deadline > now:
                break
            pool = waiter.pool
            if pool.late < pool.coming:
                pool.late += 1
                waiter.late = True
                del deadlines[id(waiter.invocation)]
            else:
                self._leave(waiter)
                self._room.settle(pool)
                self._refuse_late(waiter.invocation)
        idle = self._idle
        while (oldest := idle.newer) is not idle and oldest.ready_since + self.keep_alive_s <= now:
            self.expirations += 1
            self._retire(oldest, "keep-alive")
        if self._turn_at <= now:
            self._pass_turn()
        self._serve(now)
        self._wake_at = self._next_due()
        return None if self._wake_at == inf else self._wake_at

    # ------------------------------------------------------------------------------------------------ for the curious

    def story(self, subject: object) -> str:
        """The last transitions of a slot or pool, one per line; "" here: see ``engine.scheduler.story``."""
        return ""

    # ------------------------------------------------------------------------------------------------ the cold path

    def _close(self, pool: Pool[I], reason: RetireReason) -> list[I]:
        orphans: list[I] = []
        if pool.closed is None:
            pool.closed = reason
            while pool.waiters:
                orphans.append(self._leave_first(pool))
            self._room.settle(pool)
            if not pool.held:
                self._concurrency.drop_pool(pool)
            while pool.top is not None:
                self._retire(pool.top, reason)
        return orphans

    def _wait(self, now: float, pool: Pool[I], invocation: I) -> None:
        if pool.open:
            self._take_place(pool, invocation)
            return
        if pool.closed is not None:
            raise IllegalTransition(f"submit to {pool!r}: its revision is superseded; resolve the function again")
        room = self._room
        if pool.memory_mb > room.memory_mb:
            self.throttles += 1
            self._effects.refuse(invocation, "ConcurrentInvocationLimitExceeded")
            return
        key = id(invocation)
        if pool.waiters is None:
            pool.waiters = OrderedDict()
        if key in pool.waiters or key in self._deadlines:
            raise IllegalTransition(f"submit of {invocation!r} to {pool!r}: it is waiting already")
        pool.limit.in_flight += 1
        deadline = now + self.wait_limit_s
        if self._deadlines:  # `now` may lie a little in the past: the queue stays in order all the same
            deadline = max(deadline, next(reversed(self._deadlines.values())).deadline)
        waiter = Waiter(invocation, pool, deadline)
        pool.waiters[key] = self._deadlines[key] = waiter
        if pool.returning and self.patience_s:
            self._be_patient(now, key, waiter)
        room.settle(pool)
        self._want(waiter.deadline)
        self._serve(now)

    def _be_patient(self, now: float, key: int, waiter: Waiter[I]) -> None:
        """The newest waiter trusts the environments that are returning; the oldest that does no more if they are few.

        So the patient ones are always at the back of the queue: whoever comes free serves those first that want a
        launch, and a want does not arise anew because a patient one was served in their stead.
        """
        pool = waiter.pool
        until = now + self.patience_s
        if self._patience:
            until = max(until, next(reversed(self._patience.values())).patient_until)
        waiter.patient_until = until
        if pool.patient is None:
            pool.patient = OrderedDict()
        pool.patient[key] = self._patience[key] = waiter
        self._trust(pool)
        self._want(until)

    def _trust(self, pool: Pool[I]) -> None:
        """No more waiters are patient than environments are returning. Before `settle`."""
        while pool.patient and len(pool.patient) > pool.returning:
            del self._patience[pool.patient.popitem(last=False)[0]]

    def _end_patience(self, now: float) -> None:
        patience = self._patience
        if not patience:
            return
        while patience:
            waiter = next(iter(patience.values()))
            if waiter.patient_until > now:
                break
            self._forget_patience(id(waiter.invocation), waiter.pool)
            self._room.settle(waiter.pool)
        self._serve(now)  # before anybody is found to be late: with an environment starting for it, it may be

    def _forget_patience(self, key: int, pool: Pool[I]) -> None:
        if pool.patient and pool.patient.pop(key, None) is not None:
            del self._patience[key]

    def _started(self, now: float, slot: Slot[I]) -> None:
        if slot.state != STARTING:
            raise IllegalTransition(f"ready for {slot!r}: only a STARTING or BUSY environment can become ready")
        slot.since = now
        slot.expected = 0
        slot.pool.starting -= 1

    def _ready_otherwise(self, now: float, slot: Slot[I], broken: bool) -> None:
        """What `ready` leaves over: the pool has waiters, or is closed, or the environment is broken."""
        pool = slot.pool
        room = self._room
        slot.state = READY  # in no list yet; re-linked or moved on below, before any effect
        slot.ready_since = now
        self._trust(pool)
        if pool.closed is not None:
            self._retire_unlinked(slot, pool.closed)
        elif not pool.waiters:
            self._link_at_bottom(slot)
            if self._alert:
                self._look_up(now)
            return
        elif self._gives_way(now, slot):
            self.evictions += 1
            self._retire_unlinked(slot, "evicted")
        else:
            slot.state = BUSY
            pool.busy += 1
            invocation = self._hand_over_first(pool)
            room.settle(pool)
            self._start(slot, invocation)
            if self._alert:
                self._look_up(now)
            return
        self._serve(now)

    def _gives_way(self, now: float, slot: Slot[I]) -> bool:
        """Whether a pool with waiters of its own must give this environment up for a pool that has less."""
        room = self._room
        pool = slot.pool
        if not room.lean or now <= slot.since + self.turn_s or not room.is_rich(pool):
            return False
        first = room.claimant()
        return first is not None and first.ring is room.lean

    def _look_up(self, now: float) -> None:
        idle = self._idle
        if not self._idle_watched and idle.newer is not idle:
            self._idle_watched = True
            self._want(idle.newer.ready_since + self.keep_alive_s)
        self._serve(now)
        self._alert = self._room.pending or not self._idle_watched

    def _serve(self, now: float) -> None:
        """Launch, promise and evict until nobody wants room or the pool whose turn it is must wait for some."""
        room = self._room
        if self._serving or not room.pending:
            if self._draining and not self._serving:
                self._reopen()
            return  # a call from within an effect: the loop below, further up the stack, sees the change
        self._serving = True
        try:
            while True:
                pool = room.launchable()
                if pool is not None:
                    self._launch(pool)
                    continue
                pool = room.claimant()
                if pool is None:
                    break
                if room.promise(pool):
                    if self._turn_of is pool:
                        self._end_turn()
                    continue
                oldest = self._evictable(now, pool)
                if oldest is None:
                    self._hold_back(now, pool)
                    break
                self.evictions += 1
                self._retire(oldest, "evicted")
        finally:
            self._serving = False
        if self._turn_of is not None and self._turn_of.ring is None:
            self._end_turn()
        self._alert = room.pending or not self._idle_watched
        if self._draining and not room.lean:
            self._reopen()

    def _launch(self, pool: Pool[I]) -> None:
        slot = Slot(pool) if pool.open is None else self._new_slot(pool)
        self._room.launched(pool)
        self._slots[slot] = None
        self.launches += 1
        self._effects.launch(slot)

    def _evictable(self, now: float, pool: Pool[I]) -> Slot[I] | None:
        """The least recently used idle environment, if this pool may have its room."""
        oldest = self._idle.newer
        if oldest is self._idle:
            return None
        if pool.ring is self._room.rich and now < oldest.ready_since + self.turn_s:
            return None  # used just now, and wanted by one that has more than its share
        return oldest

    def _hold_back(self, now: float, pool: Pool[I]) -> None:
        """It is this pool's turn and there is not room enough yet: the others wait, but not for longer than a turn."""
        room = self._room
        if pool.ring is room.rich and self._idle.newer is not self._idle:
            self._want(self._idle.newer.ready_since + self.turn_s)
        if self._turn_of is not pool and len(room.lean) + len(room.rich) > 1:
            self._turn_of = pool
            self._turn_at = now + self.turn_s
            self._want(self._turn_at)

    def _end_turn(self) -> None:
        self._turn_of = None
        self._turn_at = inf

    def _pass_turn(self) -> None:
        pool = self._turn_of
        self._end_turn()
        if pool is not None:
            self._room.pass_turn(pool)

    def _retire(self, slot: Slot[I], reason: RetireReason) -> None:
        slot.unlink()
        self._retire_unlinked(slot, reason)

    def _retire_unlinked(self, slot: Slot[I], reason: RetireReason) -> None:
        pool = slot.pool
        coming = 0 if pool.open is None else self._forget(slot)
        slot.state = RETIRING
        self._room.retired(pool)
        self._effects.retire(slot, reason)
        if coming:
            self._disappoint(pool, coming)

    def _failing(self, slot: Slot[I], event: str) -> int:
        """How many invocations wait for it, at most; it must be STARTING."""
        if slot.state != STARTING:
            raise IllegalTransition(f"{event} for {slot!r}: only a STARTING environment can fail to start")
        return slot.expected

    def _failed(self, now: float, pool: Pool[I], coming: int) -> list[I]:
        """A start came to nothing: those that it was for, oldest first, are the shell's to answer."""
        if pool.closed is not None and not pool.held:
            self._concurrency.drop_pool(pool)
        failed: list[I] = []
        while pool.waiters and len(failed) < coming:
            failed.append(self._leave_first(pool))
        if failed:
            self._room.settle(pool)
        self._serve(now)
        return failed

    def _bereaved(self, now: float, pool: Pool[I], coming: int) -> None:
        """An environment of the pool is of no more use; late waiters that it was starting for are refused."""
        if pool.closed is not None and not pool.held:
            self._concurrency.drop_pool(pool)
        self._disappoint(pool, coming)
        self._serve(now)

    def _disappoint(self, pool: Pool[I], coming: int) -> None:
        """Refuse the late waiters of the pool that waited for `coming` invocations to be taken."""
        refused: list[I] = []
        while pool.late and len(refused) < coming:
            refused.append(self._leave_first(pool))
        if refused:
            self._room.settle(pool)
        for invocation in refused:
            self._refuse_late(invocation)

    def _lose(self, slot: Slot[I]) -> None:
        """LOST: out of its pool's lists and counts, its memory still on the host's books."""
        state = slot.state
        self._unbook(slot, "lost")
        slot.state = LOST
        self._room.lost(slot.pool, state)

    def _bury(self, slot: Slot[I]) -> None:
        """GONE: out of every list and every count."""
        state = slot.state
        self._unbook(slot, "gone")
        slot.state = GONE
        del self._slots[slot]
        self._room.left(slot.pool, state)

    def _unbook(self, slot: Slot[I], event: str) -> None:
        """Out of its pool's lists and counts, whatever its state."""
        state = slot.state
        pool = slot.pool
        if state == GONE or (state == LOST and event == "lost"):
            raise IllegalTransition(f"{event} for {slot!r}: it is {STATE_NAMES[state]} already")
        if pool.open is not None:
            self._unbook_places(slot)
        if state == READY:
            slot.unlink()
        elif state == BUSY:
            pool.busy -= 1
            if slot.answered:
                slot.answered = False
                pool.returning -= 1
                self._trust(pool)
            elif pool.open is None:
                pool.limit.in_flight -= 1
        elif state == STARTING:
            pool.starting -= 1
            slot.expected = 0

    def _link_at_bottom(self, slot: Slot[I]) -> None:
        pool = slot.pool
        slot.below = None
        slot.above = above = pool.bottom
        if above is None:
            pool.top = slot
        else:
            above.below = slot
        pool.bottom = slot
        self._link_idle(slot)

    def _link_idle(self, slot: Slot[I]) -> None:
        """The newest of the idle environments."""
        idle = self._idle
        slot.newer = idle
        slot.older = idle.older
        idle.older.newer = slot
        idle.older = slot

    def _leave(self, waiter: Waiter[I]) -> None:
        """A waiter goes without having been started."""
        pool = waiter.pool
        key = id(waiter.invocation)
        if pool.waiters:
            del pool.waiters[key]
        self._forget_patience(key, pool)
        if waiter.late:
            pool.late -= 1
        else:
            del self._deadlines[key]
        pool.limit.in_flight -= 1

    def _leave_first(self, pool: Pool[I]) -> I:
        invocation = self._hand_over_first(pool)
        pool.limit.in_flight -= 1
        return invocation

    def _hand_over_first(self, pool: Pool[I]) -> I:
        """Take the oldest waiter out; it stays counted as in flight."""
        assert pool.waiters
        key, waiter = pool.waiters.popitem(last=False)
        self._forget_patience(key, pool)
        if waiter.late:
            pool.late -= 1
        else:
            del self._deadlines[key]
        return waiter.invocation

    def _refuse_late(self, invocation: I) -> None:
        self.throttles += 1
        self._effects.refuse(invocation, "ConcurrentInvocationLimitExceeded")

    def _want(self, at: float) -> None:
        if at < self._wake_at:
            self._wake_at = at
            self._effects.wake(at)

    def _next_due(self) -> float:
        due = self._turn_at
        if self._deadlines:
            due = min(due, next(iter(self._deadlines.values())).deadline)
        if self._patience:
            due = min(due, next(iter(self._patience.values())).patient_until)
        oldest = self._idle.newer
        self._idle_watched = oldest is not self._idle
        if self._idle_watched:
            due = min(due, oldest.ready_since + self.keep_alive_s)
            if self._room.rich:
                due = min(due, oldest.ready_since + self.turn_s)
        self._alert = self._room.pending or not self._idle_watched
        return due

    # ------------------------------------------------------------------------------------------------ several at a time
    # For pools whose `open` is not None.

    @abstractmethod
    def _take_place(self, pool: Pool[I], invocation: I) -> None:
        """An environment of it is open: start the invocation there."""

    @abstractmethod
    def _new_slot(self, pool: Pool[I]) -> Slot[I]:
        """The record of one more environment. Before the room is told."""

    @abstractmethod
    def _unbook_places(self, slot: Slot[I]) -> None:
        """An environment ends, with whatever is on it."""

    @abstractmethod
    def _forget(self, slot: Slot[I]) -> int:
        """It is of no more use to its pool; how many places were still expected of it. Before the room is told."""

    @abstractmethod
    def _reopen(self) -> None:
        """Nobody waits for the room of those that drain."""
