"""The decisions of one environment, event by event: no process, no clock."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import msgspec
import pytest

from engine.lifecycle import failures
from engine.lifecycle.core import EnvironmentCore
from engine.lifecycle.states import TRANSITIONS, Event, IllegalTransition, Phase, follow
from engine.model.invocation import Invocation
from engine.sandbox.api import Exit


class Recorder(EnvironmentCore):
    """A core whose actions are written down."""

    def __init__(self, timeout_s: float = 3.0, freeze_after_s: float = inf) -> None:
        super().__init__(timeout_s=timeout_s, init_timeout_s=10.0, freeze_after_s=freeze_after_s)
        self.did: list[str] = []
        self.armed = inf

    def take(self) -> list[str]:
        did, self.did = self.did, []
        return did

    def launch(self) -> None:
        self.did.append("launch")

    def deliver(self, invocation: Invocation) -> None:
        self.did.append("deliver")

    def initialized(self) -> None:
        self.did.append("initialized")

    def restore(self) -> None:
        self.did.append("restore")

    def not_restored(self, failure: failures.Failure) -> None:
        self.did.append(f"not restored {failure.error_type}")

    def freeze(self) -> None:
        self.did.append("freeze")

    def thaw(self) -> None:
        self.did.append("thaw")

    def arm(self, deadline: float) -> None:
        self.armed = deadline

    def returning(self, invocation: Invocation) -> None:
        self.did.append("returning")

    def answer(self, invocation: Invocation) -> None:
        invocation.answered = True
        invocation.reply(invocation)
        self.did.append("answer")

    def kill(self) -> None:
        self.did.append("kill")

    def close(self) -> None:
        self.did.append("close")

    def available(self, *, broken: bool) -> None:
        self.did.append("available broken" if broken else "available")

    def refused(self, reason: str) -> None:
        self.did.append(f"refused {reason}")

    def lost(self) -> None:
        self.did.append("lost")

    def gone(self) -> None:
        self.did.append("gone")

    def note_start(self, invocation: Invocation) -> None:
        self.did.append("START")

    def note_end(self, invocation: Invocation, failure: failures.Failure | None = None) -> None:
        self.did.append("END")

    def note_init(self, failure: failures.Failure | None, seconds: float) -> None:
        self.did.append("init ok" if failure is None else f"init {failure.status}")

    def note_restore(self, failure: failures.Failure | None, seconds: float) -> None:
        self.did.append("restore ok" if failure is None else f"restore {failure.status}")

    def note_transition(self, event: Event, target: Phase) -> None: ...

    def story(self) -> str:
        return "the story"


def invocation(*, tail: bool = False) -> Invocation:
    answers: list[tuple[bytes | None, str | None]] = []
    route = SimpleNamespace(arn="arn:f", function=SimpleNamespace(version="$LATEST"))
    made = Invocation(
        route,  # type: ignore[arg-type]
        "id-1",
        "attempt-1",
        b"{}",
        lambda one: answers.append((one.outcome, one.function_error)),
        0.0,
        tail=tail,
    )
    made.log = answers
    return made


def ready(timeout_s: float = 3.0, freeze_after_s: float = inf) -> Recorder:
    core = Recorder(timeout_s, freeze_after_s)
    core.start(0.0)
    core.sandbox_made(0.1)
    core.next(0.5)
    assert core.take() == ["launch", "initialized", "init ok", "available"]
    return core


def broken(timeout_s: float = 3.0) -> Recorder:
    core = Recorder(timeout_s)
    core.start(0.0)
    core.sandbox_made(0.1)
    core.exited(0.2, failures.exited(Exit(1)))
    core.killed(0.3)
    assert core.take() == ["launch", "init error", "kill", "available broken"]
    return core


def body(one: Invocation) -> dict[str, str]:
    assert one.outcome is not None
    return msgspec.json.decode(one.outcome)


def test_a_warm_invocation_is_delivered_answered_and_ended_by_next():
    core, one = ready(), invocation()
    core.begin(1.0, one)
    assert core.take() == ["START", "deliver"]
    core.responded(1.2, b"42")
    assert core.take() == ["returning", "answer"], "in this order: the caller may submit again at once"
    assert one.log == [(b"42", None)]
    assert core.phase is Phase.RESPONDED
    core.next(1.3)
    assert core.take() == ["END", "available"]
    assert (one.started, one.responded, one.ended, one.status) == (1.0, 1.2, 1.3, "success")
    assert core.deadline == inf


def test_only_the_first_invocation_carries_the_init_duration():
    core = ready()
    first, second = invocation(), invocation()
    for at, one in ((1.0, first), (2.0, second)):
        core.begin(at, one)
        core.responded(at + 0.1, b"1")
        core.next(at + 0.2)
    assert first.init_s == pytest.approx(0.5)
    assert second.init_s is None


def test_with_a_tail_the_answer_waits_for_the_report():
    core, one = ready(), invocation(tail=True)
    core.begin(1.0, one)
    core.take()
    core.responded(1.2, b"42")
    assert core.take() == ["returning"]
    core.next(1.3)
    assert core.take() == ["END", "answer", "available"]


def test_a_posted_error_is_forwarded_byte_for_byte_as_unhandled():
    core, one = ready(), invocation()
    core.begin(1.0, one)
    core.take()
    core.failed(1.1, failures.posted(b'{"errorType":"E"}', "Runtime.Unknown"))
    assert core.take() == ["returning", "answer"]
    assert one.log == [(b'{"errorType":"E"}', "Unhandled")]
    core.next(1.2)
    assert core.phase is Phase.READY
    assert one.status == "error"


def test_a_timeout_answers_at_once_then_kills_and_keeps_the_sandbox():
    core, one = ready(1.0), invocation()
    core.begin(5.0, one)
    assert core.armed == 6.0
    core.take()
    core.tick(5.5)  # early, as when a later invocation moved the deadline
    assert core.phase is Phase.INVOKE
    core.tick(6.0)
    assert core.take() == ["END", "answer", "kill"]
    assert body(one) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 1.00 seconds",
    }
    core.exited(6.0, failures.exited(Exit(None, 9)))  # what our own kill causes is no news
    core.killed(6.1)
    assert core.take() == ["available broken"]
    assert core.phase is Phase.BROKEN


def test_back_to_back_invocations_do_not_touch_the_timer():
    core = ready(3.0)
    core.begin(1.0, invocation())
    core.armed = -1.0
    for at in (1.0, 1.5, 2.0):
        if at > 1.0:
            core.begin(at, invocation())
        core.responded(at + 0.1, b"1")
        core.next(at + 0.2)
    assert core.armed == -1.0


def test_a_runtime_that_answers_but_never_comes_back_is_ended_at_the_deadline():
    core, one = ready(1.0), invocation()
    core.begin(5.0, one)
    core.responded(5.1, b"1")
    core.take()
    core.tick(6.0)
    assert core.take() == ["END", "kill"]
    assert one.log == [(b"1", None)]
    assert one.status == "timeout"


@pytest.mark.parametrize(
    ("exit_", "reason"),
    [
        (Exit(0), "Runtime exited without providing a reason"),
        (Exit(3), "Runtime exited with error: exit status 3"),
        (Exit(None, 9), "Runtime exited with error: signal: killed"),
        (Exit(None, 11), "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_crash_in_an_invocation_is_told_in_aws_words(exit_: Exit, reason: str):
    core, one = ready(), invocation()
    core.begin(1.0, one)
    core.exited(1.1, failures.exited(exit_))
    assert body(one) == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: id-1 Error: {reason}"}
    assert core.phase is Phase.RESETTING


def test_a_crash_after_the_answer_leaves_the_answer_alone():
    core, one = ready(), invocation()
    core.begin(1.0, one)
    core.responded(1.1, b"1")
    core.exited(1.2, failures.exited(Exit(1)))
    assert one.log == [(b"1", None)]
    assert one.error_type == "Runtime.ExitError"
    assert core.phase is Phase.RESETTING


@pytest.mark.parametrize("tail", [False, True])
def test_a_stream_is_answered_when_it_is_complete_and_not_before(tail: bool):
    core, one = ready(), invocation(tail=tail)
    core.begin(1.0, one)
    core.take()
    assert core.streaming() is one
    assert core.take() == []
    assert core.phase is Phase.INVOKE
    core.responded(1.5, b"")
    assert core.take() == (["returning"] if tail else ["returning", "answer"])
    core.next(1.6)
    assert core.take() == (["END", "answer", "available"] if tail else ["END", "available"])
    assert (one.status, one.responded) == ("success", 1.5)


def test_a_stream_that_fails_or_is_too_long_lives_on_in_its_environment():
    core, one = ready(), invocation()
    core.begin(1.0, one)
    core.streaming()
    core.failed(1.2, failures.unusable("Function.ResponseSizeTooLarge", "too long"))
    assert body(one) == {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": "too long"}
    assert core.phase is Phase.RESPONDED


def test_a_time_limit_and_a_crash_end_a_stream_as_they_end_everything():
    for end, kind in ((lambda core: core.tick(4.0), "Sandbox.Timedout"), (crash, "Runtime.ExitError")):
        core, one = ready(), invocation()
        core.begin(1.0, one)
        core.streaming()
        core.take()
        end(core)
        assert core.take() == ["END", "answer", "kill"]
        assert body(one)["errorType"] == kind
        assert core.phase is Phase.RESETTING


def crash(core: Recorder) -> None:
    core.exited(1.5, failures.exited(Exit(1)))


def test_a_process_that_dies_while_idle_ends_its_environment():
    core = ready()
    core.exited(2.0, failures.exited(Exit(1)))
    assert core.take() == ["lost", "close"], "nobody may give it an invocation while it is being closed"
    core.closed(2.1)
    assert core.take() == ["gone"]


def test_a_failed_init_is_retried_inside_the_next_invocation():
    core, one = broken(), invocation()
    core.begin(5.0, one)
    assert core.take() == ["START", "launch"]
    assert core.phase is Phase.REINIT
    core.next(5.5)
    assert core.take() == ["initialized", "init ok", "deliver"]
    core.responded(5.6, b"1")
    core.next(5.7)
    assert core.take() == ["returning", "answer", "END", "available"]
    assert one.init_s is None  # AWS: a suppressed Init counts in Duration
    assert one.log == [(b"1", None)]


def test_the_second_init_failure_is_the_answer():
    core, one = broken(), invocation()
    core.begin(5.0, one)
    core.take()
    core.init_failed(5.5, failures.posted(b'{"errorType":"Runtime.ImportModuleError"}', "Runtime.ImportModuleError"))
    assert core.take() == ["init error", "END", "answer", "kill"]
    assert one.log == [(b'{"errorType":"Runtime.ImportModuleError"}', "Unhandled")]


def test_a_suppressed_init_runs_on_the_functions_own_time():
    core, one = broken(1.0), invocation()
    core.begin(5.0, one)
    core.sandbox_made(5.1)
    assert core.armed == 6.0
    core.tick(6.0)
    assert body(one)["errorType"] == "Sandbox.Timedout"


def test_an_init_over_ten_seconds_is_reset_without_an_answer():
    core = Recorder()
    core.start(0.0)
    core.sandbox_made(1.0)
    assert core.armed == 11.0
    core.tick(11.0)
    assert core.take() == ["launch", "init timeout", "kill"]
    core.killed(11.1)
    assert core.take() == ["available broken"]


def test_a_sandbox_that_cannot_be_made_is_refused_and_closed():
    core = Recorder()
    core.start(0.0)
    core.unavailable(0.1, "no room")
    core.closed(0.2)
    assert core.take() == ["launch", "refused no room", "close", "gone"]


def test_retiring_with_an_invocation_answers_it():
    core, one = ready(), invocation()
    core.begin(1.0, one)
    core.take()
    core.retire(1.1)
    assert core.take() == ["END", "answer", "close"]
    assert body(one)["errorType"] == "Sandbox.Failure"


def test_retiring_while_resetting_closes_once_and_ignores_the_late_kill():
    core = ready()
    core.begin(1.0, invocation())
    core.exited(1.1, failures.exited(Exit(1)))
    core.take()
    core.retire(1.2)
    core.killed(1.3)
    core.closed(1.4)
    assert core.take() == ["close", "gone"]


ILLEGAL = [(phase, event) for phase in Phase for event in Event if event not in TRANSITIONS[phase]]


@pytest.mark.parametrize(("phase", "event"), ILLEGAL, ids=lambda value: value.name)
def test_every_event_that_is_not_in_the_table_is_refused_and_changes_nothing(phase: Phase, event: Event):
    with pytest.raises(IllegalTransition, match=f"{event.name} is not allowed in phase {phase.name}"):
        follow(phase, event)
    core = Recorder()
    core.phase = phase
    calls = {
        Event.START: lambda: core.start(1.0),
        Event.BEGIN: lambda: core.begin(1.0, invocation()),
        Event.NEXT: lambda: core.next(1.0),
        Event.RESPONSE: lambda: core.responded(1.0, b""),
        Event.ERROR: lambda: core.failed(1.0, failures.posted(b"", "")),
        Event.INIT_ERROR: lambda: core.init_failed(1.0, failures.posted(b"", "")),
        Event.EXIT: lambda: core.exited(1.0, failures.exited(Exit(1))),
        Event.KILLED: lambda: core.killed(1.0),
        Event.RETIRE: lambda: core.retire(1.0),
        Event.UNAVAILABLE: lambda: core.unavailable(1.0, ""),
        Event.CLOSED: lambda: core.closed(1.0),
        Event.FREEZE_REFUSED: lambda: core.freeze_refused(1.0),
        Event.THAWED: lambda: core.thawed(1.0),
        Event.STUCK: lambda: core.not_closed(1.0, ""),
        Event.STREAM: core.streaming,
    }
    if event in calls:
        with pytest.raises(IllegalTransition, match="the story"):
            calls[event]()
        assert core.phase is phase
        assert core.take() == []


def test_every_phase_can_be_reached_and_every_phase_but_the_last_can_be_left():
    reached = {target for row in TRANSITIONS.values() for target in row.values()}
    assert reached | {Phase.NEW} == set(Phase)
    assert [phase for phase in Phase if not TRANSITIONS[phase]] == [Phase.CLOSED]
