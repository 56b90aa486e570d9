"""The Runtime API of one environment: the shell that moves bytes between its runtime process and the state table.

`RuntimeServer` serves the environment's listening socket. It owns the `Runtime` state, the parked polls, and the
current invocation; everything else (time limits, processes, callers) is its host's business. The host is called
synchronously, on the loop, in the call stack of the read that caused it, and calls back the same way: a warm invocation
is `deliver()` -> one write, and one read -> `runtime_response()` -> one write. No task, no future, no queue.

The way of a request: http.py makes it whole; `RuntimeConnection` finds its route; ids are compared (400), then the
state table is asked (403), then the body is judged (413), and only then the host hears of it.

Two heads are recognised without parsing, as http.py explains, and here per environment, so that clients which connect
anew for each request profit too: the last `next` head, whole, and the predicted head of the answer (`_shape.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable
from urllib.parse import unquote_to_bytes

from ._cause import CAUSE_CONTENT_TYPE, split_cause, validated_cause
from ._credentials import CREDENTIALS_PATH, Credentials
from ._errors import TOO_LARGE_MESSAGE, TransitionRefused, error_body, scrub_error_type
from ._events import Invocation, RuntimeFault
from ._headers import ERROR_TYPE, INVOCATION_ID, RESPONSE_MODE, XRAY_CAUSE, NextHead
from ._held import Held
from ._limits import API_VERSION, MAX_CONNECTIONS, MAX_POLLS, MAX_STREAM
from ._replies import ACCEPTED, INTERNAL, INVALID_ID, INVALID_MODE, PONG, RESTORED, TOO_LARGE
from ._runtime import Event, Runtime, State
from ._shape import AnswerShape
from ._streamed import BodySource, StreamedConnection, failure_in
from .extensions import ROUTES as EXTENSION_ROUTES
from .extensions import ExtensionsApi
from .http import BLANK_LINE, BUSY, IDLE, LENGTH, render

__all__ = ["RestoreHost", "RuntimeHost", "RuntimeServer"]

_ROOT: Final = f"/{API_VERSION}".encode()
_INVOCATION: Final = _ROOT + b"/runtime/invocation/"
_NEVER: Final = b"\0"
"""No request starts like this."""

# Members of an IntEnum are found through a descriptor, in Python 3.11 at 0.1 us each; these are used for every message.
_NEXT_EVENT: Final = Event.NEXT
_RESPONSE: Final = Event.RESPONSE
_SENT: Final = Event.SENT
_DELIVER: Final = Event.DELIVER
_READY: Final = State.READY
_RUNNING: Final = State.RUNNING
_LARGE: Final = 65536


class RuntimeHost(Protocol):
    """The environment behind a `RuntimeServer`. Called on the loop; must not raise (500 to the runtime if it does)."""

    def runtime_next(self) -> None:
        """A `next` was accepted and waits: Init is over (the first time), or the invocation is. May `deliver`."""
        ...

    def runtime_response(self, invocation: Invocation, body: bytes, content_type: bytes) -> None:
        """The function's result. `content_type` is ``b""`` when the runtime sent none."""
        ...

    def runtime_stream(self, invocation: Invocation, content_type: bytes, source: BodySource) -> bool:
        """The function begins to stream its result.

        True: it is to come in pieces (`runtime_piece`), and end with `runtime_streamed`, `runtime_error` (the function
        failed after its first byte) or `runtime_fault` (it broke off, or grew too long). False: it is collected, and
        comes as a whole to `runtime_response`.
        """
        ...

    def runtime_piece(self, invocation: Invocation, data: bytes) -> None:
        """The next bytes of a streamed result; at least one."""
        ...

    def runtime_streamed(self, invocation: Invocation) -> None:
        """A streamed result is complete."""
        ...

    def runtime_error(self, invocation: Invocation, body: bytes, error_type: str, xray_cause: bytes | None) -> None:
        """The function's error: `body` is for the caller, byte for byte; `error_type` is scrubbed for telemetry."""
        ...

    def runtime_init_error(self, body: bytes, error_type: str) -> None:
        """Init failed; the process is expected to exit."""
        ...

    def runtime_fault(self, invocation: Invocation, fault: RuntimeFault) -> None:
        """The runtime's answer cannot be used. The runtime lives on and will ask for `next`, if it is alive."""
        ...


