"""When an environment is frozen, thawed, given up or quarantined: the decisions, without a process or a clock."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from engine.lifecycle import failures
from engine.lifecycle.core import RETRY_FIRST_S, RETRY_MOST_S
from engine.lifecycle.states import TRANSITIONS, Event, Phase
from engine.sandbox.api import Exit
from tests.unit.test_lifecycle_core import Recorder, body, broken, invocation, ready

LINGER = 0.05


def idle() -> Recorder:
    """READY after one invocation that ended at 2.0; its timer is armed for the end of the linger."""
    core = ready(freeze_after_s=LINGER)
    core.begin(1.0, invocation())
    core.responded(1.9, b"1")
    core.next(2.0)
    core.take()
    return core


def frozen() -> Recorder:
    core = idle()
    core.tick(2.0 + LINGER)
    assert core.take() == ["freeze"]
    assert core.phase is Phase.FROZEN
    return core


def thawing() -> Recorder:
    core = frozen()
    core.begin(5.0, invocation())
    assert core.take() == ["thaw"]
    assert core.phase is Phase.THAWING
    return core


def test_it_is_frozen_when_it_has_been_idle_for_the_linger_and_not_before():
    core = idle()
    assert core.armed <= 2.0 + LINGER
    core.tick(core.armed)
    if core.phase is Phase.READY:  # the timer was armed for an earlier time, and is armed anew
        assert core.armed == 2.0 + LINGER
        core.tick(core.armed)
    assert core.phase is Phase.FROZEN
    assert core.take() == ["freeze"]
    assert core.deadline == inf, "nothing is due while it is frozen"


def test_it_is_frozen_after_init_too_when_no_invocation_follows():
    core = ready(freeze_after_s=LINGER)
    assert core.armed == 0.5 + LINGER
    core.tick(core.armed)
    assert core.take() == ["freeze"]


def test_it_is_never_frozen_when_that_is_off():
    core = ready(freeze_after_s=inf)
    core.begin(1.0, invocation())
    core.responded(1.1, b"1")
    core.next(1.2)
    core.tick(1000.0)
    assert core.phase is Phase.READY
    assert core.deadline == inf


def test_invocations_back_to_back_arm_the_timer_once_per_linger_and_never_freeze():
    core = ready(freeze_after_s=LINGER)
    armed: list[float] = []
    core.arm = armed.append  # type: ignore[method-assign]
    at, due = 1.0, core.armed
    for _ in range(1000):
        core.begin(at, invocation())
        core.responded(at + 0.0001, b"1")
        core.next(at + 0.0002)
        at += 0.0005
        if at >= due:
            core.tick(at)
        due = armed[-1] if armed else due
    assert "freeze" not in core.take()
    assert len(armed) <= 0.5 / LINGER + 2


def test_a_long_invocation_keeps_its_deadline_although_the_timer_was_armed_for_the_freeze():
    core = idle()
    one = invocation()
    core.begin(2.01, one)
    assert core.armed <= 2.0 + LINGER
    core.tick(2.0 + LINGER)
    assert core.phase is Phase.INVOKE
    assert core.armed == 5.01
    core.tick(5.01)
    assert body(one)["errorType"] == "Sandbox.Timedout"


def test_an_invocation_waits_for_the_thaw_and_its_time_counts_from_the_delivery():
    core = frozen()
    one = invocation()
    core.begin(5.0, one)
    assert core.take() == ["thaw"]
    assert one.started == 0.0
    core.thawed(5.4)
    assert core.take() == ["START", "deliver"]
    assert core.phase is Phase.INVOKE
    assert one.started == 5.4
    assert core.deadline == 8.4, "the thaw was our doing: the function has all of its time"
    assert core.armed <= 8.4


def test_the_first_invocation_carries_the_init_duration_through_a_thaw():
    core = ready(freeze_after_s=LINGER)
    core.tick(0.5 + LINGER)
    one = invocation()
    core.begin(5.0, one)
    core.thawed(5.1)
    assert one.init_s == pytest.approx(0.5)


def test_after_a_thaw_it_is_frozen_again():
    core = thawing()
    core.thawed(5.1)
    core.responded(5.2, b"1")
    core.next(5.3)
    core.take()
    core.tick(5.3 + LINGER)
    assert core.take() == ["freeze"]


def test_a_host_that_would_not_freeze_it_is_asked_again_after_the_next_invocation_only():
    core = frozen()
    core.freeze_refused(2.1)
    assert core.phase is Phase.READY
    assert core.deadline == inf
    core.begin(3.0, invocation())
    core.responded(3.1, b"1")
    core.next(3.2)
    core.take()
    core.tick(3.2 + LINGER)
    assert core.take() == ["freeze"]


def test_a_host_that_would_not_thaw_it_fails_the_invocation_and_loses_the_environment():
    core, one = frozen(), invocation()
    core.begin(5.0, one)
    core.take()
    core.unavailable(5.5, "the freezer is stuck")
    assert core.take() == ["lost", "START", "END", "answer", "close"]
    assert body(one) == {
        "errorType": "Sandbox.Failure",
        "errorMessage": "RequestId: id-1 Error: the freezer is stuck",
    }
    assert one.status == "failure"
    assert (one.started, one.ended) == (5.5, 5.5)


def test_a_thaw_that_takes_for_ever_is_given_up():
    core, one = frozen(), invocation()
    core.begin(5.0, one)
    core.take()
    core.tick(15.0)
    assert core.take() == ["lost", "START", "END", "answer", "close"]
    assert "did not run again within 10 s" in body(one)["errorMessage"]


def test_a_process_that_dies_while_frozen_ends_its_environment():
    core = frozen()
    core.exited(3.0, failures.exited(Exit(None, 9, "memory")))
    assert core.take() == ["lost", "close"]
    core.closed(3.1)
    assert core.take() == ["gone"]


def test_a_process_that_dies_while_it_is_thawed_fails_the_invocation():
    core, one = frozen(), invocation()
    core.begin(5.0, one)
    core.take()
    core.exited(5.1, failures.exited(Exit(None, 9)))
    assert core.take() == ["START", "END", "answer", "kill"]
    assert body(one)["errorType"] == "Runtime.ExitError"


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize(("make", "does"), [(frozen, ["close"]), (thawing, ["START", "END", "answer", "close"])])
def test_it_can_be_retired_while_it_is_frozen_or_thawed(make: Callable[[], Recorder], does: list[str], final: bool):
    core = make()
    core.retire(6.0, final=final)
    assert core.take() == does
    assert core.deadline == inf
    core.closed(6.1)
    assert core.take() == ["gone"]


def closing() -> Recorder:
    core = ready()
    core.retire(1.0)
    core.take()
    return core


def test_what_would_not_be_destroyed_is_quarantined_and_tried_again_ever_less_often():
    core = closing()
    at, pauses = 2.0, []
    for _ in range(12):
        core.not_closed(at, "pids 7 and 8 would not die")
        assert core.phase is Phase.QUARANTINED
        assert core.stuck == "pids 7 and 8 would not die"
        assert core.take() == ["lost"]
        pauses.append(core.deadline - at)
        at = core.deadline
        core.tick(at)
        assert core.take() == ["close"]
        assert core.phase is Phase.CLOSING
    assert pauses[:3] == pytest.approx([RETRY_FIRST_S, 2 * RETRY_FIRST_S, 4 * RETRY_FIRST_S])
    assert pauses[-1] == pytest.approx(RETRY_MOST_S)
    core.closed(at)
    assert core.take() == ["gone"]


def test_an_engine_that_ends_tries_once_more_and_leaves_the_rest_to_the_spawner():
    core = closing()
    core.not_closed(2.0, "stuck")
    core.take()
    core.retire(3.0, final=True)
    assert core.take() == ["close"]
    core.not_closed(3.1, "still stuck")
    assert core.take() == ["gone"]


def test_an_engine_that_ends_while_it_is_being_destroyed_does_not_wait_for_a_second_try():
    core = closing()
    core.retire(2.0, final=True)
    assert core.take() == [], "it is being destroyed already"
    core.not_closed(2.1, "stuck")
    assert core.take() == ["gone"]


def test_a_tree_that_would_not_die_after_a_timeout_is_lost_to_the_scheduler_at_once():
    core, one = ready(1.0), invocation()
    core.begin(5.0, one)
    core.tick(6.0)
    core.take()
    core.unavailable(6.2, "pid 7 would not die")
    assert core.take() == ["lost", "close"]
    assert core.phase is Phase.CLOSING


def in_phase(phase: Phase) -> Recorder:
    """A core that came into this phase by legal events."""
    core = Recorder(1.0, LINGER)
    match phase:
        case Phase.NEW:
            pass
        case Phase.INIT:
            core.start(0.0)
        case Phase.RESTORE:
            core.start(0.0)
            core.parked(0.5)
        case Phase.READY:
            core = idle()
        case Phase.FROZEN:
            core = frozen()
        case Phase.THAWING:
            core = thawing()
        case Phase.INVOKE | Phase.RESPONDED | Phase.RESETTING:
            core = idle()
            core.begin(3.0, invocation())
            if phase is Phase.RESPONDED:
                core.responded(3.1, b"1")
            elif phase is Phase.RESETTING:
                core.exited(3.1, failures.exited(Exit(1)))
        case Phase.BROKEN:
            core = broken()
        case Phase.REINIT:
            core = broken()
            core.begin(3.0, invocation())
        case Phase.CLOSING | Phase.QUARANTINED | Phase.CLOSED:
            core = closing()
            if phase is Phase.QUARANTINED:
                core.not_closed(3.0, "stuck")
            elif phase is Phase.CLOSED:
                core.closed(3.0)
    assert core.phase is phase
    core.take()
    return core


LEGAL = [(phase, event) for phase in Phase for event in TRANSITIONS[phase]]


@pytest.mark.parametrize(("phase", "event"), LEGAL, ids=lambda value: value.name)
def test_every_event_in_the_table_leads_where_it_says_and_loses_nobody(phase: Phase, event: Event):
    core = in_phase(phase)
    had = core.invocation
    target = TRANSITIONS[phase][event]
    late = 1e9  # later than any deadline
    {
        Event.START: lambda: core.start(late),
        Event.BEGIN: lambda: core.begin(late, invocation()),
        Event.NEXT: lambda: core.next(late),
        Event.RESPONSE: lambda: core.responded(late, b""),
        Event.ERROR: lambda: core.failed(late, failures.posted(b"{}", "E")),
        Event.INIT_ERROR: lambda: core.init_failed(late, failures.posted(b"{}", "E")),
        Event.EXIT: lambda: core.exited(late, failures.exited(Exit(1))),
        Event.DEADLINE: lambda: deadline(core),
        Event.KILLED: lambda: core.killed(late),
        Event.RETIRE: lambda: core.retire(late),
        Event.UNAVAILABLE: lambda: core.unavailable(late, "why"),
        Event.CLOSED: lambda: core.closed(late),
        Event.FREEZE: lambda: core.tick(late),
        Event.FREEZE_REFUSED: lambda: core.freeze_refused(late),
        Event.THAWED: lambda: core.thawed(late),
        Event.STUCK: lambda: core.not_closed(late, "why"),
        Event.RETRY: lambda: core.tick(late),
        Event.STREAM: core.streaming,
        Event.PARKED: lambda: core.parked(late),
        Event.RESTORED: lambda: core.restored(late, late),
        Event.RESTORE_ERROR: lambda: core.restore_failed(late, failures.posted(b"{}", "E")),
    }[event]()
    assert core.phase is (Phase.INVOKE if event is Event.THAWED else target)
    did = core.take()
    if target in {Phase.RESETTING, Phase.CLOSING, Phase.QUARANTINED} and had is not None:
        assert had.answered, "its caller has been told"
        assert core.invocation is None
    # Once, and only once, does it come to be ended: by `kill` into RESETTING, by `close` into CLOSING.
    assert did.count("kill") == (target is Phase.RESETTING and phase is not Phase.RESETTING)
    assert did.count("close") == (target is Phase.CLOSING and phase is not Phase.CLOSING)
    assert did.count("lost") <= 1


def deadline(core: Recorder) -> None:
    if core.phase is Phase.INIT:
        core.sandbox_made(0.1)
    core.tick(core.deadline)
