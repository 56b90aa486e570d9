"""The account of unfinished messages: who may be read on. And what pieces cost."""

from __future__ import annotations

import random
import sys

import pytest

from runtime_api._held import Held
from runtime_api._pieces import PartialHead, collect
from tests.protocol.wire import FakeTransport, Recorder, recorder, request


class Holder:
    """A connection as the account sees it."""

    def __init__(self) -> None:
        self.reads = True

    def wait(self) -> None:
        self.reads = False

    def go_on(self) -> None:
        self.reads = True


def holders(number: int) -> list[Holder]:
    return [Holder() for _ in range(number)]


def test_within_the_limit_everybody_is_read():
    held, some = Held(100), holders(4)
    for one in some:
        held.keep(one, 25)
    assert all(one.reads for one in some)
    assert held.total == 100


def test_beyond_the_limit_only_the_first_is_read_on():
    held, (first, second, third) = Held(100), holders(3)
    held.keep(first, 40)
    held.keep(second, 40)
    held.keep(third, 40)
    assert [first.reads, second.reads, third.reads] == [True, False, False]
    held.keep(first, 500)
    assert [first.reads, second.reads, third.reads] == [True, False, False]
    late = Holder()
    held.keep(late, 1)
    assert not late.reads


def test_who_finishes_lets_the_next_one_go_on():
    held, (first, second, third) = Held(100), holders(3)
    for one in (first, second, third):
        held.keep(one, 90)
    held.let_go(first)
    assert [first.reads, second.reads, third.reads] == [True, True, False]
    held.let_go(second)
    assert [second.reads, third.reads] == [True, True]
    assert held.total == 90


def test_when_there_is_room_again_all_go_on():
    held, (first, *others) = Held(100), holders(5)
    held.keep(first, 99)
    for one in others:
        held.keep(one, 1)
    assert first.reads
    assert not any(one.reads for one in others)
    held.let_go(first)
    assert all(one.reads for one in others)


def test_one_that_waits_and_ends_is_forgotten():
    held, (first, second) = Held(10), holders(2)
    held.keep(first, 10)
    held.keep(second, 10)
    held.let_go(second)
    held.let_go(second)
    assert held.total == 10
    assert first.reads
    held.let_go(first)
    assert held.total == 0


def test_one_that_keeps_nothing_lets_go_of_nothing():
    held, (first, second) = Held(10), holders(2)
    held.keep(first, 20)
    held.let_go(second)
    assert held.total == 20


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_total_is_right_and_somebody_is_read(seed: int):
    chance = random.Random(seed)
    held, some = Held(1000), holders(8)
    kept = dict.fromkeys(some, 0)
    for _ in range(2000):
        one = chance.choice(some)
        if one.reads and chance.random() < 0.7:
            size = chance.randint(1, 300)
            held.keep(one, size)
            kept[one] += size
        elif chance.random() < 0.5:
            held.let_go(one)
            kept[one] = 0
            assert one.reads
        assert held.total == sum(kept.values())
        unfinished = [one for one in some if kept[one]]
        assert all(one.reads for one in some if not kept[one])
        assert not unfinished or any(one.reads for one in unfinished)
        if held.total <= 1000:
            assert all(one.reads for one in some)


# ---- on connections --------------------------------------------------------------------------------------------------


def connections(held: Held, number: int) -> list[tuple[Recorder, FakeTransport]]:
    made = []
    for _ in range(number):
        connection, transport = recorder()
        connection._held = held
        made.append((connection, transport))
    return made


BODY = b"x" * 900
WHOLE = request("POST", "/p", BODY)
CHUNKS = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n384\r\n" + BODY + b"\r\n0\r\n\r\n"
HEADED = b"GET /p HTTP/1.1\r\nHost: h\r\nX: " + BODY + b"\r\n\r\n"


@pytest.mark.parametrize("message", [WHOLE, CHUNKS, HEADED], ids=["length", "chunked", "head"])
async def test_unfinished_messages_wait_for_one_another_and_all_arrive(message: bytes):
    held = Held(1000)
    made = connections(held, 4)
    for connection, _ in made:
        connection.data_received(message[:700])
    assert [transport.reading for _, transport in made] == [True, False, False, False]
    assert 4 * 600 < held.total <= 4 * 700
    for connection, _ in made:  # each is read in its turn
        connection.data_received(message[700:])
        assert len(connection.requests) == 1
    assert all(transport.reading for _, transport in made)
    assert held.total == 0


@pytest.mark.parametrize("message", [WHOLE, CHUNKS, HEADED], ids=["length", "chunked", "head"])
@pytest.mark.parametrize("how", ["lost", "aborted", "ended", "garbage"])
async def test_a_connection_that_breaks_off_lets_go(message: bytes, how: str):
    held = Held(1000)
    (first, _), (second, its) = connections(held, 2)
    first.data_received(message[:700])
    second.data_received(message[:700])
    assert not its.reading
    if how == "aborted":
        first.abort()
    if how == "ended":
        first.eof_received()
    if how == "garbage" and message is not WHOLE:  # in a body with a length nothing is garbage
        first.data_received(b"\0\r\n\r\n" if message is HEADED else b"x" * 300)
    if how in {"lost", "aborted"} or (how == "garbage" and message is WHOLE):
        first.connection_lost(None)
    assert its.reading
    second.connection_lost(None)
    assert held.total == 0


async def test_a_body_that_is_too_large_is_not_kept():
    held = Held(1000)
    ((connection, _),) = connections(held, 1)
    connection.data_received(b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n" + b"x" * 2000)
    assert held.total == 0
    ((connection, _),) = connections(held, 1)
    connection.data_received(CHUNKS[:700])
    assert held.total
    connection.data_received(BODY[:300] + b"\r\n384\r\n" + BODY)
    assert held.total == 0


async def test_an_answered_request_leaves_nothing_large_on_its_connection():
    class Roomy(Recorder):
        __slots__ = ()
        max_body = 1 << 20

    connection = Roomy()
    connection.connection_made(FakeTransport())
    message = request("POST", "/p", b"x" * 200_000)
    connection.data_received(message[:1000])
    connection.data_received(message[1000:])
    assert len(connection.requests) == 1
    assert connection.body == b""
    connection.data_received(b"GET /p HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    assert len(connection.requests) == 2
    assert sys.getsizeof(connection._memo) + sum(map(len, connection.headers.values())) < 1000


# ---- pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1], [2] * 5000, [5000] * 3, [1, 5000, 1, 1, 5000, 4095, 4096, 1]])
def test_pieces_are_in_order_and_cost_about_their_bytes(sizes: list[int]):
    pieces: list[bytes | bytearray] = []
    for number, size in enumerate(sizes):
        collect(pieces, bytes([number % 251]) * size)
    assert b"".join(pieces) == b"".join(bytes([number % 251]) * size for number, size in enumerate(sizes))
    assert sum(map(sys.getsizeof, pieces)) < 1.2 * sum(sizes) + 200 * len(set(sizes))


def test_a_head_is_found_whole_wherever_it_is_cut():
    text = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nrest"
    for at in range(1, len(text) - 8):
        head = PartialHead(text[:at])
        assert head.size == at
        assert head.add(text[at:]) == text
    head = PartialHead(text[:1])
    whole = [head.add(text[at : at + 1]) for at in range(1, len(text) - 4)]
    assert whole == [None] * (len(whole) - 1) + [text[:-4]]
