"""The framed log: a stream cut anywhere is taken apart in the same way, whatever is in it, and nothing of it is lost."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.lifecycle.frames import MARK, MAX_FRAME, MAX_RECORD, Frames

INFO, ERROR = 3, 5


def frame(text: bytes, level: int = INFO, micros: int = 1_500_000, *, length: int | None = None) -> bytes:
    size = len(text) if length is None else length
    return struct.pack(">IIQ", 0xA55A0003 | level << 2, size, micros) + text


class Seen:
    """What `Frames` said: bytes of text joined where nothing came between them, records as they are."""

    def __init__(self) -> None:
        self.all: list[bytes | tuple[str, int, float | None]] = []
        self.frames = Frames(self._text, lambda *record: self.all.append(record))

    def _text(self, data: bytes) -> int:
        if data and self.all and isinstance(self.all[-1], bytes):
            self.all[-1] += data
        elif data:
            self.all.append(data)
        return data.count(b"\n")

    def feed(self, *pieces: bytes) -> Seen:
        for piece in pieces:
            self.frames.feed(piece)
        return self

    def end(self) -> list[bytes | tuple[str, int, float | None]]:
        self.frames.end()
        assert not self.frames.busy
        return self.all


def test_a_record_of_many_lines_is_one_with_its_level_and_its_time():
    seen = Seen().feed(b"before\n" + frame(b"a\nb\nc\n", ERROR) + b"after\n")
    assert not seen.frames.busy
    assert seen.end() == [b"before\n", ("a\nb\nc", ERROR, 1.5), b"after\n"]


def test_the_first_form_has_neither():
    assert Seen().feed(struct.pack(">II", 0xA55A0001, 3) + b"abcdef").end() == [("abc", 0, None), b"def"]


def test_a_line_goes_on_after_a_record_that_came_in_its_middle():
    assert Seen().feed(b"ab" + frame(b"x") + b"cd\n").end() == [b"ab", ("x", INFO, 1.5), b"cd\n"]


def test_an_empty_record_is_one():
    assert Seen().feed(frame(b"")).end() == [("", INFO, 1.5)]


@pytest.mark.parametrize(
    "bytes_", [MARK + b"\x00", MARK + b"\xff", MARK + b"\x1e", MARK * 5, b"\xa5\x5a", frame(b"", length=MAX_FRAME + 1)]
)
def test_what_is_no_header_is_text(bytes_):
    assert Seen().feed(bytes_).end() == [bytes_]


def test_a_long_record_is_cut_and_never_held_whole():
    seen = Seen()
    body = b"x" * (MAX_RECORD * 2 + 5)
    data = frame(body)
    for at in range(0, len(data), 16_384):
        seen.feed(data[at : at + 16_384])
        assert len(seen.frames._body) < MAX_RECORD
    assert [len(one[0]) for one in seen.end()] == [MAX_RECORD, MAX_RECORD, 5]


def test_what_there_is_of_a_record_is_told_when_its_writer_dies():
    assert Seen().feed(frame(b"half a", length=100)).end() == [("half a", INFO, 1.5)]
    assert Seen().feed(frame(b"", length=100)).end() == []
    assert Seen().feed(frame(b"")[:11]).end() == [frame(b"")[:11]]


def test_text_in_other_scripts_is_left_alone():
    text = "å 北京 \N{SNOWMAN} ¥\n".encode()
    assert Seen().feed(*[bytes([one]) for one in text]).end() == [text]


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\xa5", b"\xa5\x5a", MARK, MARK + b"\x02", b"\n", b"text\n"]),
    st.builds(frame, st.binary(max_size=40), st.integers(0, 6)),
    st.builds(lambda length: frame(b"", length=length), st.integers(0, (1 << 32) - 1)),
)


@given(st.lists(PIECES, max_size=12), st.lists(st.integers(0, 700), max_size=12))
def test_it_does_not_matter_how_the_stream_was_cut(pieces, cuts):
    data = b"".join(pieces)
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[a:b] for a, b in itertools.pairwise(at)]
    assert Seen().feed(*parts).end() == Seen().feed(data).end()


@given(st.lists(st.tuples(st.text(max_size=20), st.integers(0, 6)), max_size=8))
def test_every_record_comes_out(records):
    data = b"".join(frame(text.encode(), level) for text, level in records)
    assert Seen().feed(data).end() == [(text.removesuffix("\n"), level, 1.5) for text, level in records]
