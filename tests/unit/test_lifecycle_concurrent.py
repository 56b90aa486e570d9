"""The decisions of an environment with several invocations in flight, event by event: no process, no clock."""

from __future__ import annotations

from collections import deque
from math import inf
from types import SimpleNamespace

import msgspec
import pytest

from engine.lifecycle import failures
from engine.lifecycle.concurrent.core import ConcurrentCore
from engine.lifecycle.concurrent.states import TRANSITIONS
from engine.lifecycle.states import Event, IllegalTransition, Phase
from engine.model.invocation import Invocation
from engine.sandbox.api import Exit


class Recorder(ConcurrentCore):
    """A core whose actions are written down; the scheduler is a queue of invocations that wait for a place."""

    def __init__(self, capacity: int = 3, timeout_s: float = 3.0) -> None:
        super().__init__(timeout_s=timeout_s, init_timeout_s=130.0)
        self.prepare(capacity)
        self.did: list[str] = []
        self.armed = inf
        self.queue: deque[Invocation] = deque()
        self.clock = 0.0

    def take(self) -> list[str]:
        did, self.did = self.did, []
        return did

    def launch(self) -> None:
        self.did.append("launch")

    def deliver(self, invocation: Invocation) -> None:
        self.did.append(f"deliver {invocation.request_id}")

    def initialized(self) -> None:
        self.did.append("initialized")

    def freeze(self) -> None:
        raise AssertionError

    def thaw(self) -> None:
        raise AssertionError

    def restore(self) -> None:
        raise AssertionError("never")

    def not_restored(self, failure: failures.Failure) -> None:
        raise AssertionError("never")

    def note_restore(self, failure: failures.Failure | None, seconds: float) -> None:
        raise AssertionError("never")

    def kill(self) -> None:
        raise AssertionError

    def arm(self, deadline: float) -> None:
        self.armed = deadline

    def answer(self, invocation: Invocation) -> None:
        invocation.answered = True
        invocation.reply(invocation)
        self.did.append(f"answer {invocation.request_id}")

    def close(self) -> None:
        self.did.append("close")

    def available(self, *, broken: bool) -> None:
        assert not broken
        self.did.append("place")
        if self.queue:
            self.begin(self.clock, self.queue.popleft())

    def replied(self, comes_back: bool) -> None:
        self.did.append("replied, comes back" if comes_back else "replied")

    def withdrawn(self) -> None:
        self.did.append("withdrawn")

    def abandoned(self) -> None:
        self.did.append("abandoned")

    def expired(self, invocation: Invocation) -> None:
        self.did.append(f"expired {invocation.request_id}")

    def bereaved(self) -> list[Invocation]:
        waited, self.queue = list(self.queue), deque()
        self.did.append("bereaved")
        return waited

    def refused(self, reason: str) -> None:
        self.did.append(f"refused {reason}")

    def lost(self) -> None:
        self.did.append("lost")

    def gone(self) -> None:
        self.did.append("gone")

    def note_start(self, invocation: Invocation) -> None:
        self.did.append(f"START {invocation.request_id}")

    def note_end(self, invocation: Invocation, failure: failures.Failure | None = None) -> None:
        self.did.append(f"END {invocation.request_id}")

    def note_init(self, failure: failures.Failure | None, seconds: float) -> None:
        self.did.append("init ok" if failure is None else f"init {failure.status}")

    def note_transition(self, event: Event, target: Phase) -> None: ...

    def story(self) -> str:
        return "the story"


def invocation(name: str, *, tail: bool = False) -> Invocation:
    """`told` of it is what its caller was told."""
    route = SimpleNamespace(arn="arn:f", function=SimpleNamespace(version="$LATEST"))
    told: list[str] = []
    made = Invocation(
        route,  # type: ignore[arg-type]
        name,
        f"attempt-{name}",
        b"{}",
        lambda one: told.append((one.outcome or b"").decode()),
        0.0,
        tail=tail,
    )
    made.log = told
    return made


def told(one: Invocation) -> list[str]:
    assert one.log is not None
    return one.log


