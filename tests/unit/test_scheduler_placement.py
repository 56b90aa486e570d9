"""Which environment an invocation gets, and when a new one is made."""

from __future__ import annotations

from engine.scheduler import BUSY, GONE, READY, RETIRING, STARTING
from tests.unit.scheduler_host import Host


def test_the_first_invocation_launches_and_starts_when_the_environment_is_ready() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    assert host.told() == [("launch", pool)]
    slot = host.slots[0]
    assert slot.state == STARTING
    host.scheduler.ready(0.1, slot)
    assert host.told() == [("start", slot, "one")]
    assert slot.state == BUSY
    host.scheduler.ready(0.2, slot)
    assert host.told() == []
    assert slot.state == READY


def test_a_ready_environment_is_started_at_once_the_most_recently_used_first() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    first, second, third = host.idle(0.0, pool, 3)
    for number in (1, 2, 3):
        host.scheduler.submit(1.0, pool, number)
    assert host.told() == [("start", third, 1), ("start", second, 2), ("start", first, 3)]
    host.scheduler.ready(2.0, second)
    host.scheduler.ready(2.1, third)
    host.scheduler.submit(2.2, pool, 4)
    assert host.told() == [("start", third, 4)]


def test_a_broken_environment_comes_last() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    first, second, third = host.busy(0.0, pool, 3)
    host.scheduler.ready(1.0, first)
    host.scheduler.ready(1.1, second, broken=True)
    host.scheduler.ready(1.2, third, broken=True)
    for number in (1, 2, 3):
        host.scheduler.submit(2.0, pool, number)
    assert host.told() == [("start", first, 1), ("start", second, 2), ("start", third, 3)]


def test_a_failed_init_still_takes_the_waiting_invocation() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.told()
    host.scheduler.ready(0.1, host.slots[0], broken=True)
    assert host.told() == [("start", host.slots[0], "one")]


def test_as_many_environments_are_started_as_invocations_wait() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 1)
    for number in range(200):
        host.scheduler.submit(0.0, pool, number)
    assert host.told() == [("launch", pool)] * 200
    for slot in host.slots:
        host.scheduler.ready(0.1, slot)
    assert host.told() == [("start", slot, number) for number, slot in enumerate(host.slots)]


def test_an_invocation_takes_whichever_environment_is_ready_first() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    (old,) = host.busy(0.0, pool)
    host.scheduler.submit(1.0, pool, "next")
    assert host.told() == [("launch", pool)]
    host.scheduler.ready(1.1, old)
    assert host.told() == [("start", old, "next")]
    host.scheduler.ready(1.2, host.slots[1])
    assert host.told() == []
    assert host.slots[1].state == READY


def test_environments_already_starting_are_counted_on() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    assert host.scheduler.withdraw(0.1, pool, "one")
    host.told()
    host.scheduler.submit(0.2, pool, "two")
    assert host.told() == [], "the environment launched for the first will do"
    host.scheduler.submit(0.3, pool, "three")
    assert host.told() == [("launch", pool)]


def test_waiters_are_served_in_order_of_arrival() -> None:
    host = Host(max_environments=1)
    pool = host.scheduler.open_pool("f", 100)
    (slot,) = host.busy(0.0, pool)
    for number in (1, 2, 3):
        host.scheduler.submit(1.0, pool, number)
    for number in (1, 2, 3):
        host.scheduler.ready(1.1, slot)
        assert host.told() == [("start", slot, number)]


def test_a_caller_who_hangs_up_is_forgotten_only_while_waiting() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.scheduler.submit(0.0, pool, "two")
    assert host.scheduler.withdraw(0.1, pool, "one")
    assert not host.scheduler.withdraw(0.1, pool, "one")
    host.told()
    host.scheduler.ready(0.2, host.slots[0])
    assert host.told() == [("start", host.slots[0], "two")]
    assert not host.scheduler.withdraw(0.3, pool, "two"), "it has started"


def test_an_environment_that_ends_while_starting_is_launched_again_for_its_waiter() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.told()
    host.scheduler.gone(0.1, host.slots[0])
    assert host.slots[0].state == GONE
    assert host.told() == [("launch", pool)]


