"""Log groups on disk: kept over restarts, bounded, read by pages, and no trouble of the disk's is a function's."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from engine.telemetry.logs import LINE, Source
from engine.telemetry.records import TEXT, Line
from engine.telemetry.store import LogStore, Query, Stream, now_ms
from engine.telemetry.store.plan import Segment, SegmentPlan

pytestmark = pytest.mark.anyio
NAME = "/aws/lambda/f"


@pytest.fixture
async def make(tmp_path, anyio_backend):
    """Opens stores on one folder; those left open are closed at the end."""
    opened = []

    async def open_store(**options) -> LogStore:
        store = LogStore(tmp_path / "logs", **options)
        await store.open()
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        await store.close()


def say(store: LogStore, *texts: str, stream: str = "s", at: float | None = None, name: str = NAME) -> None:
    """As an environment does it."""
    group = store.sink(name)
    source = Source(stream, TEXT, now_ms())
    for text in texts:
        if not group.pending:
            group.due()
        group.pending.append((LINE, at if at is not None else now_ms() / 1000, source, None, text))
        group.grown(len(text))


async def read(store: LogStore, **query) -> list[str]:
    group = store.get(NAME)
    assert group is not None
    return [event.message.rstrip("\n") for event in (await store.read(group, Query(**query))).events]


async def test_what_was_said_is_there_after_a_restart(make):
    first = await make()
    say(first, "one", "two")
    await first.close()
    second = await make()
    say(second, "three", stream="t")
    assert await read(second) == ["one", "two", "three"]
    assert await read(second, streams={"t"}) == ["three"]
    assert sorted(await second.streams(second.get(NAME))) == ["s", "t"]


async def test_what_was_not_closed_is_there_too(make):
    """As after SIGKILL: everything that was handed to the writer."""
    first = await make()
    say(first, "one")
    await first.synced(first.get(NAME))
    assert await read(await make()) == ["one"]


async def test_a_torn_end_is_left_out_and_what_comes_later_is_read(make):
    first = await make()
    say(first, "one")
    await first.synced(first.get(NAME))
    say(first, "two")
    await first.close()
    (segment,) = first.sink(NAME).folder.glob("*.log")
    segment.write_bytes(segment.read_bytes()[:-3])
    second = await make()
    say(second, "three")
    assert await read(second) == ["one", "three"]


async def test_a_block_that_was_changed_is_left_out(make):
    first = await make()
    for text in ("one", "two"):
        say(first, text)
        await first.synced(first.get(NAME))
    await first.close()
    (segment,) = first.sink(NAME).folder.glob("*.log")
    segment.write_bytes(segment.read_bytes().replace(b"one", b"eno"))
    assert await read(await make()) == ["two"]


async def test_a_group_keeps_to_its_size_and_loses_the_oldest(make):
    store = await make(group_mb=1)
    for number in range(40):
        say(store, f"{number} " + "x" * 60_000, stream=f"s{number}")
        await store.synced(store.get(NAME))
    group = store.get(NAME)
    kept = [int(text.split()[0]) for text in await read(store)]
    assert kept == list(range(kept[0], 40))
    assert 8 <= len(kept) < 20
    assert sum(path.stat().st_size for path in group.folder.glob("*.log")) == group.plan.size <= 1 << 20
    assert sorted(await store.streams(group), key=lambda name: int(name[1:])) == [f"s{number}" for number in kept]


async def test_pages_lead_through_everything_in_both_directions(make):
    store = await make()
    for number in range(7):
        say(store, f"{number}a", f"{number}b")
        await store.synced(store.get(NAME))
    group, everything = store.get(NAME), await read(store)
    found, after = [], None
    while True:
        page = await store.read(group, Query(after=after, limit=3))
        found += page.events
        after = page.last
        if page.complete:
            break
    assert [event.message.strip() for event in found] == everything
    assert len(everything) == 14
    assert all(earlier.position < later.position for earlier, later in pairwise(found))
    found, after = [], None
    while True:
        page = await store.read(group, Query(after=after, limit=3, backward=True))
        found = page.events + found
        after = page.first
        if page.complete:
            break
    assert [event.message.strip() for event in found] == everything


@pytest.mark.parametrize("backward", [False, True])
async def test_a_page_that_ends_inside_the_last_block_has_a_next_one(make, backward):
    store = await make()
    say(store, "one", "two", "three")
    group = store.get(NAME)
    page = await store.read(group, Query(limit=2, backward=backward))
    assert not page.complete
    rest = await store.read(group, Query(limit=2, backward=backward, after=page.first if backward else page.last))
    assert rest.complete
    events = rest.events + page.events if backward else page.events + rest.events
    assert [event.message for event in events] == ["one\n", "two\n", "three\n"]


async def test_from_the_end_of_a_page_on_there_is_what_was_said_since(make):
    store = await make()
    say(store, "one")
    group = store.get(NAME)
    page = await store.read(group, Query(backward=True))
    assert (await store.read(group, Query(after=page.last))).events == []
    say(store, "two")
    assert [event.message for event in (await store.read(group, Query(after=page.last))).events] == ["two\n"]


async def test_times_are_from_and_before(make):
    store = await make()
    for at in (1000.0, 2000.0, 3000.0):
        say(store, f"{at:.0f}", at=at)
    assert await read(store, start_ms=2_000_000, end_ms=3_000_000) == ["2000"]


async def test_a_deleted_group_is_gone_and_comes_back_empty(make):
    store = await make()
    say(store, "one")
    store.get(NAME).delete()
    assert store.get(NAME) is None
    say(store, "two")
    assert await read(store) == ["two"]
    await store.close()
    assert await read(await make()) == ["two"]


async def test_a_deleted_stream_is_not_shown_also_after_a_restart(make):
    store = await make()
    say(store, "one", stream="a")
    say(store, "two", stream="b")
    store.get(NAME).delete_stream("a")
    say(store, "three", stream="a")
    assert await read(store) == ["two", "three"]
    await store.close()
    again = await make()
    assert await read(again) == ["two", "three"]
    assert sorted(await again.streams(again.get(NAME))) == ["a", "b"]


async def test_events_older_than_the_retention_are_not_shown_and_go(make):
    store = await make()
    say(store, "old", at=1000.0)
    await store.synced(store.get(NAME))
    say(store, "new")
    group = store.get(NAME)
    group.exist().retention_days = 1
    store.retention_changed(group)
    assert await read(store) == ["new"]


async def test_a_disk_that_fails_costs_lines_and_is_told_once(make, caplog):
    store = await make()
    say(store, "one")
    await store.synced(store.get(NAME))
    group = store.get(NAME)
    group.plan.rotate()
    away = group.folder.with_name("away")
    group.folder.rename(away)
    group.folder.write_text("in the way")
    with caplog.at_level(logging.WARNING, "lambent.logs"):
        for text in ("lost", "lost too"):
            say(store, text)
            await store.synced(group)
        group.folder.unlink()
        away.rename(group.folder)
        say(store, "back")
        assert await read(store) == ["one", "back"]
    assert group.lost == 2
    assert [record.message.split(";")[0].split(":")[0] for record in caplog.records] == [
        "a log cannot be written",
        "logs are written again",
    ]


async def test_who_prints_faster_than_the_disk_takes_it_is_told_to_wait_and_then_loses_lines(make, caplog):
    store = await make()
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    store._writer.then(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
    group = store.sink(NAME)
    for _ in range(4):
        say(store, *["x" * 250_000] * 4)
    assert group.congested()
    assert not group.dropped
    for _ in range(20):
        say(store, *["x" * 250_000] * 4)
    assert 0 < group.dropped < 96
    gate.set()
    assert len(await read(store, limit=10_000)) <= 96 - group.dropped
    assert not group.congested()
    assert sum("faster than the disk" in record.message for record in caplog.records) == 1


async def test_events_of_other_programs_are_shown_as_they_were_put(make):
    store = await make()
    store.sink(NAME).put(Stream("other", 1), [Line(0, 5, "as it is", whole=True)])
    (event,) = (await store.read(store.get(NAME), Query())).events
    assert (event.stream, event.time_ms, event.message) == ("other", 5, "as it is")


def test_a_plan_writes_behind_nothing_that_was_there_before():
    plan = SegmentPlan(800, [Segment(3, 10, 0)])
    assert plan.place(10, 1) == (4, [])
    assert plan.place(10, 1) == (4, [])


def test_a_plan_lets_the_oldest_go_when_there_is_no_room():
    plan = SegmentPlan(800)
    placed = [plan.place(100, at) for at in range(10)]
    assert [number for number, _ in placed] == list(range(1, 11))
    assert [number for _, gone in placed for number in gone] == [1, 2]
    assert plan.size == 800


def test_a_plan_lets_go_what_has_expired():
    plan = SegmentPlan(800)
    for at in (10, 20, 30):
        plan.place(100, at)
    assert plan.expire(20) == [1]
    assert plan.expire(31) == [2, 3]
    assert plan.place(1, 40) == (4, [])