@runtime_checkable
class RestoreHost(Protocol):
    """What a host of `RuntimeServer(restore=True)` has beside `RuntimeHost`."""

    def runtime_restore_next(self) -> None:
        """The runtime is ready for its snapshot, and waits for `RuntimeServer.restored`."""
        ...

    def runtime_restore_error(self, body: bytes, error_type: str) -> None:
        """A restore hook failed."""
        ...


class RuntimeServer:
    """The Runtime API endpoint of one environment.

    Args:
        host: hears what the runtime did.
        restore: mount the ``restore/*`` routes (SnapStart). The host is a `RestoreHost`, too, then.
        max_stream: bytes of a streamed response that are passed on; a longer one fails.

    Attributes:
        machine: the runtime's state.
        current: the invocation delivered last, until the next one or `reset`; None before the first.
        on_idle: called when no connection is left from which bytes may come (see `connections`).
        max_connections: more than so many at a time are not accepted.
        held: the account of what its connections have sent of messages that are not whole.
        admit: asked about the socket of each accepted connection; one that it says no to is closed without a word.
        tells_extensions: whether extensions may ask to be told of invocations.
        credentials: what the credentials endpoint of SnapStart gives; None: it is not there.
        extensions: the environment's; None until the first one is expected or registers, and after `reset`.
    """

    __slots__ = (
        "_next_head",
        "_next_memo",
        "_open",
        "_polls",
        "_restore",
        "_server",
        "_shape",
        "_sock",
        "admit",
        "credentials",
        "current",
        "extensions",
        "held",
        "host",
        "machine",
        "max_stream",
        "on_idle",
    )  # fmt: skip

    max_connections = MAX_CONNECTIONS
    tells_extensions = True

    def __init__(self, host: RuntimeHost, *, restore: bool = False, max_stream: int = MAX_STREAM) -> None:
        self.host = host
        self.max_stream = max_stream
        self.machine = Runtime()
        self.held = Held()
        self.current: Invocation | None = None
        self.on_idle: Callable[[], None] | None = None
        self.admit: Callable[[socket.socket], bool] | None = None
        self.extensions: ExtensionsApi | None = None
        self.credentials: Credentials | None = None
        self._restore = restore
        self._polls: list[RuntimeConnection] = []
        self._open: set[RuntimeConnection] = set()
        self._server: asyncio.Server | None = None
        self._sock: socket.socket | None = None
        self._next_head = NextHead()
        self._next_memo = _NEVER
        self._shape = AnswerShape()

    # ---- for the engine ------------------------------------------------------------------------------------------

    async def listen(self, sock: socket.socket) -> None:
        """Serve on `sock`, which is bound and listening, and stays the caller's (a duplicate is used)."""
        if self._server is not None:
            raise RuntimeError("this RuntimeServer is listening already")
        own = sock.dup()
        own.setblocking(False)
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if own.family == socket.AF_UNIX else loop.create_server
        try:
            self._server = await create(self._connect, sock=own)
        except BaseException:
            own.close()
            raise
        self._sock = own

    def _connect(self) -> RuntimeConnection:
        return RuntimeConnection(self)

    def deliver(self, invocation: Invocation) -> None:
        """Hand `invocation` to the runtime: answers every parked poll, before this returns.

        When the poll is gone meanwhile, the invocation waits for the runtime to ask again.

        Raises:
            TransitionRefused: the runtime is not Ready; nothing was changed.
        """
        self.machine.fire(_DELIVER)
        self.current = invocation
        self._shape.expect(invocation.request_id, invocation.invocation_id)
        polls = self._polls
        if len(polls) == 1:
            poll = polls.pop()
            payload = invocation.payload
            if poll._special or len(payload) >= _LARGE:
                poll.respond_parts(self._next_head.render(invocation), payload)
            else:
                poll._state = IDLE  # respond(), inlined
                poll.transport.write(self._next_head.render(invocation) + payload)
        elif polls:
            head = self._next_head.render(invocation)
            self._polls = []
            for poll in polls:
                poll.respond_parts(head, invocation.payload)

    def restored(self) -> None:
        """The snapshot was resumed: answers the parked ``restore/next``.

        Raises:
            TransitionRefused: the runtime is not RestoreReady.
        """
        self.machine.fire(Event.RESTORE)
        polls, self._polls = self._polls, []
        for poll in polls:
            poll.respond(RESTORED)

    def resumed(self) -> None:
        """The runtime is a copy of one that was parked elsewhere: it goes on as after `restored`, without having asked.

        Raises:
            TransitionRefused: the runtime is not Started.
        """
        self.machine.fire(Event.RESTORE_NEXT)
        self.machine.fire(Event.RESTORE)

    def reset(self) -> None:
        """A new runtime process will come: back to Started. To be called when the old one is dead.

        Parked polls, open connections and connections not yet accepted are dropped, so that no late byte of the old
        process can count as the new one's.
        """
        self.machine.reset()
        self.current = None
        self.extensions = None
        self._shape.forget()
        self._polls.clear()
        for connection in tuple(self._open):
            connection.abort()
        if self._sock is not None and self._server is not None:
            with contextlib.suppress(OSError):  # BlockingIOError: the queue is empty
                while True:
                    self._sock.accept()[0].close()

    def connections(self) -> int:
        """How many connections may still bring bytes, those waiting to be accepted counted as one.

        After the process exited and this is 0, everything that it ever sent has been seen.
        """
        count = sum(connection.receiving for connection in self._open)
        if self._sock is not None and self._server is not None:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            count += bool(poll.poll(0))
        return count

    async def close(self) -> None:
        """Stop serving and drop every connection. The socket given to `listen` stays open. Idempotent."""
        server, self._server = self._server, None
        self._polls.clear()
        if server is not None:
            # asyncio makes a task of each accepted connection, which fails halfway if the server is closed before it
            # has run: so stop accepting first (uvloop has no reader to remove), and let what was accepted arrive.
            assert self._sock is not None
            asyncio.get_running_loop().remove_reader(self._sock)
            for _ in range(3):
                await asyncio.sleep(0)
            server.close()
        for connection in tuple(self._open):
            connection.abort()
        if server is not None:
            await server.wait_closed()
        while self._open:  # noqa: ASYNC110 - connection_lost of each aborted transport is due in the next turn
            await asyncio.sleep(0)
        self._sock = None

    # ---- for the connections -------------------------------------------------------------------------------------

    def poll(self, connection: RuntimeConnection) -> None:
        """`next` arrived."""
        machine = self.machine
        before = machine.state
        try:
            after = machine.fire(_NEXT_EVENT)
        except TransitionRefused as refused:
            connection.respond(_forbidden(refused))
            return
        if after == _RUNNING:
            current = self.current
            assert current is not None
            connection.respond_parts(self._next_head.render(current), current.payload)
            return
        if self._polls:
            self._tidy_polls()
        self._polls.append(connection)
        if before != _READY:
            try:
                self.host.runtime_next()
            except Exception as error:  # noqa: BLE001 - see _report
                self._report(error)

    def poll_restore(self, connection: RuntimeConnection) -> None:
        """`restore/next` arrived."""
        try:
            self.machine.fire(Event.RESTORE_NEXT)
        except TransitionRefused as refused:
            connection.respond(_forbidden(refused))
            return
        self._polls.append(connection)
        try:
            assert isinstance(self.host, RestoreHost)
            self.host.runtime_restore_next()
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)

    def answer(self, connection: RuntimeConnection, body: bytes, content_type: bytes) -> None:
        """A `response` for the current invocation arrived, whole."""
        invocation = self.current
        assert invocation is not None
        machine = self.machine
        try:
            machine.fire(_RESPONSE)
        except TransitionRefused as refused:
            connection.respond(_forbidden(refused))
            return
        machine.fire(_SENT)
        try:
            self.host.runtime_response(invocation, body, content_type)
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)
            connection.respond(INTERNAL)
        else:
            connection.respond(ACCEPTED)

    def answer_with(
        self, connection: RuntimeConnection, event: Event, reply: bytes, tell: Callable[[Invocation], None]
    ) -> None:
        """Any other answer for the current invocation: `tell` the host, then `reply`. Not the hot path."""
        invocation = self.current
        assert invocation is not None
        try:
            self.machine.fire(event)
        except TransitionRefused as refused:
            connection.respond(_forbidden(refused))
            return
        self.machine.fire(Event.SENT)
        try:
            tell(invocation)
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)
            reply = INTERNAL
        connection.respond(reply)

    def fail_init(
        self, connection: RuntimeConnection, event: Event, body: bytes, error_type: str, reply: bytes
    ) -> None:
        """`init/error` or `restore/error` arrived."""
        try:
            state = self.machine.fire(event)
        except TransitionRefused as refused:
            connection.respond(_forbidden(refused))
            return
        try:
            if state == State.RESTORE_ERROR:
                assert isinstance(self.host, RestoreHost)
                self.host.runtime_restore_error(body, error_type)
            else:
                self.host.runtime_init_error(body, error_type)
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)
            reply = INTERNAL
        connection.respond(reply)

    def truncated(self) -> None:
        """The answer to the current invocation broke off."""
        invocation = self.current
        if invocation is None or not self.machine.may(Event.RESPONSE):
            return
        self.machine.fire(Event.RESPONSE)
        self.machine.fire(Event.SENT)
        try:
            self.host.runtime_fault(invocation, RuntimeFault("Runtime.TruncatedResponse"))
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)

    def learn_next(self, head: bytes) -> None:
        """`head` is a complete `next` request without a body, on a connection that is kept."""
        self._next_memo = head

    def learn_answer(self, head: bytes, content_type: bytes) -> None:
        """`head` is that of a `response` to the current invocation, with Content-Length, with nothing special in it."""
        self._shape.learn(head, content_type)

    def opened(self, connection: RuntimeConnection) -> None:
        """A connection was accepted; it is aborted when it may not be here."""
        admit = self.admit
        if len(self._open) >= self.max_connections or (
            admit is not None and not admit(connection.transport.get_extra_info("socket"))
        ):
            connection.abort()
            return
        self._open.add(connection)

    def ended(self, connection: RuntimeConnection, *, gone: bool) -> None:
        """No more bytes will come from this connection; `gone`: nor can it be written to."""
        if gone:
            self._open.discard(connection)
            if connection in self._polls:
                self._polls.remove(connection)
        if self.on_idle is not None and self._server is not None and not self.connections():
            self.on_idle()

    def _tidy_polls(self) -> None:
        """Another poll joins. Half-closed ones are most likely dead (a client that gave up); bound the rest."""
        for poll in [poll for poll in self._polls if not poll.receiving]:
            self._polls.remove(poll)
            poll.abort()
        if len(self._polls) >= MAX_POLLS:
            self._polls.pop(0).abort()

    @staticmethod
    def _report(error: Exception) -> None:
        """The host raised, which is a bug of the host; the runtime is answered all the same."""
        asyncio.get_running_loop().call_exception_handler(
            {"message": "the host of a RuntimeServer raised", "exception": error}
        )


