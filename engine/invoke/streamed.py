"""InvokeWithResponseStream: what its caller is sent, and when (facts §6.3).

The head goes out when the function begins to stream, or has answered in one piece; a refusal before that is an error
like any of Invoke's. Each piece is one ``PayloadChunk`` frame, in the same call stack in which it was read from the
runtime. The last frame is ``InvokeComplete``: empty when all went well; else ``ErrorCode`` is ``Unhandled``, as in
Invoke's X-Amz-Function-Error, and ``ErrorDetails`` the error's JSON. With LogType=Tail it has the log, too, and comes
when the invocation has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from engine.invoke.eventstream import CONTENT_TYPE, encode, event_headers
from engine.invoke.frontend import error_bytes, log_result
from engine.lifecycle.streaming import ResponseStream
from engine.model.invocation import Invocation

if TYPE_CHECKING:
    from engine.invoke.front import FrontConnection

_CHUNK: Final = event_headers("PayloadChunk", "application/octet-stream")
_COMPLETE: Final = event_headers("InvokeComplete", "application/json")


def piece_frame(data: bytes) -> bytes:
    """The frame of one piece."""
    return encode(_CHUNK, data)


def ending(invocation: Invocation) -> bytes:
    """The last frames, while the reply of `invocation` is being delivered.

    The first of them has the whole response when it was not streamed.
    """
    complete: dict[str, str] = {}
    outcome = invocation.outcome or b""
    first = b""
    if invocation.function_error is not None:
        complete["ErrorCode"] = invocation.function_error
        complete["ErrorDetails"] = outcome.decode("utf-8", "replace")
    elif outcome:
        first = piece_frame(outcome)
    if invocation.tail:
        complete["LogResult"] = log_result(invocation)
    return first + encode(_COMPLETE, msgspec.json.encode(complete))


def stream_headers(invocation: Invocation, content_type: bytes) -> dict[str, str]:
    """The headers of an answer, framing aside.

    Content-Type belongs to the frames; the function's own travels as AWS's front end renames what it may not pass on.
    """
    headers = {
        "Content-Type": CONTENT_TYPE,
        "X-Amz-Executed-Version": invocation.route.function.version,
        "x-amzn-RequestId": invocation.request_id,
        "X-Amzn-Trace-Id": invocation.trace_id,
    }
    if content_type:
        headers["x-amzn-Remapped-Content-Type"] = content_type.decode("latin-1")
    return headers


def stream_head(invocation: Invocation, content_type: bytes) -> bytes:
    """The same as bytes: status line and headers."""
    lines = [f"{name}: {value}\r\n" for name, value in stream_headers(invocation, content_type).items()]
    return "".join(["HTTP/1.1 200 OK\r\n", *lines]).encode("latin-1")


class FrontStream(ResponseStream):
    """A response to a caller on the fast path: each piece is one write, from within the read that brought it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: FrontConnection) -> None:
        super().__init__()
        self._connection: FrontConnection | None = connection

    def open(self, invocation: Invocation) -> None:
        """The head."""
        assert self._connection is not None
        self._connection.begin_answer(stream_head(invocation, self.content_type))

    def send(self, data: bytes) -> None:
        """A frame."""
        assert self._connection is not None
        self._connection.answer_piece(piece_frame(data))

    def finish(self, invocation: Invocation) -> None:
        """The last frames, or a refusal. Does nothing when the caller is gone."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.stream = None
        if invocation.error is not None:
            connection.respond_parts(*error_bytes(invocation.error, invocation.request_id))
        elif self.begun:
            connection.end_answer(ending(invocation))
        else:
            body = ending(invocation)
            head = stream_head(invocation, self.content_type) + b"Content-Length: %d\r\n\r\n" % len(body)
            connection.respond_parts(head, body)

    def gone(self) -> None:
        """The caller hung up."""
        super().gone()
        self._connection = None
