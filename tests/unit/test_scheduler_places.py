"""Environments that take several invocations at a time: places, packing, patience, giving way."""

from __future__ import annotations

from typing import Any

import pytest

from engine.scheduler import BUSY, LOST, READY, RETIRING, IllegalTransition, Pool, SharedSlot
from tests.unit.scheduler_host import Host


def made(host: Host, now: float, pool: Pool[Any], workers: int) -> SharedSlot[Any]:
    """An environment of the pool that is idle, so many of whose workers ask."""
    host.scheduler.submit(now, pool, "warm-up")
    slot = host.slots[-1]
    assert isinstance(slot, SharedSlot)
    for _ in range(workers):
        host.scheduler.place_free(now, slot)
    host.scheduler.place_answered(now, slot)
    host.scheduler.place_free(now, slot)
    host.told()
    return slot


def fill(host: Host, now: float, pool: Pool[Any], *names: str) -> None:
    for name in names:
        host.scheduler.submit(now, pool, name)


def test_an_environment_is_launched_for_as_many_waiters_as_it_takes() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 4)
    fill(host, 0.0, pool, "a", "b", "c", "d")
    assert host.told() == [("launch", pool)]
    fill(host, 0.0, pool, "e")
    assert host.told() == [("launch", pool)]


def test_who_waits_is_served_as_workers_ask_in_turn() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 3)
    fill(host, 0.0, pool, "a", "b")
    (slot,) = host.slots
    host.told()
    host.scheduler.place_free(0.1, slot)
    assert host.told() == [("start", slot, "a")]
    host.scheduler.place_free(0.2, slot)
    assert host.told() == [("start", slot, "b")]
    host.scheduler.place_free(0.3, slot)
    assert host.told() == []
    fill(host, 0.3, pool, "c")
    assert host.told() == [("start", slot, "c")]
    assert slot.state == BUSY
    assert (slot.running, slot.places) == (3, 0)


def test_a_warm_environment_is_filled_before_another_is_used() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 2)
    first = made(host, 0.0, pool, 2)
    fill(host, 1.0, pool, "a", "b", "c")
    second = host.slots[-1]
    host.scheduler.place_free(1.0, second)
    host.scheduler.place_free(1.0, second)
    assert host.told() == [("start", first, "a"), ("start", first, "b"), ("launch", pool), ("start", second, "c")]
    host.scheduler.place_answered(2.0, first)
    host.scheduler.place_free(2.0, first)
    fill(host, 2.0, pool, "d", "e")
    assert host.told() == [("start", first, "d"), ("start", second, "e")], "the last to have room again is on top"


def test_an_environment_is_idle_only_when_nothing_is_in_flight_on_it() -> None:
    host = Host(keep_alive_s=10.0)
    pool = host.scheduler.open_pool("f", 100, 2)
    slot = made(host, 0.0, pool, 2)
    fill(host, 1.0, pool, "a", "b")
    host.scheduler.place_answered(2.0, slot)
    host.scheduler.place_free(2.0, slot)
    host.told()
    host.scheduler.advance(50.0)
    assert host.told() == [], "it has an invocation"
    host.scheduler.place_answered(50.0, slot)
    assert slot.state == BUSY, "its worker is expected back"
    host.scheduler.place_free(50.0, slot)
    assert slot.state == READY
    host.scheduler.advance(59.0)
    assert host.told() == []
    host.scheduler.advance(60.0)
    assert host.told() == [("retire", slot, "keep-alive")]


def test_its_memory_counts_once_and_its_invocations_each() -> None:
    host = Host(account_concurrency=3)
    pool = host.scheduler.open_pool("f", 100, 8)
    slot = made(host, 0.0, pool, 8)
    fill(host, 1.0, pool, "a", "b", "c", "d")
    assert host.told() == [
        *[("start", slot, name) for name in "abc"],
        ("refuse", "d", "ConcurrentInvocationLimitExceeded"),
    ]
    stats = host.scheduler.stats()
    assert (stats.memory_used_mb, stats.environments, stats.running) == (100, 1, 3)
    host.scheduler.place_answered(2.0, slot)
    fill(host, 2.0, pool, "e")
    assert host.told() == [("start", slot, "e")]


