"""The load generator against a server whose behaviour is known to the millisecond."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import LoadError, Target, each, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cargo") is None, reason="the load generator is built with cargo"),
]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b"x" * 16
STALL_S = 0.3


class Server:
    """Answers each request with what `answer` returns; None closes the connection."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.target = Target(self.listener.getsockname()[1], "/f", os.getpid())
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self._talk, args=(connection,)))
            self.threads[-1].start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            data = b""
            while piece := connection.recv(65536):
                data += piece
                head, mark, body = data.partition(b"\r\n\r\n")
                length = next((int(x.split(b":")[1]) for x in head.split(b"\r\n") if b"Content-Length" in x), 0)
                if not mark or len(body) < length:
                    continue
                data = b""
                answer = self.answer(head)
                if answer is None:
                    return
                connection.sendall(answer)


@contextmanager
def serving(answer) -> Iterator[Target]:
    server = Server(answer)
    try:
        yield server.target
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        for thread in server.threads:
            thread.join(10)


def test_open_loop_charges_a_stall_to_every_request_that_it_delayed():
    stalled = threading.Event()
    began = time.monotonic()

    def answer(head):
        if not stalled.is_set() and time.monotonic() - began > 0.2:
            stalled.set()
            threading.Event().wait(STALL_S)
        return ANSWER

    with serving(answer) as target:
        result = run(target, seconds=1.0, warmup=0.0, rate=200)
    assert result.finished == 200
    assert not result.failed
    # 60 requests were due during the stall, but only one was ever under way in it.
    slow = [count for bound, count in result.latency_ns.buckets if bound > STALL_S * 1e9 / 3]
    slow_by_service = [count for bound, count in result.service_ns.buckets if bound > STALL_S * 1e9 / 3]
    assert sum(slow) >= 30
    assert sum(slow_by_service) < sum(slow) / 2


def test_closed_loop_counts_good_answers_and_names_the_others():
    numbers = iter(range(10**9))

    def answer(head):
        return {
            0: ANSWER,
            1: b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}",
            2: ANSWER.replace(b"\r\nContent", b"\r\nX-Amz-Function-Error: Unhandled\r\nContent"),
            3: ANSWER.replace(b"16", b"15")[:-1],
        }[next(numbers) % 4]

    with serving(answer) as target:
        result = run(target, seconds=0.3, warmup=0.0)
    assert set(result.errors) == {"status 429", "function error", "15 bytes of answer"}
    assert result.latency_ns.count == result.finished - sum(result.errors.values())


def test_a_server_that_only_hangs_up_is_given_up():
    with serving(lambda _head: None) as target, pytest.raises(LoadError, match="not one good answer"):
        run(target, seconds=20.0, warmup=0.0)


def test_each_path_is_asked_once_in_order():
    seen = []

    def answer(head):
        seen.append(head.split(b" ")[1])
        return ANSWER.replace(b"\r\nContent", b"\r\nx-amzn-RequestId: r%d\r\nContent" % len(seen))

    with serving(answer) as target:
        result = each(target, ["/a", "/b", "/c"])
    assert seen == [b"/a", b"/b", b"/c"]
    assert [(sample.path, sample.request_id) for sample in result.samples] == [("/a", "r1"), ("/b", "r2"), ("/c", "r3")]
