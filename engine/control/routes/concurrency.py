"""Reserved concurrency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from msgspec import Struct

from engine.control import render
from engine.control.services import REGISTRY
from engine.control.validation import read_body
from engine.store import shapes
from engine.store.constraints import check


class PutFunctionConcurrencyRequest(Struct, rename="pascal"):
    """The body of PutFunctionConcurrency."""

    reserved_concurrent_executions: int | None = None


async def put_function_concurrency(request: web.Request) -> web.StreamResponse:
    """PutFunctionConcurrency."""
    body = await read_body(request, PutFunctionConcurrencyRequest)
    name, limit = request.match_info["FunctionName"], body.reserved_concurrent_executions
    check(shapes.PUT_FUNCTION_CONCURRENCY, {"FunctionName": name, "ReservedConcurrentExecutions": limit})
    await request.app[REGISTRY].reserve(name, limit)
    return render.json_response({"ReservedConcurrentExecutions": limit})


async def get_function_concurrency(request: web.Request) -> web.StreamResponse:
    """GetFunctionConcurrency: an empty object when nothing is reserved."""
    registry = request.app[REGISTRY]
    name = request.match_info["FunctionName"]
    check(shapes.FUNCTION, {"FunctionName": name})
    reserved = registry.reserved(registry.resolve(name).name)
    return render.json_response({} if reserved is None else {"ReservedConcurrentExecutions": reserved})


async def delete_function_concurrency(request: web.Request) -> web.StreamResponse:
    """DeleteFunctionConcurrency."""
    name = request.match_info["FunctionName"]
    check(shapes.FUNCTION, {"FunctionName": name})
    await request.app[REGISTRY].reserve(name, None)
    return web.Response(status=204)


HANDLERS: Final[Mapping[str, render.Handler]] = {
    "PutFunctionConcurrency": put_function_concurrency,
    "GetFunctionConcurrency": get_function_concurrency,
    "DeleteFunctionConcurrency": delete_function_concurrency,
}