class RuntimeConnection(StreamedConnection):
    """One connection of the runtime."""

    __slots__ = ("_answer_to",)

    def __init__(self, api: RuntimeServer) -> None:
        super().__init__(api.held)
        self._api = api
        self._answer_to: Invocation | None = None
        """Whose answer is coming in, when its head was recognised by sight; the head attributes are not set then."""

    @property
    def api(self) -> RuntimeServer:
        """The server that it belongs to."""
        return self._api

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Known to the server from now on."""
        super().connection_made(transport)
        self._api.opened(self)

    def data_received(self, data: bytes) -> None:
        """The two requests that a warm invocation consists of are known by sight; the rest is parsed."""
        if self._state == IDLE:
            api = self._api
            if data == api._next_memo:
                self._state = BUSY
                api.poll(self)
                return
            size = api._shape.match(data)
            if size > 0:
                self._state = BUSY
                api.answer(self, data[size:], api._shape.content_type)
                return
            if size < 0:
                self._answer_to = api.current
                self._memo_size = -1
                self._need = -size
                self.body_overflow = 0
                self._chunks.clear()
                self._state = LENGTH
                return
            self._consume(data, 0)
            return
        super().data_received(data)

    def request_received(self) -> None:
        """Find the route."""
        if self._answer_to is not None:
            api, answered, self._answer_to = self._api, self._answer_to, None
            if answered is api.current:
                api.answer(self, self.body, api._shape.content_type)
            else:
                self.respond(INVALID_ID)
            self.body = b""
            return
        if self._stream is not None:
            stream, self._stream = self._stream, None
            self.stream_received(stream)
            return
        target = self.target
        if b"?" in target:
            target = target.partition(b"?")[0]
        if target.startswith(_INVOCATION) and target != _NEXT:
            request_id, slash, verb = target[len(_INVOCATION) :].partition(b"/")
            if slash and verb in {b"response", b"error"}:
                if self.method != b"POST":
                    self._refuse_method(b"POST")
                elif not self._is_current(request_id):
                    self._refuse_id(request_id)
                elif verb == b"response":
                    self._response()
                else:
                    self._error()
                self.body = b""  # nothing that comes later needs it, and this connection may stay open
                return
        route = _ROUTES.get(target)
        if route is None or (route[2] and not self._api._restore):
            self._refuse_route()
        elif self.method != route[0]:
            self._refuse_method(route[0])
        else:
            route[1](self)
        self.body = b""

    def request_aborted(self) -> None:
        """A body broke off. If it was the answer to the current invocation, that is the end of it."""
        if self._answer_to is not None:
            if self._answer_to is self._api.current:
                self._api.truncated()
        elif self._stream is not None:
            stream, self._stream = self._stream, None
            self.stream_aborted(stream)
        elif self.answered_verb():
            self._api.truncated()

    def answered_verb(self) -> bytes:
        """What kind of answer to the current invocation this is, if it is one."""
        if self.method == b"POST" and self.target.startswith(_INVOCATION):
            request_id, _, verb = self.target.partition(b"?")[0][len(_INVOCATION) :].partition(b"/")
            if verb in {b"response", b"error"} and self._is_current(request_id):
                return verb
        return b""

    def half_closed(self) -> None:
        """A poll may still be answered."""
        self._api.ended(self, gone=False)

    def closed(self) -> None:
        """Gone."""
        self._api.ended(self, gone=True)

    # ---- routes --------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        if self._memo_size == len(self._memo):
            self._api.learn_next(self._memo)
        else:
            self.forget()
        self._api.poll(self)

    def _restore_next(self) -> None:
        self._api.poll_restore(self)

    def _credentials(self) -> None:
        credentials = self._api.credentials
        if credentials is None:
            self._refuse_route()
        else:
            self.respond(credentials.answer(self.headers.get(b"authorization", b"")))

    def _ping(self) -> None:
        self.respond(PONG)

    def _response(self) -> None:
        api, headers = self._api, self.headers
        if self.body_overflow:
            self._too_large(Event.RESPONSE)
            return
        content_type = headers.get(b"content-type", b"")
        mode = headers.get(RESPONSE_MODE)
        if mode:
            if mode != b"streaming":
                fault = RuntimeFault("Runtime.InvalidResponseModeHeader")
                api.answer_with(self, Event.RESPONSE, INVALID_MODE, lambda i: api.host.runtime_fault(i, fault))
                return
        elif self._memo_size > 0:
            api.learn_answer(self._memo, content_type)
        failure = failure_in(self.trailers)
        if failure is not None:
            api.answer_with(self, Event.RESPONSE, ACCEPTED, lambda i: api.host.runtime_error(i, *failure, None))
            return
        api.answer(self, self.body, content_type)

    def _error(self) -> None:
        if self.body_overflow:
            self._too_large(Event.ERROR)
            return
        api, body = self._api, self.body
        if self.headers.get(b"content-type") == CAUSE_CONTENT_TYPE:
            body, cause = split_cause(body)
        else:
            cause = validated_cause(self.headers.get(XRAY_CAUSE, b""))
        error_type = self._error_type()
        api.answer_with(self, Event.ERROR, ACCEPTED, lambda i: api.host.runtime_error(i, body, error_type, cause))

    def _too_large(self, event: Event) -> None:
        api, fault = self._api, RuntimeFault("Function.ResponseSizeTooLarge", TOO_LARGE_MESSAGE)
        api.answer_with(self, event, TOO_LARGE, lambda i: api.host.runtime_fault(i, fault))

    def _init_error(self) -> None:
        self._fail(Event.INIT_ERROR)

    def _restore_error(self) -> None:
        self._fail(Event.RESTORE_ERROR)

    def _fail(self, event: Event) -> None:
        if self.body_overflow:
            error_type = "Function.ResponseSizeTooLarge"
            body = error_body(error_type, TOO_LARGE_MESSAGE)
            self._api.fail_init(self, event, body, error_type, TOO_LARGE)
        else:
            self._api.fail_init(self, event, self.body, self._error_type(), ACCEPTED)

    def _error_type(self) -> str:
        return scrub_error_type(self.headers.get(ERROR_TYPE, b"").decode("latin-1"))

    def _is_current(self, request_id: bytes) -> bool:
        """Whether this request is about the current invocation, and about this attempt of it if it says which."""
        current = self._api.current
        if current is None:
            return False
        if b"%" in request_id:  # the Node client encodes it
            request_id = unquote_to_bytes(request_id)
        if request_id != current.request_id.encode():
            return False
        attempt = self.headers.get(INVOCATION_ID)
        return not attempt or attempt == current.invocation_id.encode()

    def _refuse_route(self) -> None:
        target = self.target.partition(b"?")[0]
        self._refuse_request(render(404, error_body("NotFound", f"No such resource: {_show(target)}")))

    def _refuse_id(self, request_id: bytes) -> None:
        self.respond(INVALID_ID)

    def _refuse_method(self, allowed: bytes) -> None:
        text = f"{_show(self.method)} is not allowed on {_show(self.target)}, only {_show(allowed)}"
        self._refuse_request(render(405, error_body("MethodNotAllowed", text), extra=f"Allow: {_show(allowed)}\r\n"))

    def _refuse_request(self, response: bytes) -> None:
        if self.method == b"HEAD":  # its answer has no body; one would be taken for the next answer
            response = response[: response.index(BLANK_LINE) + 4]
        self.respond(response)


_NEXT: Final = _INVOCATION + b"next"
_ROUTES: Final[dict[bytes, tuple[bytes, Callable[[RuntimeConnection], None], bool]]] = {
    # path: (method, handler, mounted only with restore)
    _NEXT: (b"GET", RuntimeConnection._next, False),
    _ROOT + b"/runtime/init/error": (b"POST", RuntimeConnection._init_error, False),
    _ROOT + b"/runtime/restore/next": (b"GET", RuntimeConnection._restore_next, True),
    _ROOT + b"/runtime/restore/error": (b"POST", RuntimeConnection._restore_error, True),
    _ROOT + b"/ping": (b"GET", RuntimeConnection._ping, False),
    CREDENTIALS_PATH.encode(): (b"GET", RuntimeConnection._credentials, True),
    **EXTENSION_ROUTES,
}


def _forbidden(refused: TransitionRefused) -> bytes:
    return render(403, error_body("InvalidStateTransition", str(refused)))


def _show(raw: bytes) -> str:
    """A path for an error text: bounded, one line."""
    return raw[:200].decode("latin-1")