def test_reserved_concurrency_is_counted_by_invocation() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 8)
    slot = made(host, 0.0, pool, 8)
    fill(host, 1.0, pool, "a", "b")
    host.told()
    host.scheduler.reserve("f", 2)
    fill(host, 1.0, pool, "c")
    assert host.told() == [("refuse", "c", "ReservedFunctionConcurrentInvocationLimitExceeded")]
    host.scheduler.place_answered(2.0, slot, returns=False)
    fill(host, 2.0, pool, "d")
    assert host.told() == [("start", slot, "d")], "who timed out is answered, and does not count"


def test_who_comes_between_an_answer_and_the_workers_next_poll_waits_for_it() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 2)
    slot = made(host, 0.0, pool, 2)
    fill(host, 1.0, pool, "a", "b")
    host.told()
    host.scheduler.place_answered(2.0, slot)
    fill(host, 2.0, pool, "c")
    assert host.told() == []
    fill(host, 2.0, pool, "d")
    assert host.told() == [("launch", pool)], "one place is returning, and two wait"
    host.scheduler.place_free(2.001, slot)
    assert host.told() == [("start", slot, "c")]


def test_patience_for_a_returning_place_ends() -> None:
    host = Host(patience_s=0.005)
    pool = host.scheduler.open_pool("f", 100, 1)
    slot = made(host, 0.0, pool, 1)
    fill(host, 1.0, pool, "a")
    host.told()
    host.scheduler.place_answered(2.0, slot)
    fill(host, 2.0, pool, "b")
    assert host.told() == []
    host.scheduler.advance(2.005)
    assert host.told() == [("launch", pool)]


def test_a_place_that_timed_out_is_not_waited_for() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 1)
    slot = made(host, 0.0, pool, 1)
    fill(host, 1.0, pool, "a")
    host.told()
    host.scheduler.place_answered(4.0, slot, returns=False)
    assert slot.state == READY, "idle: nobody waits for what it does"
    fill(host, 4.0, pool, "b")
    assert host.told() == [("launch", pool)]
    host.scheduler.place_free(4.1, slot)
    assert host.told() == [("start", slot, "b")], "it came back after all"


def test_an_environment_all_of_whose_workers_are_stuck_is_evicted_for_its_own_pool() -> None:
    host = Host(memory_mb=100, wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100, 1)
    slot = made(host, 0.0, pool, 1)
    fill(host, 1.0, pool, "a")
    host.told()
    host.scheduler.place_answered(4.0, slot, returns=False)
    fill(host, 4.0, pool, "b")
    assert host.told() == [("retire", slot, "evicted")]
    host.scheduler.gone(4.1, slot)
    assert host.told() == [("launch", pool)]


def test_workers_that_have_not_come_after_a_turn_are_expected_no_longer() -> None:
    host = Host(wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100, 3)
    fill(host, 0.0, pool, "a", "b", "c")
    (slot,) = host.slots
    host.told()
    host.scheduler.place_free(0.1, slot)
    assert host.told() == [("start", slot, "a")]
    assert host.scheduler.advance(0.1) == pytest.approx(0.6)
    assert host.told() == []
    host.scheduler.advance(0.6)
    assert host.told() == [("launch", pool)], "its capacity is one, as it seems"
    host.scheduler.place_free(0.7, slot)
    assert host.told() == [("start", slot, "b")], "a worker that comes late is welcome"


def test_workers_that_come_one_by_one_are_waited_for_as_long_as_they_do() -> None:
    """Processes that initialise in turn, on one CPU."""
    host = Host(wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100, 4)
    fill(host, 0.0, pool, "a", "b", "c", "d")
    (slot,) = host.slots
    host.told()
    for at, name in ((0.1, "a"), (0.5, "b"), (0.9, "c")):
        host.scheduler.place_free(at, slot)
        assert host.told() == [("start", slot, name)]
        host.scheduler.advance(at + 0.39)
        assert host.told() == []
    host.scheduler.advance(1.4)
    assert host.told() == [("launch", pool)]


