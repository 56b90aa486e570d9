"""The engine's conversation with the first process of a sandbox (`native/sandbox.c`), and with a zygote."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from engine.errors import SandboxError
from engine.sandbox.api import Exit
from engine.sandbox.blanks import Answer, memory_file
from engine.sandbox.spawner import wire

_GONE = "the first process of the sandbox has ended"
Given: TypeAlias = asyncio.Future[tuple[bytes, list[int]]]
"""An order that is being carried out: its answer, and the descriptors that come with it."""
_DOING = {
    wire.ARRANGE: "arranging its files",
    wire.ASSIGN: "arranging the function's files",
    wire.STEM: "making a process",
}
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class FirstProcessGone(SandboxError):
    """It has ended, and everything in its sandbox with it."""


class FirstProcess:
    """Owned by one sandbox. Orders are answered one after the other, in the order in which they were given.

    Args:
        sock: our end of its socket.
        on_exit: called on the loop with (number of the stem, how it ended, peak resident bytes).
        on_gone: called on the loop with it, once, when it has ended without being told to by `hang_up`.

    Attributes:
        pid: of the process, once `begun`.
        pidfd: a descriptor for it, -1 before.
    """

    __slots__ = ("_answers", "_made", "_on_exit", "_on_gone", "_reader", "_sock", "pid", "pidfd")

    def __init__(
        self, sock: socket.socket, on_exit: Callable[[int, Exit, int], None], on_gone: Callable[[FirstProcess], None]
    ) -> None:
        self.pid = 0
        self.pidfd = -1
        self._sock: socket.socket | None = sock
        self._reader = wire.FrameReader()
        self._answers: deque[Given] = deque()
        self._made: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._on_exit = on_exit
        self._on_gone = on_gone
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)

    async def begun(self) -> None:
        """Wait until its namespaces are there.

        Raises:
            SandboxError: the host would not make them.
        """
        # Two processes speak, the one that made it and it itself, in either order.
        started = self._answer()
        number = await self._made
        if number:
            started.cancel()
            raise SandboxError(f"the host would not make the namespaces of a sandbox: {os.strerror(number)}")
        _check(await started, "starting")

    async def order(self, kind: int, strings: Sequence[str | bytes] = (), descriptors: Sequence[int] = ()) -> list[int]:
        """Give an order and wait until it is done; the descriptors that came with the answer belong to the caller.

        Raises:
            SandboxError: it could not be carried out; says which instruction and why.
        """
        _, passed = await self._order(kind, strings, descriptors)
        return passed

    def give(self, kind: int, strings: Sequence[str | bytes]) -> Given:
        """Give an order whose answer is awaited later, by `settled`, or not at all: cancel it then."""
        self._send(kind, wire.join(*(os.fsencode(string) for string in strings)), [])
        return self._answer()

    @staticmethod
    async def settled(kind: int, given: Given) -> None:
        """Wait until what was given is done. Raises SandboxError, as `order` does."""
        _check(await given, _DOING[kind])

    async def stem(self, strings: Sequence[str], descriptors: Sequence[int]) -> tuple[int, int]:
        """Have a stem made. Returns the number by which its end is told, and its pidfd.

        Raises:
            SandboxError: the host refused.
        """
        text, passed = await self._order(wire.STEM, strings, descriptors)
        return int(text), passed[0]

    def kill_soon(self) -> None:
        """End every process of the sandbox without waiting for it. Nothing when the first process has ended.

        Not by cgroup.kill: in Linux 6.18, whoever is born into a cgroup (CLONE_INTO_CGROUP) after its kill dies, too.
        """
        with contextlib.suppress(SandboxError):
            self._send(wire.KILL, b"", [])
            self._answer()

    def post(self, kind: int, payload: bytes, descriptors: Sequence[int]) -> None:
        """Give an order that is not answered.

        Raises:
            FirstProcessGone: it has ended.
        """
        self._send(kind, payload, list(descriptors))

    async def _order(
        self, kind: int, strings: Sequence[str | bytes], descriptors: Sequence[int]
    ) -> tuple[str, list[int]]:
        self._send(kind, wire.join(*(os.fsencode(string) for string in strings)), list(descriptors))
        return _check(await self._answer(), _DOING.get(kind, ""))

    def _answer(self) -> Given:
        answer: Given = asyncio.get_running_loop().create_future()
        if self._sock is None:
            answer.set_exception(FirstProcessGone(_GONE))
        else:
            self._answers.append(answer)
        return answer

    def _send(self, kind: int, payload: bytes, descriptors: list[int]) -> None:
        if self._sock is None:
            raise FirstProcessGone(_GONE)
        inline = len(payload) <= wire.MAX_INLINE
        data = wire.ORDER.pack(len(payload) if inline else wire.IN_FILE, kind) + (payload if inline else b"")
        file = -1 if inline else memory_file(payload)
        try:
            sent = socket.send_fds(self._sock, [data], descriptors if inline else [*descriptors, file])
        except (BrokenPipeError, ConnectionResetError):
            raise FirstProcessGone(_GONE) from None
        finally:
            if file >= 0:
                os.close(file)
        if sent != len(data):
            raise SandboxError(f"an order of {len(data)} bytes did not fit the socket of a sandbox ({sent} sent)")

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            data, ancillary, _, _ = self._sock.recvmsg(65536, socket.CMSG_SPACE(16 * 4), _CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, ancillary = b"", []
        if not data:
            self._close()
            self._on_gone(self)
            return
        descriptors = array.array("i")
        for _, _, rights in ancillary:
            descriptors.frombytes(rights[: len(rights) - len(rights) % 4])
        for kind, number, payload, passed in self._reader.feed(data, list(descriptors)):
            if kind == wire.EXIT:
                code, peak = wire.EXIT_STATUS.unpack(payload)
                self._on_exit(number, Exit(code) if code >= 0 else Exit(None, -code), peak)
                continue
            if kind == wire.INIT:
                self.pid = number
                self.pidfd = passed[0] if passed else -1
                if not self._made.done():
                    self._made.set_result(wire.ANSWER.unpack_from(payload)[0])
                continue
            self._answered_now(payload, passed)

    def _answered_now(self, payload: bytes, descriptors: list[int]) -> None:
        while self._answers:
            answer = self._answers.popleft()
            if not answer.done():
                answer.set_result((payload, descriptors))
                return
            break  # whoever asked was cancelled
        for descriptor in descriptors:
            os.close(descriptor)

    def hang_up(self) -> None:
        """Close the socket: the process ends, and the kernel ends its sandbox. `pidfd` becomes readable then."""
        if self._sock is not None:
            self._close()

    def _close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        asyncio.get_running_loop().remove_reader(sock.fileno())
        sock.close()
        for descriptor in self._reader.abandon():
            os.close(descriptor)
        while self._answers:
            answer = self._answers.popleft()
            if not answer.done():
                answer.set_exception(FirstProcessGone(_GONE))
        if not self._made.done():
            self._made.set_exception(FirstProcessGone(_GONE))
            self._made.exception()  # nobody may be waiting

    async def ended(self, seconds: float) -> bool:
        """Wait until it has ended, and with it every process of the sandbox. False: not within `seconds`."""
        if self.pidfd < 0:
            return True
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()

        def readable() -> None:
            if not gone.done():
                gone.set_result(None)

        loop.add_reader(self.pidfd, readable)
        try:
            async with asyncio.timeout(seconds):
                await gone
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1
        return True


def _check(answer: tuple[bytes, list[int]], doing: str) -> tuple[str, list[int]]:
    """Read an answer: its text and descriptors. Raises Answer."""
    payload, descriptors = answer
    number, step = wire.ANSWER.unpack_from(payload)
    text = os.fsdecode(payload[wire.ANSWER.size :])
    if number:
        for descriptor in descriptors:
            os.close(descriptor)
        raise Answer(number, step, f"{doing}: {text}" if doing else text)
    return text, descriptors
