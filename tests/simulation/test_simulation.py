"""Shorter runs of the simulation, and that it would notice a scheduler that is wrong. Seeds are fixed and printed.

The long one: ``python -m tests.simulation --invocations 1000000``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.scheduler import BUSY, InvariantViolation, Scheduler
from engine.scheduler.room import Room
from tests.simulation.world import Plan, World

SMALL = Plan(seed=5, invocations=4_000, functions=200, memory_mb=16_384, check_every=100)
PLANS = {
    "a host with room for the frequent functions": Plan(seed=1),
    "a host much too small": Plan(seed=2, invocations=30_000, memory_mb=16_384),
    "a host limited by the number of environments": Plan(seed=3, invocations=30_000, max_environments=40),
    "environments that are retired at once": Plan(seed=4, invocations=20_000, keep_alive_s=0.0),
    "waiters that do not wait": Plan(seed=5, invocations=20_000, memory_mb=32_768, wait_limit_s=0.0),
    "callers who come back at once to runtimes that dawdle": Plan(
        seed=7, invocations=30_000, p_again=0.9, p_lingers=0.2, p_dies_returning=0.05
    ),
    "nobody is patient": Plan(seed=8, invocations=20_000, patience_s=0.0),
    "every environment takes several at a time": Plan(seed=9, invocations=30_000, memory_mb=16_384, p_shared=1.0),
    "none does": Plan(seed=10, invocations=20_000, memory_mb=32_768, p_shared=0.0),
    "workers that dawdle, stay away and vanish": Plan(
        seed=11, invocations=30_000, p_shared=1.0, p_again=0.9, p_lingers=0.2, p_dies_returning=0.05, p_idle_dies=0.02
    ),
    "every event checked in full": replace(SMALL, seed=6, invocations=1_500, check_every=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_no_rule_is_broken_on(plan: Plan) -> None:
    print(f"seed {plan.seed}")
    report = World(plan).run()
    print(report)
    assert sum(report.outcomes.values()) == plan.invocations
    assert report.outcomes["answered"] > plan.invocations / 10
    assert report.peak_memory_mb <= plan.memory_mb
    assert report.launches > 0


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    first, again = World(SMALL).run(), World(SMALL).run()
    assert first == again
    assert World(replace(SMALL, seed=SMALL.seed + 1)).run().digest != first.digest


def test_recording_the_story_does_not_change_it() -> None:
    assert World(replace(SMALL, recorded=True)).run() == World(SMALL).run()


def test_every_kind_of_trouble_happens() -> None:
    report = World(replace(SMALL, invocations=20_000)).run()
    for outcome in ("answered", "crashed", "timed out", "withdrawn", "launch failed", "function deleted"):
        assert report.outcomes[outcome], outcome
    for throttle in ("reserved", "waited in vain"):
        assert report.outcomes[f"throttled: {throttle}"], throttle
    assert report.late
    assert report.returned
    assert report.impatient
    assert report.evictions
    assert report.updates
    assert report.resubmitted
    assert report.turns_passed
    assert report.outcomes["init failed"]
    assert report.withdrawn
    assert report.abandoned
    assert report.peak_draining


# -- a simulation that cannot fail would prove nothing: break the scheduler in one place each


def break_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Room, "launchable", lambda room: next(iter(room.promises), None))


def break_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Scheduler._leave
    monkeypatch.setattr(Scheduler, "_leave", lambda self, waiter: real(self, waiter) if waiter.late else None)


def break_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Room, "claimant", lambda room: next(reversed(room.lean or room.rich), None))


def break_giving_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_gives_way", lambda *_: False)


def break_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_want", lambda *_: None)


def break_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Scheduler._bury

    def bury(self: Scheduler[Any], slot: Any) -> None:
        busy = slot.state == BUSY
        real(self, slot)
        slot.pool.limit.in_flight += busy

    monkeypatch.setattr(Scheduler, "_bury", bury)


def break_returning(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Scheduler._bury

    def bury(self: Scheduler[Any], slot: Any) -> None:
        slot.answered = False
        real(self, slot)

    monkeypatch.setattr(Scheduler, "_bury", bury)


def break_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_be_patient", lambda *_: None)


def break_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_end_patience", lambda *_: None)


def break_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_must_drain", lambda *_: False)


def break_reopening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "_reopen", lambda *_: None)


def break_expecting(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Scheduler._expect
    monkeypatch.setattr(Scheduler, "_expect", lambda self, slot, places: real(self, slot, places) if places else None)


def break_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Scheduler._take
    monkeypatch.setattr(Scheduler, "_take", lambda self, slot: (real(self, slot), slot.home.open.pop(slot, None)))


def break_withdrawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "place_withdrawn", lambda *_: None)


SABOTAGES = [
    break_draining,
    break_reopening,
    break_expecting,
    break_packing,
    break_withdrawing,
    break_budget,
    break_answers,
    break_turns,
    break_giving_way,
    break_wake,
    break_counting,
    break_returning,
    break_trust,
    break_patience,
]


@pytest.mark.parametrize(
    "sabotage",
    SABOTAGES,
    ids=lambda sabotage: sabotage.__name__,
)
def test_the_simulation_notices(sabotage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch)
    with pytest.raises((InvariantViolation, KeyError), match=r"seed|pool|Pool|\d+"):
        World(replace(SMALL, invocations=10_000)).run()
