"""``application/vnd.amazon.eventstream``: the frames in which AWS streams (facts §6.3).

::

    u32 length of the whole frame | u32 length of the headers | u32 CRC of these eight bytes
    headers: u8 length of the name | name | u8 7 (a string) | u16 length of the value | value
    payload
    u32 CRC of everything before it

Both directions are here, on the standard library only: the server encodes, the command line decodes. AWS's own coders
live in packages that bring a whole client with them (botocore decodes only, awscrt is 20 MB of C); the tests hold this
one against botocore's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
MAX_FRAME: Final = 16 << 20
"""Bytes of the largest frame that AWS's clients accept."""

_STRING: Final = 7
_prelude = struct.Struct(">II").pack
_u32 = struct.Struct(">I").pack


class Frame(NamedTuple):
    """One decoded frame."""

    headers: dict[str, str]
    payload: bytes


class FrameError(ValueError):
    """What came is no event stream, or it was damaged on its way."""


def encode_headers(headers: dict[str, str]) -> bytes:
    """The headers of a frame; strings only."""
    parts = []
    for name, value in headers.items():
        key, text = name.encode(), value.encode()
        parts.append(struct.pack(f">B{len(key)}sBH{len(text)}s", len(key), key, _STRING, len(text), text))
    return b"".join(parts)


def event_headers(event_type: str, content_type: str) -> bytes:
    """The headers of an event, encoded."""
    return encode_headers({":event-type": event_type, ":content-type": content_type, ":message-type": "event"})


def encode(headers: bytes, payload: bytes) -> bytes:
    """One frame; `headers` as `encode_headers` made them."""
    head = _prelude(16 + len(headers) + len(payload), len(headers))
    crc = zlib.crc32(head)
    front = head + _u32(crc) + headers
    crc = zlib.crc32(payload, zlib.crc32(front))
    return b"".join((front, payload, _u32(crc)))


class Decoder:
    """Bytes in as they come, whole frames out."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`.

        Raises:
            FrameError: a checksum or a length is wrong; nothing after it can be trusted.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 12:
            size, headers_size, crc = struct.unpack_from(">III", buffer)
            if zlib.crc32(memoryview(buffer)[:8]) != crc:
                raise FrameError("not an event stream: the checksum of a frame's lengths is wrong")
            if not 16 + headers_size <= size <= MAX_FRAME:
                raise FrameError(f"a frame of {size} bytes with {headers_size} bytes of headers cannot be")
            if len(buffer) < size:
                return
            frame = bytes(memoryview(buffer)[:size])
            del buffer[:size]
            if zlib.crc32(memoryview(frame)[:-4]) != int.from_bytes(frame[-4:]):
                raise FrameError("a frame was damaged on its way: its checksum is wrong")
            yield Frame(_decode_headers(frame[12 : 12 + headers_size]), frame[12 + headers_size : -4])

    @property
    def rest(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._buffer)


def _decode_headers(data: bytes) -> dict[str, str]:
    headers = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            if data[name_end] != _STRING:
                raise FrameError(f"a header of type {data[name_end]} is not a string")
            value_at = name_end + 3
            value_end = value_at + int.from_bytes(data[name_end + 1 : value_at])
            if value_end > len(data):
                raise FrameError("the headers of a frame break off")
            headers[data[at + 1 : name_end].decode()] = data[value_at:value_end].decode()
            at = value_end
    except (IndexError, UnicodeDecodeError) as error:
        raise FrameError(f"the headers of a frame cannot be read: {error}") from None
    return headers
