"""What extensions send and are sent, as bytes: the body of `register`, the features it accepts, the event bodies.

JSON is read as Go reads it, which AWS's supervisor is written in: member names in any case, unknown members ignored,
null for nothing. Source: aws-lambda-runtime-interface-emulator, `rapi/handler/agentregister.go`,
`rapi/model/agentevent.go`, `rapi/rendering/rendering.go` (facts §2.2, 2.4).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ._events import Invocation
from ._extension import INVOKE, SHUTDOWN, ExtensionRefused
from ._limits import MAX_EXTENSION_BODY

__all__ = ["FunctionMetadata", "accepted_features", "invoke_event", "parse_register", "register_body", "shutdown_event"]

_INVALID: Final = "InvalidRequestFormat"
_KINDS: Final = {str: "string", int: "number", float: "number", bool: "bool", dict: "object", list: "array"}


class FunctionMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What an extension is told of the function when it registers."""

    name: str
    version: str
    handler: str
    account_id: str


def parse_register(body: bytes) -> list[str]:
    """The events that a `register` asks for.

    Raises:
        ExtensionRefused: InvalidRequestFormat; the words are Go's where they are simple.
    """
    if len(body) > MAX_EXTENSION_BODY:
        raise ExtensionRefused(_INVALID, f"the body exceeds {MAX_EXTENSION_BODY} bytes")
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExtensionRefused(_INVALID, _syntax(body, str(error))) from None
    if decoded is None:
        return []
    if not isinstance(decoded, dict):
        raise ExtensionRefused(_INVALID, _mismatch(decoded, "value of type handler.RegisterRequest"))
    events: list[str] = []
    for key, value in decoded.items():
        name = key.casefold()
        if name == "configurationkeys":
            if _strings(value, key, "[]string"):
                raise ExtensionRefused(_INVALID, "configurationKeys are deprecated; use environment variables instead")
        elif name == "events":
            events = _strings(value, key, "[]core.Event")
    return events


def _strings(value: Any, key: str, kind: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ExtensionRefused(_INVALID, _mismatch(value, f"struct field .{key[:64]} of type {kind}"))
    for one in value:
        if one is not None and not isinstance(one, str):
            raise ExtensionRefused(
                _INVALID, _mismatch(one, f"struct field .{key[:64]} of type {kind.removeprefix('[]')}")
            )
    return [one or "" for one in value]


def _mismatch(value: Any, target: str) -> str:
    return f"json: cannot unmarshal {_KINDS.get(type(value), 'value')} into Go {target}"


def _syntax(body: bytes, reason: str) -> str:
    text = body.lstrip()
    if not text:
        return "unexpected end of JSON input"
    first = text[:1].decode("latin-1")
    if first not in '{["-0123456789tfn':
        return f"invalid character '{first}' looking for beginning of value"
    return reason


def accepted_features(header: bytes) -> set[str]:
    """The names in ``Lambda-Extension-Accept-Feature``; unknown ones mean nothing."""
    return {name.strip().decode("latin-1") for name in header[:1024].split(b",")}


def register_body(metadata: FunctionMetadata, features: set[str]) -> bytes:
    """The answer to `register`."""
    out = {"functionName": metadata.name, "functionVersion": metadata.version, "handler": metadata.handler}
    if "accountId" in features and metadata.account_id:
        out = {"accountId": metadata.account_id, **out}
    return msgspec.json.encode(out)


def invoke_event(invocation: Invocation) -> bytes:
    """The INVOKE event of an invocation; its payload is not for extensions."""
    event: dict[str, object] = {
        "eventType": INVOKE,
        "deadlineMs": invocation.deadline_ms,
        "requestId": invocation.request_id,
        "invokedFunctionArn": invocation.function_arn,
    }
    if invocation.trace_id:
        event["tracing"] = {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id}
    return msgspec.json.encode(event)


def shutdown_event(reason: str, deadline_ms: int) -> bytes:
    """The SHUTDOWN event; `reason` is ``spindown``, ``timeout`` or ``failure``."""
    return msgspec.json.encode({"eventType": SHUTDOWN, "deadlineMs": deadline_ms, "shutdownReason": reason})
