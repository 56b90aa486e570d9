"""SnapStart in the life of one environment: parked after Init, released, hooks, and what can go wrong there."""

from __future__ import annotations

import pytest

from engine.lifecycle import failures
from engine.lifecycle.core import RESTORE_TIMEOUT_S
from engine.lifecycle.states import Event, IllegalTransition, Phase
from engine.sandbox.api import Exit
from engine.snapshot.preparing import words
from tests.unit.test_lifecycle_core import Recorder, invocation


def parked() -> Recorder:
    core = Recorder()
    core.start(0.0)
    core.sandbox_made(0.1)
    core.parked(0.5)
    assert core.take() == ["launch", "init ok", "restore"]
    assert core.phase is Phase.RESTORE
    return core


def test_a_runtime_that_parks_is_released_and_available_after_its_hooks():
    core = parked()
    core.next(0.7)
    assert core.take() == ["initialized", "restore ok", "available"]
    one, two = invocation(), invocation()
    core.begin(1.0, one)
    assert one.init_s is None, "Init was not on this invocation's way"
    assert one.restore_s == pytest.approx(0.2)
    core.responded(1.1, b"1")
    core.next(1.1)
    core.begin(2.0, two)
    assert two.restore_s is None


def test_a_copy_has_no_init_and_its_restore_is_counted_from_before_it_was_made():
    core = Recorder()
    core.start(0.0)
    core.sandbox_made(0.1)
    core.restored(0.3, 0.1)
    assert core.take() == ["launch"]
    assert (core.phase, core.deadline) == (Phase.RESTORE, 0.3 + RESTORE_TIMEOUT_S)
    core.next(0.4)
    assert core.take() == ["initialized", "restore ok", "available"]
    one = invocation()
    core.begin(1.0, one)
    assert (one.init_s, one.restore_s) == (None, pytest.approx(0.3))


def test_a_host_that_fails_while_hooks_run_refuses_the_environment():
    core = parked()
    core.unavailable(0.6, "no descriptor left")
    assert core.take() == ["refused no descriptor left", "close"]


@pytest.mark.parametrize("how", ["error", "exit", "deadline"])
def test_a_restore_that_fails_is_told_once_and_ends_the_environment(how: str):
    core = parked()
    if how == "error":
        core.restore_failed(0.6, failures.posted(b"{}", "Runtime.HookFailed"))
        status, kind = "error", "Runtime.HookFailed"
    elif how == "exit":
        core.exited(0.6, failures.exited(Exit(65)))
        status, kind = "error", "Runtime.ExitError"
    else:
        assert core.deadline == 0.5 + RESTORE_TIMEOUT_S
        core.tick(core.deadline)
        status, kind = "timeout", "Runtime.RestoreHookUserTimeout"
    assert core.take() == [f"restore {status}", f"not restored {kind}", "close"]
    core.exited(11.0, failures.exited(Exit(None, 9)))  # that the closing caused
    assert core.take() == []
    assert core.phase is Phase.CLOSING


def test_init_again_inside_an_invocation_parks_and_goes_on_at_once():
    core = Recorder()
    core.start(0.0)
    core.exited(0.5, failures.exited(Exit(1)))
    core.killed(0.6)
    one = invocation()
    core.begin(1.0, one)
    core.take()
    core.parked(1.5)
    assert core.take() == ["restore"]
    assert core.deadline == 4.0, "the invocation's"
    core.next(1.6)
    assert core.take() == ["initialized", "init ok", "deliver"]


def test_a_hook_that_fails_inside_an_invocation_is_its_answer():
    core = Recorder()
    core.start(0.0)
    core.exited(0.5, failures.exited(Exit(1)))
    core.killed(0.6)
    one = invocation()
    core.begin(1.0, one)
    core.parked(1.5)
    core.restore_failed(1.6, failures.posted(b'{"errorType":"E"}', "Runtime.Unknown"))
    assert one.log == [(b'{"errorType":"E"}', "Unhandled")]
    assert core.phase is Phase.RESETTING


def test_parking_twice_is_refused():
    core = parked()
    with pytest.raises(IllegalTransition, match=Event.PARKED.name):
        core.parked(0.6)
    assert core.phase is Phase.RESTORE


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (failures.init_timed_out(), "FunctionError.InitTimeout"),
        (failures.invalid_entrypoint("no"), "FunctionError.InvalidEntryPoint"),
        (failures.exited(Exit(None, 9, "memory")), "FunctionError.InitResourceExhausted"),
        (failures.Failure("Extension.Crash", "it crashed"), "FunctionError.ExtensionInitError"),
        (failures.posted(b'{"errorType":"E"}', "Runtime.Unknown"), "FunctionError.RuntimeInitError"),
    ],
)
def test_why_a_version_failed_is_told_in_the_words_of_the_model(failure, code):
    reason, told = words(failure)
    assert told == code
    assert failure.error_type in reason
