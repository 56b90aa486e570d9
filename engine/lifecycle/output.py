"""What a runtime prints: one pipe, cut into lines, without loss and without unbounded memory.

The pipe carries stdout and stderr together, so lines come in the order in which the program wrote them. A line longer
than 256 KiB (CloudWatch's limit for one event) is cut there and goes on in the next record. Nothing is dropped here:
when the engine, or the disk that its logs are on, is slow, the pipe fills and the program waits in `write`, as it
would on a terminal. The same pipe carries the records of the framed log (`frames`).

And the engine is slow on purpose with a program that prints very many lines: each costs the event loop 0.6 us, so that
one pipe full of bare newlines (64 KiB) is 40 ms in which no other function is served. Reads are small, and after one
that brought many lines the pipe is left alone for several times as long as they took.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from engine.lifecycle.frames import MARK, MAX_RECORD, Frames

MAX_LINE = MAX_RECORD
#: Where it is not in what was read, there is no frame.
_FIRST = MARK[:1]
_CHUNK = 16_384
#: More lines than this in one read are answered with a rest; text has some hundred.
_MANY_LINES = 1_024
#: Seconds of rest for each line of such a read, five times what it costs.
_REST = 3e-6
#: How often one looks whether what was read has been written to the log's disk, seconds.
_CONGESTED_S = 0.02
#: A pipe holds 64 KiB by default, at most 1 MiB.
_PIPE = 1 << 20
#: Lines that are taken at the end of an invocation, at most: some 10 ms.
_MOST_LINES = 16_384


class OutputReader:
    """Reads one process tree's output until every writer is gone or `close` is called."""

    __slots__ = ("_congested", "_fd", "_frames", "_line", "_loop", "_rest", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        line: Callable[[str], None],
        congested: Callable[[], bool] | None = None,
        record: Callable[[str, int, float | None], None] | None = None,
    ) -> None:
        """Take ownership of `fd` (non-blocking) and call `line` with each line, without its newline.

        While `congested` says so, nothing is read: the program waits. `record` is called with each framed record, as
        `Frames` does; None: there are none.
        """
        self._loop = loop
        self._congested = congested
        self._fd = fd
        self._line = line
        self._rest: bytes | bytearray = b""
        self._frames = Frames(self._piece, record) if record is not None else None
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(fd, self._readable)

    def drain(self) -> None:
        """Read what is there now: everything written before this call has been passed on afterwards.

        Bounded by what a pipe holds and by `_MOST_LINES`: a program that writes for ever does not hold the loop.
        """
        fd = self._fd
        lines = 0
        for _ in range(_PIPE // _CHUNK):
            if fd < 0 or lines > _MOST_LINES:
                return
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                return
            lines += self._take(data)
            if len(data) < _CHUNK:
                return

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
        many = self._take(data)
        if self._fd >= 0 and self._congested is not None and self._congested():
            self._pause(_CONGESTED_S)
        elif many > _MANY_LINES:
            self._pause(many * _REST)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._fd)
        self._timer = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        if self._congested is not None and self._congested():
            self._timer = self._loop.call_later(_CONGESTED_S, self._go_on)
        else:
            self._loop.add_reader(self._fd, self._readable)

    def _take(self, data: bytes) -> int:
        """Pass on the lines in `data`; how many they were."""
        if not data:
            self._end()
            return 0
        frames = self._frames
        if frames is not None and (_FIRST in data or frames.busy):
            return frames.feed(data)
        return self._lines(data)

    def _piece(self, data: bytes) -> int:
        """Text between frames, of which there may be many for one line: they are put together in place."""
        if b"\n" in data or len(self._rest) + len(data) >= MAX_LINE:
            return self._lines(data)
        if not isinstance(self._rest, bytearray):
            self._rest = bytearray(self._rest)
        self._rest += data
        return 0

    def _lines(self, data: bytes) -> int:
        """Pass on the lines in what was printed; how many they were."""
        line = self._line
        *lines, rest = (bytes(self._rest) + data if self._rest else data).split(b"\n")
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
        return len(lines)

    def _end(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop.remove_reader(fd)
        with suppress(OSError):
            os.close(fd)
        if self._frames is not None:
            self._frames.end()
        if self._rest:
            self._line(self._rest.decode("utf-8", "replace"))
            self._rest = b""
