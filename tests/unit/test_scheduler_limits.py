"""Concurrency: the account's, and reserved ones."""

from __future__ import annotations

import pytest

from engine.scheduler import Scheduler, Slot
from tests.unit.scheduler_host import Host

ACCOUNT = "ConcurrentInvocationLimitExceeded"
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_the_account_limit_counts_waiting_and_running_of_all_functions() -> None:
    host = Host(account_concurrency=2)
    one, two = host.scheduler.open_pool("one", 100), host.scheduler.open_pool("two", 100)
    (slot,) = host.busy(0.0, one)
    host.scheduler.submit(0.0, two, "waits")
    host.scheduler.submit(0.0, two, "too many")
    assert host.told() == [("launch", two), ("refuse", "too many", ACCOUNT)]
    host.scheduler.ready(0.1, slot)
    host.scheduler.submit(0.1, one, "fits again")
    assert host.told() == [("start", slot, "fits again")]


@pytest.mark.parametrize("ending", ["ready", "gone", "withdraw", "launch_failed", "close_pool"])
def test_every_way_to_end_gives_the_concurrency_back(ending: str) -> None:
    host = Host(account_concurrency=1)
    pool, other = host.scheduler.open_pool("f", 100), host.scheduler.open_pool("other", 100)
    if ending in {"ready", "gone"}:
        (slot,) = host.busy(0.0, pool)
        getattr(host.scheduler, ending)(0.1, slot)
    else:
        host.scheduler.submit(0.0, pool, "one")
        if ending == "withdraw":
            host.scheduler.withdraw(0.1, pool, "one")
        elif ending == "launch_failed":
            host.scheduler.launch_failed(0.1, host.slots[0])
        else:
            host.scheduler.close_pool(0.1, pool)
    host.told()
    host.scheduler.submit(0.2, other, "two")
    assert host.told() == [("launch", other)]


def test_reserved_concurrency_caps_its_function_and_is_taken_from_the_others() -> None:
    host = Host(account_concurrency=3)
    reserved, other = host.scheduler.open_pool("reserved", 100), host.scheduler.open_pool("other", 100)
    host.scheduler.reserve("reserved", 1)
    host.busy(0.0, reserved)
    host.busy(0.0, other, 2)
    host.scheduler.submit(0.1, reserved, "r")
    host.scheduler.submit(0.1, other, "o")
    assert host.told() == [("refuse", "r", RESERVED), ("refuse", "o", ACCOUNT)]


def test_reserving_zero_throttles_all_and_lifting_it_permits_again() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.reserve("f", 0)
    host.scheduler.submit(0.0, pool, "one")
    assert host.told() == [("refuse", "one", RESERVED)]
    host.scheduler.reserve("f", None)
    host.scheduler.submit(0.1, pool, "two")
    assert host.told() == [("launch", pool)]


def test_what_is_in_flight_moves_with_its_function() -> None:
    host = Host(account_concurrency=4)
    f, other = host.scheduler.open_pool("f", 100), host.scheduler.open_pool("other", 100)
    slots = host.busy(0.0, f, 2)
    host.scheduler.submit(0.1, f, "waits")
    host.scheduler.reserve("f", 1)  # less than it has: they go on, no more come in
    host.told()
    host.scheduler.submit(0.2, f, "refused")
    host.scheduler.submit(0.2, other, "room for 3 here")
    assert host.told() == [("refuse", "refused", RESERVED), ("launch", other)]
    host.scheduler.ready(0.3, slots[0])
    assert host.told() == [("start", slots[0], "waits")]
    host.scheduler.reserve("f", 5)
    host.scheduler.submit(0.4, other, "nothing is left unreserved")
    assert host.told() == [("refuse", "nothing is left unreserved", ACCOUNT)]
    host.scheduler.reserve("f", None)
    host.told()


def test_revisions_of_a_function_share_its_limit() -> None:
    host = Host()
    host.scheduler.reserve("f", 1)
    old = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, old)
    host.scheduler.close_pool(0.1, old)
    new = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.2, new, "one")
    assert host.told() == [("refuse", "one", RESERVED)], "the old revision still runs one"
    host.scheduler.ready(0.3, slot)
    host.scheduler.submit(0.4, new, "two")
    assert ("launch", new) in host.told()


def test_a_function_too_large_for_the_host_is_refused_at_once() -> None:
    host = Host(memory_mb=1000)
    pool = host.scheduler.open_pool("f", 1001)
    host.scheduler.submit(0.0, pool, "one")
    assert host.told() == [("refuse", "one", ACCOUNT)]


def test_a_reservation_may_come_before_and_outlive_its_function() -> None:
    host = Host()
    host.scheduler.reserve("f", 1)
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.close_pool(0.0, pool)
    host.told()
    pool = host.scheduler.open_pool("f", 100)
    host.busy(0.0, pool)
    host.scheduler.submit(0.1, pool, "two")
    assert host.told() == [("refuse", "two", RESERVED)]


def test_the_caller_who_was_answered_may_come_again_under_a_reservation_of_one():
    effects = _Effects()
    scheduler: Scheduler[str] = Scheduler(effects, memory_mb=1_000, patience_s=1.0)
    scheduler.reserve("f", 1)
    pool = scheduler.open_pool("f", 128)
    scheduler.submit(0.0, pool, "first")
    scheduler.ready(0.1, effects.launched[0])
    scheduler.submit(0.2, pool, "too many")
    assert effects.refused == ["too many"]
    scheduler.answered(0.3, effects.launched[0])
    scheduler.submit(0.3, pool, "again")
    scheduler.check()
    assert effects.refused == ["too many"]
    scheduler.ready(0.4, effects.launched[0])
    assert effects.started == ["first", "again"]
    assert len(effects.launched) == 1
    scheduler.check()


class _Effects:
    """Writes down; nothing more."""

    def __init__(self) -> None:
        self.launched: list[Slot[str]] = []
        self.started: list[str] = []
        self.refused: list[str] = []

    def start(self, slot: Slot[str], invocation: str, /) -> None:
        self.started.append(invocation)

    def launch(self, slot: Slot[str], /) -> None:
        self.launched.append(slot)

    def retire(self, slot: Slot[str], reason: str, /) -> None: ...

    def refuse(self, invocation: str, reason: str, /) -> None:
        self.refused.append(invocation)

    def wake(self, at: float, /) -> None: ...
