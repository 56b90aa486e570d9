"""What a runtime says about an error beside its body: the X-Ray cause, validated and cropped (facts §1.6).

Source: aws-lambda-runtime-interface-emulator, `rapi/model/error_cause*.go` and
`rapi/handler/mime_type_error_cause_json.go`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ._limits import MAX_ERROR_CAUSE

__all__ = ["CAUSE_CONTENT_TYPE", "INVALID_ERROR_BODY", "split_cause", "validated_cause"]

CAUSE_CONTENT_TYPE: Final = b"application/vnd.aws.lambda.error.cause+json"
"""An error body of this type carries the cause as a member of its own, which the caller must not see."""

INVALID_ERROR_BODY: Final = b'"Invalid error body"'
"""What the caller is told when a body of `CAUSE_CONTENT_TYPE` is not readable (AWS's words)."""

_PADDING: Final = 4096
"""Left for member names and quotes when only two strings are kept."""


class _Frame(msgspec.Struct, omit_defaults=True):
    path: str = ""
    line: int = 0
    label: str = ""


class _ExceptionRecord(msgspec.Struct, omit_defaults=True):
    message: str = ""
    type: str = ""
    stack: list[_Frame] | None = None


class _Cause(msgspec.Struct):
    exceptions: list[_ExceptionRecord] | None = None
    working_directory: str = ""
    paths: list[str] | None = None
    message: str | msgspec.UnsetType = msgspec.UNSET


class _ErrorWithCause(msgspec.Struct, rename="camel"):
    error_message: str | None = None
    error_type: str | None = None
    stack_trace: list[str] | None = None
    error_cause: msgspec.Raw = msgspec.Raw()


class _Error(msgspec.Struct, rename="camel"):
    error_message: str
    error_type: str
    stack_trace: list[str] | msgspec.UnsetType


_decode_cause = msgspec.json.Decoder(_Cause).decode
_decode_error = msgspec.json.Decoder(_ErrorWithCause).decode
_encode = msgspec.json.encode


def validated_cause(text: bytes) -> bytes | None:
    """The cause as X-Ray takes it, at most 64 KiB of JSON; None when there is none or it is not one."""
    if not text:
        return None
    try:
        cause = _decode_cause(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not (cause.exceptions or cause.working_directory or cause.paths or cause.message):
        return None
    encoded = _encode(cause)
    return encoded if len(encoded) <= MAX_ERROR_CAUSE else _cropped(cause)


def _cropped(cause: _Cause) -> bytes:
    """Keep ever smaller leading parts of the lists; as a last resort only the two strings, cut."""
    exceptions, paths = cause.exceptions or [], cause.paths or []
    for factor in (0.8, 0.6, 0.4, 0.2):
        cause.exceptions = exceptions[: int(len(exceptions) * factor)]
        cause.paths = paths[: int(len(paths) * factor)]
        encoded = _encode(cause)
        if len(encoded) <= MAX_ERROR_CAUSE:
            return encoded
    cause.exceptions = cause.paths = None
    room = (MAX_ERROR_CAUSE - _PADDING) // 2
    cause.working_directory = _crop(cause.working_directory, room)
    if cause.message:
        cause.message = _crop(cause.message, room)
    return _encode(cause)


def _crop(text: str, room: int) -> str:
    """`text` so that its JSON is at most `room` bytes, "..." marking the cut.

    AWS cuts by characters of the unescaped text and may so exceed the limit; the size on the wire is what counts.
    """
    if len(_encode(text)) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(_encode(text[:middle])) + 3 <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "..."


def split_cause(body: bytes) -> tuple[bytes, bytes | None]:
    """Take apart a body of `CAUSE_CONTENT_TYPE`: what the caller may see, and the validated cause."""
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return INVALID_ERROR_BODY, None
    visible = _Error(error.error_message or "", error.error_type or "", error.stack_trace or msgspec.UNSET)
    return _encode(visible), validated_cause(bytes(error.error_cause))
