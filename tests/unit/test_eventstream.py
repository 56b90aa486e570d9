"""The frames of vnd.amazon.eventstream, held against botocore's decoder, and ours against our encoder."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from engine.invoke.eventstream import Decoder, Frame, FrameError, encode, encode_headers, event_headers
from engine.invoke.streamed import ending, piece_frame

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=100)
NAMES = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=200)
FRAMES = st.lists(st.tuples(st.dictionaries(NAMES, TEXT, max_size=4), st.binary(max_size=2000)), max_size=5)


def encoded(frames: list[tuple[dict[str, str], bytes]]) -> bytes:
    return b"".join(encode(encode_headers(headers), payload) for headers, payload in frames)


def by_botocore(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@given(FRAMES)
def test_botocore_reads_what_was_encoded(frames):
    assert by_botocore(encoded(frames)) == frames


@given(FRAMES, st.lists(st.integers(0, 12_000), max_size=6))
def test_our_decoder_does_however_the_bytes_are_cut(frames, cuts):
    data = encoded(frames)
    decoder, got = Decoder(), []
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in pairwise(places):
        got += decoder.feed(data[start:stop])
    assert got == frames
    assert decoder.rest == 0


@given(st.binary(max_size=300))
def test_bytes_that_are_no_stream_are_refused_and_nothing_else_happens(data):
    try:
        frames = list(Decoder().feed(data))
    except FrameError:
        return
    assert not frames or by_botocore(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_is_noticed(place, change):
    data = bytearray(encoded([({":event-type": "PayloadChunk"}, b"x" * 50)]))
    data[place % len(data)] ^= change
    try:
        frames = list(Decoder().feed(bytes(data)))
    except FrameError:
        return
    assert frames == [], "the length was damaged: it waits for more"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (b"\x01a\x06\0\0\0\0\0\0\0\0", "type 6 is not a string"),
        (b"\x01a\x07\0\x05ab", "break off"),
        (b"\x40a", "cannot be read"),
        (b"\x01\xff\x07\0\0", "cannot be read"),
    ],
)
def test_headers_of_another_kind_are_refused(headers, words):
    with pytest.raises(FrameError, match=words):
        list(Decoder().feed(encode(headers, b"")))


def test_a_frame_is_what_the_document_says():
    frame = encode(event_headers("PayloadChunk", "application/octet-stream"), b"hi")
    assert frame[:8] == (len(frame)).to_bytes(4) + (len(frame) - 16 - 2).to_bytes(4)
    assert b"\x0b:event-type\x07\x00\x0cPayloadChunk" in frame
    assert b"\x0d:content-type\x07\x00\x18application/octet-stream" in frame
    assert b"\x0d:message-type\x07\x00\x05event" in frame


def ended(outcome: bytes, **attributes: Any) -> list[Frame]:
    invocation: Any = SimpleNamespace(outcome=outcome, function_error=None, tail=False)
    vars(invocation).update(attributes)
    return list(Decoder().feed(ending(invocation)))


def test_a_response_in_one_piece_is_one_chunk_and_the_end():
    whole, complete = ended(b"x" * 6_291_556)
    assert whole.headers[":event-type"] == "PayloadChunk"
    assert whole.payload == b"x" * 6_291_556
    assert (complete.headers[":event-type"], complete.payload) == ("InvokeComplete", b"{}")


def test_an_error_is_in_the_last_frame_whatever_its_bytes():
    (complete,) = ended(b'{"errorMessage":"\xff"}', function_error="Unhandled")
    assert json.loads(complete.payload) == {"ErrorCode": "Unhandled", "ErrorDetails": '{"errorMessage":"\ufffd"}'}


def test_a_piece_is_one_frame():
    assert [frame.payload for frame in Decoder().feed(piece_frame(b"abc"))] == [b"abc"]
