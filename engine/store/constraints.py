"""The API model's constraints, and AWS's words for breaking them.

::

    1 validation error detected: Value '64' at 'memorySize' failed to satisfy constraint: Member must have value greater
    than or equal to 128

Several are counted and joined by ``; `` (recorded answers: facts §6.5). Shapes are written down in
:mod:`engine.store.shapes`; here is only how they are read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Final

from msgspec import Struct

from engine.errors import ValidationException

_NOT_NULL: Final = "Member must not be null"


class Text(Struct, frozen=True, kw_only=True):
    """A string. `pattern` is AWS's regular expression as it stands in the message; it must match the whole value."""

    min: int | None = None
    max: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    sensitive: bool = False


class Number(Struct, frozen=True, kw_only=True):
    """An integer, or, where the request says so, any number."""

    min: int | None = None
    max: int | None = None


class Items(Struct, frozen=True, kw_only=True):
    """A list. Members that are strings are checked together, and reported as one value."""

    of: Shape
    min: int | None = None
    max: int | None = None
    names_null: bool = True  # whether AWS lists "Member must not be null" among the constraints of the elements
    bare: bool = False  # whether AWS says the elements' constraint as if it were the list's own


class Entries(Struct, frozen=True, kw_only=True):
    """A map of strings."""

    key: Text
    value: Text
    sensitive: bool = False


class Members(Struct, frozen=True, kw_only=True):
    """A structure, its members by wire name; members that are not listed are not constrained."""

    of: Mapping[str, Shape]
    required: tuple[str, ...] = ()


Shape = Text | Number | Items | Entries | Members


def check(shape: Members, value: Mapping[str, object]) -> None:
    """Compare a request with its shape.

    Args:
        shape: the input shape of the operation.
        value: the request in wire names, absent members absent (or None).

    Raises:
        ValidationException: with every violation, counted, in the order of the shape.
    """
    faults: list[str] = []
    _members(shape, value, "", faults)
    if faults:
        plural = "" if len(faults) == 1 else "s"
        raise ValidationException(f"{len(faults)} validation error{plural} detected: {'; '.join(faults)}")


def violations(shape: Text, value: str) -> list[str]:
    """What a string breaks, in AWS's words; empty when it is fine."""
    if shape.enum:
        return [] if value in shape.enum else _describe(shape)
    found = []
    if shape.max is not None and len(value) > shape.max:
        found.append(f"Member must have length less than or equal to {shape.max}")
    if shape.min is not None and len(value) < shape.min:
        found.append(f"Member must have length greater than or equal to {shape.min}")
    if shape.pattern is not None and not _matches(shape.pattern, value):
        found.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    return found


def _describe(shape: Text) -> list[str]:
    """All constraints of a string, as AWS lists them when an element of a collection breaks one."""
    if shape.enum:
        return [f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"]
    parts = []
    if shape.max is not None:
        parts.append(f"Member must have length less than or equal to {shape.max}")
    if shape.min is not None:
        parts.append(f"Member must have length greater than or equal to {shape.min}")
    if shape.pattern is not None:
        parts.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    return parts


def _fault(value: object, path: str, constraint: str, *, sensitive: bool = False) -> str:
    shown = "Value" if sensitive else "Value null" if value is None else f"Value '{_show(value)}'"
    return f"{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    return "null" if value is None else str(value)


def _members(shape: Members, value: Mapping[str, object], prefix: str, faults: list[str]) -> None:
    for name, member in shape.of.items():
        path = f"{prefix}{name[0].lower()}{name[1:]}"
        item = value.get(name)
        if item is None:
            if name in shape.required:
                faults.append(_fault(None, path, _NOT_NULL))
        else:
            _value(member, item, path, faults)


def _value(shape: Shape, value: object, path: str, faults: list[str]) -> None:
    if isinstance(shape, Text):
        assert isinstance(value, str)
        faults += [_fault(value, path, broken, sensitive=shape.sensitive) for broken in violations(shape, value)]
    elif isinstance(shape, Number):
        assert isinstance(value, int | float)
        if shape.max is not None and value > shape.max:
            faults.append(_fault(value, path, f"Member must have value less than or equal to {shape.max}"))
        if shape.min is not None and value < shape.min:
            faults.append(_fault(value, path, f"Member must have value greater than or equal to {shape.min}"))
    elif isinstance(shape, Items):
        assert isinstance(value, list)
        _items(shape, value, path, faults)
    elif isinstance(shape, Entries):
        assert isinstance(value, Mapping)
        _entries(shape, value, path, faults)
    else:
        assert isinstance(value, Mapping)
        _members(shape, value, f"{path}.", faults)


def _items(shape: Items, value: list[object], path: str, faults: list[str]) -> None:
    if shape.max is not None and len(value) > shape.max:
        faults.append(_fault(value, path, f"Member must have length less than or equal to {shape.max}"))
    if shape.min is not None and len(value) < shape.min:
        faults.append(_fault(value, path, f"Member must have length greater than or equal to {shape.min}"))
    if isinstance(shape.of, Text):
        text = shape.of
        if any(item is None or violations(text, str(item)) for item in value):
            parts = _describe(text) + ([_NOT_NULL] if shape.names_null and not shape.bare else [])
            constraint = ", ".join(parts)
            faults.append(
                _fault(value, path, constraint if shape.bare else f"Member must satisfy constraint: [{constraint}]")
            )
        return
    for number, item in enumerate(value, start=1):
        if item is None:
            faults.append(_fault(None, f"{path}.{number}.member", _NOT_NULL))
        else:
            _value(shape.of, item, f"{path}.{number}.member", faults)


def _entries(shape: Entries, value: Mapping[str, object], path: str, faults: list[str]) -> None:
    if any(violations(shape.key, key) for key in value):
        parts = [*_describe(shape.key), _NOT_NULL]
        constraint = f"Map keys must satisfy constraint: [{', '.join(parts)}]"
        faults.append(_fault(value, path, constraint, sensitive=shape.sensitive))
    if any(item is None or violations(shape.value, str(item)) for item in value.values()):
        parts = [*_describe(shape.value), _NOT_NULL]
        constraint = f"Map value must satisfy constraint: [{', '.join(parts)}]"
        faults.append(_fault(value, path, constraint, sensitive=shape.sensitive))


#: Java's classes of Unicode letters, separators and digits, which Python's `re` does not know.
TAG_PATTERN: Final = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"


def _matches(pattern: str, value: str) -> bool:
    if pattern == TAG_PATTERN:
        return all(unicodedata.category(char)[0] in "LZN" or char in "_.:/=+-@" for char in value)
    return _compiled(pattern).fullmatch(value) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
