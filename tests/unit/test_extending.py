"""What extensions add to the decisions of an environment: every (stage, moment) pair, budgets, whose failure it is."""

from __future__ import annotations

import itertools
import uuid

import pytest

from engine.lifecycle import failures
from engine.lifecycle.core import EnvironmentCore
from engine.lifecycle.extending import Budget, Extending, IllegalMoment, Moment, Stage
from engine.lifecycle.states import Phase
from engine.sandbox.api import Exit
from runtime_api import INVOKE, SHUTDOWN, Extension, ExtensionEvent, Extensions
from tests.unit.test_lifecycle_core import Recorder, invocation

LEGAL = {
    (Stage.STARTING, Moment.REGISTERED): Stage.INIT,
    (Stage.STARTING, Moment.RUNTIME_BACK): Stage.STARTING,
    (Stage.INIT, Moment.RUNTIME_BACK): Stage.INIT_TAIL,
    (Stage.INIT_TAIL, Moment.ALL_BACK): Stage.IDLE,
    (Stage.IDLE, Moment.DELIVERED): Stage.INVOKE,
    (Stage.INVOKE, Moment.RUNTIME_BACK): Stage.TAIL,
    (Stage.TAIL, Moment.ALL_BACK): Stage.IDLE,
    **{(stage, Moment.END): Stage.ENDING for stage in Stage if stage is not Stage.ENDING},
}

PAIRS = [pytest.param(s, m, id=f"{s.name}-{m.name}") for s, m in itertools.product(Stage, Moment)]


def known(*external: str, internal: tuple[str, ...] = ()) -> Extensions:
    out = Extensions(lambda: str(uuid.uuid4()))
    for name in external:
        out.expect(name)
    for name in internal:
        out.register(name, [INVOKE], open=True)
    return out


def asks(extension: Extension) -> None:
    extension.fire(ExtensionEvent.NEXT)


@pytest.mark.parametrize(("stage", "moment"), PAIRS)
def test_each_moment_in_each_stage_leads_on_or_is_refused_without_a_trace(stage, moment):
    extending = Extending(known(), external=True)
    extending.stage = stage
    wanted = LEGAL.get((stage, moment))
    if wanted is not None:
        extending._to(moment)
        assert extending.stage is wanted
    else:
        with pytest.raises(IllegalMoment, match=f"{moment.name} is not allowed in stage {stage.name}"):
            extending._to(moment)
        assert extending.stage is stage


def test_the_runtime_is_started_when_the_last_external_extension_has_registered():
    extensions = known("a", "b")
    extending = Extending(extensions, external=True)
    extensions.register("b", [], open=True)
    assert not extending.registered()
    extensions.register("inside", [], open=True)
    assert not extending.registered(), "an internal one does not count, though it is early"
    extensions.register("a", [], open=True)
    assert extending.registered()
    assert not extending.registered(), "once"


def test_init_is_over_when_the_runtime_and_all_extensions_are_back_whoever_comes_last():
    for last in ("runtime", "extension"):
        extensions = known("quiet")
        extending = Extending(extensions, external=True)
        quiet = extensions.register("quiet", [], open=True)
        extending.registered()
        if last == "runtime":
            asks(quiet)
            assert not extending.extension_next()
            assert extending.runtime_next()
        else:
            assert not extending.runtime_next()
            asks(quiet)
            assert extending.extension_next()
        assert extending.stage is Stage.IDLE


def test_an_invocation_is_over_when_the_runtime_and_those_who_were_told_are_back():
    for last in ("runtime", "extension"):
        extensions = known()
        told, quiet = extensions.register("told", [INVOKE], open=True), extensions.register("quiet", [], open=True)
        extending = Extending(extensions, external=False)
        extending.runtime_next()
        asks(told)
        asks(quiet)
        assert extending.extension_next()
        extending.delivered()
        told.fire(ExtensionEvent.DELIVER)
        assert extending.occupied()
        if last == "runtime":
            asks(told)
            assert not extending.extension_next()
            assert extending.runtime_next()
        else:
            assert not extending.runtime_next()
            asks(told)
            assert extending.extension_next()
        assert extending.stage is Stage.IDLE
        assert not extending.occupied()


def test_who_asks_for_nothing_is_never_waited_for():
    extensions = known()
    quiet = extensions.register("GoLang", [], open=True)
    extending = Extending(extensions, external=False)
    asks(quiet)
    assert extending.runtime_next()
    for _ in range(2):
        extending.delivered()
        assert not extending.occupied()
        assert extending.runtime_next()


def test_whoever_asks_in_the_runtimes_name_before_there_is_one_changes_nothing():
    extending = Extending(known("a"), external=True)
    assert not extending.runtime_next()
    assert extending.stage is Stage.STARTING


@pytest.mark.parametrize(
    ("extensions", "budget"),
    [
        (known(), Budget(0, 0)),
        (known(internal=("i",)), Budget(500, 500)),
        (known("x"), Budget(2000, 300)),
        (known("x", internal=("i",)), Budget(2000, 300)),
    ],
    ids=["none", "internal", "external", "both"],
)
def test_budgets(extensions, budget):
    assert Extending(extensions, external=False).budget() == budget


