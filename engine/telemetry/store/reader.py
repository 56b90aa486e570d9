"""Reading a log group's segments. Everything here blocks, and runs in worker threads.

Between blocks the interpreter's lock is let go: somebody who reads a large log does not make the event loop wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from engine.telemetry import records
from engine.telemetry.records import Line, Stored
from engine.telemetry.store import blocks
from engine.telemetry.store.blocks import OFFSET_BITS, PLACE_BITS, Block, Stream, position
from engine.telemetry.store.group import StreamInfo, note
from engine.telemetry.store.writer import segment_path

#: An event of another program's may be so far ahead of when it was put.
_AHEAD_MS: Final = 2 * 3_600_000
#: One page reads so much of the disk, at most.
SCAN_BYTES: Final = 32 << 20
PAGE_BYTES: Final = 1 << 20


class Event(NamedTuple):
    """One log event.

    Attributes:
        position: its place; see the package.
        stream: its log stream.
        time_ms: when it happened, wall-clock milliseconds.
        message: with the newline that it has.
        written_ms: when it was written down.
        request_id: the invocation that it belongs to, "" when none is known.
    """

    position: int
    stream: str
    time_ms: int
    message: str
    written_ms: int
    request_id: str


class Query(NamedTuple):
    """What is looked for.

    Attributes:
        streams: in these streams only; None: in all.
        prefix: in streams whose names begin so.
        start_ms, end_ms: from this time on, and before that one.
        matches: whose message it is true of; None: all.
        after: from this position on, backward: before it; None: from the beginning, or the end.
        backward: the newest first; a page is in the order of time all the same.
        limit: at most so many events.
    """

    streams: Collection[str] | None = None
    prefix: str = ""
    start_ms: int = 0
    end_ms: int = 1 << 62
    matches: Callable[[str], bool] | None = None
    after: int | None = None
    backward: bool = False
    limit: int = 10_000


class Page(NamedTuple):
    """What was found.

    Attributes:
        events: in the order of positions.
        first, last: where the page begins and ends, to go on from, before `first` or from `last` on.
        complete: there is nothing beyond, for now.
    """

    events: list[Event]
    first: int
    last: int
    complete: bool


def _parts(number: int) -> tuple[int, int, int]:
    place = number & ((1 << PLACE_BITS) - 1)
    number >>= PLACE_BITS
    return number >> OFFSET_BITS, number & ((1 << OFFSET_BITS) - 1), place


class GroupReader(NamedTuple):
    """A group as it was when somebody began to read.

    Attributes:
        folder: where it is.
        segments: the numbers of its segments, oldest first.
        deleted: streams that were deleted, and the first segment that counts again.
        end: the position behind the last event.
    """

    folder: Path
    segments: list[int]
    deleted: dict[str, int]
    end: int

    def read(self, query: Query) -> Page:
        """A page of events."""
        return _Reading(self, query).page()

    def streams(self) -> dict[str, StreamInfo]:
        """All streams of the group; reads everything."""
        found: dict[str, StreamInfo] = {}
        for number in self.segments:
            data = self._load(number)
            for block in blocks.blocks(data):
                time.sleep(0)
                with suppress(ValueError):
                    streams, raw = blocks.table(data, block)
                    kept = blocks.records(raw)
                    note(found, number, streams, kept, block.written_ms)
            for name in [name for name, first in self.deleted.items() if number < first]:
                found.pop(name, None)
        return found

    def _load(self, number: int) -> bytes:
        try:
            return segment_path(self.folder, number).read_bytes()
        except OSError:  # it was deleted meanwhile
            return b""

    def _written_until(self, number: int) -> int:
        """When the segment was written to last, wall-clock milliseconds; 0 when it is gone."""
        try:
            return int(segment_path(self.folder, number).stat().st_mtime * 1000) + 1
        except OSError:
            return 0


class _Reading:
    """One page in the making."""

    def __init__(self, group: GroupReader, query: Query) -> None:
        self._group = group
        self._query = query
        self._found: list[Event] = []
        self._size = 0
        self._scanned = 0
        self._cut = False  # a block had more than there was room for

    def page(self) -> Page:
        query = self._query
        backward = query.backward
        segments = self._group.segments
        oldest = position(segments[0], 0, 0) if segments else 0
        start = query.after if query.after is not None else (self._group.end if backward else oldest)
        edge = start  # what is on the near side of it was looked at
        first_segment, first_offset, _ = _parts(start)
        complete = True
        for number in reversed(segments) if backward else segments:
            if number > first_segment if backward else number < first_segment:
                continue
            written = self._group._written_until(number)
            if written + _AHEAD_MS < query.start_ms:
                if backward and written:
                    break  # all before it are older
                continue
            data = self._group._load(number)
            found = list(blocks.blocks(data))
            for block in reversed(found) if backward else found:
                if number == first_segment and (block.offset > first_offset if backward else block.end <= first_offset):
                    continue
                if self._full():
                    complete = False
                    break
                edge = self._block(data, number, block, start, edge)
                if self._cut:
                    complete = False
                    break
            if not complete:
                break
            if not backward and found:
                edge = max(edge, position(number, found[-1].end, 0))
        events = self._found[::-1] if backward else self._found
        first, last = (edge, start) if backward else (start, edge)
        if complete and backward:
            first = min(first, oldest) if not self._found else first
        return Page(events, first, last, complete)

    def _full(self) -> bool:
        return len(self._found) >= self._query.limit or self._size >= PAGE_BYTES or self._scanned >= SCAN_BYTES

    def _block(self, data: bytes, number: int, block: Block, start: int, edge: int) -> int:
        """Take a block's events, as far as there is room. Returns up to where, or from where on, it was looked at."""
        query = self._query
        backward = query.backward
        done = position(number, block.offset if backward else block.end, 0)
        self._scanned += block.end - block.offset
        time.sleep(0)
        if block.last_ms < query.start_ms or block.first_ms >= query.end_ms:
            return done
        try:
            streams, raw = blocks.table(data, block)
            wanted = {index: stream for index, stream in enumerate(streams) if self._wanted(stream, number)}
            if not wanted or not blocks.intact(data, block):
                return done
            events = list(self._events(number, block, wanted, blocks.records(raw)))
        except (ValueError, msgspec.MsgspecError):  # torn by a power cut, or of a later version
            return done
        for event in reversed(events) if backward else events:
            if event.position >= start if backward else event.position < start:
                continue
            if self._full():
                self._cut = True
                return edge
            edge = event.position if backward else event.position + 1
            if query.matches is None or query.matches(event.message):
                self._found.append(event)
                self._size += len(event.message) + 26  # CloudWatch's measure
        return done

    def _wanted(self, stream: Stream, number: int) -> bool:
        query = self._query
        if query.streams is not None and stream.name not in query.streams:
            return False
        if query.prefix and not stream.name.startswith(query.prefix):
            return False
        return number >= self._group.deleted.get(stream.name, 0)

    def _events(self, number: int, block: Block, wanted: dict[int, Stream], kept: list[Stored]) -> Iterator[Event]:
        query = self._query
        for index, record in enumerate(kept):
            stream = wanted.get(record.stream)
            if stream is None or not query.start_ms <= record.time_ms < query.end_ms:
                continue
            whole = isinstance(record, Line) and record.whole
            for place, message in enumerate(records.messages(record, stream.shape)):
                yield Event(
                    position(number, block.offset, index * 2 + place),
                    stream.name,
                    record.time_ms,
                    message if whole else f"{message}\n",
                    block.written_ms,
                    record.request_id,
                )
