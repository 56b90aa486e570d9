r"""What a caller is told when the runtime did not answer: AWS's error types and words (facts §4.2, §4.3).

Out of memory is `Runtime.OutOfMemory`, as AWS's hosts have printed it since about 2025: ``REPORT … Memory Size: 10239
MB\tMax Memory Used: 10239 MB\t…Status: error\tError Type: Runtime.OutOfMemory`` is a line of a real log, and the
platform.runtimeDone event says the same (DataDog/datadog-lambda-extension, pull requests 776 and 1241). The sentence
that the caller reads stays the old one, ``Runtime exited with error: signal: killed``, which tools look for. Older
hosts called it Runtime.ExitError.

AWS has no words for the other limits of a sandbox (there, `fork` or `write` fails inside). Where this engine ends a
function for one of them, the type begins with ``Lambent.``, and the sentence names the limit.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.sandbox.api import Exit, SandboxLimits

OUT_OF_MEMORY = "Runtime.OutOfMemory"
TRUNCATED = "Runtime.TruncatedResponse"


class Failure(msgspec.Struct, frozen=True):
    """Why an invocation or an Init failed.

    Attributes:
        error_type: AWS's constant, e.g. ``Runtime.ExitError``.
        reason: the sentence after ``Error:``.
        status: ``error``, ``timeout`` or ``failure`` as REPORT prints it.
        whole: the complete body when AWS's does not follow the usual pattern, else None.
        cause: the limit that ended the process, as in `Exit.cause`, else None.
    """

    error_type: str
    reason: str
    status: Literal["error", "timeout", "failure"] = "error"
    whole: bytes | None = None
    cause: str | None = None

    def body(self, request_id: str) -> bytes:
        """The JSON payload for the caller."""
        if self.whole is not None:
            return self.whole
        return msgspec.json.encode(
            {"errorType": self.error_type, "errorMessage": f"RequestId: {request_id} Error: {self.reason}"}
        )


def exited(exit_: Exit, limits: SandboxLimits | None = None) -> Failure:
    """The runtime's process ended without an answer; `limits` are what its sandbox was allowed, for the words."""
    cause = exit_.cause
    if cause is not None and cause != "memory":
        return _over_limit(cause, limits)
    if exit_.signal is None and exit_.code == 0:
        reason = "Runtime exited without providing a reason"
    else:
        reason = f"Runtime exited with error: {exit_.describe()}"
    return Failure("Runtime.ExitError" if cause is None else OUT_OF_MEMORY, reason, cause=cause)


def _over_limit(cause: str, limits: SandboxLimits | None) -> Failure:
    """Ended by a limit that AWS has no words for."""
    if cause == "processes":
        many = f" than {limits.processes}" if limits is not None else ""
        reason = f"Runtime was ended: it had more{many} processes and threads, which is the limit of its sandbox"
        return Failure("Lambent.TooManyProcesses", reason, cause=cause)
    if cause == "storage":
        much = f" than {limits.ephemeral_storage_mb} MB" if limits is not None else ""
        reason = f"Runtime was ended: it kept more{much} in /tmp, which is the function's EphemeralStorage"
        return Failure("Lambent.StorageExceeded", reason, cause=cause)
    return Failure("Lambent.LimitExceeded", f"Runtime was ended by a limit of its sandbox: {cause}", cause=cause)


def extension_ended(exit_: Exit, limits: SandboxLimits | None = None) -> Failure:
    """An extension's process ended before it was told to. Any end is a crash, a good one too."""
    if exit_.cause is not None:  # a limit that all processes have together: whose process met it, says nothing
        return exited(exit_, limits)
    if exit_.signal is None and exit_.code == 0:
        return Failure("Extension.Crash", "exit code 0")
    return Failure("Extension.Crash", exit_.describe())


def extension_not_launched(reason: str) -> Failure:
    """An extension could not be executed, or there are too many of them."""
    return Failure("Extension.LaunchError", reason)


def invalid_entrypoint(reason: str) -> Failure:
    """There is nothing to execute, or the kernel would not execute it."""
    return Failure("Runtime.InvalidEntrypoint", reason)


def timed_out(timeout_s: float) -> Failure:
    """The function's time limit passed."""
    return Failure("Sandbox.Timedout", f"Task timed out after {timeout_s:.2f} seconds", "timeout")


def timed_out_alone(timeout_s: float) -> Failure:
    """As `timed_out`, of one invocation among several: told without the request id (facts §12)."""
    message = f"Task timed out after {timeout_s:.2f} seconds"
    whole = msgspec.json.encode({"errorType": "Sandbox.Timedout", "errorMessage": message})
    return Failure("Sandbox.Timedout", message, "timeout", whole)


def init_timed_out_for_good(limit_s: float) -> Failure:
    """Init did not end in its time, and there is no second one: the caller hears of it."""
    return Failure("Sandbox.Timedout", f"Init timed out after {limit_s:.2f} seconds", "timeout")


def init_timed_out() -> Failure:
    """Init did not end in its 10 seconds; only INIT_REPORT tells, the caller waits for the second Init."""
    return Failure("Runtime.Unknown", "Init timed out", "timeout")


def restore_timed_out() -> Failure:
    """The restore and its hooks did not end in 10 seconds."""
    return Failure("Runtime.RestoreHookUserTimeout", "Restore timed out", "timeout")


def sandbox_failed(reason: str) -> Failure:
    """The host failed under the environment: the spawner died, or the sandbox could not be used any more."""
    return Failure("Sandbox.Failure", reason, "failure")


def posted(body: bytes, error_type: str) -> Failure:
    """The runtime told us itself, through ``/error`` or ``/init/error``: its body is forwarded byte for byte."""
    return Failure(error_type, "", "error", body)


def unusable(error_type: str, message: str) -> Failure:
    """The runtime posted a response that cannot be passed on. Only an oversized one is told without the request id."""
    if error_type == "Function.ResponseSizeTooLarge":
        whole = msgspec.json.encode({"errorType": error_type, "errorMessage": message})
        return Failure(error_type, message, "error", whole)
    return Failure(error_type, message)