def test_a_late_waiter_of_places_that_never_come_is_refused() -> None:
    host = Host(memory_mb=100, wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100, 3)
    fill(host, 0.0, pool, "a", "b", "c")
    (slot,) = host.slots
    host.scheduler.advance(2.0)
    host.told()
    assert pool.late == 3
    host.scheduler.place_free(5.0, slot)
    assert host.told() == [("start", slot, "a")]
    host.scheduler.advance(5.5)
    refused = "ConcurrentInvocationLimitExceeded"
    assert host.told() == [("refuse", "b", refused), ("refuse", "c", refused)]


@pytest.mark.parametrize("event", ["gone", "lost"])
def test_a_start_that_comes_to_nothing_takes_its_late_waiters_along(event: str) -> None:
    host = Host(memory_mb=100, wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100, 2)
    fill(host, 0.0, pool, "a", "b")
    host.scheduler.advance(2.0)
    fill(host, 2.5, pool, "c")
    host.told()
    getattr(host.scheduler, event)(3.0, host.slots[0])
    refused = "ConcurrentInvocationLimitExceeded"
    told = host.told()
    assert told[:2] == [("refuse", "a", refused), ("refuse", "b", refused)]
    assert told[2:] == ([("launch", pool)] if event == "gone" else []), "of a lost one the memory is not free"


def test_an_init_that_fails_fails_those_that_it_was_for_and_keeps_its_memory() -> None:
    host = Host(memory_mb=100)
    pool = host.scheduler.open_pool("f", 100, 2)
    fill(host, 0.0, pool, "a", "b", "c")
    (slot,) = host.slots
    host.told()
    assert host.scheduler.init_failed(1.0, slot) == ["a", "b"]
    assert slot.state == LOST
    assert host.told() == []
    host.scheduler.gone(1.1, slot)
    assert host.told() == [("launch", pool)]


def test_a_worker_that_goes_takes_its_place_along() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 2)
    slot = made(host, 0.0, pool, 2)
    host.scheduler.place_withdrawn(1.0, slot)
    fill(host, 1.0, pool, "a", "b")
    assert host.told() == [("start", slot, "a"), ("launch", pool)]


def test_a_worker_that_stays_away_is_replaced_for_who_waits_for_it() -> None:
    host = Host(patience_s=9.0, wait_limit_s=9.0)
    pool = host.scheduler.open_pool("f", 100, 1)
    slot = made(host, 0.0, pool, 1)
    fill(host, 1.0, pool, "a")
    host.scheduler.place_answered(2.0, slot)
    fill(host, 2.0, pool, "b")
    host.told()
    host.scheduler.place_abandoned(3.0, slot)
    assert host.told() == [("launch", pool)]
    assert slot.state == READY


def test_a_closed_pool_takes_nothing_and_its_environments_retire_as_they_become_idle() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 2)
    busy = made(host, 0.0, pool, 2)
    fill(host, 1.0, pool, "a", "b", "c")
    idle = host.slots[-1]
    assert isinstance(idle, SharedSlot)
    host.scheduler.place_free(1.0, idle)
    host.scheduler.place_answered(1.0, idle)
    host.scheduler.place_free(1.0, idle)
    host.told()
    assert host.scheduler.close_pool(2.0, pool) == []
    assert host.told() == [("retire", idle, "stale")]
    with pytest.raises(IllegalTransition):
        host.scheduler.submit(2.0, pool, "d")
    host.scheduler.place_answered(3.0, busy)
    host.scheduler.place_free(3.0, busy)
    assert host.told() == [], "one is in flight"
    host.scheduler.place_answered(4.0, busy)
    host.scheduler.place_free(4.0, busy)
    assert host.told() == [("retire", busy, "stale")]


