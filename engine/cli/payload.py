"""The event a person gives: a file, standard input, or JSON on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine.cli.console import CommandError
from engine.model.limits import MAX_PAYLOAD


def read(text: str | None) -> bytes:
    """The payload, byte for byte as it was given.

    Args:
        text: ``-`` for standard input, ``@FILE`` or the name of a file that is there, else JSON; None gives ``{}``.

    Raises:
        CommandError: it is not JSON, cannot be read, or is larger than a synchronous payload may be.
    """
    if text is None:
        return b"{}"
    if text == "-":
        payload, source = sys.stdin.buffer.read(), "standard input"
    elif text.startswith("@"):
        payload, source = _file(text[1:]), text[1:]
    elif _is_file(text):
        payload, source = _file(text), text
    else:
        payload, source = text.encode("utf-8", "surrogateescape"), "the event on the command line"
    if len(payload) > MAX_PAYLOAD:
        raise CommandError(f"the event from {source} has {len(payload)} bytes; a function takes at most {MAX_PAYLOAD}.")
    if not payload.strip():
        return b"{}"  # as Lambda does with an empty body
    try:
        json.loads(payload)
    except (ValueError, RecursionError) as error:
        hint = ""
        if source.startswith("the event on"):
            hint = (
                f" There is no file of that name either: {text[:80]}"
                if _looks_like_path(text)
                else " Quote it for the shell: '{\"key\": 1}'."
            )
        raise CommandError(f"{source} is not JSON: {error}.{hint}") from None
    return payload


def _looks_like_path(text: str) -> bool:
    return "/" in text or text.endswith(".json")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL: it is JSON, or nothing
        return False


def _file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"the event file {name} could not be read: {error.strerror}.") from None
