"""Functions on the disk and in memory, kept in step: what every change of the registry ends in.

Disk first, then memory, then the subscribers (see the package's docstring). A commit is run by
:func:`engine.store.settle.settle`, so that no cancellation leaves the one without the other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from sqlite3 import Connection

import anyio.to_thread
import msgspec
from msgspec import Struct

from engine.clock import Clock
from engine.errors import AwsError, ResourceConflictException
from engine.model.function import LATEST, FunctionVersion
from engine.model.limits import ACCOUNT_CONCURRENCY, MAX_UNZIPPED
from engine.store import rows
from engine.store.database import Database
from engine.store.index import FunctionIndex, Record
from engine.store.layers import Layers
from engine.store.lock import DirectoryLock
from engine.store.names import Names
from engine.store.packages import Packages
from engine.store.settle import settle
from engine.store.turns import Turns
from engine.store.usage import digest_of, layers_of, opt_of, packages_of

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


class StoredFunctions(FunctionIndex):
    """The index, and what is on the disk behind it.

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
        self.layers = Layers(self.names, clock, self._database, self._packages)
        self._subscribers: list[Callable[[FunctionChange], None]] = []
        self._prepare: Callable[[FunctionVersion], None] | None = None
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
            await self.layers.load(there)
            for row in await self._database.read(rows.load):
                function, tags = rows.read(row)
                self._adopt(await self._checked(function, there), tags, row)
            await self._packages.keep_named()
        except BaseException:
            await self.close()
            raise
        self._opened = True
        for change in self._replay():
            self._tell(change)

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
            for change in self._replay():
                callback(change)
        return lambda: self._subscribers.remove(callback)

    # Packages: where they are, and who uses them.

    def usage(self) -> tuple[int, int]:
        """Number of functions, and the bytes of all versions' and layers' packages (each counted, as AWS counts)."""
        size = sum(version.code_size for record in self._records.values() for version in record.every())
        return len(self._records), size + self.layers.size()

    def code_root(self, function: FunctionVersion) -> str:
        """The folder with the function's code: its live folder, or its unpacked package (read-only, please)."""
        return function.source_dir or os.fspath(self._code.tree(digest_of(function)))

    def opt_root(self, function: FunctionVersion) -> str | None:
        """The folder with the function's layers, merged (read-only, please); None when it has none."""
        merged = opt_of(function)
        return os.fspath(self._code.tree(merged)) if merged else None

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
        """Keep the function's code and layers on disk although a change may drop them: an environment uses them."""
        self._packages.pin(packages_of(function))

    async def unpin(self, function: FunctionVersion) -> None:
        """End one :meth:`pin`; removes what nobody names or pins any more."""
        await self._packages.unpin(packages_of(function))

    async def collect(self) -> None:
        """Remove packages that no function names and no environment pins, now."""
        await self._packages.collect(0)

    def prepare_versions_with(self, begin: Callable[[FunctionVersion], None]) -> None:
        """Have versions with SnapStart prepared before they can be invoked.

        From now on a version that is published with ``SnapStart.ApplyOn=PublishedVersions`` begins Pending, and `begin`
        is called with it: on the loop, once it is stored and the subscribers know it, before its publisher has an
        answer. Whoever prepares it says :meth:`version_ready` or :meth:`version_failed` some time later. Versions that
        are Pending from before (the engine was stopped over it) are handed to `begin` now. Without this, versions are
        Active at once.

        Args:
            begin: must not block; an exception in it is logged, and the version stays Pending.
        """
        self._prepare = begin
        for record in list(self._records.values()):
            for version in list(record.versions.values()):
                self._begin(version)

    @asynccontextmanager
    async def _changing(self, name: str) -> AsyncIterator[None]:
        """One change of a function at a time; different functions change side by side."""
        if not self._opened:
            raise RuntimeError("the function registry is not open")
        async with self._turns.of(name):
            yield

    # Inside.

    async def _checked(self, function: FunctionVersion, there: set[str]) -> FunctionVersion:
        """`function` as it was stored; Failed when a package of it is lost. Layers are merged anew if need be."""
        lost = [digest for digest in (digest_of(function), *layers_of(function)) if digest and digest not in there]
        if lost:
            whose = "code package" if lost[0] == digest_of(function) else "package of a layer,"
            return _failed(
                function,
                f"The {whose} {lost[0]} is missing from the data directory: update the code or the layers.",
            )
        merged = opt_of(function)
        if merged and merged not in there:
            try:
                async with self._code.hold_merged(layers_of(function)):
                    there.add(merged)
            except AwsError as error:
                return _failed(function, error.text)
        return function

    def _adopt(self, function: FunctionVersion, tags: dict[str, str], row: rows.Row) -> None:
        if function.version == LATEST:
            self._put(function.name, Record(function, tags, *row[4:]))
        else:
            self._put_version(self._records[function.name], function)

    def _replay(self) -> Iterator[FunctionChange]:
        """What there is, as if it were new."""
        for name in self._sorted:
            record = self._records[name]
            for version in record.every():
                yield FunctionChange(name, None, version, record.reserved)

    def _put(self, name: str, record: Record) -> None:
        self._insert(name, record)
        self._packages.name(packages_of(record.latest))

    def _put_version(self, record: Record, version: FunctionVersion) -> None:
        record.versions[version.version] = version
        record.next_version = max(record.next_version, int(version.version) + 1)
        self._packages.name(packages_of(version))

    # The commits, each run by `settle`: disk first, then memory, then the subscribers.

    async def _add(
        self, function: FunctionVersion, tags: dict[str, str], version: FunctionVersion | None = None
    ) -> None:
        def write(db: Connection) -> None:
            rows.insert(db, function, tags)
            if version is not None:
                rows.publish(db, version)

        await self._database.write(write)
        record = Record(function, tags)
        self._put(function.name, record)
        self._tell(FunctionChange(function.name, None, function))
        if version is not None:
            self._added(record, version)

    async def _replace(
        self, old: FunctionVersion, new: FunctionVersion, version: FunctionVersion | None = None
    ) -> None:
        publish = version is not None and not self._known(version)

        def write(db: Connection) -> None:
            rows.update(db, new)
            if version is not None and publish:
                rows.publish(db, version)

        await self._database.write(write)
        record = self._records[new.name]
        record.latest = new
        self._packages.name(packages_of(new))
        self._packages.unname(packages_of(old))
        self._tell(FunctionChange(new.name, old, new, record.reserved))
        if version is not None and publish:
            self._added(record, version)
        await self._packages.collect()

    async def _add_version(self, version: FunctionVersion) -> None:
        await self._database.write(lambda db: rows.publish(db, version))
        self._added(self._records[version.name], version)

    def _added(self, record: Record, version: FunctionVersion) -> None:
        self._put_version(record, version)
        self._tell(FunctionChange(version.name, None, version, record.reserved))
        self._begin(version)

    async def _replace_version(self, old: FunctionVersion, new: FunctionVersion) -> None:
        await self._database.write(lambda db: rows.update(db, new))
        record = self._records[new.name]
        record.versions[new.version] = new
        self._tell(FunctionChange(new.name, old, new, record.reserved))

    async def _take_out(self, name: str, record: Record) -> None:
        await self._database.write(lambda db: rows.delete(db, name))
        self._remove(name)
        for version in (*record.versions.values(), record.latest):
            self._packages.unname(packages_of(version))
            self._tell(FunctionChange(name, version, None))
        await self._packages.collect()

    async def _take_out_version(self, record: Record, version: FunctionVersion) -> None:
        await self._database.write(lambda db: rows.delete_version(db, version))
        del record.versions[version.version]
        self._packages.unname(packages_of(version))
        self._tell(FunctionChange(version.name, version, None, record.reserved))
        await self._packages.collect()

    async def _set_tags(self, name: str, record: Record, tags: dict[str, str]) -> None:
        await self._database.write(lambda db: rows.set_tags(db, name, tags))
        record.tags = tags

    async def _set_reserved(self, name: str, record: Record, limit: int | None) -> None:
        await self._database.write(lambda db: rows.set_reserved(db, name, limit))
        record.reserved = limit
        self._tell(FunctionChange(name, record.latest, record.latest, limit))

    def _known(self, version: FunctionVersion) -> bool:
        """Whether it is published already."""
        record = self._records.get(version.name)
        return record is not None and record.versions.get(version.version) is version

    def _begin(self, version: FunctionVersion) -> None:
        if self._prepare is None or version.state != "Pending":
            return
        try:
            self._prepare(version)
        except Exception:
            log.exception("preparing version %s of %s failed", version.version, version.name)

    def _tell(self, change: FunctionChange) -> None:
        for callback in tuple(self._subscribers):
            try:
                callback(change)
            except Exception:
                # The change is on the disk; one listener's bug must not hide it from the others or from the caller.
                log.exception("a subscriber failed on the change of %s", change.name)


def _failed(function: FunctionVersion, reason: str) -> FunctionVersion:
    log.error("%s version %s cannot be used: %s", function.arn, function.version, reason)
    return msgspec.structs.replace(function, state="Failed", state_reason=reason, state_reason_code="InternalError")
