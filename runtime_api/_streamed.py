"""A response on its way from the runtime to its caller, piece by piece.

A runtime streams when it says so (``Lambda-Runtime-Function-Response-Mode: streaming``), or when its response has the
content type of an HTTP integration: AWS's client for Go never sends the header (facts §1.8, §1.9). Whether the pieces
are wanted is the host's decision, made when the head is complete: a caller who waits for the whole has the response
collected like any other.

The state table knows the time between the head and the end as InvocationResponse. Nothing is legal in it: a runtime
that asks for `next`, or answers again, before its stream is complete is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from ._errors import error_body, scrub_error_type
from ._events import Invocation, RuntimeFault
from ._headers import ERROR_BODY, ERROR_TYPE, RESPONSE_MODE
from ._held import Held
from ._limits import MAX_STRAY_BODY
from ._replies import ACCEPTED, INTERNAL, INVALID_ID
from ._runtime import Event
from .http import HttpConnection, render

if TYPE_CHECKING:
    from .server import RuntimeServer

__all__ = ["HTTP_INTEGRATION", "BodySource", "StreamedConnection", "failure_in", "is_streamed"]

HTTP_INTEGRATION: Final = b"application/vnd.awslambda.http-integration-response"
"""Content type of a response that begins with a prelude: status, headers and cookies for an HTTP client, as JSON."""

OCTETS: Final = b"application/octet-stream"
"""Content type of a streamed response that names none (facts §1.8)."""


class BodySource(Protocol):
    """Where the pieces of one response come from, as whoever takes them sees it."""

    def pause(self) -> None:
        """Send no more for now: in the end the function waits in `write`. A few pieces may still come. Idempotent."""
        ...

    def resume(self) -> None:
        """Go on. Idempotent, and without effect once the response is over."""
        ...


def is_streamed(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the head of a response announces a stream."""
    mode = headers.get(RESPONSE_MODE)
    if mode:
        return mode == b"streaming"
    return headers.get(b"content-type", b"").startswith(HTTP_INTEGRATION)


def failure_in(trailers: Mapping[bytes, bytes]) -> tuple[bytes, str] | None:
    """The error that a function reported behind its last byte: its body for the caller, its type for telemetry."""
    given = trailers.get(ERROR_TYPE)
    if not given:
        return None
    error_type = scrub_error_type(given.decode("latin-1"))
    try:
        body = base64.b64decode(trailers.get(ERROR_BODY, b""), validate=True)
    except binascii.Error:
        body = b""
    return body or error_body(error_type, ""), error_type


class StreamedResponse:
    """One response that goes on in pieces; also their `BodySource`.

    Attributes:
        invocation: what it answers.
        size: bytes that came so far, those past the limit included.
    """

    __slots__ = ("_connection", "invocation", "size")

    def __init__(self, connection: StreamedConnection, invocation: Invocation) -> None:
        self._connection: StreamedConnection | None = connection
        self.invocation = invocation
        self.size = 0

    def pause(self) -> None:
        """See `BodySource`."""
        if self._connection is not None:
            self._connection.pause_body()

    def resume(self) -> None:
        """See `BodySource`."""
        if self._connection is not None:
            self._connection.resume_body()

    def close(self) -> None:
        """No more comes. Its connection may soon carry another response, which is not this one's to pause."""
        self._connection = None


class StreamedConnection(HttpConnection):
    """The part of a runtime's connection that knows responses in pieces."""

    __slots__ = ("_api", "_stream")

    takes_pieces: ClassVar[bool] = True

    _api: RuntimeServer

    def __init__(self, held: Held) -> None:
        super().__init__(held)
        self._stream: StreamedResponse | None = None

    def answered_verb(self) -> bytes:
        """``response`` or ``error`` when this request is that answer to the current invocation, else ``b""``."""
        raise NotImplementedError

    def body_begins(self) -> bool:
        """The head of a request came. If it is that of a stream, and its caller wants one, it begins here.

        Whatever is wrong with the request is told when it is whole, as always.
        """
        if not is_streamed(self.headers):
            return False
        self._memo_size = -1  # not to be known by sight: the next caller may want what this one does not
        api = self._api
        invocation = api.current
        if invocation is None or self.answered_verb() != b"response" or not api.machine.may(Event.RESPONSE):
            return False
        stream = StreamedResponse(self, invocation)
        try:
            wanted = api.host.runtime_stream(invocation, self.headers.get(b"content-type") or OCTETS, stream)
        except Exception as error:  # noqa: BLE001 - see RuntimeServer._report
            api._report(error)
            return False
        if wanted:
            api.machine.fire(Event.RESPONSE)
            self._stream = stream
        return wanted

    def body_piece(self, data: bytes) -> bool:
        """Pass it on, up to the limit. What is past it is thrown away, so that the runtime lives to hear of it."""
        stream = self._stream
        assert stream is not None
        room = self._api.max_stream - stream.size
        stream.size += len(data)
        if room > 0:
            try:
                self._api.host.runtime_piece(stream.invocation, data if len(data) <= room else data[:room])
            except Exception as error:  # noqa: BLE001 - see RuntimeServer._report
                self._api._report(error)
        return stream.size <= self._api.max_stream + MAX_STRAY_BODY

    def stream_received(self, stream: StreamedResponse) -> None:
        """The stream came to its end."""
        api, invocation = self._api, stream.invocation
        if not self._over(stream):
            self.respond(INVALID_ID)
            return
        failure = failure_in(self.trailers)
        reply = ACCEPTED
        try:
            if stream.size > api.max_stream:
                text = f"xceeded maximum allowed payload size ({api.max_stream} bytes)."
                reply = render(413, error_body("RequestEntityTooLarge", f"E{text}"))
                fault = RuntimeFault("Function.ResponseSizeTooLarge", f"Response payload size e{text}")
                api.host.runtime_fault(invocation, fault)
            elif failure is not None:
                api.host.runtime_error(invocation, *failure, None)
            else:
                api.host.runtime_streamed(invocation)
        except Exception as error:  # noqa: BLE001 - see RuntimeServer._report
            api._report(error)
            reply = INTERNAL
        self.respond(reply)

    def stream_aborted(self, stream: StreamedResponse) -> None:
        """The stream broke off."""
        api = self._api
        if self._over(stream):
            try:
                api.host.runtime_fault(stream.invocation, RuntimeFault("Runtime.TruncatedResponse"))
            except Exception as error:  # noqa: BLE001 - see RuntimeServer._report
                api._report(error)

    def _over(self, stream: StreamedResponse) -> bool:
        """Nothing more comes of it. False when the invocation was given up meanwhile, so that nobody is to be told."""
        api = self._api
        stream.close()
        if api.current is not stream.invocation or not api.machine.may(Event.SENT):
            return False
        api.machine.fire(Event.SENT)
        return True
