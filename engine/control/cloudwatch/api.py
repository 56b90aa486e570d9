"""The protocol: JSON 1.1. One route, the operation in a header, errors with ``__type``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import msgspec
from aiohttp import web

from engine.control.cloudwatch import groups, reading
from engine.control.cloudwatch.errors import (
    InvalidParameter,
    LogsError,
    Serialization,
    ServiceUnavailable,
    UnknownOperation,
)
from engine.control.cloudwatch.service import LogsService
from engine.telemetry.store import LogStore

_LOG: Final = logging.getLogger("lambent.control")
_PREFIX: Final = "Logs_20140328."
_JSON: Final = "application/x-amz-json-1.1"
#: A batch of PutLogEvents has 1 MiB, as AWS measures it; escapes can make more of it in JSON.
_MAX_BODY: Final = 8 << 20

Handler = Callable[[LogsService, Any], Awaitable[dict[str, object]]]
OPERATIONS: Final[dict[str, tuple[Any, Handler]]] = {**groups.OPERATIONS, **reading.OPERATIONS}
"""By name: the type of the request, and what answers it."""


def add_cloudwatch_route(app: web.Application, store: LogStore, *, region: str, account_id: str) -> None:
    """Serve CloudWatch Logs in `app`, at ``POST /``."""
    service = LogsService(store, region, account_id)

    async def handle(request: web.Request) -> web.Response:
        request_id = str(uuid4())
        try:
            status, body = 200, await _answer(service, request)
        except LogsError as error:
            status, body = error.status, error.body()
        except Exception as error:  # noqa: BLE001 - a bug of ours; the client is answered all the same
            _LOG.exception("%s failed (request %s)", request.headers.get("X-Amz-Target"), request_id)
            failed = ServiceUnavailable(f"Lambent failed to process the request: {type(error).__name__}")
            status, body = failed.status, failed.body()
        headers = {"x-amzn-RequestId": request_id}
        return web.Response(
            body=msgspec.json.encode(body) if body else b"", status=status, content_type=_JSON, headers=headers
        )

    app.router.add_post("/", handle)


async def _answer(service: LogsService, request: web.Request) -> dict[str, object]:
    target = request.headers.get("X-Amz-Target", "")
    name = target.removeprefix(_PREFIX)
    if name == target:
        raise UnknownOperation(f"'{target}' in X-Amz-Target is not an operation of Lambda or CloudWatch Logs")
    kind, handler = OPERATIONS.get(name, (None, None))
    if handler is None:
        raise UnknownOperation(f"Lambent does not implement {name} of CloudWatch Logs")
    if (request.content_length or 0) > _MAX_BODY:
        raise Serialization(f"Request must be smaller than {_MAX_BODY} bytes")
    body = await request.read()
    try:
        asked = msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"1 validation error detected: {error}") from None
    except msgspec.DecodeError as error:
        raise Serialization(f"The request is not valid JSON: {error}") from None
    return await handler(service, asked)