def serving(workers: int = 3, capacity: int = 3, timeout_s: float = 3.0) -> Recorder:
    """An environment whose workers all wait."""
    core = Recorder(capacity, timeout_s)
    core.start(0.0)
    core.sandbox_made(0.1)
    for _ in range(workers):
        core.next(0.5)
    assert core.take() == ["launch", "initialized", "init ok", *["place"] * min(workers, capacity)]
    return core


def busy(*names: str, timeout_s: float = 3.0) -> tuple[Recorder, list[Invocation]]:
    """An environment of three workers, these invocations on it, begun at 1.0, 1.1, 1.2."""
    core = serving(timeout_s=timeout_s)
    made = [invocation(name) for name in names]
    for index, one in enumerate(made):
        core.begin(1.0 + index / 10, one)
    core.take()
    return core, made


CRASH = failures.exited(Exit(1))


def test_init_ends_with_the_first_worker_and_each_worker_is_a_place():
    core = Recorder()
    core.start(0.0)
    core.sandbox_made(0.5)
    assert core.armed == 130.5
    core.next(2.0)
    assert core.take() == ["launch", "initialized", "init ok", "place"]
    assert core.init_s == 2.0
    core.next(2.1)
    assert core.take() == ["place"]
    assert core.deadline == inf


def test_invocations_are_answered_in_whatever_order_and_each_has_its_report():
    core, (a, b, c) = busy("a", "b", "c")
    core.answered(2.0, c, b"3")
    core.answered(2.1, a, b"1")
    core.errored(2.2, b, failures.posted(b"2", "E"))
    assert core.take() == [
        "replied, comes back", "answer c", "END c",
        "replied, comes back", "answer a", "END a",
        "replied, comes back", "answer b", "END b",
    ]  # fmt: skip
    assert (told(a), told(b), told(c)) == (["1"], ["2"], ["3"])
    assert [one.status for one in (a, b, c)] == ["success", "error", "success"]
    assert [(one.started, one.ended) for one in (a, b, c)] == [(1.0, 2.1), (1.1, 2.2), (1.2, 2.0)]
    assert (core.phase, core.served) == (Phase.READY, 3)


def test_only_the_first_invocation_carries_the_init_duration():
    _, (a, b) = busy("a", "b")
    assert (a.init_s, b.init_s) == (0.5, None)


def test_with_a_tail_the_answer_comes_after_the_report():
    core = serving()
    one = invocation("a", tail=True)
    core.begin(1.0, one)
    core.take()
    core.answered(1.1, one, b"1")
    assert core.take() == ["replied, comes back", "END a", "answer a"]


def test_a_worker_that_asks_while_somebody_waits_is_given_it_in_the_same_call():
    core = serving(workers=1)
    core.begin(1.0, invocation("a"))
    core.queue.append(invocation("b"))
    core.take()
    core.clock = 1.5
    core.next(1.5)
    assert core.take() == ["place", "START b", "deliver b"]


def test_a_time_limit_ends_its_invocation_alone_and_its_worker_is_not_expected():
    core, (a, b) = busy("a", "b")
    assert core.armed == 4.0
    core.tick(4.0)
    assert core.take() == ["expired a", "END a", "answer a"]
    assert msgspec.json.decode(told(a)[0]) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "Task timed out after 3.00 seconds",
    }
    assert (a.status, a.ended) == ("timeout", 4.0)
    assert core.armed == 4.1
    core.answered(4.05, b, b"2")
    assert told(b) == ["2"]
    assert core.phase is Phase.READY


def test_reports_of_a_time_out_say_the_limit_however_late_the_timer_was():
    core, (a, b) = busy("a", "b")
    core.tick(9.0)
    assert (a.ended - a.started, b.ended - b.started) == (pytest.approx(3.0), pytest.approx(3.0))
    assert core.take() == ["expired a", "END a", "answer a", "expired b", "END b", "answer b"]


def test_the_worker_of_one_that_timed_out_is_welcome_when_it_asks_again():
    core, _ = busy("a")
    core.tick(4.0)
    core.take()
    core.next(60.0)
    assert core.take() == ["place"]


