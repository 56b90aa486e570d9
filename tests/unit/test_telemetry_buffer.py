"""When a batch is due, what is in it, and what is dropped: the clock is an argument."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_api import Buffer, Buffering

RULES = Buffering(1_000, 262_144, 100)


def told(records: int, size: int) -> bytes:
    return b"dropped %d %d" % (records, size)


@pytest.fixture
def buffer() -> Buffer:
    return Buffer(RULES, told)


def test_nothing_is_due_while_nothing_waits(buffer):
    assert buffer.deadline == inf
    assert buffer.take(1e9) == []
    assert buffer.idle


def test_a_batch_is_due_so_long_after_its_first_event(buffer):
    assert buffer.add(10.0, b"a")
    assert not buffer.add(10.05, b"b")
    assert buffer.deadline == pytest.approx(10.1)
    assert buffer.take(10.09) == []
    assert buffer.take(10.11) == [b"a", b"b"]
    assert not buffer.idle, "it is on its way"
    buffer.delivered()
    assert buffer.idle


def test_a_batch_is_due_at_once_when_it_has_the_most_items(buffer):
    for number in range(999):
        buffer.add(0.0, b"x")
        assert number or buffer.deadline == 0.1
    assert buffer.take(0.0) == []
    assert buffer.add(0.01, b"x")
    assert len(buffer.take(0.01)) == 1000


def test_a_batch_is_due_at_once_when_it_has_the_most_bytes_and_ends_with_the_event_that_fills_it(buffer):
    buffer.add(0.0, b"x" * 262_143)
    assert buffer.add(0.0, b"y" * 1000)
    buffer.add(0.0, b"z")
    assert [len(event) for event in buffer.take(0.0)] == [262_143, 1000]
    assert buffer.deadline == pytest.approx(0.1), "the rest has its own time"


def test_the_next_batch_waits_for_the_one_on_its_way(buffer):
    buffer.add(0.0, b"a")
    assert buffer.take(1.0) == [b"a"]
    buffer.add(1.0, b"b")
    assert buffer.take(5.0) == []
    buffer.delivered()
    assert buffer.take(5.0) == [b"b"]


def test_what_a_slow_subscriber_has_not_taken_is_bounded_and_it_is_told_what_was_dropped(buffer):
    for _ in range(4_000):
        buffer.add(0.0, b"1234567890")
    assert buffer.records == 4_000
    for _ in range(7):
        assert not buffer.add(0.0, b"1234567890")
    assert (buffer.records, buffer.dropped_records, buffer.dropped_size) == (4_000, 7, 70)
    batch = buffer.take(0.0)
    assert batch[-1] == b"dropped 7 70"
    assert len(batch) == 1_001
    assert (buffer.dropped_records, buffer.dropped_size) == (0, 0)


def test_a_lost_batch_counts_as_dropped_and_is_told_even_if_nothing_else_happens(buffer):
    buffer.add(0.0, b"abc")
    buffer.take(1.0)
    buffer.lost(2.0)
    assert buffer.deadline == pytest.approx(2.1)
    assert buffer.take(3.0) == [b"dropped 1 3"]
    buffer.delivered()
    assert buffer.idle


def test_who_did_not_subscribe_to_the_platform_is_not_told():
    buffer = Buffer(RULES)
    buffer.add(0.0, b"abc")
    buffer.take(1.0)
    buffer.lost(2.0)
    assert buffer.deadline == inf
    buffer.add(3.0, b"d")
    assert buffer.take(4.0) == [b"d"]


def test_flush_makes_everything_due(buffer):
    buffer.add(0.0, b"a")
    buffer.flush(0.0)
    assert buffer.take(0.0) == [b"a"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 200_000)),
            st.tuples(st.just("take"), st.floats(0, 1)),
            st.tuples(st.just("delivered"), st.just(0)),
            st.tuples(st.just("lost"), st.just(0)),
        ),
        max_size=200,
    )
)
def test_no_event_is_forgotten_and_memory_is_bounded(steps):
    """Every event is waiting, on its way, delivered, or was counted as dropped."""
    now = 0.0
    counted = [0]

    def count(records: int, size: int) -> bytes:
        counted[0] += records
        return b""

    buffer = Buffer(Buffering(1_000, 262_144, 25), count)
    added = delivered = 0
    sent: list[bytes] = []
    for what, number in steps:
        if what == "add":
            buffer.add(now, b"x" * int(number))
            added += 1
        elif what == "take":
            now += number
            batch = buffer.take(now)
            assert not (batch and sent), "one at a time"
            sent = sent or batch
        elif what == "delivered":
            delivered += sum(bool(event) for event in sent)
            sent = []
            buffer.delivered()
        elif sent:
            counted[0] -= sum(not event for event in sent)  # the news of a loss, lost, counts as one more
            sent = []
            buffer.lost(now)
        assert buffer.size <= 4 * 262_144
        assert buffer.records <= 4_000
    on_its_way = sum(bool(event) for event in sent)
    assert added == buffer.records + on_its_way + delivered + counted[0] + buffer.dropped_records
