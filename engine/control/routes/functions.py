"""Functions: create, read, list, change, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from engine.control import render
from engine.control.services import DOWNLOADS, HOT_RELOAD, REGISTRY
from engine.control.validation import check_zipped, query_int, read_body
from engine.errors import InvalidParameterValueException
from engine.model.function import FunctionVersion
from engine.store import shapes
from engine.store.constraints import check
from engine.store.requests import (
    CreateFunctionRequest,
    FunctionCode,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)

HOT_RELOAD_BUCKET: Final = "hot-reload"


async def create_function(request: web.Request) -> web.StreamResponse:
    """CreateFunction."""
    body = await read_body(request, CreateFunctionRequest)
    folder = _live_folder(request, body.code) if body.code is not None else None
    if body.code is not None:
        check_zipped(body.code.zip_file)
    function = await request.app[REGISTRY].create(body, source_dir=folder)
    answer = render.configuration(render.creating(function))
    answer["FunctionArn"] = function.arn  # not the version's with Publish, though Version says its number (as recorded)
    return render.json_response(answer, status=201)


async def get_function(request: web.Request) -> web.StreamResponse:
    """GetFunction."""
    registry = request.app[REGISTRY]
    function, qualifier = _named(request)
    body: dict[str, object] = {
        "Configuration": render.configuration(function, qualified=qualifier is not None),
        "Code": {"RepositoryType": "S3", "Location": _location(request, function)},
    }
    tags = registry.tags(function.name)
    if tags:
        body["Tags"] = tags
    reserved = registry.reserved(function.name)
    if reserved is not None:
        body["Concurrency"] = {"ReservedConcurrentExecutions": reserved}
    return render.json_response(body)


async def get_function_configuration(request: web.Request) -> web.StreamResponse:
    """GetFunctionConfiguration."""
    function, qualifier = _named(request)
    return render.json_response(render.configuration(function, qualified=qualifier is not None))


async def list_functions(request: web.Request) -> web.StreamResponse:
    """ListFunctions. FunctionVersion=ALL lists every version, each with its qualified ARN."""
    query = request.query
    max_items = query_int(request, "MaxItems")
    version = query.get("FunctionVersion")
    check(
        shapes.LIST_FUNCTIONS,
        {"MasterRegion": query.get("MasterRegion"), "FunctionVersion": version, "MaxItems": max_items},
    )
    every = version is not None
    functions, marker = request.app[REGISTRY].list(query.get("Marker") or None, max_items, every_version=every)
    body: dict[str, object] = {"Functions": [render.listed(function, qualified=every) for function in functions]}
    if marker is not None:
        body["NextMarker"] = marker
    return render.json_response(body)


async def update_function_code(request: web.Request) -> web.StreamResponse:
    """UpdateFunctionCode. DryRun answers with the configuration as it would be, Publish with the new version's."""
    body = await read_body(request, UpdateFunctionCodeRequest)
    folder = _live_folder(request, body)
    check_zipped(body.zip_file)
    body = msgspec.structs.replace(body, function_name=request.match_info["FunctionName"])
    function = await request.app[REGISTRY].update_code(body, source_dir=folder)
    shown = function
    if not body.dry_run:
        shown = render.creating(function) if body.publish else render.updating(function)
    return render.json_response(render.configuration(shown))


async def update_function_configuration(request: web.Request) -> web.StreamResponse:
    """UpdateFunctionConfiguration."""
    body = await read_body(request, UpdateFunctionConfigurationRequest)
    body = msgspec.structs.replace(body, function_name=request.match_info["FunctionName"])
    function = await request.app[REGISTRY].update_configuration(body)
    return render.json_response(render.configuration(render.updating(function)))


async def delete_function(request: web.Request) -> web.StreamResponse:
    """DeleteFunction. 200 without a body: the model's StatusCode is the HTTP status (facts §9.2; formerly 204)."""
    await request.app[REGISTRY].delete(request.match_info["FunctionName"], request.query.get("Qualifier"))
    return web.Response(status=200, content_type=render.JSON)


def _named(request: web.Request) -> tuple[FunctionVersion, str | None]:
    return request.app[REGISTRY].find(request.match_info["FunctionName"], request.query.get("Qualifier"))


def _location(request: web.Request, function: FunctionVersion) -> str:
    base = str(request.url.origin())
    if function.source_dir is not None:
        return request.app[DOWNLOADS].link(base, f"folders/{function.name}")
    digest = request.app[REGISTRY].package_path(function).parent.name
    return request.app[DOWNLOADS].link(base, f"packages/{function.name}/{digest}")


def _live_folder(request: web.Request, code: FunctionCode) -> str | None:
    """LocalStack's convention for live code: the bucket ``hot-reload``, the key an absolute folder."""
    if code.s3_bucket != HOT_RELOAD_BUCKET or code.zip_file is not None:
        return None
    if not request.app[HOT_RELOAD]:
        raise InvalidParameterValueException(
            f"S3Bucket {HOT_RELOAD_BUCKET!r} asks for the folder {code.s3_key!r} of the server as live code, "
            "and this server was not started to permit that; send a ZipFile instead"
        )
    return code.s3_key or ""


HANDLERS: Final[Mapping[str, render.Handler]] = {
    "CreateFunction": create_function,
    "GetFunction": get_function,
    "GetFunctionConfiguration": get_function_configuration,
    "ListFunctions": list_functions,
    "UpdateFunctionCode": update_function_code,
    "UpdateFunctionConfiguration": update_function_configuration,
    "DeleteFunction": delete_function,
}
