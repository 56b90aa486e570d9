"""One start of the runtime, and the verbs that clauses are written in.

A clause is an async function of a `Session`: it waits for what the runtime must send (`poll`, `post`), gives it what it
asked for (`give`), and says `fail` with the exchange at hand when that is not what the contract demands. Waiting is
bounded by the session's patience; what did not come in that time is a failure that names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from ._subject import Started, Subject
from ._wire import Broken, Exchange, Wire, render

__all__ = ["ARN", "Failed", "NotApplicable", "Session", "open_session"]

ROOT: Final = "/2018-06-01/runtime"
NEXT: Final = f"{ROOT}/invocation/next"
ARN: Final = "arn:aws:lambda:us-east-1:000000000000:function:conform"
TRACE: Final = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


class Failed(Exception):
    """The runtime did not do what the clause demands."""

    def __init__(self, reason: str, expected: str, got: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.got = got


class NotApplicable(Exception):
    """The clause is about something that this runtime, or its function, does not have."""


class Session:
    """The runtime, running, and our side of its Runtime API.

    Attributes:
        verbs: what the function under test can be told to do (see the package's prose).
        patience_s: how long it may take to do anything.
        polls: how many times it has asked for `next`.
    """

    def __init__(self, started: Started, wire: Wire, verbs: frozenset[str], patience_s: float) -> None:
        self.verbs = verbs
        self.patience_s = patience_s
        self.polls = 0
        self.user_agent = ""
        self._started = started
        self._wire = wire
        self._ended = asyncio.ensure_future(started.ended())
        self._put_back: list[Exchange] = []

    # ---- what the runtime sends ------------------------------------------------------------------------------------

    async def request(self, wanted: str, seconds: float | None = None) -> Exchange:
        """The next request, whatever it is. Fails when none comes, or the runtime ends first."""
        exchange = await self._arrival(self.patience_s if seconds is None else seconds)
        if exchange is None:
            if self._ended.done():
                raise Failed(f"the runtime ended ({self._ended.result()})", wanted)
            raise Failed(f"nothing came within {self.patience_s if seconds is None else seconds:g} s", wanted)
        if not exchange.method:
            raise Failed(exchange.broken or "not HTTP", wanted, exchange.shown())
        return exchange

    async def silence(self, seconds: float, wanted: str) -> None:
        """Nothing may come for so long, and the runtime must live."""
        exchange = await self._arrival(seconds)
        if exchange is not None:
            raise Failed("the runtime sent a request when it had nothing to say", wanted, exchange.shown())
        if self._ended.done():
            raise Failed(f"the runtime ended ({self._ended.result()})", wanted)

    async def poll(self, wanted: str = f"GET {NEXT}") -> Exchange:
        """A `next`, and nothing else."""
        exchange = await self.request(wanted)
        if exchange.method != "GET" or exchange.target != NEXT:
            fail("another request came", wanted, exchange)
        self.polls += 1
        self.user_agent = self.user_agent or exchange.header("user-agent") or ""
        return exchange

    async def post(self, request_id: str, verb: str = "response", *, accept: bool = True) -> Exchange:
        """The whole post about this invocation, and nothing else; `accept` answers 202."""
        wanted = f"POST {ROOT}/invocation/{request_id}/{verb}"
        exchange = await self.request(wanted)
        if exchange.method != "POST" or _unquoted(exchange.target) != f"{ROOT}/invocation/{request_id}/{verb}":
            fail("another request came", wanted, exchange)
        await self.body(exchange)
        if accept:
            await exchange.accept()
        return exchange

    async def body(self, exchange: Exchange) -> bytes:
        """The exchange's whole body."""
        try:
            async with asyncio.timeout(self.patience_s):
                return await exchange.whole()
        except Broken as broken:
            fail(str(broken), "a complete body", exchange)
        except TimeoutError:
            fail(f"the body was not complete after {self.patience_s:g} s", "a complete body", exchange)

    # ---- what it is given ------------------------------------------------------------------------------------------

    async def give(
        self,
        poll: Exchange,
        payload: bytes,
        *,
        request_id: str | None = None,
        deadline_s: float = 10.0,
        headers: Mapping[str, str | None] | None = None,
        close: bool = False,
    ) -> str:
        """Answer a `next` with an invocation, as Lambda does. Returns the request id.

        Args:
            poll: the parked `next`.
            payload: the event.
            request_id: its id; a new UUID by default.
            deadline_s: when it times out, from now.
            headers: on top of the usual ones; None leaves one out.
            close: close the connection afterwards.
        """
        request_id = request_id or str(uuid.uuid4())
        await poll.answer(200, payload, self.fields(request_id, deadline_s, headers), close=close)
        return request_id

    @staticmethod
    def fields(
        request_id: str, deadline_s: float = 10.0, headers: Mapping[str, str | None] | None = None
    ) -> list[tuple[str, str]]:
        """The headers of an invocation."""
        fields: dict[str, str | None] = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + deadline_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": TRACE,
            **(headers or {}),
        }
        return [(name, value) for name, value in fields.items() if value is not None]

    async def invoke(self, event: Any, verb: str = "response", **options: Any) -> Exchange:
        """Wait for `next`, give it this event, and return the post that it leads to, accepted."""
        poll = await self.poll()
        request_id = await self.give(poll, encode(event), **options)
        return await self.post(request_id, verb)

    async def echo(self, value: Any, **options: Any) -> Exchange:
        """Have the function return `value`, and check that it did. Returns the post."""
        post = await self.invoke({"do": "echo", "value": value} if "echo" in self.verbs else value, **options)
        self.holds(post, value)
        return post

    @staticmethod
    def holds(post: Exchange, value: Any) -> None:
        """The post's body must be this value, as JSON."""
        expected = f"the body {cut(encode(value).decode())}"
        try:
            got = json.loads(bytes(post.body))
        except ValueError as error:
            fail(f"the body is not JSON: {error}", expected, post)
        if got != value or isinstance(got, bool) is not isinstance(value, bool):
            fail("the body is another value", expected, post)

    async def lives(self, after: str) -> None:
        """The runtime asks for the next invocation and serves it."""
        poll = await self.poll(f"GET {NEXT}, {after}")
        value = f"alive-{uuid.uuid4()}"
        event = {"do": "echo", "value": value} if "echo" in self.verbs else value
        request_id = await self.give(poll, encode(event))
        self.holds(await self.post(request_id), value)

    # ---- its process -----------------------------------------------------------------------------------------------

    async def end(self, wanted: str, seconds: float | None = None) -> str:
        """The runtime ends by itself; requests that come meanwhile fail the clause. Returns how it ended."""
        limit = self.patience_s if seconds is None else seconds
        exchange = await self._arrival(limit)
        if exchange is not None:
            fail("the runtime went on", wanted, exchange)
        if not self._ended.done():
            raise Failed(f"the runtime still ran after {limit:g} s", wanted)
        return self._ended.result()

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self._started.signal(signum)

    def put_back(self, exchange: Exchange) -> None:
        """The next `request` is this one."""
        self._put_back.append(exchange)

    def need(self, verb: str, what: str) -> None:
        """The clause is not applicable when the function cannot do this."""
        if verb not in self.verbs:
            raise NotApplicable(f"the function does not know how to {what} (verb {verb!r})")

    def output(self) -> str:
        """The end of what the runtime printed."""
        return self._started.output()

    async def closed(self) -> None:
        """No task of ours is left."""
        self._ended.cancel()
        await asyncio.gather(self._ended, return_exceptions=True)

    async def _arrival(self, seconds: float) -> Exchange | None:
        """The next request; None when the time is over, or the runtime has ended and all that it sent is read."""
        if self._put_back:
            return self._put_back.pop()
        arrival = asyncio.ensure_future(self._wire.requests.get())
        try:
            await asyncio.wait({arrival, self._ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not arrival.done() and self._ended.done():
                await asyncio.wait({arrival}, timeout=0.1)  # its last words may still be on their way
            if arrival.done():
                return arrival.result()
            return None
        finally:
            if not arrival.done():
                arrival.cancel()
                await asyncio.gather(arrival, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_session(
    subject: Subject, verbs: frozenset[str], patience_s: float, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Session]:
    """Start the runtime; it is ended with the block."""
    async with subject.start(variables or {}) as started:
        wire = Wire()
        await wire.open(started.listener)
        session = Session(started, wire, verbs, patience_s)
        try:
            yield session
        finally:
            await session.closed()
            await wire.close()


def fail(reason: str, expected: str, exchange: Exchange | None = None) -> NoReturn:
    """The clause is broken by this exchange."""
    raise Failed(reason, expected, exchange.shown() if exchange is not None else "")


def encode(event: Any) -> bytes:
    """An event: bytes as they are, anything else as JSON."""
    return event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()


def cut(text: str, limit: int = 200) -> str:
    """Text for a report, bounded."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def head(status: int, fields: Sequence[tuple[str, str]]) -> bytes:
    """A response's head, for clauses that send their own bytes."""
    return render(status, fields)


def _unquoted(target: str) -> str:
    from urllib.parse import unquote

    return unquote(target)
