"""What ``lambent run`` does once its command line is understood: an engine, a function, its invocations."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from engine import Engine, Function, InvocationResult
from engine.cli import package
from engine.cli.console import clean, emit, emit_json, note
from engine.cli.embed import engine_options
from engine.cli.guess import Guess
from engine.errors import LambentError
from engine.hot_reload import signature
from engine.settings import Settings
from engine.telemetry.logs import LogRecord

POLL_S = 0.2
"""How often --watch looks for a saved file."""


class Running:
    """One `lambent run`."""

    def __init__(self, source: package.Source, guess: Guess, body: bytes, as_json: bool) -> None:
        self._source = source
        self._guess = guess
        self._body = body
        self._as_json = as_json

    async def main(
        self, settings: Settings, options: dict[str, Any], times: int, *, watch: bool, at_once: int = 1
    ) -> int:
        """Invoke it `times` times, `at_once` together, then on each occasion when watching; the exit code."""
        live = watch and self._source.folder is not None
        code = self._source.folder if live else await asyncio.to_thread(self._source.package)
        assert code is not None
        seen = await _look(self._root) if watch else None
        failed = False
        async with Engine(**engine_options(settings)) as engine:
            name = self._source.name
            followers = engine.log(name).followers
            followers.append(_log_line)
            try:
                function = await engine.create_function(
                    name, code=code, runtime=self._guess.runtime, handler=self._guess.handler, watch=live, **options
                )
                for begun in range(0, times, at_once):
                    together = min(at_once, times - begun)
                    failed |= any(await asyncio.gather(*(self._invoke(function) for _ in range(together))))
                if watch:
                    await self._watch(function, seen, live=live)
            finally:
                # What it says while it is killed is no news; with extensions it is told of its end, and may answer.
                if all(one.extending is None for one in engine.dispatcher.environments.values()):
                    followers.clear()
        return 1 if failed else 0

    @property
    def _root(self) -> str:
        return str(self._source.folder or self._source.path)

    async def _invoke(self, function: Function) -> bool:
        result = await function.invoke(self._body, tail=True)  # with the tail, the answer comes after the log's REPORT
        if self._as_json:
            emit_json(as_dict(result))
        else:
            emit(result.payload)
        return result.function_error is not None

    async def _watch(self, function: Function, seen: object, *, live: bool) -> None:
        note(f"watching {self._root}: invoked again when a file is saved, or on Enter; Ctrl-C ends it")
        async for saved in _occasions(self._root, seen):
            try:
                if saved and not live:
                    await function.update_code(await asyncio.to_thread(self._source.package))
                await self._invoke(function)
            except (LambentError, OSError) as error:  # half a file was saved: the next save will be better
                note(f"not invoked: {error}")


async def _occasions(root: str, seen: object) -> AsyncIterator[bool]:
    """True when `root` is no longer as `seen`, False when Enter was pressed."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bool] = asyncio.Queue()

    def typed() -> None:
        if sys.stdin.buffer.readline():
            queue.put_nowait(False)
        else:
            loop.remove_reader(sys.stdin)

    interactive = sys.stdin.isatty()
    if interactive:
        loop.add_reader(sys.stdin, typed)
    task = asyncio.create_task(_saves(root, seen, queue))
    try:
        while True:
            saved = await queue.get()
            while not queue.empty():
                saved |= queue.get_nowait()
            yield saved
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if interactive:
            loop.remove_reader(sys.stdin)


async def _saves(root: str, seen: object, queue: asyncio.Queue[bool]) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        now = await _look(root)
        if now is not None and now != seen:
            seen = now
            queue.put_nowait(True)


async def _look(root: str) -> object:
    """The state of a folder or file; None when it cannot be read just now."""

    def look() -> object:
        if os.path.isdir(root):  # noqa: PTH112 - `root` is text, as hot reload has it
            return signature(root)
        found = os.stat(root)  # noqa: PTH116
        return found.st_size, found.st_mtime_ns, found.st_ino

    with suppress(OSError):
        return await asyncio.to_thread(look)
    return None


def _log_line(record: LogRecord) -> None:
    sys.stderr.write(clean(record.message, sys.stderr) + "\n")
    sys.stderr.flush()


def as_dict(result: InvocationResult) -> dict[str, Any]:
    """An invocation for a program; times in ms. The payload is decoded when it is JSON, else text."""
    import json

    try:
        answer = json.loads(result.payload)
    except ValueError:
        answer = result.payload.decode("utf-8", "replace")
    return {
        "request_id": result.request_id,
        "payload": answer,
        "function_error": result.function_error,
        "executed_version": result.executed_version,
        "duration_ms": round(result.duration_ms, 3),
        "init_ms": None if result.init_ms is None else round(result.init_ms, 3),
        "total_ms": round(result.total_ms, 3),
    }