def test_a_runtime_may_have_longer_where_there_are_external_extensions():
    assert Extending(known("a"), external=True, runtime_ms=600).budget() == Budget(2000, 600)
    assert Extending(known(internal=("a",)), external=False, runtime_ms=600).budget() == Budget(500, 500)


def test_the_first_reason_to_end_stands():
    extending = Extending(known("x"), external=True)
    extending.end("timeout")
    extending.end("spindown")
    assert (extending.stage, extending.reason) == (Stage.ENDING, "timeout")


@pytest.mark.parametrize(
    ("event", "error_type"),
    [(ExtensionEvent.INIT_ERROR, "Extension.InitError"), (ExtensionEvent.EXIT_ERROR, "Extension.ExitError")],
)
def test_what_an_extension_had_said_is_the_type_of_the_end_that_follows(event, error_type):
    extensions = known()
    one, other = extensions.register("one", [], open=True), extensions.register("other", [], open=True)
    extending = Extending(extensions, external=False)
    crash = failures.extension_ended(Exit(3))
    assert extending.judge(crash) is crash
    one.fire(event)
    extending.failed(one)
    other.fire(ExtensionEvent.EXIT_ERROR)
    extending.failed(other)
    assert (extending.judge(crash).error_type, extending.judge(crash).reason) == (error_type, "exit status 3")
    assert extending.judge(failures.exited(Exit(1))).error_type == error_type, "an internal one ends with the runtime"
    memory = failures.exited(Exit(None, 9, "memory"))
    assert extending.judge(memory) is memory
    invalid = failures.invalid_entrypoint("no bootstrap")
    assert extending.judge(invalid) is invalid


@pytest.mark.parametrize(
    ("exit_", "error_type", "reason"),
    [
        (Exit(0), "Extension.Crash", "exit code 0"),
        (Exit(7), "Extension.Crash", "exit status 7"),
        (Exit(None, 9), "Extension.Crash", "signal: killed"),
        (Exit(None, 9, "memory"), "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"),
    ],
)
def test_the_end_of_an_extension_in_words(exit_, error_type, reason):
    failure = failures.extension_ended(exit_)
    assert (failure.error_type, failure.reason) == (error_type, reason)


# ---- in the core -------------------------------------------------------------------------------------------------------


def extended(*, at: Stage = Stage.IDLE) -> tuple[Recorder, Extension]:
    """A core in READY with one external extension that is told of everything."""
    core = Recorder()
    extensions = known("x")
    core.start(0.0)
    core.extending = Extending(extensions, external=True)
    one = extensions.register("x", [INVOKE, SHUTDOWN], open=True)
    core.sandbox_made(0.1)
    if at is Stage.IDLE:
        core.extending.registered()
        asks(one)
        assert core.extending.runtime_next()
        core.next(0.5)
    core.take()
    return core, one


def begin(core: EnvironmentCore, one: Extension):
    sent = invocation()
    core.begin(1.0, sent)
    assert core.extending is not None
    core.extending.delivered()
    one.fire(ExtensionEvent.DELIVER)
    return sent


def test_the_scheduler_does_not_expect_an_environment_back_whose_extension_is_busy():
    core, one = extended()
    begin(core, one)
    core.responded(1.2, b"42")
    assert core.take() == ["START", "deliver", "answer"]


def test_the_scheduler_expects_it_when_the_extension_was_faster():
    core, one = extended()
    begin(core, one)
    asks(one)
    core.responded(1.2, b"42")
    assert core.take() == ["START", "deliver", "returning", "answer"]


def test_an_extension_that_does_not_come_back_is_a_timeout_though_the_caller_has_an_answer():
    core, one = extended()
    sent = begin(core, one)
    core.responded(1.2, b"42")
    core.take()
    core.tick(4.0)
    assert core.take() == ["END", "kill"]
    assert (sent.outcome, sent.status, sent.error_type) == (b"42", "timeout", "Sandbox.Timedout")
    assert core.phase is Phase.RESETTING
    assert core.extending is not None
    assert (core.extending.stage, core.extending.reason) == (Stage.ENDING, "timeout")


@pytest.mark.parametrize(
    ("at", "what", "reason"),
    [
        (Stage.STARTING, lambda core: core.exited(0.3, failures.extension_ended(Exit(1))), "failure"),
        (Stage.STARTING, lambda core: core.tick(10.2), "timeout"),
        (Stage.STARTING, lambda core: core.retire(0.3), "spindown"),
        (Stage.STARTING, lambda core: core.unavailable(0.3, "gone"), "failure"),
        (Stage.IDLE, lambda core: core.exited(2.0, failures.extension_ended(Exit(1))), "failure"),
        (Stage.IDLE, lambda core: core.retire(2.0), "spindown"),
    ],
    ids=["crash in Init", "Init timeout", "retired in Init", "host failed", "crash while idle", "retired while idle"],
)
def test_why_the_processes_end(at, what, reason):
    core, _ = extended(at=at)
    what(core)
    assert core.extending is not None
    assert (core.extending.stage, core.extending.reason) == (Stage.ENDING, reason)
