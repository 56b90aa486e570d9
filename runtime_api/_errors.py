"""What can go wrong at the Runtime API: the exceptions, and the error answers that runtimes see, in one place.

::

    RuntimeApiError                anything this package raises on purpose
    ├── TransitionRefused          an event that the state table does not permit in the present state
    └── ClientError                the reference client: the server refused, or answered something unusable
"""

from __future__ import annotations

import re
from typing import Final

from ._limits import MAX_PAYLOAD

__all__ = ["ClientError", "RuntimeApiError", "TransitionRefused", "error_body", "scrub_error_type"]


class RuntimeApiError(Exception):
    """The root of all errors that `runtime_api` raises on purpose."""


class TransitionRefused(RuntimeApiError):
    """The state table has no row for this event in this state. The state is unchanged.

    The text is AWS's own (facts §1.4), ready for the body of the 403.
    """

    def __init__(self, state: str, wanted: str) -> None:
        super().__init__(
            f"State transition from {state} to {wanted} failed for runtime. Error: State transition is not allowed"
        )
        self.state = state
        self.wanted = wanted


class ClientError(RuntimeApiError):
    """The server's answer was not the one the Runtime API promises.

    Attributes:
        status: the HTTP status, or 0 when the answer was not HTTP or the connection ended.
        body: the body of the answer.
    """

    def __init__(self, text: str, status: int = 0, body: bytes = b"") -> None:
        super().__init__(text)
        self.status = status
        self.body = body


def error_body(error_type: str, message: str) -> bytes:
    """The JSON body of every refusal: ``{"errorMessage":...,"errorType":...}``, members in AWS's order."""
    import json

    return json.dumps({"errorMessage": message, "errorType": error_type}, separators=(",", ":")).encode()


TOO_LARGE_MESSAGE: Final = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
"""What the *caller* of the function is told (recorded from AWS; the runtime is told something else)."""

_ACCEPTED_ERROR_TYPE: Final = re.compile(r"(?:Runtime|Function)\.[A-Z][a-zA-Z]+\Z")


def scrub_error_type(value: str) -> str:
    """The error type that telemetry may carry, from what the runtime claims (facts §1.6).

    ``Runtime.Name`` and ``Function.Name`` pass; another ``Function.`` becomes ``Function.Unknown``; anything else,
    nothing included, ``Runtime.Unknown``: the header is user-controlled and must not grow metrics without bound.
    """
    if _ACCEPTED_ERROR_TYPE.match(value):
        return value
    return "Function.Unknown" if value.startswith("Function.") else "Runtime.Unknown"
