"""Invoke on aiohttp: for connections that were handed over because they carry other requests too (boto3 does that)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from engine.errors import AwsError, EngineClosedError, ResourceNotFoundException, ServiceException
from engine.invoke.frontend import Frontend, error_bytes, reply_headers, too_large
from engine.invoke.pieces import PieceQueue
from engine.invoke.streamed import ending, piece_frame, stream_headers
from engine.model.invocation import Invocation
from engine.model.limits import MAX_PAYLOAD


def add_invoke_route(app: web.Application, frontend: Frontend) -> None:
    """Serve Invoke and InvokeWithResponseStream in `app` through `frontend`."""

    def serve(path: str, operation: Callable[[web.Request, Frontend], Coroutine[Any, Any, web.StreamResponse]]) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                return await operation(request, frontend)
            except AwsError as error:
                return _error(error, frontend.ids.request_id())
            except EngineClosedError as error:
                return _error(ServiceException(str(error)), frontend.ids.request_id())

        app.router.add_post(path, handler)
        app.router.add_post(f"{path}/", handler)

    serve("/2015-03-31/functions/{FunctionName}/invocations", _invoke)
    serve("/2021-11-15/functions/{FunctionName}/response-streaming-invocations", _invoke_stream)


async def _invoke(request: web.Request, frontend: Frontend) -> web.Response:
    route = frontend.route(request.raw_path.encode("latin-1"))
    if route is None:
        raise ResourceNotFoundException(f"Function not found: {request.match_info['FunctionName']}")
    body = await _body(request)
    answered: asyncio.Future[Invocation] = asyncio.get_running_loop().create_future()
    replied: list[web.Response] = []

    def reply(invocation: Invocation) -> None:
        # Rendered here and now: the invocation lets its payload go when this call returns.
        if invocation.error is not None:
            replied.append(_error(invocation.error, invocation.request_id))
        else:
            replied.append(web.Response(body=invocation.outcome or b"", headers=reply_headers(invocation)))
        if not answered.done():
            answered.set_result(invocation)

    invocation = frontend.prepare(route, _headers(request), body, reply)
    if invocation is None:
        return web.Response(status=204, headers={"x-amzn-RequestId": frontend.ids.request_id()})
    frontend.submit(invocation)
    await answered
    return replied[0]


async def _invoke_stream(request: web.Request, frontend: Frontend) -> web.StreamResponse:
    route = frontend.stream_route(request.raw_path.encode("latin-1"))
    if route is None:
        raise ResourceNotFoundException(f"Function not found: {request.match_info['FunctionName']}")
    body = await _body(request)
    stream = PieceQueue(_concluded)
    invocation = frontend.prepare_stream(route, _headers(request), body, stream)
    if invocation is None:
        return web.Response(status=204, headers={"x-amzn-RequestId": frontend.ids.request_id()})
    frontend.submit(invocation)
    try:
        if not await stream.opened():
            assert stream.ending is not None
            if isinstance(stream.ending, web.Response):
                return stream.ending
            return web.Response(body=stream.ending, headers=stream_headers(invocation, stream.content_type))
        response = web.StreamResponse(headers=stream_headers(invocation, stream.content_type))
        try:
            await response.prepare(request)
            while piece := await stream.take():
                await response.write(piece_frame(piece))
            assert isinstance(stream.ending, bytes)
            await response.write_eof(stream.ending)
        except ConnectionError:
            pass  # the caller hung up; there is nobody to tell, and the function goes on
        return response
    finally:
        stream.gone()


def _concluded(invocation: Invocation) -> bytes | web.Response:
    """The last frames, or a refusal; rendered while the invocation still has its payload."""
    if invocation.error is not None:
        return _error(invocation.error, invocation.request_id)
    return ending(invocation)


def _headers(request: web.Request) -> dict[bytes, bytes]:
    return {
        name.lower().encode("latin-1"): value.encode("latin-1", "replace") for name, value in request.headers.items()
    }


async def _body(request: web.Request) -> bytes:
    """The payload; read to its end even when it is too large, so that the refusal reaches the client."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size <= MAX_PAYLOAD:
            chunks.append(chunk)
        else:
            chunks.clear()
        if size > 10 * MAX_PAYLOAD:
            break
    if size > MAX_PAYLOAD:
        raise too_large()
    return b"".join(chunks)


def _error(error: AwsError, request_id: str) -> web.Response:
    head, body = error_bytes(error, request_id)
    lines = head.decode("latin-1").split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines if line and not line.startswith("Content-Length"))
    return web.Response(status=error.status, body=body, headers=headers)
