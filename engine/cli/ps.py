"""``lambent ps``: the environments of a server."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.console import emit_json, note, table
from engine.cli.options import common, setting
from engine.settings import load

MIB = 1024 * 1024
HEADINGS = [
    "ENVIRONMENT", "FUNCTION", "RUNTIME", "PHASE", "START", "PID", "MEMORY", "AGE", "IDLE", "SERVED", "RUNS",
    "NOW RUNS",
]  # fmt: skip


@click.command("ps", epilog="\b\nExample:\n  lambent ps --json")
@click.argument("function", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of a table.")
@setting("endpoint_url")
@common
def command(function: str | None, as_json: bool, config: str | None, **flags: Any) -> None:
    """List a server's execution environments, or those of one FUNCTION."""
    from engine.cli.http import Client

    client = Client(load(flags, config=config).endpoint_url)
    found = client.request("list environments", "GET", "/_lambent/environments").json()["environments"]
    environments = [one for one in found if function is None or one["function"] == function]
    if as_json:
        emit_json(environments)
        return
    if not environments:
        note("no environments: each function gets one at its first invocation, and loses it after a while of idleness")
        return
    environments.sort(key=lambda one: (one["function"], one["age_s"]))
    table(
        HEADINGS,
        [
            [
                one["id"],
                one["function"] if one["version"] == "$LATEST" else f"{one['function']}:{one['version']}",
                one["runtime"] or "-",
                one["phase"].lower(),
                one["start"] or "-",
                str(one["pid"] or "-"),
                f"{_mib(one['max_memory_bytes'])} of {one['memory_mb']} MB",
                span(one["age_s"]),
                span(one["idle_s"]) if one["idle_s"] else "-",
                str(one["invocations"]),
                f"{one['in_flight']} of {one['capacity']}",
                _running(one),
            ]
            for one in environments
        ],
        right={"PID", "MEMORY", "AGE", "IDLE", "SERVED", "RUNS"},
    )
    for one in environments:
        if one["trouble"]:
            note(f"{one['id']} could not be ended, and is tried again: {one['trouble']}")


def _running(one: dict[str, Any]) -> str:
    """What it runs: the oldest, and how many more."""
    if not one["in_flight"]:
        return "-"
    more = one["in_flight"] - 1
    return f"{one['request_id']}, and {more} more" if more else str(one["request_id"])


def _mib(size: int | None) -> str:
    return "?" if size is None else str(-(-size // MIB))


def span(seconds: float) -> str:
    """A length of time for a person: ``8s``, ``4m10s``, ``3h02m``, ``2d05h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"
