"""The HTTP connection on a transport that is not one: framing, order, limits, refusals."""

from __future__ import annotations

import pytest

from tests.protocol.wire import Recorder, chunked, recorder, request

GET = request("GET", "/a?b=c", X_One="1")
POST = request("POST", "/p", b'{"x":"\r\n\r\n"}', Content_Type="application/json")
CHUNKED = chunked("POST", "/c", [b"ab\r\n\r\n", b"c" * 20, b"\r\n"], "A: 1\r\nB: 2\r\n", Trailer="A, B")
EMPTY_CHUNKED = chunked("POST", "/e", [])
MESSAGES = {"get": GET, "post": POST, "chunked": CHUNKED, "empty chunked": EMPTY_CHUNKED}

BODY = 3  # index into Recorder.requests' tuples


async def fed(*pieces: bytes) -> Recorder:
    connection, _ = recorder()
    for piece in pieces:
        connection.data_received(piece)
    return connection


async def test_a_request_is_handed_out_whole():
    connection = await fed(POST)
    fields = {b"host": b"127.0.0.1", b"content-type": b"application/json", b"content-length": b"12"}
    assert connection.requests == [(b"POST", b"/p", fields, b'{"x":"\r\n\r\n"}', {}, True, 0)]


async def test_chunks_are_joined_and_trailers_kept_apart():
    (got,) = (await fed(CHUNKED)).requests
    assert got[BODY] == b"ab\r\n\r\n" + b"c" * 20 + b"\r\n"
    assert got[4] == {b"a": b"1", b"b": b"2"}
    assert b"a" not in got[2]


@pytest.mark.parametrize("name", MESSAGES)
async def test_each_message_reads_the_same_cut_at_any_byte(name):
    message = MESSAGES[name]
    whole = (await fed(message)).requests
    assert len(whole) == 1
    for at in range(1, len(message)):
        assert (await fed(message[:at], message[at:])).requests == whole, at
        assert (await fed(message[:1], message[1:at], message[at:])).requests == whole, at
    assert (await fed(*(message[i : i + 1] for i in range(len(message))))).requests == whole


@pytest.mark.parametrize("held", [False, True], ids=["answered at once", "answered later"])
async def test_pipelined_requests_come_one_at_a_time_and_in_order_cut_at_any_byte(held):
    stream = GET + POST + CHUNKED + b"\r\n" + GET + EMPTY_CHUNKED + POST
    one_by_one = (await fed(GET, POST, CHUNKED, GET, EMPTY_CHUNKED, POST)).requests
    for at in range(len(stream)):
        connection, transport = recorder(hold=held)
        connection.data_received(stream[:at])
        connection.data_received(stream[at:])
        while connection.waiting:
            assert len(connection.requests) == len(transport.written) + 1
            connection.answer()
        assert connection.requests == one_by_one, at
        assert [w[-1:] for w in transport.written] == [b"1", b"2", b"3", b"4", b"5", b"6"]


async def test_identical_heads_skip_the_parser_and_read_the_same():
    connection = await fed(POST)
    assert connection._memo_size == len(POST)
    for body in (b'{"x":"\r\n\r\n"}', b"abcdefghijkl", b"ABCDEFGHIJKL"):
        message = POST[: -len(body)] + body
        connection.data_received(message)
        assert connection._parser is None  # a body with Content-Length leaves none behind, and none was made
        assert connection.requests[-1][BODY] == body
        assert connection.requests[-1][:BODY] == connection.requests[0][:BODY]
    connection.data_received(GET)
    assert connection.requests[-1][1] == b"/a?b=c"


async def test_a_remembered_head_followed_by_less_or_more_than_its_body_is_not_taken_for_a_request():
    connection = await fed(POST)
    connection.data_received(POST[:-1])
    assert len(connection.requests) == 1
    connection.data_received(POST[-1:] + POST + GET)
    assert [r[1] for r in connection.requests] == [b"/p", b"/p", b"/p", b"/a?b=c"]


async def test_repeated_headers_are_joined():
    (got,) = (await fed(b"GET / HTTP/1.1\r\nA: 1\r\na: 2\r\nB:\r\nA: 3\r\n\r\n")).requests
    assert got[2] == {b"a": b"1, 2, 3", b"b": b""}


@pytest.mark.parametrize(
    ("head", "keep_alive", "sent"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True, None),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False, b"\r\nConnection: close\r\n"),
        (b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", True, None),
        (b"GET / HTTP/1.0\r\n\r\n", False, b"\r\nConnection: close\r\n"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, b"\r\nConnection: keep-alive\r\n"),
    ],
)
async def test_connections_are_kept_or_closed_as_asked(head, keep_alive, sent):
    connection, transport = recorder()
    connection.data_received(head)
    assert connection.requests[0][5] is keep_alive
    assert transport.closing is not keep_alive
    if sent is None:
        assert b"Connection" not in transport.sent
    else:
        assert transport.sent.count(sent) == 1
    if keep_alive:
        connection.data_received(head)
        assert len(connection.requests) == 2
        connection.data_received(GET)
        assert b"Connection" not in transport.written[-1]


