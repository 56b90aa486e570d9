"""What crosses the wall of an environment: an invocation on its way in, a fault on its way out."""

from __future__ import annotations

__all__ = ["Invocation", "RuntimeFault"]


class Invocation:
    """One invocation as the runtime is told about it (the headers and body of the answer to `next`).

    A plain mutable object with slots, so that an engine can subclass it with what it needs and the way of a warm
    invocation allocates a single object. An empty string means "absent": no header is sent for it, as a Rust runtime
    fails on an empty `Lambda-Runtime-Client-Context` (facts §1.3).

    Attributes:
        request_id: the id that the function sees, usually a UUID. Never empty; printable ASCII without ``/``.
        invocation_id: printable ASCII, too. Unique per *attempt*, where `request_id` may repeat (retries); clients that
            know `Lambda-Runtime-Invocation-Id` echo it with their answer.
        deadline_ms: when the invocation times out, in milliseconds since the Unix epoch; greater than 0.
        function_arn: as the caller addressed the function, with the qualifier if there was one.
        payload: the event, byte for byte.
        content_type: of the payload; always sent, as the C++ client core crashes without it.
        trace_id: ``Root=1-...;Parent=...;Sampled=0``.
        client_context: JSON text, already decoded from the caller's base64.
        cognito_identity: JSON text.
        tenant_id: for functions with tenant isolation.
    """

    __slots__ = (
        "client_context",
        "cognito_identity",
        "content_type",
        "deadline_ms",
        "function_arn",
        "invocation_id",
        "payload",
        "request_id",
        "tenant_id",
        "trace_id",
    )

    request_id: str
    invocation_id: str
    deadline_ms: int
    function_arn: str
    payload: bytes
    content_type: str
    trace_id: str
    client_context: str
    cognito_identity: str
    tenant_id: str

    def __init__(
        self,
        request_id: str,
        *,
        deadline_ms: int,
        function_arn: str = "",
        payload: bytes = b"",
        invocation_id: str = "",
        content_type: str = "application/json",
        trace_id: str = "",
        client_context: str = "",
        cognito_identity: str = "",
        tenant_id: str = "",
    ) -> None:
        self.request_id = request_id
        self.invocation_id = invocation_id
        self.deadline_ms = deadline_ms
        self.function_arn = function_arn
        self.payload = payload
        self.content_type = content_type
        self.trace_id = trace_id
        self.client_context = client_context
        self.cognito_identity = cognito_identity
        self.tenant_id = tenant_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request_id} {len(self.payload)} bytes>"


class RuntimeFault:
    """An answer of the runtime that ends the invocation with an error of the platform, not of the function's code.

    Attributes:
        error_type: ``Function.ResponseSizeTooLarge``, ``Runtime.TruncatedResponse`` or
            ``Runtime.InvalidResponseModeHeader``.
        message: for the caller's ``errorMessage``; "" when AWS sends none.
    """

    __slots__ = ("error_type", "message")

    error_type: str
    message: str

    def __init__(self, error_type: str, message: str = "") -> None:
        self.error_type = error_type
        self.message = message

    def __repr__(self) -> str:
        return f"RuntimeFault({self.error_type!r}, {self.message!r})"
