"""A scheduler that remembers: each event and effect with its time, in a bounded ring, told when a rule is broken.

For tests, simulations and debugging. The plain scheduler pays nothing for it.
"""

# ruff: noqa: D102  # each method is documented where it is overridden from

from __future__ import annotations

from collections import deque
from typing import Any

from .places import Scheduler
from .state import STATE_NAMES, Effects, I, Pool, Refusal, RetireReason, SharedSlot, Slot


class _Recorder:
    """Effects that are noted, then passed on."""

    def __init__(self, scheduler: RecordedScheduler[Any], effects: Effects[Any]) -> None:
        self.scheduler = scheduler
        self.effects = effects

    def start(self, slot: Slot[Any], invocation: object) -> None:
        self.scheduler.note("  -> start", slot.pool, slot, invocation)
        self.effects.start(slot, invocation)

    def launch(self, slot: Slot[Any]) -> None:
        self.scheduler.note("  -> launch", slot.pool, slot)
        self.effects.launch(slot)

    def retire(self, slot: Slot[Any], reason: RetireReason) -> None:
        self.scheduler.note(f"  -> retire ({reason})", slot.pool, slot)
        self.effects.retire(slot, reason)

    def refuse(self, invocation: object, reason: Refusal) -> None:
        self.scheduler.note(f"  -> refuse ({reason})", None, None, invocation)
        self.effects.refuse(invocation, reason)

    def wake(self, at: float) -> None:
        self.effects.wake(at)


class RecordedScheduler(Scheduler[I]):
    """A :class:`Scheduler` whose :meth:`story` tells the last transitions of a slot or pool.

    Args:
        journal: how many transitions, over all pools, are kept.
    """

    __slots__ = ("_journal", "_now")

    def __init__(self, effects: Effects[I], *, journal: int = 10_000, **options: Any) -> None:
        self._journal: deque[tuple[float, str, Pool[I] | None, Slot[I] | None, str]] = deque(maxlen=journal)
        self._now = 0.0
        super().__init__(_Recorder(self, effects), **options)

    def note(self, what: str, pool: Pool[I] | None, slot: Slot[I] | None, invocation: object = None) -> None:
        """Add one line to the journal. What it says of the invocation is its repr, now."""
        state = "" if slot is None else STATE_NAMES[slot.state]
        told = "" if invocation is None else repr(invocation)
        self._journal.append((self._now, f"{what} {state}".rstrip(), pool, slot, told))

    def story(self, subject: object) -> str:
        """The transitions of this slot, pool, or (any other subject) of everything, oldest first, one per line."""
        lines = []
        for now, what, pool, slot, told in self._journal:
            mine = (
                (slot is subject) if isinstance(subject, Slot) else (not isinstance(subject, Pool) or pool is subject)
            )
            if mine:
                name = "" if pool is None else f" {pool.function}"
                number = "" if slot is None else f" slot {id(slot):#x}"
                lines.append(f"{now:14.6f} {what}{name}{number} {told}".rstrip())
        return "\n".join(lines[-200:])

    def submit(self, now: float, pool: Pool[I], invocation: I) -> None:
        self._now = now
        self.note("submit", pool, None, invocation)
        super().submit(now, pool, invocation)

    def ready(self, now: float, slot: Slot[I], broken: bool = False) -> None:
        self._now = now
        self.note("ready, broken" if broken else "ready", slot.pool, slot)
        super().ready(now, slot, broken)

    def answered(self, now: float, slot: Slot[I]) -> None:
        self._now = now
        self.note("answered", slot.pool, slot)
        super().answered(now, slot)

    def gone(self, now: float, slot: Slot[I]) -> None:
        self._now = now
        self.note("gone", slot.pool, slot)
        super().gone(now, slot)

    def lost(self, now: float, slot: Slot[I]) -> None:
        self._now = now
        self.note("lost", slot.pool, slot)
        super().lost(now, slot)

    def launch_failed(self, now: float, slot: Slot[I]) -> list[I]:
        self._now = now
        self.note("launch failed", slot.pool, slot)
        return super().launch_failed(now, slot)

    def init_failed(self, now: float, slot: Slot[I]) -> list[I]:
        self._now = now
        self.note("init failed", slot.pool, slot)
        return super().init_failed(now, slot)

    def place_free(self, now: float, slot: SharedSlot[I]) -> None:
        self._now = now
        self.note("place free", slot.pool, slot)
        super().place_free(now, slot)

    def place_answered(self, now: float, slot: SharedSlot[I], returns: bool = True) -> None:
        self._now = now
        self.note("place answered" if returns else "place timed out", slot.pool, slot)
        super().place_answered(now, slot, returns)

    def place_withdrawn(self, now: float, slot: SharedSlot[I]) -> None:
        self._now = now
        self.note("place withdrawn", slot.pool, slot)
        super().place_withdrawn(now, slot)

    def place_abandoned(self, now: float, slot: SharedSlot[I]) -> None:
        self._now = now
        self.note("place abandoned", slot.pool, slot)
        super().place_abandoned(now, slot)

    def withdraw(self, now: float, pool: Pool[I], invocation: I) -> bool:
        self._now = now
        self.note("withdraw", pool, None, invocation)
        return super().withdraw(now, pool, invocation)

    def close_pool(self, now: float, pool: Pool[I]) -> list[I]:
        self._now = now
        self.note("close", pool, None)
        return super().close_pool(now, pool)

    def advance(self, now: float) -> float | None:
        self._now = now
        return super().advance(now)
