"""A full host: eviction, turns, giving way, holding back."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.scheduler import READY, RETIRING
from tests.unit.scheduler_host import Host


def test_the_least_recently_used_idle_environment_of_another_function_makes_room() -> None:
    host = Host(memory_mb=300)
    a, b, c = (host.scheduler.open_pool(name, 100) for name in "abc")
    first, newest = host.idle(0.0, a, 2)
    (second,) = host.idle(1.0, b)
    host.scheduler.submit(2.0, a, "uses the newest of a")
    host.scheduler.ready(3.0, newest)
    host.told()
    host.scheduler.submit(4.0, c, "one")
    assert host.told() == [("retire", first, "evicted")], "launched when its memory is free, not before"
    host.scheduler.submit(4.1, c, "two")
    assert host.told() == [("retire", second, "evicted")]
    host.scheduler.gone(5.0, second)
    assert host.told() == [("launch", c)]
    host.scheduler.gone(5.1, first)
    assert host.told() == [("launch", c)]


def test_as_many_as_it_takes_are_evicted_and_no_more() -> None:
    host = Host(memory_mb=500)
    small, large = host.scheduler.open_pool("small", 100), host.scheduler.open_pool("large", 250)
    slots = host.idle(0.0, small, 5)
    host.scheduler.submit(1.0, large, "one")
    assert host.told() == [("retire", slot, "evicted") for slot in slots[:3]]
    for slot in slots[:2]:
        host.scheduler.gone(1.1, slot)
        assert host.told() == []
    host.scheduler.gone(1.1, slots[2])
    assert host.told() == [("launch", large)]


def test_the_number_of_environments_is_a_budget_too() -> None:
    host = Host(max_environments=2)
    a, b = host.scheduler.open_pool("a", 1), host.scheduler.open_pool("b", 1)
    old, _ = host.idle(0.0, a, 2)
    host.scheduler.submit(1.0, b, "one")
    assert host.told() == [("retire", old, "evicted")]
    host.scheduler.gone(1.1, old)
    assert host.told() == [("launch", b)]


def test_an_idle_environment_that_dies_while_wanted_is_not_retired_but_used() -> None:
    host = Host(memory_mb=100)
    a, b = host.scheduler.open_pool("a", 100), host.scheduler.open_pool("b", 100)
    (slot,) = host.busy(0.0, a)
    host.scheduler.submit(0.5, b, "one")
    assert host.told() == []
    host.scheduler.ready(0.6, slot)
    assert host.told() == [("retire", slot, "evicted")], "it came back with nothing to do, and b waits"
    host.scheduler.gone(0.7, slot)
    assert host.told() == [("launch", b)]


def test_a_promise_nobody_needs_any_more_goes_to_the_next() -> None:
    host = Host(memory_mb=200)
    a, b, c = (host.scheduler.open_pool(name, 100) for name in "abc")
    idle, busy = host.busy(0.0, a, 2)
    host.scheduler.ready(0.1, idle)
    host.scheduler.submit(0.2, b, "b")
    host.scheduler.submit(0.3, c, "c")
    assert host.told() == [("retire", idle, "evicted")]
    assert host.scheduler.withdraw(0.4, b, "b")
    host.scheduler.gone(0.5, idle)
    assert host.told() == [("launch", c)]
    assert busy.pool is a


def test_pools_take_turns_one_environment_each() -> None:
    host = Host(memory_mb=400)
    hog = host.scheduler.open_pool("hog", 100)
    a, b = host.scheduler.open_pool("a", 100), host.scheduler.open_pool("b", 100)
    slots = host.busy(0.0, hog, 4)
    for number in range(3):
        host.scheduler.submit(0.1, a, f"a{number}")
    for number in range(3):
        host.scheduler.submit(0.1, b, f"b{number}")
    for slot in slots:
        host.scheduler.gone(0.2, slot)
    launched = [effect[1] for effect in host.told() if effect[0] == "launch"]
    assert launched == [a, b, a, b]


def test_a_pool_over_its_share_gives_an_environment_up_although_it_has_waiters() -> None:
    host = Host(memory_mb=400)
    hog, small = host.scheduler.open_pool("hog", 100), host.scheduler.open_pool("small", 100)
    slots = host.busy(0.0, hog, 4)
    for number in range(4):
        host.scheduler.submit(0.1, hog, number)
    host.scheduler.submit(0.2, small, "s")
    host.told()
    host.scheduler.ready(0.3, slots[0])
    assert host.told() == [("start", slots[0], 0)], "not before it has served for a turn (2 s / 4)"
    host.scheduler.ready(0.6, slots[0])
    assert host.told() == [("retire", slots[0], "evicted")]
    host.scheduler.ready(0.6, slots[1])
    assert host.told() == [("start", slots[1], 1)], "one was wanted, one was given"
    host.scheduler.gone(0.7, slots[0])
    assert host.told() == [("launch", small)]


def test_a_pool_within_its_share_keeps_its_environments_for_its_own_waiters() -> None:
    host = Host(memory_mb=200)
    a, b, c = (host.scheduler.open_pool(name, 100) for name in "abc")
    (slot,) = host.busy(0.0, a)
    host.busy(0.0, b)
    host.scheduler.submit(0.6, a, "a")
    assert not host.scheduler._room.is_rich(a)
    host.scheduler.ready(0.7, slot)
    assert host.told() == [("start", slot, "a")]
    assert c.waiting == 0


def test_a_rich_pool_does_not_evict_what_was_used_within_the_last_turn() -> None:
    host = Host(memory_mb=400)
    hog, small = host.scheduler.open_pool("hog", 100), host.scheduler.open_pool("small", 100)
    host.busy(0.0, hog, 3)
    (idle,) = host.idle(1.0, small)
    host.scheduler.submit(1.1, hog, "more")
    assert host.told() == []
    assert host.scheduler.advance(1.1) == 1.5
    assert host.scheduler.advance(1.5) == 3.1
    assert host.told() == [("retire", idle, "evicted")]


def test_small_functions_do_not_pass_a_large_one_by() -> None:
    host = Host(memory_mb=400)
    small, large, late = (host.scheduler.open_pool(n, m) for n, m in (("small", 100), ("large", 300), ("late", 100)))
    slots = host.busy(0.0, small, 4)
    host.scheduler.submit(0.1, large, "large")
    host.scheduler.submit(0.1, late, "late")
    for slot in slots[:2]:
        host.scheduler.ready(0.2, slot)
        host.scheduler.gone(0.2, slot)
    assert [e for e in host.told() if e[0] == "launch"] == [], "room for `late`, but it is `large`'s turn"
    host.scheduler.gone(0.3, slots[2])
    assert host.told() == [("launch", large)]
    host.scheduler.gone(0.4, slots[3])
    assert host.told() == [("launch", late)]


def test_a_large_function_holds_the_others_back_for_no_longer_than_a_turn() -> None:
    host = Host(memory_mb=400)
    small, large, late = (host.scheduler.open_pool(n, m) for n, m in (("small", 100), ("large", 300), ("late", 100)))
    slots = host.busy(0.0, small, 4)
    host.scheduler.submit(0.1, large, "large")
    host.scheduler.submit(0.1, late, "late")
    host.scheduler.gone(0.2, slots[0])
    assert host.told() == []
    due = host.scheduler.advance(0.2)
    assert due == pytest.approx(0.6)
    assert due is not None
    host.scheduler.advance(due)
    assert host.told() == [("launch", late)]
    for slot in slots[1:]:
        host.scheduler.gone(1.0, slot)
    assert host.told() == [("launch", large)], "and still has its turn"


def test_functions_that_come_now_and_then_are_served_beside_one_that_floods_the_host() -> None:
    """40 small functions, one invocation each per second, against endless work of one: none is refused."""
    host = Host(memory_mb=2_000, account_concurrency=10_000)
    scheduler = host.scheduler
    hog = scheduler.open_pool("hog", 100)
    small = [scheduler.open_pool(f"small {number}", 100) for number in range(10)]
    outcomes: Counter[str] = Counter()
    work = iter(range(1_000_000))
    running: list[tuple[float, object]] = []
    now = 0.0
    for tick in range(2_000):
        now = tick * 0.01
        for _ in range(5):
            scheduler.submit(now, hog, ("hog", next(work)))
        if tick % 10 == 0:
            pool = small[tick // 10 % len(small)]
            scheduler.submit(now, pool, ("small", next(work)))
        scheduler.advance(now)
        for effect, what, *rest in host.told() if tick % 100 == 0 else host.log:
            if effect == "start":
                outcomes["started " + rest[0][0]] += 1
                running.append((now + 0.1, what))
            elif effect == "launch":
                pass
            elif effect == "retire":
                scheduler.gone(now, what)
            elif effect == "refuse":
                outcomes["refused " + what[0]] += 1
        host.log = []
        for slot in host.slots:
            scheduler.ready(now, slot)
        host.slots = []
        due = [slot for at, slot in running if at <= now]
        running = [(at, slot) for at, slot in running if at > now]
        for slot in due:
            scheduler.ready(now, slot)
    assert outcomes["refused small"] == 0
    assert outcomes["started small"] >= 190
    assert outcomes["refused hog"] > 100, "the host was not full: this proves nothing"
    assert outcomes["started hog"] > 1_000


def test_retirement_that_frees_memory_at_once_is_fine() -> None:
    class Prompt(Host):
        def retire(self, slot, reason):
            super().retire(slot, reason)
            assert slot.state == RETIRING
            self.scheduler.gone(9.0, slot)

    host = Prompt(memory_mb=300)
    a, b = host.scheduler.open_pool("a", 100), host.scheduler.open_pool("b", 300)
    slots = host.idle(0.0, a, 3)
    host.scheduler.submit(9.0, b, "one")
    assert host.told() == [*[("retire", slot, "evicted") for slot in slots], ("launch", b)]
    host.scheduler.ready(9.1, host.slots[-1])
    host.scheduler.ready(9.2, host.slots[-1])
    assert host.slots[-1].state == READY
