"""The one thread that writes logs: it carries out what `group` and `store` decide, in order.

It holds the interpreter's lock for microseconds at a time; what takes time are system calls. A failure is told once, in
words that an operator can act on, and again when it is over.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

_LOG = logging.getLogger("lambent.logs")

#: Segments that are kept open.
_OPEN: Final = 32
META: Final = "group.json"


class Counted(Protocol):
    """Whose block it is.

    Attributes:
        written: bytes that were written or given up; only the writer changes it.
        lost: records that were given up since that was told last; likewise.
    """

    written: int
    lost: int


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:012d}.log"


def segment_numbers(folder: Path) -> list[int]:
    """The segments in a folder, oldest first. Blocking."""
    return sorted(int(path.stem) for path in folder.glob("*.log") if path.stem.isdigit())


class Writer:
    """Its thread starts with the first order and ends with `stop`."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open: OrderedDict[Path, tuple[int, int]] = OrderedDict()
        self._undescribed: dict[Path, bytes] = {}
        self._failed: str | None = None
        self._lost = 0

    # ---- orders; from the loop -------------------------------------------------------------------------------------

    def append(self, folder: Path, number: int, data: bytes, records: int, whose: Counted) -> None:
        """Write a block at the end of a segment; the folder is made when need be."""
        self._order(lambda: self._append(folder, number, data, records, whose))

    def delete(self, folder: Path, numbers: list[int]) -> None:
        """Remove segments."""
        self._order(lambda: self._delete(folder, numbers))

    def describe(self, folder: Path, meta: bytes) -> None:
        """Write what is known of a group beside its segments."""
        self._order(lambda: self._describe(folder, meta))

    def remove(self, folder: Path) -> None:
        """Remove a group."""
        self._order(lambda: self._remove(folder))

    def then(self, call: Callable[[], None]) -> None:
        """Call it, in the thread, when all that was ordered before has been done."""
        self._order(call)

    def stop(self) -> None:
        """Do what was ordered, then end. Blocking."""
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
            self._thread = None

    def _order(self, work: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lambent-logs", daemon=True)
            self._thread.start()
        self._orders.put(work)

    # ---- in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._orders.get()) is not None:
            try:
                work()
            except Exception:  # noqa: BLE001 - one order that fails must not end the thread
                _LOG.exception("writing logs failed; this is a bug in Lambent")
        for _, descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _append(self, folder: Path, number: int, data: bytes, records: int, whose: Counted) -> None:
        try:
            self._write(self._descriptor(folder, number), data)
        except OSError as error:
            self._lost += records
            whose.lost += records
            self._trouble(f"a log cannot be written: {folder}: {error.strerror}", error)
        else:
            if self._failed is not None:
                _LOG.warning("logs are written again; %d records were lost meanwhile", self._lost)
                self._failed, self._lost = None, 0
                for left, meta in tuple(self._undescribed.items()):
                    self._describe(left, meta)
        finally:
            whose.written += len(data)

    @staticmethod
    def _write(descriptor: int, data: bytes) -> None:
        """All of it or nothing."""
        written = 0
        view = memoryview(data)
        try:
            while written < len(data):
                written += os.write(descriptor, view[written:])
        except OSError:
            if written:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise

    def _descriptor(self, folder: Path, number: int) -> int:
        found = self._open.pop(folder, None)
        if found is not None:
            if found[0] == number:
                self._open[folder] = found
                return found[1]
            os.close(found[1])
        folder.mkdir(mode=0o700, exist_ok=True)
        path = segment_path(folder, number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._open[folder] = (number, descriptor)
        if len(self._open) > _OPEN:
            os.close(self._open.popitem(last=False)[1][1])
        return descriptor

    def _delete(self, folder: Path, numbers: list[int]) -> None:
        for number in numbers:
            self._close(folder, number)
            with contextlib.suppress(FileNotFoundError):
                segment_path(folder, number).unlink()

    def _describe(self, folder: Path, meta: bytes) -> None:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            new = folder / f"{META}.new"
            new.write_bytes(meta)
            new.rename(folder / META)
            self._undescribed.pop(folder, None)
        except OSError as error:
            self._undescribed[folder] = meta
            self._trouble(f"a log group cannot be described: {folder / META}: {error.strerror}", error)

    def _remove(self, folder: Path) -> None:
        self._close(folder, None)
        self._undescribed.pop(folder, None)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            _LOG.warning("a log group cannot be removed completely: %s: %s", folder, error.strerror)

    def _close(self, folder: Path, number: int | None) -> None:
        found = self._open.get(folder)
        if found is not None and number in {None, found[0]}:
            del self._open[folder]
            os.close(found[1])

    def _trouble(self, text: str, error: OSError) -> None:
        """Tell it, once until it is over."""
        if self._failed is None:
            hint = "; free some room" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
            _LOG.warning("%s. Functions go on, and what they say is lost until this is mended%s", text, hint)
        self._failed = text
