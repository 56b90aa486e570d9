"""When the monitor looks again, how it counts CPU time, and what follows from a reading: figures only."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox import SandboxLimits
from engine.sandbox.monitor import Watch, next_sample_in
from engine.sandbox.monitor.meter import CpuMeter
from engine.sandbox.monitor.pace import LONGEST, MEMORY_RATE, SHORTEST, STORAGE_SHORTEST, next_walk_in

MIB = 1024 * 1024


def test_far_below_and_flat_it_takes_its_time():
    assert next_sample_in(100 * MIB, 10_240 * MIB, 0.0) == LONGEST


def test_at_the_limit_it_looks_as_often_as_it_can():
    assert next_sample_in(128 * MIB, 128 * MIB, 0.0) == SHORTEST
    assert next_sample_in(127 * MIB, 128 * MIB, 1e9) == SHORTEST
    assert next_sample_in(500 * MIB, 128 * MIB, -5.0) == SHORTEST


@given(st.integers(0, 1 << 36), st.integers(1, 1 << 36), st.floats(-1e12, 1e12))
def test_it_stays_between_the_bounds(used, limit, rate):
    assert SHORTEST <= next_sample_in(used, limit, rate) <= LONGEST


@given(st.integers(0, 1 << 36), st.integers(1, 1 << 36), st.floats(0, MEMORY_RATE), st.floats(0, MEMORY_RATE))
def test_whatever_grows_at_a_possible_rate_is_seen_before_the_limit_or_within_the_shortest_interval(
    used, limit, seen, real
):
    pause = next_sample_in(used, limit, seen)
    assert pause == SHORTEST or used + real * pause <= limit + 1


@given(st.integers(0, 1 << 34), st.integers(0, 1 << 34), st.integers(1, 1 << 34), st.floats(0, 1e11))
def test_nearer_or_faster_is_never_looked_at_later(one, other, limit, rate):
    low, high = sorted((one, other))
    assert next_sample_in(high, limit, rate) <= next_sample_in(low, limit, rate)
    assert next_sample_in(low, limit, rate) <= next_sample_in(low, limit, rate / 2)


def test_a_folder_that_is_nearly_full_is_walked_more_often():
    assert next_walk_in(512 * MIB, 512 * MIB) == STORAGE_SHORTEST
    assert next_walk_in(256 * MIB, 512 * MIB) == pytest.approx(0.125)
    assert next_walk_in(0, 10_240 * MIB) == LONGEST


def test_the_meter_counts_what_a_tree_consumes_once():
    meter = CpuMeter()
    meter.join(1, 5.0, 2.0)
    meter.own(1, 5.5)
    assert meter.take() == pytest.approx(0.5)
    assert meter.take() == 0.0
    meter.born(2)
    meter.own(2, 1.0)
    meter.own(1, 5.5)
    assert meter.take() == pytest.approx(1.0)
    meter.own(2, None)  # it ended, and 1 waited for it: 1.3 s in all, of which 1.0 were seen
    meter.children({1: 3.3})
    assert meter.take() == pytest.approx(0.3)


def test_the_meter_counts_children_that_were_never_seen():
    meter = CpuMeter()
    meter.join(1, 0.0, 0.0)
    meter.children({1: 0.2})
    assert meter.take() == pytest.approx(0.2)


def test_the_meter_never_counts_backwards():
    meter = CpuMeter()
    meter.join(1, 0.0, 0.0)
    meter.born(2)
    meter.own(2, 1.0)
    meter.own(2, None)  # it ended and nobody of the tree waited for it
    meter.children({1: 0.0})
    meter.own(1, 0.25)
    assert meter.take() == pytest.approx(1.25)
    meter.own(1, 0.1)  # another process under the same pid
    assert meter.take() == 0.0


def a_watch(*, memory_mb: int = 128, storage_mb: int = 512, processes: int = 10, count: bool = True) -> Watch:
    limits = SandboxLimits(memory_mb=memory_mb, ephemeral_storage_mb=storage_mb, processes=processes)
    watch = Watch(7, limits, "/nowhere", lambda _epoch, _cause: None, count_processes=count, cores=2)
    watch.begin(0.0)
    return watch


def test_a_new_tree_is_looked_at_and_then_when_it_has_run_for_as_long_as_it_may():
    watch = a_watch()
    assert watch.memory_due(0.0, 0.0)
    assert watch.saw_memory(64 * MIB, 1, 1) is None
    assert not watch.memory_due(0.0, 0.0)
    watch.consumed(0.5 * 64 * MIB / MEMORY_RATE)
    assert not watch.memory_due(0.0, 0.5 * 64 * MIB / MEMORY_RATE)
    watch.consumed(0.5 * 64 * MIB / MEMORY_RATE)
    assert watch.memory_due(0.0, 0.5 * 64 * MIB / MEMORY_RATE)


def test_a_tree_that_has_come_to_rest_is_looked_at_once_more():
    watch = a_watch()
    watch.saw_memory(64 * MIB, 1, 1)
    watch.consumed(0.001)
    assert not watch.memory_due(1.0, 0.001)
    _, plan = watch.plan(1.0, 0.001, 1.0, alarms=True)
    assert plan.clock is not None
    assert watch.memory_due(2.0, 0.0)
    assert watch.storage_due(2.0, 0.0)
    watch.saw_memory(64 * MIB, 1, 1)
    watch.walks()
    watch.saw_storage(0)
    assert not watch.memory_due(3.0, 0.0)
    assert not watch.storage_due(3.0, 0.0)
    _, plan = watch.plan(3.0, 0.0, 1.0, alarms=True)
    assert plan.clock is None


def test_after_a_dear_look_the_next_waits_and_is_not_forgotten():
    watch = a_watch()
    watch.saw_memory(128 * MIB, 2, 2, rest_until=10.5)
    watch.consumed(1.0)
    assert not watch.memory_due(10.0, 1.0)
    _, plan = watch.plan(10.0, 0.1, 1.0, alarms=True)
    assert plan.clock == pytest.approx(0.5)
    assert watch.memory_due(10.5, 0.0)


def test_exactly_the_limit_is_allowed_and_a_byte_more_is_not():
    watch = a_watch()
    assert watch.saw_memory(128 * MIB, 1, 1) is None
    assert watch.saw_memory(128 * MIB + 1, 1, 1) == "memory"
    assert watch.peak == 128 * MIB + 1


def test_threads_and_processes_are_counted_only_where_nothing_else_limits_them():
    assert a_watch().saw_memory(0, 11, 1) == "processes"
    assert a_watch().saw_memory(0, 10, 10) is None
    assert a_watch(count=False).saw_memory(0, 11, 11) is None


def test_shared_pages_are_looked_into_only_when_they_decide():
    watch = a_watch()
    assert watch.sum_up([60 * MIB, 60 * MIB]) == (120 * MIB, False)
    assert watch.sum_up([100 * MIB, 100 * MIB]) == (100 * MIB, True)
    assert watch.sum_up([200 * MIB, 100 * MIB]) == (200 * MIB, False)
    assert watch.sum_up([]) == (0, False)


def test_a_folder_that_was_too_full_may_stay_so_in_the_next_tree_but_not_grow():
    watch = a_watch(storage_mb=512)
    watch.measure.used = 600 * MIB
    assert watch.saw_storage(600 * MIB) == "storage"
    watch.begin(1.0)
    assert watch.overfull
    watch.found_storage(600 * MIB)
    assert watch.saw_storage(600 * MIB) is None
    assert watch.saw_storage(550 * MIB) is None
    assert watch.saw_storage(600 * MIB) == "storage"


def test_an_idle_tree_has_no_time_on_the_clock():
    watch = a_watch()
    watch.saw_memory(64 * MIB, 1, 1)
    stop, plan = watch.plan(1.0, 0.0, 1.0, alarms=True)
    assert (stop, plan.clock) == (False, None)
    assert plan.cpu is not None
    assert 0 < plan.cpu < math.inf


def test_a_busy_tree_is_looked_at_by_the_clock_and_twice_as_often_with_two_threads():
    watch = a_watch()
    watch.saw_memory(64 * MIB, 1, 1)
    _, one = watch.plan(1.0, 0.9, 1.0, alarms=True)
    watch.saw_memory(64 * MIB, 2, 1)
    _, two = watch.plan(1.0, 0.9, 1.0, alarms=True)
    assert one.clock is not None
    assert two.clock == pytest.approx(one.clock / 2)
