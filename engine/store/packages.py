"""The packages of one data directory and who uses them: the code store, and the count of names and pins on it.

Whoever names a package in a row stores or holds it first, commits, and then counts the name; so between two steps
nobody removes it, and what nobody came to name is dropped again.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from engine.clock import Clock
from engine.model.limits import MAX_UNZIPPED, TIMEOUT_S_MAX
from engine.store.code import CodeStore, Package
from engine.store.settle import settle
from engine.store.usage import PackageUsage

GRACE_S: Final = TIMEOUT_S_MAX + 60.0
"""How long a package that no row names and nobody pinned is kept: an invocation may still run its code."""


class Packages:
    """Packages with their users.

    Attributes:
        code: where they are.

    Args:
        root: the folder, DATA/code.
        clock: monotonic time for the grace period.
        limit: bytes that one package may unzip to.
        durable: False skips syncs.
    """

    def __init__(self, root: Path, *, clock: Clock, limit: int = MAX_UNZIPPED, durable: bool = True) -> None:
        self.code = CodeStore(root, limit=limit, durable=durable)
        self._clock = clock
        self._usage = PackageUsage()

    async def keep_named(self) -> None:
        """Remove every package that nothing names: once, when all rows have been read."""
        await self.code.keep_only(self._usage.named())

    def name(self, digests: Iterable[str]) -> None:
        """A row names these from now on. "" is none."""
        for digest in digests:
            self._usage.name(digest)

    def unname(self, digests: Iterable[str]) -> None:
        """A row less names these."""
        for digest in digests:
            self._usage.unname(digest, self._clock.now())

    def pin(self, digests: Iterable[str]) -> None:
        """Somebody runs these, whether or not a row names them."""
        for digest in digests:
            self._usage.pin(digest)

    async def unpin(self, digests: Iterable[str]) -> None:
        """End one :meth:`pin`; removes those that nobody names or pins any more."""
        await self._drop([digest for digest in digests if self._usage.unpin(digest)])

    @asynccontextmanager
    async def store(self, zipped: bytes) -> AsyncIterator[Package]:
        """Have a package stored, and held while the context lasts; it is dropped again when nothing came to name it.

        Raises:
            InvalidParameterValueException, CodeStorageExceededException, ServiceException: as `CodeStore.hold`.
        """
        async with self._dropping_strays() as strays, self.code.hold(zipped) as package:
            strays.add(package.digest)
            yield package

    @asynccontextmanager
    async def merge(self, layers: Sequence[str]) -> AsyncIterator[None]:
        """Have the tree of these layers made, and them and it held while the context lasts; likewise.

        Raises:
            InvalidParameterValueException, CodeStorageExceededException, ServiceException: as `CodeStore.hold_merged`.
        """
        async with self._dropping_strays() as strays, self.code.hold_merged(layers) as merged:
            strays.add(merged)
            yield

    @asynccontextmanager
    async def _dropping_strays(self) -> AsyncIterator[set[str]]:
        strays: set[str] = set()
        try:
            yield strays
        finally:
            unknown = [digest for digest in strays if digest and not self._usage.known(digest)]
            if unknown:
                await settle(self._drop(unknown))

    async def collect(self, idle_s: float = GRACE_S) -> None:
        """Remove what has been without a name for `idle_s` seconds, and nobody pins."""
        await self._drop(self._usage.idle(self._clock.now() - idle_s if idle_s else math.inf))

    async def _drop(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self._usage.forget(digest)
            await self.code.remove(digest, partial(self._usage.needed, digest))
