"""A host that only writes down what it is told, for the scheduler's unit tests."""

from __future__ import annotations

from typing import Any

from engine.scheduler import Pool, Slot
from engine.scheduler.story import RecordedScheduler


class Host:
    """Effects as a list of tuples, oldest first; `told()` gives those since the last call. Slots in order of launch."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("memory_mb", 1000)
        self.log: list[tuple[Any, ...]] = []
        self.slots: list[Slot[Any]] = []
        self.wakes: list[float] = []
        self.scheduler: RecordedScheduler[Any] = RecordedScheduler(self, **options)

    def start(self, slot: Slot[Any], invocation: Any) -> None:
        self.log.append(("start", slot, invocation))

    def launch(self, slot: Slot[Any]) -> None:
        self.slots.append(slot)
        self.log.append(("launch", slot.pool))

    def retire(self, slot: Slot[Any], reason: str) -> None:
        self.log.append(("retire", slot, reason))

    def refuse(self, invocation: Any, reason: str) -> None:
        self.log.append(("refuse", invocation, reason))

    def wake(self, at: float) -> None:
        self.wakes.append(at)

    def told(self) -> list[tuple[Any, ...]]:
        self.scheduler.check()
        told, self.log = self.log, []
        return told

    def idle(self, now: float, pool: Pool[Any], count: int = 1) -> list[Slot[Any]]:
        """Environments of the pool, made ready and left idle at `now`, in this order."""
        already = len(self.slots)
        for number in range(count):
            self.scheduler.submit(now, pool, f"warm-up {number}")
        made = self.slots[already:]
        assert len(made) == count
        for slot in made:
            self.scheduler.ready(now, slot)
        for slot in made:
            self.scheduler.ready(now, slot)
        self.told()
        return made

    def busy(self, now: float, pool: Pool[Any], count: int = 1) -> list[Slot[Any]]:
        """Environments of the pool, each with an invocation since `now`."""
        already = len(self.slots)
        for number in range(count):
            self.scheduler.submit(now, pool, f"work {number}")
        made = self.slots[already:]
        assert len(made) == count
        for slot in made:
            self.scheduler.ready(now, slot)
        self.told()
        return made
