"""The host's room, in memory and in number of environments, and whose turn it is to get some of it.

A launch happens in two steps: room is *promised* to a pool (it may still be occupied by environments that retire), and
the launch is made when the room is there. The books: ``used`` covers every environment that is not GONE, ``leaving``
those of them that are RETIRING, ``promised`` the launches granted but not made. ``spare`` = free + leaving - promised
is what may be promised now; it is never negative. A promise lowers it, and so does an environment that was to leave and
is LOST instead: then promises are taken back.

Pools that want more than they have been promised stand in one of two rings, *lean* and *rich*: rich ones hold more than
their share, the budget divided by the number of contending pools. Lean pools go first; within a ring, pools take turns,
one launch each. A pool that holds nothing is always lean.

A pool is put into its ring when something happens to *it*, so a change in the number of contenders shows in the class
of a waiting pool only at its next event or when it comes to the head of the lean ring. That keeps each step O(1).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Generic

from .state import LOST, RETIRING, I, Pool


class Room(Generic[I]):
    """The books of the host's room. All in MB and environments; nothing here knows the time or has an effect."""

    __slots__ = (
        "contenders",
        "environments",
        "lean",
        "leaving",
        "leaving_mb",
        "max_environments",
        "memory_mb",
        "promised",
        "promised_mb",
        "promises",
        "rich",
        "used_mb",
    )

    def __init__(self, memory_mb: int, max_environments: int | None) -> None:
        if memory_mb <= 0:
            raise ValueError(f"memory_mb is the host's budget in MB and must be positive, not {memory_mb}")
        if max_environments is not None and max_environments <= 0:
            raise ValueError(f"max_environments must be positive, or None for no limit, not {max_environments}")
        self.memory_mb = memory_mb
        self.max_environments = sys.maxsize if max_environments is None else max_environments
        self.used_mb = self.environments = 0
        self.leaving_mb = self.leaving = 0
        self.promised_mb = self.promised = 0
        self.contenders = 0
        self.lean: OrderedDict[Pool[I], None] = OrderedDict()
        self.rich: OrderedDict[Pool[I], None] = OrderedDict()
        self.promises: OrderedDict[Pool[I], None] = OrderedDict()

    @property
    def spare_mb(self) -> int:
        """MB that may be promised now."""
        return self.memory_mb - self.used_mb + self.leaving_mb - self.promised_mb

    @property
    def spare(self) -> int:
        """Environments that may be promised now."""
        return self.max_environments - self.environments + self.leaving - self.promised

    @property
    def pending(self) -> bool:
        """Whether anybody wants room, or was promised some and waits for it to be free."""
        return bool(self.lean or self.rich or self.promises)

    def is_rich(self, pool: Pool[I]) -> bool:
        """Whether the pool holds, or is promised, more than an equal share of the host."""
        held = (pool.held + pool.granted) * self.contenders
        return held * pool.memory_mb > self.memory_mb or held > self.max_environments

    def settle(self, pool: Pool[I], *, turn_over: bool = False) -> None:
        """Bring the pool's place up to date after its waiters, environments or promises changed."""
        wanted = pool.wanted
        if pool.granted and pool.granted > wanted:
            self._withdraw_promises(pool, max(wanted, 0))
        contending = pool.held > 0 or bool(pool.waiters)
        if contending != pool.contending:
            pool.contending = contending
            self.contenders += 1 if contending else -1
        if wanted <= pool.granted:
            if pool.ring is not None:
                del pool.ring[pool]
                pool.ring = None
            return
        ring = self.rich if self.is_rich(pool) else self.lean
        if pool.ring is not ring:
            if pool.ring is not None:
                del pool.ring[pool]
            pool.ring = ring
            ring[pool] = None
        elif turn_over:
            ring.move_to_end(pool)

    def claimant(self) -> Pool[I] | None:
        """The pool whose turn it is to be promised room, or None when nobody wants any."""
        while self.lean:
            pool = next(iter(self.lean))
            if not self.is_rich(pool):
                return pool
            self.settle(pool)  # has become rich by others' coming: moves to the other ring
        return next(iter(self.rich)) if self.rich else None

    def promise(self, pool: Pool[I]) -> bool:
        """Promise the pool room for one environment and end its turn; False when there is not enough to spare."""
        if pool.memory_mb > self.spare_mb or self.spare < 1:
            return False
        pool.granted += 1
        self.promised += 1
        self.promised_mb += pool.memory_mb
        self.promises[pool] = None
        self.settle(pool, turn_over=True)
        return True

    def pass_turn(self, pool: Pool[I]) -> None:
        """The pool held the others back for a whole turn: whoever fits into what there is goes ahead, once around."""
        if pool.ring is not None:
            pool.ring.move_to_end(pool)
        for other in [*self.lean, *self.rich]:
            self.promise(other)

    def launchable(self) -> Pool[I] | None:
        """The first promised pool, if the room promised to it is free; None otherwise: it waits for `leave`."""
        if not self.promises:
            return None
        pool = next(iter(self.promises))
        if pool.memory_mb > self.memory_mb - self.used_mb or self.environments >= self.max_environments:
            return None
        return pool

    def launched(self, pool: Pool[I]) -> None:
        """A promise is kept: one environment of the pool is STARTING."""
        pool.granted -= 1
        self.promised -= 1
        self.promised_mb -= pool.memory_mb
        if pool.granted:
            self.promises.move_to_end(pool)
        else:
            del self.promises[pool]
        pool.starting += 1
        pool.held += 1
        self.used_mb += pool.memory_mb
        self.environments += 1
        self.settle(pool)

    def retired(self, pool: Pool[I]) -> None:
        """An environment of the pool is RETIRING: lost to the pool, its room may be promised, but is not free."""
        pool.held -= 1
        self.leaving += 1
        self.leaving_mb += pool.memory_mb
        self.settle(pool)

    def lost(self, pool: Pool[I], state: int) -> None:
        """An environment of the pool, in `state` so far, is LOST: its room is neither free nor to be promised."""
        if state == RETIRING:
            self.leaving -= 1
            self.leaving_mb -= pool.memory_mb
            while self.spare_mb < 0 or self.spare < 0:  # it was promised: who was promised last wants room again
                last = next(reversed(self.promises))
                self._withdraw_promises(last, last.granted - 1)
                self.settle(last)
        else:
            pool.held -= 1
        self.settle(pool)

    def left(self, pool: Pool[I], state: int) -> None:
        """An environment of the pool, in `state` so far, is GONE: its room is free."""
        self.used_mb -= pool.memory_mb
        self.environments -= 1
        if state == RETIRING:
            self.leaving -= 1
            self.leaving_mb -= pool.memory_mb
        elif state != LOST:
            pool.held -= 1
        self.settle(pool)

    def _withdraw_promises(self, pool: Pool[I], keep: int) -> None:
        dropped = pool.granted - keep
        pool.granted = keep
        self.promised -= dropped
        self.promised_mb -= dropped * pool.memory_mb
        if not keep:
            del self.promises[pool]
