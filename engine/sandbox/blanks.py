"""A blank as the engine holds it: its socket, its pipe, its pidfd, and the one order that it can be given."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Sequence

from engine.errors import SandboxError

from .spawner import wire


class Answer(Exception):
    """A blank could not carry out its order."""

    def __init__(self, number: int, step: int, text: str) -> None:
        super().__init__(number, step, text)
        self.number = number
        self.step = step
        self.text = text


class Blank:
    """A forked child that waits for one order. Owned by whoever took it: `discard` or an order uses it up.

    Attributes:
        pid: its process id.
        output: the read end of the pipe that is its stdout and stderr.
        pidfd: a descriptor for the process, -1 where the system has none.
    """

    __slots__ = ("_socket", "output", "pid", "pidfd")

    def __init__(self, pid: int, descriptors: list[int]) -> None:
        self.pid = pid
        self._socket = socket.socket(fileno=descriptors[0])
        self._socket.setblocking(False)
        self.output = descriptors[1]
        self.pidfd = descriptors[2] if len(descriptors) > 2 else -1

    def post(self, kind: int, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        """Give an order, with these descriptors, and do not wait for its answer: there is none, or `answered` follows.

        Raises:
            BrokenPipeError: the blank had ended.
        """
        self._send(kind, payload, descriptors)

    async def order(self, kind: int, payload: bytes) -> bytes:
        """Give the one order and wait for the end of the answer.

        Returns the answer's bytes: none when the blank became a program (or was killed before it could).

        Raises:
            BrokenPipeError: the blank had ended; take another.
        """
        try:
            self._send(kind, payload)
        except BaseException:
            self._socket.close()
            raise
        return await self.answered()

    async def answered(self) -> bytes:
        """Wait for the end of the answer to the order that was posted; see `order`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bytes] = loop.create_future()
        answer = b""

        def readable() -> None:
            nonlocal answer
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            except ConnectionResetError:  # it was killed with the order unread
                data = b""
            answer += data
            if not data:
                loop.remove_reader(number)
                if not done.done():
                    done.set_result(answer)

        number = self._socket.fileno()
        try:
            loop.add_reader(number, readable)
            return await done
        finally:
            loop.remove_reader(number)
            self._socket.close()

    def _send(self, kind: int, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        if len(payload) <= wire.MAX_INLINE:
            data = wire.ORDER.pack(len(payload), kind) + payload
            sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else self._socket.send(data)
            if sent != len(data):
                raise SandboxError(
                    f"an order of {len(data)} bytes did not fit the empty socket of a blank ({sent} sent)"
                )
            return
        descriptor = memory_file(payload)
        try:
            socket.send_fds(self._socket, [wire.ORDER.pack(wire.IN_FILE, kind)], [*descriptors, descriptor])
        finally:
            os.close(descriptor)

    def hang_up(self) -> None:
        """Close the socket: nobody waits for an answer any more."""
        self._socket.close()

    def discard(self) -> None:
        """Close everything; a blank without an order ends by itself."""
        self._socket.close()
        self.close_output()
        self.close_pidfd()

    def close_output(self) -> None:
        """Close the pipe; for orders that are not programs."""
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def close_pidfd(self) -> None:
        """Close the pidfd."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def check(answer: bytes) -> bytes:
    """Read an answer; returns its text.

    Raises:
        Answer: when it is not the one that says done.
    """
    number, step = wire.ANSWER.unpack_from(answer)
    if number:
        raise Answer(number, step, os.fsdecode(answer[wire.ANSWER.size :]))
    return answer[wire.ANSWER.size :]


def memory_file(payload: bytes) -> int:
    """A descriptor of a file in memory (elsewhere: an unnamed temporary file) with this content."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("order")
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            descriptor = os.dup(file.fileno())
    os.set_blocking(descriptor, False)  # memory does not block; this says so to whoever watches for blocking calls
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor
