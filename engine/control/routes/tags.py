"""Tags of functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from msgspec import Struct

from engine.control import render
from engine.control.services import REGISTRY
from engine.control.validation import read_body
from engine.errors import InvalidParameterValueException, ResourceNotFoundException
from engine.store import shapes
from engine.store.constraints import Members, check

_OTHERS: Final = {
    "code-signing-config": "Code signing config",
    "event-source-mapping": "Event source mapping",
    "capacity-provider": "Capacity provider",
    "network-connector": "Network connector",
}


class TagResourceRequest(Struct, rename="pascal"):
    """The body of TagResource."""

    tags: dict[str, str | None] | None = None


async def tag_resource(request: web.Request) -> web.StreamResponse:
    """TagResource."""
    body = await read_body(request, TagResourceRequest)
    name = _function(request, shapes.TAG_RESOURCE, Tags=body.tags)
    tags = {key: value for key, value in (body.tags or {}).items() if value is not None}
    await request.app[REGISTRY].tag(name, tags)
    return web.Response(status=204)


async def untag_resource(request: web.Request) -> web.StreamResponse:
    """UntagResource."""
    keys = request.query.getall("tagKeys", [])
    name = _function(request, shapes.UNTAG_RESOURCE, TagKeys=keys or None)
    await request.app[REGISTRY].untag(name, keys)
    return web.Response(status=204)


async def list_tags(request: web.Request) -> web.StreamResponse:
    """ListTags."""
    name = _function(request, shapes.LIST_TAGS)
    return render.json_response({"Tags": request.app[REGISTRY].tags(name)})


def _function(request: web.Request, shape: Members, **members: object) -> str:
    """The name of the function that the Resource is.

    Raises:
        ValidationException: the request breaks the model.
        InvalidParameterValueException: the ARN is qualified.
        ResourceNotFoundException: it is not there, of another region, or of a kind that Lambent has none of.
        AccessDeniedException: it is of another account.
    """
    resource = request.match_info["Resource"]
    check(shape, {"Resource": resource, **members})
    kind = resource.split(":")[5]
    if kind in _OTHERS:
        raise ResourceNotFoundException(f"{_OTHERS[kind]} not found: {resource}")
    registry = request.app[REGISTRY]
    reference = registry.resolve(resource)
    if reference.qualifier is not None:
        raise InvalidParameterValueException(
            "Tags on function aliases and versions are not supported. Please specify a function ARN."
        )
    registry.get(reference.name)
    return reference.name


HANDLERS: Final[Mapping[str, render.Handler]] = {
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
    "ListTags": list_tags,
}
