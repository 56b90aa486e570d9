"""A function's log: a bounded ring of records in memory, and whoever follows it.

On the warm path two records are appended per invocation (its start, its end), each a small tuple that holds the
invocation; text is made only when somebody reads. Lines a function prints are kept as text. The ring is bounded by
records (the deque sees to that) and by bytes of text (counted when lines come); the oldest go first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from engine.model.invocation import Invocation
from engine.telemetry import report

START: Final = 0
END: Final = 1
LINE: Final = 2
PLATFORM: Final = 3

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


_Raw = tuple[int, float, str, Invocation | None, str]


class FunctionLog:
    """The log of one function. Not thread-safe: it lives on the loop."""

    __slots__ = ("_bytes", "_records", "followers")

    def __init__(self) -> None:
        self._records: deque[_Raw] = deque(maxlen=MAX_RECORDS)
        self._bytes = 0  # at least the text in the ring; what fell off its end is subtracted when it matters
        self.followers: list[Callable[[LogRecord], None]] = []

    def start(self, stream: str, invocation: Invocation) -> None:
        """An invocation began."""
        self._records.append((START, invocation.started, stream, invocation, ""))
        if self.followers:
            self._tell(self._records[-1])

    def end(self, stream: str, invocation: Invocation) -> None:
        """An invocation ended: END and REPORT."""
        self._records.append((END, invocation.ended, stream, invocation, ""))
        if self.followers:
            self._tell(self._records[-1])

    def line(self, stream: str, invocation: Invocation | None, text: str) -> None:
        """The function printed a line."""
        self._append((LINE, time.monotonic(), stream, invocation, text))
        if invocation is not None and invocation.log is not None:
            log = invocation.log
            log.append(text if len(text) <= TAIL_BYTES else text[-TAIL_BYTES:])
            if not len(log) % _TRIM_EVERY:
                _keep_tail(log)

    def platform(self, stream: str, text: str) -> None:
        """A platform line outside an invocation, such as INIT_START."""
        self._append((PLATFORM, time.monotonic(), stream, None, text))

    def records(self, limit: int | None = None) -> list[LogRecord]:
        """The newest `limit` records (all when None), oldest first."""
        out = [rendered for raw in list(self._records) for rendered in _render(raw)]
        return out if limit is None else out[len(out) - min(limit, len(out)) :]

    def _append(self, raw: _Raw) -> None:
        self._records.append(raw)
        self._bytes += len(raw[4])
        if self._bytes > MAX_BYTES:
            self._trim()
        if self.followers:
            self._tell(raw)

    def _trim(self) -> None:
        """Make room for a quarter more, so that this happens once per many lines."""
        records = self._records
        size = sum(len(raw[4]) for raw in records)
        while size > MAX_BYTES * 3 // 4 and len(records) > 1:
            size -= len(records.popleft()[4])
        self._bytes = size

    def _tell(self, raw: _Raw) -> None:
        for record in _render(raw):
            for follower in tuple(self.followers):
                follower(record)


def _render(raw: _Raw) -> Iterator[LogRecord]:
    kind, when, stream, invocation, text = raw
    time_ms = int((time.time() - time.monotonic() + when) * 1000)
    request_id = invocation.request_id if invocation is not None else ""
    if invocation is None or kind == LINE:
        messages = [text]
    elif kind == START:
        messages = [report.start_line(invocation)]
    else:
        messages = [report.end_line(invocation), report.report_line(invocation)]
    for message in messages:
        yield LogRecord(time_ms=time_ms, stream=stream, request_id=request_id, message=message)


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
    lines = [report.start_line(invocation), *(invocation.log or ()), report.end_line(invocation)]
    text = "\n".join([*lines, report.report_line(invocation)]) + "\n"
    return text.encode("utf-8", "replace")[-TAIL_BYTES:]