def test_a_launch_that_fails_costs_one_invocation_and_the_others_get_another() -> None:
    host = Host(max_environments=1)
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    host.scheduler.submit(0.0, pool, "two")
    host.told()
    assert host.scheduler.launch_failed(0.1, host.slots[0]) == ["one"]
    assert host.told() == [("launch", pool)]
    assert host.scheduler.launch_failed(0.2, host.slots[1]) == ["two"]
    assert host.told() == []
    host.scheduler.submit(0.3, pool, "three")
    assert host.scheduler.withdraw(0.3, pool, "three")
    assert host.scheduler.launch_failed(0.4, host.slots[2]) == []


def test_a_launch_that_fails_on_the_spot_neither_recurses_nor_loops() -> None:
    class Refusing(Host):
        def launch(self, slot):
            super().launch(slot)
            self.failed.extend(self.scheduler.launch_failed(0.0, slot))

    host = Refusing(account_concurrency=10_000, memory_mb=10)
    host.failed = []
    blocker, pool = host.scheduler.open_pool("blocker", 10), host.scheduler.open_pool("f", 1)
    host.launch = Host.launch.__get__(host)
    (slot,) = host.busy(0.0, blocker)
    del host.launch
    for number in range(5_000):
        host.scheduler.submit(0.0, pool, number)
    assert host.failed == []
    host.scheduler.gone(0.1, slot)
    assert host.failed == list(range(5_000))


def test_an_environment_that_dies_idle_is_forgotten_wherever_it_stands() -> None:
    for victim in range(3):
        host = Host()
        pool = host.scheduler.open_pool("f", 100)
        slots = host.idle(0.0, pool, 3)
        host.scheduler.gone(1.0, slots.pop(victim))
        host.scheduler.submit(1.0, pool, 1)
        host.scheduler.submit(1.0, pool, 2)
        assert host.told() == [("start", slots[1], 1), ("start", slots[0], 2)]


def test_a_new_revision_starts_on_its_own_environments_only() -> None:
    host = Host()
    old = host.scheduler.open_pool("f", 100)
    idle, busy = host.busy(0.0, old, 2)
    host.scheduler.ready(0.5, idle)
    host.scheduler.submit(0.6, old, "a")
    host.scheduler.submit(0.6, old, "b")
    starting = host.slots[-1]
    host.told()
    assert host.scheduler.close_pool(1.0, old) == ["b"]
    assert host.told() == []
    new = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(1.0, new, "b")
    assert host.told() == [("launch", new)]
    for slot in (busy, idle, starting):
        host.scheduler.ready(1.1, slot)
        assert host.told() == [("retire", slot, "stale")]
        assert slot.state == RETIRING
    assert host.scheduler.close_pool(1.2, old) == [], "closing twice is nothing"


def test_idle_environments_of_a_closed_pool_retire_at_once() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    slots = host.idle(0.0, pool, 2)
    host.scheduler.close_pool(1.0, pool)
    assert host.told() == [("retire", slots[1], "stale"), ("retire", slots[0], "stale")]
    assert list(host.scheduler.pools()) == [pool]
    for slot in slots:
        host.scheduler.gone(1.1, slot)
    host.told()
    assert list(host.scheduler.pools()) == []


def test_shutdown_closes_everything_and_returns_whoever_waits() -> None:
    host = Host(memory_mb=300)
    one, two = host.scheduler.open_pool("one", 100), host.scheduler.open_pool("two", 100)
    (idle,) = host.idle(0.0, one)
    (busy,) = host.busy(0.0, two)
    host.scheduler.submit(0.1, two, "a")
    host.scheduler.submit(0.1, two, "b")
    host.told()
    assert host.scheduler.shutdown() == ["a", "b"]
    host.scheduler.ready(0.2, busy)
    assert ("retire", busy, "shutdown") in host.told()
    assert idle.state == RETIRING


def test_stats_count_environments_by_state() -> None:
    host = Host()
    one, two = host.scheduler.open_pool("one", 100), host.scheduler.open_pool("two", 200)
    host.scheduler.open_pool("unused", 300)
    host.idle(0.0, one, 2)
    host.busy(0.0, two)
    host.scheduler.submit(0.0, two, "more")
    stats = host.scheduler.stats()
    assert (stats.starting, stats.ready, stats.busy, stats.retiring, stats.waiting) == (1, 2, 1, 0, 1)
    assert (stats.memory_used_mb, stats.environments, stats.launches) == (600, 4, 4)
    assert [pool.function for pool in stats.pools] == ["one", "two"]
