"""Filter patterns of FilterLogEvents: terms, and comparisons in JSON. Pure.

Terms (AWS: "Filter pattern syntax for unstructured log events"): all of ``ERROR "not found"`` must be in a message,
none of ``-DEBUG``, and where there are ``?A ?B`` one of those; letters count as they are. In JSON:
``{ $.level = "ERROR" }``, with ``= != < > <= >=``, ``*`` in strings, ``IS NULL``, ``IS TRUE``, ``IS FALSE``,
``NOT EXISTS``, ``&&``, ``||`` and parentheses. Regular expressions (``%…%``) and patterns of columns (``[…]``) are not
here, and say so.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from engine.control.cloudwatch.errors import InvalidParameter

Matches = Callable[[str], bool]
_Test = Callable[[Any], bool]

_TERM: Final = re.compile(r'\s*([-?]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))')
_TOKEN: Final = re.compile(
    r'\s*(?:(&&|\|\||[()])|(!=|<=|>=|=|<|>)|(\$(?:\.[\w@-]+|\.?\["[^"]*"\]|\.?\[\d+\])+)'
    r'|"((?:[^"\\]|\\.)*)"|([^\s()&|=<>!]+))'
)
_STEP: Final = re.compile(r'\.?\["([^"]*)"\]|\.?\[(\d+)\]|\.([\w@-]+)')
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
_MISSING: Final = object()
_DEEPEST: Final = 32


def compiled(pattern: str) -> Matches | None:
    """What tells whether a message matches; None for the pattern that all match.

    Raises:
        InvalidParameter: it is no pattern, or one of a kind that is not here.
    """
    pattern = pattern.strip()
    if not pattern:
        return None
    if pattern[0] == "[":
        raise InvalidParameter("Lambent does not implement filter patterns of columns ([...]) yet")
    if pattern[0] == "{":
        if pattern[-1] != "}":
            raise InvalidParameter("Invalid filter pattern: a JSON pattern ends in }")
        test = _Json(pattern[1:-1]).parsed()
        return lambda message: _object_matches(test, message)
    return _terms(pattern)


def _terms(pattern: str) -> Matches:
    if "%" in pattern and re.search(r"(?:^|\s)[-?]?%.*%", pattern):
        raise InvalidParameter("Lambent does not implement regular expressions (%...%) in filter patterns yet")
    all_of: list[str] = []
    none_of: list[str] = []
    any_of: list[str] = []
    at = 0
    while at < len(pattern):
        found = _TERM.match(pattern, at)
        if found is None:
            raise InvalidParameter("Invalid filter pattern: a quotation mark has no partner")
        sign, quoted, bare = found.groups()
        term = bare if quoted is None else _unescaped(quoted)
        {"-": none_of, "?": any_of, "": all_of}[sign].append(term)
        at = found.end()

    def matches(message: str) -> bool:
        if any(term in message for term in none_of) or not all(term in message for term in all_of):
            return False
        return not any_of or bool(all_of) or any(term in message for term in any_of)  # "?" beside others: as on AWS

    return matches


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _object_matches(test: _Test, message: str) -> bool:
    if message[:1] != "{":
        return False
    try:
        return test(msgspec.json.decode(message.encode("utf-8", "replace")))
    except (msgspec.MsgspecError, RecursionError):
        return False


class _Json:
    """A recursive descent over ``or → and → comparison``."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[int, str]] = []
        self._at = 0
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastindex is None:
                raise InvalidParameter(f"Invalid filter pattern: it cannot be read at '{text[at : at + 20].strip()}'")
            self._tokens.append((found.lastindex, found.group(found.lastindex)))
            at = found.end()

    def parsed(self) -> _Test:
        test = self._any(0)
        if self._at < len(self._tokens):
            raise self._unexpected()
        return test

    def _take(self, *texts: str) -> str | None:
        if self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind != 4 and text.upper() in texts:
                self._at += 1
                return text
        return None

    def _next(self, *kinds: int) -> tuple[int, str]:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] not in kinds:
            raise self._unexpected()
        self._at += 1
        return self._tokens[self._at - 1]

    def _unexpected(self) -> InvalidParameter:
        rest = self._tokens[self._at][1] if self._at < len(self._tokens) else "its end"
        return InvalidParameter(f"Invalid filter pattern: {rest} is not expected there")

    def _any(self, depth: int) -> _Test:
        tests = [self._all(depth)]
        while self._take("||"):
            tests.append(self._all(depth))
        return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)

    def _all(self, depth: int) -> _Test:
        tests = [self._one(depth)]
        while self._take("&&"):
            tests.append(self._one(depth))
        return tests[0] if len(tests) == 1 else lambda value: all(test(value) for test in tests)

    def _one(self, depth: int) -> _Test:
        if depth > _DEEPEST:
            raise InvalidParameter("Invalid filter pattern: too many parentheses")
        if self._take("("):
            test = self._any(depth + 1)
            if not self._take(")"):
                raise self._unexpected()
            return test
        path = _path(self._next(3)[1])
        if self._take("IS"):
            wanted = {"NULL": None, "TRUE": True, "FALSE": False}.get(self._next(5)[1].upper(), _MISSING)
            if wanted is _MISSING:
                raise self._unexpected()
            return lambda value: _at(value, path) is wanted
        if self._take("NOT"):
            if not self._take("EXISTS"):
                raise self._unexpected()
            return lambda value: _at(value, path) is _MISSING
        sign = self._next(2)[1]
        kind, text = self._next(4, 5)
        return _comparison(path, sign, _unescaped(text) if kind == 4 else text, quoted=kind == 4)


def _comparison(path: list[str | int], sign: str, text: str, *, quoted: bool) -> _Test:
    try:
        number = None if quoted else float(text)
    except ValueError:
        number = None
    if sign in _ORDER:
        if number is None:
            raise InvalidParameter(f"Invalid filter pattern: {sign} compares numbers, and '{text}' is none")
        compare = _ORDER[sign]
        return lambda value: _number(_at(value, path)) and compare(_at(value, path), number)
    if number is not None:
        if sign == "=":
            return lambda value: _number(_at(value, path)) and _at(value, path) == number
        return lambda value: _number(_at(value, path)) and _at(value, path) != number
    like = re.compile(fnmatch.translate(re.sub(r"([\[?])", r"[\1]", text))).match

    def same(value: Any) -> bool:
        found = _at(value, path)
        return isinstance(found, str) and like(found) is not None

    if sign == "=":
        return same
    return lambda value: _at(value, path) is not _MISSING and not same(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _path(text: str) -> list[str | int]:
    return [int(index) if index else key or name for key, index, name in _STEP.findall(text)]


def _at(value: Any, path: list[str | int]) -> Any:
    for step in path:
        if isinstance(step, str):
            value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else _MISSING
    return value
