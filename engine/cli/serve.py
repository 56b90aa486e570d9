"""``lambent serve``: the server."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from engine.cli.console import CommandError, note, warn
from engine.cli.options import common, setting
from engine.settings import Settings, load


@click.command(
    "serve",
    epilog="\b\nExample:\n  lambent serve --port 9000 --data-dir /var/lib/lambent\n"
    "  aws lambda list-functions --endpoint-url http://127.0.0.1:9000",
)
@setting(
    "host", "port", "data_dir", "isolation", "network", "memory_budget", "keep_alive", "wait_limit", "init_timeout",
    "freeze_after", "account_concurrency", "log_limit", "account_id", "region", "drain",
)  # fmt: skip
@click.option(
    "--hot-reload/--no-hot-reload",
    default=None,
    help="Whether a client may run functions straight from folders of this machine.  [default: on when listening on a "
    "loopback address only]",
)
@common
def command(config: str | None, hot_reload: bool | None, **flags: Any) -> int:
    """Serve functions to AWS clients on one address.

    Prints one line when it is ready. SIGTERM or Ctrl-C lets running invocations finish, then stops; a second one stops
    at once.
    """
    from engine.cli.loop import run

    settings = load(flags, config=config)
    _open_many_files()
    try:
        Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"cannot keep functions in {settings.data_dir}: the folder could not be made ({error.strerror}). "
            "Name another with --data-dir, or LAMBENT_DATA_DIR."
        ) from None
    return run(_serve(settings, hot_reload))


async def _serve(settings: Settings, hot_reload: bool | None) -> int:
    import asyncio

    from engine import Engine
    from engine.cli.embed import engine_options

    stopping = asyncio.Event()
    ready = False
    task = asyncio.current_task()
    assert task is not None

    def stop(name: str) -> None:
        if not ready or stopping.is_set():
            task.cancel()
        else:
            note(f"lambent: {name}: finishing what runs, at most {settings.drain_s:g} s; once more stops at once")
            stopping.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop, signal.Signals(signum).name)
    if hot_reload is None:
        hot_reload = _loopback(settings.host)
    left = 0
    try:
        async with Engine(data_dir=settings.data_dir, hot_reload=hot_reload, **engine_options(settings)) as engine:
            server = await engine.serve(settings.host, settings.port)
            for line in engine.weaknesses():
                warn(line)
            if not _loopback(settings.host):
                warn(f"anyone who reaches {settings.host} can run code here: requests are not authenticated")
            sys.stdout.write(
                f"lambent: ready on {server.url} "
                f"(isolation {engine.provider.mode}, data {engine.data_dir}, pid {os.getpid()})\n"
            )
            sys.stdout.flush()
            ready = True
            await stopping.wait()
            left = await engine.drain(settings.drain_s)
    except asyncio.CancelledError:
        note("lambent: stopped at once")
        return 1 if ready else 130
    if left:
        warn(f"stopped with {left} invocations still running: they were ended after {settings.drain_s:g} s")
        return 1
    return 0


def _open_many_files() -> None:
    """An environment takes three descriptors and a client one: use what the system permits, not its modest default."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
