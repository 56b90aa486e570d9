"""Code downloads: what the Location of GetFunction and GetLayerVersion points to."""

from __future__ import annotations

import anyio.to_thread
from aiohttp import web

from engine.control.downloads import PREFIX
from engine.control.services import DOWNLOADS, REGISTRY
from engine.errors import ResourceNotFoundException
from engine.store.folder import pack_folder


def add_routes(router: web.UrlDispatcher) -> None:
    """Mount the downloads."""
    router.add_get(PREFIX + "packages/{name}/{digest}", download_package)
    router.add_get(PREFIX + "folders/{name}", download_folder)


async def download_package(request: web.Request) -> web.StreamResponse:
    """The zip file, byte for byte as it was uploaded."""
    _check(request)
    name, digest = request.match_info["name"], request.match_info["digest"]
    path = request.app[REGISTRY].stored_package(digest)
    if not await anyio.to_thread.run_sync(path.is_file):
        raise ResourceNotFoundException(f"The code of {name} has changed; take a new link from GetFunction")
    return web.FileResponse(
        path,
        headers={"Content-Type": "application/zip", "Content-Disposition": f'attachment; filename="{name}.zip"'},
    )


async def download_folder(request: web.Request) -> web.StreamResponse:
    """A live folder, zipped as it is now."""
    _check(request)
    function = request.app[REGISTRY].get(request.match_info["name"])
    if function.source_dir is None:
        raise ResourceNotFoundException(f"The code of {function.arn} has changed; take a new link from GetFunction")
    body = await anyio.to_thread.run_sync(pack_folder, function.source_dir)
    return web.Response(body=body, content_type="application/zip")


def _check(request: web.Request) -> None:
    what = request.path.removeprefix(PREFIX)
    request.app[DOWNLOADS].check(what, request.query.get("expires", ""), request.query.get("signature", ""))
