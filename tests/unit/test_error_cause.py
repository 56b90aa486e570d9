"""The X-Ray cause: validated, cropped to 64 KiB, taken out of error bodies."""

from __future__ import annotations

import json

import pytest

from runtime_api._cause import INVALID_ERROR_BODY, split_cause, validated_cause
from runtime_api._errors import scrub_error_type

LIMIT = 64 * 1024


def cause(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"7",
        b"{",
        b'{"paths":7}',
        b'{"exceptions":["x"]}',
        b"\xff",
        b'{"message":""}',
        b"[" * 9999,
    ],
)
def test_what_is_no_cause_is_none(text):
    assert validated_cause(text) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"message": "m"},
        {"working_directory": "/var/task"},
        {"paths": ["a"]},
        {"exceptions": [{"type": "E", "message": "m", "stack": [{"path": "p", "line": 3, "label": "l"}]}]},
    ],
)
def test_one_member_makes_a_cause_and_unknown_ones_are_dropped(fields):
    kept = json.loads(validated_cause(cause(unknown=1, **fields)) or b"")
    assert kept.items() >= fields.items()
    assert "unknown" not in kept


def test_at_the_limit_nothing_is_cropped():
    empty = len(validated_cause(cause(message="x")) or b"") - 1
    text = validated_cause(cause(message="x" * (LIMIT - empty)))
    assert text is not None
    assert len(text) == LIMIT
    assert json.loads(text)["message"] == "x" * (LIMIT - empty)


@pytest.mark.parametrize("size", [70_000, 150_000, 250_000])
def test_lists_are_shortened_from_their_ends_until_it_fits(size):
    exceptions = [{"type": f"E{i}", "message": "x" * 90} for i in range(size // 100)]
    text = validated_cause(cause(exceptions=exceptions, paths=["p"]))
    assert text is not None
    assert len(text) <= LIMIT
    kept = json.loads(text)["exceptions"]
    assert 0 < len(kept) < len(exceptions)
    assert [e["type"] for e in kept] == [f"E{i}" for i in range(len(kept))]


@pytest.mark.parametrize("character", ["x", "ü", '"', "\x01", "\U0001f600"])
def test_what_no_list_can_save_keeps_its_two_strings_cut(character):
    text = validated_cause(
        cause(message=character * 100_000, working_directory=character * 100_000, paths=["p" * 100_000])
    )
    assert text is not None
    assert len(text) <= LIMIT
    kept = json.loads(text)
    assert kept["message"].endswith(character + "...")
    assert kept["working_directory"].endswith(character + "...")
    assert not kept["paths"]


def test_a_body_with_a_cause_is_taken_apart():
    body = cause(errorMessage="m", errorType="T", stackTrace=["a", "b"], errorCause={"message": "why"}, secret=1)
    visible, why = split_cause(body)
    assert visible == b'{"errorMessage":"m","errorType":"T","stackTrace":["a","b"]}'
    assert json.loads(why or b"")["message"] == "why"


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"errorMessage":7}', b'{"errorMessage":"m","stackTrace":"s"}'])
def test_a_body_that_is_not_what_it_claims_is_replaced(body):
    assert split_cause(body) == (INVALID_ERROR_BODY, None)


@pytest.mark.parametrize("why", [{}, 1, None, {"paths": 3}])
def test_an_invalid_cause_does_not_cost_the_error(why):
    assert split_cause(cause(errorMessage="m", errorCause=why)) == (b'{"errorMessage":"m","errorType":""}', None)
    assert split_cause(cause(errorType="T")) == (b'{"errorMessage":"","errorType":"T"}', None)


@pytest.mark.parametrize(
    "value", ["Runtime.Ab\n", "Runtime.Ab ", "xRuntime.Ab", "Runtime.A", "Runtime.ab", "runtime.Ab"]
)
def test_error_types_that_almost_match_do_not(value):
    assert scrub_error_type(value) == "Runtime.Unknown"
