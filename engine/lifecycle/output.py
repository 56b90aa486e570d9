"""What a runtime prints: one pipe, cut into lines, without loss and without unbounded memory.

The pipe carries stdout and stderr together, so lines come in the order in which the program wrote them. A line longer
than 256 KiB (CloudWatch's limit for one event) is cut there and goes on in the next record. Nothing is dropped here:
when the engine is slow the pipe fills and the program waits in `write`, as it would on a terminal.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

MAX_LINE = 262_144
_CHUNK = 65_536


class OutputReader:
    """Reads one process tree's output until every writer is gone or `close` is called."""

    __slots__ = ("_fd", "_line", "_loop", "_rest")

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, line: Callable[[str], None]) -> None:
        """Take ownership of `fd` (non-blocking) and call `line` with each line, without its newline."""
        self._loop = loop
        self._fd = fd
        self._line = line
        self._rest = b""
        loop.add_reader(fd, self._readable)

    def drain(self) -> None:
        """Read what is there now: everything written before this call has been passed on afterwards."""
        fd = self._fd
        if fd < 0:
            return
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        # Bounded: a pipe holds 64 KiB by default, at most 1 MiB; a program that writes for ever does not hold the loop.
        for _ in range(16):
            self._take(data)
            if not data or len(data) < _CHUNK:
                return
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                return
        self._take(data)

    def close(self) -> None:
        """Pass on what is left, then let the pipe go."""
        if self._fd < 0:
            return
        self.drain()
        self._end()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        if not data:
            self._end()
            return
        line = self._line
        *lines, rest = (self._rest + data).split(b"\n")
        for one in lines:
            if len(one) > MAX_LINE:
                for at in range(0, len(one), MAX_LINE):
                    line(one[at : at + MAX_LINE].decode("utf-8", "replace"))
            else:
                line(one.decode("utf-8", "replace"))
        while len(rest) >= MAX_LINE:
            line(rest[:MAX_LINE].decode("utf-8", "replace"))
            rest = rest[MAX_LINE:]
        self._rest = rest

    def _end(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self._loop.remove_reader(fd)
        with suppress(OSError):
            os.close(fd)
        if self._rest:
            self._line(self._rest.decode("utf-8", "replace"))
            self._rest = b""