MALFORMED = {
    "garbage": b"hello\r\n\r\n",
    "garbage without an end": b"hello\n",
    "binary": bytes(range(256)),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "no version": b"GET /\r\n\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/2 version": b"GET / HTTP/2.0\r\n\r\n",
    "space in a name": b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    "nul in a value": b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
    "length and chunked": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "negative length": b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc",
    "length overflow": b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
    "connect": b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    "chunk size": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk end": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_http_is_answered_400_and_the_connection_closed(name):
    connection, transport = recorder()
    connection.data_received(GET)
    connection.data_received(MALFORMED[name])
    answer = transport.written[-1]
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close\r\n" in answer
    assert b'"errorType":"InvalidRequest"' in answer
    assert transport.eof
    connection.data_received(GET)  # more input is thrown away
    assert len(transport.written) == 2
    assert len(connection.requests) == 1
    connection.connection_lost(None)
    assert connection.ends == 1


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_other_transfer_codings_are_refused(head):
    connection, transport = recorder()
    connection.data_received(head)
    assert transport.sent.startswith((b"HTTP/1.1 501 ", b"HTTP/1.1 400 "))
    assert connection.requests == []
    connection.connection_lost(None)


async def test_an_offer_to_upgrade_is_ignored_and_the_body_read():
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    connection = await fed(request("POST", "/p", b"abc", **offer) + GET + request("GET", "/q", **offer) + GET)
    assert [r[1] for r in connection.requests] == [b"/p", b"/a?b=c", b"/q", b"/a?b=c"]
    assert connection.requests[0][BODY] == b"abc"


@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_head_over_the_limit_is_answered_431(pieces):
    connection, transport = recorder()
    message = request("GET", "/", X=("x" * connection.MAX_HEAD))
    size = -(-len(message) // pieces)
    for i in range(0, len(message), size):
        if not transport.written:
            connection.data_received(message[i : i + size])
    assert transport.sent.startswith(b"HTTP/1.1 431 ")
    assert connection.requests == []
    connection.connection_lost(None)


async def test_too_many_headers_are_answered_431():
    connection, transport = recorder()
    connection.data_received(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (connection.MAX_HEADERS + 1) + b"\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 431 ")
    connection.connection_lost(None)


async def test_endless_trailers_are_refused():
    connection, transport = recorder()
    connection.data_received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ")
    for _ in range(1 + connection.MAX_HEAD // 65536):
        if not transport.written:
            connection.data_received(b"x" * 65536)
    assert transport.sent.startswith(b"HTTP/1.1 431 ")
    assert connection.aborts == 1
    connection.connection_lost(None)


async def test_a_body_at_the_limit_is_kept_and_one_over_is_discarded_and_reported():
    for size, overflow in ((1000, 0), (1001, 1001)):
        for message in (request("POST", "/", b"x" * size), chunked("POST", "/", [b"x" * 500, b"x" * (size - 500)])):
            connection, transport = recorder()
            connection.data_received(message + GET)
            first, second = connection.requests
            assert first[BODY] == (b"" if overflow else b"x" * size)
            assert first[6] == overflow
            assert second[1] == b"/a?b=c"  # the connection goes on
            assert second[6] == 0
            assert not transport.closing


async def test_a_declared_body_beyond_reading_is_answered_at_once_and_the_connection_closed():
    connection, transport = recorder()
    size = connection.MAX_DISCARD + 1
    connection.data_received(request("POST", "/", None, Content_Length=str(size)))
    assert connection.requests[0][6] == size
    assert transport.eof
    connection.data_received(b"x" * 100)
    assert len(transport.written) == 1
    connection.connection_lost(None)


async def test_an_endless_chunked_body_is_given_up_after_the_bound():
    connection, transport = recorder()
    connection.data_received(request("POST", "/", None, Transfer_Encoding="chunked"))
    block = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    for _ in range(2 + connection.MAX_DISCARD // len(block)):
        connection.data_received(block)
    assert len(connection.requests) == 1
    assert connection.requests[0][6] > connection.MAX_DISCARD - len(block)
    assert transport.eof
    connection.connection_lost(None)


async def test_expect_100_continue_invites_the_body():
    connection, transport = recorder()
    message = request("POST", "/", b"abc", Expect="100-continue")
    connection.data_received(message[:-3])
    assert transport.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    connection.data_received(b"abc")
    assert connection.requests[0][BODY] == b"abc"
    connection.data_received(message)  # the body came along: no invitation
    assert len(transport.written) == 3


async def test_expect_100_continue_of_a_chunked_body():
    connection, transport = recorder()
    message = chunked("POST", "/", [b"abc"], Expect="100-continue")
    head = message.index(b"\r\n\r\n") + 4
    connection.data_received(message[:head])
    assert transport.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    connection.data_received(message[head:])
    assert connection.requests[0][BODY] == b"abc"


async def test_a_body_too_large_is_not_invited():
    connection, transport = recorder()
    connection.data_received(request("POST", "/", None, Expect="100-continue", Content_Length="1001"))
    assert b"100 Continue" not in transport.sent
    assert connection.requests[0][6] == 1001
    assert b"Connection: close" in transport.sent
    connection.connection_lost(None)


async def test_what_waits_behind_a_request_is_bounded_by_not_reading():
    connection, transport = recorder(hold=True)
    connection.data_received(GET)
    sent = 0
    while transport.reading:
        connection.data_received(GET * 10)
        sent += 10
        assert sent * len(GET) <= 2 * connection.MAX_PIPELINE
    assert len(connection.requests) == 1
    for _ in range(sent + 1):
        connection.answer()
    assert len(connection.requests) == sent + 1
    assert transport.reading
    assert not connection.waiting


async def test_nothing_is_taken_up_while_the_peer_does_not_read():
    connection, _ = recorder(hold=True)
    connection.data_received(GET)
    connection.pause_writing()
    connection.answer()
    connection.data_received(POST + GET)
    assert len(connection.requests) == 1
    connection.resume_writing()
    assert len(connection.requests) == 2
    connection.answer()
    assert len(connection.requests) == 3
    connection.answer()


async def test_a_pause_between_messages_holds_the_next_one_back():
    connection, _ = recorder()
    connection.data_received(GET)
    connection.pause_writing()
    connection.data_received(GET)
    assert len(connection.requests) == 1
    connection.resume_writing()
    assert len(connection.requests) == 2
    connection.data_received(GET)
    assert len(connection.requests) == 3


async def test_a_request_before_a_half_close_is_answered_and_then_the_connection_closed():
    connection, transport = recorder(hold=True)
    connection.data_received(GET + POST)
    assert connection.eof_received() is True
    assert connection.halves == 1
    assert not connection.receiving
    connection.answer()
    assert not transport.closing
    assert len(connection.requests) == 2
    connection.answer()
    assert transport.closing
    assert len(transport.written) == 2


@pytest.mark.parametrize("held", [False, True])
async def test_everything_pipelined_before_a_half_close_is_answered(held):
    connection, transport = recorder(hold=True)
    connection.data_received(GET)
    connection.data_received((GET + CHUNKED) * 5 + POST[:-1])
    assert connection.eof_received() is True
    connection.hold = held
    connection.answer()
    while connection.waiting:
        connection.answer()
    assert len(connection.requests) == 11
    assert connection.aborts == 1  # the last one was cut short
    assert transport.written[-1].startswith(b"HTTP/1.1 400 ")
    assert b"TruncatedHTTPRequest" in transport.written[-1]
    assert transport.closing


@pytest.mark.parametrize("message", [POST, CHUNKED], ids=["length", "chunked"])
async def test_a_body_cut_short_is_reported_once(message):
    for at in range(message.index(b"\r\n\r\n") + 4, len(message)):
        for half_close in (True, False):
            connection, transport = recorder()
            connection.data_received(message[:at])
            if half_close:
                assert connection.eof_received() is False
                assert b"TruncatedHTTPRequest" in transport.sent
            connection.connection_lost(None)
            assert connection.aborts == 1
            assert connection.ends == 1
            assert connection.requests == []


async def test_an_answer_to_a_connection_that_is_gone_goes_nowhere():
    connection, transport = recorder(hold=True)
    connection.data_received(GET)
    connection.connection_lost(ConnectionResetError())
    connection.answer()
    assert transport.written == []


async def test_an_answer_to_no_request_is_a_bug_that_is_told():
    connection, _ = recorder()
    connection.data_received(GET)
    with pytest.raises(RuntimeError, match="without a request"):
        connection.answer()


async def test_after_abort_nothing_is_looked_at():
    connection, transport = recorder(hold=True)
    connection.data_received(GET + GET)
    connection.abort()
    assert transport.aborted
    connection.data_received(GET)
    connection.answer()
    connection.connection_lost(None)
    assert len(connection.requests) == 1
    assert transport.written == []


async def test_a_detached_connection_returns_what_came_behind_and_lets_go():
    connection, transport = recorder(hold=True)
    connection.data_received(GET + POST + CHUNKED)
    while transport.reading:
        connection.data_received(GET)
    rest = connection.detach()
    assert rest.startswith(POST + CHUNKED + GET)
    assert transport.reading
    assert not transport.closing


async def test_large_answers_are_sent_without_joining_when_nothing_else_is_due():
    connection, transport = recorder(hold=True)
    for head in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"):
        connection.data_received(head)
        connection.respond_parts(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x" * 100_000)
        assert transport.written[-1].endswith(b"\r\n\r\n" + b"x" * 100_000)
    assert b"Connection: close" in transport.written[1]
