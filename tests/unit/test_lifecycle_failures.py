"""How an end is put into words, and what REPORT says of it."""

from __future__ import annotations

import msgspec
import pytest

from engine.lifecycle import failures
from engine.sandbox.api import Exit, SandboxLimits
from tests.unit.test_lifecycle_core import Recorder, invocation, ready

LIMITS = SandboxLimits(memory_mb=256, ephemeral_storage_mb=512, processes=1024)


@pytest.mark.parametrize(
    ("exit_", "error_type", "reason"),
    [
        (Exit(None, 9), "Runtime.ExitError", "Runtime exited with error: signal: killed"),
        (Exit(None, 9, "memory"), "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"),
        (Exit(137, None, "memory"), "Runtime.OutOfMemory", "Runtime exited with error: exit status 137"),
        (
            Exit(None, 9, "processes"),
            "Lambent.TooManyProcesses",
            "Runtime was ended: it had more than 1024 processes and threads, which is the limit of its sandbox",
        ),
        (
            Exit(None, 9, "storage"),
            "Lambent.StorageExceeded",
            "Runtime was ended: it kept more than 512 MB in /tmp, which is the function's EphemeralStorage",
        ),
        (Exit(None, 9, "luck"), "Lambent.LimitExceeded", "Runtime was ended by a limit of its sandbox: luck"),
    ],
)
def test_an_exit_names_the_limit_that_caused_it(exit_: Exit, error_type: str, reason: str):
    failure = failures.exited(exit_, LIMITS)
    assert (failure.error_type, failure.reason, failure.status) == (error_type, reason, "error")
    assert msgspec.json.decode(failure.body("id-1")) == {
        "errorType": error_type,
        "errorMessage": f"RequestId: id-1 Error: {reason}",
    }


def test_out_of_memory_is_known_as_such_when_the_log_is_written():
    core: Recorder = ready()
    seen: list[failures.Failure | None] = []
    core.note_end = lambda _, failure=None: seen.append(failure)  # type: ignore[method-assign]
    core.begin(1.0, invocation())
    core.exited(1.1, failures.exited(Exit(None, 9, "memory"), LIMITS))
    assert [failure.cause if failure else None for failure in seen] == ["memory"]


def test_a_timed_out_invocation_took_exactly_its_time_limit_whenever_the_timer_fired():
    core, one = ready(3.0), invocation()
    core.begin(5.0, one)
    core.tick(8.004)
    assert (one.started, one.ended) == (5.0, 8.0)


def test_an_invocation_that_ended_before_its_deadline_by_other_means_keeps_its_own_time():
    core, one = ready(3.0), invocation()
    core.begin(5.0, one)
    core.exited(5.5, failures.exited(Exit(1)))
    assert one.ended == 5.5
