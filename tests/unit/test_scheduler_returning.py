"""Between a runtime's answer and its asking for `next`: who comes then waits for it, but not for long."""

from __future__ import annotations

import pytest

from engine.scheduler import BUSY, READY
from tests.unit.scheduler_host import Host


def test_who_comes_between_answer_and_next_waits_for_the_returning_environment() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, pool, "next")
    assert host.told() == []
    host.scheduler.ready(1.0001, slot)
    assert host.told() == [("start", slot, "next")]
    host.scheduler.submit(1.001, pool, "another")
    assert host.told() == [("launch", pool)], "it is busy with an invocation that it has not answered"


def test_the_answer_may_be_told_twice_and_counts_once() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    for at in (1.0, 1.1):
        host.scheduler.answered(at, slot)
    assert pool.returning == 1
    host.scheduler.ready(1.2, slot)
    assert pool.returning == 0
    assert slot.state == READY


def test_patience_over_an_environment_is_launched() -> None:
    host = Host(patience_s=0.005)
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.wakes.clear()
    host.scheduler.submit(1.0, pool, "next")
    assert host.wakes == [1.005]
    assert host.scheduler.advance(1.004) == 1.005
    assert host.told() == []
    assert host.scheduler.advance(1.005) == 3.0, "what remains is the wait limit"
    assert host.told() == [("launch", pool)]
    host.scheduler.ready(1.006, slot)
    assert host.told() == [("start", slot, "next")], "it came after all: whichever is first"


def test_each_waiter_has_a_patience_of_its_own() -> None:
    host = Host(patience_s=0.25)
    pool = host.scheduler.open_pool("f", 100)
    for slot in host.busy(0.0, pool, 2):
        host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, pool, "one")
    host.scheduler.submit(1.125, pool, "two")
    assert host.scheduler.advance(1.25) == 1.375
    assert host.told() == [("launch", pool)]
    host.scheduler.advance(1.375)
    assert host.told() == [("launch", pool)]


def test_more_waiters_than_returning_environments_launch_for_the_excess() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    first, second = host.busy(0.0, pool, 2)
    host.scheduler.answered(1.0, first)
    host.scheduler.answered(1.0, second)
    for name in ("one", "two"):
        host.scheduler.submit(1.0, pool, name)
        assert host.told() == []
    for name in ("three", "four"):
        host.scheduler.submit(1.0, pool, name)
        assert host.told() == [("launch", pool)]


def test_two_waiters_and_one_returning_environment_take_one_launch_and_no_second_in_either_order() -> None:
    for returns_first in (True, False):
        host = Host()
        pool = host.scheduler.open_pool("f", 100)
        (slot,) = host.busy(0.0, pool)
        host.scheduler.answered(1.0, slot)
        host.scheduler.submit(1.0, pool, "one")
        host.scheduler.submit(1.0, pool, "two")
        assert host.told() == [("launch", pool)]
        order = (slot, host.slots[-1]) if returns_first else (host.slots[-1], slot)
        for back, name in zip(order, ("one", "two"), strict=True):
            host.scheduler.ready(1.001, back)
            assert host.told() == [("start", back, name)]


def test_a_returning_environment_that_dies_is_replaced_at_once() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, pool, "next")
    host.told()
    host.scheduler.gone(1.001, slot)
    assert host.told() == [("launch", pool)]
    assert host.scheduler.advance(1.01) == 3.0, "no patience is left to end"


def test_of_two_returning_environments_one_dies_and_the_other_is_still_trusted() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    first, second = host.busy(0.0, pool, 2)
    host.scheduler.answered(1.0, first)
    host.scheduler.answered(1.0, second)
    host.scheduler.submit(1.0, pool, "one")
    host.scheduler.gone(1.001, first)
    assert host.told() == []
    host.scheduler.ready(1.002, second)
    assert host.told() == [("start", second, "one")]


def test_an_environment_that_comes_back_broken_takes_the_waiter_all_the_same() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, pool, "next")
    host.scheduler.ready(1.001, slot, broken=True)
    assert host.told() == [("start", slot, "next")]


def test_no_patience_launches_as_if_nobody_were_returning() -> None:
    host = Host(patience_s=0.0)
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, pool, "next")
    assert host.told() == [("launch", pool)]


def test_patience_is_never_longer_than_the_wait_limit_and_ends_before_it() -> None:
    host = Host(patience_s=60.0, wait_limit_s=2.0)
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, pool, "next")
    host.told()
    host.scheduler.advance(9.0)  # a host that was held up
    assert host.told() == [("launch", pool)], "late, and waits for this start, instead of being refused"
    assert pool.late == 1


def test_an_answer_of_another_pool_is_nobodys_hope() -> None:
    host = Host()
    pool, other = host.scheduler.open_pool("f", 100), host.scheduler.open_pool("g", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, other, "of another function")
    assert host.told() == [("launch", other)]


@pytest.mark.parametrize("way", ["withdraw", "close"])
def test_who_leaves_takes_its_patience_along(way: str) -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.answered(1.0, slot)
    host.scheduler.submit(1.0, pool, "next")
    if way == "withdraw":
        assert host.scheduler.withdraw(1.001, pool, "next")
    else:
        assert host.scheduler.close_pool(1.001, pool) == ["next"]
    assert host.scheduler.advance(1.01) is None
    assert host.told() == []
    assert slot.state == BUSY
    host.scheduler.ready(1.02, slot)
    assert host.told() == ([] if way == "withdraw" else [("retire", slot, "stale")])


def test_on_a_full_host_patience_over_the_pool_comes_to_want_room() -> None:
    host = Host(memory_mb=200, patience_s=0.005)
    pool, other = host.scheduler.open_pool("f", 100), host.scheduler.open_pool("g", 100)
    (slot,) = host.busy(0.0, pool)
    (idle,) = host.idle(0.5, other)
    host.scheduler.answered(10.0, slot)
    host.scheduler.submit(10.0, pool, "next")
    assert host.told() == [], "nobody is evicted for a gap"
    host.scheduler.advance(10.005)
    assert host.told() == [("retire", idle, "evicted")]


def test_an_answer_takes_back_nothing_that_is_under_way() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    host.scheduler.submit(0.5, pool, "early")
    assert host.told() == [("launch", pool)]
    host.scheduler.answered(0.6, slot)
    assert host.told() == []
    host.scheduler.submit(0.6, pool, "later")
    assert host.told() == [], "one is starting, one returning"
    host.scheduler.ready(0.7, slot)
    assert host.told() == [("start", slot, "early")]
    host.scheduler.ready(0.8, host.slots[-1])
    assert host.told() == [("start", host.slots[-1], "later")]
