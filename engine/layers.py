"""Layers as a person or a program has them: ARNs, folders, zip files, bytes. Here they become layer versions."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import anyio.to_thread

from engine.errors import ConfigurationError
from engine.model.layer import LayerVersion
from engine.store import FunctionRegistry, pack_folder
from engine.store.requests import LayerVersionContentInput, PublishLayerVersionRequest

LayerSource = str | Path | bytes | LayerVersion
"""An ARN; the path of a folder or zip file, whose top is /opt; a zip's bytes; or what `Engine.publish_layer` gave."""

_MAX_NAME: Final = 140


def published_arn(source: LayerSource) -> str | None:
    """The ARN of what is a published layer version already; None for what is to become one."""
    if isinstance(source, LayerVersion):
        return source.arn
    return source if isinstance(source, str) and source.startswith("arn:") else None


def read_layer(path: Path) -> bytes:
    """A zip from a folder or zip file. Blocking.

    Raises:
        ConfigurationError: there is nothing of the kind at `path`.
        InvalidParameterValueException: the folder is empty or too large.
    """
    if path.is_dir():
        return pack_folder(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the layer {path} cannot be read: {error.strerror}; name a folder, a zip file or a layer version's ARN"
        ) from error
    if not data.startswith(b"PK"):
        raise ConfigurationError(f"the layer {path} is neither a folder nor a zip file")
    return data


def layer_names(sources: Sequence[LayerSource]) -> Iterator[str]:
    """A layer's name for each that is not published: the folder's or file's, with a number when another has it.

    A function cannot have two versions of one layer, so no two of `sources` share a name.
    """
    taken = {arn.split(":")[6] for arn in map(published_arn, sources) if arn is not None and arn.count(":") >= 6}
    for source in sources:
        if isinstance(source, LayerVersion) or published_arn(source) is not None:
            continue
        path = Path("layer") if isinstance(source, bytes) else Path(source).absolute()
        stem = path.stem if path.suffix == ".zip" else path.name
        bare = re.sub(r"[^a-zA-Z0-9-_]+", "-", stem).strip("-")[: _MAX_NAME - 3] or "layer"
        name = next(name for name in _numbered(bare) if name not in taken)
        taken.add(name)
        yield name


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def code_sha256(package: bytes) -> str:
    """A package's CodeSha256, as AWS prints it."""
    return base64.b64encode(hashlib.sha256(package).digest()).decode()


async def publish(
    registry: FunctionRegistry, name: str, content: str | Path | bytes, *, description: str = ""
) -> LayerVersion:
    """Publish a version of a layer. Raises AwsError and ConfigurationError."""
    package = content if isinstance(content, bytes) else await anyio.to_thread.run_sync(read_layer, Path(content))
    return await registry.layers.publish(
        PublishLayerVersionRequest(
            layer_name=name, description=description, content=LayerVersionContentInput(zip_file=package)
        )
    )


async def arns(registry: FunctionRegistry, sources: Iterable[LayerSource]) -> list[str]:
    """The ARNs of these, published where need be: what is the same as a layer's newest version is that version."""
    ordered = list(sources)
    names = layer_names(ordered)
    out: list[str] = []
    for source in ordered:
        if isinstance(source, LayerVersion):
            out.append(source.arn)
        else:
            out.append(published_arn(source) or (await _published(registry, next(names), source)).arn)
    return out


async def _published(registry: FunctionRegistry, name: str, source: str | Path | bytes) -> LayerVersion:
    package = source if isinstance(source, bytes) else await anyio.to_thread.run_sync(read_layer, Path(source))
    digest = await anyio.to_thread.run_sync(code_sha256, package)
    newest, _ = registry.layers.list_versions(name, max_items=1)
    if newest and newest[0].code_sha256 == digest:
        return newest[0]
    return await publish(registry, name, package)
