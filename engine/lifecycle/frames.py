"""The framed log: records of many lines, in the stream that also carries what a process prints.

AWS's runtime clients write a log record to the descriptor named by ``_LAMBDA_TELEMETRY_LOG_FD`` as one *frame*: a
header that says how long it is, its level and its time, then the text, whose newlines are part of it. Here that
descriptor is the process's standard output once more, under a number of its own. So a cold start makes no second pipe
and an invocation's end reads none, and what a function prints keeps its order with what it logs. A wrapper that sends
standard output somewhere else leaves the frames alone.

Frames and printed text are told apart by a header's first bytes, which are no UTF-8. Whoever writes them by other means
than a client makes a record of its own log, no more: what is no valid header is text, and so is what is left of it at
the end. A frame's bytes are passed on as they come in, in records of `MAX_RECORD` bytes at most; its length is never
believed further than that. A write of more than 4096 bytes may be cut apart by another of the same environment's
processes when the pipe is full: then a record holds a part of what the other printed. Nothing is lost.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

#: CloudWatch's limit for one event, bytes.
MAX_RECORD: Final = 262_144
#: A longer frame is no client's: a log record is made in the memory of a function. Bytes.
MAX_FRAME: Final = 64 << 20
#: Of a header's four bytes of type, those that are always the same.
MARK: Final = b"\xa5\x5a\x00"
#: The client's first form had no level and no time.
_PLAIN: Final = 0x01
_STAMPED: Final = 0x02
_FATAL: Final = 6
_LENGTH: Final = struct.Struct(">I")
_LENGTH_AND_TIME: Final = struct.Struct(">IQ")


class Frames:
    """Takes a stream apart into printed text and framed records. Pure: it holds what is not complete yet, and calls.

    Args:
        text: called with what is outside of frames, in order; returns how many lines were in it.
        record: called with each record: its text, its level (`events.LEVELS`, 0 when not said), its time in seconds
            since the epoch (None when not said).

    Attributes:
        busy: the next bytes are to be fed whatever is in them: a frame, or its header, has begun.
    """

    __slots__ = ("_body", "_head", "_left", "_level", "_record", "_text", "_when", "busy")

    def __init__(self, text: Callable[[bytes], int], record: Callable[[str, int, float | None], None]) -> None:
        self._text = text
        self._record = record
        self._head = b""  # the beginning of a header
        self._body = bytearray()  # of a record, less than `MAX_RECORD`
        self._left = 0  # bytes of the frame that are still to come
        self._level = 0
        self._when: float | None = None
        self.busy = False

    def feed(self, data: bytes) -> int:
        """Pass on what is in `data`; how many lines and records it was."""
        if self._head:
            data = self._head + data
            self._head = b""
        at, end, count = 0, len(data), 0
        outside: list[bytes] = []
        while at < end:
            if self._left:
                size = min(self._left, MAX_RECORD - len(self._body), end - at)
                self._body += data[at : at + size]
                self._left -= size
                at += size
                if not self._left or len(self._body) == MAX_RECORD:
                    self._emit()
                    count += 1
                continue
            found = data.find(MARK, at)
            if found < 0:
                found = end - _begun(data, at)
            outside.append(data[at:found])
            size = self._header(data, found)
            if size < 0:
                self._head = data[found:]
                break
            if not size:  # somebody's bytes that look like one
                size = len(MARK)
                outside.append(data[found : found + size])
            else:
                count += self._text(b"".join(outside))
                outside.clear()
                if not self._left:
                    self._emit()
                    count += 1
            at = found + size
        count += self._text(b"".join(outside))
        self.busy = bool(self._left or self._head)
        return count

    def end(self) -> None:
        """The stream is at its end: pass on what was waiting for the rest of it."""
        if self._left and self._body:
            self._emit()
        self._left = 0
        if self._head:
            self._text(self._head)
            self._head = b""
        self.busy = False

    def _header(self, data: bytes, at: int) -> int:
        """Begin the frame whose header is at `at`. Returns the header's size, 0: it is none, -1: it goes on."""
        if len(data) <= at + len(MARK):
            return -1
        kind = data[at + len(MARK)]
        if kind == _PLAIN:
            if len(data) < at + 8:
                return -1
            (length,) = _LENGTH.unpack_from(data, at + 4)
            size, level, when = 8, 0, None
        elif kind & _STAMPED and kind >> 2 <= _FATAL:
            if len(data) < at + 16:
                return -1
            length, micros = _LENGTH_AND_TIME.unpack_from(data, at + 4)
            size, level, when = 16, kind >> 2, micros / 1e6
        else:
            return 0
        if length > MAX_FRAME:
            return 0
        self._left, self._level, self._when = length, level, when
        return size

    def _emit(self) -> None:
        text = self._body.decode("utf-8", "replace")
        self._body.clear()
        # Clients that print a newline end their records with one, too.
        self._record(text.removesuffix("\n"), self._level, self._when)


def _begun(data: bytes, at: int) -> int:
    """How many bytes at the end of `data` may be the beginning of `MARK`."""
    for size in (2, 1):
        if data.endswith(MARK[:size], at):
            return size
    return 0
