"""Layers: publish, read, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from engine.control import render
from engine.control.services import DOWNLOADS, REGISTRY
from engine.control.validation import check_zipped, integer, query_int, read_body
from engine.model.layer import LayerVersion
from engine.store import shapes
from engine.store.constraints import Members, check
from engine.store.requests import PublishLayerVersionRequest
from engine.store.usage import digest_of


async def publish_layer_version(request: web.Request) -> web.StreamResponse:
    """PublishLayerVersion."""
    body = await read_body(request, PublishLayerVersionRequest)
    if body.content is not None:
        check_zipped(body.content.zip_file)
    body = msgspec.structs.replace(body, layer_name=request.match_info["LayerName"])
    return _answer(request, await request.app[REGISTRY].layers.publish(body), status=201)


async def get_layer_version(request: web.Request) -> web.StreamResponse:
    """GetLayerVersion."""
    return _answer(request, request.app[REGISTRY].layers.get(*_named(request)))


async def get_layer_version_by_arn(request: web.Request) -> web.StreamResponse:
    """GetLayerVersionByArn."""
    arn = request.query.get("Arn")
    check(shapes.LAYER_VERSION_BY_ARN, {"Arn": arn})
    assert arn is not None
    return _answer(request, request.app[REGISTRY].layers.by_arn(arn))


async def list_layers(request: web.Request) -> web.StreamResponse:
    """ListLayers: each layer with its newest version that is compatible."""
    marker, max_items, filters = _listing(request, shapes.LIST_LAYERS)
    layers, marker = request.app[REGISTRY].layers.list(marker, max_items, **filters)
    items: list[dict[str, object]] = [
        {"LayerName": one.name, "LayerArn": one.layer_arn, "LatestMatchingVersion": render.layer_version(one)}
        for one in layers
    ]
    return _page("Layers", items, marker)


async def list_layer_versions(request: web.Request) -> web.StreamResponse:
    """ListLayerVersions: newest first; empty for a layer that is not there."""
    name = request.match_info["LayerName"]
    marker, max_items, filters = _listing(request, shapes.LIST_LAYER_VERSIONS, LayerName=name)
    layers, marker = request.app[REGISTRY].layers.list_versions(name, marker, max_items, **filters)
    return _page("LayerVersions", [render.layer_version(one) for one in layers], marker)


async def delete_layer_version(request: web.Request) -> web.StreamResponse:
    """DeleteLayerVersion."""
    await request.app[REGISTRY].layers.delete(*_named(request))
    return web.Response(status=204)


def _named(request: web.Request) -> tuple[str, int]:
    name, version = request.match_info["LayerName"], integer(request.match_info["VersionNumber"], "a Long")
    check(shapes.LAYER_VERSION, {"LayerName": name, "VersionNumber": version})
    return name, version


def _listing(request: web.Request, shape: Members, **members: object) -> tuple[str | None, int | None, dict[str, str]]:
    """Marker, MaxItems and the filters that are given."""
    query, max_items = request.query, query_int(request, "MaxItems")
    filters = {"runtime": query.get("CompatibleRuntime"), "architecture": query.get("CompatibleArchitecture")}
    given = {"CompatibleRuntime": filters["runtime"], "CompatibleArchitecture": filters["architecture"]}
    check(shape, {**members, **given, "MaxItems": max_items})
    return query.get("Marker") or None, max_items, {name: value for name, value in filters.items() if value is not None}


def _page(member: str, items: list[dict[str, object]], marker: str | None) -> web.Response:
    return render.json_response({member: items, **({} if marker is None else {"NextMarker": marker})})


def _answer(request: web.Request, layer: LayerVersion, *, status: int = 200) -> web.Response:
    link = request.app[DOWNLOADS].link(str(request.url.origin()), f"packages/{layer.name}/{digest_of(layer)}")
    return render.json_response(render.layer_content(layer, link), status=status)


HANDLERS: Final[Mapping[str, render.Handler]] = {
    "PublishLayerVersion": publish_layer_version,
    "GetLayerVersion": get_layer_version,
    "GetLayerVersionByArn": get_layer_version_by_arn,
    "ListLayers": list_layers,
    "ListLayerVersions": list_layer_versions,
    "DeleteLayerVersion": delete_layer_version,
}
