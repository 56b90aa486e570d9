"""The Runtime API's header names, and the head of the answer to `next`.

Names are written as AWS writes them; requests are matched in lower case.
"""

from __future__ import annotations

from typing import Final

from ._events import Invocation

__all__ = [
    "ERROR_BODY",
    "ERROR_TYPE",
    "EXTENSION_ACCEPT_FEATURE",
    "EXTENSION_ERROR_TYPE",
    "EXTENSION_IDENTIFIER",
    "EXTENSION_NAME",
    "INVOCATION_ID",
    "RESPONSE_MODE",
    "XRAY_CAUSE",
    "NextHead",
    "header_value",
]

ERROR_TYPE: Final = b"lambda-runtime-function-error-type"
ERROR_BODY: Final = b"lambda-runtime-function-error-body"
INVOCATION_ID: Final = b"lambda-runtime-invocation-id"
RESPONSE_MODE: Final = b"lambda-runtime-function-response-mode"
XRAY_CAUSE: Final = b"lambda-runtime-function-xray-error-cause"
EXTENSION_NAME: Final = b"lambda-extension-name"
EXTENSION_IDENTIFIER: Final = b"lambda-extension-identifier"
EXTENSION_ACCEPT_FEATURE: Final = b"lambda-extension-accept-feature"
EXTENSION_ERROR_TYPE: Final = b"lambda-extension-function-error-type"


def header_value(value: str) -> str:
    """`value` as one header value: control characters and lone surrogates become spaces.

    Client context and tenant come from whoever invokes the function; a line break in them must not become a header of
    its own in what the runtime reads. (Go, and so AWS's supervisor, replaces them the same way.)
    """
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() else " " for c in value).strip()


class NextHead:
    """Renders the head of the 200 answer to `next`. One per environment: what rarely changes is rendered once.

    Nearly every invocation of an environment has the ARN and content type of the one before it.
    """

    __slots__ = ("_arn", "_content_type", "_static")

    _arn: str
    _content_type: str
    _static: str

    def __init__(self) -> None:
        self._prepare("", "application/json")

    def render(self, invocation: Invocation) -> bytes:
        """Status line and headers, blank line included. Empty values have no header (facts §1.3)."""
        if invocation.function_arn != self._arn or invocation.content_type != self._content_type:
            self._prepare(invocation.function_arn, invocation.content_type)
        request_id, trace_id, attempt = invocation.request_id, invocation.trace_id, invocation.invocation_id
        if "\n" in trace_id or "\r" in trace_id:  # str.isprintable() costs 0.3 us
            trace_id = header_value(trace_id)
        extra = ""
        if invocation.client_context or invocation.cognito_identity or invocation.tenant_id:
            extra = self._extra(invocation)
        if trace_id:
            extra = f"Lambda-Runtime-Trace-Id: {trace_id}\r\n{extra}"
        if attempt:
            extra = f"Lambda-Runtime-Invocation-Id: {attempt}\r\n{extra}"
        return (
            f"{self._static}{request_id}\r\nLambda-Runtime-Deadline-Ms: {invocation.deadline_ms}\r\n{extra}"
            f"Content-Length: {len(invocation.payload)}\r\n\r\n"
        ).encode()

    def _prepare(self, arn: str, content_type: str) -> None:
        self._arn, self._content_type = arn, content_type
        arn_line = f"Lambda-Runtime-Invoked-Function-Arn: {header_value(arn)}\r\n" if arn else ""
        self._static = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {header_value(content_type) or 'application/json'}\r\n{arn_line}"
            "Lambda-Runtime-Aws-Request-Id: "
        )

    @staticmethod
    def _extra(invocation: Invocation) -> str:
        lines = ""
        if invocation.client_context:
            lines += f"Lambda-Runtime-Client-Context: {header_value(invocation.client_context)}\r\n"
        if invocation.cognito_identity:
            lines += f"Lambda-Runtime-Cognito-Identity: {header_value(invocation.cognito_identity)}\r\n"
        if invocation.tenant_id:
            lines += f"Lambda-Runtime-Aws-Tenant-Id: {header_value(invocation.tenant_id)}\r\n"
        return lines
