"""The Runtime API of an environment with more than one invocation in flight: AWS's "multi-concurrency".

The runtime is told AWS_LAMBDA_MAX_CONCURRENCY=N and polls `next` up to N times at once, from as many processes, threads
or tasks as it likes; each poll is a *worker* that waits. What differs from `RuntimeServer` (facts §12, from the
lambda-managed-instances part of aws-lambda-runtime-interface-emulator):

- Each poll is given an invocation of its own, the one that has waited longest first. Asking again while one has an
  invocation is asking for another one.
- An answer is matched by its request id with those in flight, on whatever connection it comes. An id that is unknown,
  or answered already, is 400 InvalidRequestID.
- An invocation that timed out is not in flight any more, but its worker is not ended: its late answer is told 410
  InvokeTimeout, once; after that its id is unknown. The last 1,000 such ids are remembered.
- Init is complete when the first worker asks. An `init/error` after that, or a second one, is 403: it is another
  worker's, and the environment goes on with those that it has.
- Extensions are not told of invocations: who asks for INVOKE is refused, and an internal one for any event.
- The body of an error is bounded by 1 MiB. (AWS's emulator then leaves the invocation to its time limit, although the
  runtime will not answer again; here it ends at once, like one whose response is too large.)

There is no state table beyond Started, Ready and InitError, and no way back: a broken environment is replaced.

The two requests that a warm invocation consists of are known by sight as in `server`, the answer per connection: most
workers answer where they asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from ._errors import TransitionRefused, error_body
from ._events import Invocation, RuntimeFault
from ._headers import INVOCATION_ID, RESPONSE_MODE
from ._held import MAX_HELD, Held
from ._limits import MAX_ERROR_BODY
from ._replies import ACCEPTED, INTERNAL, INVALID_ID
from ._runtime import Event, State
from ._shape import AnswerShape
from .http import BUSY, IDLE, LENGTH, render
from .server import (
    _INVOCATION,
    RuntimeConnection,
    RuntimeHost,
    RuntimeServer,
    _forbidden,
)

__all__ = ["ConcurrentHost", "ConcurrentRuntimeServer"]

TIMED_OUT: Final = render(410, error_body("InvokeTimeout", "Invoke timeout"))
REMEMBERED: Final = 1000
"""Ids of invocations that timed out, of one environment."""


class ConcurrentHost(RuntimeHost, Protocol):
    """The environment behind a `ConcurrentRuntimeServer`. `runtime_next` is called for each poll that waits."""

    def runtime_left(self) -> None:
        """A poll that waited is gone: its worker died, or gave up."""
        ...


class ConcurrentRuntimeServer(RuntimeServer):
    """The Runtime API endpoint of one environment that takes several invocations at a time.

    Args:
        host: hears what the runtime did. Of the answers to one invocation it hears the first.
        capacity: how many are in flight at once, at most. Twice as many polls may wait; more are refused.

    Attributes:
        flight: the invocations that were delivered and are not over, by request id.
    """

    __slots__ = ("_capacity", "_host", "_late", "_waiting", "flight", "max_connections")

    tells_extensions = False

    def __init__(self, host: ConcurrentHost, capacity: int) -> None:
        super().__init__(host)
        self._host = host
        self._capacity = capacity
        self.held = Held(MAX_HELD * min(capacity, 8))  # so many answers may come in at once, and none waits for another
        self.max_connections = 2 * capacity + 64
        self.flight: dict[bytes, Invocation] = {}
        self._waiting: OrderedDict[ConcurrentConnection, None] = OrderedDict()
        self._late: OrderedDict[bytes, None] = OrderedDict()

    # ---- for the engine ------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many polls wait."""
        return len(self._waiting)

    def deliver(self, invocation: Invocation) -> None:
        """Hand `invocation` to the worker that has waited longest, before this returns.

        Raises:
            RuntimeError: nobody waits, or an invocation of this request id is in flight already.
        """
        key = invocation.request_id.encode()
        if key in self.flight or not self._waiting:
            raise RuntimeError(f"{invocation!r} cannot be delivered: {self!r}")
        poll = self._waiting.popitem(last=False)[0]
        self.flight[key] = invocation
        self._late.pop(key, None)
        poll.given(invocation)
        poll.respond_parts(self._next_head.render(invocation), invocation.payload)

    def expire(self, invocation: Invocation) -> None:
        """`invocation` has timed out: it is over, whatever its worker still does. Harmless when it is over already."""
        key = invocation.request_id.encode()
        if self.flight.get(key) is not invocation:
            return
        del self.flight[key]
        self._late[key] = None
        if len(self._late) > REMEMBERED:
            self._late.popitem(last=False)

    def reset(self) -> None:
        """Not for this kind.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("an environment with several invocations in flight is replaced, not reset")

    async def close(self) -> None:
        """Stop serving and drop every connection; nobody is told that polls are gone. Idempotent."""
        self._waiting.clear()
        self.flight.clear()
        await super().close()

    def __repr__(self) -> str:
        return f"<ConcurrentRuntimeServer {len(self.flight)} in flight, {len(self._waiting)} waiting>"

    # ---- for the connections -------------------------------------------------------------------------------------

    def _connect(self) -> RuntimeConnection:
        return ConcurrentConnection(self)

    def poll(self, connection: RuntimeConnection) -> None:
        """`next` arrived."""
        assert isinstance(connection, ConcurrentConnection)
        if self.machine.state != State.READY:
            try:
                self.machine.fire(Event.NEXT)
            except TransitionRefused as refused:
                connection.respond(_forbidden(refused))
                return
        if len(self._waiting) >= 2 * self._capacity:
            connection.respond(INTERNAL)
            return
        self._waiting[connection] = None
        try:
            self.host.runtime_next()
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)

    def find(self, request_id: bytes, attempt: bytes | None) -> Invocation | None:
        """The invocation in flight with this id, and of this attempt if it is said which."""
        if b"%" in request_id:  # the Node client encodes it
            request_id = unquote_to_bytes(request_id)
        invocation = self.flight.get(request_id)
        if invocation is None or (attempt and attempt != invocation.invocation_id.encode()):
            return None
        return invocation

    def forget_late(self, request_id: bytes) -> bool:
        """Whether the id is of an invocation that timed out, for the first time that this is asked."""
        if b"%" in request_id:
            request_id = unquote_to_bytes(request_id)
        if request_id not in self._late:
            return False
        del self._late[request_id]
        return True

    def answer(self, connection: RuntimeConnection, body: bytes, content_type: bytes) -> None:
        """A `response` arrived, whole."""
        invocation = self._over(connection)
        assert isinstance(connection, ConcurrentConnection)
        connection.study(content_type)
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
        """Any other answer: `tell` the host, then `reply`."""
        invocation = self._over(connection)
        try:
            tell(invocation)
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)
            reply = INTERNAL
        connection.respond(reply)

    def broken_off(self, invocation: Invocation) -> None:
        """The answer to this invocation, which is in flight, broke off."""
        del self.flight[invocation.request_id.encode()]
        try:
            self.host.runtime_fault(invocation, RuntimeFault("Runtime.TruncatedResponse"))
        except Exception as error:  # noqa: BLE001 - see _report
            self._report(error)

    def ended(self, connection: RuntimeConnection, *, gone: bool) -> None:
        """No more bytes will come from this connection; a poll on it is given up, too: most likely it is dead."""
        assert isinstance(connection, ConcurrentConnection)
        if connection in self._waiting:
            del self._waiting[connection]
            if not gone:
                connection.abort()
            try:
                self._host.runtime_left()
            except Exception as error:  # noqa: BLE001 - see _report
                self._report(error)
        super().ended(connection, gone=gone)

    def learn_answer(self, head: bytes, content_type: bytes) -> None:
        """Learnt by the connection, in `answer`."""

    def _over(self, connection: RuntimeConnection) -> Invocation:
        """The invocation that the request is about is answered by it."""
        assert isinstance(connection, ConcurrentConnection)
        invocation = connection.subject
        assert invocation is not None
        del self.flight[invocation.request_id.encode()]
        return invocation


class ConcurrentConnection(RuntimeConnection):
    """One connection of a runtime with several invocations in flight.

    Attributes:
        subject: the invocation that the request in the attributes is about.
    """

    __slots__ = ("_given", "_server", "_shape", "subject")

    takes_pieces = False  # a streamed response is collected

    def __init__(self, server: ConcurrentRuntimeServer) -> None:
        super().__init__(server)
        self._server = server
        self._shape = AnswerShape()
        self._given: Invocation | None = None
        self.subject: Invocation | None = None

    def given(self, invocation: Invocation) -> None:
        """Its poll is answered with this one."""
        self._given = invocation
        self._shape.expect(invocation.request_id, invocation.invocation_id)

    def study(self, content_type: bytes) -> None:
        """The request in the attributes was an ordinary response, if its head is remembered."""
        if self._memo_size > 0 and self.subject is self._given and not self.headers.get(RESPONSE_MODE):
            self._shape.learn(self._memo, content_type)

    def data_received(self, data: bytes) -> None:
        """As in `RuntimeConnection`, but for the invocation that was given here."""
        if self._state == IDLE:
            if data == self._server._next_memo:
                self._state = BUSY
                self._server.poll(self)
                return
            size = self._shape.match(data)
            if size:
                given = self._given
                if given is not None and self._server.flight.get(given.request_id.encode()) is given:
                    self.subject = given
                    self._memo_size = -1
                    if size > 0:
                        self._state = BUSY
                        self._server.answer(self, data[size:], self._shape.content_type)
                        return
                    self._answer_to = given
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
        answered = self._answer_to
        if answered is None:
            super().request_received()
            return
        self._answer_to = None
        if self._server.flight.get(answered.request_id.encode()) is answered:
            self._server.answer(self, self.body, self._shape.content_type)
        else:  # it has timed out, or was answered elsewhere, while this came in
            self._refuse_id(answered.request_id.encode())
        self.body = b""

    def request_aborted(self) -> None:
        """A body broke off."""
        answered, self._answer_to = self._answer_to, None
        if answered is None and self.method == b"POST":
            request_id, slash, verb = self.target.partition(b"?")[0][len(_INVOCATION) :].partition(b"/")
            if self.target.startswith(_INVOCATION) and slash and verb in {b"response", b"error"}:
                answered = self._server.find(request_id, self.headers.get(INVOCATION_ID))
        if answered is not None and self._server.flight.get(answered.request_id.encode()) is answered:
            self._server.broken_off(answered)

    def _is_current(self, request_id: bytes) -> bool:
        self.subject = self._server.find(request_id, self.headers.get(INVOCATION_ID))
        return self.subject is not None

    def _refuse_id(self, request_id: bytes) -> None:
        self.respond(TIMED_OUT if self._server.forget_late(request_id) else INVALID_ID)

    def _error(self) -> None:
        self._bound()
        super()._error()

    def _fail(self, event: Event) -> None:
        self._bound()
        super()._fail(event)

    def _bound(self) -> None:
        if len(self.body) > MAX_ERROR_BODY:
            self.body_overflow = len(self.body)
