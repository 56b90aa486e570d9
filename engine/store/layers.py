"""The layers of one engine: published, read, deleted, and looked up for functions.

Reads are synchronous, from memory; a change is on the disk before it is seen, as functions are
(:mod:`engine.store.stored`). A layer's row names its package, and so does each function that uses it: deleting a
version takes it from those who would use it next, not from those who do.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from engine.clock import Clock, timestamp
from engine.errors import InvalidParameterValueException, ResourceNotFoundException
from engine.model.layer import LayerUse, LayerVersion
from engine.store import markers, rows, rules
from engine.store.database import Database
from engine.store.names import Names
from engine.store.packages import Packages
from engine.store.requests import PublishLayerVersionRequest
from engine.store.settle import settle
from engine.store.turns import Turns
from engine.store.usage import digest_of

MAX_PAGE: Final = 50
"""Layers or versions in one page of a list."""

_NOT_THERE: Final = "The resource you requested does not exist."

log = logging.getLogger("lambent.store")

Page = tuple[list[LayerVersion], str | None]
"""What a list answers: layer versions, and the marker of the next page or None."""


class Layers:
    """Every layer of one account in one region.

    Methods that take `layer` accept a layer's name or its ARN without a version. Errors are
    :class:`engine.errors.AwsError` with AWS's texts.
    """

    def __init__(self, names: Names, clock: Clock, database: Database, packages: Packages) -> None:
        self._names = names
        self._clock = clock
        self._database = database
        self._packages = packages
        self._turns = Turns()
        self._next: dict[str, int] = {}
        self._versions: dict[str, dict[int, LayerVersion]] = {}

    async def load(self, there: set[str]) -> None:
        """Read them all; of those whose package is not `there` the log says so, and they are left out.

        Raises:
            DataDirectoryError: a row is damaged.
        """
        numbers, found = await self._database.read(rows.load_layers)
        self._next = dict(numbers)
        for row in found:
            layer = rows.read_layer(row)
            if digest_of(layer) in there:
                self._put(layer)
            else:
                log.error("the package of the layer %s is missing; publish it again", layer.arn)

    # Reading.

    def get(self, layer: str, version: int) -> LayerVersion:
        """GetLayerVersion.

        Raises:
            InvalidParameterValueException: no version is less than 1.
            ResourceNotFoundException: there is none.
        """
        _check_number(version)
        found = self._versions.get(self._name(layer) or "", {}).get(version)
        if found is None:
            raise ResourceNotFoundException(_NOT_THERE)
        return found

    def by_arn(self, arn: str) -> LayerVersion:
        """GetLayerVersionByArn. Raises ResourceNotFoundException."""
        found = self._find(arn)
        if found is None:
            raise ResourceNotFoundException(_NOT_THERE)
        return found

    def list(
        self,
        marker: str | None = None,
        max_items: int | None = None,
        *,
        runtime: str | None = None,
        architecture: str | None = None,
    ) -> Page:
        """ListLayers: of each layer the newest version that fits, in the order of names.

        Args:
            marker: what the page before returned; None for the first.
            max_items: 1 to 50.
            runtime: only versions that name this one as compatible.
            architecture: likewise.

        Raises:
            InvalidParameterValueException: the marker is not one of ours.
        """
        newest = (
            next((one for one in reversed(self._versions[name].values()) if _fits(one, runtime, architecture)), None)
            for name in sorted(self._versions)
        )
        after = _read_marker(marker, "ListLayers")
        return _page((one for one in newest if one is not None and one.name > after), max_items, lambda one: one.name)

    def list_versions(
        self,
        layer: str,
        marker: str | None = None,
        max_items: int | None = None,
        *,
        runtime: str | None = None,
        architecture: str | None = None,
    ) -> Page:
        """ListLayerVersions: newest first; empty for a layer that is not there. Arguments and errors as for `list`."""
        after = _read_marker(marker, "ListLayerVersions")
        if marker and not after.isdecimal():
            raise markers.bad(marker, "ListLayerVersions")
        versions = reversed(self._versions.get(self._name(layer) or "", {}).values())
        fitting = (
            one for one in versions if _fits(one, runtime, architecture) and (not after or one.version < int(after))
        )
        return _page(fitting, max_items, lambda one: str(one.version))

    def size(self) -> int:
        """Bytes of the packages of all versions (each counted, as AWS counts)."""
        return sum(one.code_size for versions in self._versions.values() for one in versions.values())

    def resolve(self, arns: Iterable[str | None]) -> tuple[LayerUse, ...]:
        """A function's Layers.

        Raises:
            InvalidParameterValueException: one is not there, of another region, or there twice (recorded texts).
        """
        found: dict[str, LayerVersion] = {}
        for arn in arns:
            if arn is None:
                continue
            reference = self._names.layer(arn)
            if reference is not None and reference.region != self._names.region:
                raise InvalidParameterValueException(
                    "Layers are not in the same region as the function. "
                    f"Layers are expected to be in region {self._names.region}."
                )
            layer = self._find(arn)
            if layer is None:
                raise InvalidParameterValueException(f"Layer version {arn} does not exist.")
            other = found.get(layer.name)
            if other is not None:
                raise InvalidParameterValueException(
                    "Two different versions of the same layer are not allowed to be referenced in the same function. "
                    f"{other.arn} and {layer.arn} are versions of the same layer."
                )
            found[layer.name] = layer
        return tuple(layer.use() for layer in found.values())

    # Changes.

    async def publish(self, request: PublishLayerVersionRequest) -> LayerVersion:
        """PublishLayerVersion.

        Raises:
            AwsError: refused; nothing was kept.
        """
        rules.check_layer(request)
        assert request.layer_name is not None
        assert request.content is not None
        name = self._name(request.layer_name)
        if name is None:
            raise ResourceNotFoundException(_NOT_THERE)
        async with self._turns.of(name), self._packages.store(rules.zip_of(request.content)) as package:
            layer = LayerVersion(
                name=name,
                version=self._next.get(name, 1),
                layer_arn=self._names.layer_arn(name),
                code_sha256=base64.b64encode(bytes.fromhex(package.digest)).decode(),
                code_size=package.size,
                description=request.description or "",
                license_info=request.license_info,
                compatible_runtimes=_plain(request.compatible_runtimes),
                compatible_architectures=_plain(request.compatible_architectures),
                created_date=timestamp(self._clock.epoch_ms()),
            )
            await settle(self._add(layer))
        return layer

    async def delete(self, layer: str, version: int) -> None:
        """DeleteLayerVersion. One that is not there is deleted already.

        Raises:
            InvalidParameterValueException: no version is less than 1.
        """
        _check_number(version)
        name = self._name(layer)
        if name is None:
            return
        async with self._turns.of(name):
            found = self._versions.get(name, {}).get(version)
            if found is not None:
                await settle(self._take_out(found))

    # Inside.

    def _name(self, layer: str) -> str | None:
        """The bare name; None for the ARN of another region or account."""
        reference = self._names.layer(layer)
        if reference is None:
            return layer
        here = (reference.region, reference.account) == (self._names.region, self._names.account_id)
        return reference.name if here else None

    def _find(self, arn: str) -> LayerVersion | None:
        reference = self._names.layer(arn)
        if reference is None or reference.version is None:
            return None
        return self._versions.get(self._name(arn) or "", {}).get(reference.version)

    def _put(self, layer: LayerVersion) -> None:
        self._versions.setdefault(layer.name, {})[layer.version] = layer
        self._packages.name([digest_of(layer)])

    async def _add(self, layer: LayerVersion) -> None:
        await self._database.write(lambda db: rows.publish_layer(db, layer))
        self._next[layer.name] = layer.version + 1
        self._put(layer)

    async def _take_out(self, layer: LayerVersion) -> None:
        await self._database.write(lambda db: rows.delete_layer(db, layer))
        versions = self._versions[layer.name]
        del versions[layer.version]
        if not versions:
            del self._versions[layer.name]
        self._packages.unname([digest_of(layer)])
        await self._packages.collect()


def _check_number(version: int) -> None:
    if version < 1:
        raise InvalidParameterValueException("Layer Version Cannot be less than 1")


def _fits(layer: LayerVersion, runtime: str | None, architecture: str | None) -> bool:
    return (runtime is None or runtime in (layer.compatible_runtimes or ())) and (
        architecture is None or architecture in (layer.compatible_architectures or ())
    )


def _page(found: Iterator[LayerVersion], max_items: int | None, place: Callable[[LayerVersion], str]) -> Page:
    most = min(max_items or MAX_PAGE, MAX_PAGE)
    page = list(islice(found, most))
    more = next(found, None) is not None
    return page, markers.write(place(page[-1])) if more else None


def _read_marker(marker: str | None, operation: str) -> str:
    return markers.read(marker, operation) if marker else ""


def _plain(items: Sequence[str | None] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(item for item in items if item is not None)
