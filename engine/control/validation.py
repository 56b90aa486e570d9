"""Requests read: JSON bodies, paths and query strings to the registry's request structs.

What a member may hold is checked by :mod:`engine.store.constraints`; here is what comes before: is it JSON, is it small
enough, has each member the right type. AWS's front end answers those with SerializationException, in words of its own
(``STRING_VALUE can not be converted to an Integer``).
"""

from __future__ import annotations

import re
from typing import ClassVar, Final, Literal, TypeVar

import anyio.to_thread
import msgspec
from aiohttp import web

from engine.control.services import OPERATION
from engine.errors import AwsError, RequestEntityTooLargeException
from engine.model.limits import MAX_CREATE_BODY, MAX_ZIPPED

T = TypeVar("T")

_IN_THREAD: Final = 128 * 1024
"""Bodies above this many bytes are decoded off the loop: 70 MB of base64 take about 100 ms."""

_MISMATCH: Final = re.compile(r"Expected `([^`]+)`, got `(\w+)`")
_GOT: Final = {"str": "STRING_VALUE", "int": "NUMBER_VALUE", "float": "DECIMAL_VALUE", "bool": "TRUE_VALUE"}
_WANTED: Final = {"int": "an Integer", "str": "a String", "bool": "a Boolean", "bytes": "a Blob"}


class SerializationException(AwsError):
    """400: the request is not of the types that the model says. AWS sends no Type with it."""

    code: ClassVar[str] = "SerializationException"
    status: ClassVar[int] = 400
    member: ClassVar[Literal["message", "Message"]] = "Message"
    fault: ClassVar[Literal["User", "Service"] | None] = None


async def read_body(request: web.Request, kind: type[T]) -> T:
    """The JSON body as `kind`; an empty body is an empty object.

    Raises:
        RequestEntityTooLargeException: 70,167,211 bytes or more; the rest is not read.
        SerializationException: not JSON, or a member of another type.
    """
    if (request.content_length or 0) >= MAX_CREATE_BODY:
        raise _too_large(request)
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(request) from error
    if len(body) >= MAX_CREATE_BODY:
        raise _too_large(request)
    if len(body) > _IN_THREAD:
        return await anyio.to_thread.run_sync(_decode, body, kind)
    return _decode(body, kind)


def check_zipped(package: bytes | None) -> None:
    """The limit of a direct upload.

    Raises:
        RequestEntityTooLargeException: more than 50 MB.
    """
    if package is not None and len(package) >= MAX_ZIPPED:
        raise RequestEntityTooLargeException(f"Zipped size must be smaller than {MAX_ZIPPED} bytes")


def query_int(request: web.Request, name: str) -> int | None:
    """An integer of the query string, None when absent. Raises SerializationException."""
    text = request.query.get(name)
    return None if text is None else integer(text, "an Integer")


def integer(text: str, wanted: str) -> int:
    """An integer of the query string or path. Raises SerializationException, which says what was `wanted`."""
    try:
        return int(text)
    except ValueError as error:
        raise SerializationException(f"STRING_VALUE can not be converted to {wanted}") from error


def _too_large(request: web.Request) -> RequestEntityTooLargeException:
    operation = request.get(OPERATION, "requested")
    return RequestEntityTooLargeException(
        f"Request must be smaller than {MAX_CREATE_BODY} bytes for the {operation} operation"
    )


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise SerializationException(_type_fault(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SerializationException(f"Could not parse request body into json: {error}") from error


def _type_fault(text: str) -> str:
    """A type error of msgspec in AWS's words, with the place in ours."""
    match = _MISMATCH.match(text)
    place = text.partition(" - at ")[2].strip("`")
    where = f" (at {place})" if place else ""
    if match is None:
        return f"{text.partition(' - at ')[0]}{where}"
    wanted, got = match[1].removesuffix(" | null"), match[2]
    if got == "object":
        return f"Start of structure or map found where not expected.{where}"
    if got == "array":
        return f"Start of list found where not expected{where}"
    if wanted == "array":
        return f"Expected list or null{where}"
    if wanted == "object":
        return f"Expected structure or null{where}"
    return f"{_GOT.get(got, got)} can not be converted to {_WANTED.get(wanted, wanted)}{where}"
