"""What an embedded invocation returns."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from engine.model.invocation import Invocation
from engine.telemetry import logs


class InvocationResult(Struct, frozen=True, kw_only=True):
    """The outcome of one synchronous invocation.

    Attributes:
        request_id: the invocation's id.
        payload: what the function returned, or its error as JSON, byte for byte.
        function_error: ``Unhandled`` when the function failed, else None.
        executed_version: ``$LATEST`` or a number.
        log_tail: the last 4 KB of the log when it was asked for, else "".
        duration_ms: from the runtime being handed the event to its answer.
        init_ms: how long Init took when this was the environment's first invocation, else None.
        total_ms: from the request being received to the answer.
        environment_id: where it ran.
    """

    request_id: str
    payload: bytes
    function_error: str | None
    executed_version: str
    log_tail: str
    duration_ms: float
    init_ms: float | None
    total_ms: float
    environment_id: str

    @property
    def cold(self) -> bool:
        """Whether it was the first invocation of its environment."""
        return self.init_ms is not None

    def json(self) -> Any:
        """The payload, decoded."""
        return msgspec.json.decode(self.payload)


def result_of(invocation: Invocation) -> InvocationResult:
    """Make the result while the invocation's reply is being delivered. The invocation must have an outcome."""
    answered = invocation.responded or invocation.ended
    started = invocation.started
    return InvocationResult(
        request_id=invocation.request_id,
        payload=invocation.outcome or b"",
        function_error=invocation.function_error,
        executed_version=invocation.route.function.version,
        log_tail=logs.tail(invocation).decode("utf-8", "replace") if invocation.tail else "",
        duration_ms=(answered - started) * 1000,
        init_ms=None if invocation.init_s is None else invocation.init_s * 1000,
        total_ms=(answered - invocation.received) * 1000,
        environment_id=invocation.environment_id,
    )
