"""The functions of one engine: what the control plane changes and the data plane reads.

Reads are synchronous, from memory; changes are durable before they are visible (see the package's docstring for the
order). Code is unpacked before a function is named Active, so a create or an update is complete when it returns: the
Pending and InProgress that AWS shows in the *answer* (facts §10.1) are rendered by the control plane, never stored.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import anyio.to_thread
import msgspec

from engine.clock import timestamp
from engine.errors import (
    InvalidParameterValueException,
    PreconditionFailedException,
    ResourceConflictException,
)
from engine.model.function import LATEST, FunctionVersion
from engine.model.layer import LayerUse
from engine.model.limits import UNRESERVED_FLOOR
from engine.store import rules, versions
from engine.store.code import Package
from engine.store.folder import pack_folder
from engine.store.requests import (
    CreateFunctionRequest,
    PublishVersionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)
from engine.store.settle import settle
from engine.store.stored import FunctionChange, StoredFunctions
from engine.store.usage import digest_of

__all__ = ["FunctionChange", "FunctionRegistry"]

_STALE_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
)
_ONLY_FUNCTIONS: Final = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)


class FunctionRegistry(StoredFunctions):
    """The domain service behind the control plane and the embedding API.

    Methods that take `function` accept every form of a name (:mod:`engine.store.names`); those that take `name` want
    the bare name. Errors are :class:`engine.errors.AwsError` with AWS's texts.
    """

    async def create(self, request: CreateFunctionRequest, *, source_dir: str | None = None) -> FunctionVersion:
        """CreateFunction.

        Args:
            request: the request; its name may have any unqualified form.
            source_dir: a live folder instead of a package; Code is not looked at then.

        Returns:
            the function, Active; with Publish the version that was published.

        Raises:
            AwsError: refused; nothing was kept.
        """
        rules.check_create(request, folder=source_dir is not None)
        assert request.function_name is not None
        name = self._unqualified(request.function_name)
        rules.check_name(name)
        if source_dir is not None:
            await _check_folder(source_dir)
        async with (
            self._changing(name),
            self._merged(request.layers or ()) as layers,
            self._package(request, source_dir) as package,
        ):
            if name in self._records:
                raise ResourceConflictException(f"Function already exist: {name}")
            await self._check_size(package, layers)
            bare = FunctionVersion(name=name, arn=self.names.arn(name), source_dir=source_dir, layers=layers)
            function = self._stamped(rules.created(request, _with_code(bare, package)))
            tags = {key: value for key, value in (request.tags or {}).items() if value is not None}
            if not request.publish:
                await settle(self._add(function, tags))
                return function
            async with self._packed(function) as packed:
                version = self._version_of(packed, None)
                await settle(self._add(function, tags, version))
        return version

    async def update_configuration(self, request: UpdateFunctionConfigurationRequest) -> FunctionVersion:
        """UpdateFunctionConfiguration: members left out stay, empty ones clear.

        Raises:
            AwsError: refused; nothing changed.
        """
        rules.check_configuration(request)
        assert request.function_name is not None
        name = self._unqualified(request.function_name)
        async with self._changing(name):
            old = self.get(name)
            _check_revision(old, request.revision_id)
            new = self._stamped(rules.configured(request, old))
            if request.layers is None:
                await settle(self._replace(old, new))
                return new
            async with self._merged(request.layers) as layers:
                await self._check_size(digest_of(old), layers)
                new = msgspec.structs.replace(new, layers=layers)
                await settle(self._replace(old, new))
        return new

    async def update_code(
        self, request: UpdateFunctionCodeRequest, *, source_dir: str | None = None
    ) -> FunctionVersion:
        """UpdateFunctionCode.

        Args:
            request: the request. With DryRun everything is checked, the package unpacked on trial, nothing changed.
            source_dir: a live folder instead of a package.

        Returns:
            the function as it is now; with DryRun as it would be; with Publish the version that was published.

        Raises:
            AwsError: refused; nothing changed.
        """
        rules.check_code(request)
        assert request.function_name is not None
        name = self._unqualified(request.function_name)
        if source_dir is not None:
            await _check_folder(source_dir)
        async with self._changing(name):
            old = self.get(name)
            _check_revision(old, request.revision_id)
            architectures = tuple(item for item in request.architectures or () if item) or old.architectures
            if request.dry_run:
                trial = None if source_dir is not None else await self._code.check(rules.zip_of(request))
                await self._check_size(trial, old.layers)
                return _with_code(old, trial, architectures=architectures, source_dir=source_dir)
            async with self._package(request, source_dir) as package:
                await self._check_size(package, old.layers)
                new = self._stamped(_with_code(old, package, architectures=architectures, source_dir=source_dir))
                if not request.publish:
                    await settle(self._replace(old, new))
                    return new
                async with self._packed(new) as packed:
                    version = self._version_of(packed, None)
                    await settle(self._replace(old, new, version))
        return version

    async def publish(self, request: PublishVersionRequest) -> FunctionVersion:
        """PublishVersion. When nothing has changed since the last version, that one again.

        A live folder is packed as it is at this moment.

        Returns:
            the version; Active, or Pending when it has SnapStart and somebody makes snapshots.

        Raises:
            AwsError: refused; nothing was published.
        """
        rules.check_publish(request)
        assert request.function_name is not None
        name = self._unqualified(request.function_name)
        async with self._changing(name):
            latest = self.get(name)
            _check_revision(latest, request.revision_id)
            if latest.state != "Active":
                raise ResourceConflictException(
                    "The operation cannot be performed at this time. "
                    f"The function is currently in the following state: {latest.state}"
                )
            async with self._packed(latest) as packed:
                versions.check_code_sha256(packed, request.code_sha256)
                version = self._version_of(packed, request.description)
                if not self._known(version):
                    await settle(self._add_version(version))
        return version

    async def version_ready(self, name: str, version: str) -> bool:
        """A Pending version can be invoked from now on: it becomes Active.

        Returns:
            False when it is not there (any more), or not Pending: nothing was done.
        """
        return await self._settle_version(name, version, versions.ready)

    async def version_failed(self, name: str, version: str, reason_code: str, reason: str) -> bool:
        """A Pending version cannot be prepared: it becomes Failed.

        Args:
            name: the function.
            version: the number.
            reason_code: of AWS's StateReasonCode enumeration, such as ``FunctionError.InitTimeout`` (facts §10.1).
            reason: StateReason, a sentence.

        Returns:
            False when it is not there (any more), or not Pending: nothing was done.
        """
        return await self._settle_version(name, version, lambda old: versions.failed(old, reason_code, reason))

    async def _settle_version(
        self, name: str, version: str, change: Callable[[FunctionVersion], FunctionVersion]
    ) -> bool:
        async with self._changing(name):
            record = self._records.get(name)
            old = record.versions.get(version) if record is not None else None
            if old is None or old.state != "Pending":
                return False
            await settle(self._replace_version(old, change(old)))
        return True

    async def delete(self, function: str, qualifier: str | None = None) -> None:
        """DeleteFunction, or one version of it.

        Raises:
            ResourceNotFoundException: no such function.
            InvalidParameterValueException: the qualifier names what cannot be deleted.
        """
        reference = self.resolve(function, qualifier)
        name = reference.name
        async with self._changing(name):
            if reference.qualifier is not None and not reference.qualifier.isdecimal():
                if reference.qualifier == LATEST:
                    raise InvalidParameterValueException(
                        "$LATEST version cannot be deleted without deleting the function."
                    )
                raise InvalidParameterValueException("Deletion of aliases is not currently supported.")
            record = self._record(name)
            if reference.qualifier is None:
                await settle(self._take_out(name, record))
                return
            version = record.versions.get(reference.qualifier)
            if version is not None:  # one that is not there is deleted already, as on AWS
                await settle(self._take_out_version(record, version))

    async def tag(self, name: str, tags: dict[str, str]) -> None:
        """Add or replace tags.

        Raises:
            ResourceNotFoundException: no such function.
            InvalidParameterValueException: none given, or more than 50 would result.
        """
        async with self._changing(name):
            record = self._record(name)
            if not tags:
                raise InvalidParameterValueException("An error occurred and the request cannot be processed.")
            merged = {**record.tags, **tags}
            rules.check_tags(merged)
            await settle(self._set_tags(name, record, merged))

    async def untag(self, name: str, keys: Iterable[str]) -> None:
        """Remove tags; keys that are not there are no error. Raises ResourceNotFoundException."""
        async with self._changing(name):
            record = self._record(name)
            gone = set(keys)
            kept = {key: value for key, value in record.tags.items() if key not in gone}
            await settle(self._set_tags(name, record, kept))

    async def reserve(self, function: str, limit: int | None) -> None:
        """Put or (None) delete the function's reserved concurrency.

        Raises:
            ResourceNotFoundException: no such function.
            InvalidParameterValueException: the name is qualified, or less than 100 would be left to the others.
        """
        reference = self.resolve(function)
        if reference.qualifier is not None:
            raise InvalidParameterValueException(_ONLY_FUNCTIONS)
        name = reference.name
        async with self._changing(name):
            record = self._records.get(name)
            if record is None:
                raise self.names.not_found(name, LATEST)
            others = self.reserved_total() - (record.reserved or 0)
            if limit and others + limit > self.account_concurrency - UNRESERVED_FLOOR:
                raise InvalidParameterValueException(
                    "Specified ReservedConcurrentExecutions for function decreases account's "
                    f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_FLOOR}]."
                )
            await settle(self._set_reserved(name, record, limit))

    # Inside.

    @asynccontextmanager
    async def _package(
        self, request: CreateFunctionRequest | UpdateFunctionCodeRequest, source_dir: str | None
    ) -> AsyncIterator[Package | None]:
        """The request's package, stored and held; None for a folder. Dropped again when no function came to name it."""
        if source_dir is not None:
            yield None
            return
        code = request.code if isinstance(request, CreateFunctionRequest) else request
        assert code is not None
        async with self._packages.store(rules.zip_of(code)) as package:
            yield package

    @asynccontextmanager
    async def _merged(self, arns: Iterable[str | None]) -> AsyncIterator[tuple[LayerUse, ...]]:
        """The layers of a request, held and merged."""
        layers = self.layers.resolve(arns)  # nothing is awaited between this and holding them
        async with self._packages.merge([digest_of(layer) for layer in layers]):
            yield layers

    async def _check_size(self, code: Package | str | None, layers: Sequence[LayerUse]) -> None:
        """Code and layers together, when there are layers. `code`: a package, its digest, or none (a live folder)."""
        if not layers:
            return
        total = code.unzipped if isinstance(code, Package) else await self._code.unzipped(code) if code else 0
        for layer in layers:
            total += await self._code.unzipped(digest_of(layer))
        rules.check_total_size(total, self._code.limit)

    @asynccontextmanager
    async def _packed(self, function: FunctionVersion) -> AsyncIterator[FunctionVersion]:
        """`function` with a package, held: its own, or its live folder as it is now."""
        if function.source_dir is None:
            yield function
            return
        try:
            zipped = await anyio.to_thread.run_sync(pack_folder, function.source_dir)
        except OSError as error:
            raise InvalidParameterValueException(
                f"The folder {function.source_dir} cannot be packed: {error.strerror} ({error.filename})"
            ) from error
        async with self._packages.store(zipped) as package:
            yield _with_code(function, package, source_dir=None)

    def _version_of(self, latest: FunctionVersion, description: str | None) -> FunctionVersion:
        """The version that publishing `latest` leads to: the last one if nothing has changed since, else a new one."""
        record = self._records.get(latest.name)
        number = 1 if record is None else record.next_version
        last = None if record is None else record.versions.get(str(number - 1))
        if last is not None and last.origin == versions.fingerprint(latest):
            return last
        pending = self._prepare is not None and latest.snap_start == "PublishedVersions"
        return versions.published(latest, number, description, pending=pending)

    def _unqualified(self, function: str) -> str:
        reference = self.names.resolve(function)
        if reference.qualifier is not None and reference.qualifier != LATEST:
            raise InvalidParameterValueException(_ONLY_FUNCTIONS)
        return reference.name

    def _stamped(self, function: FunctionVersion) -> FunctionVersion:
        """A new revision, modified now."""
        return msgspec.structs.replace(
            function,
            revision_id=str(uuid4()),
            last_modified=timestamp(self._clock.epoch_ms()),
            state="Active",
            state_reason=None,
            state_reason_code=None,
            last_update_status="Successful",
        )


def _with_code(function: FunctionVersion, package: Package | None, **others: object) -> FunctionVersion:
    """`function` with this package, or with none (a folder)."""
    digest = "" if package is None else base64.b64encode(bytes.fromhex(package.digest)).decode()
    size = 0 if package is None else package.size
    return msgspec.structs.replace(function, code_sha256=digest, code_size=size, **others)


def _check_revision(function: FunctionVersion, revision_id: str | None) -> None:
    if revision_id is not None and revision_id != function.revision_id:
        raise PreconditionFailedException(_STALE_REVISION)


async def _check_folder(source_dir: str) -> None:
    folder = Path(source_dir)
    if not folder.is_absolute() or not await anyio.to_thread.run_sync(folder.is_dir):
        raise InvalidParameterValueException(
            f"The folder {source_dir!r} cannot be used as live code: give the absolute path of an existing folder"
        )
