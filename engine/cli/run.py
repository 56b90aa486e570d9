"""``lambent run``: one function, no server."""

from __future__ import annotations

from typing import Any

import click

from engine.cli import package, payload
from engine.cli.console import note
from engine.cli.options import common, layer_option, setting, variables
from engine.settings import load


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
    "--max-concurrency",
    type=click.IntRange(1, 1600),
    metavar="N",
    help="Let each environment take up to N invocations at a time; with -n, they are invoked together.",
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
@layer_option("FOLDER|ZIP")
@click.option(
    "--extension",
    "extensions",
    multiple=True,
    metavar="FILE|FOLDER",
    help="An external extension, put into /opt/extensions, or a folder of them; may be repeated.",
)
@click.option("--watch", is_flag=True, help="Invoke again whenever a file is saved, or Enter is pressed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per invocation instead of the payload.")
@setting("isolation", "network", "init_timeout", "region")
@common
def command(
    *,
    path: str,
    handler: str | None,
    runtime: str | None,
    event: str | None,
    memory: int,
    timeout: int,
    max_concurrency: int | None,
    times: int,
    env: tuple[str, ...],
    layers: tuple[str, ...],
    extensions: tuple[str, ...],
    watch: bool,
    as_json: bool,
    config: str | None,
    **flags: Any,
) -> int:
    """Run one function from a folder, a zip, a source file or a bootstrap executable.

    Its result goes to stdout, its log to stderr. The exit code is 1 when the function failed.
    """
    from engine.cli.extensions import layer_of
    from engine.cli.loop import run
    from engine.cli.running import Running

    settings = load(flags, config=config)
    if watch and event == "-":
        raise click.UsageError("--watch cannot be used with --event -: standard input is where Enter is waited for.")
    body = payload.read(event)
    environment = variables(env)
    source = package.find(path)
    guess = source.guess(runtime, handler)
    if runtime is None or handler is None:
        note(f"{guess.runtime}, handler {guess.handler} ({guess.why})")
    one = Running(source, guess, body, as_json)
    sources = [*layers, layer_of(extensions)] if extensions else layers
    options: dict[str, Any] = {
        "memory_mb": memory,
        "timeout_s": timeout,
        "environment": environment,
        "layers": sources,
        "max_concurrency": max_concurrency,
    }
    return run(one.main(settings, options, times, watch=watch, at_once=max_concurrency or 1))
