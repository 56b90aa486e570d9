"""What a caller is told when the runtime did not answer: AWS's error types and words (facts §4.2, §4.3)."""

from __future__ import annotations

import msgspec

from engine.sandbox.api import Exit


class Failure(msgspec.Struct, frozen=True):
    """Why an invocation or an Init failed.

    Attributes:
        error_type: AWS's constant, e.g. ``Runtime.ExitError``.
        reason: the sentence after ``Error:``.
        status: ``error``, ``timeout`` or ``failure`` as REPORT prints it.
        whole: the complete body when AWS's does not follow the usual pattern, else None.
    """

    error_type: str
    reason: str
    status: str = "error"
    whole: bytes | None = None

    def body(self, request_id: str) -> bytes:
        """The JSON payload for the caller."""
        if self.whole is not None:
            return self.whole
        return msgspec.json.encode(
            {"errorType": self.error_type, "errorMessage": f"RequestId: {request_id} Error: {self.reason}"}
        )


def exited(exit_: Exit) -> Failure:
    """The runtime's process ended without an answer."""
    if exit_.signal is None and exit_.code == 0:
        return Failure("Runtime.ExitError", "Runtime exited without providing a reason")
    return Failure("Runtime.ExitError", f"Runtime exited with error: {exit_.describe()}")


def invalid_entrypoint(reason: str) -> Failure:
    """There is nothing to execute, or the kernel would not execute it."""
    return Failure("Runtime.InvalidEntrypoint", reason)


def timed_out(timeout_s: float) -> Failure:
    """The function's time limit passed."""
    return Failure("Sandbox.Timedout", f"Task timed out after {timeout_s:.2f} seconds", "timeout")


def init_timed_out() -> Failure:
    """Init did not end in its 10 seconds; only INIT_REPORT tells, the caller waits for the second Init."""
    return Failure("Runtime.Unknown", "Init timed out", "timeout")


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
