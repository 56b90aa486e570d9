"""Packages of functions and layers, kept by their content: DATA/code/<sha256 hex>/{package.zip,tree/}.

A package exists or it does not: it is unpacked in a temporary folder beside the others, synced, and renamed into place.
The same package is unpacked once however many functions use it and however many ask at the same time. Who is about to
name a package in a row holds it (:meth:`CodeStore.hold`), so that nobody removes it in between.

Several layers of one function are merged into a tree of its own, by the same rules; it has no zip.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import logging
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio.to_thread
from msgspec import Struct

from engine.errors import CodeStorageExceededException, DataDirectoryError, ServiceException
from engine.model.limits import MAX_UNZIPPED
from engine.store.merge import content_size, merge, merged_digest, without_covered
from engine.store.settle import settle
from engine.store.turns import Turns
from engine.store.unzip import remove_tree, unzip

log = logging.getLogger("lambent.store")

_TEMPORARY: Final = ".tmp-"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HEX: Final = frozenset("0123456789abcdef")


class Package(Struct, frozen=True):
    """A stored package: its SHA-256 in hex, the size of the zip and of its content in bytes."""

    digest: str
    size: int
    unzipped: int


class CodeStore:
    """The packages under one folder.

    Args:
        root: the folder, DATA/code.
        limit: bytes of content one package may unzip to.
        durable: False skips the syncs, for a data directory that is thrown away with its engine.
    """

    def __init__(self, root: Path, *, limit: int = MAX_UNZIPPED, durable: bool = True) -> None:
        self.root = root
        self.limit = limit
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
                unzipped = await settle(anyio.to_thread.run_sync(self._store, digest, package))
            yield Package(digest, len(package), unzipped)
        finally:
            self._let_go([digest])

    @asynccontextmanager
    async def hold_merged(self, digests: Sequence[str]) -> AsyncIterator[str]:
        """Merge the trees of these packages, later ones over earlier ones, unless that is done; keep it, and them.

        Args:
            digests: packages that are there and named; they are held from the call on, so that no deletion of their
                last name comes in between.

        Returns:
            by what the merged tree is known (`merged_digest`); :meth:`tree` is where it is.

        Raises:
            InvalidParameterValueException: they cannot be merged.
            CodeStorageExceededException: the disk is full; nothing was kept.
            ServiceException: the disk failed otherwise.
        """
        merged = merged_digest(digests)
        held = {*digests, merged} - {""}
        self._held.update(held)
        try:
            if merged and merged not in digests:
                async with self._turns.of(merged):
                    await settle(anyio.to_thread.run_sync(self._merge, merged, without_covered(digests)))
            yield merged
        finally:
            self._let_go(held)

    async def unzipped(self, digest: str) -> int:
        """Bytes of a stored package's content.

        Raises:
            ServiceException: it cannot be read.
        """
        try:
            return await anyio.to_thread.run_sync(content_size, self.tree(digest))
        except OSError as error:
            raise ServiceException(f"Lambent could not read the package {digest[:12]}…: {error}") from error

    def _let_go(self, digests: Iterable[str]) -> None:
        for digest in digests:
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

    def _store(self, digest: str, package: bytes) -> int:
        final = self.root / digest
        work = self._temporary()
        try:
            if final.is_dir():
                return content_size(final / "tree")
            unzipped = self._unzip(package, work)
            zipped = work / "package.zip"
            fd = os.open(zipped, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as out:
                out.write(package)
            self._put(work, final)
        except OSError as error:
            raise self._disk_error(f"the code package {digest[:12]}… ({len(package)} bytes zipped)", error) from error
        finally:
            remove_tree(work)
        return unzipped

    def _merge(self, merged: str, digests: Sequence[str]) -> None:
        final = self.root / merged
        if final.is_dir():
            return
        work = self._temporary()
        try:
            self._make_tree(work)
            merge([self.tree(digest) for digest in digests], work / "tree")
            self._put(work, final)
        except OSError as error:
            raise self._disk_error(f"{len(digests)} layers merged", error) from error
        finally:
            remove_tree(work)

    def _put(self, work: Path, final: Path) -> None:
        """To the disk, then into its place."""
        self._sync(work)
        work.rename(final)
        self._sync_folder(self.root)

    def _check(self, package: bytes) -> Package:
        work = self._temporary()
        digest = hashlib.sha256(package).hexdigest()
        try:
            unzipped = self._unzip(package, work)
        except OSError as error:
            raise self._disk_error(f"the code package {digest[:12]}… ({len(package)} bytes zipped)", error) from error
        finally:
            remove_tree(work)
        return Package(digest, len(package), unzipped)

    def _unzip(self, package: bytes, work: Path) -> int:
        return unzip(package, self._make_tree(work), limit=self.limit)

    def _make_tree(self, work: Path) -> Path:
        tree = work / "tree"
        for folder, mode in ((work, 0o711), (tree, 0o755)):
            folder.mkdir()
            folder.chmod(mode)
        return tree

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

    def _disk_error(self, stored: str, error: OSError) -> Exception:
        what = f"Lambent could not store {stored} under {self.root}"
        if error.errno in _FULL:
            return CodeStorageExceededException(
                f"{what}: {error.strerror}. Nothing was kept. Make room there, or delete functions, and try again."
            )
        return ServiceException(f"{what}: {error}. Nothing was kept.")
