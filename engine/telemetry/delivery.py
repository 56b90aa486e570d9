"""Taking batches to a subscriber inside a sandbox: HTTP (a JSON array per request) or TCP (an object per line).

One task per subscription, and nobody waits for it. It only ever connects through `connect`, which leads into the
sandbox that the subscription came from, whatever the subscription says. A batch is tried a few times, with growing
pauses, then given up (`Buffer.lost` counts it). An answer is read up to a bound; what a subscriber sends over TCP is
not read at all.

While the sandbox's processes are stopped a subscriber cannot answer, so its time does not run: an attempt that was
under way when they stopped has its whole time again when they go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from typing import Any, Final

from httptools import HttpParserError, HttpResponseParser

from engine.errors import SandboxError
from runtime_api import Buffer, Subscription

#: How long one attempt may take.
ATTEMPT_S: Final = 5.0
#: Pauses before the second attempt and the following ones.
PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
MAX_ANSWER: Final = 65_536

Connect = Callable[[int], Awaitable[socket.socket]]
"""Opens a connection to a port inside the sandbox: connected, non-blocking. Raises OSError or SandboxError."""

now = time.monotonic


class NotAccepted(Exception):
    """The subscriber answered, but not with 2xx, or not in HTTP."""


class Delivery:
    """The courier of one subscription; `run` is its life.

    Args:
        subscription: whose events.
        buffer: where they wait.
        connect: the way into the sandbox.
        attempt_s: how long one attempt may take.
        pauses_s: pauses between attempts; there is one attempt more than pauses.
    """

    def __init__(
        self,
        subscription: Subscription,
        buffer: Buffer,
        connect: Connect,
        *,
        attempt_s: float = ATTEMPT_S,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._subscription = subscription
        self._buffer = buffer
        self._connect = connect
        self._attempt_s = attempt_s
        self._pauses_s = pauses_s
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._drained = asyncio.Event()
        self._running = asyncio.Event()
        self._running.set()
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._send = self._post if subscription.destination.protocol == "HTTP" else self._write

    # ---- for the relay ---------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """The buffer's deadline has changed."""
        self._drained.clear()
        self._changed.set()

    def stop(self) -> None:
        """End `run`; what waits is forgotten."""
        self._stopped.set()

    def pause(self) -> None:
        """The subscriber's processes are stopped."""
        self._running.clear()

    def resume(self) -> None:
        """They run again."""
        self._running.set()

    async def drained(self) -> None:
        """Wait until everything that was there has been delivered or given up, or this has ended."""
        if not self._buffer.idle and not self._stopped.is_set():
            self._drained.clear()
            self._changed.set()
            await self._drained.wait()

    async def run(self) -> None:
        """Deliver until `stop`."""
        try:
            work = asyncio.ensure_future(self._deliver())
            stopped = asyncio.ensure_future(self._stopped.wait())
            try:
                await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _end(stopped)
                if not work.done():
                    await _end(work)
            if not work.cancelled():
                work.result()
        finally:
            self._hang_up()
            self._drained.set()

    # ---- the work --------------------------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        buffer = self._buffer
        while True:
            await self._due()
            batch = buffer.take(now())
            if batch:
                if await self._try(batch):
                    buffer.delivered()
                else:
                    buffer.lost(now())
            if buffer.idle:
                self._drained.set()

    async def _due(self) -> None:
        buffer = self._buffer
        while (left := buffer.deadline - now()) > 0:
            self._changed.clear()
            if buffer.idle:
                self._drained.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if left == inf else left):
                    await self._changed.wait()

    async def _try(self, batch: list[bytes]) -> bool:
        for pause in (*self._pauses_s, None):
            try:
                await self._in_time(self._send(batch))
            except (OSError, SandboxError, NotAccepted, EOFError):
                self._hang_up()
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                return True
        return False

    async def _in_time(self, attempt: Coroutine[Any, Any, None]) -> None:
        """Await it. Raises TimeoutError when it takes longer than it may while the subscriber runs."""
        task = asyncio.ensure_future(attempt)
        try:
            while not (await asyncio.wait({task}, timeout=self._attempt_s))[0]:
                if self._running.is_set():
                    raise TimeoutError
                resumed = asyncio.ensure_future(self._running.wait())
                try:
                    await asyncio.wait({task, resumed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await _end(resumed)
            task.result()
        finally:
            await _end(task)

    async def _streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is not None and not self._stream[0].at_eof():
            return self._stream
        self._hang_up()
        sock = await self._connect(self._subscription.destination.port)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._stream = await asyncio.open_connection(sock=sock, limit=MAX_ANSWER)
        except BaseException:
            sock.close()
            raise
        self._stream[1].transport.set_write_buffer_limits(high=0)  # `drain` waits until the kernel has it all
        return self._stream

    def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream[1].transport.abort()

    async def _write(self, batch: list[bytes]) -> None:
        _, writer = await self._streams()
        writer.write(b"\n".join(batch) + b"\n")
        await writer.drain()

    async def _post(self, batch: list[bytes]) -> None:
        to = self._subscription.destination
        reader, writer = await self._streams()
        body = b"[" + b",".join(batch) + b"]"
        head = (
            f"{to.method} {to.path} HTTP/1.1\r\nHost: {to.host}:{to.port}\r\nUser-Agent: lambent\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        answer = _Answer()
        size = 0
        while not answer.complete:
            data = await reader.read(4096)
            size += len(data)
            if not data:
                if answer.status and not answer.framed:
                    break  # its end was that of the connection
                raise EOFError
            if size > MAX_ANSWER:
                raise NotAccepted(f"an answer of more than {MAX_ANSWER} bytes")
            answer.feed(data)
        if not (answer.complete and answer.keep_alive):
            self._hang_up()
        if not 200 <= answer.status < 300:
            raise NotAccepted(f"status {answer.status}")


class _Answer:
    """An HTTP response as it comes in."""

    def __init__(self) -> None:
        self.complete = False
        self.framed = False
        self.keep_alive = False
        self.status = 0
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raises NotAccepted when it is not HTTP."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise NotAccepted(str(error)) from None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.framed = self.framed or name.lower() in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        self.complete = self.status >= 200  # 100 Continue: the real one follows
        self.keep_alive = bool(self._parser.should_keep_alive())  # now: afterwards the parser has forgotten


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel it if it still runs, and wait for that. What it raised otherwise is not lost."""
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    elif not task.cancelled():
        task.exception()