def test_the_answer_to_one_that_timed_out_is_illegal():
    core, (a,) = busy("a")
    core.tick(4.0)
    with pytest.raises(IllegalTransition):
        core.answered(4.1, a, b"1")
    with pytest.raises(IllegalTransition):
        core.errored(4.1, a, failures.posted(b"1", "E"))


def test_a_worker_that_answers_and_stays_away_is_given_up_after_the_time_limit():
    core, (a,) = busy("a")
    core.answered(2.0, a, b"1")
    core.take()
    core.tick(4.0)  # armed for the invocation, which is over
    assert core.take() == []
    assert core.armed == 5.0
    core.tick(5.0)
    assert core.take() == ["abandoned"]
    assert core.deadline == inf
    core.next(50.0)
    assert core.take() == ["place"], "should it come after all"


def test_workers_that_ask_at_once_and_have_many_in_hand_are_bounded_by_the_capacity():
    """AWS's client for Node.js: each of its threads asks again as soon as it has an invocation."""
    core = serving(workers=2, capacity=3)
    made = [invocation(name) for name in "abc"]
    for one in made:
        core.begin(1.0, one)
        core.next(1.0)
    assert core.take() == [
        "START a", "deliver a", "place",
        "START b", "deliver b",
        "START c", "deliver c",
    ]  # fmt: skip
    assert (core.asking, core.offered) == (2, 0), "three are in flight: nobody is offered, though two ask"
    core.answered(2.0, made[0], b"1")
    assert core.take() == ["replied", "answer a", "END a", "place"], "nobody is to come back: they ask already"


def test_a_worker_that_is_gone_is_a_place_less():
    core = serving(workers=2)
    core.left(1.0)
    assert core.take() == ["withdrawn"]
    core.begin(1.0, invocation("a"))
    with pytest.raises(IllegalTransition):
        core.begin(1.0, invocation("b"))


def test_a_worker_that_is_gone_while_more_ask_than_there_are_places_changes_nothing():
    core = serving(workers=4, capacity=3)
    core.left(1.0)
    assert core.take() == []


def test_the_end_of_the_process_fails_all_that_is_in_flight_and_ends_the_environment():
    core, (a, b) = busy("a", "b")
    core.exited(2.0, CRASH)
    assert core.take() == ["lost", "END a", "answer a", "END b", "answer b", "close"]
    for one in (a, b):
        assert msgspec.json.decode(told(one)[0]) == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {one.request_id} Error: Runtime exited with error: exit status 1",
        }
    core.closed(2.1)
    assert (core.phase, core.take()) == (Phase.CLOSED, ["gone"])


@pytest.mark.parametrize(
    ("fail", "status", "words"),
    [
        (lambda core: core.init_failed(1.0, failures.posted(b'"posted"', "E")), "error", "posted"),
        (lambda core: core.exited(1.0, CRASH), "error", "exit status 1"),
        (lambda core: core.tick(130.1), "timeout", "Init timed out after 130.00 seconds"),
    ],
)
def test_an_init_that_fails_fails_those_that_it_was_for_and_there_is_no_second_one(fail, status, words):
    core = Recorder()
    core.start(0.0)
    core.sandbox_made(0.1)
    core.queue.extend([invocation("a"), invocation("b")])
    waited = list(core.queue)
    core.take()
    fail(core)
    assert core.take() == [
        f"init {status}", "bereaved",
        "START a", "END a", "answer a",
        "START b", "END b", "answer b",
        "close",
    ]  # fmt: skip
    assert all(words in told(one)[0] for one in waited)
    assert core.phase is Phase.CLOSING


def test_a_host_that_makes_no_sandbox_refuses_the_environment():
    core = Recorder()
    core.start(0.0)
    core.take()
    core.unavailable(0.1, "no disk")
    assert core.take() == ["refused no disk", "close"]


def test_a_host_that_fails_under_it_fails_all_that_is_in_flight():
    core, (a,) = busy("a")
    core.unavailable(2.0, "spawner died")
    assert core.take() == ["lost", "close", "END a", "answer a"]
    assert "spawner died" in told(a)[0]


