"""Bodies in pieces, into a connection and out of it: no socket, no runtime."""

from __future__ import annotations

from typing import Any

import pytest

from runtime_api import StreamingConnection
from tests.protocol.wire import FakeTransport, PieceRecorder, chunked, request

GET = request("GET", "/g")
BODY = 3
TRAILERS = 4


def pieces(**options: Any) -> tuple[PieceRecorder, FakeTransport]:
    connection, transport = PieceRecorder(**options), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


# ---- in ----------------------------------------------------------------------------------------------------------


async def test_what_each_read_brings_of_a_body_is_passed_on_at_once():
    connection, _ = pieces()
    message = request("POST", "/", b"abcdef")
    head = message.index(b"abcdef")
    connection.data_received(message[: head + 2])
    assert connection.pieces == [b"ab"]
    connection.data_received(message[head + 2 : -1])
    assert connection.pieces == [b"ab", b"cde"]
    assert connection.requests == []
    connection.data_received(message[-1:])
    assert connection.pieces == [b"ab", b"cde", b"f"]
    assert [one[BODY] for one in connection.requests] == [b""]


async def test_chunks_and_blank_lines_that_come_in_one_read_are_one_piece():
    connection, _ = pieces()
    message = chunked("POST", "/", [b"a\r\n\r\nb", b"\r\n\r\n", b"c"], "T: 1\r\n")
    end = message.index(b"0\r\nT")
    connection.data_received(message[:end])
    assert connection.pieces == [b"a\r\n\r\nb\r\n\r\nc"]
    connection.data_received(message[end:])
    assert connection.requests[0][TRAILERS] == {b"t": b"1"}
    assert len(connection.pieces) == 1


@pytest.mark.parametrize(
    "message", [request("POST", "/", b"abc"), chunked("POST", "/", [b"a", b"bc"])], ids=["length", "chunked"]
)
async def test_a_whole_request_in_one_read_is_a_piece_and_its_end_and_the_next_follows(message):
    connection, _ = pieces()
    connection.data_received(message + GET + message)
    assert connection.pieces == [b"abc", b"abc"]
    assert [one[0] for one in connection.requests] == [b"POST", b"GET", b"POST"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_no_size_is_too_large_for_pieces(framing, monkeypatch):
    connection, _ = pieces()
    monkeypatch.setattr(PieceRecorder, "MAX_DISCARD", 5000)
    body = b"x" * 20_000
    message = request("POST", "/", body) if framing == "length" else chunked("POST", "/", [body[:9000], body[9000:]])
    for at in range(0, len(message), 700):
        connection.data_received(message[at : at + 700])
    assert b"".join(connection.pieces) == body
    assert connection.requests[0][6] == 0


async def test_a_body_that_is_not_wanted_in_pieces_is_collected():
    connection, _ = pieces(wanted=False)
    connection.data_received(chunked("POST", "/", [b"a", b"b"]))
    assert connection.requests[0][BODY] == b"ab"
    assert connection.pieces == []


async def test_an_equal_head_is_asked_about_anew():
    connection, _ = pieces()
    message = request("POST", "/", b"abc")
    for part in (message, message, message[:-3], b"abc"):
        connection.data_received(part)
    assert connection.asked == 3
    assert connection.pieces == [b"abc"] * 3
    assert [one[BODY] for one in connection.requests] == [b""] * 3


async def test_pieces_are_invited_when_the_sender_waits_for_that():
    connection, transport = pieces()
    connection.data_received(request("POST", "/", None, Expect="100-continue", Transfer_Encoding="chunked"))
    assert transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"1\r\na\r\n0\r\n\r\n")
    assert connection.pieces == [b"a"]


async def test_pausing_stops_reading_until_resumed():
    connection, transport = pieces()
    message = chunked("POST", "/", [b"a", b"b"])
    at = message.index(b"1\r\nb")
    connection.pause_body()
    assert transport.reading, "not in a body"
    connection.data_received(message[:at])
    for _ in range(2):
        connection.pause_body()
    assert not transport.reading
    for _ in range(2):
        connection.resume_body()
    assert transport.reading
    connection.data_received(message[at:])
    assert connection.pieces == [b"a", b"b"]


async def test_a_body_that_ends_while_paused_does_not_leave_the_connection_deaf():
    connection, transport = pieces()
    connection.on_piece = connection.pause_body
    connection.data_received(chunked("POST", "/", [b"a"]))
    assert transport.reading
    assert len(connection.requests) == 1
    connection.resume_body()
    connection.pause_body()
    assert transport.reading, "no body: nothing to pause"


async def test_a_receiver_that_has_enough_ends_the_connection_after_the_answer():
    for message in (request("POST", "/", b"x" * 100), chunked("POST", "/", [b"x" * 100])):
        connection, transport = pieces(enough=True)
        connection.data_received(message[:-20])
        assert len(connection.requests) == 1
        assert b"Connection: close" in transport.sent
        assert transport.eof or transport.closing
        connection.data_received(message[-20:])
        assert len(connection.pieces) == 1
        connection.connection_lost(None)
        assert connection.aborts == 0


