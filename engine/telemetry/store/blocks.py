"""Blocks: the bytes of a segment. No I/O."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from engine.telemetry.records import TEXT, Format, Stored

#: Length of what follows, checksum of all that follows it, then wall-clock ms: written, first and last event.
_HEADER: Final = struct.Struct("<IIqqq")
_TIMES: Final = struct.Struct("<qqq")
HEADER_SIZE: Final = _HEADER.size

#: A longer block is not one of ours.
MAX_BLOCK: Final = 64 << 20


#: How a position is made up: segment, offset of the block, place in it.
OFFSET_BITS: Final = 40
PLACE_BITS: Final = 24


def position(segment: int, offset: int, place: int) -> int:
    """An event's place as a number."""
    return (segment << OFFSET_BITS | offset) << PLACE_BITS | place


class Stream(Struct, array_like=True, gc=False):
    """A log stream, as a block's table has it.

    Attributes:
        name: unique in the group.
        created_ms: when it was made, wall-clock milliseconds.
        shape: how its records are shown.
    """

    name: str
    created_ms: int
    shape: Format = TEXT


class Block(Struct, frozen=True):
    """Where a block is, and what its header says.

    Attributes:
        offset: of its header in the segment.
        end: of its payload.
        written_ms: when it was made.
        first_ms: time of its earliest event; above `last_ms` when it has none.
        last_ms: time of its latest event.
    """

    offset: int
    end: int
    written_ms: int
    first_ms: int
    last_ms: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_table: Final = msgspec.msgpack.Decoder(tuple[list[Stream], msgspec.Raw]).decode
_decode_records: Final = msgspec.msgpack.Decoder(list[Stored]).decode


def pack(streams: list[Stream], records: list[Stored], written_ms: int) -> tuple[bytes, int, int]:
    """A block, and the times of its first and last event (1 and 0 when it has none)."""
    first, last = 1, 0
    if records:
        times = [record.time_ms for record in records]
        first, last = min(times), max(times)
    payload = _encode((streams, records))
    checked = _TIMES.pack(written_ms, first, last)
    checksum = zlib.crc32(payload, zlib.crc32(checked))
    return _HEADER.pack(len(payload), checksum, written_ms, first, last) + payload, first, last


def blocks(data: bytes, base: int = 0) -> Iterator[Block]:
    """The blocks of a segment's bytes, as far as they are whole; checksums are looked at by `contents`.

    Args:
        data: from the beginning of a block on.
        base: the offset in the segment at which `data` begins.
    """
    at, size = 0, len(data)
    while at + HEADER_SIZE <= size:
        length, _, written, first, last = _HEADER.unpack_from(data, at)
        end = at + HEADER_SIZE + length
        if length > MAX_BLOCK or end > size:
            return
        yield Block(base + at, base + end, written, first, last)
        at = end


def intact(data: bytes, block: Block, base: int = 0) -> bool:
    """Whether the block's checksum is right."""
    at = block.offset - base
    length, checksum, *times = _HEADER.unpack_from(data, at)
    payload = memoryview(data)[at + HEADER_SIZE : at + HEADER_SIZE + length]
    return bool(zlib.crc32(payload, zlib.crc32(_TIMES.pack(*times))) == checksum)


def table(data: bytes, block: Block, base: int = 0) -> tuple[list[Stream], msgspec.Raw]:
    """The streams of a block, and its records undecoded.

    Raises:
        ValueError: it is not what was written; `intact` says so, too.
    """
    at = block.offset - base
    return _decode_table(memoryview(data)[at + HEADER_SIZE : block.end - base])


def records(raw: msgspec.Raw) -> list[Stored]:
    """The records. Raises ValueError as `table`."""
    return _decode_records(raw)
