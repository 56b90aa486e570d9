"""All log groups of an engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from engine.telemetry.store.group import SLICE, LogGroup, Meta, StreamInfo, now_ms
from engine.telemetry.store.plan import Segment, SegmentPlan
from engine.telemetry.store.reader import Event, GroupReader, Page, Query
from engine.telemetry.store.writer import META, Writer, segment_numbers, segment_path

_LOG = logging.getLogger("lambent.logs")

#: How long what was said waits for more.
FLUSH_S: Final = 0.05
#: How often groups with a retention are looked through.
EXPIRE_S: Final = 3600.0
MIB: Final = 1024 * 1024


class LogStore:
    """Made with the engine, opened and closed by it. Everything but `open` and `close` is for the loop.

    Args:
        root: the folder of all groups; ours alone.
        group_mb: what one group may have on the disk, in MiB.
    """

    def __init__(self, root: Path, *, group_mb: int = 64) -> None:
        self._root = root
        self._limit = group_mb * MIB
        self._writer = Writer()
        self._groups: dict[str, LogGroup] = {}
        self._dirty: list[LogGroup] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._expire_timer: asyncio.TimerHandle | None = None
        self._loading = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def open(self) -> None:
        """Look at what there is.

        Raises:
            OSError: the folder cannot be made or read.
        """
        for meta, segments in await anyio.to_thread.run_sync(self._look):
            group = self._make(meta.name, SegmentPlan(self._limit, segments))
            group.meta = meta
        self._arm_expiry()

    def _look(self) -> list[tuple[Meta, list[Segment]]]:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for folder in sorted(self._root.iterdir()):
            try:
                meta = msgspec.json.decode((folder / META).read_bytes(), type=Meta)
                segments = []
                for number in segment_numbers(folder):
                    stat = segment_path(folder, number).stat()
                    segments.append(Segment(number, stat.st_size, int(stat.st_mtime * 1000) + 1))
            except FileNotFoundError:
                continue  # a group that was being made, or removed
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                _LOG.warning("a log group cannot be read and is left alone: %s: %s", folder, error)
                continue
            found.append((meta, segments))
        return found

    async def close(self) -> None:
        """Write what waits, and end."""
        self._closed = True
        for timer in (self._flush_timer, self._expire_timer):
            if timer is not None:
                timer.cancel()
        self._flush_all()
        await anyio.to_thread.run_sync(self._writer.stop)

    # ---- groups ----------------------------------------------------------------------------------------------------

    def sink(self, name: str) -> LogGroup:
        """The group with this name, whether or not it exists yet: it does when something is said to it."""
        group = self._groups.get(name)
        return group if group is not None else self._make(name, SegmentPlan(self._limit))

    def get(self, name: str) -> LogGroup | None:
        """The group with this name, None when there is none."""
        group = self._groups.get(name)
        if group is not None and group.meta is None and group.pending:
            group.flush()
        return group if group is not None and group.meta is not None else None

    def groups(self) -> list[LogGroup]:
        """All that exist, by name."""
        self._flush_all()
        return [group for _, group in sorted(self._groups.items()) if group.meta is not None]

    def _make(self, name: str, plan: SegmentPlan) -> LogGroup:
        group = self._groups[name] = LogGroup(name, self._root, self._writer, plan, self._due)
        return group

    # ---- writing ---------------------------------------------------------------------------------------------------

    def _due(self, group: LogGroup) -> None:
        self._dirty.append(group)
        if self._flush_timer is None and not self._closed:
            self._flush_timer = self._loop.call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        """A slice of each group that has something; the rest in the next turns of the loop."""
        self._flush_timer = None
        dirty, self._dirty = self._dirty, []
        left = [group for group in dirty if group.flush(SLICE)]
        if left:
            self._dirty = left + self._dirty
            self._flush_timer = self._loop.call_later(0, self._flush)

    def _flush_all(self) -> None:
        dirty, self._dirty = self._dirty, []
        for group in dirty:
            group.flush()

    def retention_changed(self, group: LogGroup) -> None:
        """Enforce it."""
        group.flush()
        group.expire(now_ms())
        self._arm_expiry()

    def _arm_expiry(self) -> None:
        if self._expire_timer is None and any(
            g.meta is not None and g.meta.retention_days for g in self._groups.values()
        ):
            self._expire_timer = self._loop.call_later(EXPIRE_S, self._expire)

    def _expire(self) -> None:
        self._expire_timer = None
        for group in self._groups.values():
            group.expire(now_ms())
        self._arm_expiry()

    # ---- reading ---------------------------------------------------------------------------------------------------

    async def synced(self, group: LogGroup) -> GroupReader:
        """A view of the group with everything in it that was said before this call."""
        group.flush()
        done: asyncio.Future[None] = self._loop.create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        def written() -> None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(tell)

        deleted = dict(group.meta.deleted) if group.meta is not None else {}
        view = GroupReader(group.folder, group.plan.numbers, deleted, group.end)
        self._writer.then(written)
        await done
        return view

    async def read(self, group: LogGroup, query: Query) -> Page:
        """A page of what was said, expired events left out."""
        view = await self.synced(group)
        cutoff = group.cutoff_ms(now_ms())
        query = query._replace(start_ms=max(query.start_ms, cutoff))
        return await anyio.to_thread.run_sync(view.read, query)

    def backlog(self, name: str, own: str, limit: int) -> Coroutine[Any, Any, list[Event]]:
        """The newest events that were said before this call, oldest first; to be awaited.

        Args:
            name: the group's.
            own: where others write to the group, too: what the names of the wanted streams have in them; streams
                named as in a function's own group are wanted in any case.
            limit: at most so many.
        """
        group = self.get(name)
        if group is None:
            return _nothing()
        group.flush()
        return self._backlog(group, group.end, own, limit)

    async def _backlog(self, group: LogGroup, end: int, own: str, limit: int) -> list[Event]:
        found: list[Event] = []
        after = end
        while len(found) < limit:
            page = await self.read(group, Query(after=after, backward=True, limit=limit - len(found)))
            found += [event for event in reversed(page.events) if own in event.stream or "/[" in event.stream]
            if page.complete:
                break
            after = page.first
        return found[::-1]

    async def streams(self, group: LogGroup) -> dict[str, StreamInfo]:
        """The group's streams, kept up to date from then on."""
        group.flush()
        if group.streams is None:
            async with self._loading:
                if group.streams is None:
                    await self._load_streams(group)
        return group.streams if group.streams is not None else {}

    async def _load_streams(self, group: LogGroup) -> None:
        meta = group.meta
        view = await self.synced(group)
        newer: dict[str, StreamInfo] = {}
        group.streams = newer  # what comes meanwhile is noted there
        try:
            found = await anyio.to_thread.run_sync(view.streams)
        except BaseException:
            group.streams = None
            raise
        if group.meta is not meta or group.streams is not newer:
            return  # it was deleted meanwhile
        deleted = meta.deleted if meta is not None else {}
        for name, info in newer.items():
            old = found.get(name)
            if old is not None and old.segment >= deleted.get(name, 0):
                info.created_ms = min(info.created_ms, old.created_ms)
                if old.first_ms is not None and old.last_ms is not None:
                    info.heard(old.first_ms, old.last_ms, old.written_ms or 0)
        for name, info in found.items():
            if info.segment >= deleted.get(name, 0):
                newer.setdefault(name, info)


async def _nothing() -> list[Event]:
    return []