@pytest.mark.parametrize("half_close", [False, True])
async def test_a_body_in_pieces_that_breaks_off_is_reported_once(half_close):
    connection, transport = pieces()
    connection.data_received(chunked("POST", "/", [b"abc"])[:-5])
    assert connection.pieces == [b"abc"]
    if half_close:
        assert connection.eof_received() is False
        assert b"TruncatedHTTPRequest" in transport.sent
    connection.connection_lost(None)
    assert connection.aborts == 1
    assert connection.requests == []


async def test_broken_framing_ends_a_body_in_pieces():
    connection, transport = pieces()
    connection.data_received(chunked("POST", "/", [b"abc"])[:-5])
    connection.data_received(b"this is no chunk size\r\n")
    assert connection.aborts == 1
    assert b"HTTP/1.1 400 " in transport.sent


async def test_dropping_the_connection_from_within_a_piece_is_the_end():
    for message in (request("POST", "/", b"abc"), chunked("POST", "/", [b"abc"])):
        connection, transport = pieces()
        connection.on_piece = connection.abort
        connection.data_received(message)
        assert transport.aborted
        assert connection.requests == []


# ---- out ---------------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nX: 1\r\n"


class Streamer(StreamingConnection):
    """Answers when told."""

    __slots__ = ("targets",)

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[bytes] = []

    def request_received(self) -> None:
        self.targets.append(self.target)


def streamer(*requests: bytes) -> tuple[Streamer, FakeTransport]:
    connection, transport = Streamer(), FakeTransport()
    connection.connection_made(transport)
    for one in requests:
        connection.data_received(one)
    return connection, transport


async def test_an_answer_in_pieces_is_chunked_and_each_piece_is_one_write():
    connection, transport = streamer(GET)
    connection.begin_answer(HEAD, b"abc")
    connection.answer_piece(b"x" * 20)
    connection.answer_piece(b"")
    connection.end_answer(b"end")
    assert transport.written == [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"14\r\n" + b"x" * 20 + b"\r\n",
        b"",
        b"3\r\nend\r\n0\r\n\r\n",
    ]
    assert connection.between


async def test_requests_behind_an_answer_in_pieces_wait_for_its_end():
    connection, transport = streamer(GET + request("GET", "/2"), request("GET", "/3"))
    connection.begin_answer(HEAD)
    connection.answer_piece(b"a")
    assert connection.targets == [b"/g"]
    connection.end_answer()
    assert connection.targets == [b"/g", b"/2"]
    connection.begin_answer(HEAD)
    connection.end_answer()
    assert connection.targets == [b"/g", b"/2", b"/3"]
    assert not transport.closing


async def test_a_client_of_http_1_0_is_sent_the_body_as_it_is():
    connection, transport = streamer(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    connection.begin_answer(HEAD, b"a")
    connection.answer_piece(b"b")
    connection.end_answer(b"c")
    assert transport.sent == HEAD + b"Connection: close\r\n\r\nabc"
    assert transport.closing


async def test_the_connection_closes_after_an_answer_when_the_client_asked_for_that():
    connection, transport = streamer(request("GET", "/", None, Connection="close"))
    connection.begin_answer(HEAD, b"a")
    assert b"\r\nConnection: close\r\n\r\n" in transport.sent
    connection.end_answer()
    assert transport.closing


async def test_an_answer_in_pieces_to_a_connection_that_is_gone_goes_nowhere():
    connection, transport = streamer(GET)
    connection.begin_answer(HEAD)
    connection.connection_lost(ConnectionResetError())
    connection.answer_piece(b"a")
    connection.end_answer()
    connection.begin_answer(HEAD)
    assert len(transport.written) == 1


async def test_an_answer_in_pieces_to_no_request_is_a_bug_that_is_told():
    connection, _ = streamer()
    with pytest.raises(RuntimeError, match="without a request"):
        connection.begin_answer(HEAD)


async def test_after_an_answer_that_the_peer_does_not_read_nothing_is_taken_up():
    connection, _ = streamer(GET)
    connection.begin_answer(HEAD)
    connection.pause_writing()
    connection.answer_piece(b"a")
    connection.end_answer()
    connection.data_received(GET)
    assert len(connection.targets) == 1
    connection.resume_writing()
    assert len(connection.targets) == 2


async def test_a_half_closed_client_is_still_answered_in_pieces():
    connection, transport = streamer(GET)
    connection.begin_answer(HEAD)
    assert connection.eof_received() is True
    connection.answer_piece(b"a")
    connection.end_answer()
    assert transport.sent.endswith(b"1\r\na\r\n0\r\n\r\n")
    assert transport.closing
