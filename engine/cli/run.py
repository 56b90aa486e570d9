"""``lambent run``: one function, no server."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from engine.cli import package, payload
from engine.cli.console import CommandError, clean, emit, emit_json, note
from engine.cli.guess import Guess
from engine.cli.options import common, setting, variables
from engine.settings import Settings, load

if TYPE_CHECKING:
    from engine import Function, InvocationResult
    from engine.telemetry.logs import LogRecord

POLL_S = 0.2
"""How often --watch looks for a saved file."""


@click.command(
    "run",
    epilog='\b\nExample:\n  lambent run functions/hello --event \'{"name": "Ada"}\' --memory 512',
)
@click.argument("path")
@click.option("--handler", metavar="NAME", help="Handler, such as app.handler.  [default: guessed from the files]")
@click.option("--runtime", metavar="ID", help="Runtime, such as python3.12.  [default: guessed from the files]")
@click.option("--event", metavar="FILE|-|JSON", help="The event: a file, - for standard input, or JSON.  [default: {}]")
@click.option("--memory", type=int, default=128, metavar="MB", show_default=True, help="Memory size in MB.")
@click.option(
    "--timeout", type=int, default=3, metavar="SECONDS", show_default=True, help="Time limit of one invocation."
)
@click.option(
    "-n",
    "--times",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    show_default=True,
    help="Invoke N times, one after another.",
)
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="A variable for the function; may be repeated.")
@click.option("--watch", is_flag=True, help="Invoke again whenever a file is saved, or Enter is pressed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per invocation instead of the payload.")
@setting("isolation", "init_timeout", "region")
@common
def command(
    *,
    path: str,
    handler: str | None,
    runtime: str | None,
    event: str | None,
    memory: int,
    timeout: int,
    times: int,
    env: tuple[str, ...],
    watch: bool,
    as_json: bool,
    config: str | None,
    **flags: Any,
) -> int:
    """Run one function from a folder, a zip, a source file or a bootstrap executable.

    Its result goes to stdout, its log to stderr. The exit code is 1 when the function failed.
    """
    from engine.cli.loop import run

    settings = load(flags, config=config)
    if watch and event == "-":
        raise click.UsageError("--watch cannot be used with --event -: standard input is where Enter is waited for.")
    body = payload.read(event)
    environment = variables(env)
    source = package.find(path)
    guess = source.guess(runtime, handler)
    if runtime is None or handler is None:
        note(f"{guess.runtime}, handler {guess.handler} ({guess.why})")
    one = _Run(source, guess, body, as_json)
    options: dict[str, Any] = {"memory_mb": memory, "timeout_s": timeout, "environment": environment}
    return run(one.main(settings, options, times, watch=watch))


class _Run:
    """One `lambent run`."""

    def __init__(self, source: package.Source, guess: Guess, body: bytes, as_json: bool) -> None:
        self._source = source
        self._guess = guess
        self._body = body
        self._as_json = as_json

    async def main(self, settings: Settings, options: dict[str, Any], times: int, *, watch: bool) -> int:
        from engine import Engine
        from engine.cli.embed import engine_options

        live = watch and self._source.folder is not None
        code = self._source.folder if live else await asyncio.to_thread(self._source.package)
        assert code is not None
        async with Engine(**engine_options(settings)) as engine:
            name = function_name(self._source.path.stem)
            engine.log(name).followers.append(_log_line)
            function = await engine.create_function(
                name, code=code, runtime=self._guess.runtime, handler=self._guess.handler, watch=live, **options
            )
            failed = False
            for _ in range(times):
                failed |= await self._invoke(function)
            if watch:
                await self._watch(function, live=live)
            engine.log(name).followers.clear()  # what it says while it is being ended is no news
        return 1 if failed else 0

    async def _invoke(self, function: Function) -> bool:
        result = await function.invoke(self._body, tail=True)  # with the tail, the answer comes after the log's REPORT
        if self._as_json:
            emit_json(as_dict(result))
        else:
            emit(result.payload)
        return result.function_error is not None

    async def _watch(self, function: Function, *, live: bool) -> None:
        root = self._source.folder if self._source.folder is not None else self._source.path
        note(f"watching {root}: invoked again when a file is saved, or on Enter; Ctrl-C ends it")
        async for saved in _occasions(str(root)):
            try:
                if saved and not live:
                    await function.update_code(await asyncio.to_thread(self._source.package))
                await self._invoke(function)
            except (CommandError, OSError) as error:  # half a file was saved: the next save will be better
                note(f"not invoked: {error}")


async def _occasions(root: str) -> AsyncIterator[bool]:
    """True when something below `root` was saved, False when Enter was pressed."""
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
    task = asyncio.create_task(_saves(root, queue))
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


async def _saves(root: str, queue: asyncio.Queue[bool]) -> None:
    from engine.hot_reload import signature

    async def look() -> object:
        with suppress(OSError):
            return await asyncio.to_thread(signature, root)
        return None

    seen = await look()
    while True:
        await asyncio.sleep(POLL_S)
        now = await look()
        if now is not None and now != seen:
            seen = now
            queue.put_nowait(True)


def _log_line(record: LogRecord) -> None:
    sys.stderr.write(clean(record.message, sys.stderr) + "\n")
    sys.stderr.flush()


def function_name(stem: str) -> str:
    """A function name from a file's name: letters, digits, - and _, at most 64."""
    return re.sub(r"[^a-zA-Z0-9-_]+", "-", stem).strip("-")[:64] or "function"


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
