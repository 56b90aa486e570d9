"""One log group, on the loop: what waits to be written, and what is known without reading."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from engine.telemetry import records
from engine.telemetry.logs import END, START, Entry, Source, clock_offset_ms, stored
from engine.telemetry.records import Line, Stored
from engine.telemetry.store import blocks
from engine.telemetry.store.blocks import Stream
from engine.telemetry.store.plan import SegmentPlan
from engine.telemetry.store.writer import Writer

#: So many entries become one block at a time: the loop is held for some 0.5 ms.
SLICE: Final = 512
#: So many bytes of text are not waited with.
FLUSH_BYTES: Final = 262_144
#: With so much handed to the writer and not written, whoever prints waits.
CONGESTED_BYTES: Final = 2 << 20
#: With so much, what comes is dropped: whoever prints cannot be made to wait for what is in its pipe already.
MOST_BYTES: Final = 16 << 20

_LOG = logging.getLogger("lambent.logs")
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Meta(Struct, omit_defaults=True):
    """What ``group.json`` says.

    Attributes:
        name: the group's.
        created_ms: when it was made, wall-clock milliseconds.
        retention_days: events older than that are not shown, and go; None: they stay while there is room.
        tags: a user's.
        deleted: streams that were deleted, and the first segment that counts again.
    """

    name: str
    created_ms: int
    retention_days: int | None = None
    tags: dict[str, str] = {}
    deleted: dict[str, int] = {}


class StreamInfo(Struct):
    """A log stream, as DescribeLogStreams shows it; times are wall-clock ms, None while it has no event.

    `segment` is the newest that says something of it: when that is deleted, the stream is gone.
    """

    name: str
    created_ms: int
    segment: int
    first_ms: int | None = None
    last_ms: int | None = None
    written_ms: int | None = None

    def heard(self, first_ms: int, last_ms: int, written_ms: int) -> None:
        """It has more events."""
        self.first_ms = first_ms if self.first_ms is None else min(self.first_ms, first_ms)
        self.last_ms = last_ms if self.last_ms is None else max(self.last_ms, last_ms)
        self.written_ms = written_ms if self.written_ms is None else max(self.written_ms, written_ms)


def folder_name(name: str) -> str:
    """The folder of a group: recognisable, of a permitted length, and no other group's."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{_ODD.sub('-', name).strip('-.')[:96]}-{digest}"


