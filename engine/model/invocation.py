"""One invocation on its way through the engine: the object that everything on the hot path shares.

It extends the Runtime API's own `Invocation` (what the runtime is sent) with what the engine needs to answer the caller
and to tell the story afterwards, so that a warm invocation allocates one object. Times are monotonic seconds; 0.0 means
"has not happened".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.errors import AwsError
from runtime_api import Invocation as RuntimeInvocation

if TYPE_CHECKING:
    from engine.dispatch.routes import Route
    from engine.lifecycle.streaming import ResponseStream


class Invocation(RuntimeInvocation):
    """One call of a function.

    Attributes:
        route: which function revision was addressed, and how.
        reply: called exactly once, synchronously on the loop, with the invocation, when its outcome is known.
        stream: where the response goes in pieces; None when the caller wants it whole.
        tail: the caller asked for LogType=Tail: the reply waits for the end of the invocation and its REPORT.
        outcome: the payload to send back; None until known.
        function_error: ``Unhandled`` when the function failed (X-Amz-Function-Error), else None.
        error: an `AwsError` when the engine refused or failed, in place of an outcome.
        error_type: the error's type for REPORT and metrics, e.g. ``Sandbox.Timedout``; "" when none.
        status: ``success``, ``error``, ``timeout`` or ``failure`` (facts §3.2), "" until it ended.
        received, assigned, started, responded, ended: the timeline. `assigned` is when the scheduler found an
            environment, `started` when the runtime was handed the event.
        init_s: seconds of Init when this invocation waited for a cold start, else None.
        restore_s: seconds of the restore when it waited for one (SnapStart), else None.
        environment_id: where it ran.
        max_memory: peak memory in bytes when it ended, None when unknown.
        produced: bytes of the payload that was sent back.
    """

    __slots__ = (
        "answered",
        "assigned",
        "ended",
        "environment_id",
        "error",
        "error_type",
        "function_error",
        "init_s",
        "log",
        "max_memory",
        "outcome",
        "produced",
        "received",
        "reply",
        "responded",
        "restore_s",
        "route",
        "started",
        "status",
        "stream",
        "tail",
    )

    def __init__(
        self,
        route: Route,
        request_id: str,
        invocation_id: str,
        payload: bytes,
        reply: Callable[[Invocation], None],
        received: float,
        *,
        trace_id: str = "",
        client_context: str = "",
        tail: bool = False,
    ) -> None:
        # The base class is initialised inline: a super().__init__ call is measurable on the hot path.
        self.request_id = request_id
        self.invocation_id = invocation_id
        self.deadline_ms = 0
        self.function_arn = route.arn
        self.payload = payload
        self.content_type = "application/json"
        self.trace_id = trace_id
        self.client_context = client_context
        self.cognito_identity = ""
        self.tenant_id = ""
        self.route = route
        self.reply = reply
        self.stream: ResponseStream | None = None
        self.tail = tail
        self.answered = False
        self.outcome: bytes | None = None
        self.function_error: str | None = None
        self.error: AwsError | None = None
        self.error_type = ""
        self.status = ""
        self.received = received
        self.assigned = 0.0
        self.started = 0.0
        self.responded = 0.0
        self.ended = 0.0
        self.init_s: float | None = None
        self.restore_s: float | None = None
        self.environment_id = ""
        self.max_memory: int | None = None
        self.produced = 0
        self.log: Any = None
