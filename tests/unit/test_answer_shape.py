"""Predicting the head of an answer: it is recognised exactly when parsing would say the same."""

from __future__ import annotations

import pytest

from runtime_api._shape import AnswerShape


def answer(request_id: str, body: bytes, *lines: str, attempt: str = "") -> bytes:
    """`lines` may use {n} for the length and {a} for the attempt."""
    fields = "".join(line.format(n=len(body), a=attempt) + "\r\n" for line in lines)
    return f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\n{fields}\r\n".encode() + body


FIRST = ("Content-Length: {n}",)
MIDDLE = ("Host: h", "content-length:{n}", "Content-Type: x")
ATTEMPT_LAST = ("Host: h", "Content-Length: {n}", "Lambda-Runtime-Invocation-Id: {a}", "X: y")
ATTEMPT_FIRST = ("lambda-runtime-invocation-id:  {a}", "Host: h", "Content-Length:  {n} ")


@pytest.mark.parametrize("lines", [FIRST, MIDDLE, ATTEMPT_LAST, ATTEMPT_FIRST])
def test_the_next_answers_are_recognised_whatever_their_size(lines):
    shape = AnswerShape()
    shape.expect("one", "a1")
    message = answer("one", b"abc", *lines, attempt="a1")
    assert shape.match(message) == 0
    shape.learn(message[:-3], b"x")
    assert shape.content_type == b"x"
    assert shape.match(message) == len(message) - 3
    for size in (0, 1, 8, 9, 10, 11, 12, 97, 98, 99, 100, 101, 102, 998, 1000, 1003, 12345, 99999, 100_004):
        shape.expect("another", "a2")
        message = answer("another", b"x" * size, *lines, attempt="a2")
        head = len(message) - size
        assert shape.match(message) == head, size
        assert shape.match(message[:-1]) == (-1 if size == 1 else 0)
        assert shape.match(message + b"x") == 0
        assert shape.match(message + b"GET / HTTP/1.1\r\n\r\n") == 0
        assert shape.match(answer("one", b"x" * size, *lines, attempt="a2")) == 0
        if "{a}" in "".join(lines):
            assert shape.match(answer("another", b"x" * size, *lines, attempt="a1")) == 0
        for at in range(head if size else 0):  # an empty body's "0" spoiled is the head of a longer one
            spoiled = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
            assert shape.match(spoiled) == 0, at


@pytest.mark.parametrize("lines", [FIRST, MIDDLE, ATTEMPT_LAST, ATTEMPT_FIRST])
def test_a_head_that_comes_before_its_body_is_recognised_too(lines):
    shape = AnswerShape()
    shape.expect("one", "a1")
    shape.learn(answer("one", b"abc", *lines, attempt="a1")[:-3], b"x")
    for size in (1, 9, 10, 99, 100, 12345, 999_999):
        message = answer("one", b"x" * size, *lines, attempt="a1")
        assert shape.match(message[:-size]) == -size
        assert shape.match(message) == len(message) - size
        assert shape.match(message[: -size - 1]) == 0
        if size > 1:
            assert shape.match(message[: 1 - size]) == 0
    million = answer("one", b"x" * 1_000_000, *lines, attempt="a1")
    assert shape.match(million[:-1_000_000]) == 0  # rare enough to be parsed


def test_nothing_is_recognised_before_anything_was_learnt_or_after_it_is_forgotten():
    shape = AnswerShape()
    assert shape.match(b"") == 0
    message = answer("one", b"abc", *MIDDLE)
    shape.expect("one", "")
    shape.learn(message[:-3], b"")
    shape.forget()
    assert shape.match(message) == 0
    shape.expect("one", "")
    assert shape.match(message) == len(message) - 3


def test_a_head_for_another_id_or_without_a_length_teaches_nothing():
    shape = AnswerShape()
    shape.expect("one", "")
    for message in (answer("two", b"abc", *MIDDLE), answer("one", b"", "Host: h")):
        shape.learn(message[: message.index(b"\r\n\r\n") + 4], b"")
        assert shape.match(message) == 0


def test_a_length_in_another_headers_value_or_name_is_not_taken_for_it():
    shape = AnswerShape()
    shape.expect("one", "")
    message = answer("one", b"abc", "X-Content-Length: 9", "X: Content-Length: 8", "Content-Length: {n}")
    shape.learn(message[:-3], b"")
    shape.expect("one", "")
    longer = answer("one", b"abcdefghijk", "X-Content-Length: 9", "X: Content-Length: 8", "Content-Length: {n}")
    assert shape.match(longer) == len(longer) - 11


def test_a_client_that_never_repeats_itself_is_given_up_on():
    shape = AnswerShape()
    for number in range(100):
        shape.expect("one", "")
        message = answer("one", b"abc", f"Date: {number}", "Content-Length: {n}")
        shape.learn(message[:-3], b"")
    assert shape._tries == 0
    assert shape.match(message) == 0
