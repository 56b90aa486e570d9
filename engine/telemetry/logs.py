"""A function's log in memory: a bounded ring of what its environments said last, and whoever follows it.

On the warm path two entries are appended per invocation (its start, its end), each a small tuple that holds the
invocation; text is made only when somebody reads. The ring is bounded by entries (the deque sees to that) and by bytes
of text (counted when lines come); the oldest go first. What is kept for good is in `store`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from msgspec import Struct

from engine.model.invocation import Invocation
from engine.telemetry import records
from engine.telemetry.events import Record
from engine.telemetry.records import Format, Line, Stored

#: Kinds of entries. The time of the first two is monotonic seconds, of the others seconds since the epoch.
START: Final = 0
END: Final = 1
LINE: Final = 2
EVENT: Final = 3

MAX_RECORDS = 2_000
MAX_BYTES = 1_048_576
TAIL_BYTES = 4_096
#: Lines after which what cannot be in an invocation's tail any more is let go.
_TRIM_EVERY = 512


class LogRecord(Struct, frozen=True, kw_only=True):
    """One line of a function's log, as the admin API and `lambent logs` show it.

    Attributes:
        time_ms: wall-clock milliseconds since the epoch.
        stream: the log stream's name, one per environment.
        request_id: the invocation it belongs to; "" during Init or between invocations.
        message: the text, without the newline.
    """

    time_ms: int
    stream: str
    request_id: str
    message: str


class Source(Struct, frozen=True):
    """Who said it: what all entries of one environment have in common.

    Attributes:
        stream: the log stream's name.
        shape: how its log is written.
        created_ms: when it began, wall-clock milliseconds since the epoch.
    """

    stream: str
    shape: Format
    created_ms: int


class Text(Struct, frozen=True):
    """A line with what came along with it through the framed log pipe."""

    text: str
    level: int


Entry = tuple[int, float, Source, Invocation | None, str | Text | Record | None]


class Sink(Protocol):
    """Where entries go that are to be kept: a log group of `store`.

    Attributes:
        pending: entries that were not written yet. To be appended to; after `due` when it was empty before.
    """

    pending: list[Entry]

    def due(self) -> None:
        """An entry is about to be the first to wait."""
        ...

    def grown(self, size: int) -> None:
        """The entry appended last holds `size` bytes of text."""
        ...

    def congested(self) -> bool:
        """So much waits to be written that whoever prints should wait, too."""
        ...


class FunctionLog:
    """The newest entries of one function. Not thread-safe: it lives on the loop.

    Args:
        sink_of: the log group of a name, where entries are kept for good; None: nowhere.

    Attributes:
        followers: called with each record from now on.
    """

    __slots__ = ("_bytes", "entries", "followers", "sink_of")

    def __init__(self, sink_of: Callable[[str], Sink] | None = None) -> None:
        self.sink_of = sink_of
        self.entries: deque[Entry] = deque(maxlen=MAX_RECORDS)
        self._bytes = 0  # at least the text in the ring; what fell off its end is subtracted when it matters
        self.followers: list[Callable[[LogRecord], None]] = []

    def append(self, entry: Entry, size: int) -> None:
        """Something with `size` bytes of text was said. Starts and ends have none, and go to `entries` directly."""
        self.entries.append(entry)
        self._bytes += size
        if self._bytes > MAX_BYTES:
            self._trim()
        if self.followers:
            self.tell(entry)

    def records(self, limit: int | None = None) -> list[LogRecord]:
        """The newest `limit` records (all when None), oldest first."""
        out = [rendered for entry in list(self.entries) for rendered in _render(entry)]
        return out if limit is None else out[len(out) - min(limit, len(out)) :]

    def tell(self, entry: Entry) -> None:
        """Tell the followers."""
        for record in _render(entry):
            for follower in tuple(self.followers):
                follower(record)

    def _trim(self) -> None:
        """Make room for a quarter more, so that this happens once per many lines."""
        entries = self.entries
        size = sum(size_of(entry) for entry in entries)
        while size > MAX_BYTES * 3 // 4 and len(entries) > 1:
            size -= size_of(entries.popleft())
        self._bytes = size


def size_of(entry: Entry) -> int:
    """Characters of text in an entry."""
    data = entry[4]
    if isinstance(data, str):
        return len(data)
    return len(data.text) if isinstance(data, Text) else 0


def stored(entry: Entry, stream: int, offset_ms: float) -> Iterator[Stored]:
    """The records that an entry is kept as.

    Args:
        entry: what was said.
        stream: the stream's place in the table that goes with the records.
        offset_ms: wall-clock minus monotonic milliseconds.
    """
    kind, when, source, invocation, data = entry
    if kind == START:
        assert invocation is not None
        yield records.started(invocation, stream, offset_ms)
    elif kind == END:
        assert invocation is not None
        yield records.ended(invocation, stream, offset_ms)
    else:
        request_id = invocation.request_id if invocation is not None else ""
        time_ms = int(when * 1000)
        if isinstance(data, str):
            yield Line(stream, time_ms, data, request_id)
        elif isinstance(data, Text):
            yield Line(stream, time_ms, data.text, request_id, data.level)
        else:
            assert data is not None
            for message in records.platform(time_ms, data, source.shape):
                yield Line(stream, time_ms, message, request_id)


def clock_offset_ms() -> float:
    """What turns monotonic milliseconds into wall-clock milliseconds since the epoch, now."""
    return (time.time() - time.monotonic()) * 1000


def _render(entry: Entry) -> Iterator[LogRecord]:
    source = entry[2]
    for record in stored(entry, 0, clock_offset_ms()):
        for message in records.messages(record, source.shape):
            yield LogRecord(time_ms=record.time_ms, stream=source.stream, request_id=record.request_id, message=message)


# ---- LogType=Tail ----------------------------------------------------------------------------------------------------


def add_to_tail(log: list[str], text: str) -> None:
    """Remember a line of an invocation whose caller wants the end of its log."""
    log.append(text if len(text) <= TAIL_BYTES else text[-TAIL_BYTES:])
    if not len(log) % _TRIM_EVERY:
        _keep_tail(log)


def _keep_tail(log: list[str]) -> None:
    """Keep the last lines of `log` that make up `TAIL_BYTES`; a line counts its newline, and each character a byte."""
    size = 0
    for index in range(len(log) - 1, -1, -1):
        size += len(log[index]) + 1
        if size >= TAIL_BYTES:
            del log[:index]
            return


def tail(invocation: Invocation) -> bytes:
    """The last 4 KB of an invocation's log, START to REPORT, as LogType=Tail returns them (before base64)."""
    offset_ms = clock_offset_ms()
    shape = records.format_of(invocation.route.function)
    lines = [
        *records.messages(records.started(invocation, 0, offset_ms), shape),
        *(invocation.log or ()),
        *records.messages(records.ended(invocation, 0, offset_ms), shape),
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")[-TAIL_BYTES:]
