"""Environments that take several invocations at a time, and the scheduler that knows them.

A :class:`SharedPool` has a *capacity*: how many invocations each of its environments takes at once, at most. What an
environment has to offer are *places*. A place is a worker of its runtime that asks for an invocation, no more and no
less: the shell says `place_free` when one asks, and nothing is ever assigned where nobody asks. So a runtime that has
fewer workers than its capacity, or loses some, is simply given less. A place is in one of these conditions:

- *free*: a worker asks.
- *running*: it has an invocation, which is not answered.
- *returning*: it has answered (`place_answered`), and its worker is expected to ask again in a moment.
- *expected*: the environment has become ready by its first worker, and the others have not asked yet. When for a turn
  none of them has come, they are expected no longer; should they come later, they are welcome.
- *absent*, and not counted: never came, came and went (`place_withdrawn`), answered and did not come back
  (`place_abandoned`), or is at work on an invocation that timed out (`place_answered` with ``returns=False``).

**Which environment.** The one on top of the pool's list of *open* ones, those with a free place; an environment comes
to the top when it has a free place and had none before. So the fullest are filled first, and no environment is launched
while there is a place: an environment is the unit of memory, and what is packed into few leaves others idle, to be
evicted or to expire. (AWS, whose managed instances are paid for while they stand, launches environments ahead of need
instead, by the load that it measures, and refuses what finds no place: "Scaling Lambda Managed Instances". A single
host has no such reserve: it launches when an invocation finds no place, as for every function.)

**Idle** is an environment with nothing running and nothing returning; only then is it evicted, expires or retires. It
may be idle and have no place, when all its workers are absent: then memory is all that it is good for.

**Wanting.** An environment that starts will serve as many waiters as it has places. The pool wants as many as its
waiters fill, over those that are patient and those that starting environments and expected places are for.

**Giving way.** A rich pool's environment that has served for a turn is given up for a lean pool that waits for room
(see the package's prose), and here that takes until the last invocation on it is over: it is *draining* meanwhile, and
given nothing. No more environments drain at a time than lean pools wait, and when none does any more, they are open
again.
"""

from __future__ import annotations

from .check import check, check_step
from .core import Core
from .state import (
    BUSY,
    READY,
    STARTING,
    I,
    IllegalTransition,
    Limit,
    Pool,
    RetireReason,
    SharedPool,
    SharedSlot,
    Slot,
)
from .stats import SchedulerStats, stats


