"""What the shell must not do, and what a broken rule looks like."""

from __future__ import annotations

from typing import Any

import pytest

from engine.scheduler import BUSY, GONE, LOST, READY, RETIRING, STARTING, IllegalTransition, InvariantViolation, Slot
from tests.unit.scheduler_host import Host


def slot_in(state: int) -> tuple[Host, Slot[Any]]:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.submit(0.0, pool, "one")
    slot = host.slots[0]
    if state != STARTING:
        host.scheduler.ready(0.1, slot)
    if state in {READY, RETIRING, GONE}:
        host.scheduler.ready(0.2, slot)
    if state in {RETIRING, GONE}:
        host.scheduler.close_pool(0.3, pool)
    if state == LOST:
        host.scheduler.lost(0.4, slot)
    if state == GONE:
        host.scheduler.gone(0.4, slot)
    assert slot.state == state
    return host, slot


LEGAL = {
    ("ready", STARTING),
    ("ready", BUSY),
    ("answered", BUSY),
    ("gone", STARTING),
    ("gone", READY),
    ("gone", BUSY),
    ("gone", RETIRING),
    ("gone", LOST),
    ("lost", STARTING),
    ("lost", READY),
    ("lost", BUSY),
    ("lost", RETIRING),
    ("launch_failed", STARTING),
}


@pytest.mark.parametrize("state", [STARTING, READY, BUSY, RETIRING, LOST, GONE])
@pytest.mark.parametrize("event", ["ready", "answered", "gone", "lost", "launch_failed"])
def test_every_event_in_every_state_is_taken_or_refused_without_a_trace(event: str, state: int) -> None:
    host, slot = slot_in(state)
    before = host.scheduler.stats()
    if (event, state) in LEGAL:
        getattr(host.scheduler, event)(1.0, slot)
    else:
        with pytest.raises(IllegalTransition, match=r"'f' 100 MB"):
            getattr(host.scheduler, event)(1.0, slot)
        assert host.scheduler.stats() == before
    host.scheduler.check()


def test_a_closed_pool_takes_no_invocation() -> None:
    host = Host()
    pool = host.scheduler.open_pool("f", 100)
    host.scheduler.close_pool(0.0, pool)
    with pytest.raises(IllegalTransition, match="superseded"):
        host.scheduler.submit(0.1, pool, "one")
    host.scheduler.check()


def test_an_invocation_cannot_wait_twice() -> None:
    host = Host()
    pool, other = host.scheduler.open_pool("f", 100), host.scheduler.open_pool("g", 100)
    host.scheduler.submit(0.0, pool, "one")
    for where in (pool, other):
        with pytest.raises(IllegalTransition, match="waiting already"):
            host.scheduler.submit(0.1, where, "one")
    host.scheduler.check()


@pytest.mark.parametrize(
    "options",
    [
        {"memory_mb": 0},
        {"max_environments": 0},
        {"keep_alive_s": -1.0},
        {"wait_limit_s": -1.0},
        {"patience_s": -1.0},
        {"account_concurrency": -1},
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Host(**options)


def test_a_pool_needs_memory_and_a_reservation_is_not_negative() -> None:
    host = Host()
    with pytest.raises(ValueError, match="memory_mb"):
        host.scheduler.open_pool("f", 0)
    with pytest.raises(ValueError, match="reserved concurrency of 'f'"):
        host.scheduler.reserve("f", -1)


def test_a_violation_tells_the_story_of_the_slot() -> None:
    host, slot = slot_in(READY)
    slot.state = BUSY
    with pytest.raises(InvariantViolation, match="READY") as caught:
        host.scheduler.check()
    story = str(caught.value)
    assert "launch" in story
    assert "ready" in story
    assert "'one'" in story


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("busy", 1), ("starting", 1), ("held", 0), ("late", 1), ("granted", 1), ("bottom", None), ("contending", False)],
)
def test_check_notices_a_pool_whose_books_are_wrong(attribute: str, value: object) -> None:
    host, slot = slot_in(READY)
    setattr(slot.pool, attribute, value)
    with pytest.raises(InvariantViolation):
        host.scheduler.check()


@pytest.mark.parametrize(
    "attribute",
    ["used_mb", "environments", "leaving", "leaving_mb", "promised", "promised_mb", "contenders"],
)
def test_check_notices_a_host_whose_books_are_wrong(attribute: str) -> None:
    host, _ = slot_in(READY)
    room = host.scheduler._room
    setattr(room, attribute, getattr(room, attribute) + 1)
    with pytest.raises(InvariantViolation):
        host.scheduler.check()
