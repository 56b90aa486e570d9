"""The application: every operation of the table mounted, errors as AWS sends them, a request id on every answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, Literal
from uuid import uuid4

from aiohttp import web
from aiohttp.typedefs import Middleware

from engine.clock import Clock, SystemClock
from engine.control.downloads import Downloads
from engine.control.operations import OPERATIONS, Operation
from engine.control.render import Handler, error_response
from engine.control.routes import account, code, concurrency, functions, layers, tags, versions
from engine.control.services import DOWNLOADS, HOT_RELOAD, OPERATION, REGISTRY, REQUEST_ID
from engine.errors import AwsError, NotImplementedException, RequestEntityTooLargeException, ServiceException
from engine.model.limits import MAX_CREATE_BODY
from engine.store.registry import FunctionRegistry

log = logging.getLogger("lambent.control")

HANDLERS: Final[Mapping[str, Handler]] = {
    **functions.HANDLERS,
    **versions.HANDLERS,
    **layers.HANDLERS,
    **tags.HANDLERS,
    **concurrency.HANDLERS,
    **account.HANDLERS,
}


class UnknownOperationException(AwsError):
    """404: no operation has this method and path."""

    code: ClassVar[str] = "UnknownOperationException"
    status: ClassVar[int] = 404
    fault: ClassVar[Literal["User", "Service"] | None] = None


def make_app(
    registry: FunctionRegistry,
    *,
    handlers: Mapping[str, Handler] | None = None,
    extra_routes: Callable[[web.Application], None] | None = None,
    hot_reload: bool = False,
    clock: Clock | None = None,
    middlewares: Sequence[Middleware] = (),
) -> web.Application:
    """The control plane over a registry.

    Args:
        registry: where functions are; its owner opens and closes it.
        handlers: handlers by operation name, for operations served elsewhere (Invoke). They may raise
            :class:`engine.errors.AwsError` and may set their own ``x-amzn-RequestId``.
        extra_routes: called with the application before the operations are mounted, so that its routes win.
        hot_reload: permit ``S3Bucket="hot-reload", S3Key="/abs/folder"``: functions that run a folder of this machine
            as it is. Off unless the clients may read every folder that the engine may read.
        clock: wall-clock time for the expiry of download links.
        middlewares: asked before any handler; they may raise `AwsError`.
    """
    app = web.Application(middlewares=[_errors, *middlewares], client_max_size=MAX_CREATE_BODY)
    app[REGISTRY] = registry
    app[DOWNLOADS] = Downloads(clock or SystemClock())
    app[HOT_RELOAD] = hot_reload
    app.on_response_prepare.append(_add_request_id)
    if extra_routes is not None:
        extra_routes(app)
    code.add_routes(app.router)
    _mount(app.router, {**HANDLERS, **(handlers or {})})
    return app


def _mount(router: web.UrlDispatcher, handlers: Mapping[str, Handler]) -> None:
    unknown = handlers.keys() - {operation.name for operation in OPERATIONS}
    if unknown:
        raise ValueError(f"handlers for operations that the Lambda API does not have: {', '.join(sorted(unknown))}")
    shared: dict[tuple[str, str], list[Operation]] = {}
    for operation in OPERATIONS:
        shared.setdefault((operation.path, operation.method), []).append(operation)
    for slash in ("", "/"):  # older SDKs send a trailing slash (facts §9.2)
        for (path, method), operations in shared.items():
            router.add_route(method, path + slash, _choosing(operations, handlers))


def _choosing(operations: list[Operation], handlers: Mapping[str, Handler]) -> Handler:
    """A handler for the operations of one method and path; those with a `query` are chosen by it."""
    ordered = sorted(operations, key=lambda operation: not operation.query)
    found = [(operation, handlers.get(operation.name, _not_built)) for operation in ordered]

    async def handle(request: web.Request) -> web.StreamResponse:
        for operation, handler in found:
            name, _, value = operation.query.partition("=")
            if not operation.query or request.query.get(name) == value:
                request[OPERATION] = operation.name
                return await handler(request)
        raise UnknownOperationException(f"{request.method} {request.path} is not an operation of the Lambda API")

    return handle


async def _not_built(request: web.Request) -> web.StreamResponse:
    raise NotImplementedException(f"Lambent does not implement {request[OPERATION]} yet")


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[REQUEST_ID] = str(uuid4())
    try:
        return await handler(request)
    except AwsError as error:
        return error_response(error)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return error_response(
            UnknownOperationException(f"{request.method} {request.path} is not an operation of the Lambda API")
        )
    except web.HTTPRequestEntityTooLarge:
        return error_response(RequestEntityTooLargeException(f"Request must be smaller than {MAX_CREATE_BODY} bytes"))
    except web.HTTPException:
        raise
    except Exception as error:
        log.exception("%s %s failed (request %s)", request.method, request.path, request[REQUEST_ID])
        return error_response(
            ServiceException(
                f"Lambent failed to process the request: {type(error).__name__}. "
                f"The engine's log has the details under request id {request[REQUEST_ID]}."
            )
        )


async def _add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    if "x-amzn-RequestId" not in response.headers:
        response.headers["x-amzn-RequestId"] = request.get(REQUEST_ID) or str(uuid4())
