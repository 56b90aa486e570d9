"""Messages that come in pieces: what there is of them so far, in about the memory of their bytes.

A peer chooses how it cuts what it sends, and each piece of two bytes would be an object of fifty. So small pieces are
put together as they come.
"""

from __future__ import annotations

from typing import Final

from httptools import HttpRequestParser

__all__ = ["PartialHead", "collect"]

_SMALL: Final = 4096


def collect(pieces: list[bytes | bytearray], piece: bytes) -> None:
    """Append `piece` to the body that `pieces` are, joined in order. The first of them stays what it is."""
    if len(piece) >= _SMALL or not pieces:
        pieces.append(piece)
    elif isinstance(last := pieces[-1], bytearray):
        last += piece
    else:
        pieces.append(bytearray(piece))


class _Silent:
    """Callbacks of a parser that only validates: none."""

    __slots__ = ()


class PartialHead:
    """A request's head, as far as it has come: collected, and validated on the way."""

    __slots__ = ("_data", "_parser", "_scanned")

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        self._parser = HttpRequestParser(_Silent())
        self._scanned = max(0, len(data) - 3)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self._data)

    def add(self, data: bytes) -> bytes | None:
        """More has come. All of it, when the head is whole now (its body, and more, may follow), else None."""
        self._data += data
        if self._data.find(b"\r\n\r\n", self._scanned) >= 0:
            return bytes(self._data)
        self._scanned = max(0, len(self._data) - 3)
        return None

    def check(self, data: bytes) -> None:
        """Whether `data`, the piece that came last, goes on in a way that a request may.

        Raises:
            httptools.HttpParserError: it does not.
        """
        self._parser.feed_data(data)