class LogGroup:
    """A log group: a `logs.Sink`, and a `writer.Counted`. It may be there only in name, when nothing was said yet.

    Attributes:
        meta: what is known of it; None while it does not exist.
        plan: its segments.
        pending: entries that wait to become blocks.
        written, lost: the writer's.
        dropped: records that were not handed to the writer, as too much waited.
        streams: what is known of its streams; None until somebody asked, as it takes reading everything once.
    """

    __slots__ = (
        "_bytes",
        "_due",
        "_given",
        "_lost_before",
        "_writer",
        "dropped",
        "folder",
        "lost",
        "meta",
        "name",
        "pending",
        "plan",
        "streams",
        "written",
    )

    def __init__(
        self, name: str, root: Path, writer: Writer, plan: SegmentPlan, due: Callable[[LogGroup], None]
    ) -> None:
        self.name = name
        self.folder = root / folder_name(name)
        self.meta: Meta | None = None
        self.plan = plan
        self.pending: list[Entry] = []
        self.written = 0
        self.lost = 0
        self.dropped = 0
        self.streams: dict[str, StreamInfo] | None = None
        self._bytes = 0
        self._given = 0
        self._lost_before = 0
        self._writer = writer
        self._due = due

    # ---- what is said ----------------------------------------------------------------------------------------------

    def due(self) -> None:
        """An entry is about to be the first to wait."""
        self._due(self)

    def grown(self, size: int) -> None:
        """The entry appended last holds `size` bytes of text."""
        self._bytes += size
        if self._bytes > FLUSH_BYTES:
            self.flush()

    def congested(self) -> bool:
        """So much waits to be written that whoever prints should wait, too."""
        return self._given - self.written > CONGESTED_BYTES

    def flush(self, most: int | None = None) -> bool:
        """Hand what waits to the writer, at most so many entries. Returns whether anything is left."""
        pending = self.pending
        if most is not None and len(pending) > most:
            batch = pending[:most]
            del pending[:most]
        else:
            batch = pending[:]
            pending.clear()
            self._bytes = 0
        if batch:
            self._write(*_of(batch), now_ms())
        return bool(pending)

    def put(self, stream: Stream, lines: list[Line]) -> None:
        """Events of another program's; `lines` have stream 0."""
        self.flush()
        self._write([stream], list(lines), now_ms())

    def _write(self, streams: list[Stream], kept: list[Stored], written_ms: int) -> None:
        if self._given - self.written > MOST_BYTES:
            if not self.dropped:
                _LOG.warning(
                    "log group %s: what is said comes faster than the disk takes it; some is dropped", self.name
                )
            self.dropped += len(kept)
            return
        self.exist()
        if self.lost != self._lost_before:  # a block is missing: offsets are right again in a new segment
            self._lost_before = self.lost
            self.plan.rotate()
        data, _, last_ms = blocks.pack(streams, kept, written_ms)
        number, gone = self.plan.place(len(data), max(written_ms, last_ms))
        self._given += len(data)
        self._writer.append(self.folder, number, data, len(kept), self)
        if gone:
            self._forget(gone)
        if self.streams is not None:
            note(self.streams, number, streams, kept, written_ms)

    @property
    def end(self) -> int:
        """The position behind what was handed to the writer."""
        last = self.plan.segments[-1]
        return blocks.position(last.number, last.size, 0)

    # ---- coming and going ------------------------------------------------------------------------------------------

    def exist(self) -> Meta:
        """Make the group, unless it is there."""
        if self.meta is None:
            self.meta = Meta(self.name, now_ms())
            self.streams = {}
            self.describe()
        return self.meta

    def describe(self) -> None:
        """What is known of it has changed."""
        self._writer.describe(self.folder, msgspec.json.format(msgspec.json.encode(self.meta), indent=1))

    def delete(self) -> None:
        """It is gone, with everything in it. Whoever says something afterwards makes it anew."""
        self.pending.clear()
        self._bytes = 0
        self.meta = None
        self.streams = None
        self.plan.clear()
        self._writer.remove(self.folder)

    def delete_stream(self, name: str) -> None:
        """What the stream had to say is not shown any more."""
        self.flush()
        meta = self.exist()
        meta.deleted[name] = self.plan.rotate()
        if self.streams is not None:
            self.streams.pop(name, None)
        self.describe()

    def expire(self, now: int) -> None:
        """Let go of segments with nothing in them that is to be kept."""
        cutoff = self.cutoff_ms(now)
        if cutoff:
            gone = self.plan.expire(cutoff)
            if gone:
                self._forget(gone)

    def cutoff_ms(self, now: int) -> int:
        """Events before this are not shown."""
        days = self.meta.retention_days if self.meta is not None else None
        return now - days * 86_400_000 if days else 0

    def _forget(self, gone: list[int]) -> None:
        self._writer.delete(self.folder, gone)
        oldest = self.plan.segments[0].number if self.plan.segments else gone[-1] + 1
        if self.streams is not None:
            for name in [name for name, info in self.streams.items() if info.segment < oldest]:
                del self.streams[name]
        if self.meta is not None and self.meta.deleted:
            left = {name: number for name, number in self.meta.deleted.items() if number > oldest}
            if left != self.meta.deleted:
                self.meta.deleted = left
                self.describe()


def note(infos: dict[str, StreamInfo], number: int, streams: list[Stream], kept: list[Stored], written_ms: int) -> None:
    """Take down what a block of segment `number` says of its streams."""
    spans: list[tuple[int, int] | None] = [None] * len(streams)
    for record in kept:
        time_ms, span = record.time_ms, spans[record.stream]
        spans[record.stream] = (time_ms, time_ms) if span is None else (min(span[0], time_ms), max(span[1], time_ms))
    for stream, span in zip(streams, spans, strict=True):
        info = infos.get(stream.name)
        if info is None:
            info = infos[stream.name] = StreamInfo(stream.name, stream.created_ms, number)
        info.segment = max(info.segment, number)
        if span is not None:
            info.heard(*span, written_ms)


def _of(batch: list[Entry]) -> tuple[list[Stream], list[Stored]]:
    """The streams and records of entries."""
    offset_ms = clock_offset_ms()
    streams: list[Stream] = []
    places: dict[int, int] = {}
    kept: list[Stored] = []
    last: Source | None = None
    place = 0
    for entry in batch:
        kind, _, source, invocation, _ = entry
        if source is not last:
            last = source
            found = places.get(id(source))
            if found is None:
                found = places[id(source)] = len(streams)
                streams.append(Stream(source.stream, source.created_ms, source.shape))
            place = found
        if kind == END:
            assert invocation is not None
            kept.append(records.ended(invocation, place, offset_ms))
        elif kind == START:
            assert invocation is not None
            kept.append(records.started(invocation, place, offset_ms))
        else:
            kept += stored(entry, place, offset_ms)
    return streams, kept


def now_ms() -> int:
    """Wall-clock milliseconds since the epoch."""
    return int(time.time() * 1000)
