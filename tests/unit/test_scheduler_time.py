"""Keep-alive, bounded waiting, and when the scheduler wants to be woken."""

from __future__ import annotations

from math import inf

import pytest

from tests.unit.scheduler_host import Host

REFUSED = "ConcurrentInvocationLimitExceeded"


def test_idle_environments_retire_after_the_keep_alive_counted_from_their_last_use() -> None:
    host = Host(keep_alive_s=10.0)
    pool = host.scheduler.open_pool("f", 100)
    first, second = host.idle(0.0, pool, 2)
    host.scheduler.submit(5.0, pool, "x")
    host.scheduler.ready(6.0, second)
    host.told()
    assert host.scheduler.advance(9.9) == 10.0
    assert host.told() == []
    assert host.scheduler.advance(10.0) == 16.0
    assert host.told() == [("retire", first, "keep-alive")]
    assert host.scheduler.advance(16.0) is None
    assert host.told() == [("retire", second, "keep-alive")]


def test_a_busy_environment_does_not_expire() -> None:
    host = Host(keep_alive_s=10.0)
    pool = host.scheduler.open_pool("f", 100)
    host.busy(0.0, pool)
    host.scheduler.advance(100.0)
    assert host.told() == []


def test_keep_alive_may_be_for_ever_or_nothing() -> None:
    for keep_alive_s in (inf, 0.0):
        host = Host(keep_alive_s=keep_alive_s)
        (slot,) = host.idle(0.0, host.scheduler.open_pool("f", 100))
        assert host.scheduler.advance(0.0 if keep_alive_s == 0 else 1e9) is None
        assert host.told() == ([] if keep_alive_s else [("retire", slot, "keep-alive")])


def test_a_waiter_without_room_is_refused_at_its_limit() -> None:
    host = Host(memory_mb=100, wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100)
    host.busy(0.0, pool)
    host.scheduler.submit(1.0, pool, "one")
    host.scheduler.submit(1.5, pool, "two")
    assert host.scheduler.advance(2.9) == 3.0
    assert host.told() == []
    assert host.scheduler.advance(3.0) == 3.5
    assert host.told() == [("refuse", "one", REFUSED)]
    host.scheduler.advance(3.5)
    assert host.told() == [("refuse", "two", REFUSED)]


def test_a_waiter_whose_environment_is_starting_waits_for_it_however_long() -> None:
    host = Host(memory_mb=100, wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.scheduler.submit(0.0, pool, "two")
    host.told()
    host.scheduler.advance(2.0)
    assert host.told() == [("refuse", "two", REFUSED)], "one environment is starting, for the first"
    host.scheduler.advance(9.0)
    assert host.told() == []
    host.scheduler.ready(9.5, host.slots[0])
    assert host.told() == [("start", host.slots[0], "one")]


def test_a_late_waiter_is_refused_when_the_start_comes_to_nothing() -> None:
    host = Host(wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.told()
    host.scheduler.advance(2.0)
    host.scheduler.gone(5.0, host.slots[0])
    assert host.told() == [("refuse", "one", REFUSED)], "and is not started anew"


def test_a_late_waiter_may_hang_up_or_be_failed_by_its_launch() -> None:
    host = Host(wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.scheduler.submit(0.0, pool, "two")
    host.scheduler.advance(2.0)
    host.told()
    assert host.scheduler.withdraw(3.0, pool, "one")
    assert host.scheduler.launch_failed(4.0, host.slots[0]) == ["two"]
    assert host.told() == []


def test_wake_is_called_only_for_what_is_earlier_than_already_promised() -> None:
    host = Host(keep_alive_s=10.0, wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.scheduler.submit(0.5, pool, "two")
    assert host.wakes == [2.0]
    for slot in host.slots:
        host.scheduler.ready(0.6, slot)
    for slot in host.slots:
        host.scheduler.ready(0.7, slot)
    assert host.wakes == [2.0]
    assert host.scheduler.advance(2.0) == pytest.approx(10.7)
    host.scheduler.submit(3.0, pool, "three")
    host.scheduler.submit(3.0, pool, "four")
    host.scheduler.submit(3.0, pool, "five")
    assert host.wakes == [2.0, 5.0]


def test_a_host_on_which_nothing_waits_and_nothing_is_idle_sleeps() -> None:
    host = Host(keep_alive_s=10.0)
    pool = host.scheduler.open_pool("f", 100)
    assert host.scheduler.advance(0.0) is None
    (slot,) = host.busy(1.0, pool)
    assert host.scheduler.advance(3.0) is None
    host.wakes.clear()
    host.scheduler.ready(100.0, slot)
    assert host.wakes == [110.0]


def test_a_busy_host_is_woken_about_once_per_keep_alive() -> None:
    host = Host(keep_alive_s=10.0)
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.idle(0.0, pool)
    due = host.scheduler.advance(2.0)
    assert due is not None
    host.wakes.clear()
    wakes = 0
    for tick in range(10_000):
        now = 2.0 + tick * 0.01
        if now >= due:
            wakes += 1
            due = host.scheduler.advance(now) or inf
        host.scheduler.submit(now, pool, tick)
        host.scheduler.ready(now, slot)
        due = min([due, *host.wakes])
        host.wakes.clear()
    assert wakes <= 11


def test_invocations_received_earlier_than_the_last_one_submitted_keep_the_queue_in_order() -> None:
    host = Host(memory_mb=100, wait_limit_s=2.0)
    pool, other = host.scheduler.open_pool("f", 100), host.scheduler.open_pool("g", 100)
    host.busy(0.0, pool)
    host.scheduler.submit(1.0, pool, "one")
    host.scheduler.submit(0.9, other, "received before one, submitted after it")
    host.told()
    assert host.scheduler.advance(2.95) == 3.0
    host.scheduler.advance(3.0)
    assert [effect[0] for effect in host.told()] == ["refuse", "refuse"]
