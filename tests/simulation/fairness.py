"""A watched ledger: the scheduler's own Room, with the order of turns checked at each promise."""

from __future__ import annotations

from typing import Any

from engine.scheduler import InvariantViolation, Pool
from engine.scheduler.room import Room


class WatchedRoom(Room[Any]):
    """Checks the fairness bound: a pool that holds nothing is preceded by at most one promise per pool ahead of it.

    Counted from when it last came to the end of the lean ring: on wanting room, or on passing its turn. Promises made
    when a turn is passed (once around, to those that fit) are counted apart. O(1) per promise.
    """

    __slots__ = ("_joined", "_passing", "backfills", "longest_line", "promises_made", "turns_passed")

    def __init__(self, memory_mb: int, max_environments: int | None) -> None:
        super().__init__(memory_mb, max_environments)
        self._joined: dict[Pool[Any], tuple[int, int]] = {}  # promises made before, pools ahead
        self._passing = False
        self.promises_made = self.backfills = self.turns_passed = self.longest_line = 0

    def settle(self, pool: Pool[Any], *, turn_over: bool = False) -> None:
        before = pool.ring
        super().settle(pool, turn_over=turn_over)
        if pool.ring is not self.lean:
            self._joined.pop(pool, None)
        elif turn_over or before is not self.lean:
            self._joins(pool)

    def promise(self, pool: Pool[Any]) -> bool:
        lean = pool.ring is self.lean
        joined = self._joined.get(pool)
        empty_handed = pool.held + pool.granted == 0
        lean_waits = not lean and any(not self.is_rich(other) for other in self.lean)
        self.promises_made += not self._passing  # before it comes to the end of the line anew
        if not super().promise(pool):
            self.promises_made -= not self._passing
            return False
        if self._passing:
            self.backfills += 1
            return True
        if lean_waits:
            raise InvariantViolation(f"{pool!r} is rich and was promised room while a lean pool waits for it")
        if lean and empty_handed:
            if joined is None:
                raise InvariantViolation(f"{pool!r} was promised room and had not come to want any")
            made, ahead = joined
            before = self.promises_made - 1 - made
            if before > ahead:
                raise InvariantViolation(
                    f"{pool!r} holds nothing, {ahead} pools were ahead of it when it came to want room,"
                    f" and {before} promises were made before its turn"
                )
        return True

    def pass_turn(self, pool: Pool[Any]) -> None:
        self.turns_passed += 1
        self._passing = True
        try:
            super().pass_turn(pool)
        finally:
            self._passing = False
        if pool.ring is self.lean:
            self._joins(pool)

    def _joins(self, pool: Pool[Any]) -> None:
        ahead = len(self.lean) - 1
        self.longest_line = max(self.longest_line, ahead)
        self._joined[pool] = (self.promises_made, ahead)
