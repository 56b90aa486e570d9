"""``--layer`` of ``lambent deploy``: folders and zips become layers of a server."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

from engine.cli.console import CommandError, note
from engine.cli.http import Client
from engine.layers import code_sha256, layer_names, published_arn, read_layer
from engine.model.limits import MAX_ZIPPED


def publish(client: Client, layers: tuple[str, ...]) -> list[str]:
    """The ARNs of these on a server.

    Folders and zips become layers there, named after them, unless a layer's newest version is the same already.

    Raises:
        CommandError: one cannot be read or uploaded, or the server refused it.
    """
    names = layer_names(layers)
    return [published_arn(layer) or _published(client, next(names), layer) for layer in layers]


def _published(client: Client, name: str, path: str) -> str:
    package = read_layer(Path(path))
    if len(package) > MAX_ZIPPED:
        raise CommandError(
            f"the layer {path} has {len(package)} bytes zipped; at most {MAX_ZIPPED} can be uploaded. "
            "Leave out what the function does not need, or make two layers of it."
        )
    what, versions = f"publish the layer '{name}'", f"/2018-10-31/layers/{quote(name, safe='')}/versions"
    newest = client.request(what, "GET", versions, query={"MaxItems": "1"}).json()["LayerVersions"]
    if newest:
        there = client.request(what, "GET", f"{versions}/{newest[0]['Version']}").json()
        if there["Content"]["CodeSha256"] == code_sha256(package):
            return str(there["LayerVersionArn"])
    content = {"ZipFile": base64.b64encode(package).decode()}
    arn = str(client.request(what, "POST", versions, body={"Content": content}).json()["LayerVersionArn"])
    note(f"published the layer {arn} ({len(package)} bytes)")
    return arn
