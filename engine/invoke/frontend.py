"""Reading an Invoke request and rendering its reply (facts §6.1, 6.4, 6.5): one implementation for every way in."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from engine.dispatch.dispatcher import Dispatcher
from engine.dispatch.routes import Route
from engine.errors import (
    AwsError,
    InvalidParameterValueException,
    InvalidRequestContentException,
    NotImplementedException,
    RequestTooLargeException,
    ValidationException,
)
from engine.ids import IdSource
from engine.lifecycle.streaming import ResponseStream
from engine.model.invocation import Invocation
from engine.model.limits import MAX_CLIENT_CONTEXT_B64, MAX_PAYLOAD
from engine.telemetry import logs, tracing

INVOKE_PATH: Final = re.compile(r"/2015-03-31/functions/([^/?]+)/invocations/?(?:\?(.*))?")
STREAM_PATH: Final = re.compile(r"/2021-11-15/functions/([^/?]+)/response-streaming-invocations/?(?:\?(.*))?")

_check_json = msgspec.json.Decoder(msgspec.Raw).decode
_MAX_ROUTES = 65_536


class Frontend:
    """Turns Invoke requests into invocations and outcomes into replies.

    `resolve` maps (FunctionName as the caller wrote it, qualifier or None) to a route, and raises an `AwsError` when
    there is none; the routes it finds are remembered by request target until `forget` is called.
    """

    __slots__ = ("_resolve", "_streams", "_targets", "dispatcher", "ids", "refresh")

    def __init__(
        self,
        dispatcher: Dispatcher,
        resolve: Callable[[str, str | None], Route],
        refresh: Callable[[Invocation], None],
    ) -> None:
        """Make a frontend; `refresh` is called instead of `Dispatcher.submit` for functions with hot reload."""
        self.dispatcher = dispatcher
        self.ids = IdSource()
        self._resolve = resolve
        self.refresh = refresh
        self._targets: dict[bytes, Route] = {}  # of Invoke
        self._streams: dict[bytes, Route] = {}  # of InvokeWithResponseStream

    def forget(self) -> None:
        """A function changed: resolve every target anew."""
        self._targets.clear()
        self._streams.clear()

    def route(self, target: bytes) -> Route | None:
        """The route of an Invoke request's target; None when the target is not Invoke at all.

        Raises:
            AwsError: there is no such function or qualifier, or the name is malformed.
        """
        route = self._targets.get(target)
        if route is not None:
            return route
        match = INVOKE_PATH.fullmatch(target.decode("latin-1"))
        return None if match is None else self._remembered(self._targets, target, match)

    def stream_route(self, target: bytes) -> Route | None:
        """The route of an InvokeWithResponseStream request's target; None when it is something else.

        Raises:
            AwsError: as `route`.
        """
        route = self._streams.get(target)
        if route is not None:
            return route
        match = STREAM_PATH.fullmatch(target.decode("latin-1"))
        return None if match is None else self._remembered(self._streams, target, match)

    def _remembered(self, routes: dict[bytes, Route], target: bytes, match: re.Match[str]) -> Route:
        qualifier = dict(parse_qsl(match[2] or "", keep_blank_values=True)).get("Qualifier")
        route = self._resolve(unquote(match[1]), qualifier)
        if len(routes) >= _MAX_ROUTES:
            routes.clear()
        routes[target] = route
        return route

    def prepare(
        self,
        route: Route,
        headers: Mapping[bytes, bytes],
        body: bytes,
        reply: Callable[[Invocation], None],
    ) -> Invocation | None:
        """Make the invocation that a request asks for; None when it was a DryRun that would be permitted.

        Args:
            route: which function.
            headers: lower-case names.
            body: the payload.
            reply: called once with the invocation when its outcome is known.

        Raises:
            AwsError: the request is refused.
        """
        received = time.monotonic()
        if len(body) > MAX_PAYLOAD:
            raise too_large()
        if body:
            try:
                _check_json(body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidRequestContentException(
                    "Could not parse request body into json: Could not parse payload into json: "
                    + _jackson(body, str(error))
                ) from None
        else:
            body = b"{}"
        kind = headers.get(b"x-amz-invocation-type")
        if kind is not None and kind != b"RequestResponse" and self._other_kind(kind):
            return None
        ids = self.ids
        trace = headers.get(b"x-amzn-trace-id")
        invocation = Invocation(
            route,
            ids.request_id(),
            ids.token(),
            body,
            reply,
            received,
            trace_id=ids.trace_id()
            if not trace and route.sampler is None
            else tracing.header(trace, route.sampler, ids),
        )
        if b"x-amz-log-type" in headers:
            invocation.tail = _log_type(headers[b"x-amz-log-type"])
        if b"x-amz-client-context" in headers:
            invocation.client_context = _client_context(headers[b"x-amz-client-context"])
        if b"x-amz-tenant-id" in headers:
            raise InvalidParameterValueException(
                "The function isn't configured with tenancy configuration to use tenant isolation. "
                "Remove the tenant ID from the request and try again."
            )
        if b"x-amz-durable-execution-name" in headers:
            raise InvalidParameterValueException("The function isn't configured for durable execution")
        return invocation

    def prepare_stream(
        self, route: Route, headers: Mapping[bytes, bytes], body: bytes, stream: ResponseStream
    ) -> Invocation | None:
        """As `prepare`, for InvokeWithResponseStream: the response goes to `stream`.

        Raises:
            AwsError: the request is refused.
        """
        kind = headers.get(b"x-amz-invocation-type")
        if kind is not None and kind not in {b"RequestResponse", b"DryRun"}:
            raise _not_a_kind(kind, "[RequestResponse, DryRun]")
        invocation = self.prepare(route, headers, body, stream.end)
        if invocation is not None:
            invocation.stream = stream
        return invocation

    def submit(self, invocation: Invocation) -> None:
        """Send it on its way; `reply` follows."""
        if invocation.route.live:
            self.refresh(invocation)
        else:
            self.dispatcher.submit(invocation)

    @staticmethod
    def _other_kind(kind: bytes) -> bool:
        """True for DryRun; raises for what is not there."""
        if kind == b"DryRun":
            return True
        if kind == b"Event":
            raise NotImplementedException(
                "Invoke with InvocationType Event is not available in this version of Lambent; use RequestResponse."
            )
        raise _not_a_kind(kind, "[Event, RequestResponse, DryRun]")


def reply_bytes(invocation: Invocation) -> tuple[bytes, bytes]:
    """The whole HTTP reply of the fast path: head and body."""
    error = invocation.error
    if error is not None:
        return error_bytes(error, invocation.request_id)
    body = invocation.outcome or b""
    extra = ""
    if invocation.function_error is not None:
        extra = f"X-Amz-Function-Error: {invocation.function_error}\r\n"
    if invocation.tail:
        extra += f"X-Amz-Log-Result: {log_result(invocation)}\r\n"
    head = (
        f"x-amzn-RequestId: {invocation.request_id}\r\nX-Amzn-Trace-Id: {invocation.trace_id}\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return invocation.route.head + head.encode("latin-1"), body


def reply_headers(invocation: Invocation) -> dict[str, str]:
    """The same reply's headers, for aiohttp; a test holds the two together."""
    headers = {
        "Content-Type": "application/json",
        "x-amzn-Remapped-Content-Length": "0",
        "X-Amz-Executed-Version": invocation.route.function.version,
        "x-amzn-RequestId": invocation.request_id,
        "X-Amzn-Trace-Id": invocation.trace_id,
    }
    if invocation.function_error is not None:
        headers["X-Amz-Function-Error"] = invocation.function_error
    if invocation.tail:
        headers["X-Amz-Log-Result"] = log_result(invocation)
    return headers


