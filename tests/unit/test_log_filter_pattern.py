"""Filter patterns of FilterLogEvents."""

from __future__ import annotations

import json

import pytest

from engine.control.cloudwatch.errors import InvalidParameter
from engine.control.cloudwatch.pattern import compiled

OBJECT = json.dumps({"level": "ERROR", "n": 3, "ok": True, "no": None, "a": {"b": [{"c": "deep"}]}, "x y": "z"})


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("ERROR", "an ERROR here", True),
        ("ERROR", "an error here", False),
        ("one two", "two, one", True),
        ("one two", "only one", False),
        ('"not found"', "it was not found", True),
        ('"not found"', "found it not", False),
        (r'"say \"x\""', 'say "x"', True),
        ("one -two", "one", True),
        ("one -two", "one two", False),
        ("?one ?two", "two", True),
        ("?one ?two", "three", False),
        ('{ $.level = "ERROR" }', OBJECT, True),
        ('{ $.level = "ERR*" }', OBJECT, True),
        ('{ $.level = "E[A-Z]*" }', OBJECT, False),
        ('{ $.level != "INFO" }', OBJECT, True),
        ('{ $.missing != "INFO" }', OBJECT, False),
        ("{ $.n = 3 }", OBJECT, True),
        ("{ $.n > 3 }", OBJECT, False),
        ("{ $.n >= 3 && $.n < 4 }", OBJECT, True),
        ("{ $.level > 3 }", OBJECT, False),
        ('{ ($.n = 4 || $.level = "ERROR") && $.ok IS TRUE }', OBJECT, True),
        ("{ $.no IS NULL }", OBJECT, True),
        ("{ $.missing NOT EXISTS }", OBJECT, True),
        ("{ $.n NOT EXISTS }", OBJECT, False),
        ('{ $.a.b[0].c = "deep" }', OBJECT, True),
        ('{ $.a.b[1].c = "deep" }', OBJECT, False),
        ('{ $["x y"] = "z" }', OBJECT, True),
        ("{ $.level = ERROR }", OBJECT, True),
        ('{ $.level = "ERROR" }', "no object", False),
        ('{ $.level = "ERROR" }', "{ not JSON", False),
        ('{ $.level = "ERROR" }', "[" * 5000, False),
    ],
)
def test_a_pattern_matches(pattern, message, expected):
    matches = compiled(pattern)
    assert matches is not None
    assert matches(message) is expected


def test_an_empty_pattern_matches_everything():
    assert compiled("  ") is None


@pytest.mark.parametrize(
    "pattern",
    [
        "[a, b]", "%x+%", '"open', "{ $.a = 1", "{ $.a }", "{ = 1 }", "{ $.a > x }", "{ ($.a = 1 }", "{ $.a = 1 $.b }",
        "{ $.a IS MAYBE }", "{ $.a NOT NULL }", "{" + "(" * 200 + "$.a = 1" + ")" * 200 + "}", "{ ; }", "{}",
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_and_says_why(pattern):
    with pytest.raises(InvalidParameter, match=r"filter pattern"):
        compiled(pattern)
