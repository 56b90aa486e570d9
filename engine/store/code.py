"""Code packages, kept by their content: DATA/code/<sha256 hex>/{package.zip,tree/}.

A package exists or it does not: it is unpacked in a temporary folder beside the others, synced, and renamed into place.
The same package is unpacked once however many functions use it and however many ask at the same time. Who is about to
name a package in a row holds it (:meth:`CodeStore.hold`), so that nobody removes it in between.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import logging
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio.to_thread
from msgspec import Struct

from engine.errors import CodeStorageExceededException, DataDirectoryError, ServiceException
from engine.model.limits import MAX_UNZIPPED
from engine.store.settle import settle
from engine.store.turns import Turns
from engine.store.unzip import remove_tree, unzip

log = logging.getLogger("lambent.store")

_TEMPORARY: Final = ".tmp-"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HEX: Final = frozenset("0123456789abcdef")


class Package(Struct, frozen=True):
    """A stored package: its SHA-256 in hex, and the size of the zip in bytes."""

    digest: str
    size: int


class CodeStore:
    """The packages under one folder.

    Args:
        root: the folder, DATA/code.
        limit: bytes of content one package may unzip to.
        durable: False skips the syncs, for a data directory that is thrown away with its engine.
    """

    def __init__(self, root: Path, *, limit: int = MAX_UNZIPPED, durable: bool = True) -> None:
        self.root = root
        self._limit = limit
        self._durable = durable
        self._turns = Turns()
        self._held: Counter[str] = Counter()

    def tree(self, digest: str) -> Path:
        """The unpacked package; the folder that becomes /var/task."""
        return self.root / digest / "tree"

    def package(self, digest: str) -> Path:
        """The zip file as it was uploaded."""
        return self.root / digest / "package.zip"

    def held(self, digest: str) -> bool:
        """Whether somebody is about to use this package."""
        return self._held[digest] > 0

    async def open(self) -> set[str]:
        """Make the folder, clear what a crash left half done, and return the digests that are there.

        Raises:
            DataDirectoryError: the folder cannot be used.
        """
        return await anyio.to_thread.run_sync(self._open)

    @asynccontextmanager
    async def hold(self, package: bytes) -> AsyncIterator[Package]:
        """Store `package` unless it is there, and keep it from being removed while the context lasts.

        Raises:
            InvalidParameterValueException: the package is not acceptable, in AWS's words.
            CodeStorageExceededException: the disk is full; nothing was kept.
            ServiceException: the disk failed otherwise.
        """
        digest = await anyio.to_thread.run_sync(lambda: hashlib.sha256(package).hexdigest())
        self._held[digest] += 1
        try:
            async with self._turns.of(digest):
                await settle(anyio.to_thread.run_sync(self._store, digest, package))
            yield Package(digest, len(package))
        finally:
            self._held[digest] -= 1
            if not self._held[digest]:
                del self._held[digest]

    async def check(self, package: bytes) -> Package:
        """Unpack `package` and throw the result away: what DryRun needs. Raises as :meth:`hold`."""
        return await anyio.to_thread.run_sync(self._check, package)

    async def remove(self, digest: str, needed: Callable[[], bool] = lambda: False) -> None:
        """Remove a package, unless it is held or `needed` once its turn has come."""
        async with self._turns.of(digest):
            if not self.held(digest) and not needed():
                await settle(anyio.to_thread.run_sync(self._remove, digest))

    async def keep_only(self, digests: Iterable[str]) -> None:
        """Remove every package but these and the held ones."""
        keep = set(digests)
        there = await anyio.to_thread.run_sync(self._list)
        for digest in sorted(there - keep):
            await self.remove(digest)

    # What follows runs in threads.

    def _open(self) -> set[str]:
        try:
            self.root.mkdir(exist_ok=True)
            self.root.chmod(0o711)
            for leftover in self.root.glob(_TEMPORARY + "*"):
                remove_tree(leftover)
            return self._list()
        except OSError as error:
            raise DataDirectoryError(
                f"the code folder {self.root} cannot be used: {error.strerror}; "
                "the engine must be able to write it, or choose another data directory"
            ) from error

    def _list(self) -> set[str]:
        return {path.name for path in self.root.iterdir() if len(path.name) == 64 and _HEX.issuperset(path.name)}

    def _store(self, digest: str, package: bytes) -> None:
        final = self.root / digest
        if final.is_dir():
            return
        work = self._temporary()
        try:
            work.mkdir()
            work.chmod(0o711)
            self._unzip(package, work)
            zipped = work / "package.zip"
            fd = os.open(zipped, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as out:
                out.write(package)
            self._sync(work)
            work.rename(final)
            self._sync_folder(self.root)
        except OSError as error:
            raise self._disk_error(digest, len(package), error) from error
        finally:
            remove_tree(work)

    def _check(self, package: bytes) -> Package:
        work = self._temporary()
        digest = hashlib.sha256(package).hexdigest()
        try:
            work.mkdir()
            self._unzip(package, work)
        except OSError as error:
            raise self._disk_error(digest, len(package), error) from error
        finally:
            remove_tree(work)
        return Package(digest, len(package))

    def _unzip(self, package: bytes, work: Path) -> None:
        tree = work / "tree"
        tree.mkdir()
        tree.chmod(0o755)
        unzip(package, tree, limit=self._limit)

    def _temporary(self) -> Path:
        return self.root / f"{_TEMPORARY}{secrets.token_hex(8)}"

    def _remove(self, digest: str) -> None:
        # Renamed first: a package is there whole or not at all, also when the removal is cut short.
        trash = self._temporary()
        try:
            (self.root / digest).rename(trash)
        except FileNotFoundError:
            return
        except OSError as error:
            # Whoever dropped it is not to fail for that; the next start tries again.
            log.warning("the unused code package %s cannot be removed: %s", self.root / digest, error)
            return
        remove_tree(trash)

    def _sync(self, folder: Path) -> None:
        """Everything in the folder to the disk: one syncfs, not an fsync per file (200 files: 22 ms, not 110)."""
        if not self._durable:
            return
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:  # not Linux
            os.sync()
            return
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if syncfs(fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), os.fspath(folder))
        finally:
            os.close(fd)

    def _sync_folder(self, folder: Path) -> None:
        if not self._durable:
            return
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _disk_error(self, digest: str, size: int, error: OSError) -> Exception:
        what = f"Lambent could not store the code package {digest[:12]}… ({size} bytes zipped) under {self.root}"
        if error.errno in _FULL:
            return CodeStorageExceededException(
                f"{what}: {error.strerror}. Nothing was kept. Make room there, or delete functions, and try again."
            )
        return ServiceException(f"{what}: {error}. Nothing was kept.")