def test_an_engine_that_stops_answers_all_that_is_in_flight_once():
    core, (a, b) = busy("a", "b")
    core.retire(2.0, final=True)
    assert core.take() == ["close", "END a", "answer a", "END b", "answer b"]
    core.retire(2.1, final=True)
    assert core.take() == []
    assert len(told(a)) == len(told(b)) == 1


def test_one_that_cannot_be_destroyed_is_tried_again_and_not_lost_sight_of():
    core = serving()
    core.retire(1.0)
    core.not_closed(1.1, "a process will not die")
    assert (core.phase, core.armed) == (Phase.QUARANTINED, 1.6)
    core.take()
    core.tick(1.6)
    assert core.take() == ["close"]
    core.closed(1.7)
    assert core.take() == ["gone"]


def test_a_timer_that_fires_early_is_set_again():
    core, _ = busy("a")
    core.armed = inf
    core.tick(1.5)
    assert (core.armed, core.take()) == (4.0, [])


EVENTS = {
    Event.START: lambda core: core.start(1.0),
    Event.BEGIN: lambda core: core.begin(1.0, invocation("a")),
    Event.NEXT: lambda core: core.next(1.0),
    Event.RESPONSE: lambda core: core.answered(1.0, invocation("a"), b""),
    Event.ERROR: lambda core: core.errored(1.0, invocation("a"), failures.posted(b"", "")),
    Event.INIT_ERROR: lambda core: core.init_failed(1.0, failures.posted(b"", "")),
    Event.EXIT: lambda core: core.exited(1.0, CRASH),
    Event.KILLED: lambda core: core.killed(1.0),
    Event.RETIRE: lambda core: core.retire(1.0),
    Event.UNAVAILABLE: lambda core: core.unavailable(1.0, ""),
    Event.CLOSED: lambda core: core.closed(1.0),
    Event.FREEZE_REFUSED: lambda core: core.freeze_refused(1.0),
    Event.THAWED: lambda core: core.thawed(1.0),
    Event.STUCK: lambda core: core.not_closed(1.0, ""),
    Event.PARKED: lambda core: core.parked(1.0),
    Event.RESTORED: lambda core: core.restored(1.0, 0.5),
    Event.RESTORE_ERROR: lambda core: core.restore_failed(1.0, failures.posted(b"", "")),
}
INTERNAL = {Event.DEADLINE, Event.FREEZE, Event.RETRY}  # the core's own, on its timer
NEVER = {Event.STREAM}  # its Runtime API server collects responses
PLACED = {Event.BEGIN, Event.RESPONSE, Event.ERROR}  # illegal for one that is not there, even where the table has them
ILLEGAL = [
    (phase, event)
    for phase in TRANSITIONS
    for event in Event
    if event not in INTERNAL | NEVER and (event not in TRANSITIONS[phase] or event in PLACED)
]


@pytest.mark.parametrize(("phase", "event"), ILLEGAL, ids=lambda value: value.name)
def test_every_event_that_is_not_in_the_table_is_refused_and_changes_nothing(phase: Phase, event: Event):
    core = Recorder()
    core.phase = phase
    with pytest.raises(IllegalTransition, match="the story"):
        EVENTS[event](core)
    assert core.phase is phase
    assert core.take() == []


@pytest.mark.parametrize("phase", list(TRANSITIONS), ids=lambda phase: phase.name)
def test_a_refusal_names_phase_and_event_and_tells_the_story(phase: Phase):
    core = Recorder()
    core.phase = phase
    with pytest.raises(IllegalTransition, match=f"KILLED is not allowed in phase {phase.name}.*\n.*the story"):
        core.killed(1.0)


def test_a_timer_in_a_phase_without_a_limit_does_nothing():
    for phase in TRANSITIONS:
        core = Recorder()
        core.phase = phase
        core.tick(1e9)
        assert (core.phase, core.take()) == (phase, [])


def test_every_phase_of_the_table_can_be_reached_and_every_phase_but_the_last_can_be_left():
    reached = {target for row in TRANSITIONS.values() for target in row.values()}
    assert reached | {Phase.NEW} == set(TRANSITIONS)
    assert [phase for phase, row in TRANSITIONS.items() if not row] == [Phase.CLOSED]
