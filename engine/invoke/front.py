"""The engine's port: Invoke on a protocol of our own, everything else on aiohttp's (design: one port for both).

A connection begins here. As long as its requests are Invoke, whole or streamed, they are served without a task or a
future. A request that is something else hands the connection, transport and bytes, to aiohttp's own protocol, and the
next Invoke takes it back (`lent`). aiohttp serves both as well, through the same `Frontend`, in case that it is not
done with what came before.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import ClassVar, Final

from aiohttp import web

from engine.errors import AwsError, EngineClosedError, RequestEntityTooLargeException, ServiceException
from engine.invoke.frontend import Frontend, dry_run_bytes, error_bytes, reply_bytes, too_large
from engine.invoke.lent import LentConnection
from engine.invoke.streamed import FrontStream
from engine.model.invocation import Invocation
from runtime_api import StreamingConnection

_is_invoke: Final = re.compile(
    rb"POST /(?:2015-03-31/functions/[^/ ]+/invocations|2021-11-15/functions/[^/ ]+/response-streaming-invocations)"
).match
_is_other: Final = re.compile(rb"[A-Z]{3,16} [^\r\n]*(?:\r\n|.{1024})", re.DOTALL).match


class FrontConnection(StreamingConnection):
    """One client's connection, while it sends Invoke requests.

    Attributes:
        stream: the response that is going out, or is waited for, in pieces.
    """

    __slots__ = ("_frontend", "_other", "_owner", "stream")

    MAX_HEAD: ClassVar[int] = 1 << 20
    """AWS allows 1 MB of request line and headers (facts §5.3)."""

    def __init__(
        self, frontend: Frontend, other: Callable[[], web.RequestHandler], owner: set[FrontConnection]
    ) -> None:
        """Make a connection; `other` makes aiohttp's protocol; `owner` is the set of open connections."""
        super().__init__()
        self._frontend = frontend
        self._other = other
        self._owner = owner
        self.stream: FrontStream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._owner.add(self)

    def closed(self) -> None:
        """The client is gone; an invocation of its goes on (facts §1.8), its reply goes nowhere."""
        self._owner.discard(self)
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.gone()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        if self.stream is not None:
            self.stream.slow()

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self.stream is not None:
            self.stream.quick()

    def data_received(self, data: bytes) -> None:
        """Bytes: ours, or the beginning of something for aiohttp."""
        if _is_invoke(data) is None and self.between and _is_other(data) is not None:
            self._pass_on(data)
        else:  # also a first line that is not complete yet (`request_received` looks again), and what is not HTTP
            super().data_received(data)

    def request_received(self) -> None:
        """A whole request."""
        frontend = self._frontend
        try:
            route = frontend.route(self.target)
            if route is None or self.method != b"POST":
                self._other_request()
                return
            if self.body_overflow:
                raise too_large()
            invocation = frontend.prepare(route, self.headers, self.body, self._replied)
            if invocation is None:
                self.respond(dry_run_bytes(frontend.ids.request_id()))
                return
            frontend.submit(invocation)
        except AwsError as error:
            self._refused(error)
        except EngineClosedError as error:
            self._refused(ServiceException(str(error)))

    def _other_request(self) -> None:
        """Invoke in pieces; all else is aiohttp's."""
        frontend = self._frontend
        route = frontend.stream_route(self.target) if self.method == b"POST" else None
        if route is None:
            # Not now but next: what came behind this request is put by when this call returns.
            asyncio.get_running_loop().call_soon(self._pass_on_request)
            return
        if self.body_overflow:
            raise too_large()
        stream = FrontStream(self)
        invocation = frontend.prepare_stream(route, self.headers, self.body, stream)
        if invocation is None:
            self.respond(dry_run_bytes(frontend.ids.request_id()))
            return
        self.stream = stream
        try:
            frontend.submit(invocation)
        except EngineClosedError:
            self.stream = None
            raise

    def _replied(self, invocation: Invocation) -> None:
        head, body = reply_bytes(invocation)
        self.respond_parts(head, body)

    def _refused(self, error: AwsError) -> None:
        head, body = error_bytes(error, self._frontend.ids.request_id())
        self.respond(head + body)

    def refusal(self, status: int, error_type: str, message: str) -> bytes:
        """What is not HTTP is answered in AWS's shape."""
        error = RequestEntityTooLargeException(message) if status in {413, 431} else _Malformed(message)
        error.status = status  # type: ignore[misc]  # an instance may say 431 or 501 where its class says 400
        head, body = error_bytes(error, self._frontend.ids.request_id())
        return head + body

    # ---- handing over to aiohttp -----------------------------------------------------------------------------------

    def _pass_on_request(self) -> None:
        """A request that came behind an Invoke and was parsed here: written out again for aiohttp, as it was."""
        if not self.waiting:
            return  # the client hung up meanwhile
        if self.body_overflow:
            self._refused(
                RequestEntityTooLargeException(f"Request must be smaller than {self.max_body} bytes on this connection")
            )
            return
        lines = [b"%s %s HTTP/1.1" % (self.method, self.target)]
        for name, value in self.headers.items():
            if name not in {b"content-length", b"transfer-encoding", b"expect", b"connection"}:
                lines.append(name + b": " + value)
        lines.append(b"content-length: %d" % len(self.body))
        if not self.keep_alive:
            lines.append(b"connection: close")
        self._pass_on(b"\r\n".join(lines) + b"\r\n\r\n" + self.body + self.detach())

    def _pass_on(self, data: bytes) -> None:
        self._owner.discard(self)
        self.detach()
        lent = LentConnection(self.transport, self._other(), _is_invoke, self._successor)
        self.transport.set_protocol(lent)
        lent.data_received(data)

    def _successor(self) -> FrontConnection:
        return FrontConnection(self._frontend, self._other, self._owner)


class _Malformed(AwsError):
    """400: not an HTTP request."""

    code, status = "BadRequestException", 400