def test_a_crash_frees_what_was_in_flight_and_who_waits_gets_another() -> None:
    host = Host(account_concurrency=3)
    pool = host.scheduler.open_pool("f", 100, 2)
    slot = made(host, 0.0, pool, 2)
    fill(host, 1.0, pool, "a", "b")
    host.told()
    host.scheduler.lost(2.0, slot)
    assert pool.limit.in_flight == 0
    fill(host, 2.0, pool, "c")
    assert host.told() == [("launch", pool)]


# -- giving way


def shared_host() -> tuple[Host, Pool[Any], list[SharedSlot[Any]], Pool[Any]]:
    """A full host: a rich pool of two environments, each with one invocation of two, and a pool that holds nothing."""
    host = Host(memory_mb=200, wait_limit_s=2.0)
    rich, lean = host.scheduler.open_pool("rich", 100, 2), host.scheduler.open_pool("lean", 100)
    fill(host, 0.0, rich, "a", "b", "c")
    slots = [slot for slot in host.slots if isinstance(slot, SharedSlot)]
    for slot in slots:
        host.scheduler.place_free(0.0, slot)
        host.scheduler.place_free(0.0, slot)
    host.scheduler.place_answered(0.0, slots[0])
    host.scheduler.place_free(0.0, slots[0])
    host.told()
    return host, rich, slots, lean


def test_an_environment_that_is_never_idle_is_drained_for_a_pool_that_has_none() -> None:
    host, rich, slots, lean = shared_host()
    host.scheduler.submit(10.0, lean, "lean")
    assert host.told() == [], "nothing is idle"
    fill(host, 10.1, rich, "d")
    ((_, slot, _),) = host.told()
    host.scheduler.place_answered(10.2, slot)
    host.scheduler.place_free(10.2, slot)
    assert slot.draining
    fill(host, 10.2, rich, "e", "f")
    (other,) = [one for one in slots if one is not slot]
    assert host.told() == [("start", other, "e")], "the one that drains is given nothing"
    host.scheduler.place_answered(10.3, other)
    host.scheduler.place_free(10.3, other)
    assert host.told() == [("start", other, "f")], "no more of them drain than pools wait"
    host.scheduler.place_answered(10.4, slot)
    host.scheduler.place_free(10.4, slot)
    assert host.told() == [("retire", slot, "evicted")]
    host.scheduler.gone(10.5, slot)
    assert host.told() == [("launch", lean)]


def test_what_drains_is_open_again_when_nobody_waits_for_its_room() -> None:
    host, rich, _, lean = shared_host()
    host.scheduler.submit(10.0, lean, "lean")
    fill(host, 10.1, rich, "d")
    ((_, slot, _),) = host.told()
    host.scheduler.place_answered(10.2, slot)
    host.scheduler.place_free(10.2, slot)
    fill(host, 10.2, rich, "e", "f")
    assert slot.draining
    assert len(host.told()) == 1
    assert host.scheduler.withdraw(10.3, lean, "lean")
    assert host.told() == [("start", slot, "f")]
    assert not slot.draining


# -- what cannot happen


def test_illegal_events_change_nothing() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100, 1)
    slot = made(host, 0.0, pool, 1)
    scheduler = host.scheduler
    for event in (scheduler.place_free, scheduler.place_answered, scheduler.place_abandoned):
        with pytest.raises(IllegalTransition, match="SharedSlot"):
            event(1.0, slot)
        assert host.told() == []
        assert (slot.state, slot.places, slot.running) == (READY, 1, 0)
    scheduler.place_withdrawn(1.0, slot)
    with pytest.raises(IllegalTransition, match="no free place"):
        scheduler.place_withdrawn(1.0, slot)
    scheduler.close_pool(2.0, pool)
    assert slot.state == RETIRING
    for event in (scheduler.place_free, scheduler.place_answered, scheduler.place_withdrawn, scheduler.place_abandoned):
        with pytest.raises(IllegalTransition):
            event(3.0, slot)
    scheduler.gone(4.0, slot)
    with pytest.raises(IllegalTransition, match="GONE already"):
        scheduler.lost(5.0, slot)
    assert host.scheduler.stats().environments == 0


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_of_nothing_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="capacity"):
        Host().scheduler.open_pool("f", 100, capacity)