def error_bytes(error: AwsError, request_id: str) -> tuple[bytes, bytes]:
    """An AWS error as a whole HTTP reply."""
    body = msgspec.json.encode(error.body())
    lines = [
        f"HTTP/1.1 {error.status} {_REASONS.get(error.status, 'Error')}",
        "Content-Type: application/json",
        f"x-amzn-RequestId: {request_id}",
        f"x-amzn-ErrorType: {error.code}",
        *(f"{name}: {value}" for name, value in error.headers().items()),
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body


_REASONS: Final = {
    400: "Bad Request", 404: "Not Found", 409: "Conflict", 413: "Content Too Large", 415: "Unsupported Media Type",
    429: "Too Many Requests", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable",
}  # fmt: skip


def dry_run_bytes(request_id: str) -> bytes:
    """The 204 of a DryRun."""
    return f"HTTP/1.1 204 No Content\r\nx-amzn-RequestId: {request_id}\r\n\r\n".encode()


def too_large() -> AwsError:
    """The 413 of Invoke, in AWS's words."""
    return RequestTooLargeException(
        f"Request must be smaller than {MAX_PAYLOAD} bytes for the InvokeFunction operation"
    )


def log_result(invocation: Invocation) -> str:
    """X-Amz-Log-Result: base64 of the log's last 4 KB."""
    return base64.b64encode(logs.tail(invocation)).decode()


def _not_a_kind(kind: bytes, kinds: str) -> AwsError:
    return ValidationException(
        f"1 validation error detected: Value '{_printable(kind)}' at 'invocationType' failed to satisfy "
        f"constraint: Member must satisfy enum value set: {kinds}"
    )


def _log_type(value: bytes) -> bool:
    if value == b"Tail":
        return True
    if value == b"None":
        return False
    raise ValidationException(
        f"1 validation error detected: Value '{_printable(value)}' at 'logType' failed to satisfy constraint: "
        "Member must satisfy enum value set: [None, Tail]"
    )


def _client_context(value: bytes) -> str:
    if len(value) > MAX_CLIENT_CONTEXT_B64:
        raise InvalidRequestContentException(
            f"Client context must be no more than {MAX_CLIENT_CONTEXT_B64} bytes; got {len(value)}"
        )
    try:
        text = base64.b64decode(value, validate=True)
        _check_json(text)
        decoded = text.decode()
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestContentException(
            f"Client context must be a valid Base64-encoded JSON object: {error}"
        ) from None
    # It travels to the runtime in one header line: line breaks between JSON tokens mean nothing and are dropped.
    return decoded.replace("\r", "").replace("\n", "")


def _printable(value: bytes) -> str:
    """A header value that may be put into another header: no line breaks, whatever the parser let through."""
    return value.decode("latin-1").replace("\r", " ").replace("\n", " ")


def _jackson(body: bytes, reason: str) -> str:
    """The cause in the manner of the JSON parser that AWS uses; its exact texts depend on the parser's version."""
    text = body[:64].decode("utf-8", "replace")
    first = text.lstrip()
    token = re.match(r"[A-Za-z_$][\w$]*", first)
    if token is not None and token[0] not in {"true", "false", "null"}:
        column = len(text) - len(first) + len(token[0]) + 1
        return (
            f"Unrecognized token '{token[0]}': was expecting (JSON String, Number, Array, Object or token 'null', "
            f"'true' or 'false')\n at [Source: (byte[])\"{text}\"; line: 1, column: {column}]"
        )
    return f'{reason}\n at [Source: (byte[])"{text}"; line: 1, column: 1]'
