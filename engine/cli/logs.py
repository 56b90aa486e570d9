"""``lambent logs``: what a function and the platform wrote."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from engine.cli.console import clean, coloured, emit_json
from engine.cli.options import common, setting
from engine.settings import load

PLATFORM = ("START ", "END ", "REPORT ", "INIT_START ", "INIT_REPORT ")


@click.command("logs", epilog="\b\nExample:\n  lambent logs --follow hello")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0, max=10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="At most so many of the newest lines to begin with.",
)
@click.option("--request-id", metavar="ID", help="Only the lines of this invocation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@setting("endpoint_url")
@common
def command(
    *, name: str, follow: bool, limit: int, request_id: str | None, as_json: bool, config: str | None, **flags: Any
) -> None:
    """Show a function's log: time, then the line as it was written."""
    from engine.cli.http import Client

    client = Client(load(flags, config=config).endpoint_url)
    query = {"limit": str(10_000 if request_id else limit)}
    if follow:
        query["follow"] = "1"
    faint = coloured(sys.stdout)
    for record in client.lines(f"read the log of function '{name}'", f"/_lambent/logs/{quote(name, safe='')}", query):
        if request_id is not None and record["request_id"] != request_id:
            continue
        if as_json:
            emit_json(record)
        else:
            sys.stdout.write(_line(record, faint) + "\n")
        if follow:
            sys.stdout.flush()


def _line(record: dict[str, Any], faint: bool) -> str:
    when = datetime.fromtimestamp(record["time_ms"] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    text = clean(record["message"], sys.stdout)
    if not faint:
        return f"{when} {text}"
    return f"\033[2m{when} {text}\033[0m" if text.startswith(PLATFORM) else f"\033[2m{when}\033[0m {text}"
