"""The functions of one engine: what the control plane changes and the data plane reads.

Reads are synchronous, from memory; changes are durable before they are visible (see the package's docstring for the
order). Code is unpacked before a function is named Active, so a create or an update is complete when it returns: the
Pending and InProgress that AWS shows in the *answer* (facts §10.1) are rendered by the control plane, never stored.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import anyio.to_thread
import msgspec
from msgspec import Struct

from engine.clock import Clock
from engine.errors import (
    InvalidParameterValueException,
    PreconditionFailedException,
    ResourceConflictException,
)
from engine.model.function import LATEST, FunctionVersion
from engine.model.limits import ACCOUNT_CONCURRENCY, MAX_UNZIPPED, UNRESERVED_FLOOR
from engine.store import rows, rules
from engine.store.code import Package
from engine.store.database import Database
from engine.store.index import FunctionIndex, Record
from engine.store.lock import DirectoryLock
from engine.store.names import Names
from engine.store.packages import Packages
from engine.store.requests import (
    CreateFunctionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)
from engine.store.settle import settle
from engine.store.turns import Turns
from engine.store.usage import digest_of

_STALE_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
)
_ONLY_FUNCTIONS: Final = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)

log = logging.getLogger("lambent.store")


class FunctionChange(Struct, frozen=True):
    """What became of one version of a function. A deleted function is told version by version, ``$LATEST`` last.

    Attributes:
        name: the function.
        old: before; None when it is new (or replayed at the start).
        new: after; None when it was deleted. `new is old` when only the reservation changed.
        reserved: its reserved concurrency now; None when it has none.
    """

    name: str
    old: FunctionVersion | None
    new: FunctionVersion | None
    reserved: int | None = None

    @property
    def version(self) -> str:
        """Which version: ``$LATEST`` or a number."""
        either = self.new or self.old
        return LATEST if either is None else either.version


class FunctionRegistry(FunctionIndex):
    """The domain service behind the control plane and the embedding API.

    Methods that take `function` accept every form of a name (:mod:`engine.store.names`); those that take `name` want
    the bare name. Errors are :class:`engine.errors.AwsError` with AWS's texts.

    Args:
        data_dir: the data directory; made if it is not there. One engine at a time.
        account_id: twelve digits.
        region: AWS region of the ARNs.
        clock: wall-clock time for LastModified, monotonic for grace periods.
        account_concurrency: the account's limit, from which functions reserve.
        durable: False skips syncs, for a directory that is thrown away with its engine.
        max_unzipped: bytes a package may unzip to.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        account_id: str,
        region: str,
        clock: Clock,
        account_concurrency: int = ACCOUNT_CONCURRENCY,
        durable: bool = True,
        max_unzipped: int = MAX_UNZIPPED,
    ) -> None:
        super().__init__(Names(account_id, region), account_concurrency)
        self._clock = clock
        self._lock = DirectoryLock(data_dir)
        self._database = Database(data_dir / "lambent.db", durable=durable)
        self._packages = Packages(data_dir / "code", clock=clock, limit=max_unzipped, durable=durable)
        self._code = self._packages.code
        self._subscribers: list[Callable[[FunctionChange], None]] = []
        self._turns = Turns()
        self._opened = False

    async def open(self) -> None:
        """Lock the directory, read everything, tell the subscribers, and remove packages that no function names.

        Raises:
            DataDirectoryError: in use, not writable, damaged, or of a newer version.
        """
        await anyio.to_thread.run_sync(self._lock.acquire)
        try:
            await self._database.open()
            there = await self._code.open()
            found = await self._database.read(rows.load)
            for row in found:
                self._adopt(row, there)
            await self._packages.keep_named()
        except BaseException:
            await self.close()
            raise
        self._opened = True
        for name in self._sorted:
            record = self._records[name]
            self._tell(FunctionChange(name, None, record.latest, record.reserved))

    async def close(self) -> None:
        """Close the database and release the directory. Harmless when not open."""
        self._opened = False
        await self._database.close()
        await settle(anyio.to_thread.run_sync(self._lock.release))

    def subscribe(self, callback: Callable[[FunctionChange], None]) -> Callable[[], None]:
        """Hear of every change, on the loop, after it is durable and before its caller gets an answer.

        Functions that exist already are replayed: at :meth:`open`, or at once when the registry is open.

        Returns:
            a function that ends the subscription.
        """
        self._subscribers.append(callback)
        if self._opened:
            for name in self._sorted:
                record = self._records[name]
                callback(FunctionChange(name, None, record.latest, record.reserved))
        return lambda: self._subscribers.remove(callback)

    # Packages: where they are, and who uses them.

    def usage(self) -> tuple[int, int]:
        """Number of functions, and the bytes of their packages (each counted, as AWS counts)."""
        return len(self._records), sum(record.latest.code_size for record in self._records.values())

    def code_root(self, function: FunctionVersion) -> str:
        """The folder with the function's code: its live folder, or its unpacked package (read-only, please)."""
        return function.source_dir or os.fspath(self._code.tree(digest_of(function)))

    def package_path(self, function: FunctionVersion) -> Path:
        """The zip file of a function that has one.

        Raises:
            ResourceConflictException: the function's code is a live folder.
        """
        if function.source_dir is not None:
            raise ResourceConflictException(
                f"{function.arn} is deployed from the folder {function.source_dir}: no package"
            )
        return self._code.package(digest_of(function))

    def stored_package(self, digest: str) -> Path:
        """Where the zip file with this SHA-256 (hex) is, if it is."""
        return self._code.package(digest)

    def pin(self, function: FunctionVersion) -> None:
        """Keep the function's package on disk although an update or delete may drop it: an environment uses it."""
        self._packages.pin([digest_of(function)])

    async def unpin(self, function: FunctionVersion) -> None:
        """End one :meth:`pin`; removes the package when nobody names or pins it any more."""
        await self._packages.unpin([digest_of(function)])

    # Changes.

    async def create(self, request: CreateFunctionRequest, *, source_dir: str | None = None) -> FunctionVersion:
        """CreateFunction.

        Args:
            request: the request; its name may have any unqualified form.
            source_dir: a live folder instead of a package; Code is not looked at then.

        Returns:
            the function, Active.

        Raises:
            AwsError: refused; nothing was kept.
        """
        rules.check_create(request, folder=source_dir is not None)
        assert request.function_name is not None
        name = self._unqualified(request.function_name)
        rules.check_name(name)
        if source_dir is not None:
            await _check_folder(source_dir)
        async with self._changing(name), self._package(request, source_dir) as package:
            if name in self._records:
                raise ResourceConflictException(f"Function already exist: {name}")
            bare = FunctionVersion(name=name, arn=self.names.arn(name), source_dir=source_dir)
            function = self._stamped(rules.created(request, _with_code(bare, package)))
            tags = {key: value for key, value in (request.tags or {}).items() if value is not None}
            await settle(self._add(function, tags))
        return function

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
            the function as it is now; with DryRun as it would be.

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
                return _with_code(old, trial, architectures=architectures, source_dir=source_dir)
            async with self._package(request, source_dir) as package:
                new = self._stamped(_with_code(old, package, architectures=architectures, source_dir=source_dir))
                await settle(self._replace(old, new))
        return new

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
            if reference.qualifier is not None:
                return  # there are no published versions: one that is not there is deleted already, as on AWS
            await settle(self._take_out(name, record))

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

    async def collect(self) -> None:
        """Remove packages that no function names and no environment pins, now."""
        await self._packages.collect(0)

    # Inside.

    def _adopt(self, row: rows.Row, there: set[str]) -> None:
        function, tags = rows.read(row)
        digest = digest_of(function)
        if digest and digest not in there:
            log.error("the code package of %s is missing from %s; update its code", function.arn, self._code.root)
            function = msgspec.structs.replace(
                function,
                state="Failed",
                state_reason=f"The code package {digest} is missing from the data directory: update the code.",
                state_reason_code="InternalError",
            )
        self._put(function.name, Record(function, tags, row[3]))

    def _put(self, name: str, record: Record) -> None:
        self._insert(name, record)
        self._packages.name([digest_of(record.latest)])

    # The commits, each run by `settle`: disk first, then memory, then the subscribers.

    async def _add(self, function: FunctionVersion, tags: dict[str, str]) -> None:
        await self._database.write(lambda db: rows.insert(db, function, tags))
        self._put(function.name, Record(function, tags, None))
        self._tell(FunctionChange(function.name, None, function))

    async def _replace(self, old: FunctionVersion, new: FunctionVersion) -> None:
        await self._database.write(lambda db: rows.update(db, new))
        record = self._records[new.name]
        record.latest = new
        self._packages.name([digest_of(new)])
        self._packages.unname([digest_of(old)])
        self._tell(FunctionChange(new.name, old, new, record.reserved))
        await self._packages.collect()

    async def _take_out(self, name: str, record: Record) -> None:
        await self._database.write(lambda db: rows.delete(db, name))
        self._remove(name)
        self._packages.unname([digest_of(record.latest)])
        self._tell(FunctionChange(name, record.latest, None))
        await self._packages.collect()

    async def _set_tags(self, name: str, record: Record, tags: dict[str, str]) -> None:
        await self._database.write(lambda db: rows.set_tags(db, name, tags))
        record.tags = tags

    async def _set_reserved(self, name: str, record: Record, limit: int | None) -> None:
        await self._database.write(lambda db: rows.set_reserved(db, name, limit))
        record.reserved = limit
        self._tell(FunctionChange(name, record.latest, record.latest, limit))

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
    async def _changing(self, name: str) -> AsyncIterator[None]:
        """One change of a function at a time; different functions change side by side."""
        if not self._opened:
            raise RuntimeError("the function registry is not open")
        async with self._turns.of(name):
            yield

    def _unqualified(self, function: str) -> str:
        reference = self.names.resolve(function)
        if reference.qualifier is not None and reference.qualifier != LATEST:
            raise InvalidParameterValueException(_ONLY_FUNCTIONS)
        return reference.name

    def _stamped(self, function: FunctionVersion) -> FunctionVersion:
        """A new revision, modified now."""
        when = datetime.fromtimestamp(self._clock.epoch_ms() / 1000, UTC)
        return msgspec.structs.replace(
            function,
            revision_id=str(uuid4()),
            last_modified=when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}+0000",
            state="Active",
            state_reason=None,
            state_reason_code=None,
            last_update_status="Successful",
        )

    def _tell(self, change: FunctionChange) -> None:
        for callback in tuple(self._subscribers):
            try:
                callback(change)
            except Exception:
                # The change is on the disk; one listener's bug must not hide it from the others or from the caller.
                log.exception("a subscriber failed on the change of %s", change.name)


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
