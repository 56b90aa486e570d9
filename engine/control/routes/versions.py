"""Versions of functions: publish, list. Reading and deleting one is a function's operation with a Qualifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from engine.control import render
from engine.control.services import REGISTRY
from engine.control.validation import query_int, read_body
from engine.store import shapes
from engine.store.constraints import check
from engine.store.requests import PublishVersionRequest


async def publish_version(request: web.Request) -> web.StreamResponse:
    """PublishVersion: 201 also when nothing had changed and the version is an old one."""
    body = await read_body(request, PublishVersionRequest)
    body = msgspec.structs.replace(body, function_name=request.match_info["FunctionName"])
    version = await request.app[REGISTRY].publish(body)
    return render.json_response(render.configuration(version), status=201)


async def list_versions_by_function(request: web.Request) -> web.StreamResponse:
    """ListVersionsByFunction: ``$LATEST`` first, each with its qualified ARN."""
    registry = request.app[REGISTRY]
    name, max_items = request.match_info["FunctionName"], query_int(request, "MaxItems")
    check(shapes.LIST_VERSIONS, {"FunctionName": name, "MaxItems": max_items})
    bare = registry.resolve(name).name
    versions, marker = registry.list_versions(bare, request.query.get("Marker") or None, max_items)
    body: dict[str, object] = {"Versions": [render.listed(version, qualified=True) for version in versions]}
    if marker is not None:
        body["NextMarker"] = marker
    return render.json_response(body)


HANDLERS: Final[Mapping[str, render.Handler]] = {
    "PublishVersion": publish_version,
    "ListVersionsByFunction": list_versions_by_function,
}