class Scheduler(Core[I]):
    """Who gets the next invocation: :class:`Core`, and environments that take several at a time.

    The methods of the hot path are Core's own, untouched: a SharedPool's `top` is None, so that its invocations leave
    it where those that find nothing ready do.
    """

    __slots__ = ()

    # ------------------------------------------------------------------------------------------------ events

    def place_free(self, now: float, slot: SharedSlot[I]) -> None:
        """A worker of the environment asks for an invocation: for the first one, it has become ready.

        Raises:
            IllegalTransition: the environment is of no more use, or has had as many places as its capacity already.
        """
        pool = slot.home
        state = slot.state
        shown_up = False
        if state == STARTING:
            self._first_place(now, slot)
        elif state not in {BUSY, READY}:
            raise IllegalTransition(f"place_free for {slot!r}: it takes nothing any more")
        if slot.returning:
            slot.returning -= 1
            pool.returning -= 1
            self._trust(pool)
        elif slot.expected:
            shown_up = True
            self._expect(slot, slot.expected - 1)
            if slot.expected and slot.expected_until < now + self.turn_s:
                slot.expected_until = now + self.turn_s
                self._expecting.move_to_end(slot)
        elif slot.places + slot.running >= pool.capacity:
            raise IllegalTransition(f"place_free for {slot!r}: all its places are known already")
        slot.places += 1
        if pool.closed is not None:
            self._rest(now, slot)
        elif slot.draining or self._must_drain(now, slot):
            self._drain(slot, shown_up)
            self._rest(now, slot)
            self._serve(now)
        elif pool.waiters:
            self._take_waiter(slot)
            if self._alert:
                self._look_up(now)
        else:
            if slot.places == 1:
                pool.open[slot] = None
            self._rest(now, slot)

    def place_answered(self, now: float, slot: SharedSlot[I], returns: bool = True) -> None:
        """An invocation on the environment is answered. To be told before its caller is, who may submit again at once.

        Args:
            now: seconds.
            slot: BUSY.
            returns: its worker will ask again in a moment; False when it timed out, and nobody knows when it ends.

        Raises:
            IllegalTransition: nothing is running on it.
        """
        if not slot.running:
            raise IllegalTransition(f"place_answered for {slot!r}: no invocation is running on it")
        pool = slot.home
        slot.running -= 1
        pool.taken -= 1
        pool.limit.in_flight -= 1
        if returns:
            slot.returning += 1
            pool.returning += 1
        else:
            self._rest(now, slot)

    def place_withdrawn(self, now: float, slot: SharedSlot[I]) -> None:
        """A worker that asked is gone before it was given anything: a free place less.

        Raises:
            IllegalTransition: it has none.
        """
        if not slot.places:
            raise IllegalTransition(f"place_withdrawn for {slot!r}: it has no free place")
        slot.places -= 1
        if not slot.places:
            slot.home.open.pop(slot, None)

    def place_abandoned(self, now: float, slot: SharedSlot[I]) -> None:
        """A worker that answered has not asked again for so long that it is waited for no more.

        Raises:
            IllegalTransition: none is returning.
        """
        if not slot.returning:
            raise IllegalTransition(f"place_abandoned for {slot!r}: no place of it is returning")
        pool = slot.home
        slot.returning -= 1
        pool.returning -= 1
        self._trust(pool)
        self._room.settle(pool)
        self._rest(now, slot)
        self._serve(now)

    # ------------------------------------------------------------------------------------------------ for the curious

    def stats(self) -> SchedulerStats:
        """Environments by state, memory used, invocations waiting. O(pools)."""
        return stats(self)

    def check(self) -> None:
        """Compare every index with every other; raises InvariantViolation. O(everything): for tests."""
        check(self)

    def check_step(self, pool: Pool[I]) -> None:
        """The O(1) part of :meth:`check`: the host's totals and this pool's counters."""
        check_step(self, pool)

    # ------------------------------------------------------------------------------------------------ places

    def _first_place(self, now: float, slot: SharedSlot[I]) -> None:
        pool = slot.home
        slot.since = now
        slot.state = BUSY  # with nothing on it: given something, or idle, in the same call
        pool.starting -= 1
        pool.busy += 1
        slot.expected_until = now + self.turn_s
        self._expecting[slot] = None
        self._want(slot.expected_until)

    def _expect(self, slot: SharedSlot[I], places: int) -> None:
        """So many places of it have yet to show up. Before `settle`."""
        slot.home.expected += places - slot.expected
        slot.expected = places
        if not places:
            self._expecting.pop(slot, None)

    def _take(self, slot: SharedSlot[I]) -> None:
        """One of its free places is taken."""
        pool = slot.home
        if slot.state == READY:
            slot.unlink()
            slot.state = BUSY
            pool.busy += 1
        slot.places -= 1
        slot.running += 1
        pool.taken += 1
        if not slot.places:
            pool.open.pop(slot, None)

    def _take_waiter(self, slot: SharedSlot[I]) -> None:
        pool = slot.home
        invocation = self._hand_over_first(pool)
        self._take(slot)
        self._room.settle(pool)
        self._start(slot, invocation)

    def _rest(self, now: float, slot: SharedSlot[I]) -> None:
        """With nothing on it, it is idle; or retires, if it was to."""
        if slot.running or slot.returning or slot.state != BUSY:
            return
        pool = slot.home
        pool.busy -= 1
        slot.state = READY
        slot.ready_since = now
        if pool.closed is not None:
            self._retire_unlinked(slot, pool.closed)
        elif slot.draining:
            self.evictions += 1
            self._retire_unlinked(slot, "evicted")
        else:
            self._link_idle(slot)
            if self._alert:
                self._look_up(now)
            return
        self._serve(now)

    # ------------------------------------------------------------------------------------------------ giving way

    def _must_drain(self, now: float, slot: SharedSlot[I]) -> bool:
        """Whether a lean pool waits for the room of this environment, and is not served by it becoming idle anyway."""
        used = slot.running or slot.returning or slot.home.waiters
        return bool(used) and len(self._draining) < len(self._room.lean) and self._gives_way(now, slot)

    def _drain(self, slot: SharedSlot[I], shown_up: bool) -> None:
        """It is given nothing more; who waits for places that were expected of it must do without.

        Args:
            slot: which.
            shown_up: one of these places has shown up just now.
        """
        pool = slot.home
        coming = slot.expected + shown_up
        self._expect(slot, 0)
        pool.open.pop(slot, None)
        slot.draining = True
        self._draining[slot] = None
        self._room.settle(pool)
        self._disappoint(pool, coming)

    def _reopen(self) -> None:
        for slot in list(self._draining):
            if self._room.lean:
                return  # a pool that was served by the one before is no longer rich, and still wants
            if slot in self._draining:
                self._stop_draining(slot)
                pool = slot.home
                if slot.places:
                    pool.open[slot] = None
                while slot.places and pool.waiters:
                    self._take_waiter(slot)

    def _stop_draining(self, slot: SharedSlot[I]) -> None:
        slot.draining = False
        self._draining.pop(slot, None)

    # ------------------------------------------------------------------------------------------------ the cold path

    def _new_pool(self, function: str, memory_mb: int, limit: Limit, capacity: int | None) -> Pool[I]:
        if capacity is None:
            return super()._new_pool(function, memory_mb, limit, capacity)
        return SharedPool(function, memory_mb, limit, capacity)

    def _take_place(self, pool: Pool[I], invocation: I) -> None:
        assert isinstance(pool, SharedPool)
        pool.limit.in_flight += 1
        slot = next(reversed(pool.open))
        self._take(slot)
        self._start(slot, invocation)

    def _new_slot(self, pool: Pool[I]) -> Slot[I]:
        assert isinstance(pool, SharedPool)
        slot = SharedSlot(pool)
        pool.slots[slot] = None
        pool.expected += pool.capacity
        return slot

    def _close(self, pool: Pool[I], reason: RetireReason) -> list[I]:
        orphans = super()._close(pool, reason)
        if isinstance(pool, SharedPool):
            pool.open.clear()
            for slot in list(pool.slots):
                self._stop_draining(slot)  # it will retire as soon, anyhow
                if slot.state == READY:
                    self._retire(slot, reason)
        return orphans

    def _end_patience(self, now: float) -> None:
        lapsed = False
        while self._expecting:
            slot = next(iter(self._expecting))
            if slot.expected_until > now:
                break
            pool = slot.home
            coming = slot.expected
            self._expect(slot, 0)
            self._room.settle(pool)
            self._disappoint(pool, coming)
            lapsed = True
        if lapsed:
            self._serve(now)
        super()._end_patience(now)

    def _next_due(self) -> float:
        due = super()._next_due()
        return min(due, next(iter(self._expecting)).expected_until) if self._expecting else due

    def _unbook_places(self, slot: Slot[I]) -> None:
        assert isinstance(slot, SharedSlot)
        pool = slot.home
        pool.taken -= slot.running
        pool.limit.in_flight -= slot.running
        pool.returning -= slot.returning
        slot.running = slot.returning = 0
        self._trust(pool)
        self._forget(slot)

    def _forget(self, slot: Slot[I]) -> int:
        assert isinstance(slot, SharedSlot)
        coming = slot.expected
        self._expect(slot, 0)
        slot.home.slots.pop(slot, None)
        slot.home.open.pop(slot, None)
        self._stop_draining(slot)
        slot.places = 0
        return coming
