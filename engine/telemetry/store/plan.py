"""Which segment a block goes to, and which segments are deleted for it. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A group has at least so many segments before its oldest is deleted: it loses an eighth of its log then, not all.
SEGMENTS: Final = 8


@dataclass(slots=True)
class Segment:
    """One file.

    Attributes:
        number: grows by one with each.
        size: bytes that were given to it.
        last_ms: wall-clock milliseconds; no event in it is later by more than what is permitted to events put.
    """

    number: int
    size: int
    last_ms: int


class SegmentPlan:
    """The segments of one group.

    Args:
        limit: bytes that all of them may have.
        segments: those that are there, oldest first.
    """

    __slots__ = ("limit", "segments")

    def __init__(self, limit: int, segments: list[Segment] | None = None) -> None:
        self.limit = limit
        self.segments = segments or []
        self.rotate()  # the end of what an engine before wrote may be torn: nothing is written behind it

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def numbers(self) -> list[int]:
        """Those that are there, oldest first."""
        return [segment.number for segment in self.segments]

    def place(self, size: int, last_ms: int) -> tuple[int, list[int]]:
        """A block of `size` bytes comes: the segment that it goes to, and the segments to delete."""
        segments = self.segments
        if not segments or (segments[-1].size and segments[-1].size + size > self.limit // SEGMENTS):
            self.rotate()
        current = segments[-1]
        current.size += size
        current.last_ms = max(current.last_ms, last_ms)
        total = self.size
        gone = []
        while total > self.limit and len(segments) > 1:
            oldest = segments.pop(0)
            total -= oldest.size
            gone.append(oldest.number)
        return current.number, gone

    def rotate(self) -> int:
        """The next block goes to a new segment, unless the current one is empty. Its number."""
        segments = self.segments
        if not segments:
            segments.append(Segment(1, 0, 0))
        elif segments[-1].size:
            segments.append(Segment(segments[-1].number + 1, 0, 0))
        return segments[-1].number

    def expire(self, before_ms: int) -> list[int]:
        """The segments with nothing in them that is as late as that: they are to be deleted."""
        gone = [segment for segment in self.segments[:-1] if segment.last_ms < before_ms]
        if self.segments and self.segments[-1].size and self.segments[-1].last_ms < before_ms:
            self.rotate()
            gone = self.segments[:-1]
        self.segments = [segment for segment in self.segments if segment not in gone]
        return [segment.number for segment in gone]

    def clear(self) -> None:
        """All are to be deleted; numbers go on."""
        number = self.segments[-1].number + 1 if self.segments else 1
        self.segments = [Segment(number, 0, 0)]
